"""Identity providers: create, describe, update, delete, list, find by identifier."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from demo.cognito.control.errors import ApiError, invalid, limit_exceeded
from demo.cognito.control.state import ControlState, page
from demo.cognito.pool import COGNITO, IdentityProvider
from demo.cognito.saml import MetadataRefusedError, read_metadata
from demo.cognito.social import NEVER_SHOWN
from demo.cognito.social import REQUIRED as SOCIAL_KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from demo.cognito.pool import Pool

LISTED = 50
REQUIRED_DETAILS = ("client_id", "attributes_request_method", "authorize_scopes", "oidc_issuer")
_SAML_CHOICES = {
    "IDPSignout": ("true", "false"),
    "EncryptedResponses": ("true", "false"),
    "IDPInit": ("true", "false"),
    "RequestSigningAlgorithm": ("rsa-sha256",),
}
_RESERVED = frozenset({COGNITO, *SOCIAL_KINDS})


def create_identity_provider(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool, name = state.pool_of(request), request["ProviderName"]
    kind = request["ProviderType"]
    if kind in SOCIAL_KINDS and name != kind:
        raise invalid(f"ProviderName must be {kind} for ProviderType {kind}")
    if name in pool.providers or (name in _RESERVED and name != kind):
        # Uniqueness is judged at once, however long the first one stays unseen.
        raise ApiError(
            "DuplicateProviderException", f"{name} already exists in user pool {pool.pool_id}"
        )
    if len(pool.providers) >= state.quotas.providers:
        raise limit_exceeded(
            f"Maximum number of identity providers ({state.quotas.providers}) reached."
        )
    settings = {
        "ProviderName": name,
        "ProviderType": kind,
        "ProviderDetails": _details(state, kind, request["ProviderDetails"]),
        "AttributeMapping": _mapping(pool, kind, request.get("AttributeMapping") or {}),
        "IdpIdentifiers": _identifiers(
            pool,
            request.get("IdpIdentifiers") or [],
            owner=name,
            code="DuplicateProviderException",
        ),
    }
    now = pool.clock()
    pool.providers[name] = provider = IdentityProvider(name, settings, created=now, modified=now)
    pool.hide("provider", name)
    return {"IdentityProvider": _described(pool, provider)}


def describe_identity_provider(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    return {
        "IdentityProvider": _described(pool, state.provider_to_read(pool, request["ProviderName"]))
    }


def update_identity_provider(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Members given are replaced whole, and members left out stay as they are."""
    pool = state.pool_of(request)
    provider = state.provider_to_write(pool, request["ProviderName"])
    settings = dict(provider.settings)
    if request.get("ProviderDetails") is not None:
        settings["ProviderDetails"] = _details(state, provider.kind, request["ProviderDetails"])
    if request.get("AttributeMapping") is not None:
        settings["AttributeMapping"] = _mapping(pool, provider.kind, request["AttributeMapping"])
    if request.get("IdpIdentifiers") is not None:
        settings["IdpIdentifiers"] = _identifiers(
            pool,
            request["IdpIdentifiers"],
            owner=provider.name,
            code="InvalidParameterException",
        )
    updated = replace(provider, settings=settings, modified=pool.clock())
    pool.providers[provider.name] = updated
    return {"IdentityProvider": _described(pool, updated)}


def delete_identity_provider(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """The provider goes; the profiles it brought stay."""
    pool = state.pool_of(request)
    del pool.providers[state.provider_to_write(pool, request["ProviderName"]).name]
    return {}


def list_identity_providers(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    seen = [
        provider for name, provider in sorted(pool.providers.items()) if pool.visible_provider(name)
    ]
    # The request may say 60, and the answer holds 50 at most (API model).
    size = min(request.get("MaxResults") or LISTED, LISTED)
    shown, following = page(pool, seen, size=size, token=request.get("NextToken"))
    return {
        "Providers": [
            {
                "ProviderName": provider.name,
                "ProviderType": provider.kind,
                "CreationDate": provider.created,
                "LastModifiedDate": provider.modified,
            }
            for provider in shown
        ],
        **({"NextToken": following} if following else {}),
    }


def get_identity_provider_by_identifier(
    state: ControlState, request: dict[str, Any]
) -> dict[str, Any]:
    pool = state.pool_of(request)
    found = pool.provider_by_identifier(request["IdpIdentifier"])
    return {
        "IdentityProvider": _described(
            pool, state.provider_to_read(pool, found.name if found else request["IdpIdentifier"])
        )
    }


def _described(pool: Pool, provider: IdentityProvider) -> dict[str, Any]:
    """Everything, the IdP's client secret too."""
    return {
        "UserPoolId": pool.pool_id,
        **provider.settings,
        "ProviderDetails": {
            name: value
            for name, value in provider.settings["ProviderDetails"].items()
            if name not in NEVER_SHOWN
        },
        "CreationDate": provider.created,
        "LastModifiedDate": provider.modified,
    }


def _details(state: ControlState, kind: str, given: Mapping[str, str]) -> dict[str, str]:
    if kind in SOCIAL_KINDS:
        return _social_details(kind, given)
    return _saml_details(state, given) if kind == "SAML" else _oidc_details(state, given)


def _social_details(kind: str, given: Mapping[str, str]) -> dict[str, str]:
    """With what Cognito adds by itself."""
    needed = SOCIAL_KINDS[kind]
    if missing := [name for name in needed if not given.get(name)]:
        raise invalid(f"Invalid ProviderDetails: {', '.join(missing)} missing")
    if unknown := sorted(given.keys() - {*needed, "api_version"}):
        raise invalid(f"Invalid ProviderDetails: unknown {', '.join(unknown)}")
    base = f"https://{kind.lower()}.example"
    return {
        "attributes_url_add_attributes": "true",
        "authorize_url": f"{base}/authorize",
        "token_url": f"{base}/token",
        "token_request_method": "POST",
        "attributes_url": f"{base}/me",
        **given,
    }


def _saml_details(state: ControlState, given: Mapping[str, str]) -> dict[str, str]:
    """The address' document was read already."""
    if "ActiveEncryptionCertificate" in given:
        raise invalid("Signing certificates are expired")
    if not given.get("MetadataURL") and not given.get("MetadataFile"):
        raise invalid("At least one of the MetadataURL or MetadataFile should be provided.")
    if "MetadataURL" in given:
        _check_url(state, "MetadataURL", given["MetadataURL"])
    try:
        read = (
            read_metadata(given["MetadataFile"], now=state.pool.clock())
            if given.get("MetadataFile")
            else None
        )
    except MetadataRefusedError as refused:
        raise invalid(str(refused)) from None
    for name, allowed in _SAML_CHOICES.items():
        if name in given and given[name] not in allowed:
            raise invalid(f"Invalid ProviderDetails: {name} must be one of {', '.join(allowed)}")
    return {
        "IDPSignout": "false",
        **given,
        **({} if read is None else {"SSORedirectBindingURI": read.redirect_url}),
        "ActiveEncryptionCertificate": "MIIC-demo",
    }


def _oidc_details(state: ControlState, given: Mapping[str, str]) -> dict[str, str]:
    missing = [name for name in REQUIRED_DETAILS if not given.get(name)]
    if missing:
        raise invalid(f"Invalid ProviderDetails: {', '.join(missing)} missing")
    if given["attributes_request_method"] not in ("GET", "POST"):
        raise invalid("Invalid ProviderDetails: attributes_request_method must be GET or POST")
    if "openid" not in given["authorize_scopes"].split():
        raise invalid("Invalid ProviderDetails: authorize_scopes must contain openid")
    for name in ("oidc_issuer", "authorize_url", "token_url", "attributes_url", "jwks_uri"):
        if name in given:
            _check_url(state, name, given[name])
    if given["oidc_issuer"].endswith("/") and state.pool.behaviour.issuer_slash_ignored:
        raise invalid("Invalid ProviderDetails: oidc_issuer must not end with a slash")
    return {"attributes_url_add_attributes": "false", **given}


def _check_url(state: ControlState, name: str, url: str) -> None:
    """https on 443 or 80; http and any port on loopback in development, where there are no
    certificates.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as malformed:
        raise invalid(f"Invalid ProviderDetails: {name} is not a URL") from malformed
    if not parts.hostname:
        raise invalid(f"Invalid ProviderDetails: {name} is not a URL")
    if state.development and _is_loopback(parts.hostname):
        return
    if parts.scheme != "https":
        raise invalid(f"Invalid ProviderDetails: {name} must use the https scheme")
    if port not in (None, 443, 80):
        raise invalid(f"Invalid ProviderDetails: {name} must use port 443 or 80")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _mapping(pool: Pool, kind: str, given: Mapping[str, str]) -> dict[str, str]:
    unknown = [name for name in given if name != "username" and name not in pool.schema]
    if unknown:
        raise invalid(f"AttributeMapping contains invalid mapping: [{', '.join(unknown)}]")
    required = [
        name for name, attribute in pool.schema.items() if attribute.required and name != "sub"
    ]
    missing = [name for name in required if name not in given]
    if missing:
        raise invalid(f"AttributeMapping is missing required attributes: [{', '.join(missing)}]")
    return dict(given) if kind == "SAML" else {"username": "sub", **given}


def _identifiers(pool: Pool, given: list[str], *, owner: str, code: str) -> list[str]:
    """``code``: of the refusal, since an update has no DuplicateProviderException."""
    if len(set(given)) != len(given):
        raise invalid("IdpIdentifiers contains a value twice.")
    for identifier in given:
        holder = pool.provider_by_identifier(identifier)
        if holder is not None and holder.name != owner:
            raise ApiError(
                code, f"Identifier {identifier} already exists in user pool {pool.pool_id}"
            )
    return list(given)
