"""What revocation does to people in the pool itself. Each repeats harmlessly; who is not there needs nothing done.

``username`` is Cognito's: ``{provider}_{subject}`` of a federated person, with the case in which Cognito keeps it.
None of this ends Cognito's own one-hour browser session, and tokens that are out stay valid offline until they expire:
the gateway's watermarks and blocks are what keeps somebody out, this keeps the pool's side in step.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from gateway.cognito.aws import RefusedError
from gateway.cognito.desired import GROUPS
from gateway.core.canonical import address_spellings, canonical_id
from gateway.core.groups import parse_groups

if TYPE_CHECKING:
    from gateway.cognito.aws import CognitoApi

_GONE = frozenset({"UserNotFoundException", "ResourceNotFoundException"})
_UNENCODED = ".-*_"
"""What Cognito leaves as it is when it writes a list into an attribute."""
_NO_GROUPS = "[]"
"""Not blank: a blank value removes the attribute, and whether the next login then reports it is not documented."""
_PAGE = 60


class CognitoUsers:
    """Raises ``RefusedError`` where Cognito says no, ``UnansweredError`` where it does not answer: worth repeating."""

    def __init__(self, api: CognitoApi) -> None:
        self._api = api

    async def sign_out(self, username: str) -> bool:
        """Every refresh token of theirs ends. False: there is no such person."""
        return await self._do("AdminUserGlobalSignOut", username)

    async def disable(self, username: str) -> bool:
        """No sign-in and no refresh until enabled."""
        return await self._do("AdminDisableUser", username)

    async def enable(self, username: str) -> bool:
        return await self._do("AdminEnableUser", username)

    async def remove_group(self, username: str, group: str, *, form_decode: bool) -> bool:
        """Take ``group`` out of the stored ``custom:groups``; True once the stored value surely lacks it.

        False: no such person, or a stored value that cannot be read (truncated), which is left alone.
        """
        try:
            answer = await self._api.call("AdminGetUser", idempotent=True, Username=username)
        except RefusedError as refused:
            if refused.code in _GONE:
                return False
            raise
        stored = next((str(a.get("Value", "")) for a in answer.get("UserAttributes", ()) if a.get("Name") == GROUPS), "")
        names = parse_groups(stored, form_decode=form_decode)
        if names is None:
            return False
        left = [name for name in names if canonical_id(name) != canonical_id(group)]
        if len(left) == len(names):
            return True
        value = {"Name": GROUPS, "Value": _as_before(stored, left, form_decode=form_decode)}
        return await self._do("AdminUpdateUserAttributes", username, UserAttributes=[value])

    async def usernames(self, email: str) -> tuple[str, ...]:
        """Everybody of that canonical address, in whatever case and spelling Cognito has it. For people whom the gateway has never seen."""
        if '"' in email or "\\" in email or not email.isprintable():
            return ()
        found = [name for spelling in address_spellings(email) for name in await self._of_spelling(spelling)]
        return tuple(dict.fromkeys(found))

    async def _of_spelling(self, email: str) -> list[str]:
        found: list[str] = []
        token: str | None = None
        while True:
            more = {"PaginationToken": token} if token else {}
            answer = await self._api.call("ListUsers", idempotent=True, Filter=f'email = "{email}"', Limit=_PAGE, AttributesToGet=["email"], **more)
            found += [str(user["Username"]) for user in answer.get("Users", ())]
            token = answer.get("PaginationToken")
            if not token:
                return found

    async def _do(self, operation: str, username: str, **more: object) -> bool:
        try:
            await self._api.call(operation, idempotent=True, Username=username, **more)
        except RefusedError as refused:
            if refused.code in _GONE:
                return False
            raise
        return True


def _as_before(stored: str, names: list[str], *, form_decode: bool) -> str:
    """In the form that is there: a JSON list stays one, so that whoever reads it next reads the same names."""
    try:
        json.loads(stored)
    except ValueError:
        pass
    else:
        return json.dumps(names)
    if not names:
        return _NO_GROUPS
    return f"[{', '.join(quote_plus(n, safe=_UNENCODED) for n in names)}]" if form_decode else f"[{', '.join(names)}]"
