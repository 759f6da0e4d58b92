"""What revocation does to people in the pool itself. Each repeats harmlessly; who is not there
needs nothing done.

``username`` is Cognito's: ``{provider}_{subject}`` of a federated person, with the case in which
Cognito keeps it. Cognito's own browser session ends only where the pool tracks sessions, and tokens
that are out stay valid offline until they expire: the gateway's watermarks and blocks are what
keeps somebody out, this keeps the pool's side in step.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from gateway.cognito.api import CognitoRejectedError
from gateway.cognito.desired import GROUPS, OID
from gateway.cognito.native_sessions import LoginCookies
from gateway.core.canonical import address_spellings, canonical_id
from gateway.core.groups import parse_groups

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from gateway.cognito.api import CognitoApi

GONE = frozenset({"UserNotFoundException", "ResourceNotFoundException"})
FEDERATED = "EXTERNAL_PROVIDER"
_UNENCODED = ".-*_"
"""What Cognito leaves as it is when it writes a list into an attribute."""
_NO_GROUPS = "[]"
"""Not blank: a blank value removes the attribute, and whether the next login then reports it is not
documented.
"""
_PAGE = 60
_MAX_USERNAME = 128
"""Characters of ``Username``: letters, marks, symbols, numbers and punctuation (API model)."""
_MAX_FILTER = 256
"""Characters of ListUsers' ``Filter`` (API model)."""


@dataclass(frozen=True, slots=True)
class PoolUser:
    """A profile as Cognito has it. ``username`` in Cognito's own spelling; what is not there is
    empty.
    """

    username: str
    enabled: bool
    sub: str
    email: str
    oid: str
    own: bool = False
    """One of the pool's own, whom no identity provider vouches for."""


@dataclass(frozen=True, slots=True)
class FederatedIdentity:
    """As whom an identity provider knows a user of the pool, in its own spelling."""

    provider: str
    subject: str


@dataclass(frozen=True, slots=True)
class FederatedUser:
    """Several identities: an operator has linked them. ``email`` "": the pool has none."""

    sub: str
    email: str
    identities: tuple[FederatedIdentity, ...]


class CognitoUsers:
    """Raises ``CognitoRejectedError`` where Cognito says no, ``UnansweredError`` where it does not
    answer: worth repeating.
    """

    def __init__(self, api: CognitoApi) -> None:
        self._api = api
        self._cookies = LoginCookies(api)

    async def find(self, username: str) -> PoolUser | None:
        """None: there is no such person."""
        answer = await self._get(username)
        if answer is None:
            return None
        attributes = {
            str(a.get("Name")): str(a.get("Value", "")) for a in answer.get("UserAttributes", ())
        }
        # What does not say that it is enabled is not taken for somebody whom we disabled.
        return PoolUser(
            str(answer["Username"]),
            answer.get("Enabled") is True,
            attributes.get("sub", ""),
            attributes.get("email", ""),
            attributes.get(OID, ""),
            answer.get("UserStatus", FEDERATED) != FEDERATED,
        )

    async def federated(self, username: str) -> FederatedUser | None:
        """None: there is no such person, or none whom an identity provider vouches for."""
        answer = await self._get(username)
        if answer is None:
            return None
        attributes = {
            str(a.get("Name")): str(a.get("Value", "")) for a in answer.get("UserAttributes", ())
        }
        identities = _identities(attributes.get("identities", ""))
        if not identities or not attributes.get("sub"):
            return None
        return FederatedUser(attributes["sub"], attributes.get("email", ""), identities)

    async def groups_of(self, username: str) -> tuple[str, ...]:
        """Names of the pool's groups that they are in; none of somebody who is not there."""
        return tuple([str(group["GroupName"]) async for group in self._groups(username)])

    async def _groups(self, username: str) -> AsyncIterator[dict[str, Any]]:
        token: str | None = None
        while can_be_a_username(username):
            more = {"NextToken": token} if token else {}
            try:
                answer = await self._api.call(
                    "AdminListGroupsForUser",
                    idempotent=True,
                    Username=username,
                    Limit=_PAGE,
                    **more,
                )
            except CognitoRejectedError as refused:
                if refused.code in GONE:
                    return
                raise
            for group in answer.get("Groups", ()):
                yield group
            token = answer.get("NextToken")
            if not token:
                return

    async def _get(self, username: str) -> dict[str, Any] | None:
        if not can_be_a_username(username):
            return None
        try:
            return await self._api.call("AdminGetUser", idempotent=True, Username=username)
        except CognitoRejectedError as refused:
            if refused.code in GONE:
                return None
            raise

    async def sign_out(self, username: str) -> bool:
        """Every refresh token of theirs ends, and their login cookies where the pool tracks them.
        False: there is no such person.
        """
        return await self._do("AdminUserGlobalSignOut", username) and await self._cookies_end(
            username
        )

    async def disable(self, username: str) -> bool:
        """No sign-in and no refresh until enabled, and then no login cookie of before."""
        return await self._do("AdminDisableUser", username) and await self._cookies_end(username)

    async def _cookies_end(self, username: str) -> bool:
        await self._cookies.end(username)
        return True

    async def enable(self, username: str) -> bool:
        return await self._do("AdminEnableUser", username)

    async def remove_group(self, username: str, group: str, *, url_decode_groups: bool) -> bool:
        """Take ``group`` out of the stored ``custom:groups``; True once the stored value surely
        lacks it.

        False: no such person, or a stored value that cannot be read (truncated), which is left
        alone.
        """
        answer = await self._get(username)
        if answer is None:
            return False
        text = next(
            (
                str(a.get("Value", ""))
                for a in answer.get("UserAttributes", ())
                if a.get("Name") == GROUPS
            ),
            "",
        )
        names = parse_groups(text, url_decode_groups=url_decode_groups)
        if names is None:
            return False
        other_names = [name for name in names if canonical_id(name) != canonical_id(group)]
        if len(other_names) == len(names):
            return True
        value = {
            "Name": GROUPS,
            "Value": _as_before(text, other_names, url_decode_groups=url_decode_groups),
        }
        return await self._do("AdminUpdateUserAttributes", username, UserAttributes=[value])

    async def usernames(self, email: str) -> tuple[str, ...]:
        """Everybody of that canonical address, in whatever case and spelling Cognito has it. For
        people whom the gateway has never seen.
        """
        names = [
            name
            for spelling in address_spellings(email)
            for name in await self._search("email", spelling)
        ]
        return tuple(dict.fromkeys(names))

    async def usernames_of_sub(self, sub: str) -> tuple[str, ...]:
        """Whose ``sub`` this is: one or nobody."""
        return tuple(await self._search("sub", sub))

    async def with_group(
        self, provider: str, group: str, *, url_decode_groups: bool
    ) -> tuple[str, ...]:
        """Everybody of the provider whose stored groups hold ``group`` or cannot be read. Reads all
        of the provider's people, 60 at a time, whole profiles: asked for ``custom:groups`` alone,
        Cognito fails as long as one user of the pool has none.
        """
        names: list[str] = []
        # A pool that ignores case has the provider's name in lower case, and a search for user
        # names may regard case.
        for prefix in dict.fromkeys((provider, provider.lower())):
            async for user in self._listed(f'username ^= "{prefix}_"'):
                text = next(
                    (
                        str(a.get("Value", ""))
                        for a in user.get("Attributes", ())
                        if a.get("Name") == GROUPS
                    ),
                    "",
                )
                groups = parse_groups(text, url_decode_groups=url_decode_groups)
                if groups is None or canonical_id(group) in map(canonical_id, groups):
                    names.append(str(user["Username"]))
        return tuple(dict.fromkeys(names))

    async def _search(self, attribute: str, value: str) -> list[str]:
        if '"' in value or "\\" in value or not value.isprintable():
            return []
        if len(value) > _MAX_FILTER - len(f'{attribute} = ""'):
            return []
        return [str(user["Username"]) async for user in self._listed(f'{attribute} = "{value}"')]

    async def _listed(self, filter_text: str) -> AsyncIterator[dict[str, Any]]:
        """Over all pages. A page may be empty and not the last."""
        token: str | None = None
        while True:
            more = {"PaginationToken": token} if token else {}
            answer = await self._api.call(
                "ListUsers", idempotent=True, Filter=filter_text, Limit=_PAGE, **more
            )
            for user in answer.get("Users", ()):
                yield user
            token = answer.get("PaginationToken")
            if not token:
                return

    async def _do(self, operation: str, username: str, **more: object) -> bool:
        if not can_be_a_username(username):
            return False
        try:
            await self._api.call(operation, idempotent=True, Username=username, **more)
        except CognitoRejectedError as refused:
            if refused.code in GONE:
                return False
            raise
        return True


def _identities(text: str) -> tuple[FederatedIdentity, ...]:
    """JSON in a string, as AdminGetUser shows it. What cannot be read raises
    ``CognitoRejectedError``: somebody would be taken for nobody's.
    """
    if not text:
        return ()
    try:
        entries = json.loads(text)
        return tuple(
            FederatedIdentity(str(entry["providerName"]), str(entry["userId"])) for entry in entries
        )
    except (ValueError, TypeError, KeyError) as error:
        msg = "a user's identities cannot be read"
        raise CognitoRejectedError("MalformedIdentities", msg) from error


def can_be_a_username(text: str) -> bool:
    """Whether Cognito takes it as ``Username``. Who is named by anything else is not in the pool,
    and asking would fail all that is asked for together with it.
    """
    return 0 < len(text) <= _MAX_USERNAME and all(
        unicodedata.category(character)[0] in "LMSNP" for character in text
    )


def _as_before(stored: str, names: list[str], *, url_decode_groups: bool) -> str:
    """In the form that is there: a JSON list stays one, so that whoever reads it next reads the
    same names.
    """
    try:
        json.loads(stored)
    except ValueError:
        pass
    else:
        return json.dumps(names)
    if not names:
        return _NO_GROUPS
    return (
        f"[{', '.join(quote_plus(n, safe=_UNENCODED) for n in names)}]"
        if url_decode_groups
        else f"[{', '.join(names)}]"
    )
