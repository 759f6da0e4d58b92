"""The admin role's half of the composition root: SQL, revocation, the admin API. Imported only
where that role runs.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway import __version__
from gateway.admin.application import (
    PREFIX,
    AdminServices,
    admin_application,
    local_application,
)
from gateway.admin.callers import LocalCallers, peer_uid
from gateway.admin.idempotency import IdempotencyRecords
from gateway.admin.keys_store import AdminKeys
from gateway.admin.reads import Reads
from gateway.admin.routes.console import ConsoleRoutes
from gateway.admin.routes.doctor import DoctorRoutes
from gateway.admin.routes.health import HealthRoutes
from gateway.admin.routes.overview import OverviewRoutes
from gateway.admin.routes.pools import PoolRoutes
from gateway.console.application import console_address
from gateway.database.attention import AttentionRecords
from gateway.database.audit import AuditLog
from gateway.database.audit_reads import ReadLog
from gateway.database.tenant_states import TenantStates
from gateway.hooks.active_restrictions import Restrictions
from gateway.hooks.people import SignedIn
from gateway.provisioning.wiring import revoker_over
from gateway.revocation.records import SqlRevocations
from gateway.runtime.audit_export import exported_audit
from gateway.runtime.cognito_role import open_pools, over_cognito, resign
from gateway.runtime.connections import watched_connections
from gateway.runtime.domains import watched_domains
from gateway.runtime.failover import automatic_failover
from gateway.runtime.health_rows import component_rows, process_rows
from gateway.runtime.hooks_role import hook_role
from gateway.runtime.loopback import is_loopback
from gateway.runtime.mail import open_mailer
from gateway.runtime.pages import pages_application
from gateway.runtime.setup_links import setup_links
from gateway.sessions.activity_log import ActivityLog
from gateway.sessions.console_links import ConsoleLinks
from gateway.sessions.directory import StoreDirectory
from gateway.sessions.key_adoption import KeyAdoption
from gateway.sessions.leader import RedisLeader
from gateway.sessions.pool_failover import PoolFailovers
from gateway.sessions.probes import RedisProbes
from gateway.sessions.rate_limit import AttemptCounter
from gateway.sessions.sign_ins import SignIns
from gateway.sessions.tested_connections import TestedConnections
from gateway.tenants.admin_records import RegistryRecords
from gateway.tenants.batch import TenantBatches
from gateway.tenants.connection_tests import LoginLinks
from gateway.tenants.dry_run import TenantRehearsals
from gateway.tenants.explanations import Explanations
from gateway.tenants.hook_targets import RecordedHookTargets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AsyncExitStack

    from aiohttp import web

    from gateway.check.trusted_peer import Trust
    from gateway.config.model import Config
    from gateway.database.engine import Database
    from gateway.keys.file import KeyFile
    from gateway.runtime.admin_stores import AdminStores
    from gateway.runtime.health import Known
    from gateway.sessions.api import Revoker, TenantSource
    from gateway.sessions.connection import RedisClient
    from gateway.sessions.pool_failover import FailoverView

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AdminRole:
    """What the admin role adds to a process: routes on the admin listener."""

    api: web.Application
    hooks: web.Application
    """The hooks listener's own."""
    local: web.Application
    """The local socket's own: the API without keys."""
    pages: web.Application | None
    """The pages listener's own: the console and the setup portal; None where there is neither."""

    def mount(self, app: web.Application) -> None:
        app.add_subapp(PREFIX, self.api)


async def admin_role(
    config: Config,
    ring: KeyFile,
    redis: RedisClient,
    tenants: TenantSource,
    stores: AdminStores,
    failovers: FailoverView,
    known: Mapping[str, Known],
    trust: Trust,
    stack: AsyncExitStack,
) -> AdminRole:
    """Build the rooms on the open stores. ``known``: what ``/readyz`` tells."""
    database, clock = stores.database, stores.database.clock
    directory = StoreDirectory(redis, ring)
    signed_in = SignedIn(directory, ring)
    targets = RecordedHookTargets(lambda: stores.publisher.records)
    # Only to spare work: what two processes record is recorded once.
    sign_in_leader = RedisLeader(redis, name="sign_ins", holder=secrets.token_hex(8))
    stack.push_async_callback(resign, sign_in_leader)
    apis = await open_pools(config, stack)
    across = (
        None
        if apis is None
        else revoker_over(
            config,
            apis,
            database,
            stores.tenants,
            stores.revoker,
            table=lambda: tenants.table,
        )
    )
    revoker: Revoker = stores.revoker if across is None else across
    hooks = await hook_role(
        config,
        database,
        targets=targets,
        revoker=revoker,
        people=signed_in,
        sign_ins=SignIns(redis, ring),
        tenants=lambda: stores.publisher.records,
        leads=sign_in_leader.lead,
        clock=clock,
        monotonic=time.monotonic,
        stack=stack,
    )
    records = RegistryRecords(
        stores.tenants,
        files=lambda: stores.publisher.file_records,
        records=lambda: stores.publisher.records,
        in_force=stores.in_force,
    )
    await automatic_failover(config, redis, stack)
    blocks = Restrictions(database)
    onboarding, members = (
        (None, None)
        if apis is None or across is None
        else await over_cognito(
            config,
            ring,
            redis,
            tenants,
            stores,
            apis,
            across,
            hooks.leader("pool_people"),
            stack,
            failed_over=failovers.is_over,
        )
    )
    mailer = await open_mailer(config, database, hooks.committer, stack)
    watch = await watched_connections(
        config, database, hooks, onboarding, stores.publisher, mailer, stack
    )
    await exported_audit(config, database, hooks.leader("audit_export"), stack)
    domains = await watched_domains(config, ring, database, hooks, stores.publisher, mailer, stack)

    def sealing() -> tuple[bytes, ...]:
        return tuple(key.material for key in ring().sealing)

    setup = await setup_links(config, database, hooks, onboarding, mailer, stack)
    activity = ActivityLog(redis)
    links = ConsoleLinks(redis, clock=clock, random_token=lambda: secrets.token_urlsafe(32))
    services = AdminServices(
        keys=AdminKeys(database, clock=clock),
        audit=AuditLog(database, clock=clock),
        reads=await _reads(config, database, stack),
        idempotency=IdempotencyRecords(database, clock=clock),
        tenants=records,
        tenant_states=TenantStates(database, clock=clock),
        rehearsals=TenantRehearsals(
            stores.tenants, config, directory, files=lambda: stores.publisher.file_records
        ),
        tenant_batches=TenantBatches(
            stores.tenants,
            config,
            directory,
            blocks,
            files=lambda: stores.publisher.file_records,
            in_force=stores.all_in_force,
        ),
        is_tenant=records.has,
        hook_targets=targets.of,
        login_tests=LoginLinks(
            config,
            table=lambda: tenants.table,
            keys=sealing,
            tested=TestedConnections(redis, ring, clock=clock),
            clock=clock,
            entropy=secrets.token_bytes,
        ),
        onboarding=onboarding,
        members=members,
        connections=watch,
        mailer=mailer,
        domains=domains,
        revoker=revoker,
        sessions=directory,
        blocks=blocks,
        explainer=Explanations(
            lambda: tenants.table,
            standing=SqlRevocations(database).standing,
            clock=clock,
            known=signed_in.names_of,
            config=config,
        ),
        hook_setup=hooks.setup,
        coverage=hooks.coverage,
        deliveries=hooks.deliveries,
        messages=hooks.messages,
        people=hooks.people,
        more=(
            *PoolRoutes(config.cognito.all_pools, PoolFailovers(redis, clock=clock)).routes(),
            *DoctorRoutes(
                RedisProbes(redis),
                keys=sealing,
                managed=config.managed_headers,
                cookie_name=config.cookie.name,
                clock=clock,
            ).routes(),
            *ConsoleRoutes(links, console_address(config)).routes(),
            *OverviewRoutes(
                activity,
                AttentionRecords(database, clock=clock),
                None if setup is None else setup.links,
                clock,
            ).routes(),
            *HealthRoutes(
                partial(component_rows, known),
                partial(process_rows, KeyAdoption(redis, ring)),
                activity,
                __version__,
                clock,
            ).routes(),
        ),
        setup=setup,
        operators_tenant=config.console.tenant,
        exposed=not is_loopback(config.listen.admin),
        clock=clock,
    )
    local = local_application(services, LocalCallers(uid=os.geteuid(), user_of=peer_uid))
    attempts = AttemptCounter(redis, clock=clock)
    pages = pages_application(
        config, services, stores.database, ring, sealing, links, attempts, trust
    )
    return AdminRole(admin_application(services), hooks.app, local, pages)


async def _reads(config: Config, database: Database, stack: AsyncExitStack) -> Reads | None:
    """What records who saw what; ends with ``stack``, and is written then."""
    if config.audit.reads == "none":
        return None
    log = ReadLog(database, clock=database.clock)
    await stack.enter_async_context(log.running())
    return Reads(log, everything=config.audit.reads == "all")
