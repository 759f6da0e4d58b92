"""The nouns. Frozen values; whoever holds one may trust what its constructor promised."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.core.canonical import canonical_ids
from gateway.core.header_encoding import Encoding
from gateway.core.idle_counts import EVERY_REQUEST, IdleCounts
from gateway.core.readings import AS_WRITTEN, PathReader
from gateway.core.reason import Reason
from gateway.core.rule import Credential
from gateway.core.rules import CompiledRules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.core.app_cookies import AppCookie
    from gateway.core.authorization import Basic
    from gateway.core.rule import Rule


class Secret:
    """A string that never shows itself by accident: ``repr`` and ``str`` are ``***``."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Hand out the text, at the one place that sends it to its peer."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class ProviderKind(StrEnum):
    """Kinds of what a Cognito identity provider leads to; ``cognito`` is the pool's own users."""

    OKTA = "okta"
    ENTRA = "entra"
    OIDC = "oidc"
    GOOGLE = "google"
    """Google Workspace over OpenID Connect: one organization, by its claim ``hd``."""
    SAML = "saml"
    COGNITO = "cognito"
    MICROSOFT_SOCIAL = "microsoft-social"
    """Personal Microsoft accounts, over OpenID Connect."""
    APPLE = "apple"
    FACEBOOK = "facebook"
    AMAZON = "amazon"


SAME_SUBJECT_IN_EVERY_POOL = frozenset(
    {
        ProviderKind.OKTA,
        ProviderKind.ENTRA,
        ProviderKind.OIDC,
        ProviderKind.GOOGLE,
        ProviderKind.MICROSOFT_SOCIAL,
    }
)
"""Kinds whose subject depends on the client at the provider alone, which a move from user pool to
user pool copies. A SAML NameID may depend on the entity ID, and a social provider's subject on its
application: both are the pool's.
"""

POOLS_OWN = {
    ProviderKind.COGNITO: "COGNITO",
    ProviderKind.APPLE: "SignInWithApple",
    ProviderKind.FACEBOOK: "Facebook",
    ProviderKind.AMAZON: "LoginWithAmazon",
}
"""Kinds of which a pool has one for all of its tenants, and its name in Cognito, which nobody
chooses.
"""
SOCIAL = frozenset(
    {
        ProviderKind.MICROSOFT_SOCIAL,
        ProviderKind.APPLE,
        ProviderKind.FACEBOOK,
        ProviderKind.AMAZON,
    }
)
"""Kinds at which anybody has an account: who of them is the tenant's, its document lists."""
SHARED_USERS = frozenset(f"{POOLS_OWN[kind].lower()}_" for kind in SOCIAL if kind in POOLS_OWN)
"""How names of pool users begin, in lower case, who are people of several tenants at once."""
VENDORS = {
    ProviderKind.OKTA: "Okta",
    ProviderKind.ENTRA: "Microsoft",
    ProviderKind.GOOGLE: "Google",
    ProviderKind.MICROSOFT_SOCIAL: "Microsoft",
    ProviderKind.APPLE: "Apple",
    ProviderKind.FACEBOOK: "Facebook",
    ProviderKind.AMAZON: "Amazon",
}
"""What people call the sign-in of a kind; the other kinds say nothing about it."""
GOOGLE_DIRECTORY_KINDS = frozenset({ProviderKind.GOOGLE, ProviderKind.SAML, ProviderKind.OIDC})
"""How users of Google Workspace may sign in: by Google's OpenID Connect, or through an application
of theirs; the directory behind is the same.
"""


class EmailTrust(StrEnum):
    """Why an e-mail claim is believed: the tenant named the issuer, or the claim is marked
    verified.
    """

    TENANT_IDP = "tenant_idp"
    VERIFIED_CLAIM = "verified_claim"


@dataclass(frozen=True, slots=True)
class SocialAccount:
    """An account of a provider of ``SOCIAL``, by its id there, and whose it is for the tenant. What
    the provider says of its address is not asked.
    """

    id: str
    email: str
    groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("groups", "roles"):
            object.__setattr__(self, name, canonical_ids(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class Provider:
    """One identity provider of a tenant. ``domains`` (A-labels) routes a typed e-mail here and
    binds the claim afterwards. None in ``groups`` or ``roles`` is the word ``any``; what they ask
    for is asked beside the tenant's own, and no rule replaces it.
    """

    name: str
    kind: ProviderKind
    label: str
    issuer: str | None
    domains: frozenset[str]
    email_trust: EmailTrust
    url_decode_groups: bool = True
    members_group: str = ""
    """Of the pool's own users: the Cognito group that makes one of them the tenant's, or "" where
    every user of ``domains`` is.
    """
    groups: frozenset[str] | None = None
    roles: frozenset[str] | None = None
    hidden: bool = False
    """No choice shows it: only a link, an e-mail address or its own tile leads there."""
    accounts: Mapping[str, SocialAccount] = field(default_factory=dict, hash=False)
    """Of a kind of ``SOCIAL``, by id: nobody else signs in with it."""
    is_social: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("groups", "roles"):
            object.__setattr__(self, name, canonical_ids(getattr(self, name)))
        object.__setattr__(self, "is_social", self.kind in SOCIAL)

    @property
    def cognito_name(self) -> str:
        """As Cognito knows it."""
        return POOLS_OWN.get(self.kind, self.name)

    def vouches_for(self, identity: Identity) -> bool:
        """Whether somebody who signed in with it is still who they were then. What was taken away
        since may be less than the account has; never more.
        """
        if not self.is_social:
            return True
        account = self.accounts.get(identity.idp_subject)
        return (
            account is not None
            and account.email == identity.email
            and account.groups.issuperset(identity.groups)
            and account.roles.issuperset(identity.roles)
        )

    @property
    def asks_more(self) -> bool:
        """Whether it asks for groups or roles of its own."""
        return self.groups is not None or self.roles is not None

    @property
    def known_as(self) -> str:
        """What people call it, where ``label`` is what a button says."""
        return VENDORS.get(self.kind, self.label)


@dataclass(frozen=True, slots=True)
class HeaderSpec:
    """One managed header: its name, and where the value comes from (a field of the identity,
    ``claim:NAME``, or "" for nothing).
    """

    name: str
    source: str
    default: str = ""
    encoding: Encoding = Encoding.PERCENT


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Seconds."""

    idle_s: int
    absolute_s: int
    max_per_user: int
    counts: IdleCounts = EVERY_REQUEST
    """Which requests begin ``idle_s`` again."""


@dataclass(frozen=True, slots=True)
class AppPasswordLimits:
    """Seconds."""

    lifetime_s: int = 30 * 86400
    """The longest that a password may be good for."""
    login_within_s: int = 7 * 86400
    """How long after the person's last login it is refused until the next."""
    max_per_user: int = 20


@dataclass(frozen=True, slots=True)
class Branding:
    """What a tenant's pages look like. ``color`` is ``#rrggbb``."""

    logo: str = ""
    color: str = "#0b5fff"
    support: str = ""
    group_labels: tuple[tuple[str, str], ...] = ()
    """Of groups whose names say nothing to people: name, label."""

    def labeled(self, groups: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Each with its label, or ""."""
        labels = dict(self.group_labels)
        return tuple((group, labels.get(group, "")) for group in groups)


DEFAULT_POOL = "default"
"""Name of the user pool that stands directly under ``cognito``."""


@dataclass(frozen=True, slots=True)
class RotatedSecret:
    """Of an app client whose secret AWS Secrets Manager keeps and Cognito exchanges by itself."""

    arn: str
    """Of the secret."""
    previous: Secret | None = None
    """The client secret before the present one: which of them Cognito takes at this moment is not
    known.
    """


@dataclass(frozen=True, slots=True)
class AppClient:
    """An app client of Cognito: codes, tokens and refresh tokens are good only with the one that
    they were made for.
    """

    client_id: str
    client_secret: Secret
    retires_at: float | None = None
    """UTC epoch seconds from which nothing made with it can be left; None for the one that logins
    begin with.
    """
    pool: str = DEFAULT_POOL
    """Name of the user pool that has it, for all its life."""
    rotated: RotatedSecret | None = None
    """None: Cognito keeps the secret, or there is none."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer. None in ``allowed_groups`` or ``allowed_roles`` is the word ``any``; an empty set
    lets nobody in.
    """

    id: str
    name: str
    active: bool
    hosts: frozenset[str]
    """Exact host names, canonical."""
    wildcards: frozenset[str]
    """``acme.example.com`` for ``*.acme.example.com``: any name below it, not itself."""
    email_domains: frozenset[str]
    allowed_groups: frozenset[str] | None
    allowed_roles: frozenset[str] | None
    client_id: str
    client_secret: Secret
    scopes: tuple[str, ...]
    providers: tuple[Provider, ...]
    """Those that people may be signed in with, in the order of the choice."""
    rules: tuple[Rule, ...]
    shadow_rules: tuple[Rule, ...]
    headers: tuple[HeaderSpec, ...]
    """All managed headers, in order: the same names for every tenant. Only those that are open to
    tenants have a source of the tenant's.
    """
    session: SessionLimits
    branding: Branding = field(default_factory=Branding)
    group_header_names: frozenset[str] | None = None
    """With ``groups_header: referenced`` only these names are in the header of groups; None hands
    out all.
    """
    assertion_group_names: frozenset[str] | None = None
    """The same of the signed assertion, with ``assertion.groups: referenced``."""
    generation: int = 0
    paths: PathReader = AS_WRITTEN
    """How the application reads paths; rules are written in its names."""
    app_cookies: tuple[AppCookie, ...] = ()
    """The application's own, which end with the person's session."""
    clear_domain_cookies: bool = False
    """Whether all cookies of the hosts' registrable domain end with them: it is this tenant's
    alone.
    """
    retired: tuple[AppClient, ...] = ()
    """Clients that a rotation replaced: no login begins with them, and what did is finished with
    them.
    """
    app_passwords: AppPasswordLimits = field(default_factory=AppPasswordLimits)
    inactive_providers: tuple[Provider, ...] = ()
    """The tenant's too, but nobody is signed in with one: to a check and to a login it is as if
    they were not there.
    """
    default_provider: str = ""
    """Name of the one that a login begins with where nothing says otherwise; "": the person
    chooses.
    """
    fallback_providers: tuple[str, ...] = ()
    """Names of those that are offered, in this order, when a login fails since another one is
    down.
    """
    pool: str = DEFAULT_POOL
    """Name of the user pool of the client that logins begin with."""
    password_client: AppClient | None = None
    """The app client with which passwords of the pool's users are checked, and no login begins.
    None although a rule takes them: it is still to be made.
    """
    rotated: RotatedSecret | None = None
    """Of the client that logins begin with."""
    takes_app_passwords: bool = field(init=False, compare=False)
    """Whether any rule does, those of ``shadow_rules`` too."""
    takes_pool_passwords: bool = field(init=False, compare=False)
    """The same of passwords of the pool's users: then no application gets a Basic credential."""
    compiled: CompiledRules = field(init=False, repr=False, compare=False)
    compiled_next: CompiledRules = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in (
            "allowed_groups",
            "allowed_roles",
            "group_header_names",
            "assertion_group_names",
        ):
            object.__setattr__(self, name, canonical_ids(getattr(self, name)))
        object.__setattr__(
            self,
            "takes_app_passwords",
            any(rule.app_passwords for rule in (*self.rules, *self.shadow_rules)),
        )
        object.__setattr__(
            self,
            "takes_pool_passwords",
            any(rule.pool_passwords for rule in self.rules),
        )
        object.__setattr__(self, "compiled", CompiledRules(self.rules))
        object.__setattr__(self, "compiled_next", CompiledRules(self.shadow_rules))

    @property
    def client_ids(self) -> tuple[str, ...]:
        """Of every client whose tokens are this tenant's; the one that logins begin with comes
        first.
        """
        return (self.client_id, *(c.client_id for c in self.retired)) if self.client_id else ()

    @property
    def pools(self) -> tuple[str, ...]:
        """Of every client whose tokens are this tenant's; the one that logins begin in comes first.
        More than one only while a move from pool to pool is not over.
        """
        return tuple(dict.fromkeys((self.pool, *(c.pool for c in self.retired))))

    @property
    def provider_names(self) -> tuple[str, ...]:
        """As Cognito knows them: its names are the pool's, and each is one tenant's. What a pool
        has once (``POOLS_OWN``) is nobody's alone, and has none.
        """
        return tuple(p.name for p in self.configured if p.kind not in POOLS_OWN)

    @property
    def configured(self) -> tuple[Provider, ...]:
        """Every provider, the inactive ones last."""
        return (*self.providers, *self.inactive_providers)

    @property
    def pool_provider(self) -> Provider | None:
        """The active one of the pool's own users."""
        return next((p for p in self.providers if p.kind is ProviderKind.COGNITO), None)

    def configured_provider(self, name: str) -> Provider | None:
        """As ``provider``, of the inactive ones too: for what signs nobody in."""
        return next((p for p in self.configured if p.name == name), None)

    def client(self, client_id: str) -> AppClient | None:
        """The one of that id, if it is this tenant's still."""
        if client_id and client_id == self.client_id:
            return AppClient(
                self.client_id, self.client_secret, pool=self.pool, rotated=self.rotated
            )
        return next((c for c in self.retired if c.client_id == client_id), None)

    def provider(self, name: str) -> Provider | None:
        """The active provider of that exact name (Cognito's names are case-sensitive)."""
        for provider in (
            self.providers
        ):  # a comprehension costs three times as much, and this is asked twice a check
            if provider.name == name:
                return provider
        return None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is, as the validated ID token said, after overlays.

    ``sub`` is Cognito's; ``idp_subject`` and ``oid`` are the customer's identity provider's.
    ``claims`` holds the further claims that a header of the tenant names, as strings.
    """

    sub: str
    email: str
    """As applications know it (``canonical.account_address``), not as the provider sent it."""
    email_domain: str
    """Canonical (A-labels), taken from the claim at login."""
    username: str
    preferred_username: str
    name: str
    groups: tuple[str, ...]
    """Canonical, as are ``roles`` (``canonical.canonical_id``)."""
    roles: tuple[str, ...]
    provider: str
    idp_subject: str
    oid: str = ""
    claims: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """One signed-in browser at one host of one tenant."""

    digest: str
    """Hex SHA-256 of the cookie's random part: the key in Redis, and the name in logs. Not a
    credential.
    """
    tenant: str
    host: str
    family: str
    """Public id of the family: the session at ``login_host`` and its children end together."""
    identity: Identity
    began: int
    """Value of the tenant's clock (µs) when the login began; compared with watermarks."""
    auth_time: int
    """Cognito's, UTC epoch seconds."""
    created_at: int
    """UTC epoch seconds."""
    expires_at: int
    """Absolute limit of the family, UTC epoch seconds."""
    client_id: str
    """The app client that this login used: refresh and revoke go through it."""
    amr: tuple[str, ...] = ()
    """How a request of it was authenticated, for the assertion (RFC 8176 §1); empty: by the login,
    of whose methods nothing is known.
    """
    prompted_for: str = ""
    """For the page of which host the login had the person asked, whoever was signed in at Cognito,
    and as far as Cognito obeys; "": it had not. See ``gateway.core.login.is_fresh``.
    """


@dataclass(frozen=True, slots=True)
class AppPassword:
    """A person's password for programs, as it is now. ``session``: as whom a request with it
    arrives; of no host and with no cookie.
    """

    session: Session
    hosts: frozenset[str]
    """Canonical; empty: every host of the tenant."""
    paths: tuple[str, ...]
    """Canonical, and not ambiguous: each stands for itself and everything below."""
    signed_in_at: int
    """When the person's last login began, UTC epoch seconds; groups, roles and claims are of that
    login.
    """

    def covers(self, host: str, names: Iterable[str], reader: PathReader) -> bool:
        """Whether a request may act on the path that the application may read by any of
        ``names``.
        """
        if self.hosts and host not in self.hosts:
            return False
        below = [reader.spelling(path).rstrip("/") for path in self.paths]
        return all(
            any(name == path or name.startswith(f"{path}/") for path in below) for name in names
        )


PoolPasswordResult = Session | Reason
"""What a name and a password came to: as whom the request arrives, or why it does not."""


class RequestKind(StrEnum):
    """Who is asking: decides whether a redirect can be followed by a person."""

    NAVIGATION = "navigation"
    FORM = "form"
    """A POST whose answer a person will see: never redirected, for what was typed would be lost."""
    FRAME = "frame"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a WebDAV COPY or MOVE writes to (RFC 4918 §10.3). ``path``: canonical; None for a
    header that names no path of the request's host.
    """

    path: str | None
    ambiguous: bool = False


@dataclass(slots=True)
class AuthRequest:
    """The request that the ingress asks about, as parsed by a dialect. Nobody changes one; a frozen
    one would take three times as long to make, and one is made at every check.
    """

    path: str
    """Canonical path as the upstream sees it (see ``core.paths``)."""
    ambiguous: bool
    """Two readers could take the path for different ones; never matched against rules."""
    original_uri: str
    """Raw path and query, for coming back after the login."""
    request_id: str
    """For the log only; validated shape."""
    scheme: str
    host: str
    """Canonical: lower case, no port, no trailing dot; A-labels."""
    method: str
    kind: RequestKind
    html: bool
    """The client would show an HTML answer to a person."""
    cookies: tuple[str, ...]
    """Every value of our session cookie, in order."""
    other_cookies: str
    """The Cookie header for the app: everything but ours, joined with ``; ``."""
    bearer: str | None
    """The token of one well-formed Bearer credential; None without ``Authorization: Bearer``; ""
    for a malformed one.
    """
    preflight: bool
    """A true CORS preflight: OPTIONS with Origin and Access-Control-Request-Method."""
    client: str
    """For the log only."""
    destination: Destination | None = None
    """None without the header."""
    depth: str = ""
    """``Depth`` (RFC 4918 §10.2), lower case; empty where there is none, or where there are
    several.
    """
    websocket: bool = False
    """A WebSocket handshake, as far as its own headers say (RFC 6455 §4.1, RFC 8441 §5); a client
    may say so of any request.
    """
    app_password: str | None = field(default=None, repr=False)
    """The one that a Basic credential holds; "" where the header holds one that cannot be judged;
    None without one.
    """
    authorization: str = field(default="", repr=False)
    """The Authorization header for the application: never one that holds an app password."""
    prompts: bool = False
    """A browser that was told of Basic would show its own prompt: a page asks, or might."""
    basic: Basic | None = field(default=None, repr=False)
    """A Basic credential that holds no app password; None without one."""

    @property
    def credential(self) -> Credential | None:
        """What the Authorization header holds for rules that take it."""
        if self.app_password is not None:
            return Credential.APP_PASSWORD
        if self.basic is not None:
            return Credential.BASIC
        return Credential.BEARER if self.bearer is not None else None


@dataclass(frozen=True, slots=True)
class MachineToken:
    """A validated Cognito access token. ``sub`` and ``username`` are empty for
    client_credentials.
    """

    client_id: str
    scopes: frozenset[str]
    sub: str
    username: str
    auth_time: int
    expires_at: int = 0
    """UTC epoch seconds."""
    person: Identity | None = None
    """Who it is, as their last login here said; None for client_credentials, and where nobody
    looked.
    """
    pool: str = DEFAULT_POOL
    """Name of the user pool that issued it."""

    @property
    def is_persons(self) -> bool:
        """Anything that names a person makes it a person's: it is never taken for a machine's."""
        return bool(self.sub or self.username)

    @property
    def identity(self) -> Identity:
        """As whom a request with it arrives. A machine is its client id, which no person's ``sub``
        can be; a person nobody looked up is nobody.
        """
        if not self.is_persons:
            return _nobody(self.client_id)
        return (
            self.person if self.person is not None and self.person.sub == self.sub else _nobody("")
        )


def _nobody(sub: str) -> Identity:
    return Identity(
        sub=sub,
        email="",
        email_domain="",
        username="",
        preferred_username="",
        name="",
        groups=(),
        roles=(),
        provider="",
        idp_subject="",
    )


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """What the gateway remembers between sending a browser to Cognito and its return. Single use,
    bound to the browser.
    """

    tenant: str
    provider: str
    host: str
    """The host where the browser began and where the session will live."""
    return_to: str
    """Absolute URL, validated."""
    nonce: str
    code_verifier: str
    redirect_uri: str
    client_id: str
    hopped: bool = False
    """Already went through Cognito's /logout once for freshness."""
    purpose: str = "login"
    """``login``, or ``test`` (test connection: creates no session)."""
    for_host: str = ""
    """At ``login_host``: the application host that waits for a ticket; ``return_to`` leads
    there.
    """
    for_browser: str = ""
    """At ``login_host``: public name of the browser at ``for_host`` (see
    ``SessionStore.binding_id``).
    """
    test: str = ""
    """Name of the one-time link, where the purpose is a test."""
    hint: str = ""
    """The e-mail address that was typed, in lower case; whoever arrives as somebody else is
    told.
    """
    prompted: bool = False
    """Cognito's own session was ended for it, and Cognito told to ask the person."""
    pool: str = DEFAULT_POOL
    """Name of the user pool to which the browser was sent: code and tokens count from there
    alone.
    """
    trace: str = ""
    """``traceparent`` of the request that began it; "" where nothing is traced."""
