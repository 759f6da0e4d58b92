"""What is sent to provision a tenant: the customer's documented form (one provider) and the plural
one.
"""

from __future__ import annotations

from datetime import date  # noqa: TC003 - pydantic reads annotations when the class is made
from typing import Annotated, Final, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WithJsonSchema,
    model_validator,
)

from gateway.cognito.desired import SamlPreset
from gateway.cognito.oidc_presets import OidcPreset
from gateway.cognito.social import NEEDED
from gateway.config.model import REDACTED, SecretValue
from gateway.config.types import VISIBLE, Token
from gateway.config.user_pools import POOL_NAME
from gateway.core.model import ProviderKind, Secret
from gateway.tenants.document import Accounts, EmailDomain, GroupName, HostPattern

MAX_METADATA = 131_072
"""Characters, as Cognito takes them."""
MAX_ISSUER: Final = 512
MAX_METADATA_URL: Final = 2048
"""Characters."""
Text = Annotated[str, Field(min_length=1, max_length=256), VISIBLE]


class _Body(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True
    )


Groups = Annotated[tuple[GroupName, ...], Field(max_length=500)] | Literal["any"]
CustomAttribute = Annotated[str, Field(pattern=r"^custom:[A-Za-z0-9_-]{1,20}$")]


class _Settings(_Body):
    """``active``, ``hidden``, ``domains``, ``groups`` and ``roles`` are those of the tenant's
    document; what is left out stays as it is there.
    """

    name: Text | None = None
    label: Annotated[str, Field(max_length=80), VISIBLE] = ""
    active: bool | None = None
    hidden: bool | None = None
    domains: Annotated[frozenset[EmailDomain], Field(max_length=500)] | None = None
    groups: Groups | None = None
    roles: Groups | None = None


class _ProviderBody(_Settings):
    """``attributes``: further pool attributes → claims, or SAML attributes, on top of the usual
    mapping. ``only_attributes``: of the usual ones only those by which the gateway decides, so that
    names of people come only where ``attributes`` has them.
    """

    identifiers: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    attributes: Annotated[dict[Text, Text], Field(max_length=60)] = {}
    only_attributes: bool = False


class OidcProviderBody(_ProviderBody):
    """One OpenID Connect provider as its administrator hands it over. ``name`` and ``kind`` are
    derived unless given. ``preset``, of kind ``oidc``: whose names its claims have.
    ``secret_expires``: when ``client_secret`` ends; left out, what the document says stays.
    """

    kind: Literal["okta", "entra", "google", "oidc", "microsoft-social"] | None = None
    client_id: Token
    client_secret: SecretValue
    oidc_issuer: Annotated[str, Field(min_length=1, max_length=MAX_ISSUER), VISIBLE]
    secret_expires: date | None = None
    accounts: Accounts | None = None
    scopes: Annotated[tuple[Text, ...], Field(max_length=50)] | None = None
    preset: OidcPreset = OidcPreset.OTHER

    @model_validator(mode="after")
    def _preset(self) -> OidcProviderBody:
        if self.preset is not OidcPreset.OTHER and self.kind not in {None, "oidc"}:
            msg = f"preset is for kind: oidc; {self.kind} has claims of its own"
            raise ValueError(msg)
        return self


class SamlProviderBody(_ProviderBody):
    """One SAML provider, by ``metadata_url`` or by ``metadata``, the XML text. ``preset``: whose
    names its attributes have. ``idp_initiated``: sign-in may begin at the provider.
    """

    kind: Literal["saml"]
    metadata_url: (
        Annotated[str, Field(min_length=1, max_length=MAX_METADATA_URL), VISIBLE] | None
    ) = None
    metadata: Annotated[str, Field(min_length=1, max_length=MAX_METADATA)] | None = None
    preset: SamlPreset = SamlPreset.OTHER
    sign_requests: bool = True
    encrypted_assertions: bool = False
    single_logout: bool = False
    idp_initiated: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> SamlProviderBody:
        if (self.metadata_url is None) == (self.metadata is None):
            msg = "either metadata_url or metadata is needed"
            raise ValueError(msg)
        return self


class PoolUsersBody(_Settings):
    """The pool's own users: those whom the tenant's members' group holds. ``name`` is derived."""

    kind: Literal["cognito"]


def _private_key(value: object) -> Secret:
    """Of Sign in with Apple: PKCS #8 in PEM, as the ``.p8`` file has it, on the curve P-256. Raises
    ``ValueError`` without the value.
    """
    text = value.reveal() if isinstance(value, Secret) else value
    msg = "the text of the .p8 file: BEGIN PRIVATE KEY, an EC key of the curve P-256"
    if not isinstance(text, str) or len(text) > _MAX_PRIVATE_KEY:
        raise ValueError(msg)
    try:
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(msg) from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ValueError(msg)
    return Secret("\n".join(text.split("\r\n")).strip())


_MAX_PRIVATE_KEY = 4096
PrivateKey = Annotated[
    Secret,
    BeforeValidator(_private_key),
    PlainSerializer(lambda _: REDACTED, return_type=str),
    WithJsonSchema({"type": "string", "description": "PEM"}),
]


class SocialProviderBody(_Settings):
    """A provider that a pool has once, for all tenants: Sign in with Apple, Facebook, Login with
    Amazon. ``accounts``: who of its people is the tenant's; left out, who is listed stays.

    The settings create it in the pool, where it is not there yet: ``client_id`` and
    ``client_secret``, or for Apple ``client_id`` (the services id), ``team_id``, ``key_id`` and
    ``private_key``. Without them the pool's own is used.
    """

    kind: Literal["apple", "facebook", "amazon"]
    accounts: Accounts | None = None
    client_id: Token | None = None
    client_secret: SecretValue | None = None
    team_id: Token | None = None
    key_id: Token | None = None
    private_key: PrivateKey | None = None

    @model_validator(mode="after")
    def _settings(self) -> SocialProviderBody:
        all_names = NEEDED[ProviderKind(self.kind)]
        setting_names = {name for name in _SETTINGS if getattr(self, name) is not None}
        if setting_names and setting_names != set(all_names):
            msg = f"{self.kind} needs all of {', '.join(all_names)} and no other, or none of them"
            raise ValueError(msg)
        return self

    @property
    def settings(self) -> dict[str, Secret] | None:
        """None: the pool's own is used."""
        values = {name: getattr(self, name) for name in NEEDED[ProviderKind(self.kind)]}
        if None in values.values():
            return None
        return {n: v if isinstance(v, Secret) else Secret(v) for n, v in values.items()}


_SETTINGS = ("client_id", "client_secret", "team_id", "key_id", "private_key")
AnyProviderBody = OidcProviderBody | SamlProviderBody | PoolUsersBody | SocialProviderBody


def _form(body: object) -> str:
    """Which of the four a provider is, by its kind alone; or an entry that holds one."""
    if isinstance(body, ProviderEntry) or (isinstance(body, dict) and "provider" in body):
        return "(entry)"
    kind = body.get("kind") if isinstance(body, dict) else getattr(body, "kind", None)
    social = dict.fromkeys(("apple", "facebook", "amazon"), "(social)")
    return {"saml": "(saml)", "cognito": "(cognito)", **social}.get(str(kind), "(oidc)")


ProviderBody = Annotated[
    Annotated[OidcProviderBody, Tag("(oidc)")]
    | Annotated[SamlProviderBody, Tag("(saml)")]
    | Annotated[PoolUsersBody, Tag("(cognito)")]
    | Annotated[SocialProviderBody, Tag("(social)")],
    Discriminator(_form),
]


class ProviderEntry(_Body):
    """A provider with the group and the domain of those who sign in with it."""

    provider: ProviderBody
    group: GroupName | None = None
    groups: Groups | None = None
    allowed_domain: EmailDomain | None = None
    email_domains: Annotated[frozenset[EmailDomain], Field(min_length=1, max_length=500)] | None = (
        None
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> ProviderEntry:
        _either(self, ("group", "groups"), ("allowed_domain", "email_domains"))
        for name, value in (("groups", self.all_groups), ("domains", self.domains)):
            if value is not None and getattr(self.provider, name) is not None:
                msg = f"{name} of the provider are said twice"
                raise ValueError(msg)
        return self

    @property
    def all_groups(self) -> tuple[str, ...] | Literal["any"] | None:
        return self.groups if self.group is None else (self.group,)

    @property
    def domains(self) -> frozenset[str] | None:
        return _domains(self.email_domains, self.allowed_domain)

    @property
    def body(self) -> AnyProviderBody:
        """The provider, with what the entry says of it."""
        values = {"groups": self.all_groups, "domains": self.domains}
        return self.provider.model_copy(
            update={name: value for name, value in values.items() if value is not None}
        )


ListedProvider = Annotated[
    Annotated[OidcProviderBody, Tag("(oidc)")]
    | Annotated[SamlProviderBody, Tag("(saml)")]
    | Annotated[PoolUsersBody, Tag("(cognito)")]
    | Annotated[SocialProviderBody, Tag("(social)")]
    | Annotated[ProviderEntry, Tag("(entry)")],
    Discriminator(_form),
]


def _either(body: _Body, *pairs: tuple[str, str]) -> None:
    for singular, plural in pairs:
        if getattr(body, singular) is not None and getattr(body, plural) is not None:
            msg = f"either {singular} or {plural}"
            raise ValueError(msg)


def _domains(several: frozenset[str] | None, one: str | None) -> frozenset[str] | None:
    return several or (None if one is None else frozenset({one}))


ClientId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+]{1,128}$")]


class PasswordClientBody(_Body):
    """An app client of the tenant's own for passwords of the pool's users, which rules with
    ``basic: cognito`` take. ``adopt``: takes over the one of that id, which then does nothing else.
    ``secret: false``: one without a secret, with which everybody can try passwords.
    """

    secret: bool = True
    adopt: ClientId | None = None


class ProvisionBody(_Body):
    """``provider`` or ``providers``; ``group`` or ``groups`` (or ``any``); ``allowed_domain`` or
    ``email_domains``. Of entries ``{provider, group, allowed_domain}`` in ``providers``, each group
    and domain is its provider's, and the tenant has those of all, unless it names its own.

    What is left out is taken from the tenant where it exists already. ``hosts`` may be left out
    where shared hosts exist. ``adopt`` takes over providers that are in the pool already,
    ``adopt_client`` the app client of that id. ``keep_secrets`` keeps the identity providers'
    secrets, encrypted, so that ``verify --fix`` can make a deleted provider again.
    ``custom_attributes`` are added to the pool where they are missing, and cannot be removed again.
    ``pool`` is one of ``cognito.pools``, or ``default``; without it the first that has room.
    ``password_client`` makes the document's ``password_client`` a managed one.

    ``prune: false`` adds: providers, domains and hosts that the tenant has and the request does not
    name stay, and so does who gets in with them. Groups and domains of the request are then those
    of the providers that it names; one without a ``name`` is a new one.
    """

    prune: bool = True
    provider: ProviderBody | None = None
    providers: Annotated[tuple[ListedProvider, ...], Field(min_length=1, max_length=20)] | None = (
        None
    )
    default_provider: Text | None = None
    fallback_providers: Annotated[tuple[Text, ...], Field(max_length=20)] | None = None
    group: GroupName | None = None
    groups: Groups | None = None
    allowed_domain: EmailDomain | None = None
    email_domains: Annotated[frozenset[EmailDomain], Field(min_length=1, max_length=500)] | None = (
        None
    )
    hosts: Annotated[tuple[HostPattern, ...], Field(max_length=500)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=120), VISIBLE] | None = None
    adopt: bool = False
    adopt_client: ClientId | None = None
    password_client: PasswordClientBody | None = None
    keep_secrets: bool = False
    custom_attributes: Annotated[tuple[CustomAttribute, ...], Field(max_length=20)] = ()
    pool: Annotated[str, Field(pattern=POOL_NAME)] | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> ProvisionBody:
        _either(
            self,
            ("provider", "providers"),
            ("group", "groups"),
            ("allowed_domain", "email_domains"),
        )
        if self.provider is None and self.providers is None:
            msg = "provider, or providers for several, is needed"
            raise ValueError(msg)
        if sum(isinstance(each, PoolUsersBody) for each in self.all_providers) > 1:
            msg = "a pool has its own users once: one provider of kind cognito"
            raise ValueError(msg)
        if not self.prune:
            self._expect_said_once()
        return self

    def _expect_said_once(self) -> None:
        for name, said, of_a_provider in (
            ("groups", self.group or self.groups, [p.groups for p in self.all_providers]),
            (
                "email_domains",
                self.allowed_domain or self.email_domains,
                [p.domains for p in self.all_providers],
            ),
        ):
            if said is not None and any(each is not None for each in of_a_provider):
                msg = f"{name}: with prune: false they are the providers'; one says its own too"
                raise ValueError(msg)

    @property
    def all_providers(self) -> tuple[AnyProviderBody, ...]:
        entries = self.providers or ((self.provider,) if self.provider is not None else ())
        return tuple(p.body if isinstance(p, ProviderEntry) else p for p in entries)

    @property
    def entries(self) -> tuple[ProviderEntry, ...]:
        return tuple(p for p in self.providers or () if isinstance(p, ProviderEntry))

    @property
    def allowed_groups(self) -> list[str] | Literal["any"] | None:
        """None where nothing was said."""
        if self.groups == "any":
            return "any"
        if self.groups is not None:
            return sorted(set(self.groups))
        return self._entries_groups() if self.group is None else [self.group]

    def _entries_groups(self) -> list[str] | Literal["any"] | None:
        """Of all entries together, where each provider is one that says which."""
        group_sets = [entry.all_groups for entry in self.entries]
        if not group_sets or len(group_sets) != len(self.providers or ()) or None in group_sets:
            return None
        if "any" in group_sets:
            return "any"
        return sorted({group for groups in group_sets for group in groups or ()})

    @property
    def domains(self) -> frozenset[str] | None:
        entries = frozenset(d for entry in self.entries for d in entry.domains or ())
        return _domains(self.email_domains, self.allowed_domain) or entries or None
