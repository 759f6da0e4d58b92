"""Refresh tokens of sessions that have ended are revoked at Cognito, and sessions whose cookie was
replaced end: both behind the answer.

Rules:
- Best effort, bounded in number and time: the session is gone here whatever Cognito says, and with
  it the key that its token was sealed under.
- A session that was replaced in its browser ends ``GRACE_S`` later: requests with the former
  cookie, and a ticket of it, may be under way.
- What waits when the process stops is left to time: an idle session idles out, a token dies of age.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from gateway.errors import PeerError, UnavailableError
from gateway.log import fields
from gateway.tracing.spans import span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from gateway.cognito.relying_party import RelyingParty
    from gateway.core.model import Secret, Session
    from gateway.sessions.api import SessionStore, TenantSource

_LOG = logging.getLogger(__name__)
GRACE_S: Final = 40.0
"""Longer than a ticket lives (30 s) and than a request is under way; shorter, and tabs that sign in
together lose each other's requests.
"""
AGAIN_S: Final = (1.0, 10.0, 60.0)
AT_ONCE: Final = 8
"""Requests to Cognito under way; its token endpoint counts them by address."""
MAX_WAITING: Final = 10_000
"""Tokens, and sessions in their grace: as many of each, since one person with many tabs, or a
script, makes as many of these as they like. A few kilobytes each.
"""
CLOSE_S: Final = 2.0


class TokenRevocation:
    """One per process of the auth role."""

    def __init__(
        self,
        sessions: SessionStore,
        relying_party: RelyingParty,
        tenants: TenantSource,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sessions, self._relying_party, self._tenants, self._sleep = (
            sessions,
            relying_party,
            tenants,
            sleep,
        )
        self._calls = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._graces: set[asyncio.Task[None]] = set()

    def revoke_soon(self, tenant: str, token: Secret | None, *, client_id: str) -> None:
        """``client_id``: of the login that brought the token. Returns at once."""
        if token is not None:
            self._start(self._revoke(tenant, token, client_id), self._tasks)

    def end_replaced_soon(self, session: Session, cookie: str) -> None:
        """``cookie`` opened ``session``, and its browser has just been given another one in its
        place. Returns at once.
        """
        self._start(self._end(session, cookie), self._graces)

    @property
    def waiting(self) -> int:
        """What is under way."""
        return len(self._tasks) + len(self._graces)

    def _start(self, work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> None:
        if len(tasks) >= MAX_WAITING:
            work.close()
            _LOG.warning("token_revocation_left_out", extra=fields(waiting=MAX_WAITING))
            return
        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _end(self, session: Session, cookie: str) -> None:
        await self._sleep(GRACE_S)
        try:
            result = await self._sessions.end_replaced(session, cookie=cookie)
        except UnavailableError as error:
            _LOG.info(
                "replaced_session_not_ended", extra=fields(tenant=session.tenant, error=str(error))
            )
            return
        self.revoke_soon(session.tenant, result.refresh_token, client_id=session.client_id)

    async def _revoke(self, tenant_id: str, token: Secret, client_id: str) -> None:
        for pause in (*AGAIN_S, None):
            tenant = self._tenants.table.by_id(tenant_id)
            if tenant is None:
                return
            try:
                async with self._calls:
                    with span("session.revoke_token") as trace_span:
                        trace_span.set("gateway.tenant", tenant.id)
                        await self._relying_party.revoke(tenant, token, client_id=client_id)
            except (PeerError, UnavailableError) as error:
                if pause is None or isinstance(error, PeerError):
                    _LOG.warning(
                        "revoke_at_cognito_failed",
                        extra=fields(
                            tenant=tenant.id,
                            client_id=client_id,
                            code=error.code if isinstance(error, PeerError) else "unavailable",
                            cause=str(error),
                            setting=(error.setting or None)
                            if isinstance(error, PeerError)
                            else None,
                        ),
                    )
                    return
                await self._sleep(pause)
            else:
                return

    async def settle(self) -> None:
        """Until nothing is under way."""
        while tasks := (*self._tasks, *self._graces):
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """What has begun gets a moment; sessions in their grace are left to idle out."""
        for task in self._graces:
            task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
        await asyncio.gather(*self._tasks, *self._graces, return_exceptions=True)
