"""Managed login styles: twenty per pool, one per client."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from demo.cognito.control.errors import ApiError, invalid, limit_exceeded, not_found
from demo.cognito.pool import Style

if TYPE_CHECKING:
    from demo.cognito.control.state import ControlState
    from demo.cognito.pool import Pool


def create_managed_login_branding(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    client = state.client_to_write(pool, request["ClientId"])
    provided = bool(request.get("UseCognitoProvidedValues"))
    if provided == bool(request.get("Settings") or request.get("Assets")):
        raise invalid("Give either UseCognitoProvidedValues or Settings and Assets.")
    if pool.style_of(client.client_id):
        raise ApiError(
            "ManagedLoginBrandingExistsException",
            f"Managed login branding already exists for client {client.client_id}.",
        )
    if len(pool.styles) >= state.quotas.styles:
        raise limit_exceeded(
            f"Maximum number of managed login branding styles ({state.quotas.styles}) reached."
        )
    style = Style(
        str(uuid.uuid4()), client.client_id, request.get("Settings"), created=pool.clock()
    )
    pool.styles[style.style_id] = style
    return {"ManagedLoginBranding": _described(pool, style)}


def describe_managed_login_branding(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    return {"ManagedLoginBranding": _described(pool, _style(pool, request))}


def describe_managed_login_branding_by_client(
    state: ControlState, request: dict[str, Any]
) -> dict[str, Any]:
    pool = state.pool_of(request)
    style = pool.style_of(state.client_to_read(pool, request["ClientId"]).client_id)
    if style is None:
        raise not_found(f"Managed login branding does not exist for client {request['ClientId']}.")
    return {"ManagedLoginBranding": _described(pool, style)}


def delete_managed_login_branding(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    del pool.styles[_style(pool, request).style_id]
    return {}


def _style(pool: Pool, request: dict[str, Any]) -> Style:
    style = pool.styles.get(request["ManagedLoginBrandingId"])
    if style is None:
        raise not_found(
            f"Managed login branding {request['ManagedLoginBrandingId']} does not exist."
        )
    return style


def _described(pool: Pool, style: Style) -> dict[str, Any]:
    return {
        "ManagedLoginBrandingId": style.style_id,
        "UserPoolId": pool.pool_id,
        "UseCognitoProvidedValues": style.settings is None,
        **({"Settings": style.settings} if style.settings is not None else {}),
        "CreationDate": style.created,
        "LastModifiedDate": style.created,
    }
