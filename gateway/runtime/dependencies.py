"""What this process depends on, and how each of it is: for ``/readyz`` what is known, for
``gateway config check`` what an answer of this moment says.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from gateway.errors import GatewayError, UnavailableError
from gateway.http.client import client_session, request_json
from gateway.keys import ring as keys
from gateway.keys.file import KeyFile, is_in_memory
from gateway.runtime import health
from gateway.runtime.health import DependencyState, Probe
from gateway.sessions.connection import connect
from gateway.sessions.primary_health import State
from gateway.tenants.files import read_folder
from gateway.tenants.snapshot import (
    Sealer,
    SnapshotError,
    open_records,
    read_manifest,
    read_records,
)
from gateway.tenants.warnings import host_warnings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    import aiohttp

    from gateway.config.model import Config
    from gateway.sessions.clock_offset import ClockOffset
    from gateway.sessions.connection import RedisClient
    from gateway.sessions.primary_health import Primary
    from gateway.tenants.subscriber import SnapshotTenants


def stopping_state() -> DependencyState:
    return DependencyState("process", ok=False, detail="the process is stopping")


def workers_state(serving: Sequence[bool]) -> DependencyState:
    """Needed only while none serves: connections wait for the others meanwhile."""
    detail = f"{sum(serving)} of {len(serving)} workers serve" + (
        "" if all(serving) else "; the log says why (worker_died)"
    )
    return DependencyState("workers", ok=all(serving), detail=detail, needed=not any(serving))


def key_ring_state(ring: KeyFile) -> DependencyState:
    """Whether the file holds what is used. Never needed: the ring of before goes on."""
    detail = ring.problem or f"{ring.path} is what is used"
    return DependencyState("key_ring", ok=not ring.problem, needed=False, detail=detail)


def store_state(primaries: Collection[Primary], *, needed: bool) -> DependencyState:
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


def clock_state(*offsets: ClockOffset) -> DependencyState:
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


def tenants_state(tenants: SnapshotTenants) -> DependencyState:
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


async def requirement_states(redis: RedisClient, config: Config) -> list[DependencyState]:
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
        return found if redis is None else [*found, *await requirement_states(redis, config)]


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
