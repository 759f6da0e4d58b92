"""Markers: a bucket is believed only on the very server for which its data was brought up to the record.

A restart, a fail-over, a flush or older data make a marker not fit; then checks and logins answer 503 until an admin role has
restored the bucket (clock, blocks, overlays, revocations, from the record) and marked it again. A marker is *fresh* for a full
staleness: leases held on another server run out in that time, and acknowledgements wait it out. Then it is *seasoned*.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Final

from redis.asyncio.cluster import RedisCluster

from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.sessions.connect import Script
from gateway.sessions.names import BUCKETS, bucket_of, prefix

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gateway.sessions.connect import Link

MARKERS, MARK, SEASON = (Script.load(name) for name in ("markers", "mark", "season"))
LOOK_S: Final = 0.25
"""How long a fail-over may go unnoticed by the admin role; part of the time to recover."""
TURNS: Final = 64
"""In a Cluster, looks until every bucket was asked for: a single lost key is noticed within 16 s, another primary at once."""
AT_ONCE: Final = 16
"""Commands under way to a Cluster: fewer than a pool has connections."""

_log = logging.getLogger("gateway.sessions")


class Markers:
    """The admin role's keeper of markers. Several admin roles may keep the same: restoring is idempotent."""

    def __init__(
        self,
        link: Link,
        *,
        tenants: Callable[[], Awaitable[Iterable[str]]],
        restore: Callable[[str], Awaitable[None]],
        generation: Callable[[], int],
        staleness_s: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        nonce: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        """``restore`` brings one tenant's slot up to the record; ``tenants`` are those of which anything is recorded.

        ``generation`` is that of the tenant snapshot which this admin role publishes: nothing older is to be answered by.
        """
        self._link = link
        self._tenants = tenants
        self._restore = restore
        self._generation = generation
        self._staleness_s = staleness_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._nonce = nonce
        self._fresh: dict[tuple[int, bytes], float] = {}
        self._unseasoned: set[int] = set()
        self._turn = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except UnavailableError as error:
                _log.warning("markers_unavailable", extra=fields(error=str(error)))
            await self._sleep(LOOK_S)

    async def look(self) -> int:
        """Restore and mark what does not fit, season what did for a full staleness; how many buckets were restored."""
        if not isinstance(self._link.client, RedisCluster):
            return await self._look(range(BUCKETS))
        # One command may name the keys of one slot only: one bucket of each primary, some more in turn, and all of a primary that has changed.
        nodes: dict[str, list[int]] = {}
        await self._link.client.initialize()
        for bucket in range(BUCKETS):
            node = self._link.client.nodes_manager.get_node_from_slot(self._link.client.keyslot(prefix(bucket)))
            nodes.setdefault(node.name, []).append(bucket)
        restored = 0
        for buckets in nodes.values():
            sample = {buckets[0], *buckets[self._turn :: TURNS], *self._unseasoned.intersection(buckets)}
            if await self._look_each(sorted(sample)):
                restored += await self._look_each(buckets)
        self._turn = (self._turn + 1) % TURNS
        return restored

    async def _look_each(self, buckets: Sequence[int]) -> int:
        restored = 0
        for first in range(0, len(buckets), AT_ONCE):
            results = await asyncio.gather(*(self._look([bucket]) for bucket in buckets[first : first + AT_ONCE]), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
                restored += result
        return restored

    async def _look(self, buckets: Sequence[int]) -> int:
        identity, *markers = await self._link.run(MARKERS, [f"{prefix(bucket)}m" for bucket in buckets], [])
        if not identity:
            msg = "Redis: the server is no primary"
            raise UnavailableError(msg)
        missing = {bucket for bucket, marker in zip(buckets, markers, strict=True) if marker is None}
        if missing:
            for tenant in await self._tenants():
                if bucket_of(tenant) in missing:
                    await self._restore(tenant)
            marked = await self._link.run_durably(MARK, [f"{prefix(bucket)}m" for bucket in sorted(missing)], [self._nonce(), identity, self._generation()])
            if not marked:
                msg = "Redis: another primary took over while one was restored"
                raise UnavailableError(msg)
            _log.warning("restored", extra=fields(buckets=len(missing)))
        self._unseasoned -= {bucket for bucket, marker in zip(buckets, markers, strict=True) if marker is not None and marker.startswith(b"s")}
        self._unseasoned |= missing | {bucket for bucket, marker in zip(buckets, markers, strict=True) if marker is not None and marker.startswith(b"f")}
        await self._season({bucket: marker for bucket, marker in zip(buckets, markers, strict=True) if marker is not None})
        return len(missing)

    async def _season(self, markers: dict[int, bytes]) -> None:
        now = self._monotonic()
        fresh = {(bucket, marker): self._fresh.get((bucket, marker), now) for bucket, marker in markers.items() if marker.startswith(b"f")}
        self._fresh = {key: at for key, at in self._fresh.items() if key[0] not in markers} | fresh
        ripe = [key for key, at in fresh.items() if now - at >= self._staleness_s]
        if ripe:
            await self._link.run_durably(SEASON, [f"{prefix(bucket)}m" for bucket, _ in ripe], [marker for _, marker in ripe])
