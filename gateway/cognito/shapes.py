"""Between our values and AWS's request and answer shapes, in one place. Pure.

The settings of an app client, and why:
- ``openid`` alone: it makes Cognito put every readable attribute into the ID token, ``profile`` or
  ``email`` would narrow it.
- never ``aws.cognito.signin.user.admin``: with it, people edit their own ``custom:groups``.
- ALLOW_USER_SRP_AUTH alone: the default list holds ALLOW_REFRESH_TOKEN_AUTH, which rotation
  excludes.
- 15 minutes for tokens: the gateway reads them once, at login.

Of one for passwords of the pool's users:
- ALLOW_USER_PASSWORD_AUTH alone, and no OAuth flow: nothing begins on pages, nothing is refreshed.
- the shortest validity that there is: the tokens are thrown away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.cognito.desired import (
    ATTRIBUTE_CHARACTERS,
    Actual,
    ActualClient,
    ActualProvider,
    Attribute,
    SamlConnection,
    WantedClient,
    same_issuer,
)
from gateway.cognito.pool_users import read_settings
from gateway.cognito.social import SocialConnection
from gateway.core.model import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.cognito.desired import (
        OidcConnection,
        WantedPasswordClient,
        WantedProvider,
    )

Request = dict[str, Any]

_FIXED_CLIENT_SETTINGS: Mapping[str, Any] = {
    "AllowedOAuthFlowsUserPoolClient": True,
    "AllowedOAuthFlows": ["code"],
    "ExplicitAuthFlows": ["ALLOW_USER_SRP_AUTH"],
    "PreventUserExistenceErrors": "ENABLED",
    "EnableTokenRevocation": True,
    "RefreshTokenRotation": {"Feature": "ENABLED", "RetryGracePeriodSeconds": 30},
    "AccessTokenValidity": 15,
    "IdTokenValidity": 15,
    "TokenValidityUnits": {"AccessToken": "minutes", "IdToken": "minutes", "RefreshToken": "days"},
}
_FIXED_PASSWORD_CLIENT_SETTINGS: Mapping[str, Any] = {
    "AllowedOAuthFlowsUserPoolClient": False,
    "AllowedOAuthFlows": [],
    "AllowedOAuthScopes": [],
    "SupportedIdentityProviders": [],
    "CallbackURLs": [],
    "LogoutURLs": [],
    "DefaultRedirectURI": None,
    "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH"],
    "PreventUserExistenceErrors": "ENABLED",
    "EnableTokenRevocation": True,
    "AccessTokenValidity": 5,
    "IdTokenValidity": 5,
    "RefreshTokenValidity": 60,
    "TokenValidityUnits": {
        "AccessToken": "minutes",
        "IdToken": "minutes",
        "RefreshToken": "minutes",
    },
}
"""Empty: it has none of it."""
_CLIENT_MEMBERS = frozenset(
    {
        "ClientName",
        "RefreshTokenValidity",
        "AccessTokenValidity",
        "IdTokenValidity",
        "TokenValidityUnits",
        "ReadAttributes",
        "WriteAttributes",
        "ExplicitAuthFlows",
        "SupportedIdentityProviders",
        "CallbackURLs",
        "LogoutURLs",
        "DefaultRedirectURI",
        "AllowedOAuthFlows",
        "AllowedOAuthScopes",
        "AllowedOAuthFlowsUserPoolClient",
        "AnalyticsConfiguration",
        "PreventUserExistenceErrors",
        "EnableTokenRevocation",
        "EnablePropagateAdditionalUserContextData",
        "AuthSessionValidity",
        "RefreshTokenRotation",
    }
)
"""What UpdateUserPoolClient takes besides pool and client id; what is left out goes back to its
default.
"""


SAML_DETAILS = (
    "MetadataURL",
    "MetadataFile",
    "IDPSignout",
    "RequestSigningAlgorithm",
    "EncryptedResponses",
    "IDPInit",
)
"""What CreateIdentityProvider takes of a SAML provider."""


def custom_attributes(missing: Iterable[str]) -> list[Request]:
    """Names without the prefix; mutable, or the second login fails."""
    constraints = {"MinLength": "0", "MaxLength": str(ATTRIBUTE_CHARACTERS)}
    return [
        {
            "Name": n.removeprefix("custom:"),
            "AttributeDataType": "String",
            "Mutable": True,
            "StringAttributeConstraints": constraints,
        }
        for n in missing
    ]


_READ_ONLY_DETAILS = frozenset(
    {
        "attributes_url_add_attributes",
        "SSORedirectBindingURI",
        "SLORedirectBindingURI",
        "ActiveEncryptionCertificate",
    }
)
"""Shown by Cognito and never sent back: a certificate that was exchanged since fails the update."""


def provider_details(wanted: WantedProvider, found: ActualProvider | None) -> dict[str, str]:
    """All of them, the secret too: an update replaces the details whole."""
    if isinstance(wanted.connection, SamlConnection):
        return _saml_details(wanted.connection)
    if isinstance(wanted.connection, SocialConnection):
        return wanted.connection.details()
    return _oidc_details(wanted.connection, found)


def _saml_details(wanted: SamlConnection) -> dict[str, str]:
    """What is left out is off."""
    return {
        **(
            {"MetadataURL": wanted.metadata_url}
            if wanted.metadata_url is not None
            else {"MetadataFile": wanted.metadata_file or ""}
        ),
        "IDPSignout": _yes(wanted.sign_out),
        **({"RequestSigningAlgorithm": "rsa-sha256"} if wanted.sign_requests else {}),
        **({"EncryptedResponses": _yes(True)} if wanted.encrypted else {}),
        **({"IDPInit": _yes(True)} if wanted.idp_initiated else {}),
    }


def _yes(on: bool) -> str:  # noqa: FBT001 - a setting of Cognito's
    return "true" if on else "false"


def saml_differences(
    wanted: SamlConnection, found: ActualProvider
) -> dict[str, tuple[str | None, str | None]]:
    """Detail → what the pool has and what it shall have. Metadata in a file differ where their
    contents do: Cognito may spell them otherwise.
    """
    details = _saml_details(wanted)
    differences = {}
    for name in SAML_DETAILS:
        now, then = found.details.get(name), details.get(name)
        if name == "MetadataFile":
            continue
        if now != then and (now, then) not in {("false", None), (None, "false")}:
            differences[name] = (now, then)
    if wanted.metadata_file is not None and "MetadataURL" not in differences:
        there = found.details.get("MetadataFile")
        if there is None or "".join(there.split()) != "".join(wanted.metadata_file.split()):
            differences["MetadataFile"] = ("(other metadata)", "(the metadata of the request)")
    return differences


def _oidc_details(wanted: OidcConnection, found: ActualProvider | None) -> dict[str, str]:
    secret = (
        wanted.client_secret.reveal()
        if wanted.client_secret is not None
        else (found.details.get("client_secret", "") if found else "")
    )
    there = found.details.get("oidc_issuer", "") if found else ""
    return {
        "client_id": wanted.client_id,
        "client_secret": secret,
        "attributes_request_method": "GET",
        # AWS asks for no slash at its end, whatever the provider calls itself; a spelling that the
        # pool holds already is not touched.
        "oidc_issuer": there
        if same_issuer(there, wanted.issuer)
        else wanted.issuer.removesuffix("/"),
        "authorize_scopes": " ".join(wanted.scopes),
    }


def provider_type(wanted: WantedProvider) -> str:
    """As Cognito calls it."""
    if isinstance(wanted.connection, SocialConnection):
        return wanted.connection.named
    return "SAML" if isinstance(wanted.connection, SamlConnection) else "OIDC"


def create_provider(wanted: WantedProvider, *, marker: str) -> Request:
    return {
        "ProviderName": wanted.name,
        "ProviderType": provider_type(wanted),
        "ProviderDetails": provider_details(wanted, None),
        "AttributeMapping": dict(wanted.mapping),
        "IdpIdentifiers": [*wanted.identifiers, marker],
    }


def update_provider(wanted: WantedProvider, found: ActualProvider) -> Request:
    """Details we do not set (explicit endpoints, say) stay; identifiers only grow."""
    identifiers = list(dict.fromkeys([*found.identifiers, *wanted.identifiers]))
    details = (
        {}
        if isinstance(wanted.connection, SamlConnection)
        else {n: v for n, v in found.details.items() if n not in _READ_ONLY_DETAILS}
    )
    return {
        "ProviderName": wanted.name,
        "ProviderDetails": {**details, **provider_details(wanted, found)},
        "AttributeMapping": dict(wanted.mapping),
        "IdpIdentifiers": identifiers,
    }


def shows(found: ActualProvider, request: Request) -> bool:
    """Whether it is as ``request`` made it, which has no client secret. Cognito adds details and
    the attribute ``username`` by itself.
    """
    details, mapping = request["ProviderDetails"], request["AttributeMapping"]
    return (
        all(found.details.get(name) == value for name, value in details.items())
        and {**found.mapping, "username": ""} == {**mapping, "username": ""}
        and {*found.identifiers} == {*request["IdpIdentifiers"]}
    )


def restore_provider(found: ActualProvider) -> Request:
    """Exactly what was there."""
    details = {n: v for n, v in found.details.items() if n not in _READ_ONLY_DETAILS}
    if details.get("MetadataURL"):
        # Shown beside the address that it was read from; only one of them may be sent.
        details.pop("MetadataFile", None)
    return {
        "ProviderName": found.name,
        "ProviderDetails": details,
        "AttributeMapping": dict(found.mapping),
        "IdpIdentifiers": list(found.identifiers),
    }


_CREDENTIALS = frozenset({"client_secret", "MetadataURL", "MetadataFile"})


def with_credentials_of(found: ActualProvider, other: ActualProvider) -> Request:
    """What was there, with the other's secret or metadata."""
    request, theirs = restore_provider(found), restore_provider(other)["ProviderDetails"]
    own = {n: v for n, v in request["ProviderDetails"].items() if n not in _CREDENTIALS}
    taken = {n: v for n, v in theirs.items() if n in _CREDENTIALS}
    return {**request, "ProviderDetails": {**own, **taken}}


def client_settings(wanted: WantedClient | WantedPasswordClient) -> Request:
    if not isinstance(wanted, WantedClient):
        return {
            **_FIXED_PASSWORD_CLIENT_SETTINGS,
            "ReadAttributes": list(wanted.read),
            "WriteAttributes": list(wanted.write),
        }
    return {
        **_FIXED_CLIENT_SETTINGS,
        "SupportedIdentityProviders": list(wanted.providers),
        "CallbackURLs": list(wanted.callback_urls),
        "LogoutURLs": list(wanted.logout_urls),
        "AllowedOAuthScopes": list(wanted.scopes),
        "ReadAttributes": list(wanted.read),
        "WriteAttributes": list(wanted.write),
        "RefreshTokenValidity": wanted.refresh_days,
    }


def create_client(
    wanted: WantedClient | WantedPasswordClient, *, name: str, like: ActualClient | None
) -> Request:
    """``like``: whose other settings it has too (analytics, say); None for a tenant's first."""
    settings = restore_client(like) if like is not None else {}
    settings.pop("ClientId", None)
    secret = isinstance(wanted, WantedClient) or wanted.secret
    return _said(
        {**settings, "ClientName": name, "GenerateSecret": secret, **client_settings(wanted)}
    )


def update_client(wanted: WantedClient | WantedPasswordClient, found: ActualClient) -> Request:
    """Everything that was set, with ours on top."""
    return _said({**restore_client(found), **client_settings(wanted)})


def _said(request: Request) -> Request:
    """What is left out of a request is empty."""
    return {name: value for name, value in request.items() if value not in (None, [])}


def restore_client(found: ActualClient) -> Request:
    """Exactly what was there; ``AnalyticsConfiguration`` and the rest included."""
    settings = {
        n: v for n, v in found.settings.items() if n in _CLIENT_MEMBERS and v not in (None, [], {})
    }
    return {"ClientId": found.client_id, **settings}


def read_attributes(described: Mapping[str, Any]) -> dict[str, Attribute]:
    """``SchemaAttributes`` of DescribeUserPool."""
    attributes = {}
    for item in described.get("SchemaAttributes") or ():
        longest = str((item.get("StringAttributeConstraints") or {}).get("MaxLength", ""))
        name = str(item["Name"])
        attributes[name] = Attribute(
            name,
            str(item.get("AttributeDataType", "String")),
            bool(item.get("Mutable")),
            bool(item.get("Required")),
            int(longest) if longest.isdecimal() else None,
        )
    return attributes


def read_provider(described: Mapping[str, Any]) -> ActualProvider:
    """``IdentityProvider`` of DescribeIdentityProvider."""
    return ActualProvider(
        str(described["ProviderName"]),
        str(described.get("ProviderType", "")),
        dict(described.get("ProviderDetails") or {}),
        dict(described.get("AttributeMapping") or {}),
        tuple(described.get("IdpIdentifiers") or ()),
    )


def read_client(described: Mapping[str, Any]) -> ActualClient:
    """``UserPoolClient`` of DescribeUserPoolClient or CreateUserPoolClient."""
    secret = described.get("ClientSecret")
    settings = {name: value for name, value in described.items() if name in _CLIENT_MEMBERS}
    return ActualClient(
        str(described["ClientId"]),
        str(described.get("ClientName", "")),
        Secret(str(secret)) if secret else None,
        settings,
        str(described.get("ClientSecretArn") or ""),
    )


def read_pool(
    described: Mapping[str, Any],
    *,
    providers: Mapping[str, ActualProvider],
    client: ActualClient | None,
    retired: tuple[ActualClient, ...],
) -> Actual:
    """``UserPool`` of DescribeUserPool with what else is known."""
    case_sensitive = bool(
        (described.get("UsernameConfiguration") or {}).get("CaseSensitive", False)
    )
    return Actual(
        str(described["Id"]),
        read_attributes(described),
        providers,
        client,
        case_sensitive,
        retired=retired,
        settings=read_settings(described),
    )
