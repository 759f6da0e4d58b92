"""What a user pool remembers. Configuration is frozen and replaced whole; people, codes and
sessions change in place.

A client's and a provider's configuration is kept exactly as the control plane shows it, so that
there is one truth: the hosted side reads it through typed properties.
"""

from __future__ import annotations

import secrets
import string
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from demo.cognito.attributes import (
    STANDARD_ATTRIBUTES,
    Flattening,
    SchemaAttribute,
    standard_schema,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from demo.clock import Clock
    from demo.cognito.passwords import Failures
    from demo.jose import SigningKey

COGNITO = "COGNITO"
"""The name under which a client lists the pool's own users among its providers."""

_UNIT_S = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
_ALPHABET = string.ascii_lowercase + string.digits


def random_id(length: int, alphabet: str = _ALPHABET) -> str:
    """An identifier in Cognito's alphabet."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


@dataclass(frozen=True, slots=True)
class AppClient:
    """An app client; ``settings`` are the members that DescribeUserPoolClient shows, secret and
    times aside.
    """

    client_id: str
    secret: str | None = field(repr=False)
    settings: Mapping[str, Any]
    created: float = 0.0
    modified: float = 0.0
    secret_arn: str = ""
    """Of the secret in Secrets Manager, which then keeps it and exchanges it."""
    secret_before: str | None = field(default=None, repr=False)
    exchanged: float = 0.0

    def _strings(self, name: str) -> tuple[str, ...]:
        return tuple(self.settings.get(name) or ())

    @property
    def name(self) -> str:
        return str(self.settings["ClientName"])

    @property
    def callback_urls(self) -> tuple[str, ...]:
        return self._strings("CallbackURLs")

    @property
    def logout_urls(self) -> tuple[str, ...]:
        return self._strings("LogoutURLs")

    @property
    def providers(self) -> tuple[str, ...]:
        return self._strings("SupportedIdentityProviders")

    @property
    def scopes(self) -> tuple[str, ...]:
        return self._strings("AllowedOAuthScopes")

    def allows_flow(self, flow: str) -> bool:
        """``AllowedOAuthFlows`` count only while ``AllowedOAuthFlowsUserPoolClient`` is on."""
        return bool(self.settings.get("AllowedOAuthFlowsUserPoolClient")) and flow in self._strings(
            "AllowedOAuthFlows"
        )

    def may_read(self, attribute: str) -> bool:
        """Without ReadAttributes a client reads every standard attribute and no custom one."""
        if attribute == "sub":
            return True
        listed = self._strings("ReadAttributes")
        return attribute in (listed or STANDARD_ATTRIBUTES)

    def may_write(self, attribute: str) -> bool:
        """The same default as for reading; verification flags are never listed and always written
        by federation.
        """
        listed = self._strings("WriteAttributes")
        return attribute.endswith("_verified") or attribute in (listed or STANDARD_ATTRIBUTES)

    def _validity_s(self, kind: str, *, default_s: int, default_unit: str) -> int:
        value = self.settings.get(f"{kind}Validity")
        unit = (self.settings.get("TokenValidityUnits") or {}).get(kind, default_unit)
        return int(value) * _UNIT_S[unit] if value else default_s

    @property
    def access_token_s(self) -> int:
        return self._validity_s("AccessToken", default_s=3600, default_unit="hours")

    @property
    def id_token_s(self) -> int:
        return self._validity_s("IdToken", default_s=3600, default_unit="hours")

    @property
    def refresh_token_s(self) -> int:
        return self._validity_s("RefreshToken", default_s=30 * 86400, default_unit="days")

    @property
    def rotation_grace_s(self) -> int | None:
        """Seconds for which a rotated refresh token still answers; ``None`` where rotation is
        off.
        """
        rotation = self.settings.get("RefreshTokenRotation") or {}
        return (
            int(rotation.get("RetryGracePeriodSeconds") or 0)
            if rotation.get("Feature") == "ENABLED"
            else None
        )

    @property
    def revocation_enabled(self) -> bool:
        return bool(self.settings.get("EnableTokenRevocation", True))


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """An external provider; ``settings`` are the members that DescribeIdentityProvider shows, times
    aside.
    """

    name: str
    settings: Mapping[str, Any]
    created: float = 0.0
    modified: float = 0.0

    def detail(self, name: str) -> str | None:
        value = (self.settings.get("ProviderDetails") or {}).get(name)
        return str(value) if value else None

    @property
    def kind(self) -> str:
        return str(self.settings.get("ProviderType", "OIDC"))

    @property
    def mapping(self) -> Mapping[str, str]:
        """Pool attribute → upstream claim. ``username`` comes from ``sub`` whether mapped or
        not.
        """
        return {"username": "sub", **(self.settings.get("AttributeMapping") or {})}

    @property
    def identifiers(self) -> tuple[str, ...]:
        return tuple(self.settings.get("IdpIdentifiers") or ())


@dataclass(slots=True)
class User:
    """A profile of the pool. A federated one has the provider and the IdP's subject; an own one has
    a password.
    """

    username: str
    sub: str
    created: float
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    enabled: bool = True
    password: str | None = field(default=None, repr=False)
    provider: str | None = None
    provider_type: str = "OIDC"
    idp_subject: str | None = None
    idp_issuer: str | None = None
    """The entity id of a SAML provider; Cognito shows no issuer of an OIDC provider."""
    modified: float = 0.0
    own_status: str = "CONFIRMED"
    """Of one of the pool's own: also FORCE_CHANGE_PASSWORD, RESET_REQUIRED, UNCONFIRMED."""
    password_set_at: float = 0.0
    reset_code: str = field(default="", repr=False)
    second_factor: str = ""
    """Of one of the pool's own: SOFTWARE_TOKEN_MFA, SMS_MFA or EMAIL_OTP."""

    @property
    def status(self) -> str:
        return "EXTERNAL_PROVIDER" if self.provider else self.own_status

    def identities(self) -> list[dict[str, Any]]:
        """The ``identities`` claim: every member but ``issuer`` is a string, booleans and times
        too.
        """
        if self.provider is None:
            return []
        return [
            {
                "userId": self.idp_subject,
                "providerName": self.provider,
                "providerType": self.provider_type,
                "issuer": self.idp_issuer,
                "primary": "true",
                "dateCreated": str(int(self.created * 1000)),
            }
        ]


@dataclass(slots=True)
class Grant:
    """One completed sign-in at one client: what all tokens with the same ``origin_jti`` share."""

    origin_jti: str
    client_id: str
    username: str
    scopes: tuple[str, ...]
    auth_time: int
    event_id: str
    expires_at: float
    resource: str | None = None
    revoked: bool = False


@dataclass(slots=True)
class RefreshToken:
    """``rotated_at`` is set when a newer token took its place; it then answers for the grace period
    only.
    """

    grant: Grant
    rotated_at: float | None = None


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code and everything it is bound to."""

    client_id: str
    redirect_uri: str
    challenge: str | None
    scopes: tuple[str, ...]
    username: str
    nonce: str | None
    auth_time: int
    issued_at: float
    resource: str | None


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """What the hosted pages' own cookie stands for. One hour from sign-in, never extended."""

    username: str
    provider: str
    auth_time: int
    began: float
    session_id: str = field(default_factory=lambda: f"sso{random_id(25)}")


@dataclass(frozen=True, slots=True)
class Style:
    """A managed login style of one client; ``settings=None`` are Cognito's own."""

    style_id: str
    client_id: str
    settings: Any = None
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """A group of the pool; who is in it, each user knows."""

    name: str
    description: str
    created: float


@dataclass(frozen=True, slots=True)
class Mail:
    """What Cognito would send. ``kind``: invitation (a temporary password) or reset (a code)."""

    address: str
    kind: str
    secret: str = field(repr=False)


@dataclass(slots=True)
class Behaviour:
    """Where the vendor's behaviour is not attested, a switch; a gateway has to be safe with each
    position.
    """

    resume_without_provider: bool = True
    """Observed: the cookie resumes when the request names no provider."""
    resume_with_provider: bool = False
    """Not known: the cookie resumes though the request names the provider it came from."""
    resume_across_providers: bool = False
    """Not known: the cookie resumes even where client or request ask for another provider."""
    resumed_auth_time_renewed: bool = False
    """Not known: a resumed sign-in gets a new ``auth_time`` in place of the old one."""
    flattening: Flattening = Flattening.BRACKETS_ENCODED
    unwritable_attribute_fails: bool = False
    """The API reference says a mapped attribute that the client may not write fails; the guide says
    it is skipped.
    """
    managed_login_version: int = 1
    """1: classic hosted pages, ``prompt`` ignored. 2: ``prompt`` obeyed, and no pages for a client
    without a style.
    """
    issuer_slash_ignored: bool = True
    """A slash at the end of an issuer counts for nothing: AWS's instructions for Auth0, whose
    issuer ends in one, give Cognito the form without. False: issuers are compared letter by letter,
    and a provider may be made with either form.
    """
    claim_kept_when_absent: bool = True
    """A claim that the provider left out leaves the stored attribute as it is (developer guide).
    False: the attribute goes.
    """
    saving_reads_metadata: bool = True
    """Reported, not documented: a SAML provider that is saved again has its metadata read at once.
    False: not before the six hours are over.
    """
    tier: str = "ESSENTIALS"
    """The pool's feature plan: ``LITE``, ``ESSENTIALS`` or ``PLUS``."""
    rotation_in_lite: bool = False
    """Not known: a pool of the plan Lite has refresh token rotation."""
    username_search_ignores_case: bool = False
    """The API reference of ListUsers says that a search for usernames regards case, the developer
    guide that no search does.
    """
    lists_begin_empty: bool = False
    """The first page of a list is empty, and has a token: a list ends where there is no token."""
    listed_after_s: float = 0.0
    """How long ListUsers does not show a new profile that AdminGetUser shows."""
    publishes_secrets_unasked: bool = False
    """Documented as False for the API; the console does it. True: the secret of a new client is in
    Secrets Manager although nobody asked for it.
    """
    secret_before_counts: bool = True
    """Not known: after Secrets Manager has exchanged a client's secret, the one before is taken
    until the next exchange. False: it is refused from the exchange on.
    """
    new_secret_after_s: float = 0.0
    """Not known: for how long after an exchange the new secret is not taken yet."""
    unseen_s: float = 0.0
    """How long a client or provider that the API created stays unseen by everything but uniqueness;
    a minute is possible.
    """


@dataclass(slots=True)
class Pool:
    """A user pool and all it remembers."""

    pool_id: str
    clock: Clock
    new_key: Callable[[], SigningKey]
    case_sensitive: bool = True
    schema: dict[str, SchemaAttribute] = field(default_factory=standard_schema)
    clients: dict[str, AppClient] = field(default_factory=dict)
    providers: dict[str, IdentityProvider] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    resource_scopes: set[str] = field(default_factory=set)
    styles: dict[str, Style] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    """Further members of DescribeUserPool: password policy, MFA, sign-up."""
    codes: dict[str, Code] = field(default_factory=dict)
    refresh_tokens: dict[str, RefreshToken] = field(default_factory=dict)
    sessions: dict[str, BrowserSession] = field(default_factory=dict)
    session_tracking: bool = False
    login_reuse: dict[str, int] = field(default_factory=dict)
    """By client: minutes after a sign-in for which the pages' cookie is taken."""
    behaviour: Behaviour = field(default_factory=Behaviour)
    outbox: list[Mail] = field(default_factory=list)
    mail_fails: bool = False
    failures: dict[str, Failures] = field(default_factory=dict)
    """Wrong passwords in a row, by user name."""
    password_changes: dict[str, str] = field(default_factory=dict)
    """Of a page that asks for a new password: its token and the user name."""
    keys: tuple[SigningKey, SigningKey] = field(init=False)
    """ID tokens are signed with the first, access tokens with the second; both are published."""
    created: float = field(init=False)
    _unseen_until: dict[tuple[str, str], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys = (self.new_key(), self.new_key())
        self.created = self.clock()

    @property
    def region(self) -> str:
        return self.pool_id.partition("_")[0]

    def rotate_keys(self) -> None:
        """The second key takes over ID tokens; a new one is published for access tokens; the first
        is gone.
        """
        self.keys = (self.keys[1], self.new_key())

    def add_attribute(
        self, name: str, *, mutable: bool = True, max_length: int = 2048, required: bool = False
    ) -> None:
        """Add to the schema, or redeclare; ``name`` carries its prefix."""
        self.schema[name] = SchemaAttribute(
            name, mutable=mutable, max_length=max_length, required=required
        )

    def fold(self, username: str) -> str:
        """A pool that ignores case keeps the whole username in lower case, federated ones too."""
        return username if self.case_sensitive else username.lower()

    def add_user(self, username: str, *, password: str, **attributes: str) -> User:
        """An own user of the pool, confirmed, who signs in with a password on the hosted page."""
        user = User(
            username=self.fold(username),
            sub=str(uuid.uuid4()),
            created=self.clock(),
            attributes=attributes,
            password=password,
        )
        self.users[user.username] = user
        return user

    def is_listed(self, user: User) -> bool:
        """Whether ListUsers shows the profile by now."""
        return user.created + self.behaviour.listed_after_s <= self.clock()

    def hide(self, kind: str, name: str) -> None:
        """Let a new client or provider be found only after the pool's delay."""
        self._unseen_until[kind, name] = self.clock() + self.behaviour.unseen_s

    def exchange_secret(self, client_id: str) -> AppClient:
        """As Secrets Manager does it every seven days."""
        client = self.clients[client_id]
        self.clients[client_id] = exchanged = replace(
            client,
            secret=random_id(51),
            secret_before=client.secret,
            exchanged=self.clock(),
        )
        return exchanged

    def secrets_of(self, client: AppClient) -> tuple[str, ...]:
        """Those that are taken at this moment."""
        if client.secret is None:
            return ()
        if not client.secret_arn or client.secret_before is None:
            return (client.secret,)
        if self.clock() < client.exchanged + self.behaviour.new_secret_after_s:
            return (client.secret_before,)
        if self.behaviour.secret_before_counts:
            return (client.secret, client.secret_before)
        return (client.secret,)

    def visible_client(self, client_id: str) -> AppClient | None:
        return (
            self.clients.get(client_id)
            if self._unseen_until.get(("client", client_id), 0) <= self.clock()
            else None
        )

    def visible_provider(self, name: str) -> IdentityProvider | None:
        return (
            self.providers.get(name)
            if self._unseen_until.get(("provider", name), 0) <= self.clock()
            else None
        )

    def style_of(self, client_id: str) -> Style | None:
        return next((style for style in self.styles.values() if style.client_id == client_id), None)

    def provider_by_identifier(self, identifier: str) -> IdentityProvider | None:
        return next(
            (found for found in self.providers.values() if identifier in found.identifiers), None
        )

    def revoke_user(self, username: str) -> None:
        """End every grant of a user. The hosted pages' cookie is not touched, as
        AdminUserGlobalSignOut does not.
        """
        for token in self.refresh_tokens.values():
            if token.grant.username == username:
                token.grant.revoked = True
