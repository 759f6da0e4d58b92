"""Composition root: the only file that names every adapter. Lifecycles are a stack; what starts
first ends last.
"""

from __future__ import annotations

import asyncio
import gc
import hmac
import ipaddress
import logging
import os
import platform
import secrets
import signal
import time
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web, web_response

from gateway.background import background_task, forever
from gateway.check.bearer import Machines
from gateway.check.handler import Checks
from gateway.check.http_parser import MAX_HEAD_LINE_BYTES
from gateway.check.pool_passwords import PoolPasswords
from gateway.check.probe_recorder import ProbedChecks, location_handler
from gateway.check.server import KEEPALIVE_S, serving
from gateway.check.services import Services
from gateway.check.trusted_peer import Trust
from gateway.cognito.endpoint import PoolAddress
from gateway.cognito.kms import key_wrapping
from gateway.cognito.oidc import CognitoRelyingParty
from gateway.cognito.password_login import PasswordLogin
from gateway.config.reload import ConfigFile
from gateway.core.model import Branding
from gateway.core.probe import LOCATION
from gateway.doctor import canary
from gateway.http.client import client_session
from gateway.http.listener import listening
from gateway.http.ssrf_guard import guarded_session
from gateway.keys.assertion import Assertions
from gateway.keys.file import KeyFile
from gateway.log import configure, fields
from gateway.login import application as browser_application
from gateway.metrics import TENANTS
from gateway.pages.render import Pages
from gateway.runtime import health
from gateway.runtime.activity import ActivityRecorder
from gateway.runtime.dependencies import (
    clock_state,
    key_ring_state,
    probe_cognito,
    stopping_state,
    store_state,
    tenants_state,
    workers_state,
)
from gateway.runtime.draining import drain
from gateway.runtime.failover import followed_failovers
from gateway.runtime.health import Known, Watched
from gateway.sessions.activity_log import ActivityLog
from gateway.sessions.cached_store import CachedSessions
from gateway.sessions.connection import connect
from gateway.sessions.key_adoption import KeyAdoption
from gateway.sessions.leader import RedisLeader
from gateway.sessions.lease_client import LeaseClient, replica_name, steady
from gateway.sessions.memory import SessionCache
from gateway.sessions.negative_cache import HostBuckets
from gateway.sessions.pool_password_store import PoolPasswordStore
from gateway.sessions.primary_health import Primaries
from gateway.sessions.probes import RedisProbes
from gateway.sessions.pubsub import listen
from gateway.sessions.rate_limit import AttemptCounter
from gateway.sessions.recheck import Rechecks
from gateway.sessions.tested_connections import TestedConnections
from gateway.sessions.token_revocation import TokenRevocation
from gateway.tenants.collector import look_at_little
from gateway.tenants.offload import woken
from gateway.tenants.snapshot import (
    CHANNEL,
)
from gateway.tenants.stale_secrets import NewerSecrets
from gateway.tenants.subscriber import SnapshotTenants
from gateway.tracing.library import traced

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import aiohttp

    from gateway.config.model import Config
    from gateway.core.model import Tenant
    from gateway.core.tenants import TenantTable
    from gateway.http.listener import Listener
    from gateway.runtime.service_manager import ServiceManager
    from gateway.sessions.api import TenantSource
    from gateway.sessions.connection import RedisClient
    from gateway.sessions.pool_failover import FailoverView

_LOG = logging.getLogger(__name__)
LISTENER: Mapping[str, Any] = {
    "keepalive_timeout": KEEPALIVE_S,
    "max_line_size": MAX_HEAD_LINE_BYTES,
    "max_field_size": MAX_HEAD_LINE_BYTES,
    "tcp_keepalive": True,
}
STOP_GRACE_S = 5.0
ALIVE_S = 1.0
READY_LOOK_S, READY_WAIT_S = 0.02, 5.0
"""How long the service manager waits for a dependency before it is told all the same: a replica
that was ended because Redis is down would not be there when Redis is back.
"""
DATABASE_S, COGNITO_S = 2.0, 30.0
"""Between two questions for ``/readyz`` to what is well."""
web_response.SERVER_SOFTWARE = "gateway"  # type: ignore[attr-defined]  # a constant that the module imports for itself
"""On every answer of every listener, also of those to bytes that are no HTTP: aiohttp has no
setting for it, and would tell strangers which versions to look up.
"""


class Role(StrEnum):
    """``auth`` holds no AWS rights and never loads SQL or boto; ``admin`` never sees a browser."""

    ALL = "all"
    AUTH = "auth"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Process:
    """What this process is within the gateway. ``sockets`` and ``limits`` (of connections) by
    listener.
    """

    role: Role
    sockets: Mapping[str, socket.socket]
    limits: Mapping[str, int]
    redis_socket: str | None
    manager: ServiceManager
    started: Callable[[], None]
    """Called once it serves."""
    ready: Callable[[], None]
    """Called once ``/readyz`` would say so, or ``READY_WAIT_S`` after it began to serve."""
    owns_sockets: Callable[[], bool]
    """Asked when it ends: whether the sockets end with it, or other workers go on accepting."""
    alive: Callable[[], None]
    """Called every ``ALIVE_S`` seconds while the event loop turns."""
    workers: Callable[[], Sequence[bool]] | None = None
    """Of other processes that serve the checks, for which this one's ``/readyz`` speaks: of each,
    whether it serves.
    """


async def run(config: Config, process: Process, *, config_path: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``ConfigError`` where it must not start."""
    role = process.role
    look_at_little()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with AsyncExitStack() as stack:
        file = ConfigFile(config_path, config)
        file.changed.append(lambda now: configure(now.log.format, now.log.level))
        await stack.enter_async_context(background_task(forever(file.watch)))
        ring = KeyFile(config.key_file, create=False, wrapping=key_wrapping(config))
        await stack.enter_async_context(background_task(forever(ring.watch)))
        http = await stack.enter_async_context(client_session(development=config.development))
        process_name = f"{role.value}-{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"
        await stack.enter_async_context(
            traced(config.tracing, role=role.value, instance=process_name)
        )
        redis = connect(config.redis, socket_path=process.redis_socket)
        stack.push_async_callback(redis.close)
        await stack.enter_async_context(
            background_task(forever(partial(KeyAdoption(redis, ring).keep_reporting, process_name)))
        )
        activity = ActivityLog(redis)
        await stack.enter_async_context(
            background_task(forever(ActivityRecorder(activity, clock=time.time).run))
        )
        failovers = await followed_failovers(config, redis, stack)
        stores = None
        if role is not Role.AUTH:
            # SQL and AWS live behind this import; the auth role never takes it.
            from gateway.runtime.admin_role import admin_role  # noqa: PLC0415
            from gateway.runtime.admin_stores import admin_stores  # noqa: PLC0415
            from gateway.runtime.database_probes import (  # noqa: PLC0415
                probe_database,
                publisher_state,
            )
            from gateway.runtime.local_socket import local_socket  # noqa: PLC0415

            stores = await admin_stores(config, ring, redis, stack)
        memory, monotonic = SessionCache(), steady()
        leases = LeaseClient(
            redis,
            memory,
            name=replica_name(),
            staleness_s=config.session.max_revocation_delay.total_seconds(),
            monotonic=monotonic,
            each_round=memory.count_hits,
        )
        tenants = await _tenants(config, ring, redis, stack, leases)
        primaries = Primaries(
            redis, generation=lambda: tenants.generation, in_use=lambda: leases.leases
        )
        checks = role is not Role.ADMIN or process.workers is not None
        states: dict[str, Known] = {
            "redis": lambda: store_state(primaries.known(), needed=checks),
            "tenants": lambda: tenants_state(tenants),
            "clock": lambda: clock_state(primaries.clock),
            "key_ring": lambda: key_ring_state(ring),
        }
        if (workers := process.workers) is not None:
            states["workers"] = lambda: workers_state(workers())
        trust = Trust(config.ingress)
        file.changed.append(lambda now: trust.replace(now.ingress))
        opening: dict[str, AbstractAsyncContextManager[Listener]] = {}
        """In the order in which they open, once all that would hold the loop is done."""

        def served(name: str, app: web.Application) -> AbstractAsyncContextManager[Listener]:
            return listening(
                _runner(app),
                process.sockets[name],
                name=name,
                limit=process.limits[name],
                **LISTENER,
            )

        if role is not Role.ADMIN:
            services = await _services(
                config,
                ring,
                redis,
                tenants,
                http,
                stack,
                memory,
                leases,
                failovers,
                monotonic,
                trust,
            )
            records = RedisProbes(redis)
            checks_here = Checks(services)
            stack.callback(checks_here.close)
            file.changed.append(lambda now: checks_here.log_as(now.log))
            opening["check"] = serving(
                _probed(checks_here, services, ring, records),
                process.sockets["check"],
                limit=process.limits["check"],
            )
            pages = browser_application(services)
            pages.router.add_route(
                "*",
                LOCATION,
                location_handler(
                    records, keys=_sealing(ring), cookie_name=config.cookie.name, clock=time.time
                ),
            )
            opening["public"] = served("public", pages)
        admin = None
        if stores is not None:
            admin = await admin_role(
                config, ring, redis, tenants, stores, failovers, states, trust, stack
            )
            states["publisher"] = lambda: publisher_state(stores.publisher)
            states["clock"] = lambda: clock_state(primaries.clock, stores.database.clock.offset)
            # Without SQL no hook is taken; checks do not notice.
            states["database"] = await _watched(
                Watched(
                    "database",
                    lambda: probe_database(stores.database),
                    needed=not checks,
                    every_s=DATABASE_S,
                ),
                stack,
            )
            opening["hooks"] = served("hooks", admin.hooks)
            if admin.pages is not None and "pages" in process.sockets:
                opening["pages"] = served("pages", admin.pages)
        if "admin" in process.sockets:
            await stack.enter_async_context(background_task(forever(primaries.run)))
            states["cognito"] = await _watched(
                Watched(
                    "cognito",
                    lambda: probe_cognito(config, http, failovers.is_over),
                    needed=False,
                    every_s=COGNITO_S,
                ),
                stack,
            )
            app = health.application(states)
            if admin is not None:
                admin.mount(app)
            opening["admin"] = served("admin", app)

        def status() -> str:
            return f"Role {role.value} serves {tenants.count} tenants"

        def read_again() -> None:
            process.manager.reloading()
            file.read_again()
            tenants.read_again()
            if stores is not None:
                stores.publisher.read_again()
            process.manager.ready(status())

        loop.add_signal_handler(signal.SIGHUP, read_again)
        # What is there now stays: the collector need not visit it again and again while checks wait
        # (0.1 s for 200,000 objects).
        gc.collect()
        gc.freeze()
        # Only now: whoever connected before would wait for all of the above, and an ingress would
        # take this process for one that answers.
        listeners = {
            name: await stack.enter_async_context(listener) for name, listener in opening.items()
        }
        if admin is not None:
            await stack.enter_async_context(
                local_socket(config.state_dir, _runner(admin.local), **LISTENER)
            )
        if "admin" in listeners:
            leader = RedisLeader(redis, name="canary", holder=process_name)
            await stack.enter_async_context(
                background_task(forever(partial(canary.watch, config.canary, http, leader)))
            )
        _LOG.info(
            "started",
            extra=fields(
                role=role.value,
                tenants=tenants.count,
                source=tenants.source,
                config=str(config_path),
            ),
        )
        process.started()
        await stack.enter_async_context(background_task(_keep_alive(process)))
        await stack.enter_async_context(background_task(process.manager.keep_alive()))
        if await _ready(states, stop):
            process.ready()
            process.manager.ready(status())
            await stop.wait()
        process.manager.stopping()
        _LOG.info("stopping", extra=fields(role=role.value))
        # Whoever asks is told to look elsewhere before anything closes; the probes' own listener is
        # the last.
        states["process"] = stopping_state
        others = [listener for name, listener in listeners.items() if name != "admin"]
        await drain(others, owns=process.owns_sockets)
        await drain(
            [listener for listener in listeners.values() if listener not in others],
            owns=process.owns_sockets,
        )


async def _keep_alive(process: Process) -> None:
    """Until cancelled."""
    while True:
        process.alive()
        await asyncio.sleep(ALIVE_S)


async def _ready(known: Mapping[str, Known], stop: asyncio.Event) -> bool:
    """Wait until a check would be answered, ``READY_WAIT_S`` at most. False where the process has
    to end meanwhile.
    """
    ends_at = time.monotonic() + READY_WAIT_S
    while not health.ready(known) and time.monotonic() < ends_at:
        if await woken(stop, within_s=READY_LOOK_S):
            return False
    return True


async def _services(
    config: Config,
    ring: KeyFile,
    redis: RedisClient,
    tenants: TenantSource,
    http: aiohttp.ClientSession,
    stack: AsyncExitStack,
    memory: SessionCache,
    leases: LeaseClient,
    failovers: FailoverView,
    monotonic: Callable[[], float],
    trust: Trust,
) -> Services:
    newer_secrets = NewerSecrets(redis, tenants, monotonic=time.monotonic)
    relying_party = CognitoRelyingParty(
        http,
        {
            name: PoolAddress(
                pool.domain,
                pool.issuers,
                "" if pool.secondary is None else pool.secondary.domain,
            )
            for name, pool in config.cognito.all_pools.items()
        },
        clock=time.time,
        monotonic=time.monotonic,
        failed_over=failovers.is_over,
        secrets=newer_secrets,
    )

    def tenant(name: str) -> Tenant | None:
        return tenants.table.by_id(name)

    rechecks = None
    if config.session.revalidate_interval is not None:
        rechecks = Rechecks(
            redis,
            interval_s=config.session.revalidate_interval.total_seconds(),
            tenant=tenant,
            refresh=relying_party.refresh,
        )
    sessions = CachedSessions(
        redis,
        ring,
        cache=memory,
        lease_client=leases,
        monotonic=monotonic,
        may_hold=HostBuckets(lambda: tenants.table),
        in_use=None if rechecks is None else rechecks.used,
        in_use_every_s=inf if rechecks is None else rechecks.interval_s,
    )
    stack.push_async_callback(sessions.close)
    stack.push_async_callback(leases.leave)
    await stack.enter_async_context(background_task(forever(leases.run)))
    await stack.enter_async_context(background_task(forever(leases.listen)))
    if rechecks is not None:
        stack.push_async_callback(rechecks.close)
    assertions = Assertions(
        ring(),
        issuer=config.assertion_issuer,
    )
    ring.changed.append(assertions.replace_keys)
    revocation = TokenRevocation(sessions, relying_party, tenants)
    stack.push_async_callback(revocation.close)
    attempts = AttemptCounter(redis, clock=time.time)
    pool_passwords = PoolPasswords(
        PasswordLogin(
            await stack.enter_async_context(
                guarded_session(
                    development=config.development,
                    networks=[ipaddress.ip_network(n) for n in config.hooks.private_networks],
                )
            ),
            {name: pool.api_url for name, pool in config.cognito.all_pools.items()},
            relying_party.verify_id_token,
            newer_secrets,
        ),
        PoolPasswordStore(redis, ring, cache=memory, lease_client=leases, monotonic=monotonic),
        attempts,
        pool_ids={name: pool.user_pool_id for name, pool in config.cognito.all_pools.items()},
    )
    stack.push_async_callback(pool_passwords.close)
    return Services(
        config=config,
        trust=trust,
        tenants=tenants,
        sessions=sessions,
        relying_party=relying_party,
        machines=Machines(relying_party, sessions),
        pool_passwords=pool_passwords,
        attempts=attempts,
        trials=TestedConnections(redis, ring, clock=time.time),
        token_revocation=revocation,
        assertions=assertions,
        pages=_pages(config),
        clock=time.time,
        random_token=lambda: secrets.token_urlsafe(32),
        signing_keys=lambda: tuple(
            hmac.digest(key.material, b"cookies", "sha256") for key in ring().sealing
        ),
    )


def _pages(config: Config) -> Pages:
    """A logout form is redirected to Cognito and on to the login host; a login form to any
    customer's identity provider.
    """
    domains = [urlsplit(d) for pool in config.cognito.all_pools.values() for d in pool.domains]
    back = [config.origin(config.login_host)] if config.login_host is not None else []
    return Pages(
        product=config.product.name,
        branding=Branding(config.product.logo, config.product.color, config.product.support),
        logout_hops=(*(f"{d.scheme}://{d.netloc}" for d in domains), *back),
        login_hops=("https:", "http:") if config.development else ("https:",),
    )


async def _tenants(
    config: Config, ring: KeyFile, redis: RedisClient, stack: AsyncExitStack, leases: LeaseClient
) -> SnapshotTenants:
    """What is served in every role: the snapshot in Redis, or the folder until there is one."""

    def changed(table: TenantTable) -> None:
        TENANTS.set(len(table))
        leases.applied(table.generation)

    tenants = SnapshotTenants(redis, ring, config, changed=changed)
    await tenants.start()
    await stack.enter_async_context(background_task(forever(tenants.watch)))
    await stack.enter_async_context(
        background_task(
            forever(
                partial(
                    listen, redis, CHANNEL, hearing=tenants.hears, heard=lambda _: tenants.wake()
                )
            )
        )
    )
    return tenants


def _sealing(ring: KeyFile) -> Callable[[], tuple[bytes, ...]]:
    return lambda: tuple(key.material for key in ring().sealing)


def _probed(
    checks: Checks, services: Services, ring: KeyFile, records: RedisProbes
) -> ProbedChecks:
    config = services.config
    return ProbedChecks(
        checks,
        records,
        trust=services.trust,
        keys=_sealing(ring),
        managed=config.managed_headers,
        cookie_name=config.cookie.name,
        clock=time.time,
    )


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(app, access_log=None, shutdown_timeout=STOP_GRACE_S)


# --- probes: readyz and `gateway config check`
# -----------------------------------------------------


async def _watched(watched: Watched, stack: AsyncExitStack) -> Known:
    await stack.enter_async_context(background_task(forever(watched.run)))
    return watched.known
