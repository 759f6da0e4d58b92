"""Which user pools are failed over to their secondary region, where every process reads it.

Rules:
- Only a word that somebody has given counts; what cannot be read changes nothing, and what Redis
  has lost is as if it had never been said: then logins go to the primary.
- Nothing about who is let in hangs on it: it says at which of a pool's addresses logins and token
  requests go on.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.metrics import POOL_FAILED_OVER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from gateway.sessions.connection import RedisClient

_LOG = logging.getLogger(__name__)
KEY: Final = "gw:failover"
FOLLOW_S: Final = 2.0
"""How late a process may hear of it."""


@dataclass(frozen=True, slots=True)
class FailedOver:
    """``since``: UTC epoch seconds. ``by``: whose word it is."""

    since: float
    by: str


class PoolFailovers:
    """Raises ``UnavailableError``."""

    def __init__(self, redis: RedisClient, *, clock: Callable[[], float]) -> None:
        self._redis, self._clock = redis, clock

    async def read(self) -> Mapping[str, FailedOver]:
        """By the name of the pool."""
        answer: Any = await self._redis.command("HGETALL", KEY)
        pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2])  # noqa: B905 - pairs
        failovers = {}
        for name, text in pairs:
            try:
                record = json.loads(text)
                failovers[name.decode()] = FailedOver(float(record["since"]), str(record["by"]))
            except (ValueError, KeyError, TypeError):
                # Nobody of ours wrote it, so nobody has said it.
                _LOG.warning("pool_failover_unread", extra=fields(error="a word of another format"))
        return failovers

    async def begin(self, pool: str, *, by: str) -> FailedOver:
        """Who said it first is kept."""
        failover = (await self.read()).get(pool)
        if failover is not None:
            return failover
        new_failover = FailedOver(self._clock(), by)
        text = json.dumps({"since": new_failover.since, "by": new_failover.by})
        await self._redis.command("HSET", KEY, pool, text)
        _LOG.warning("pool_failed_over", extra=fields(pool=pool, actor=by))
        return new_failover

    async def end(self, pool: str, *, by: str) -> bool:
        """Whether it was failed over."""
        has_ended = bool(await self._redis.command("HDEL", KEY, pool))
        if has_ended:
            _LOG.warning("pool_failed_back", extra=fields(pool=pool, actor=by))
        return has_ended


class FailoverView:
    """What this process knows of it. ``pools``: those that have a secondary; the word of others
    counts for nothing.
    """

    def __init__(self, failovers: PoolFailovers, pools: Collection[str]) -> None:
        self._failovers, self._pools = failovers, frozenset(pools)
        self._active: frozenset[str] = frozenset()
        for pool in self._pools:
            POOL_FAILED_OVER.labels(pool).set(0)

    def is_over(self, pool: str) -> bool:
        return pool in self._active

    async def look(self) -> None:
        """Raises ``UnavailableError``; then it is as before."""
        self._active = frozenset(await self._failovers.read()) & self._pools
        for pool in self._pools:
            POOL_FAILED_OVER.labels(pool).set(pool in self._active)

    async def follow(self) -> None:
        """Until cancelled. Without a pool that has a secondary, there is nothing to follow."""
        while self._pools:
            try:
                await self.look()
            except UnavailableError as error:
                _LOG.debug("pool_failover_unread", extra=fields(error=str(error)))
            await asyncio.sleep(FOLLOW_S)
