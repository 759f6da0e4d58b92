"""What a tenant shall have in the pool, and what it has: values on which the plan is made. Pure.

Sources: Cognito user pools API reference (CreateIdentityProvider, CreateUserPoolClient,
DescribeUserPool); Okta and Microsoft Entra OpenID Connect documentation.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.cognito.social import SocialConnection
from gateway.core.model import ProviderKind, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.cognito.native_sessions import LoginReuse
    from gateway.cognito.pool_users import PoolGroup, PoolSettings, PoolUsers, SignInPages

POOL_USERS = "COGNITO"
"""How a client names the pool's own users among its identity providers."""
GROUPS, ROLES, OID, IDP_IAT = "custom:groups", "custom:roles", "custom:oid", "custom:idp_iat"
HD = "custom:hd"
"""Google's hosted domain: the organization that manages the account."""
CUSTOM_ATTRIBUTES = (GROUPS, ROLES, OID, IDP_IAT, HD)
ATTRIBUTE_CHARACTERS = 2048
"""Cognito's own limit of an attribute's value: a shorter one fails logins of people in many
groups.
"""
MARKER_PREFIX = "gateway-run-"
"""An identifier that each provider we create carries: unique in the pool, so it tells ours from a
stranger's.
"""
MAX_IDENTIFIERS = 49
"""Cognito takes 50 per provider; one is the marker."""

READABLE_STANDARD = (
    "email",
    "email_verified",
    "name",
    "family_name",
    "given_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "updated_at",
)
"""All attributes of the scopes ``openid email profile``: a client that cannot read one of a scope's
gets invalid_grant.
"""
WRITABLE = ("email", "name", "preferred_username", *CUSTOM_ATTRIBUTES)
"""What federation writes whatever the provider's kind."""
CONSUMERS = "9188040d-6c67-4c5b-b112-36a304b66dad"
"""The directory of all personal Microsoft accounts."""
_STANDARD_CLAIMS = frozenset(
    {*READABLE_STANDARD, "phone_number", "phone_number_verified", "address"}
)
_UNWRITABLE = frozenset({"sub", "email_verified", "phone_number_verified"})


class SamlPreset(StrEnum):
    """Whose names a SAML provider's attributes have."""

    OKTA = "okta"
    ENTRA = "entra"
    ADFS = "adfs"
    GOOGLE = "google"
    KEYCLOAK = "keycloak"
    ONELOGIN = "onelogin"
    PING = "ping"
    JUMPCLOUD = "jumpcloud"
    OTHER = "other"


_COMMON_MAPPING: Mapping[str, str] = {
    "username": "sub",
    "email": "email",
    "name": "name",
    "preferred_username": "preferred_username",
    GROUPS: "groups",
    IDP_IAT: "iat",
}
MAPPINGS: Mapping[ProviderKind, Mapping[str, str]] = {
    ProviderKind.OKTA: {**_COMMON_MAPPING, "email_verified": "email_verified"},
    # Entra sends no email_verified, its sub differs per application, and its events name people by
    # oid.
    ProviderKind.ENTRA: {**_COMMON_MAPPING, OID: "oid", ROLES: "roles"},
    ProviderKind.OIDC: {**_COMMON_MAPPING, "email_verified": "email_verified", ROLES: "roles"},
    # Google sends neither groups nor preferred_username.
    ProviderKind.GOOGLE: {
        "username": "sub",
        "email": "email",
        "email_verified": "email_verified",
        "name": "name",
        HD: "hd",
        IDP_IAT: "iat",
    },
    # Who it is, the tenant's document says; the address may be unverified.
    ProviderKind.MICROSOFT_SOCIAL: {"username": "sub", "email": "email", "name": "name"},
}
"""Pool attribute → claim of the identity provider, by kind."""
_SOAP_CLAIMS = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims"
_MICROSOFT_CLAIMS = "http://schemas.microsoft.com"
_SAML_COMMON: Mapping[str, str] = {
    "email": "email",
    "name": "name",
    GROUPS: "groups",
    ROLES: "roles",
}
SAML_MAPPINGS: Mapping[SamlPreset, Mapping[str, str]] = {
    **dict.fromkeys(SamlPreset, _SAML_COMMON),
    SamlPreset.ENTRA: {
        "email": f"{_SOAP_CLAIMS}/emailaddress",
        "name": f"{_MICROSOFT_CLAIMS}/identity/claims/displayname",
        "preferred_username": f"{_SOAP_CLAIMS}/name",
        OID: f"{_MICROSOFT_CLAIMS}/identity/claims/objectidentifier",
        GROUPS: f"{_MICROSOFT_CLAIMS}/ws/2008/06/identity/claims/groups",
        ROLES: f"{_MICROSOFT_CLAIMS}/ws/2008/06/identity/claims/role",
    },
    SamlPreset.ADFS: {
        "email": f"{_SOAP_CLAIMS}/emailaddress",
        "name": f"{_SOAP_CLAIMS}/name",
        GROUPS: "groups",
        ROLES: f"{_MICROSOFT_CLAIMS}/ws/2008/06/identity/claims/role",
    },
}
"""Pool attribute → ``Name`` of a SAML attribute. Cognito takes the user name from NameID by itself.
Entra's and ADFS' names are their defaults; at the others the administrator chooses, and these are
what our guides say.
"""
SCOPES: Mapping[ProviderKind, tuple[str, ...]] = {
    ProviderKind.OKTA: ("openid", "profile", "email"),
    # Entra refuses a scope ``groups``, and sends ``oid`` only with ``profile``.
    ProviderKind.ENTRA: ("openid", "profile", "email"),
    ProviderKind.OIDC: ("openid", "profile", "email"),
    ProviderKind.GOOGLE: ("openid", "profile", "email"),
    ProviderKind.MICROSOFT_SOCIAL: ("openid", "profile", "email"),
}
UNDECIDING = frozenset({"name", "preferred_username"})
"""Of the mappings, what nothing is decided by. The rest is never left out: a pool keeps the value
of an attribute that is mapped no longer, and an old group would count for ever.
"""
GROUPS_SCOPE = "groups"
"""Added for Okta where its discovery offers it: the org server does; a custom authorization server
only if told to.
"""

_OKTA_HOSTS = (".okta.com", ".oktapreview.com", ".okta-emea.com", ".okta-gov.com", ".okta.mil")
_GOOGLE_HOSTS = frozenset({"accounts.google.com", "accounts.google.localhost"})
_ENTRA_HOSTS = frozenset(
    {
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.partner.microsoftonline.cn",
        "sts.windows.net",
        "login.windows.net",
    }
)


@dataclass(frozen=True, slots=True)
class OidcConnection:
    """``issuer``: in Cognito's spelling. ``client_secret`` None keeps the one that Cognito has."""

    issuer: str
    client_id: str
    client_secret: Secret | None
    scopes: tuple[str, ...]

    @property
    def named(self) -> str:
        """Whom it connects to, for a person."""
        return self.issuer


@dataclass(frozen=True, slots=True)
class SamlConnection:
    """``metadata_url``, which Cognito reads again every six hours, or ``metadata_file``, XML.
    ``certificates``: SHA-256 fingerprints of the signing certificates in either, when it was read.

    ``sign_out``: single logout. ``encrypted``: every assertion must be. ``idp_initiated``: Cognito
    takes responses that nobody asked for.
    """

    entity_id: str
    metadata_url: str | None
    metadata_file: str | None = field(repr=False)
    certificates: tuple[str, ...]
    sign_requests: bool = True
    encrypted: bool = False
    sign_out: bool = False
    idp_initiated: bool = False

    @property
    def named(self) -> str:
        """Whom it connects to, for a person."""
        return self.entity_id


Connection = OidcConnection | SamlConnection | SocialConnection


@dataclass(frozen=True, slots=True)
class WantedProvider:
    """One identity provider of the pool. ``mapping``: pool attribute → claim, or SAML attribute."""

    name: str
    kind: ProviderKind
    connection: Connection
    mapping: Mapping[str, str]
    identifiers: tuple[str, ...] = ()

    @property
    def client_secret(self) -> Secret | None:
        connection = self.connection
        return connection.client_secret if isinstance(connection, OidcConnection) else None


@dataclass(frozen=True, slots=True)
class WantedClient:
    """The tenant's app client. ``providers`` are names, ``COGNITO`` for the pool's own users.
    ``refresh_days``: as long as a session may last.
    """

    providers: tuple[str, ...]
    callback_urls: tuple[str, ...]
    logout_urls: tuple[str, ...]
    scopes: tuple[str, ...] = ("openid",)
    read: tuple[str, ...] = (*READABLE_STANDARD, *CUSTOM_ATTRIBUTES)
    write: tuple[str, ...] = WRITABLE
    refresh_days: int = 1


@dataclass(frozen=True, slots=True)
class WantedPasswordClient:
    """The tenant's app client for passwords of the pool's users: it signs nobody in on pages.
    ``read`` as the login client's, so that both make the same identity.
    """

    read: tuple[str, ...]
    write: tuple[str, ...]
    secret: bool = True


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything of one tenant."""

    tenant: str
    providers: tuple[WantedProvider, ...]
    client: WantedClient
    users: PoolUsers | None = None
    """The pool's own, where they were provisioned for the tenant."""
    custom_attributes: tuple[str, ...] = CUSTOM_ATTRIBUTES
    """That the pool shall have."""
    shared: tuple[WantedProvider, ...] = ()
    """Of which the pool has one for all tenants: created where they are missing, and nothing
    else.
    """
    password_client: WantedPasswordClient | None = None
    left: tuple[WantedProvider, ...] = ()
    """The tenant's, too, and left as they are: only the client is made for them."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of the pool's schema."""

    name: str
    data_type: str
    mutable: bool
    required: bool
    max_length: int | None


@dataclass(frozen=True, slots=True)
class ActualProvider:
    """As DescribeIdentityProvider shows it; Cognito shows the secret too."""

    name: str
    type: str
    details: Mapping[str, str] = field(repr=False)
    mapping: Mapping[str, str]
    identifiers: tuple[str, ...]

    @property
    def markers(self) -> tuple[str, ...]:
        return tuple(i for i in self.identifiers if i.startswith(MARKER_PREFIX))


@dataclass(frozen=True, slots=True)
class ActualClient:
    """As DescribeUserPoolClient shows it, the secret apart."""

    client_id: str
    name: str
    secret: Secret | None
    settings: Mapping[str, object]
    secret_arn: str = ""
    """Of the secret in Secrets Manager; "": Cognito keeps it, or there is none."""
    unreadable: str = ""
    """Why ``secret`` is None although there is one, in a sentence."""

    @property
    def has_secret(self) -> bool:
        return self.secret is not None or bool(self.secret_arn)

    def strings(self, name: str) -> tuple[str, ...]:
        value = self.settings.get(name)
        return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


@dataclass(frozen=True, slots=True)
class Actual:
    """The pool as far as this tenant is concerned. ``client`` is the one that its logins begin
    with, if there is one.
    """

    pool_id: str
    attributes: Mapping[str, Attribute]
    providers: Mapping[str, ActualProvider]
    client: ActualClient | None
    case_sensitive: bool = True
    provider_count: int | None = None
    client_count: int | None = None
    """Of the whole pool; None where nothing of the sort is missing, so that nobody has counted."""
    retired: tuple[ActualClient, ...] = ()
    """Replaced ones that are still accepted."""
    settings: PoolSettings | None = None
    pages: SignInPages | None = None
    """None where nobody asked: no client of the tenant signs in the pool's own users."""
    group: PoolGroup | None = None
    """The tenant's members' group, where it was asked for and exists."""
    password_client: ActualClient | None = None
    login_reuse: LoginReuse | None = None
    """None where nobody asked."""


def same_issuer(one: str, other: str) -> bool:
    """Whether both are discovered at one address: a terminating slash is stripped for it (OpenID
    Connect Discovery §4.1).
    """
    return one.removesuffix("/") == other.removesuffix("/")


def kind_of_issuer(issuer: str) -> ProviderKind | None:
    """By its host; None where the host says nothing (an Okta custom domain, any other provider),
    and for what is no URL.
    """
    try:
        parts = urlsplit(issuer)
    except ValueError:
        return None
    host = (parts.hostname or "").lower()
    if host.endswith(_OKTA_HOSTS):
        return ProviderKind.OKTA
    if host in _GOOGLE_HOSTS:
        return ProviderKind.GOOGLE
    if host in _ENTRA_HOSTS and CONSUMERS in parts.path.lower():
        return ProviderKind.MICROSOFT_SOCIAL
    return ProviderKind.ENTRA if host in _ENTRA_HOSTS or host.endswith(".ciamlogin.com") else None


def mapping_for(
    kind: ProviderKind,
    *,
    preset: SamlPreset | None = None,
    required: frozenset[str] = frozenset(),
    only_needed: bool = False,
) -> Mapping[str, str]:
    """The kind's mapping, and each required attribute of the pool from the standard claim of the
    same name. ``preset``: whose SAML attributes they are. ``only_needed``: nothing that only
    applications read.
    """
    usual = MAPPINGS[kind] if preset is None else SAML_MAPPINGS[preset]
    if only_needed:
        usual = {name: claim for name, claim in usual.items() if name not in UNDECIDING}
    return {
        **usual,
        **{
            name: name
            for name in sorted(required)
            if name in _STANDARD_CLAIMS and name not in usual
        },
    }


def scopes_for(kind: ProviderKind, *, offered: frozenset[str] | None) -> tuple[str, ...]:
    """``offered``: scopes_supported of the discovery document, None where it says nothing."""
    if kind is ProviderKind.OKTA and (offered is None or GROUPS_SCOPE in offered):
        return (*SCOPES[kind], GROUPS_SCOPE)
    return SCOPES[kind]


def writable(mapped: frozenset[str], required: frozenset[str]) -> tuple[str, ...]:
    """What federation must be able to write: an attribute that is mapped and not writable is
    dropped, or fails the login.
    """
    return tuple(sorted({*WRITABLE, *mapped, *required} - _UNWRITABLE - {"username"}))


def writable_by_users(required: frozenset[str]) -> tuple[str, ...]:
    """As little as a client can have: Cognito takes an empty list for its default, and wants what
    the pool requires. Whoever has a token of InitiateAuth writes it; an address that was written
    is not verified.
    """
    return tuple(sorted({"name", *required} - _UNWRITABLE))


def client_name(tenant: str, run: str) -> str:
    """Cognito's names are not unique; ours are, so that a client whose creation went unanswered can
    be found again.
    """
    return f"gateway-{tenant}-{run}"


def password_client_name(tenant: str, run: str) -> str:
    """Another one, since one run may make both."""
    return f"{client_name(tenant, run)}-passwords"


def marker(run: str, provider: str) -> str:
    """Unique in the pool, also among the providers of one run, and at most 40 characters, as
    IdpIdentifiers demands.
    """
    return f"{MARKER_PREFIX}{run}-{hashlib.sha256(provider.encode()).hexdigest()[:8]}"


def run_of(marker: str) -> str:
    """The run whose marker it is."""
    return marker.removeprefix(MARKER_PREFIX).rpartition("-")[0]
