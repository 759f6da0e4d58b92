"""The pool's own users, one by one: found, invited, reset, deleted, put into groups.

``username`` is Cognito's own spelling. Each change but ``create`` repeats harmlessly.
Source: Cognito user pools API reference (AdminCreateUser, AdminResetUserPassword,
ListUsersInGroup).
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.cognito.api import CognitoRejectedError, UnansweredError
from gateway.cognito.users import FEDERATED, GONE, can_be_a_username
from gateway.core.model import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.cognito.api import CognitoApi
    from gateway.cognito.pool_users import PoolSettings

INVITED: Final = "FORCE_CHANGE_PASSWORD"
"""Status of who has not chosen a password yet."""
PAGE: Final = 60
SHORTEST_PASSWORD: Final = 20
"""Characters of a temporary password: more than 100 random bits."""
LONGEST_PASSWORD: Final = 99
"""A policy asks for 99 characters at most."""
_KINDS: Final = (
    "abcdefghijkmnpqrstuvwxyz",
    "ABCDEFGHJKLMNPQRSTUVWXYZ",
    "23456789",
    "-_.!+",
)
"""Without what people mistake for one another; one of each satisfies every policy."""


@dataclass(frozen=True, slots=True)
class OwnUser:
    """A profile. Times are UTC epoch seconds; what is not there is empty."""

    username: str
    sub: str
    email: str
    email_verified: bool
    name: str
    status: str
    """Cognito's ``UserStatus``."""
    enabled: bool
    created_at: float
    modified_at: float


@dataclass(frozen=True, slots=True)
class OwnUserPage:
    """``token``: of the next page; None where there is none."""

    users: Sequence[OwnUser]
    token: str | None


@dataclass(frozen=True, slots=True)
class CreatedUser:
    """``certain``: False where Cognito did not answer, and another call may have made this very
    user in that moment.
    """

    user: OwnUser
    certain: bool


class OwnUsers:
    """Raises ``CognitoRejectedError`` where Cognito says no, ``UnansweredError`` where it does not
    answer.
    """

    def __init__(self, api: CognitoApi) -> None:
        self._api = api

    async def find(self, name: str) -> OwnUser | None:
        """By user name, ``sub`` or an alias; None for nobody, and for whom a provider vouches."""
        if not can_be_a_username(name):
            return None
        try:
            answer = await self._api.call("AdminGetUser", idempotent=True, Username=name)
        except CognitoRejectedError as refused:
            if refused.code in GONE:
                return None
            raise
        return _read({**answer, "Attributes": answer.get("UserAttributes", ())})

    async def in_group(self, group: str, *, limit: int, token: str | None) -> OwnUserPage | None:
        """None: there is no such group. A page may be empty and not the last."""
        more = {"NextToken": token} if token else {}
        try:
            answer = await self._api.call(
                "ListUsersInGroup",
                idempotent=True,
                GroupName=group,
                Limit=min(limit, PAGE),
                **more,
            )
        except CognitoRejectedError as refused:
            if refused.code == "ResourceNotFoundException":
                return None
            raise
        users = [_read(user) for user in answer.get("Users", ())]
        return OwnUserPage([u for u in users if u is not None], answer.get("NextToken"))

    async def create(
        self, username: str, attributes: Mapping[str, str], *, password: Secret
    ) -> CreatedUser | None:
        """Nobody is told. None: somebody has the name or the address.

        Whether an unanswered call was carried out, Cognito is asked: before it, nobody had the
        name.
        """
        if await self.find(username) is not None:
            return None
        try:
            answer = await self._api.call(
                "AdminCreateUser",
                idempotent=False,
                Username=username,
                UserAttributes=[{"Name": n, "Value": v} for n, v in attributes.items()],
                TemporaryPassword=password.reveal(),
                MessageAction="SUPPRESS",
            )
        except UnansweredError:
            user = await self.find(username)
            if user is None or user.status != INVITED:
                raise
            return CreatedUser(user, certain=False)
        except CognitoRejectedError as refused:
            if refused.code in {"UsernameExistsException", "AliasExistsException"}:
                return None
            raise
        new_user = _read(answer["User"])
        return None if new_user is None else CreatedUser(new_user, certain=True)

    async def invite(self, username: str) -> None:
        """Mail with a new temporary password; only to who has not chosen one yet."""
        await self._api.call(
            "AdminCreateUser",
            idempotent=True,
            Username=username,
            MessageAction="RESEND",
            DesiredDeliveryMediums=["EMAIL"],
        )

    async def set_temporary_password(self, username: str, password: Secret) -> None:
        await self._api.call(
            "AdminSetUserPassword",
            idempotent=True,
            Username=username,
            Password=password.reveal(),
            Permanent=False,
        )

    async def reset_password(self, username: str) -> None:
        """The password is good no more; a code is sent."""
        await self._api.call("AdminResetUserPassword", idempotent=True, Username=username)

    async def delete(self, username: str) -> None:
        await self._unless_gone("AdminDeleteUser", Username=username)

    async def add_to_group(self, username: str, group: str) -> None:
        await self._api.call(
            "AdminAddUserToGroup", idempotent=True, Username=username, GroupName=group
        )

    async def remove_from_group(self, username: str, group: str) -> None:
        await self._unless_gone("AdminRemoveUserFromGroup", Username=username, GroupName=group)

    async def create_group(self, group: str, *, description: str) -> None:
        """One that is there already is as good."""
        try:
            await self._api.call(
                "CreateGroup", idempotent=True, GroupName=group, Description=description
            )
        except CognitoRejectedError as refused:
            if refused.code != "GroupExistsException":
                raise

    async def _unless_gone(self, operation: str, **request: str) -> None:
        try:
            await self._api.call(operation, idempotent=True, **request)
        except CognitoRejectedError as refused:
            if refused.code not in GONE:
                raise


def temporary_password(settings: PoolSettings) -> Secret:
    """Fresh, and as every policy of the pool asks."""
    length = min(LONGEST_PASSWORD, max(SHORTEST_PASSWORD, settings.password_length or 0))
    some = [secrets.choice(kind) for kind in _KINDS]
    some += [secrets.choice(string.ascii_letters) for _ in range(length - len(some))]
    secrets.SystemRandom().shuffle(some)
    return Secret("".join(some))


def _read(shown: Mapping[str, Any]) -> OwnUser | None:
    """None for whom a provider vouches, and where Cognito does not say that none does."""
    status = str(shown.get("UserStatus", FEDERATED))
    if status == FEDERATED:
        return None
    attributes = {
        str(a.get("Name")): str(a.get("Value", "")) for a in shown.get("Attributes") or ()
    }
    return OwnUser(
        username=str(shown["Username"]),
        sub=attributes.get("sub", ""),
        email=attributes.get("email", ""),
        email_verified=attributes.get("email_verified") == "true",
        name=attributes.get("name", ""),
        status=status,
        enabled=shown.get("Enabled") is True,
        created_at=_seconds(shown.get("UserCreateDate")),
        modified_at=_seconds(shown.get("UserLastModifiedDate")),
    )


def _seconds(value: Any) -> float:
    """Dates, as boto gives them."""
    return float(value.timestamp()) if hasattr(value, "timestamp") else 0.0
