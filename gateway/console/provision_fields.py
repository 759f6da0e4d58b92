"""What the provisioning wizard asks for, by the kind of identity provider: the admin API's request,
field by field. Labels are texts of the catalogs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gateway.cognito.desired import SamlPreset
from gateway.cognito.oidc_presets import OidcPreset
from gateway.console.fields import Field, Kind
from gateway.console.tenant_fields import ACCESS, GENERAL, PROVIDER, Section
from gateway.console.texts import N_

if TYPE_CHECKING:
    from collections.abc import Mapping

OPENID: Final = ("okta", "entra", "google", "oidc", "microsoft-social")
SOCIAL: Final = ("apple", "facebook", "amazon")
KINDS: Final[Mapping[str, str]] = {
    "okta": "Okta",
    "entra": "Microsoft Entra ID",
    "google": "Google Workspace",
    "oidc": "OpenID Connect",
    "saml": "SAML 2.0",
    "microsoft-social": "Microsoft (personal accounts)",
    "apple": "Apple",
    "facebook": "Facebook",
    "amazon": "Amazon",
    "cognito": "Amazon Cognito",
}
"""Names of products, in no language; the pool's own users are Cognito's."""
_OF_DOCUMENT: Final = {field.path: field for field in PROVIDER.fields}


def _of_provider(path: str) -> Field:
    return replace(_OF_DOCUMENT[path], path=f"provider.{path}", required=False)


_NAME: Final = replace(
    _of_provider("name"), help=N_("Empty: made of the tenant's ID and the kind."), required=False
)
_MAPPING: Final = (
    Field(
        "provider.attributes",
        N_("Further attributes"),
        Kind.PAIRS,
        N_("One a line: ATTRIBUTE = CLAIM."),
        between=" = ",
    ),
    Field("provider.only_attributes", N_("Only the claims that decisions need"), Kind.SWITCH),
)
_CLIENT: Final = (
    Field("provider.client_id", N_("Client ID")),
    Field("provider.client_secret", N_("Client secret"), Kind.SECRET),
)
_OPENID: Final = (
    Field(
        "provider.oidc_issuer",
        N_("Issuer"),
        help=N_("For example https://acme.okta.com."),
        required=True,
    ),
    *_CLIENT,
    _of_provider("secret_expires"),
    Field("provider.scopes", N_("Scopes"), Kind.LINES, N_("One a line; empty: the usual ones.")),
)
_PRESET: Final = Field(
    "provider.preset",
    N_("Product"),
    Kind.CHOICE,
    N_("Whose names its claims have."),
    options=tuple((str(one), str(one)) for one in sorted(OidcPreset)),
)
_SAML: Final = (
    Field(
        "provider.metadata_url",
        N_("Metadata address"),
        help=N_("Certificates then renew by themselves. Leave it empty if you have a file."),
    ),
    Field(
        "provider.metadata_file",
        N_("Metadata file"),
        Kind.FILE,
        N_("XML, 128 kB at most."),
    ),
    Field(
        "provider.preset",
        N_("Product"),
        Kind.CHOICE,
        N_("Whose names its attributes have."),
        options=tuple((str(one), str(one)) for one in sorted(SamlPreset)),
    ),
    Field("provider.sign_requests", N_("Sign requests"), Kind.SWITCH),
    Field("provider.encrypted_assertions", N_("Assertions are encrypted"), Kind.SWITCH),
    Field("provider.single_logout", N_("Single logout"), Kind.SWITCH),
    Field("provider.idp_initiated", N_("Sign-in may begin at the provider"), Kind.SWITCH),
)
_APPLE: Final = (
    Field("provider.client_id", N_("Client ID"), help=N_("Empty: the pool's own provider.")),
    Field("provider.team_id", N_("Team ID")),
    Field("provider.key_id", N_("Key ID")),
    Field("provider.private_key", N_("Private key"), Kind.SECRET, N_("The text of the .p8 file.")),
)
_TENANT: Final = (
    Field("name", N_("Name"), help=N_("Empty: as it is, or the tenant's ID.")),
    replace(GENERAL.fields[1], empty=None),
    replace(GENERAL.fields[2], empty=None),
    replace(ACCESS.fields[0], path="groups"),
    Field("pool", N_("User pool"), help=N_("Empty: the first that has room.")),
    Field(
        "custom_attributes",
        N_("Custom attributes that the pool may get"),
        Kind.LINES,
        N_("One a line, for example custom:department. They cannot be removed again."),
    ),
    Field("adopt", N_("Take over providers that are in the pool already"), Kind.SWITCH),
    Field("adopt_client", N_("Take over the app client of this ID")),
    Field(
        "keep_secrets",
        N_("Keep the provider's secret, encrypted, to repair it later"),
        Kind.SWITCH,
    ),
)
ID: Final = Field(
    "tenant",
    N_("Tenant ID"),
    help=N_("Of a new tenant, or of one that gets this as its provider."),
    required=True,
)
DEFAULTS: Final[Mapping[str, Any]] = {"provider": {"sign_requests": True, "preset": "other"}}


_OWN: Final = (
    Field(
        "groups",
        N_("Groups"),
        Kind.LINES,
        N_("Who gets in with this provider, one a line. Empty: the tenant's groups count."),
    ),
    Field(
        "email_domains",
        N_("E-mail domains"),
        Kind.LINES,
        N_("Of those who sign in with this provider, one a line. Empty: as the other providers."),
    ),
)
_POOL: Final = frozenset({"custom_attributes", "adopt", "keep_secrets"})


def section_of(kind: str) -> Section:
    """The form for one kind."""
    return Section(kind, KINDS[kind], (ID, *_of_kind(kind), *_TENANT))


def addition_of(kind: str) -> Section:
    """The form for one kind that a tenant gets beside those that it has."""
    of_pool = (field for field in _TENANT if field.path in _POOL)
    return Section(kind, KINDS[kind], (*_of_kind(kind), *_OWN, *of_pool))


def _of_kind(kind: str) -> tuple[Field, ...]:
    of_kind: tuple[Field, ...]
    if kind in OPENID:
        of_kind = _OPENID + ((_PRESET,) if kind == "oidc" else ())
        of_kind += (_of_provider("accounts"),) if kind == "microsoft-social" else ()
        of_kind += (_NAME, *_MAPPING)
    elif kind == "saml":
        of_kind = (*_SAML, _NAME, *_MAPPING)
    elif kind == "cognito":
        of_kind = ()
    else:
        settings = _APPLE if kind == "apple" else _CLIENT
        of_kind = (*settings, _of_provider("accounts"))
    return (*of_kind, _of_provider("label"))


def request_of(kind: str, form: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the API's request: what is empty is left out."""
    provider = {"kind": kind, **_said(form.get("provider") or {})}
    if file := provider.pop("metadata_file", None):
        provider["metadata"] = file
    body = _said({name: form[name] for name in form if name not in {"tenant", "provider"}})
    return {**body, "groups": form.get("groups"), "provider": provider}


def addition_request_of(kind: str, form: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a provider that is added: nothing of the others is said."""
    return {**_said(request_of(kind, form)), "prune": False}


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", [], (), {})}
