"""What all processes did, in Redis: a hash for each minute of the last hours, and one for each
quarter of an hour of the last day.

Rules:
- Only for charts: nothing is decided by it, and what is lost or unreadable is as if it had not
  happened.
- Bounded: a closed set of series, at most ``MAX_SERIES`` told at once, and each interval expires.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from gateway.core.traffic import Interval, Window
from gateway.sessions.connection import Script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sessions.connection import RedisClient

COUNT: Final = Script.load("count")
MAX_SERIES: Final = 200
"""In one hash: some hundred names exist. An interval is then a few kilobytes, all of them about one
megabyte.
"""
_AT_ONCE: Final = 16


class ActivityLog:
    """Raises ``UnavailableError``."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def add(self, counts: Mapping[str, int], *, at: float) -> None:
        """``at``: UTC epoch seconds."""
        pairs = [(name, n) for name, n in sorted(counts.items()) if n > 0][:MAX_SERIES]
        if not pairs:
            return
        words = [word for pair in pairs for word in pair]
        for window in Window:
            number = int(at) // window.step_s
            lives_s = (window.points + 2) * window.step_s
            await self._redis.run(COUNT, [_key(window, number)], [lives_s, *words])

    async def read(self, window: Window, *, now: float) -> list[Interval]:
        """Oldest first; the last one is not over."""
        last = int(now) // window.step_s
        numbers = range(last - window.points + 1, last + 1)
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int) -> Interval:
            async with places:
                answer: Any = await self._redis.command("HGETALL", _key(window, number))
            return Interval(number * window.step_s, _counts(answer))

        return await asyncio.gather(*(one(number) for number in numbers))


def _key(window: Window, number: int) -> str:
    return f"gw:activity:{window}:{number}"


def _counts(answer: Any) -> dict[str, int]:
    pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2])  # noqa: B905 - pairs
    counts = {}
    for name, text in pairs:
        try:
            counts[name.decode()] = max(0, int(float(text)))
        except (ValueError, OverflowError):
            continue
    return counts
