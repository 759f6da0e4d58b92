"""What a process depends on, and how each of it is: for ``/readyz`` what is known, and what an
answer of this moment says.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.config.user_pools import pool_key
from gateway.errors import GatewayError
from gateway.http.client import request_json
from gateway.runtime.health import DependencyState
from gateway.sessions.primary_health import State

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import aiohttp

    from gateway.config.model import Config
    from gateway.config.user_pools import UserPool
    from gateway.keys.file import KeyFile
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
    start_time = time.perf_counter()
    await redis.command("EXISTS", "gw:probe")
    return DependencyState(
        "redis", ok=True, detail=f"answers in {(time.perf_counter() - start_time) * 1000:.1f} ms"
    )


def tenants_state(tenants: SnapshotTenants) -> DependencyState:
    """What is served, and why it is not the newest. Old tenants go on being served, so only having
    none at all is fatal.
    """
    summary = f"{tenants.count} tenants from {tenants.source}"
    if tenants.all_problems:
        return DependencyState(
            "tenants",
            ok=False,
            needed=not tenants.ready,
            detail=f"{summary}; {'; '.join(tenants.all_problems)}"[:1000],
        )
    return DependencyState("tenants", ok=True, detail=summary)


async def probe_cognito(
    config: Config,
    http: aiohttp.ClientSession,
    failed_over: Callable[[str], bool] = lambda _pool: False,
) -> DependencyState:
    """Each pool's discovery answers and names its issuer; of a pool that is failed over, its
    secondary's. Not needed: whoever has a session goes on while Cognito is away.
    """
    states = await asyncio.gather(
        *(
            _probe_pool(name, pool, http, over=failed_over(name))
            for name, pool in config.cognito.all_pools.items()
        )
    )
    if len(states) == 1:
        return states[0]
    wrong = [state for state in states if not state.ok]
    return DependencyState(
        "cognito",
        ok=not wrong,
        needed=False,
        detail="; ".join(state.detail for state in wrong or states),
    )


async def _probe_pool(
    name: str, pool: UserPool, http: aiohttp.ClientSession, *, over: bool
) -> DependencyState:
    primary = await _probe_issuer(
        pool_key(name), pool.effective_issuer, http, (pool.effective_issuer,), (pool.domain,)
    )
    if pool.secondary is None:
        return primary
    # What a replica's discovery names is not documented: the pool's own of either region is right.
    second = await _probe_issuer(
        f"{pool_key(name)}.secondary", pool.secondary_issuer or "", http, pool.issuers, pool.domains
    )
    if over:
        detail = f"{name} is failed over to {pool.secondary.region}: {second.detail}"
        return replace(second, ok=False, needed=False, detail=detail)
    return primary if second.ok or not primary.ok else second


async def _probe_issuer(
    key: str,
    issuer: str,
    http: aiohttp.ClientSession,
    issuers: Sequence[str],
    domains: Sequence[str],
) -> DependencyState:
    """``key``: where the domain stands. ``issuers``, ``domains``: what discovery may name."""
    try:
        status, document = await request_json(
            http, "GET", f"{issuer}/.well-known/openid-configuration", what="Cognito discovery"
        )
    except GatewayError as error:
        return DependencyState("cognito", ok=False, needed=False, detail=str(error))
    if status != 200 or document.get("issuer") not in issuers:
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
    if isinstance(endpoint, str) and not any(
        endpoint.startswith(domain.rstrip("/") + "/") for domain in domains
    ):
        return DependencyState(
            "cognito",
            ok=False,
            needed=False,
            detail=(f"{key}.domain is {domains[-1]}, but discovery says {endpoint[:200]}"),
        )
    return DependencyState("cognito", ok=True, detail=f"discovery of {issuer} fits")
