"""The pool's own users: invited, reset, deleted; and who is in which group.

Mail that Cognito would send lies in ``Pool.outbox``.
"""

from __future__ import annotations

import secrets
import uuid
from typing import TYPE_CHECKING, Any

from demo.cognito.control.errors import ApiError, invalid
from demo.cognito.control.groups import described, existing
from demo.cognito.control.state import ControlState, page
from demo.cognito.control.users import attribute_pairs, existing_user
from demo.cognito.passwords import conforms, policy
from demo.cognito.pool import Mail, User

if TYPE_CHECKING:
    from demo.cognito.pool import Pool


def admin_create_user(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Creates, or with RESEND invites again: only who never signed in, with a new password."""
    pool, action = state.pool_of(request), request.get("MessageAction")
    if action == "RESEND":
        return {"User": _shown(_invited_again(pool, request))}
    username = pool.fold(request["Username"])
    attributes = {pair["Name"]: pair.get("Value", "") for pair in request.get("UserAttributes", ())}
    _check_name(pool, username, attributes)
    if username in pool.users:
        raise ApiError("UsernameExistsException", "User account already exists")
    _check_attributes(pool, attributes)
    _check_alias(pool, attributes)
    password = request.get("TemporaryPassword") or _generated(pool)
    _check_password(pool, password)
    if "email" in (pool.settings.get("UsernameAttributes") or ()):
        # The address names the user, and is not the user name.
        attributes = {"email": request["Username"], **attributes}
        username = str(uuid.uuid4())
    user = User(
        username=username,
        sub=username if _is_uuid(username) else str(uuid.uuid4()),
        created=pool.clock(),
        attributes=attributes,
        password=password,
        own_status="FORCE_CHANGE_PASSWORD",
        password_set_at=pool.clock(),
    )
    if action != "SUPPRESS":
        _send(pool, user, password, media=request.get("DesiredDeliveryMediums") or ("SMS",))
    pool.users[user.username] = user
    return {"User": _shown(user)}


def _is_uuid(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4


def _invited_again(pool: Pool, request: dict[str, Any]) -> User:
    user = existing_user(pool, request["Username"])
    if user.status != "FORCE_CHANGE_PASSWORD":
        raise ApiError(
            "UnsupportedUserStateException",
            f"Resend not possible. {user.username} status is not FORCE_CHANGE_PASSWORD",
        )
    password = request.get("TemporaryPassword") or _generated(pool)
    _check_password(pool, password)
    _send(pool, user, password, media=request.get("DesiredDeliveryMediums") or ("SMS",))
    user.password, user.password_set_at = password, pool.clock()
    user.modified = pool.clock()
    return user


def _check_name(pool: Pool, username: str, attributes: dict[str, str]) -> None:
    names = pool.settings.get("UsernameAttributes") or ()
    if names and "@" not in username:
        raise invalid("Username should be an email.")
    if "email" in (pool.settings.get("AliasAttributes") or ()) and "@" in username:
        raise invalid(
            "Username cannot be of email format, since user pool is configured for email alias."
        )
    if names:
        attributes.setdefault("email", username)
        if attributes["email"] != username:
            raise invalid("email attribute and username do not match")


def _check_attributes(pool: Pool, attributes: dict[str, str]) -> None:
    for name in attributes:
        if name not in pool.schema or name == "sub":
            raise invalid(
                f"Attributes did not conform to the schema: Type for attribute {{{name}}}"
            )
    missing = sorted(
        name
        for name, found in pool.schema.items()
        if found.required and name != "sub" and not attributes.get(name)
    )
    if missing:
        raise invalid(f"Attributes did not conform to the schema: {missing[0]} is required")


def _check_alias(pool: Pool, attributes: dict[str, str]) -> None:
    takes = {
        *(pool.settings.get("UsernameAttributes") or ()),
        *(pool.settings.get("AliasAttributes") or ()),
    }
    address = attributes.get("email", "").lower()
    if "email" in takes and any(
        user.provider is None and user.attributes.get("email", "").lower() == address
        for user in pool.users.values()
    ):
        raise ApiError("UsernameExistsException", "An account with the given email already exists.")


def _check_password(pool: Pool, password: str) -> None:
    missing = conforms(pool, password)
    if missing:
        raise ApiError("InvalidPasswordException", missing)


def _generated(pool: Pool) -> str:
    return f"Aa1-{secrets.token_urlsafe(max(8, int(policy(pool).get('MinimumLength', 8))))}"


def _send(pool: Pool, user: User, password: str, *, media: Any) -> None:
    """By mail or not at all: there is no telephone."""
    if "EMAIL" not in media:
        raise invalid("User has no phone number, and SMS is the only delivery medium.")
    address = user.attributes.get("email")
    if not address:
        raise invalid("User has no email address.")
    if pool.mail_fails:
        raise ApiError("CodeDeliveryFailureException", "Failed to deliver the invitation.")
    pool.outbox.append(Mail(address, "invitation", password))


def admin_delete_user(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    user = existing_user(pool, request["Username"])
    pool.revoke_user(user.username)
    del pool.users[user.username]
    return {}


def admin_reset_user_password(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """The password is good no more; a code goes to a verified address."""
    pool = state.pool_of(request)
    user = existing_user(pool, request["Username"])
    if user.provider is not None:
        raise ApiError(
            "NotAuthorizedException", "User password cannot be reset in the current state."
        )
    if user.own_status in {"FORCE_CHANGE_PASSWORD", "UNCONFIRMED"}:
        raise ApiError(
            "NotAuthorizedException", "User password cannot be reset in the current state."
        )
    if not user.enabled:
        raise ApiError("NotAuthorizedException", "User is disabled.")
    if user.attributes.get("email_verified") != "true":
        raise invalid(
            "Cannot reset password for the user as there is no registered/verified email or "
            "phone_number"
        )
    code = f"{secrets.randbelow(10**6):06}"
    pool.outbox.append(Mail(user.attributes["email"], "reset", code))
    user.own_status, user.reset_code, user.modified = "RESET_REQUIRED", code, pool.clock()
    return {}


def admin_set_user_password(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Permanent, or for one sign-in."""
    pool = state.pool_of(request)
    user = existing_user(pool, request["Username"])
    if user.provider is not None:
        raise invalid("Password cannot be set for a federated user.")
    _check_password(pool, request["Password"])
    user.password, user.password_set_at = request["Password"], pool.clock()
    user.own_status = "CONFIRMED" if request.get("Permanent") else "FORCE_CHANGE_PASSWORD"
    user.modified = pool.clock()
    return {}


def admin_add_user_to_group(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Repeats harmlessly."""
    pool = state.pool_of(request)
    user = existing_user(pool, request["Username"])
    group = existing(pool, request["GroupName"])
    if group.name not in user.groups:
        user.groups.append(group.name)
    return {}


def admin_remove_user_from_group(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Repeats harmlessly."""
    pool = state.pool_of(request)
    user = existing_user(pool, request["Username"])
    group = existing(pool, request["GroupName"])
    user.groups = [name for name in user.groups if name != group.name]
    return {}


def list_users_in_group(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    pool = state.pool_of(request)
    group = existing(pool, request["GroupName"])
    found = [user for _, user in sorted(pool.users.items()) if group.name in user.groups]
    shown, following = page(
        pool,
        found,
        size=request.get("Limit"),
        token=request.get("NextToken"),
        asked=group.name,
    )
    return {
        "Users": [_shown(user) for user in shown],
        **({"NextToken": following} if following else {}),
    }


def admin_list_groups_for_user(state: ControlState, request: dict[str, Any]) -> dict[str, Any]:
    """Groups that Cognito makes for its providers are among them."""
    pool = state.pool_of(request)
    user = existing_user(pool, request["Username"])
    shown, following = page(
        pool,
        sorted(user.groups),
        size=request.get("Limit"),
        token=request.get("NextToken"),
        asked=user.username,
    )
    groups = [
        described(pool, pool.groups[name])
        if name in pool.groups
        else {"GroupName": name, "UserPoolId": pool.pool_id}
        for name in shown
    ]
    return {"Groups": groups, **({"NextToken": following} if following else {})}


def _shown(user: User) -> dict[str, Any]:
    return {
        "Username": user.username,
        "Attributes": attribute_pairs(user),
        "UserCreateDate": user.created,
        "UserLastModifiedDate": user.modified or user.created,
        "Enabled": user.enabled,
        "UserStatus": user.status,
    }
