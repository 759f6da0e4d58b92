"""Looks at every provider once an hour, and at one that fails every ten minutes. One admin process
does it; every one shows what is known as metrics.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Final

from gateway.background import background_task, fault, in_rounds
from gateway.core.model import DEFAULT_POOL
from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.metrics import CONNECTION_FAILING, CREDENTIAL_EXPIRES, provider_labels
from gateway.tenants.hook_targets import hook_targets
from gateway.tenants.snapshot_record import document_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from gateway.core.expiry import ConnectionState
    from gateway.core.paging import Page
    from gateway.expiry.look import Look, Looker
    from gateway.expiry.records import ConnectionRecords, ConnectionView
    from gateway.tenants.snapshot_record import Record

ROUND_S: Final = 15.0
"""Half of a leader's lease."""
LOOK_EVERY_S: Final = 3600.0
"""Cognito reads metadata every six hours, and whoever exchanges a certificate publishes both for at
least that long: several looks fall into it.
"""
LOOK_AGAIN_S: Final = 600.0
SHOW_EVERY_S: Final = 60.0
PARALLEL: Final = 4
"""Tenants that are looked at at once."""


log = logging.getLogger(__name__)


class ConnectionWatch:
    """``records``: of the tenants that are served, by id. ``leads``: whether this process does
    it. ``clock``: UTC epoch seconds.
    """

    def __init__(
        self,
        looker: Looker,
        store: ConnectionRecords,
        *,
        records: Callable[[], Mapping[str, Record]],
        leads: Callable[[], Awaitable[bool]],
        clock: Callable[[], float],
    ) -> None:
        self._looker, self._store = looker, store
        self._records, self._leads, self._clock = records, leads, clock
        self._seen: dict[str, str] = {}
        """Digest of each tenant as it was when it was looked at."""
        self._not_before: dict[str, float] = {}
        """Tenants whose last look could not be finished → when the next is."""
        self._show_at = 0.0
        self._gauges: dict[tuple[str, ...], float] = {}

    def running(self) -> AbstractAsyncContextManager[None]:
        return background_task(
            in_rounds(
                self.round,
                pause_s=ROUND_S,
                unavailable="connections_unavailable",
                failed="connections_fault",
            )
        )

    async def round(self) -> int:
        """Look at what is due; how many tenants that was. Raises ``UnavailableError``."""
        count = 0
        if await self._leads():
            tenants = await self._due()
            for first in range(0, len(tenants), PARALLEL):
                if not await self._leads():
                    break
                await asyncio.gather(*map(self._look, tenants[first : first + PARALLEL]))
                count += len(tenants[first : first + PARALLEL])
            await self._store.forget(self._records())
        if count or self._clock() >= self._show_at:
            await self._show()
        return count

    async def _due(self) -> list[str]:
        """In the order in which they have waited. One that was changed is due at once."""
        now = self._clock()
        due_times = await self._store.due(every_s=LOOK_EVERY_S, failing_s=LOOK_AGAIN_S)
        records = self._records()
        self._seen = {tenant: digest for tenant, digest in self._seen.items() if tenant in records}
        self._not_before = {
            t: at for t, at in self._not_before.items() if t in records and at > now
        }
        queue = [
            (due_times.get(tenant, 0.0), tenant)
            for tenant, record in records.items()
            if record.active
            and tenant not in self._not_before
            and (
                due_times.get(tenant, 0.0 if tenant not in self._seen else now + LOOK_EVERY_S)
                <= now
                or self._seen.get(tenant, record.digest) != record.digest
            )
        ]
        return [tenant for _, tenant in sorted(queue)]

    async def _look(self, tenant: str) -> None:
        """What fails here keeps no other tenant from being looked at."""
        try:
            await self.check(tenant)
        except UnavailableError as error:
            self._not_before[tenant] = self._clock() + LOOK_AGAIN_S
            log.warning("connection_not_checked", extra=fields(tenant=tenant, error=str(error)))
        except Exception as error:  # noqa: BLE001 - logged
            self._not_before[tenant] = self._clock() + LOOK_AGAIN_S
            fault("connection_fault", error, tenant=tenant)

    async def check(self, tenant: str) -> tuple[ConnectionView, ...]:
        """Look at a tenant's providers now. Raises ``UnavailableError``."""
        record = self._records().get(tenant)
        if record is None:
            return ()
        try:
            document, clients = document_of(record)
        except ValueError as error:
            msg = f"the record of tenant {tenant} cannot be read"
            raise UnavailableError(msg) from error
        certificates = {each.provider: each.certificates for each in await self._store.of(tenant)}
        looks: dict[str, Look] = {}
        for provider, target in zip(document.providers, hook_targets(document), strict=True):
            if provider.active:
                looks[provider.name] = await self._looker.look(
                    provider,
                    target,
                    certificates.get(provider.name) or None,
                    pool=clients[0].pool if clients else DEFAULT_POOL,
                )
        await self._store.record(tenant, looks)
        self._seen[tenant] = record.digest
        return await self._store.of(tenant)

    async def page(
        self,
        tenant: str | None,
        state: ConnectionState | None,
        *,
        position: str | None,
        limit: int,
    ) -> Page[tuple[str, ConnectionView]]:
        """What the last looks found, of all tenants with None. Raises ``UnavailableError``."""
        return await self._store.page(tenant, state, position=position, limit=limit)

    async def known(self, tenant: str) -> tuple[ConnectionView, ...]:
        """What the last look found. Raises ``UnavailableError``."""
        return await self._store.of(tenant)

    async def _show(self) -> None:
        """What is known, as metrics; what is gone is not a number any more."""
        states, ends = await self._store.shown()
        gauges: dict[tuple[str, ...], float] = {}
        for tenant, provider, is_failing in states:
            pair: tuple[str, ...] = provider_labels(tenant, provider)
            gauges[pair] = max(float(is_failing), gauges.get(pair, 0.0))
        for tenant, provider, credential, at in ends:
            key = (*provider_labels(tenant, provider), credential)
            gauges[key] = min(at, gauges.get(key, math.inf))
        for labels in self._gauges.keys() - gauges.keys():
            gauges[labels] = math.nan
        for capped, value in gauges.items():
            if len(capped) == 2:
                CONNECTION_FAILING.labels(*capped).set(value)
            else:
                CREDENTIAL_EXPIRES.labels(*capped).set(value)
        self._gauges = {labels: value for labels, value in gauges.items() if not math.isnan(value)}
        self._show_at = self._clock() + SHOW_EVERY_S


__all__ = ["LOOK_AGAIN_S", "LOOK_EVERY_S", "ConnectionWatch"]
