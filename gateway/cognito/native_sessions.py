"""Cognito's own sessions: for how long a client takes the login cookie, and the end of a user's.

A pool of the plan Essentials or Plus has them while it tracks sessions. Whatever Cognito says
instead (another plan, tracking that is off, no permission, an operation that it does not know),
everything stays as it is without them, and is told.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.cognito.api import THROTTLED, CognitoRejectedError, UnansweredError
from gateway.cognito.feature_plan import LITE
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.cognito.api import CognitoApi

NEVER: Final = 0
"""Minutes for which a client of ours takes the cookie: each login asks the identity provider."""
DEFAULT_MINUTES: Final = 60
ASK_AGAIN_S: Final = 900.0
"""Somebody may have switched tracking on."""
_GONE: Final = frozenset({"UserNotFoundException", "ResourceNotFoundException"})
_LATER: Final = THROTTLED | {"ConcurrentModificationException"}
_OF_ONE_USER: Final = "InvalidParameterException"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoginReuse:
    """``minutes``: by client id, for how long the cookie signs somebody in without the provider.
    ``refused``: Cognito's code where it did not say whether the pool tracks sessions.
    """

    plan: str
    tracked: bool
    minutes: Mapping[str, int]
    refused: str = ""

    def sentence(self) -> str:
        if self.tracked:
            return (
                f"the pool is of plan {self.plan} and tracks sessions: each login asks the "
                "identity provider, and a revocation ends the user's login cookie at Cognito"
            )
        why = (
            f"Cognito does not say whether it tracks sessions ({self.refused})"
            if self.refused
            else "it cannot track sessions (Essentials and Plus can)"
            if self.plan == LITE
            else "it does not track sessions (SetUserPoolSessionConfiguration)"
        )
        return (
            f"the pool is of plan {self.plan}, and {why}: for an hour after a login, Cognito may "
            "sign the same browser in without asking the identity provider"
        )


async def login_reuse(api: CognitoApi, plan: str, client_ids: Iterable[str]) -> LoginReuse:
    """Raises ``UnansweredError``."""
    none = LoginReuse(plan, tracked=False, minutes={})
    if plan == LITE:
        return none
    try:
        answer = await api.call("GetUserPoolSessionConfiguration", idempotent=True)
        if answer.get("UserSessionTracking") != "ENABLED":
            return none
        minutes = {client_id: await _minutes(api, client_id) for client_id in client_ids}
    except CognitoRejectedError as refused:
        _log.info("cognito_sessions_unavailable", extra=fields(code=refused.code))
        return replace(none, refused=refused.code)
    return LoginReuse(plan, tracked=True, minutes=minutes)


async def _minutes(api: CognitoApi, client_id: str) -> int:
    answer = await api.call(
        "GetUserPoolClientSessionConfiguration", idempotent=True, ClientId=client_id
    )
    minutes = answer.get("SSOSession", {}).get("MaxValidityMinutes")
    return minutes if isinstance(minutes, int) else DEFAULT_MINUTES


class LoginCookies:
    """Of one pool's users."""

    def __init__(self, api: CognitoApi, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._api, self._monotonic = api, monotonic
        self._not_before = 0.0

    async def end(self, username: str) -> None:
        """Every session that began on Cognito's pages, and what came of it. Repeats harmlessly.
        Raises ``UnansweredError``, also where Cognito has no time.

        Only what is said of the pool keeps others' from being ended: a name that Cognito does not
        take, or a crowd that is signed out at once, says nothing of it.
        """
        if self._monotonic() < self._not_before:
            return
        try:
            for session_id in await self._of(username):
                await self._end(username, session_id)
        except CognitoRejectedError as refused:
            if refused.code in _LATER:
                msg = f"Cognito has no time to end the login cookies of a user ({refused.code})"
                raise UnansweredError(msg) from refused
            if refused.code in _GONE:
                return
            _log.info("cognito_sessions_unavailable", extra=fields(code=refused.code))
            if refused.code != _OF_ONE_USER:
                self._not_before = self._monotonic() + ASK_AGAIN_S

    async def _of(self, username: str) -> list[str]:
        session_ids: list[str] = []
        token: str | None = None
        while True:
            more = {"NextToken": token} if token else {}
            answer = await self._api.call(
                "AdminListUserSessions", idempotent=True, Username=username, **more
            )
            session_ids += [
                str(each["SessionId"])
                for each in answer.get("Sessions", ())
                if each.get("SessionType") == "SSO"
            ]
            token = answer.get("NextToken")
            if not token:
                return session_ids

    async def _end(self, username: str, session_id: str) -> None:
        try:
            await self._api.call(
                "AdminRevokeUserSession",
                idempotent=True,
                Username=username,
                SessionId=session_id,
                RevokeAssociatedSessions="LINKED",
            )
        except CognitoRejectedError as refused:
            # It has ended meanwhile, and others of theirs may not have.
            if refused.code not in _GONE:
                raise
