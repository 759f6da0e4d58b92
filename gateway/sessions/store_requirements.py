"""What ``gateway config check`` demands of the store, and why.

Every server is asked that may ever be a primary, and every sentinel that ``redis.url`` names. What
a server does not let its user see (managed services refuse ``CONFIG``, and the gateway's own user
has no right to it) is said, and is no fault.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ResponseError

from gateway.errors import UnavailableError
from gateway.sessions.connection import (
    COMMAND_TIMEOUT_S,
    RedisClient,
    Target,
    client_to,
    parse_url,
    unavailable,
)
from gateway.sessions.key_adoption import KeyAdoption
from gateway.sessions.store_rights import Requirement, looked_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from gateway.config.model import Redis as RedisSettings
    from gateway.keys.ring import KeyRing

MIN_DOWN_AFTER_MS: Final = 2000
"""A sentinel reconnects to a promoted primary up to a second after its last attempt on the old one,
and counts silence from the switch.
"""
MAX_FAILOVER_MS: Final = 10_000
SLOW_NODE_TIMEOUT_MS: Final = 5000
OPTIONS: Final = (
    "appendonly",
    "repl-diskless-sync",
    "repl-diskless-sync-delay",
    "min-replicas-to-write",
    "cluster-require-full-coverage",
    "cluster-node-timeout",
)


@dataclass(frozen=True, slots=True)
class _Server:
    """What one server says of itself. ``options`` is None where ``CONFIG`` is refused, for the
    reason in ``refused``.
    """

    name: str
    primary: bool
    info: dict[str, Any]
    options: dict[str, str] | None
    refused: str = ""
    more: tuple[Requirement, ...] = ()
    """Its release, users and clock."""


async def requirements(
    redis: RedisClient, settings: RedisSettings, ring: Callable[[], KeyRing]
) -> list[Requirement]:
    """Every demand, met or not. Raises ``UnavailableError`` when no primary answers."""
    target = parse_url(settings.url.reveal())
    demands: list[Requirement] = []
    servers: list[_Server] = []
    for place, primary in await _places(redis, target, settings.ca_file):
        try:
            servers.append(
                await _asked(
                    place, settings.ca_file, primary=primary, clustered=target.kind == "cluster"
                )
            )
        except UnavailableError as error:
            # Sentinels remember replicas that are gone for good; whether there are enough is
            # another demand.
            demands.append(
                Requirement(
                    "redis server",
                    ok=not primary,
                    detail=(
                        f"{_name(place)} is {'a primary' if primary else 'a replica'} and does "
                        f"not answer: {error}"
                    ),
                )
            )
    for server in servers:
        demands += _of_one(server, target.kind, settings)
    if target.kind == "sentinel":
        for host in target.hosts:
            demands += await _sentinel(
                _at(target, host, sentinel=True), target.service, settings.ca_file
            )
    demands.append(await _admin_role(KeyAdoption(redis, ring)))
    return demands


def _at(target: Target, host: tuple[str, int], *, sentinel: bool = False) -> Target:
    """One server of the deployment, or one of its sentinels, with the user that it knows."""
    user = (
        (target.sentinel_username, target.sentinel_password)
        if sentinel
        else (target.username, target.password)
    )
    return replace(
        target, kind="single", hosts=(host,), username=user[0], password=user[1], database=0
    )


def _name(target: Target) -> str:
    return target.path or ":".join(str(part) for part in target.hosts[0])


async def _places(
    redis: RedisClient, target: Target, ca_file: Path | None
) -> list[tuple[Target, bool]]:
    """Every server, and whether it is a primary now. Raises ``UnavailableError``."""
    client = redis.client
    if isinstance(client, RedisCluster):
        with unavailable("CLUSTER", target):
            async with asyncio.timeout(5 * COMMAND_TIMEOUT_S):
                await client.initialize()
        nodes = [(node, True) for node in client.get_primaries()] + [
            (node, False) for node in client.get_replicas()
        ]
        return [(_at(target, (str(node.host), int(node.port))), primary) for node, primary in nodes]
    if target.kind != "sentinel":
        return [(target, True)]
    for number, host in enumerate(target.hosts, 1):
        try:
            async with _connected(_at(target, host, sentinel=True), ca_file) as sentinel:
                address = await sentinel.command(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", target.service
                )
                replicas = await sentinel.command("SENTINEL", "REPLICAS", target.service)
        except UnavailableError as error:
            if number == len(target.hosts):
                names = ", ".join(f"{host}:{port}" for host, port in target.hosts)
                msg = f"no sentinel of redis.url answers ({names}): {error}"
                raise UnavailableError(msg) from error
        else:
            if address is not None:
                others = [_words(replica) for replica in replicas]
                servers = [
                    ((_text(address[0]), int(address[1])), True),
                    *(((other["ip"], int(other["port"])), False) for other in others),
                ]
                return [(_at(target, host), primary) for host, primary in servers]
    msg = (
        f"Redis: no sentinel knows a primary by the name {target.service!r} (the path of redis.url)"
    )
    raise UnavailableError(msg)


@contextlib.asynccontextmanager
async def _connected(target: Target, ca_file: Path | None) -> AsyncIterator[RedisClient]:
    redis = client_to(target, ca_file=ca_file, replicas=0)
    try:
        yield redis
    finally:
        await redis.close()


async def _asked(place: Target, ca_file: Path | None, *, primary: bool, clustered: bool) -> _Server:
    async with _connected(place, ca_file) as redis:
        info: dict[str, Any] = {}
        for section in ("server", "memory", "replication", "persistence"):
            with unavailable("INFO", place):
                async with asyncio.timeout(redis.deadline_s):
                    info |= await redis.client.info(section)
        more = tuple(await looked_at(redis, _name(place), info, clustered=clustered))
        try:
            options = _words(await redis.command("CONFIG", "GET", *OPTIONS))
        except UnavailableError as error:
            if not isinstance(error.__cause__, ResponseError):
                raise
            return _Server(_name(place), primary, info, None, str(error.__cause__)[:100], more)
        return _Server(_name(place), primary, info, options, more=more)


def _text(word: object) -> str:
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)


def _words(reply: Any) -> dict[str, str]:
    """A map, however the protocol spells it."""
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=False)
    return {_text(name): _text(value) for name, value in pairs}


def _of_one(server: _Server, kind: str, settings: RedisSettings) -> Iterator[Requirement]:
    yield from server.more
    yield _eviction(server)
    yield _file(server)
    if kind == "single" and _online(server):
        yield _promoted_by_others(server, settings)
    if kind in {"sentinel", "cluster"}:
        if server.primary:
            yield _replicas(server, kind, settings.confirming)
        if kind == "sentinel" and settings.confirming:
            yield _min_replicas_to_write(server, settings.confirming)
        if server.options is not None:
            yield _diskless(server, server.options)
            if kind == "cluster":
                yield from _cluster(server, server.options)
    if server.options is None:
        option_names = (
            "appendonly"
            if kind in {"single", "unix"}
            else ", ".join(OPTIONS if kind == "cluster" else OPTIONS[:4])
        )
        yield Requirement(
            "redis settings",
            ok=True,
            detail=(
                f"{server.name}: CONFIG GET is refused ({server.refused}), so these were not "
                f"looked at: {option_names}. To look once as somebody who may: "
                "GATEWAY_REDIS__URL=file:PATH gateway config check"
            ),
        )


def _eviction(server: _Server) -> Requirement:
    policy = str(server.info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return Requirement("redis eviction", ok=True, detail=f"{server.name}: noeviction")
    return Requirement(
        "redis eviction",
        ok=False,
        detail=(
            f"{server.name}: maxmemory-policy is {policy}; it must be noeviction: an evicted "
            "session is a wrong logout, an evicted watermark or block a way back in"
        ),
    )


def _file(server: _Server) -> Requirement:
    if int(server.info.get("aof_enabled", 0)):
        return Requirement("redis persistence", ok=True, detail=f"{server.name}: appendonly is on")
    wrong = f"{server.name}: appendonly is off"
    if server.options is None:
        return Requirement(
            "redis persistence",
            ok=True,
            detail=(
                f"{wrong}, and cannot be told to be on here: where a service does not keep the "
                "data otherwise, a restart signs everybody out"
            ),
        )
    return Requirement(
        "redis persistence",
        ok=False,
        detail=(
            f"{wrong}; it must be yes: a server that restarts empty signs everybody out, and "
            "its replicas follow it"
        ),
    )


def _online(server: _Server) -> int:
    return sum(
        isinstance(value, dict) and value.get("state") == "online"
        for name, value in server.info.items()
        if name.startswith("slave")
    )


def _promoted_by_others(server: _Server, settings: RedisSettings) -> Requirement:
    """One address, and replicas behind it: a service may promote one of them and let the address
    name that.
    """
    if settings.confirming:
        return _replicas(server, "single", settings.confirming)
    facts = (
        f"{server.name}: {_online(server)} replicas, and redis.min_replicas is "
        f"{settings.min_replicas if settings.min_replicas is not None else 'not set'}"
    )
    if settings.min_replicas is not None:
        return Requirement(
            "redis replicas",
            ok=True,
            detail=f"{facts}: nobody may ever promote one of them while this server runs",
        )
    return Requirement(
        "redis replicas",
        ok=False,
        detail=f"{facts}; where a service promotes one of them, half of them, and at least 1: else "
        "a primary that was cut off and replaced goes on letting in whom the other one "
        "has refused. "
        "Where nobody promotes any, 0",
    )


def _replicas(server: _Server, kind: str, wanted: int) -> Requirement:
    if wanted == 0 and kind == "cluster":
        return Requirement(
            "redis replicas",
            ok=True,
            detail=(
                f"{server.name}: redis.min_replicas is 0: nothing is demanded, and a logout "
                "may be lost in a fail-over"
            ),
        )
    if wanted == 0:
        return Requirement(
            "redis replicas",
            ok=False,
            detail=(
                f"{server.name}: redis.min_replicas is 0; at least 1 with sentinels: else a "
                "primary that was cut off and replaced goes on letting in whom the other one "
                "has refused"
            ),
        )
    online = _online(server)
    facts = f"{server.name}: {online} {'replica' if online == 1 else 'replicas'}"
    if online > 2 * wanted:
        return Requirement(
            "redis replicas",
            ok=False,
            detail=(
                f"{facts}; redis.min_replicas is {wanted}, and must be at least "
                f"{(online + 1) // 2}, half of them: else two sides of a cut network can both "
                "confirm what they write"
            ),
        )
    if online > wanted:
        return Requirement(
            "redis replicas", ok=True, detail=f"{facts}; redis.min_replicas is {wanted}"
        )
    return Requirement(
        "redis replicas",
        ok=False,
        detail=f"{facts}; with redis.min_replicas {wanted} at least {wanted + 1}, which makes "
        f"{wanted + 2} servers for each primary: after a fail-over {wanted} must be left "
        "to confirm, else every check there is 503 until another joins",
    )


def _min_replicas_to_write(server: _Server, wanted: int) -> Requirement:
    # INFO names the good replicas only where min-replicas-to-write is not 0.
    setting = (
        server.options.get("min-replicas-to-write", "0")
        if server.options is not None
        else "set"
        if "min_slaves_good_slaves" in server.info
        else "0"
    )
    if setting == "set" or int(setting) >= wanted:
        return Requirement(
            "redis min-replicas-to-write",
            ok=True,
            detail=f"{server.name}: min-replicas-to-write is {setting}",
        )
    return Requirement(
        "redis min-replicas-to-write",
        ok=False,
        detail=(
            f"{server.name}: min-replicas-to-write is {setting}; at least {wanted}: else a "
            "primary that Sentinel has given up still takes writes, and what it confirmed is "
            "lost"
        ),
    )


def _diskless(server: _Server, options: dict[str, str]) -> Requirement:
    delay_s = (
        options.get("repl-diskless-sync-delay", "0")
        if options.get("repl-diskless-sync", "no") == "yes"
        else "0"
    )
    if delay_s == "0":
        return Requirement(
            "redis resynchronization",
            ok=True,
            detail=f"{server.name}: repl-diskless-sync-delay is 0",
        )
    return Requirement(
        "redis resynchronization",
        ok=False,
        detail=(
            f"{server.name}: repl-diskless-sync-delay is {delay_s}; it must be 0: after a "
            "fail-over a replica that must copy anew waits for so many seconds first, and "
            "confirms nothing"
        ),
    )


def _cluster(server: _Server, options: dict[str, str]) -> Iterator[Requirement]:
    if options.get("cluster-require-full-coverage") == "no":
        yield Requirement(
            "redis coverage", ok=True, detail=f"{server.name}: cluster-require-full-coverage is no"
        )
    else:
        yield Requirement(
            "redis coverage",
            ok=False,
            detail=(
                f"{server.name}: cluster-require-full-coverage is "
                f"{options.get('cluster-require-full-coverage', 'unknown')}; it must be no: "
                "else one shard that is down stops all tenants"
            ),
        )
    timeout_ms = int(options.get("cluster-node-timeout", "0"))
    slow = (
        (
            f": a primary that died is replaced after about {timeout_ms / 1000 + 1:.0f} s, and "
            "its checks are 503 until then"
        )
        if timeout_ms > SLOW_NODE_TIMEOUT_MS
        else ""
    )
    yield Requirement(
        "redis node timeout",
        ok=True,
        detail=f"{server.name}: cluster-node-timeout is {timeout_ms}{slow}",
    )


async def _sentinel(place: Target, service: str, ca_file: Path | None) -> list[Requirement]:
    at = f"sentinel {_name(place)}"
    try:
        async with _connected(place, ca_file) as redis:
            state = _words(await redis.command("SENTINEL", "MASTER", service))
    except UnavailableError as error:
        if isinstance(error.__cause__, ResponseError):
            return [
                Requirement(
                    "sentinel",
                    ok=True,
                    detail=(
                        f"{at}: SENTINEL MASTER {service} is refused "
                        f"({str(error.__cause__)[:100]}), so its settings were not looked at"
                    ),
                )
            ]
        return [
            Requirement(
                "sentinel",
                ok=False,
                detail=f"{at} is named by redis.url and does not answer: {error}",
            )
        ]
    down_ms, failover_ms = int(state["down-after-milliseconds"]), int(state["failover-timeout"])
    down = f"{at}: down-after-milliseconds of {service} is {down_ms}"
    failover = f"{at}: failover-timeout of {service} is {failover_ms}"
    return [
        Requirement(
            "sentinel down-after",
            ok=True,
            detail=(
                f"{down}: checks are 503 for so long, and about a second more, when the "
                "primary dies"
            ),
        )
        if down_ms >= MIN_DOWN_AFTER_MS
        else Requirement(
            "sentinel down-after",
            ok=False,
            detail=(
                f"{down}; at least {MIN_DOWN_AFTER_MS}: sentinels reach a promoted primary up "
                "to a second late, call it down and fail over again, and nothing is confirmed "
                "for 20 seconds"
            ),
        ),
        Requirement("sentinel failover-timeout", ok=True, detail=failover)
        if failover_ms <= MAX_FAILOVER_MS
        else Requirement(
            "sentinel failover-timeout",
            ok=False,
            detail=(
                f"{failover}; at most {MAX_FAILOVER_MS}: a fail-over that did not succeed is "
                "begun again after twice that time, and checks are 503 until then"
            ),
        ),
    ]


async def _admin_role(adoption: KeyAdoption) -> Requirement:
    count, without = await adoption.lagging("")
    admins = [name for name in without if name.partition("-")[0] in {"admin", "all"}]
    if admins or not count:
        return Requirement(
            "admin role",
            ok=True,
            detail=f"{len(admins)} of {count} processes"
            if count
            else "no process of the gateway is running yet",
        )
    return Requirement(
        "admin role",
        ok=False,
        detail=(
            f"{count} processes and none has the admin role: nobody can end sessions for an "
            "identity provider, nor restore revocations after a fail-over"
        ),
    )
