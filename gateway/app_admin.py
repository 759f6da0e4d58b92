"""The admin role's half of the composition root: SQL, revocation, the admin API. Imported only where that role runs."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.registry.administration import RegistryRecords
from gateway.registry.database import TenantDatabase
from gateway.sessions.directory import StoreDirectory
from gateway.sessions.marks import Marks
from gateway.sessions.probes import RedisProbes
from gateway.sessions.revoke import StoreRevoker, Uncached
from gateway.sql.admin_keys import SqlAdminKeys
from gateway.sql.audit import SqlAuditLog
from gateway.sql.database import Database, open_database
from gateway.sql.idempotency import SqlIdempotency
from gateway.sql.revocations import SqlBlocks, SqlRevocations
from gateway.web.admin import PREFIX, AdminServices, admin_application
from gateway.web.admin.doctor import doctor_routes
from gateway.web.probed import managed_at
from gateway.web.system import Finding

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from aiohttp import web

    from gateway.config import Config
    from gateway.keys import KeyRing
    from gateway.registry.files import FileTenants
    from gateway.sessions.connect import Link
    from gateway.web.system import Probe


@dataclass(frozen=True, slots=True)
class AdminRole:
    """What the admin role adds to a process: routes on the admin listener, and a dependency that /readyz tells."""

    api: web.Application
    probes: dict[str, Probe]

    def mount(self, app: web.Application) -> None:
        app.add_subapp(PREFIX, self.api)


async def admin_role(config: Config, ring: KeyRing, link: Link, tenants: FileTenants, stack: AsyncExitStack) -> AdminRole:
    """Open SQL and build the rooms on it. Raises ``ConfigError``, and ``UnavailableError`` when SQL does not answer."""
    database = open_database(config, ring.database)
    stack.push_async_callback(database.close)
    await database.prepare()
    clock = time.time
    revoker = StoreRevoker(Marks(link, lambda: ring), SqlRevocations(database), Uncached(), clock=clock, monotonic=time.monotonic)
    services = AdminServices(
        keys=SqlAdminKeys(database, clock=clock),
        audit=SqlAuditLog(database, clock=clock),
        idempotency=SqlIdempotency(database, clock=clock),
        tenants=RegistryRecords(TenantDatabase(database, config), files=lambda: tenants.records, in_force=_at_once),
        revoker=revoker,
        sessions=StoreDirectory(link, lambda: ring),
        blocks=SqlBlocks(database),
        more=doctor_routes(
            RedisProbes(link),
            keys=lambda: tuple(key.material for key in ring.sealing),
            managed=lambda host: managed_at(tenants.table, config, host),
            cookie_name=config.cookie.name,
            clock=clock,
        ),
        exposed=not _loopback(config.listen.admin),
    )
    return AdminRole(admin_application(services), {"database": lambda: probe_database(database)})


async def _at_once() -> None:
    """Nobody to wait for: files alone are served."""


async def probe_database(database: Database) -> Finding:
    """Not needed by /readyz of a process that also serves checks: sessions do not live in SQL."""
    started = time.perf_counter()
    await database.ping()
    return Finding("database", ok=True, needed=False, detail=f"answers in {(time.perf_counter() - started) * 1000:.1f} ms")


def _loopback(address: str) -> bool:
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
