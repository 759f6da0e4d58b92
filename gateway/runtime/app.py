"""Composition root: the only file that names every adapter. Lifecycles are a stack; what starts
first ends last.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hmac
import logging
import os
import platform
import secrets
import signal
import time
from contextlib import AsyncExitStack
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
from gateway.check.probe_recorder import ProbedChecks, location_handler
from gateway.check.server import KEEPALIVE_S, serving
from gateway.check.services import Services
from gateway.check.trusted_peer import Trust
from gateway.cognito.oidc import CognitoRelyingParty
from gateway.config.reload import ConfigFile
from gateway.core.probe import LOCATION
from gateway.doctor import canary
from gateway.errors import GatewayError, UnavailableError
from gateway.http.client import client_session, request_json
from gateway.http.listener import listening
from gateway.keys import ring as keys
from gateway.keys.assertion import Assertions
from gateway.keys.file import KeyFile, is_in_memory
from gateway.log import configure, fields
from gateway.login import application as browser_application
from gateway.metrics import TENANTS
from gateway.pages.render import Pages
from gateway.runtime import health
from gateway.runtime.draining import drain
from gateway.runtime.health import DependencyState, Known, Probe, Watched
from gateway.sessions.cached_store import CachedSessions
from gateway.sessions.connection import connect
from gateway.sessions.key_adoption import KeyAdoption
from gateway.sessions.lease_client import LeaseClient, replica_name, steady
from gateway.sessions.memory import SessionCache
from gateway.sessions.negative_cache import HostBuckets
from gateway.sessions.primary_health import Primaries, State
from gateway.sessions.probes import RedisProbes
from gateway.sessions.pubsub import listen
from gateway.sessions.rate_limit import Attempts
from gateway.sessions.recheck import Rechecks
from gateway.sessions.tested_connections import Trials
from gateway.sessions.token_revocation import TokenRevocation
from gateway.tenants.files import read_folder
from gateway.tenants.snapshot import (
    CHANNEL,
    Sealer,
    SnapshotError,
    open_records,
    read_manifest,
    read_records,
)
from gateway.tenants.subscriber import SnapshotTenants
from gateway.tenants.warnings import host_warnings

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from pathlib import Path

    import aiohttp

    from gateway.config.model import Config
    from gateway.core.model import Tenant
    from gateway.core.tenants import TenantTable
    from gateway.http.listener import Listener
    from gateway.sessions.api import TenantSource
    from gateway.sessions.clock_offset import ClockOffset
    from gateway.sessions.connection import RedisClient
    from gateway.sessions.primary_health import Primary

_LOG = logging.getLogger(__name__)
LISTENER: Mapping[str, Any] = {
    "keepalive_timeout": KEEPALIVE_S,
    "max_line_size": MAX_HEAD_LINE_BYTES,
    "max_field_size": MAX_HEAD_LINE_BYTES,
    "tcp_keepalive": True,
}
STOP_GRACE_S = 5.0
DATABASE_S, COGNITO_S = 2.0, 30.0
"""Between two questions for ``/readyz`` to what is well."""
COLLECTED_AFTER = (5_000, 20, 20)
"""Allocations before the collector looks at the youngest objects, and rounds before it looks at
older ones. Python's own 700 costs a fifth of the time in which tenant files are read. A look at
5,000 young objects holds the checks up by a fifth of a millisecond.
"""
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
    started: Callable[[], None]
    """Called once it serves."""
    owns_sockets: Callable[[], bool]
    """Asked when it ends: whether the sockets end with it, or other workers go on accepting."""
    workers: Callable[[], Sequence[bool]] | None = None
    """Of other processes that serve the checks, for which this one's ``/readyz`` speaks: of each,
    whether it serves.
    """


async def run(config: Config, process: Process, *, config_path: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``ConfigError`` where it must not start."""
    role = process.role
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with AsyncExitStack() as stack:
        file = ConfigFile(config_path, config)
        file.changed.append(lambda now: configure(now.log.format, now.log.level))
        await stack.enter_async_context(background_task(forever(file.watch)))
        ring = KeyFile(config.key_file, create=False)
        await stack.enter_async_context(background_task(forever(ring.watch)))
        http = await stack.enter_async_context(client_session(development=config.development))
        redis = connect(config.redis, socket_path=process.redis_socket)
        stack.push_async_callback(redis.close)
        process_name = f"{role.value}-{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"
        await stack.enter_async_context(
            background_task(forever(partial(KeyAdoption(redis, ring).keep_reporting, process_name)))
        )
        stores = None
        if role is not Role.AUTH:
            # SQL and AWS live behind this import; the auth role never takes it.
            from gateway.runtime.admin_role import (  # noqa: PLC0415
                admin_role,
                admin_stores,
                probe_database,
                publisher_finding,
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
        known: dict[str, Known] = {
            "redis": lambda: store_finding(primaries.known(), needed=checks),
            "tenants": lambda: tenants_finding(tenants),
            "clock": lambda: clock_finding(primaries.clock),
            "key_ring": lambda: key_ring_finding(ring),
        }
        if (workers := process.workers) is not None:
            known["workers"] = lambda: workers_finding(workers())
        listeners: dict[str, Listener] = {}

        async def serve(name: str, runner: web.BaseRunner) -> None:
            listeners[name] = await stack.enter_async_context(
                listening(
                    runner, process.sockets[name], name=name, limit=process.limits[name], **LISTENER
                )
            )

        if role is not Role.ADMIN:
            services = await _services(
                config, ring, redis, tenants, http, stack, memory, leases, monotonic
            )
            file.changed.append(lambda now: services.trust.replace(now.ingress))
            records = RedisProbes(redis)
            checks_here = Checks(services)
            stack.callback(checks_here.close)
            listeners["check"] = await stack.enter_async_context(
                serving(
                    _probed(checks_here, services, ring, records),
                    process.sockets["check"],
                    limit=process.limits["check"],
                )
            )
            pages = browser_application(services)
            pages.router.add_route(
                "*",
                LOCATION,
                location_handler(
                    records, keys=_sealing(ring), cookie_name=config.cookie.name, clock=time.time
                ),
            )
            await serve("public", _runner(pages))
        admin = None
        if stores is not None:
            admin = await admin_role(config, ring, redis, tenants, stores, stack)
            known["publisher"] = lambda: publisher_finding(stores.publisher)
            known["clock"] = lambda: clock_finding(primaries.clock, stores.database.clock.offset)
            # Without SQL no hook is taken; checks do not notice.
            known["database"] = await _watched(
                Watched(
                    "database",
                    lambda: probe_database(stores.database),
                    needed=not checks,
                    every_s=DATABASE_S,
                ),
                stack,
            )
            await serve("hooks", _runner(admin.hooks))
            await stack.enter_async_context(
                local_socket(config.state_dir, _runner(admin.local), **LISTENER)
            )
        if "admin" in process.sockets:
            await stack.enter_async_context(background_task(forever(primaries.run)))
            known["cognito"] = await _watched(
                Watched(
                    "cognito", lambda: probe_cognito(config, http), needed=False, every_s=COGNITO_S
                ),
                stack,
            )
            app = health.application(known)
            if admin is not None:
                admin.mount(app)
            await serve("admin", _runner(app))
            # One process only, and that is the one with the admin listener.
            await stack.enter_async_context(
                background_task(forever(partial(canary.watch, config.canary, http)))
            )

        def read_again() -> None:
            file.read_again()
            tenants.read_again()
            if stores is not None:
                stores.publisher.read_again()

        loop.add_signal_handler(signal.SIGHUP, read_again)
        # What is there now stays: the collector need not visit it again and again while checks wait
        # (0.1 s for 200,000 objects).
        gc.collect()
        gc.freeze()
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
        await stop.wait()
        _LOG.info("stopping", extra=fields(role=role.value))
        # Whoever asks is told to look elsewhere before anything closes; the probes' own listener is
        # the last.
        known["process"] = stopping_finding
        others = [listener for name, listener in listeners.items() if name != "admin"]
        await drain(others, owns=process.owns_sockets)
        await drain(
            [listener for listener in listeners.values() if listener not in others],
            owns=process.owns_sockets,
        )


async def _services(
    config: Config,
    ring: KeyFile,
    redis: RedisClient,
    tenants: TenantSource,
    http: aiohttp.ClientSession,
    stack: AsyncExitStack,
    memory: SessionCache,
    leases: LeaseClient,
    monotonic: Callable[[], float],
) -> Services:
    relying_party = CognitoRelyingParty(
        http,
        domain=config.cognito.domain,
        issuer=config.cognito.effective_issuer,
        clock=time.time,
        monotonic=time.monotonic,
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
        issuer=config.assertion.issuer
        or (config.origin(config.login_host) if config.login_host else None),
    )
    ring.changed.append(assertions.replace_keys)
    revocation = TokenRevocation(sessions, relying_party, tenants)
    stack.push_async_callback(revocation.close)
    return Services(
        config=config,
        trust=Trust(config.ingress),
        tenants=tenants,
        sessions=sessions,
        relying_party=relying_party,
        machines=Machines(relying_party, sessions),
        attempts=Attempts(redis, clock=time.time),
        trials=Trials(redis, _sealing(ring), clock=time.time),
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
    cognito = urlsplit(config.cognito.domain)
    back = [config.origin(config.login_host)] if config.login_host is not None else []
    return Pages(
        logout_hops=(f"{cognito.scheme}://{cognito.netloc}", *back),
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


def stopping_finding() -> DependencyState:
    return DependencyState("process", ok=False, detail="the process is stopping")


def workers_finding(serving: Sequence[bool]) -> DependencyState:
    """Needed only while none serves: connections wait for the others meanwhile."""
    detail = f"{sum(serving)} of {len(serving)} workers serve" + (
        "" if all(serving) else "; the log says why (worker_died)"
    )
    return DependencyState("workers", ok=all(serving), detail=detail, needed=not any(serving))


def key_ring_finding(ring: KeyFile) -> DependencyState:
    """Whether the file holds what is used. Never needed: the ring of before goes on."""
    detail = ring.problem or f"{ring.path} is what is used"
    return DependencyState("key_ring", ok=not ring.problem, needed=False, detail=detail)


def store_finding(primaries: Collection[Primary], *, needed: bool) -> DependencyState:
    """Not ok while any primary is not; needed only while none answers: of three shards one that is
    down stops its tenants, not the others'.
    """
    if not primaries:
        return DependencyState(
            "redis", ok=False, detail="was not asked yet, or not for a while", needed=needed
        )
    well = [primary for primary in primaries if primary.state is State.ANSWERING]
    answering = [primary for primary in primaries if primary.answers]
    parts = {
        primary.name: {"state": primary.state.value, "detail": primary.detail}
        for primary in primaries
    }
    worst = next(
        (primary for primary in primaries if not primary.answers),
        next((primary for primary in primaries if primary not in well), None),
    )
    detail = f"{len(answering)} of {len(primaries)} primaries answer" + (
        f"; {worst.name}: {worst.detail}" if worst is not None else ""
    )
    return DependencyState(
        "redis",
        ok=len(well) == len(primaries),
        detail=detail,
        needed=needed and not answering,
        parts=parts,
    )


def clock_finding(*offsets: ClockOffset) -> DependencyState:
    """Whether this machine's clock agrees with those of the servers that it shares with others.
    Never needed: checks of people who are signed in go on.
    """
    return DependencyState(
        "clock",
        ok=all(offset.is_right for offset in offsets),
        needed=False,
        detail=f"this machine's clock is {', '.join(map(str, offsets))}",
    )


async def probe_redis(redis: RedisClient) -> DependencyState:
    """The primary answers."""
    started = time.perf_counter()
    await redis.command("EXISTS", "gw:probe")
    return DependencyState(
        "redis", ok=True, detail=f"answers in {(time.perf_counter() - started) * 1000:.1f} ms"
    )


def tenants_finding(tenants: SnapshotTenants) -> DependencyState:
    """What is served, and why it is not the newest. Old tenants go on being served, so only having
    none at all is fatal.
    """
    served = f"{tenants.count} tenants from {tenants.source}"
    if tenants.all_problems:
        return DependencyState(
            "tenants",
            ok=False,
            needed=not tenants.ready,
            detail=f"{served}; {'; '.join(tenants.all_problems)}"[:1000],
        )
    return DependencyState("tenants", ok=True, detail=served)


async def probe_key_ring(config: Config) -> DependencyState:
    """For `gateway config check`: whether the key ring is there after a reboot."""
    path = config.key_file
    warnings = (
        (
            f"{path} is on a file system in memory, which a reboot empties: keep the key ring on "
            "a disk, unless something puts it there at each boot"
        ),
    )
    return DependencyState(
        "key_ring", ok=True, detail=str(path), warnings=warnings if is_in_memory(path) else ()
    )


async def probe_snapshot(redis: RedisClient, ring: keys.KeyRing) -> DependencyState:
    """For `gateway config check`: whether this key ring opens the tenants' snapshot in Redis."""
    sealer = Sealer(lambda: ring)
    try:
        manifest = await read_manifest(redis, sealer)
        if manifest is None:
            return DependencyState("snapshot", ok=True, detail="there is none yet")
        some = list(manifest.digests.values())[:1]
        open_records(sealer, await read_records(redis, some))
    except SnapshotError as error:
        return DependencyState(
            "snapshot", ok=False, wrong=True, detail=f"the tenant snapshot: {error}"
        )
    return DependencyState(
        "snapshot",
        ok=True,
        detail=f"{len(manifest.digests)} tenants, number {manifest.generation}; opens",
    )


async def probe_files(config: Config) -> DependencyState:
    """Every file of the folder, without the gateway's running copy."""
    if config.tenants.directory is None:
        return DependencyState(
            "tenants", ok=True, detail="tenants.directory is not set: all tenants are in SQL"
        )
    documents = await asyncio.to_thread(read_folder, config.tenants.directory, config)
    return DependencyState(
        "tenants",
        ok=True,
        detail=f"{len(documents)} tenants in {config.tenants.directory}",
        warnings=host_warnings(documents.values(), config),
    )


async def demand_findings(redis: RedisClient, config: Config) -> list[DependencyState]:
    """What the store must be set to, each on its own; what is wrong comes first."""
    from gateway.sessions.store_requirements import requirements  # noqa: PLC0415 - for `config check` only

    try:
        found = await requirements(
            redis, config.redis, lambda: keys.load(config.key_file, create=False)
        )
    except GatewayError as error:
        return [DependencyState("redis_demands", ok=False, detail=str(error))]
    return [
        DependencyState(demand.name, ok=demand.ok, detail=demand.detail)
        for demand in sorted(found, key=lambda demand: demand.ok)
    ]


async def probe_cognito(config: Config, http: aiohttp.ClientSession) -> DependencyState:
    """Discovery answers and names the issuer. Not needed: whoever has a session goes on while
    Cognito is away.
    """
    issuer = config.cognito.effective_issuer
    try:
        status, document = await request_json(
            http, "GET", f"{issuer}/.well-known/openid-configuration", what="Cognito discovery"
        )
    except GatewayError as error:
        return DependencyState("cognito", ok=False, needed=False, detail=str(error))
    if status != 200 or document.get("issuer") != issuer:
        return DependencyState(
            "cognito",
            ok=False,
            needed=False,
            detail=(
                f"discovery of {issuer} answers {status} and issuer "
                f"{str(document.get('issuer'))[:200]!r}"
            ),
        )
    endpoint = document.get("authorization_endpoint")
    if isinstance(endpoint, str) and not endpoint.startswith(
        config.cognito.domain.rstrip("/") + "/"
    ):
        return DependencyState(
            "cognito",
            ok=False,
            needed=False,
            detail=(
                f"cognito.domain is {config.cognito.domain}, but discovery says {endpoint[:200]}"
            ),
        )
    return DependencyState("cognito", ok=True, detail=f"discovery of {issuer} fits")


async def check_dependencies(config: Config) -> list[DependencyState]:
    """``gateway config check``: the tenant files, Redis, SQL and Cognito's discovery. Uses a
    running gateway's embedded stores, starts none.
    """
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(client_session(development=config.development))
        ring = keys.load(config.key_file, create=config.makes_key_ring)
        probes: dict[str, Probe] = {
            "tenants": lambda: probe_files(config),
            "cognito": lambda: probe_cognito(config, http),
        }
        redis = None
        if config.embedded_redis:
            probes["redis"] = lambda: _embedded(config, "redis", probe_redis)
            probes["snapshot"] = lambda: _embedded(
                config, "snapshot", lambda embedded: probe_snapshot(embedded, ring)
            )
        else:
            redis = connect(config.redis)
            stack.push_async_callback(redis.close)
            probes["redis"] = lambda: probe_redis(redis)
            probes["snapshot"] = lambda: probe_snapshot(redis, ring)
        from gateway.database.engine import open_database  # noqa: PLC0415
        from gateway.runtime.admin_role import (  # noqa: PLC0415 - only where SQL is asked for
            probe_database,
            probe_database_keys,
            probe_schema,
            probe_session,
        )

        database = open_database(config, lambda: ring.database)
        stack.push_async_callback(database.close)
        probes["database"] = lambda: probe_database(database)
        probes["database_session"] = lambda: probe_session(database)
        probes["key_ring"] = lambda: probe_key_ring(config)
        probes["database_schema"] = lambda: probe_schema(database)
        probes["database_keys"] = lambda: probe_database_keys(database)
        found = await health.probe_all(probes)
        return found if redis is None else [*found, *await demand_findings(redis, config)]


async def _embedded(
    config: Config, name: str, probe: Callable[[RedisClient], Awaitable[DependencyState]]
) -> DependencyState:
    socket_path = config.state_dir / "valkey" / "valkey.sock"
    if not socket_path.exists():
        return DependencyState(name, ok=True, detail="embedded; no gateway is running in state_dir")
    redis = connect(config.redis, socket_path=str(socket_path))
    try:
        return await probe(redis)
    finally:
        with contextlib.suppress(UnavailableError):
            await redis.close()
