"""Logins that the auth role noted in Redis become rows and messages, by one admin process.

Rules:
- Recorded first, taken away afterwards: a process that dies in between leaves what is recorded
  again, which changes nothing (``PeopleRegister``). Two processes at once do no harm either.
- One entry that cannot be recorded keeps no other from it: it is logged, and taken away.
- A tenant that is gone, or has been made again since, hears nothing of its predecessor's people.
- Buckets are read one after another with a pause, so that the work is the same however many tenants
  there are; what is read is late by ``PAUSE_S`` for each bucket that has tenants.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from gateway.background import background_task, fault, in_rounds
from gateway.database.tenant_deletion import begun_at
from gateway.errors import UnavailableError
from gateway.hooks.people_register import FORGOTTEN_AT_ONCE
from gateway.log import fields
from gateway.metrics import SIGN_INS_RECORDED, begin_at_zero
from gateway.sessions.keyspace import bucket_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.people_register import PeopleRegister
    from gateway.hooks.webhooks.outbox import Outbox
    from gateway.sessions.sign_ins import SignIn, SignIns

ROUND_S: Final = 1.0
PAUSE_S: Final = 0.01
BATCH: Final = 100
FORGET_EVERY_S: Final = 3600.0

log = logging.getLogger(__name__)


class SignInRecorder:
    """``tenants``: ids of those that are served. ``leads``: whether this process does it; asked in
    each round.
    """

    def __init__(
        self,
        sign_ins: SignIns,
        register: PeopleRegister,
        committer: GroupCommitter,
        outbox: Outbox,
        *,
        tenants: Callable[[], Collection[str]],
        leads: Callable[[], Awaitable[bool]],
        clock: Callable[[], float],
    ) -> None:
        begin_at_zero(SIGN_INS_RECORDED, ["recorded", "unreadable", "of_no_tenant", "failed"])
        self._sign_ins, self._register = sign_ins, register
        self._committer, self._outbox = committer, outbox
        self._tenants, self._leads, self._clock = tenants, leads, clock
        self._forget_at = 0.0

    def running(self) -> AbstractAsyncContextManager[None]:
        return background_task(
            in_rounds(
                self.round,
                pause_s=ROUND_S,
                unavailable="sign_ins_unavailable",
                failed="sign_ins_fault",
            )
        )

    async def round(self) -> int:
        """Record what there is; how many logins that was. Raises ``UnavailableError``."""
        if not await self._leads():
            return 0
        count = 0
        for bucket in sorted({bucket_of(tenant) for tenant in self._tenants()}):
            while entries := await self._sign_ins.read(bucket, limit=BATCH):
                count += await self._record([sign_in for _, sign_in in entries])
                await self._sign_ins.forget(bucket, [raw for raw, _ in entries])
                if len(entries) < BATCH:
                    break
            await asyncio.sleep(PAUSE_S)
        if self._clock() >= self._forget_at:
            await self._forget()
        return count

    async def _record(self, found: Sequence[SignIn | None]) -> int:
        unreadable = sum(one is None for one in found)
        if unreadable:
            log.error("sign_ins_unreadable", extra=fields(entries=unreadable))
            SIGN_INS_RECORDED.labels("unreadable").inc(unreadable)
        tenants = set(self._tenants())
        sign_ins = [one for one in found if one is not None and one.tenant in tenants]
        orphan_count = len(found) - unreadable - len(sign_ins)
        try:
            orphan_count += await self._written(sign_ins)
        except UnavailableError:
            raise
        except Exception:  # noqa: BLE001 - found out below, one by one
            sign_ins = await self._one_by_one(sign_ins)
        SIGN_INS_RECORDED.labels("of_no_tenant").inc(orphan_count)
        SIGN_INS_RECORDED.labels("recorded").inc(len(sign_ins))
        if sign_ins:
            self._outbox.wake()
        return len(sign_ins)

    async def _one_by_one(self, meant: Sequence[SignIn]) -> list[SignIn]:
        """Those that could be recorded."""
        sign_ins = []
        for one in meant:
            try:
                await self._written([one])
            except UnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - logged
                fault("sign_in_not_recorded", error, tenant=one.tenant)
                SIGN_INS_RECORDED.labels("failed").inc()
            else:
                sign_ins.append(one)
        return sign_ins

    async def _written(self, meant: Sequence[SignIn]) -> int:
        """How many were of a tenant that had the id before."""

        async def work(connection: AsyncConnection) -> int:
            now, former = self._clock(), 0
            tenant_starts: dict[str, float] = {}
            sign_ins: list[SignIn] = []
            # In one order everywhere: two processes that record the same do not wait in a circle.
            for one in sorted(meant, key=lambda one: (one.tenant, one.user, one.began)):
                if one.tenant not in tenant_starts:
                    tenant_starts[one.tenant] = await begun_at(connection, one.tenant)
                if one.at + 1 < tenant_starts[one.tenant]:
                    former += 1
                    continue
                sign_ins.append(one)
            await self._register.signed_in(connection, sign_ins, outbox=self._outbox, now=now)
            return former

        return await self._committer.run(work) if meant else 0

    async def _forget(self) -> None:
        now = self._clock()
        count = FORGOTTEN_AT_ONCE
        while count == FORGOTTEN_AT_ONCE:
            count = await self._committer.run(lambda c: self._register.forget(c, now=now))
        self._forget_at = now + FORGET_EVERY_S
