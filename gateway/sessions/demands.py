"""What ``gateway config check`` demands of the store, and why."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.asyncio.cluster import RedisCluster

from gateway.sessions.connect import COMMAND_TIMEOUT_S, Link, unavailable
from gateway.sessions.reading import Readers

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Redis as RedisSettings
    from gateway.keys import KeyRing


@dataclass(frozen=True, slots=True)
class Demand:
    """One thing that must be so. ``detail`` says what is, and when it is wrong what would happen and what to set."""

    name: str
    ok: bool
    detail: str


async def demands(link: Link, settings: RedisSettings, ring: Callable[[], KeyRing]) -> list[Demand]:
    """Every demand, met or not. Raises ``UnavailableError`` when the store does not answer."""
    found: list[Demand] = []
    for name, memory, replication in await _primaries(link):
        found.append(_eviction(name, memory))
        if settings.url.reveal().partition(":")[0].endswith("+sentinel"):
            found.append(_min_replicas(name, replication, settings.min_replicas))
    found.append(await _admin_role(Readers(link, ring)))
    return found


async def _primaries(link: Link) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, ``INFO memory`` and ``INFO replication`` of each primary: INFO is allowed where CONFIG is not."""
    client = link.client
    with unavailable("INFO"):
        async with asyncio.timeout(5 * COMMAND_TIMEOUT_S):
            if not isinstance(client, RedisCluster):
                return [("redis", await client.info("memory"), await client.info("replication"))]
            await client.initialize()
            answers = []
            for node in client.get_primaries():
                sections = [await client.execute_command("INFO", section, target_nodes=node) for section in ("memory", "replication")]
                memory, replication = (s.get(node.name, s) for s in sections)
                answers.append((node.name, memory, replication))
            return answers


def _eviction(name: str, memory: dict[str, Any]) -> Demand:
    policy = str(memory.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return Demand("redis eviction", ok=True, detail=f"{name}: noeviction")
    return Demand(
        "redis eviction", ok=False,
        detail=f"{name}: maxmemory-policy is {policy}; it must be noeviction: an evicted session is a wrong logout, an evicted watermark or block a way back in",
    )  # fmt: skip


def _min_replicas(name: str, replication: dict[str, Any], wanted: int) -> Demand:
    if wanted == 0:
        return Demand("redis replicas", ok=True, detail=f"{name}: redis.min_replicas is 0: nothing is demanded, and a logout may be lost in a fail-over")
    # The field is there only where min-replicas-to-write is not 0.
    good = replication.get("min_slaves_good_slaves")
    if good is None:
        return Demand(
            "redis replicas", ok=False,
            detail=f"{name}: min-replicas-to-write is 0; set it to {wanted}: else a primary that Sentinel has given up still takes writes, and what it confirmed is lost",
        )  # fmt: skip
    if int(replication.get("connected_slaves", 0)) < wanted:
        return Demand("redis replicas", ok=False, detail=f"{name}: {replication.get('connected_slaves')} replicas, redis.min_replicas is {wanted}")
    return Demand("redis replicas", ok=True, detail=f"{name}: min-replicas-to-write is set, {good} good replicas")


async def _admin_role(readers: Readers) -> Demand:
    count, without = await readers.without("")
    admins = [name for name in without if name.partition("-")[0] in {"admin", "all"}]
    if admins or not count:
        return Demand("admin role", ok=True, detail=f"{len(admins)} of {count} processes" if count else "no process of the gateway is running yet")
    return Demand(
        "admin role", ok=False,
        detail=f"{count} processes and none has the admin role: nobody can end sessions for an identity provider, nor restore revocations after a fail-over",
    )  # fmt: skip
