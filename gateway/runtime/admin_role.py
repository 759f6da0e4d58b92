"""The admin role's half of the composition root: SQL, revocation, the admin API. Imported only
where that role runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.admin import (
    PREFIX,
    AdminServices,
    admin_application,
    in_process_api,
    local_application,
)
from gateway.admin.callers import LocalCallers, peer_uid
from gateway.admin.idempotency import IdempotencyRecords
from gateway.admin.keys_store import AdminKeys
from gateway.admin.routes.console import ConsoleRoutes
from gateway.admin.routes.doctor import DoctorRoutes
from gateway.background import background_task, forever
from gateway.cognito.api import open_cognito
from gateway.cognito.users import CognitoUsers
from gateway.console.application import console_address, console_application
from gateway.database.audit import AuditLog
from gateway.database.engine import Database, open_database
from gateway.errors import ConfigError, UnavailableError
from gateway.hooks.active_restrictions import Restrictions
from gateway.hooks.people import SignedIn
from gateway.log import fields
from gateway.provisioning.wiring import members_over, onboarding_over
from gateway.revocation.acknowledgement import Acknowledgements
from gateway.revocation.cognito_sync import PoolPeople
from gateway.revocation.disabled_users import SqlDisabledUsers
from gateway.revocation.records import SqlRevocations
from gateway.revocation.restore import Markers
from gateway.revocation.service import StoreRevoker
from gateway.runtime.audit_export import exported_audit
from gateway.runtime.connections import watched_connections
from gateway.runtime.hooks_role import hook_role
from gateway.runtime.loopback import is_loopback
from gateway.runtime.mail import open_mailer
from gateway.sessions.console_links import ConsoleLinks
from gateway.sessions.directory import StoreDirectory
from gateway.sessions.leader import RedisLeader
from gateway.sessions.lease_client import steady
from gateway.sessions.probes import RedisProbes
from gateway.sessions.sign_ins import SignIns
from gateway.sessions.tested_connections import TestedConnections
from gateway.sessions.watermarks import Watermarks
from gateway.tenants.admin_records import RegistryRecords
from gateway.tenants.batch import TenantBatches
from gateway.tenants.connection_tests import LoginLinks
from gateway.tenants.database import TenantDatabase
from gateway.tenants.dry_run import TenantRehearsals
from gateway.tenants.explanations import Explanations
from gateway.tenants.hook_targets import RecordedHookTargets
from gateway.tenants.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AsyncExitStack

    from aiohttp import web

    from gateway.config.model import Config
    from gateway.database.leader import Leader
    from gateway.keys.file import KeyFile
    from gateway.provisioning.member_changes import Members
    from gateway.provisioning.service import Onboarding
    from gateway.sessions.api import TenantSource
    from gateway.sessions.connection import RedisClient

log = logging.getLogger(__name__)

IN_FORCE_S: Final = 15.0
"""How long a change waits for its replicas before its answer is "stored, not yet obeyed"."""


@dataclass(frozen=True, slots=True)
class AdminRole:
    """What the admin role adds to a process: routes on the admin listener."""

    api: web.Application
    hooks: web.Application
    """The hooks listener's own."""
    local: web.Application
    """The local socket's own: the API without keys."""
    pages: web.Application | None
    """The pages listener's own: the console; None where ``console.host`` is not set."""

    def mount(self, app: web.Application) -> None:
        app.add_subapp(PREFIX, self.api)


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


async def admin_role(
    config: Config,
    ring: KeyFile,
    redis: RedisClient,
    tenants: TenantSource,
    stores: AdminStores,
    stack: AsyncExitStack,
) -> AdminRole:
    """Build the rooms on the open stores."""
    database, clock = stores.database, stores.database.clock
    directory = StoreDirectory(redis, ring)
    signed_in = SignedIn(directory, ring)
    targets = RecordedHookTargets(lambda: stores.publisher.records)
    # Only to spare work: what two processes record is recorded once.
    sign_in_leader = RedisLeader(redis, name="sign_ins", holder=secrets.token_hex(8))
    stack.push_async_callback(_resign, sign_in_leader)
    hooks = await hook_role(
        config,
        database,
        targets=targets,
        revoker=stores.revoker,
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
    blocks = Restrictions(database)
    onboarding, members = await _over_cognito(
        config, ring, redis, tenants, stores, hooks.leader("pool_people"), stack
    )
    mailer = await open_mailer(config, database, hooks.committer, stack)
    watch = await watched_connections(
        config, database, hooks, onboarding, stores.publisher, mailer, stack
    )
    await exported_audit(config, database, hooks.leader("audit_export"), stack)

    def sealing() -> tuple[bytes, ...]:
        return tuple(key.material for key in ring().sealing)

    links = ConsoleLinks(redis, clock=clock, random_token=lambda: secrets.token_urlsafe(32))
    services = AdminServices(
        keys=AdminKeys(database, clock=clock),
        audit=AuditLog(database, clock=clock),
        idempotency=IdempotencyRecords(database, clock=clock),
        tenants=records,
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
            results=TestedConnections(redis, sealing, clock=clock).result,
            clock=clock,
            entropy=secrets.token_bytes,
        ),
        onboarding=onboarding,
        members=members,
        connections=watch,
        mailer=mailer,
        revoker=stores.revoker,
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
        deliveries=hooks.deliveries,
        messages=hooks.messages,
        people=hooks.people,
        more=(
            *DoctorRoutes(
                RedisProbes(redis),
                keys=sealing,
                managed=config.managed_headers,
                cookie_name=config.cookie.name,
                clock=clock,
            ).routes(),
            *ConsoleRoutes(links, console_address(config)).routes(),
        ),
        operators_tenant=config.console.tenant,
        exposed=not is_loopback(config.listen.admin),
    )
    local = local_application(services, LocalCallers(uid=os.geteuid(), user_of=peer_uid))
    pages = console_application(
        config, in_process_api(services), ring, sealing, clock, services.audit, links
    )
    return AdminRole(admin_application(services), hooks.app, local, pages)


async def _over_cognito(
    config: Config,
    ring: KeyFile,
    redis: RedisClient,
    tenants: TenantSource,
    stores: AdminStores,
    leader: Leader,
    stack: AsyncExitStack,
) -> tuple[Onboarding, Members] | tuple[None, None]:
    """Onboarding, with its recovery of interrupted runs and the end of replaced clients; and the
    pool's users, kept in step. None where the AWS SDK is not installed, and then there are no such
    routes.
    """
    try:
        apis = {
            name: await stack.enter_async_context(open_cognito(config, pool=name))
            for name in config.cognito.all_pools
        }
    except ConfigError as error:
        log.warning("provisioning_off", extra=fields(detail=str(error)))
        return None, None
    onboarding = onboarding_over(
        config,
        apis,
        stores.database,
        stores.tenants,
        files=lambda: stores.publisher.file_records,
        in_force=stores.in_force,
    )
    await stack.enter_async_context(
        background_task(forever(onboarding.provisioning.recover_forever))
    )
    await stack.enter_async_context(background_task(forever(onboarding.rotation.retire_forever)))
    record, disabled = SqlRevocations(stores.database), SqlDisabledUsers(stores.database)
    people = PoolPeople(
        {name: CognitoUsers(api) for name, api in apis.items()},
        record,
        stores.revoker,
        Watermarks(redis, ring),
        disabled,
        table=lambda: tenants.table,
        clock=stores.database.clock,
        leads=leader.lead,
    )
    stack.push_async_callback(_resign, leader)
    await stack.enter_async_context(background_task(forever(people.run)))
    return onboarding, members_over(
        onboarding, apis, people, stores.revoker, table=lambda: tenants.table
    )


async def _resign(leader: Leader | RedisLeader) -> None:
    with contextlib.suppress(UnavailableError):
        await leader.resign()
