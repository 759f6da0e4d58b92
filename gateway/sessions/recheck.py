"""``session.revalidate_interval``: ask Cognito now and then whether it still knows the person, by
the family's refresh token.

Rules:
- A check schedules it and never awaits it. Until Cognito has answered, the session is as good as it
  was.
- One process at a time asks about a family, with the client that its login used; the store says
  who.
- Only ``invalid_grant``, for the very token that is stored, ends a session. Cognito down, slow,
  throttled or misconfigured ends nothing.
- What Cognito says about groups is not read: a refresh does not ask the identity provider, and an
  absent claim is not an empty one.
- A rotated token is stored before anybody asks again. A crash in between leaves the old one, good
  for Cognito's grace period.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import TYPE_CHECKING, Final, Protocol

from gateway.errors import PeerError, UnavailableError
from gateway.log import Throttled, fields
from gateway.sessions.connection import Script
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.refresh_token import seal_refresh, unseal_refresh
from gateway.tracing.spans import span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.core.model import Secret, Tenant
    from gateway.sessions.codec import Record
    from gateway.sessions.connection import RedisClient

HOLD_S: Final = 20
"""How long a claim keeps others from asking; shorter than Cognito's grace for a rotated token (30 s
as provisioned).
"""
ANSWER_S: Final = 15.0
AT_ONCE: Final = 16
"""Requests to Cognito under way; its token endpoint counts them by address."""
WAITING: Final = 10_000
STORE_AGAIN_S: Final = (0.05, 0.2, 0.5, 1.0, 2.0)

CLAIM, RECHECKED = Script.load("claim"), Script.load("rechecked")
_log = logging.getLogger(__name__)


class Refresh(Protocol):
    """``RelyingParty.refresh``."""

    async def __call__(
        self, tenant: Tenant, refresh_token: Secret, *, client_id: str
    ) -> Secret | None: ...


class Rechecks:
    """One per process."""

    def __init__(
        self,
        redis: RedisClient,
        *,
        interval_s: float,
        tenant: Callable[[str], Tenant | None],
        refresh: Refresh,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``refresh`` returns the token's successor where Cognito rotates; raises ``PeerError`` or
        ``UnavailableError``.
        """
        self.interval_s = interval_s
        self._redis = redis
        self._tenant = tenant
        self._refresh = refresh
        self._entropy = entropy
        self._sleep = sleep
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._postponed = Throttled(_log, logging.WARNING, "recheck_postponed")

    def used(self, record: Record) -> None:
        """A session of this family is in use; the store knows whether it is due. Returns at
        once.
        """
        family = record.session.family
        if family in self._under_way or len(self._under_way) >= WAITING:
            return
        task = asyncio.get_running_loop().create_task(self._ask(record))
        self._under_way[family] = task
        task.add_done_callback(lambda _: self._under_way.pop(family, None))

    async def _ask(self, record: Record) -> None:
        session = record.session
        tenant = self._tenant(session.tenant)
        if tenant is None or tenant.client(session.client_id) is None:
            # Another client cannot use this token; the change of client has ended what it had to.
            return
        async with self._slots:
            try:
                await self._ask_cognito(record, tenant)
            except (UnavailableError, PeerError, TimeoutError) as error:
                self._postponed(
                    tenant=session.tenant,
                    user=session.identity.sub,
                    provider=session.identity.provider,
                    code=error.code if isinstance(error, PeerError) else "unavailable",
                    cause=str(error) or "no answer in time",
                    setting=(error.setting or None) if isinstance(error, PeerError) else None,
                )

    async def _ask_cognito(self, record: Record, tenant: Tenant) -> None:
        session = record.session
        at = prefix(bucket_of(session.tenant))
        answer = await self._redis.run(
            CLAIM, [f"{at}f:{session.family}"], [session.tenant, int(self.interval_s), HOLD_S]
        )
        if answer[0] != b"go":
            return
        ciphertext = answer[1]
        token = unseal_refresh(record, ciphertext)
        if token is None:
            return
        try:
            with span("session.refresh", parent="") as trace_span:
                trace_span.set("gateway.tenant", session.tenant)
                async with asyncio.timeout(ANSWER_S):
                    successor = await self._refresh(tenant, token, client_id=session.client_id)
        except PeerError as error:
            if error.code != "invalid_grant":
                raise
            ended_count = await self._note(record, ciphertext, successor=b"", refused=True)
            if ended_count >= 0:
                _log.info(
                    "recheck_ended",
                    extra=fields(
                        tenant=session.tenant,
                        user=session.identity.sub,
                        provider=session.identity.provider,
                        ended=ended_count,
                    ),
                )
            return
        new_ciphertext = (
            b""
            if successor is None
            else seal_refresh(session, record.family_key, successor, entropy=self._entropy)
        )
        await self._note(record, ciphertext, successor=new_ciphertext, refused=False)

    async def _note(self, record: Record, asked: bytes, *, successor: bytes, refused: bool) -> int:
        """Tell the store, again if it must be: a rotated token that is lost signs the person out at
        the next time.
        """
        tenant, family = record.session.tenant, record.session.family
        at = prefix(bucket_of(tenant))
        arguments = [asked, successor, "refused" if refused else "", at, family, tenant]
        for pause in STORE_AGAIN_S:
            with contextlib.suppress(UnavailableError):
                return int(await self._redis.run_durably(RECHECKED, [f"{at}f:{family}"], arguments))
            await self._sleep(pause)
        return int(await self._redis.run_durably(RECHECKED, [f"{at}f:{family}"], arguments))

    async def settle(self) -> None:
        """Until nothing is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way.values())

    async def close(self) -> None:
        tasks = list(self._under_way.values())
        if tasks:
            # What Cognito has rotated should be stored; it takes a moment.
            _, late = await asyncio.wait(tasks, timeout=2)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
