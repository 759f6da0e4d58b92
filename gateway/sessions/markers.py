"""Markers: a bucket is believed only on the very server for which its data was brought up to the record.

A restart, a fail-over, a flush or older data make a marker not fit; then checks and logins answer 503 until an admin role has
restored the bucket (clock, blocks, overlays, revocations, from the record) and marked it again. A marker is *fresh* for a full
staleness: leases held on another server run out in that time, and acknowledgements wait it out. Then it is *seasoned*.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio.cluster import RedisCluster

from gateway.errors import UnavailableError
from gateway.sessions.connect import Script
from gateway.sessions.names import bucket_of, prefix

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gateway.sessions.connect import Link

MARKERS, MARK, SEASON = (Script.load(name) for name in ("markers", "mark", "season"))
LOOK_S: Final = 0.25
"""How long a fail-over may go unnoticed by the admin role; part of the time to recover."""

_log = logging.getLogger("gateway.sessions")


class Markers:
    """The admin role's keeper of markers. Several admin roles may keep the same: restoring is idempotent."""

    def __init__(
        self,
        link: Link,
        *,
        tenants: Callable[[], Iterable[str]],
        restore: Callable[[str], Awaitable[None]],
        staleness_s: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        nonce: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        """``restore`` brings one tenant's slot up to the record; ``tenants`` are those that exist, and whose buckets are marked."""
        self._link = link
        self._tenants = tenants
        self._restore = restore
        self._staleness_s = staleness_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._nonce = nonce
        self._fresh: dict[tuple[int, bytes], float] = {}
        self._clustered = isinstance(link.client, RedisCluster)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except UnavailableError as error:
                _log.warning("markers_unavailable", extra={"event": "markers_unavailable", "error": str(error)})
            await self._sleep(LOOK_S)

    async def look(self) -> int:
        """Restore and mark what does not fit, season what did for a full staleness; how many buckets were restored."""
        by_bucket: dict[int, list[str]] = {}
        for tenant in self._tenants():
            by_bucket.setdefault(bucket_of(tenant), []).append(tenant)
        buckets = sorted(by_bucket)
        groups = [[bucket] for bucket in buckets] if self._clustered else [buckets] if buckets else []
        results = await asyncio.gather(*(self._look(group, by_bucket) for group in groups), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return sum(r for r in results if isinstance(r, int))

    async def _look(self, buckets: list[int], tenants: dict[int, list[str]]) -> int:
        identity, *markers = await self._link.run(MARKERS, [f"{prefix(bucket)}m" for bucket in buckets], [])
        if not identity:
            msg = "Redis: the server is no primary"
            raise UnavailableError(msg)
        missing = [bucket for bucket, marker in zip(buckets, markers, strict=True) if marker is None]
        for bucket in missing:
            for tenant in tenants[bucket]:
                await self._restore(tenant)
            await self._mark([bucket], identity)
        await self._season({bucket: marker for bucket, marker in zip(buckets, markers, strict=True) if marker is not None})
        if missing:
            _log.warning("restored", extra={"event": "restored", "buckets": len(missing)})
        return len(missing)

    async def _mark(self, buckets: list[int], identity: bytes) -> None:
        marked: Any = await self._link.run_durably(MARK, [f"{prefix(bucket)}m" for bucket in buckets], [self._nonce(), identity])
        if not marked:
            msg = "Redis: another primary took over while one was restored"
            raise UnavailableError(msg)

    async def _season(self, markers: dict[int, bytes]) -> None:
        now = self._monotonic()
        fresh = {(bucket, marker): self._fresh.get((bucket, marker), now) for bucket, marker in markers.items() if marker.startswith(b"f")}
        seen = {bucket for bucket, _ in fresh} | set(markers)
        self._fresh = {key: at for key, at in self._fresh.items() if key[0] not in seen} | fresh
        ripe = [key for key, at in fresh.items() if now - at >= self._staleness_s]
        if ripe:
            await self._link.run_durably(SEASON, [f"{prefix(bucket)}m" for bucket, _ in ripe], [marker for _, marker in ripe])
