"""``gateway config check``: whether what one role needs is there, answers and fits, asked now.

Rules:
- Nothing is written: no key ring is made, no database, no socket. A running gateway's embedded
  stores are used, and none is started.
- A role is asked for nothing that it does not use: ``auth`` knows no SQL and no AWS.
- What cannot be looked at is one finding, and the others are looked at all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from contextlib import AsyncExitStack
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from gateway.cognito.kms import key_wrapping
from gateway.config.types import is_loopback_name
from gateway.errors import ConfigError, GatewayError, UnavailableError
from gateway.http.client import client_session
from gateway.http.listener import cannot_listen
from gateway.keys import ring as keys
from gateway.keys.file import is_in_memory
from gateway.runtime import health
from gateway.runtime.app import Role
from gateway.runtime.collector import probe_collector
from gateway.runtime.dependencies import probe_cognito, probe_redis
from gateway.runtime.health import DependencyState, Probe
from gateway.runtime.serve import listeners, require_role
from gateway.sessions.clock_offset import APART_S, CERTAIN_S, offset_s
from gateway.sessions.connection import connect, parse_url
from gateway.tenants.files import read_folder
from gateway.tenants.snapshot import (
    Sealer,
    SnapshotError,
    open_records,
    read_manifest,
    read_records,
)
from gateway.tenants.warnings import HostFacts, host_warnings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.config.model import Config
    from gateway.sessions.connection import RedisClient

WITHIN_S: Final = 15.0
"""AWS's library asks for the credentials of a machine's role before it calls."""
_DATE_S: Final = 1.0
"""An HTTP date has whole seconds (RFC 9110 §5.6.7)."""
_NO_RING: Final = "not asked: the key ring cannot be read"


async def check_config(config: Config, *, role: str) -> list[DependencyState]:
    """Every finding about what ``role`` (``auth``, ``admin``, ``all``) needs. Raises
    ``ConfigError`` where that role is not installed.
    """
    kind = Role(role)
    require_role(kind)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(client_session(development=config.development))
        ring, key_ring = _key_ring(config)
        probes: dict[str, Probe] = {
            "key_ring": partial(_known, key_ring),
            "listen": lambda: probe_listen(config, kind),
            "state_dir": lambda: probe_state_dir(config),
            "tenants": lambda: probe_files(config),
            "cognito": lambda: probe_cognito(config, http),
            "clock": lambda: probe_clock(config, http),
        }
        if config.tracing.url is not None:
            probes["tracing"] = lambda: probe_collector(config.tracing, http)
        redis = _redis(config, probes, ring, stack)
        if kind is not Role.AUTH:
            await _admin(config, probes, ring, stack)
            probes["mail"] = lambda: _mail(config)
        states = await health.probe_all(probes, within_s=WITHIN_S)
        if redis is not None and any(each.name == "redis" and each.ok for each in states):
            states += await requirement_states(redis, config)
        if kind is not Role.AUTH:
            # By itself: to load AWS's library holds up everything else for a second or two.
            states += await health.probe_all({"aws": lambda: probe_aws(config)}, within_s=WITHIN_S)
        return states


async def _known(state: DependencyState) -> DependencyState:
    return state


def _key_ring(config: Config) -> tuple[keys.KeyRing | None, DependencyState]:
    """The ring, where it can be read, and what there is to say of its file."""
    path = config.key_file
    if config.makes_key_ring and not path.exists():
        detail = f"{path} is made at the first start"
        return None, DependencyState("key_ring", ok=True, detail=detail)
    try:
        ring = keys.load(path, create=False, wrapping=key_wrapping(config))
    except ConfigError as error:
        return None, DependencyState("key_ring", ok=False, wrong=True, detail=str(error))
    except UnavailableError as error:
        return None, DependencyState("key_ring", ok=False, detail=str(error))
    warnings = (
        (
            f"{path} is on a file system in memory, which a reboot empties: keep the key ring on "
            "a disk, unless something puts it there at each boot"
        ),
    )
    return ring, DependencyState(
        "key_ring", ok=True, detail=str(path), warnings=warnings if is_in_memory(path) else ()
    )


# --- this machine ---------------------------------------------------------------------------------


async def probe_listen(config: Config, role: Role) -> DependencyState:
    """Whether this machine has the addresses. A port in use is as it should be where a gateway
    runs.
    """
    warnings, names = [], listeners(config, role)
    for name in names:
        address = getattr(config.listen, name)
        if reason := _cannot_bind(address):
            warnings.append(f"listen.{name}: {address}: {reason}")
    return DependencyState(
        "listen",
        ok=True,
        detail=", ".join(
            f"{name} {getattr(config.listen, name)}" for name in listeners(config, role)
        ),
        warnings=tuple(warnings),
    )


def _cannot_bind(address: str) -> str:
    """Why ``gateway serve`` on this machine could not listen there; "" where it could."""
    if address.startswith("unix:"):
        folder = Path(address.removeprefix("unix:")).absolute().parent
        if not folder.is_dir():
            return "there is no such folder"
        return "" if os.access(folder, os.W_OK) else "this user may not write the folder"
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind((host.strip("[]"), int(port)))
    except OSError as error:
        return cannot_listen(error)
    return ""


async def probe_state_dir(config: Config) -> DependencyState:
    """Whether this user may write it; for commands and stores of this machine."""
    folder = config.state_dir.absolute()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return DependencyState("state_dir", ok=True, detail=str(config.state_dir))
    problem = "this user may not write it" if there.is_dir() else "is no folder"
    return DependencyState(
        "state_dir",
        ok=False,
        wrong=True,
        detail=f"state_dir: {there}: {problem} (uid {os.geteuid()}); gateway serve keeps its "
        "socket and embedded stores there",
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
        warnings=host_warnings(map(HostFacts.of, documents.values()), config),
    )


async def probe_clock(config: Config, http: aiohttp.ClientSession) -> DependencyState:
    """Our clock against Cognito's, by the date of an answer: tokens are judged by it, and AWS
    refuses a call that was signed at another time.
    """
    url = f"{config.cognito.effective_issuer}/.well-known/openid-configuration"
    asked_at = time.monotonic()
    try:
        async with http.get(url, allow_redirects=False) as response:
            text = response.headers.get("Date", "")
    except (aiohttp.ClientError, TimeoutError, OSError):
        return DependencyState(
            "clock", ok=True, detail="not compared: Cognito does not answer (see cognito)"
        )
    return clock_state(text, asked_at=asked_at, answered_at=time.monotonic(), wall=time.time())


def clock_state(date: str, *, asked_at: float, answered_at: float, wall: float) -> DependencyState:
    """``date``: as an HTTP answer has it."""
    try:
        theirs = parsedate_to_datetime(date).timestamp() + _DATE_S / 2
    except ValueError:
        return DependencyState(
            "clock", ok=True, detail="not compared: Cognito's answer has no date"
        )
    offset = offset_s(theirs, asked_at=asked_at, answered_at=answered_at, wall=wall)
    if offset is None:
        late = f"not compared: Cognito took longer than {CERTAIN_S:g} s"
        return DependencyState("clock", ok=True, detail=late)
    side = "ahead of" if offset > 0 else "behind"
    detail = f"this machine's clock is {abs(offset):.0f} s {side} Cognito's"
    if abs(offset) <= APART_S + _DATE_S / 2:
        return DependencyState("clock", ok=True, detail=detail)
    return DependencyState(
        "clock", ok=False, detail=f"{detail}; at most {APART_S:g} s: run NTP (chrony, timesyncd)"
    )


# --- Redis ----------------------------------------------------------------------------------------


def _redis(
    config: Config, probes: dict[str, Probe], ring: keys.KeyRing | None, stack: AsyncExitStack
) -> RedisClient | None:
    """The client, where there is a server to ask more than these ``probes``."""

    async def snapshot(redis: RedisClient) -> DependencyState:
        if ring is None:
            return DependencyState("snapshot", ok=True, detail=_NO_RING)
        return await probe_snapshot(redis, ring)

    if config.embedded_redis:
        probes["redis"] = lambda: _embedded(config, "redis", probe_redis)
        probes["snapshot"] = lambda: _embedded(config, "snapshot", snapshot)
        return None
    try:
        redis = connect(config.redis)
    except ConfigError as error:
        probes["redis"] = partial(
            _known, DependencyState("redis", ok=False, wrong=True, detail=str(error))
        )
        return None
    stack.push_async_callback(redis.close)
    probes["redis"] = lambda: _reached(config, redis)
    probes["snapshot"] = lambda: snapshot(redis)
    return redis


async def _reached(config: Config, redis: RedisClient) -> DependencyState:
    state = await probe_redis(redis)
    target = parse_url(config.redis.url.reveal())
    if target.tls or all(is_loopback_name(host) for host, _ in target.hosts):
        return state
    return DependencyState(
        state.name,
        ok=state.ok,
        detail=state.detail,
        warnings=(
            (
                "redis.url is not encrypted: whoever sees the network sees its password. Use "
                "rediss:// unless the network itself is encrypted"
            ),
        ),
    )


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


async def probe_snapshot(redis: RedisClient, ring: keys.KeyRing) -> DependencyState:
    """Whether this key ring opens the tenants' snapshot in Redis."""
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


async def requirement_states(redis: RedisClient, config: Config) -> list[DependencyState]:
    """What the store must be set to, each on its own; what is wrong comes first."""
    from gateway.sessions.store_requirements import requirements  # noqa: PLC0415 - for this alone

    try:
        # Only who adopted which key is read, and that needs no key.
        demands = await requirements(redis, config.redis, keys.generate)
    except GatewayError as error:
        return [DependencyState("redis_demands", ok=False, detail=str(error))]
    return [
        DependencyState(demand.name, ok=demand.ok, detail=demand.detail)
        for demand in sorted(demands, key=lambda demand: demand.ok)
    ]


# --- SQL and AWS: the admin role ------------------------------------------------------------------


async def _admin(
    config: Config, probes: dict[str, Probe], ring: keys.KeyRing | None, stack: AsyncExitStack
) -> None:
    from gateway.database.engine import database_file, open_database, warnings_of  # noqa: PLC0415 - auth has no SQL
    from gateway.runtime.database_probes import (  # noqa: PLC0415 - as above
        probe_database,
        probe_database_keys,
        probe_schema,
        probe_session,
    )

    try:
        file = database_file(config)
        if file is not None and not file.exists():
            absence = DependencyState(
                "database", ok=True, detail=f"{file} is not there yet: the first start makes it"
            )
            probes["database"] = partial(_known, absence)
            return
        database = open_database(config, lambda: ring.database if ring is not None else ())
    except ConfigError as error:
        wrong = DependencyState("database", ok=False, wrong=True, detail=str(error))
        probes["database"] = partial(_known, wrong)
        return
    stack.push_async_callback(database.close)

    async def reached() -> DependencyState:
        state = await probe_database(database)
        await database.clock.measure()
        apart = database.clock.offset
        return DependencyState(
            "database",
            ok=apart.is_right,
            detail=state.detail if apart.is_right else f"this machine's clock is {apart}: run NTP",
            warnings=warnings_of(config),
        )

    async def cells() -> DependencyState:
        if ring is None:
            return DependencyState("database_keys", ok=True, detail=_NO_RING)
        return await probe_database_keys(database)

    probes["database"] = reached
    probes["database_session"] = lambda: probe_session(database)
    probes["database_schema"] = lambda: probe_schema(database)
    probes["database_keys"] = cells


async def _mail(config: Config) -> DependencyState:
    from gateway.runtime.mail import probe_mail  # noqa: PLC0415 - auth sends no mail

    return await probe_mail(config)


async def probe_aws(config: Config) -> DependencyState:
    """Whether the credentials that this process would use read each pool. Raises what the first
    says that cannot be read.
    """
    from gateway.cognito.api import open_cognito  # noqa: PLC0415 - auth has no AWS
    from gateway.cognito.aws_error import try_credentials  # noqa: PLC0415 - as above

    messages: list[str] = []
    for name in config.cognito.all_pools:
        async with open_cognito(config, pool=name, read_s=5, throttled_for_s=2) as api:
            messages.append(await try_credentials(api))
    return DependencyState("aws", ok=True, detail="; ".join(messages))
