"""Counting attempts per client and window of time, in Redis: the same count for every replica."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sessions.connection import RedisClient

LIFE_WINDOWS: Final = 2
"""A counter outlives its window: clocks of replicas differ."""


class AttemptCounter:
    """``clock`` is UTC epoch seconds. Raises ``UnavailableError`` when the store does not answer:
    nobody guesses while it is away.
    """

    def __init__(self, redis: RedisClient, *, clock: Callable[[], float]) -> None:
        self._redis = redis
        self._clock = clock

    async def hit(self, client: str, *, at_most: int, window_s: int = 60, kind: str = "") -> bool:
        """Counts this attempt; False once there were more than ``at_most`` in the present
        window.
        """
        name = self._name(client, kind, window_s)
        count = int(await self._redis.command("INCR", name))
        if count == 1:
            await self._redis.command("EXPIRE", name, LIFE_WINDOWS * window_s + 10)
        return count <= at_most

    async def is_exhausted(
        self, client: str, *, at_most: int, window_s: int = 60, kind: str
    ) -> bool:
        """Whether ``at_most`` were counted in the present window; counts nothing."""
        count = await self._redis.command("GET", self._name(client, kind, window_s))
        return count is not None and int(count) >= at_most

    def _name(self, client: str, kind: str, window_s: int) -> str:
        # The window is part of the name, so a counter whose EXPIRE was lost locks nobody out later.
        # Hashed: a dump names nobody.
        digest = hashlib.sha256(f"{kind} {client}".encode("utf-8", "replace")).hexdigest()[:32]
        return f"gw:attempts:{digest}:{int(self._clock() // window_s)}"
