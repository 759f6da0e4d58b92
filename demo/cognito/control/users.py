"""Profiles: look-up, search, sign-out, disabling, attributes; and revocation of one refresh
token.
"""

from __future__ import annotations

import hmac
import json
import re
from typing import TYPE_CHECKING, Any

from demo.cognito.control.errors import ApiError, invalid
from demo.cognito.control.state import ControlState, page
from demo.cognito.passwords import user_of_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from demo.cognito.pool import Pool, User

SEARCHABLE = frozenset(
    {
        "username",
        "email",
        "phone_number",
        "name",
        "given_name",
        "family_name",
        "preferred_username",
        "cognito:user_status",
        "status",
        "sub",
    }
)
"""Custom attributes cannot be searched, and neither can identities."""

_FILTER = re.compile(r'\s*"?([\w:]+)"?\s*(\^?=)\s*"((?:[^"\\]|\\.)*)"\s*')


def admin_get_user(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    user = existing_user(state.pool_of(request), request["Username"])
    return {
        "Username": user.username,
        "UserAttributes": attribute_pairs(user),
        "UserCreateDate": user.created,
        "UserLastModifiedDate": user.modified or user.created,
        "Enabled": user.enabled,
        "UserStatus": user.status,
    }


def list_users(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Of an attribute that is asked for, everybody shown must have a value, and of a custom one
    everybody in the pool (API reference of ListUsers, AttributesToGet).
    """
    pool = state.pool_of(request)
    asked = request.get("Filter") or ""
    listed = [user for _, user in sorted(pool.users.items()) if pool.is_listed(user)]
    found = [user for user in listed if _fits(pool, user, asked)]
    shown, following = page(
        pool,
        found,
        size=request.get("Limit"),
        token=request.get("PaginationToken"),
        asked=asked,
    )
    wanted = request.get("AttributesToGet")
    for name in wanted or ():
        _check_values(pool, name, shown if name in SEARCHABLE else listed)
    return {
        "Users": [
            {
                "Username": user.username,
                "Attributes": [
                    pair
                    for pair in attribute_pairs(user)
                    if wanted is None or pair["Name"] in wanted
                ],
                "UserCreateDate": user.created,
                "UserLastModifiedDate": user.modified or user.created,
                "Enabled": user.enabled,
                "UserStatus": user.status,
            }
            for user in shown
        ],
        **({"PaginationToken": following} if following else {}),
    }


def admin_user_global_sign_out(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Every refresh token dies; the hosted pages' cookie does not."""
    pool = state.pool_of(request)
    pool.revoke_user(existing_user(pool, request["Username"]).username)
    return {}


def admin_disable_user(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Tokens die and no sign-in succeeds until the profile is enabled again."""
    pool = state.pool_of(request)
    user = existing_user(pool, request["Username"])
    user.enabled = False
    user.modified = pool.clock()
    pool.revoke_user(user.username)
    return {}


def admin_enable_user(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    user = existing_user(pool, request["Username"])
    user.enabled = True
    user.modified = pool.clock()
    return {}


def admin_update_user_attributes(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """All or none; a blank value takes the attribute away."""
    pool = state.pool_of(request)
    user = existing_user(pool, request["Username"])
    changes = {given["Name"]: given.get("Value", "") for given in request["UserAttributes"]}
    for name, value in changes.items():
        attribute = pool.schema.get(name)
        if attribute is None:
            raise invalid(f"user.{name}: Attribute does not exist in the schema.\n")
        if not attribute.mutable:
            raise invalid(f"user.{name}: Attribute cannot be updated.\n")
        if len(value) > attribute.max_length:
            raise invalid(
                f"user.{name}: Attribute value is longer than {attribute.max_length} characters.\n"
            )
    for name, value in changes.items():
        if value:
            user.attributes[name] = value
        else:
            user.attributes.pop(name, None)
    user.modified = pool.clock()
    return {}


def revoke_token(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Signed by nothing but the client's own secret. An unknown token is no error."""
    pool = state.pool
    client = pool.clients.get(request["ClientId"])
    if client is None:
        # The model gives this operation no ResourceNotFoundException.
        raise ApiError("UnauthorizedException", "Client does not exist.")
    if client.secret and not hmac.compare_digest(client.secret, request.get("ClientSecret", "")):
        raise ApiError("UnauthorizedException", "Client secret does not match.")
    if not client.revocation_enabled:
        raise ApiError(
            "UnsupportedOperationException", "Token revocation is not enabled for this client."
        )
    if request["Token"].count(".") == 2:
        raise ApiError("UnsupportedTokenTypeException", "Only refresh tokens can be revoked.")
    token = pool.refresh_tokens.get(request["Token"])
    if token is not None and token.grant.client_id == client.client_id:
        token.grant.revoked = True
    return {}


def existing_user(pool: Pool, username: str) -> User:
    """By username; one of the pool's own also by ``sub`` and by an alias, a federated one not (API
    reference of AdminGetUser, Username).
    """
    user = user_of_name(pool, username)
    if user is None:
        raise ApiError("UserNotFoundException", "User does not exist.")
    return user


def attribute_pairs(user: User) -> list[dict[str, str]]:
    """As the API shows them: ``identities`` is JSON in a string, with a real boolean and number in
    it.
    """
    pairs = {"sub": user.sub, **user.attributes}
    if user.provider:
        identities = [
            {**identity, "primary": True, "dateCreated": int(identity["dateCreated"])}
            for identity in user.identities()
        ]
        pairs["identities"] = json.dumps(identities, separators=(",", ":"))
    return [{"Name": name, "Value": value} for name, value in pairs.items()]


def _check_values(pool: Pool, name: str, users: Sequence[User]) -> None:
    if name not in pool.schema:
        raise invalid(f"One or more requested attributes do not exist: [{name}]")
    if any(name != "sub" and name not in user.attributes for user in users):
        raise invalid(f"Not all users have a value of the requested attribute {name}.")


def _fits(pool: Pool, user: User, text: str) -> bool:
    if not text.strip():
        return True
    parsed = _FILTER.fullmatch(text)
    if parsed is None:
        raise invalid("Error while parsing filter")
    name, operator, wanted = parsed[1], parsed[2], re.sub(r"\\(.)", r"\1", parsed[3])
    if name not in SEARCHABLE:
        raise invalid(f"Invalid search attribute: {name}")
    special = {
        "username": user.username,
        "sub": user.sub,
        "cognito:user_status": user.status,
        "status": "Enabled" if user.enabled else "Disabled",
    }
    # The API reference of ListUsers marks these two as case-sensitive, and the developer guide says
    # that no search is; of every other attribute both are content with that.
    value = special.get(name, user.attributes.get(name, ""))
    exact = name == "status" or (
        name == "username" and not pool.behaviour.username_search_ignores_case
    )
    if not exact:
        value, wanted = value.casefold(), wanted.casefold()
    return value == wanted if operator == "=" else value.startswith(wanted)
