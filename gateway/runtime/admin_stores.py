"""What the admin role keeps: SQL, and what holds Redis' copies of tenants and revocations in step
with it.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.background import background_task, forever
from gateway.database.engine import Database, open_database
from gateway.errors import UnavailableError
from gateway.revocation.acknowledgement import Acknowledgements
from gateway.revocation.records import SqlRevocations
from gateway.revocation.restore import Markers
from gateway.revocation.service import StoreRevoker
from gateway.sessions.lease_client import steady
from gateway.sessions.watermarks import Watermarks
from gateway.tenants.database import TenantDatabase
from gateway.tenants.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AsyncExitStack

    from gateway.config.model import Config
    from gateway.keys.file import KeyFile
    from gateway.sessions.connection import RedisClient

IN_FORCE_S: Final = 15.0
"""How long a change waits for its replicas before its answer is "stored, not yet obeyed"."""


@dataclass(frozen=True, slots=True)
class AdminStores:
    """SQL, and what keeps Redis' copy of the tenants in step with it and with the files."""

    database: Database
    tenants: TenantDatabase
    publisher: Publisher
    revoker: StoreRevoker

    async def in_force(self, tenant: str) -> None:
        """Returns when what was just written of the tenant is obeyed by every replica. Raises
        ``UnavailableError`` when that cannot be said.
        """
        revision, _ = await self.tenants.revision()
        await self.publisher.published(revision, timeout_s=IN_FORCE_S, tenant=tenant)

    async def all_in_force(self, tenants: Collection[str]) -> bool:
        """The same of several; False when that cannot be said within the time of one."""
        revision, _ = await self.tenants.revision()
        ends = time.monotonic() + IN_FORCE_S
        try:
            for tenant in tenants:
                left_s = max(0.0, ends - time.monotonic())
                await self.publisher.published(revision, timeout_s=left_s, tenant=tenant)
        except UnavailableError:
            return False
        return True


async def admin_stores(
    config: Config, ring: KeyFile, redis: RedisClient, stack: AsyncExitStack
) -> AdminStores:
    """Open SQL and publish the tenants. Raises ``ConfigError``, and ``UnavailableError`` when SQL
    does not answer.
    """
    database = open_database(config, lambda: ring().database)
    stack.push_async_callback(database.close)
    await database.prepare()
    await stack.enter_async_context(background_task(forever(database.clock.run)))
    tenants = TenantDatabase(database, config)

    staleness_s, monotonic = config.session.max_revocation_delay.total_seconds(), steady()
    acknowledgements = Acknowledgements(redis, staleness_s=staleness_s, monotonic=monotonic)
    stack.push_async_callback(acknowledgements.close)

    async def narrow(
        narrowed: Collection[str], generation: int, confirmed: Callable[[Collection[str]], None]
    ) -> None:
        await acknowledgements.narrow(narrowed, generation, lambda _replica, _at: None, confirmed)

    record = SqlRevocations(database)
    revoker = StoreRevoker(
        Watermarks(redis, ring), record, acknowledgements, clock=database.clock, monotonic=monotonic
    )
    stack.push_async_callback(revoker.close)

    async def end_tenant(tenant: str) -> None:
        await revoker.end_tenant(tenant, lift_until=await tenants.removed_at(tenant))

    publisher = Publisher(
        tenants,
        redis,
        ring,
        config,
        narrow=narrow,
        end=end_tenant,
        end_provider=revoker.end_provider,
        clock=database.clock,
    )
    await publisher.start()
    markers = Markers(
        redis,
        tenants=record.tenants,
        restore=revoker.restore,
        generation=lambda: publisher.generation,
        staleness_s=staleness_s,
        monotonic=monotonic,
    )
    with contextlib.suppress(UnavailableError):
        await markers.look()  # else in the background: until then checks and logins answer 503
    await stack.enter_async_context(background_task(publisher.run()))
    await stack.enter_async_context(background_task(forever(markers.run)))
    await stack.enter_async_context(background_task(forever(revoker.run_maintenance)))
    return AdminStores(database, tenants, publisher, revoker)
