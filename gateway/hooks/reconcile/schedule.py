"""When what is read: every directory and log once in an interval, at once after a gap, by one replica.

A provider that fails is tried again at the next round and does not hold the others up; how long ago each was last read to
its end is a metric with an alert.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from gateway.beside import beside
from gateway.core.model import ProviderKind
from gateway.errors import PeerError, UnavailableError
from gateway.hooks.event import Source
from gateway.hooks.reconcile import okta_backfill
from gateway.hooks.reconcile.graph_client import GraphClient
from gateway.hooks.reconcile.graph_delta import QUERIES
from gateway.hooks.reconcile.leader import LEASE_S
from gateway.hooks.reconcile.okta_backfill import OktaBackfill
from gateway.log import ROOT, fields
from gateway.metrics import RECONCILE_FINDINGS, RECONCILE_LAG_SECONDS, provider_labels

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.hooks.applier import Applier
    from gateway.hooks.reconcile.cursors import Cursors
    from gateway.hooks.reconcile.graph_delta import GraphDelta
    from gateway.hooks.reconcile.leader import Leader
    from gateway.hooks.reconcile.subscriptions import Subscriptions
    from gateway.ports_hooks import HookTarget, HookTargets

PARALLEL = 8
READ_S = 1800.0
"""For one provider. A first reading of a large directory takes minutes; one whose API only drips must not keep its place for ever."""
TICK_S = 5.0
"""How often to look for what became due: a gap seen by another replica, a new tenant."""

log = logging.getLogger(ROOT)


class Reconciliation:
    """The loop of one admin replica; only the leader works."""

    def __init__(
        self, *, leader: Leader, targets: HookTargets, subscriptions: Subscriptions, delta: GraphDelta, backfill: OktaBackfill, cursors: Cursors, applier: Applier,
        interval_s: float, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._leader = leader
        self._targets = targets
        self._subscriptions = subscriptions
        self._delta = delta
        self._backfill = backfill
        self._cursors = cursors
        self._applier = applier
        self._interval_s = interval_s
        self._clock = clock
        self._wake = asyncio.Event()
        self._tried: dict[tuple[str, str], float] = {}
        subscriptions.wake = self._wake.set

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            async with beside(self._run()):
                yield
        finally:
            with contextlib.suppress(UnavailableError):
                await self._leader.resign()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                if await self._leader.lead():
                    await self._while_leading()
            except UnavailableError as error:
                log.warning("reconcile_unavailable", extra=fields(error=str(error)))
            except Exception:
                log.exception("reconcile_fault")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(TICK_S, self._interval_s)):
                    await self._wake.wait()

    async def _while_leading(self) -> None:
        """One round, cut short if the lease is lost meanwhile."""
        round_ = asyncio.create_task(self.round())
        try:
            while not (await asyncio.wait({round_}, timeout=LEASE_S / 3))[0]:
                if not await self._leader.lead():
                    return
            await round_
        finally:
            round_.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await round_

    async def round(self) -> None:
        """Everything that is due."""
        limit = asyncio.Semaphore(PARALLEL)

        async def one(target: HookTarget) -> None:
            async with limit:
                await self._target(target)

        await asyncio.gather(*(one(target) for target in await self._targets.all() if self._resources(target)))

    @staticmethod
    def _resources(target: HookTarget) -> tuple[str, ...]:
        """What of this provider can be read."""
        if target.kind is ProviderKind.ENTRA and GraphClient.configured(target):
            return tuple(QUERIES)
        if target.kind is ProviderKind.OKTA and OktaBackfill.configured(target):
            return (okta_backfill.RESOURCE,)
        return ()

    async def _target(self, target: HookTarget) -> None:
        where = {"tenant": target.tenant, "provider": target.provider}
        try:
            if target.kind is ProviderKind.ENTRA:
                await self._subscriptions.maintain(target)
        except (PeerError, UnavailableError) as error:
            log.warning("graph_subscription_failed", extra=fields(**where, error=str(error)))
        now = self._clock()
        cursors = [await self._cursors.get(target, resource) for resource in self._resources(target)]
        oldest = min((c.read_at if c is not None else 0.0) for c in cursors)
        wanted = any(c is None or c.wanted for c in cursors)
        waited = now - self._tried.get(target.key, 0.0)
        if now - oldest >= self._interval_s or (wanted and waited >= min(TICK_S, self._interval_s)):
            self._tried[target.key] = now
            await self._read(target)
            await self._applier.apply_overdue(target)
        RECONCILE_LAG_SECONDS.labels(*provider_labels(target.tenant, target.provider)).set(await self._lag(target))

    async def _read(self, target: HookTarget) -> None:
        where = {"tenant": target.tenant, "provider": target.provider}
        try:
            async with asyncio.timeout(READ_S):
                found = await (self._delta.read(target) if target.kind is ProviderKind.ENTRA else self._backfill.read(target))
        except (PeerError, UnavailableError, TimeoutError) as error:
            log.warning("reconcile_failed", extra=fields(**where, error=str(error) or f"not read to its end within {READ_S:.0f} s"))
            return
        if found:
            RECONCILE_FINDINGS.labels(Source.ENTRA.value if target.kind is ProviderKind.ENTRA else Source.OKTA.value).inc(found)
            log.info("reconcile_found", extra=fields(**where, events=found))

    async def _lag(self, target: HookTarget) -> float:
        """Since the provider was last read to its end; since this process looked first where it never was."""
        cursors = [await self._cursors.get(target, resource) for resource in self._resources(target)]
        known = [c.read_at for c in cursors if c is not None and c.read_at]
        return max(0.0, self._clock() - min(known)) if len(known) == len(cursors) else self._clock() - self._tried.get(target.key, self._clock())
