"""The tenant document: what a file, the admin API and SQL all hold, and how it becomes a
``Tenant``.

One shape for three doors, so that a tenant exported from one can be applied through another.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from gateway.config.model import REDACTED, resolve_secret
from gateway.config.types import (
    VISIBLE,
    BaseUrl,
    Duration,
    EntityId,
    HeaderMap,
    HeaderSetting,
    IssuerUrl,
    Look,
    MailAddress,
    Model,
    Token,
    Url,
    check_header_map,
    check_header_names,
)
from gateway.config.user_pools import POOL_NAME
from gateway.core.app_cookies import MAX_ENTRY_CHARACTERS, AppCookie
from gateway.core.canonical import account_address
from gateway.core.glob import MAX_GLOB_CHARACTERS, check_glob
from gateway.core.hook_target import WebhookEvent  # noqa: TC001 - pydantic reads annotations
from gateway.core.hosts import canonical_host, email_domain, includes
from gateway.core.idle_counts import MAX_EXCLUDES
from gateway.core.model import (
    GOOGLE_DIRECTORY_KINDS,
    POOLS_OWN,
    SHARED_USERS,
    SOCIAL,
    AppPasswordLimits,
    EmailTrust,
    ProviderKind,
    Secret,
)
from gateway.core.readings import PathReader
from gateway.core.service_account import ServiceAccountKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TENANT_ID = r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$"
PROVIDER_NAME = r"^[a-z0-9](?:[a-z0-9-]{1,30}[a-z0-9])$"
"""A subset of what Cognito takes (3 to 32 characters, no underscore): safe in URLs, usernames and
logs.
"""
METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "CONNECT",
    "TRACE",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
)
Method = Literal[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "CONNECT",
    "TRACE",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
]


def _host_or_wildcard(value: object) -> str:
    if isinstance(value, str):
        star = value.startswith("*.")
        host = canonical_host(value[2:] if star else value)
        if host is not None and (not star or "." in host):
            return ("*." if star else "") + host
    msg = "a host name such as app.example.com or *.app.example.com"
    raise ValueError(msg)


def _domain(value: object) -> str:
    host = canonical_host(value) if isinstance(value, str) else None
    if host is None or "." not in host:
        msg = "an e-mail domain such as example.com"
        raise ValueError(msg)
    return host


def _names_or_any(value: object) -> object:
    if value == "any":
        return None
    if not isinstance(value, list | tuple | frozenset):
        msg = "a list of names, or the word any"
        raise ValueError(msg)  # noqa: TRY004 - pydantic reports ValueError with its location
    return value


SecretValue = Annotated[
    Secret,
    BeforeValidator(lambda v: Secret(REDACTED) if v == REDACTED else resolve_secret(v)),
    PlainSerializer(lambda _: REDACTED, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "description": "the secret, env:NAME or file:PATH; *** keeps the one that is stored",
        }
    ),
]
SIGNING_CHARACTERS = 32
"""128 random bits in hex, 190 in base64: whoever sees one signed message may try secrets as fast as
they can hash.
"""


def _generated(secret: Secret) -> Secret:
    text = secret.reveal().removeprefix("whsec_")
    if secret.reveal() != REDACTED and (len(text) < SIGNING_CHARACTERS or len(set(text)) < 8):
        msg = (
            f"a generated secret of at least {SIGNING_CHARACTERS} characters (try: openssl "
            "rand -hex 32)"
        )
        raise ValueError(msg)
    return secret


SigningSecret = Annotated[
    SecretValue,
    AfterValidator(_generated),
    WithJsonSchema(
        {
            "type": "string",
            "description": (
                f"a generated secret of at least {SIGNING_CHARACTERS} characters, env:NAME or "
                "file:PATH; *** keeps the one that is stored"
            ),
        }
    ),
]
HostPattern = Annotated[str, BeforeValidator(_host_or_wildcard)]
EmailDomain = Annotated[str, BeforeValidator(_domain)]
GroupName = Annotated[str, Field(min_length=1, max_length=256), VISIBLE]
MAX_CONTACTS = 10
"""Each gets every letter of the tenant."""
MAX_PROVIDERS = 20
"""Of one tenant; a check looks for a session's among them, one after the other."""
MAX_NAMES = 500
"""In each list of a tenant: hosts, e-mail domains, groups, roles. Each name is compared with
others' when tenants change, and a check looks a person's groups up in it.
"""
_NameSet = Annotated[frozenset[GroupName], Field(max_length=MAX_NAMES)]
Names = Annotated[
    _NameSet | None,
    BeforeValidator(_names_or_any),
    PlainSerializer(lambda v: "any" if v is None else sorted(v)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}, "maxItems": MAX_NAMES},
                {"const": "any"},
            ]
        }
    ),
]
RuleNames = Annotated[
    _NameSet | Literal["unset"] | None,
    BeforeValidator(lambda v: v if v == "unset" else _names_or_any(v)),
    PlainSerializer(lambda v: "any" if v is None else v if v == "unset" else sorted(v)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}, "maxItems": MAX_NAMES},
                {"enum": ["any", "unset"]},
            ]
        }
    ),
]
"""``unset`` (the default) says nothing; ``any`` is satisfied by whoever the tenant lets in."""
PathGlob = Annotated[
    str,
    # Before the pattern, which says less about what to write instead.
    BeforeValidator(lambda value: check_glob(value) if isinstance(value, str) else value),
    Field(pattern=r"^/[^\s?#\\%;\[\]{}|\x00-\x1f\x7f]*$", max_length=MAX_GLOB_CHARACTERS),
]
MAX_RULES = 256
"""In each list of a tenant. Those that begin with stars are all asked about every path."""
MAX_RULE_HOSTS = 64
"""Different names in the ``hosts`` of each list of rules: the rules are compiled for each of them
apart.
"""
MAX_RULE_STARS = 512
"""``*`` and ``**`` in all paths of a list of rules, a final ``/**`` apart: each may be tried at
each segment of a path, and a check of one tenant holds up all of them.
"""


MAX_HOOK_SECRETS = 4
"""Two while rotating; every delivery is compared with each."""


def _service_account_key(secret: Secret) -> Secret:
    if secret.reveal() != REDACTED and ServiceAccountKey.parse(secret) is None:
        msg = (
            "the JSON key of a Google service account, as text: type, client_email, "
            "private_key_id and private_key"
        )
        raise ValueError(msg)
    return secret


ServiceAccountSecret = Annotated[
    SecretValue,
    AfterValidator(_service_account_key),
    WithJsonSchema(
        {
            "type": "string",
            "description": (
                "the JSON key of a Google service account, as text, env:NAME or file:PATH; *** "
                "keeps the one that is stored"
            ),
        }
    ),
]


class HookDocument(Model):
    """How this provider's events are recognized. ``secrets``: two during rotation; ``api_token``:
    reads Okta's System Log; ``service_account``: reads a Google Workspace directory, for the
    administrator ``admin_email`` where it has no admin role of its own. ``secrets_expire`` and
    ``client_secret_expires``: when they end or are to be exchanged; the gateway tells of it before.
    """

    secrets: Annotated[tuple[SigningSecret, ...], Field(max_length=MAX_HOOK_SECRETS)] = ()
    directory_id: Token | None = None
    client_id: Token | None = None
    client_secret: SecretValue | None = None
    audience: Token | None = None
    api_token: SecretValue | None = None
    service_account: ServiceAccountSecret | None = None
    admin_email: (
        Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$"), VISIBLE] | None
    ) = None
    api_url: BaseUrl | None = None
    secrets_expire: date | None = None
    client_secret_expires: date | None = None


GOOGLE_ISSUER = "https://accounts.google.com"


GOOGLE_HOSTS = frozenset({"accounts.google.com", "accounts.google.localhost"})
"""The second is a stand-in's: a name that never leaves the machine."""


def _is_googles(issuer: str | None) -> bool:
    return issuer is not None and urlsplit(issuer).hostname in GOOGLE_HOSTS


CONSUMERS = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The directory of all personal Microsoft accounts: their tokens name it."""
_SHARED_DIRECTORIES = frozenset({"common", "organizations", "consumers", CONSUMERS})
_EVERYBODYS_HOSTS = frozenset({"appleid.apple.com", "facebook.com", "www.facebook.com"})
MAX_ACCOUNTS = 1000


def _is_consumers(issuer: str | None) -> bool:
    """Whether people of more than one Microsoft customer have it as their issuer."""
    directory = urlsplit(issuer or "").path.strip("/").partition("/")[0].lower()
    return directory in _SHARED_DIRECTORIES


class AccountDocument(Model):
    """An account at a provider where anybody has one. ``id``: as the provider knows it (Cognito's
    user name after the first underscore); ``email``: who that is for the application, of the
    provider's ``domains``.
    """

    id: Annotated[str, Field(pattern=r"^[!-~]+$", max_length=256)]
    email: Annotated[str, Field(max_length=320)]
    groups: Annotated[frozenset[GroupName], Field(max_length=MAX_NAMES)] = frozenset()
    roles: Annotated[frozenset[GroupName], Field(max_length=MAX_NAMES)] = frozenset()

    @field_validator("email")
    @classmethod
    def _address(cls, email: str) -> str:
        domain = email_domain(email)
        if domain is None:
            msg = "one plain e-mail address"
            raise ValueError(msg)
        return account_address(email, domain)


Accounts = Annotated[tuple[AccountDocument, ...], Field(max_length=MAX_ACCOUNTS)]
ProviderName = Annotated[str, Field(pattern=PROVIDER_NAME)]


class ProviderDocument(Model):
    """One identity provider, by the name that Cognito knows it by. ``email_trust: tenant_idp``
    needs an ``issuer`` and another kind than ``cognito``; of a SAML provider, its ``entity_id``.
    Only people whose Google account belongs to one of ``domains`` sign in with kind ``google``.
    ``members_only``, of kind ``cognito``: only users of the pool's group ``tenants/TENANT`` do.
    Without ``domains`` it has those of the tenant that no other provider names. ``secret_expires``:
    when the client secret ends that Cognito uses at the provider.
    """

    name: ProviderName
    kind: ProviderKind
    label: Annotated[str, Field(max_length=80), VISIBLE] = ""
    issuer: IssuerUrl | None = None
    entity_id: EntityId | None = None
    active: bool = True
    hidden: bool = False
    domains: Annotated[frozenset[EmailDomain], Field(max_length=MAX_NAMES)] | None = None
    groups: Annotated[Names, Field(json_schema_extra={"default": "any"})] = None
    roles: Annotated[Names, Field(json_schema_extra={"default": "any"})] = None
    email_trust: EmailTrust | None = None
    url_decode_groups: bool = True
    members_only: bool = False
    secret_expires: date | None = None
    accounts: Accounts = ()
    hooks: HookDocument = HookDocument()

    @model_validator(mode="after")
    def _social(self) -> ProviderDocument:
        if self.accounts and self.kind not in SOCIAL:
            msg = f"accounts are for kinds {', '.join(sorted(SOCIAL))}"
            raise ValueError(msg)
        if self.kind in SOCIAL and self.email_trust is not None:
            msg = f"email_trust: an account of kind {self.kind} has the address that accounts say"
            raise ValueError(msg)
        if len({each.id for each in self.accounts}) != len(self.accounts):
            msg = "accounts: one is listed twice"
            raise ValueError(msg)
        if (self.kind is ProviderKind.MICROSOFT_SOCIAL) != _is_consumers(self.issuer):
            msg = (
                f"issuer https://login.microsoftonline.com/{CONSUMERS}/v2.0 and kind: "
                "microsoft-social need each other: it is everybody's, and so are common, consumers "
                "and organizations"
            )
            raise ValueError(msg)
        if self.kind in POOLS_OWN and self.kind in SOCIAL and self.issuer is not None:
            msg = f"kind {self.kind} has no issuer: it is the pool's"
            raise ValueError(msg)
        if urlsplit(self.issuer or "").hostname in _EVERYBODYS_HOSTS:
            msg = "issuer: it is everybody's; use kind: apple or facebook"
            raise ValueError(msg)
        if f"{self.name}_" in SHARED_USERS:
            msg = f"name: {self.name} is what Cognito calls a provider of the whole pool"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _trust(self) -> ProviderDocument:
        if self.hooks.service_account is not None and self.kind not in GOOGLE_DIRECTORY_KINDS:
            msg = "hooks.service_account is for kind: google, saml or oidc"
            raise ValueError(msg)
        if self.hooks.admin_email is not None and self.hooks.service_account is None:
            msg = "hooks.admin_email needs service_account: it reads for that administrator"
            raise ValueError(msg)
        if self.members_only and self.kind is not ProviderKind.COGNITO:
            msg = "members_only is for kind: cognito: it names a group of the pool's own users"
            raise ValueError(msg)
        saml = self.kind is ProviderKind.SAML
        if (self.issuer if saml else self.entity_id) is not None:
            msg = "a provider of kind saml has an entity_id and no issuer; every other none"
            raise ValueError(msg)
        if (self.kind is ProviderKind.GOOGLE) != _is_googles(self.issuer):
            msg = (
                f"issuer {GOOGLE_ISSUER} and kind: google need each other: it is everybody's, and "
                "only that kind asks which organization an account belongs to"
            )
            raise ValueError(msg)
        if self.email_trust is EmailTrust.TENANT_IDP and (
            self.kind is ProviderKind.COGNITO or (self.entity_id if saml else self.issuer) is None
        ):
            msg = (
                "email_trust: tenant_idp needs a provider with its own issuer; the pool's own "
                "users need verified_claim"
            )
            raise ValueError(msg)
        return self


class BearerDocument(Model):
    """``clients``: app client ids; left out, this tenant's own."""

    clients: Annotated[frozenset[Token], Field(max_length=100)] | None = None
    scopes: Annotated[frozenset[Token], Field(max_length=100)] = frozenset()


MachineText = Annotated[str, Field(pattern=r"^([!-~]([ -~]*[!-~])?)?$", max_length=256)]
"""What a header says of a machine: printable ASCII, no blanks at either end."""
NEVER_OF_A_RULE = frozenset({"tenant", "provider", "assertion"})
"""Sources of headers that no rule speaks for: whose request it is, who vouched for it, and what the
gateway signs.
"""


class RuleDocument(Model):
    """First match wins. ``allow: public`` needs no login; ``allow: deny`` refuses.

    ``allow`` stands without ``groups``, ``roles``, ``bearer``, ``app_passwords``, ``basic`` and
    ``override_tenant_groups``; ``basic: cognito`` needs the tenant's ``password_client``;
    ``browser_sessions: false`` needs ``bearer``; ``override_tenant_groups: true`` needs ``groups``
    or ``roles``. ``hosts``, of the tenant's own, limits it to these; on shared hosts it then says
    nothing. ``identity`` needs ``bearer``: managed headers and their text for a machine's token. No
    text may be a person's: no address of ``email_domains``, no UUID, no ``PROVIDER_`` at its
    beginning; and none for headers whose source is ``tenant``, ``provider`` or ``assertion``.
    """

    path: PathGlob
    methods: frozenset[Method] | None = None
    allow: Literal["public", "deny"] | None = None
    groups: RuleNames = "unset"
    roles: RuleNames = "unset"
    override_tenant_groups: bool = False
    bearer: BearerDocument | None = None
    browser_sessions: bool = True
    hosts: (
        Annotated[frozenset[HostPattern], Field(min_length=1, max_length=MAX_RULE_HOSTS)] | None
    ) = None
    identity: Annotated[dict[str, MachineText], Field(max_length=40)] = Field(default_factory=dict)
    app_passwords: bool = False
    basic: Literal["cognito"] | None = None

    @field_validator("identity")
    @classmethod
    def _identity(cls, identity: dict[str, str]) -> dict[str, str]:
        check_header_names(identity)
        return identity

    @model_validator(mode="after")
    def _coherent(self) -> RuleDocument:
        if self.allow and (
            self.groups != "unset"
            or self.roles != "unset"
            or self.bearer
            or self.app_passwords
            or self.basic
            or self.override_tenant_groups
        ):
            msg = (
                f"allow: {self.allow} cannot be combined with groups, roles, bearer, "
                "app_passwords, basic or override_tenant_groups"
            )
            raise ValueError(msg)
        if not self.browser_sessions and self.bearer is None:
            msg = "browser_sessions: false needs bearer"
            raise ValueError(msg)
        if self.identity and self.bearer is None:
            msg = "identity needs bearer: it is what the application hears of a machine"
            raise ValueError(msg)
        if self.override_tenant_groups and self.groups == "unset" and self.roles == "unset":
            msg = "override_tenant_groups: true needs groups or roles"
            raise ValueError(msg)
        return self


Rules = Annotated[tuple[RuleDocument, ...], Field(max_length=MAX_RULES)]


class PathsDocument(Model):
    """How this tenant's application reads paths, where it is looser than byte for byte. Rules are
    written in the folded form.
    """

    ignore_case: bool = False
    windows: bool = False
    unicode: bool = False
    suffixes: bool = False

    def reader(self) -> PathReader:
        return PathReader(
            ignore_case=self.ignore_case,
            windows=self.windows,
            unicode=self.unicode,
            suffixes=self.suffixes,
        )


def _app_cookie(text: str) -> str:
    AppCookie.parse(text)
    return text


AppCookieText = Annotated[str, Field(max_length=MAX_ENTRY_CHARACTERS), AfterValidator(_app_cookie)]
MAX_APP_COOKIES = 16


class IdleCountsDocument(Model):
    """Which requests keep a session from idling out, where not all do alike. ``websocket`` is at
    least 1m, and not longer than ``max_lifetime``.
    """

    exclude: Annotated[tuple[PathGlob, ...], Field(max_length=MAX_EXCLUDES)] = ()
    websocket: Duration | None = None


class SessionDocument(Model):
    """What this tenant has otherwise than the gateway; never longer than 30 days, and
    ``idle_timeout`` not longer than ``max_lifetime``.
    """

    idle_timeout: Duration | None = None
    idle_counts: IdleCountsDocument = IdleCountsDocument()
    max_lifetime: Duration | None = None
    max_per_user: Annotated[int, Field(ge=1, le=1000)] | None = None


def _at_most_30_days(value: timedelta) -> timedelta:
    if not timedelta(minutes=1) <= value <= timedelta(days=30):
        msg = "one minute to 30 days: for so long is remembered what was revoked"
        raise ValueError(msg)
    return value


UpTo30Days = Annotated[Duration, AfterValidator(_at_most_30_days)]


class AppPasswordsDocument(Model):
    """People's own passwords for programs, where a rule takes them. ``lifetime`` and
    ``login_within`` are at most 30 days.
    """

    lifetime: UpTo30Days | None = None
    login_within: UpTo30Days | None = None
    max_per_user: Annotated[int, Field(ge=1, le=100)] | None = None

    def limits(self) -> AppPasswordLimits:
        lifetime, login_within = (
            self.lifetime or timedelta(days=30),
            self.login_within or timedelta(days=7),
        )
        return AppPasswordLimits(
            int(lifetime.total_seconds()),
            int(login_within.total_seconds()),
            self.max_per_user or 20,
        )


class PasswordClientDocument(Model):
    """The app client with which passwords of the pool's users are checked (``basic: cognito``): one
    with ``ALLOW_USER_PASSWORD_AUTH``, and for nothing else.

    Either ``client_id``, with ``client_secret`` where it has one, or ``client: managed`` with
    neither: provisioning makes it. ``secret: false``: without a secret.
    """

    client: Literal["managed"] | None = None
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+]+$", max_length=128)] | None = None
    client_secret: SecretValue | None = None
    secret: bool = True

    @model_validator(mode="after")
    def _either(self) -> PasswordClientDocument:
        if (self.client == "managed") == (self.client_id is not None):
            msg = "either client_id (and client_secret), or client: managed"
            raise ValueError(msg)
        if self.client == "managed" and self.client_secret is not None:
            msg = "client_secret stands with client_id alone"
            raise ValueError(msg)
        if self.client is None and not self.secret:
            msg = "secret stands with client: managed alone: leave client_secret out"
            raise ValueError(msg)
        return self


class WebhookDocument(Model):
    """Where the tenant's app hears of its people. ``events``: which messages it is sent; without
    it all but ``user.signed_in``. ``format``: the body as documented, or a CloudEvents envelope
    around it.
    """

    url: Url
    secret: SigningSecret
    previous_secret: SigningSecret | None = None
    events: Annotated[tuple[WebhookEvent, ...], Field(min_length=1, max_length=40)] | None = None
    format: Literal["standard", "cloudevents"] = "standard"


class BrandingDocument(Look):
    """Pages of this tenant. ``group_labels``: what people read in place of a group's name."""

    group_labels: Annotated[
        dict[GroupName, Annotated[str, Field(min_length=1, max_length=120), VISIBLE]],
        Field(max_length=MAX_NAMES),
    ] = Field(default_factory=dict)


class TenantDocument(Model):
    """One tenant, as written in ``config/tenants/ID.yaml`` or sent to the admin API.

    Either ``client_id`` with ``client_secret``, or ``client: managed`` with neither. ``pool`` is
    one of ``cognito.pools``, or ``default``. ``scopes``
    contain ``openid``, and never ``aws.cognito.signin.user.admin``. Providers have different names,
    and ``domains`` within ``email_domains``; ``default_provider`` and ``fallback_providers`` name
    some of them. At least one host, a wildcard only with
    ``login_host``, and ``headers`` only of ``tenant_headers``, as the gateway's configuration has
    them.
    """

    id: Annotated[str, Field(pattern=TENANT_ID)]
    name: Annotated[str, Field(min_length=1, max_length=120), VISIBLE]
    active: bool = True
    hosts: Annotated[tuple[HostPattern, ...], Field(max_length=MAX_NAMES)] = ()
    email_domains: Annotated[frozenset[EmailDomain], Field(max_length=MAX_NAMES)]
    allowed_groups: Names
    allowed_roles: Annotated[Names, Field(json_schema_extra={"default": "any"})] = None
    client: Literal["managed"] | None = None
    client_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+]+$", max_length=128)] | None = None
    client_secret: SecretValue | None = None
    pool: Annotated[str, Field(pattern=POOL_NAME)] | None = None
    scopes: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$", max_length=256)], ...],
        Field(max_length=50),
    ] = ("openid",)
    providers: Annotated[
        tuple[ProviderDocument, ...], Field(min_length=1, max_length=MAX_PROVIDERS)
    ]
    default_provider: ProviderName | None = None
    fallback_providers: Annotated[tuple[ProviderName, ...], Field(max_length=MAX_PROVIDERS)] = ()
    paths: PathsDocument = PathsDocument()
    rules: Rules = ()
    shadow_rules: Rules = ()
    headers: HeaderMap = Field(default_factory=dict)
    app_cookies: Annotated[tuple[AppCookieText, ...], Field(max_length=MAX_APP_COOKIES)] = ()
    clear_domain_cookies: bool = False
    session: SessionDocument = SessionDocument()
    app_passwords: AppPasswordsDocument = AppPasswordsDocument()
    password_client: PasswordClientDocument | None = None
    webhook: WebhookDocument | None = None
    branding: BrandingDocument = BrandingDocument()
    contacts: Annotated[tuple[MailAddress, ...], Field(max_length=MAX_CONTACTS)] = ()

    @field_validator("headers")
    @classmethod
    def _headers(cls, headers: dict[str, str | HeaderSetting]) -> dict[str, str | HeaderSetting]:
        check_header_map(headers)
        return headers

    @model_validator(mode="after")
    def _coherent(self) -> TenantDocument:
        if (self.client == "managed") == (self.client_id is not None):
            msg = "either client_id with client_secret, or client: managed"
            raise ValueError(msg)
        if self.client is None and self.client_secret is None:
            msg = "client_secret is required with client_id"
            raise ValueError(msg)
        if "openid" not in self.scopes:
            msg = "scopes must contain openid"
            raise ValueError(msg)
        if "aws.cognito.signin.user.admin" in self.scopes:
            msg = (
                "scopes: aws.cognito.signin.user.admin lets people edit their own groups; "
                "never allowed"
            )
            raise ValueError(msg)
        names = [p.name.lower() for p in self.providers]
        if len(set(names)) != len(names):
            msg = "providers: two have the same name"
            raise ValueError(msg)
        for provider in self.providers:
            outside = (provider.domains or frozenset()) - self.email_domains
            if outside:
                msg = (
                    f"providers.{provider.name}.domains: {', '.join(sorted(outside))} not in "
                    "email_domains"
                )
                raise ValueError(msg)
        _check_accounts(self)
        _check_named_providers(self)
        _check_spelling(self)
        _check_stars(self)
        _check_rule_hosts(self)
        _check_machines(self)
        _check_passwords(self)
        return self


def _check_accounts(document: TenantDocument) -> None:
    """An account is of a person whom the provider may vouch for."""
    domains = provider_domains(
        document.email_domains, {p.name: p.domains for p in document.providers}
    )
    for provider in document.providers:
        for account in provider.accounts:
            if email_domain(account.email) not in domains[provider.name]:
                msg = (
                    f"providers.{provider.name}.accounts: {account.email} is of none of the "
                    "provider's domains"
                )
                raise ValueError(msg)
    kinds = [p.kind for p in document.providers if p.kind in POOLS_OWN and p.kind in SOCIAL]
    if len(set(kinds)) != len(kinds):
        msg = "providers: a pool has one of apple, facebook and amazon each"
        raise ValueError(msg)


def _check_passwords(document: TenantDocument) -> None:
    """Where names and passwords of the pool's users are taken, there is somebody to ask, and with
    a client that does nothing else.
    """
    client = document.password_client
    if client is not None and client.client == "managed" and document.client != "managed":
        msg = "password_client: client: managed stands with the tenant's client: managed alone"
        raise ValueError(msg)
    if client is not None and client.client_id and client.client_id == document.client_id:
        msg = "password_client: it is the client of logins; passwords need one of their own"
        raise ValueError(msg)
    for field, rules in (("rules", document.rules), ("shadow_rules", document.shadow_rules)):
        index = next((n for n, rule in enumerate(rules) if rule.basic is not None), None)
        if index is None:
            continue
        if client is None:
            msg = f"{field}.{index}.basic: cognito needs password_client"
            raise ValueError(msg)
        if not any(p.kind is ProviderKind.COGNITO for p in document.providers):
            msg = (
                f"{field}.{index}.basic: cognito needs a provider of kind cognito: whoever signs "
                "in with another one has no password in the pool"
            )
            raise ValueError(msg)


def _check_named_providers(document: TenantDocument) -> None:
    names, fallback = {p.name for p in document.providers}, document.fallback_providers
    if document.default_provider is not None and document.default_provider not in names:
        msg = f"default_provider: {document.default_provider} is none of providers"
        raise ValueError(msg)
    if unknown := sorted(set(fallback) - names):
        msg = f"fallback_providers: {', '.join(unknown)} not in providers"
        raise ValueError(msg)
    if len(set(fallback)) != len(fallback):
        msg = "fallback_providers: one is named twice"
        raise ValueError(msg)


def provider_domains(
    email_domains: Iterable[str], named: Mapping[str, Iterable[str] | None]
) -> dict[str, frozenset[str]]:
    """Which e-mail domains each provider vouches for. ``named``: by its name, what it names itself;
    None for the rest, which are the tenant's that no provider names, an inactive one either.
    """
    named_domains = frozenset(domain for domains in named.values() for domain in domains or ())
    rest = frozenset(email_domains) - named_domains
    return {
        name: rest if domains is None else frozenset(domains) for name, domains in named.items()
    }


def _check_spelling(document: TenantDocument) -> None:
    """Rules are written in the names by which the application's paths are looked for; another
    spelling would match nothing.
    """
    reader = document.paths.reader()
    rules = (
        (f"{field}.{index}.path", rule.path)
        for field, rules in (("rules", document.rules), ("shadow_rules", document.shadow_rules))
        for index, rule in enumerate(rules)
    )
    excluded = (
        (f"session.idle_counts.exclude.{index}", path)
        for index, path in enumerate(document.session.idle_counts.exclude)
    )
    for place, path in (*rules, *excluded):
        try:
            spelling = reader.spelling(path)
        except ValueError as error:
            msg = f"{place}: {error}"
            raise ValueError(msg) from error
        if spelling != path:
            msg = (
                f"{place}: write {spelling}: with this tenant's paths, every spelling of it is "
                "read as that"
            )
            raise ValueError(msg)


def _check_stars(document: TenantDocument) -> None:
    for field, rules in (("rules", document.rules), ("shadow_rules", document.shadow_rules)):
        if (
            sum(rule.path.removesuffix("/**").replace("**", "*").count("*") for rule in rules)
            > MAX_RULE_STARS
        ):
            msg = (
                f"{field}: at most {MAX_RULE_STARS} times * or ** in all paths together, a "
                "final /** apart; name folders instead"
            )
            raise ValueError(msg)


def _check_rule_hosts(document: TenantDocument) -> None:
    """A rule for a host that is not the tenant's would say nothing anywhere."""
    for field, rules in (("rules", document.rules), ("shadow_rules", document.shadow_rules)):
        for index, rule in enumerate(rules):
            for name in sorted(rule.hosts or ()):
                if not includes(document.hosts, name):
                    msg = f"{field}.{index}.hosts: {name} is none of this tenant's hosts"
                    raise ValueError(msg)
        if len({name for rule in rules for name in rule.hosts or ()}) > MAX_RULE_HOSTS:
            msg = (
                f"{field}: at most {MAX_RULE_HOSTS} different hosts are named; use wildcards, "
                "or rules without hosts"
            )
            raise ValueError(msg)


_AT_DOMAIN = re.compile(r"@([A-Za-z0-9.-]+)")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def _check_machines(document: TenantDocument) -> None:
    """No machine arrives under a name that a person of this tenant could have."""
    for field, rules in (("rules", document.rules), ("shadow_rules", document.shadow_rules)):
        for index, rule in enumerate(rules):
            for name, text in rule.identity.items():
                if why := _persons(text, document):
                    msg = (
                        f"{field}.{index}.identity.{name}: {text!r} is {why}: a machine is "
                        "never taken for a person"
                    )
                    raise ValueError(msg)


def _persons(text: str, document: TenantDocument) -> str:
    """What of a person's it could be; empty for nothing that is known here."""
    domains = (canonical_host(domain_text.rstrip(".-")) for domain_text in _AT_DOMAIN.findall(text))
    if any(domain in document.email_domains for domain in domains):
        return "an address of the tenant's own e-mail domains"
    if _UUID.search(text):
        return "an id as people have"
    names = (POOLS_OWN.get(p.kind, p.name).lower() for p in document.providers)
    if any(text.lower().startswith(f"{name}_") for name in names):
        return "a user name as Cognito makes them for people"
    return ""


__all__ = ["HookDocument", "ProviderDocument", "RuleDocument", "TenantDocument"]
