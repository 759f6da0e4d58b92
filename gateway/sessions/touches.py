"""Idle time is extended in the background, and only when an eighth of it has passed: never a write per request.

So a session idles out between 7/8 of ``session.idle`` and ``session.idle`` after its last request. A touch that fails is
tried again with the next request; it never makes a check fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from math import inf
from typing import TYPE_CHECKING, Final

from gateway.errors import UnavailableError
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.sessions.record import Record

FRACTION: Final = 8
REMEMBERED: Final = 100_000
"""Sessions whose last touch is remembered (about 150 bytes each); a forgotten one is touched once more than needed."""
WAITING: Final = 10_000
"""Touches that may wait while the store is slow; beyond, new ones are dropped and come back with the next request."""

_log = logging.getLogger("gateway.sessions")


class Touches:
    """Remembers when this process last extended a session, and extends it again in time."""

    def __init__(self, touch: Callable[[Record], Awaitable[None]], *, monotonic: Callable[[], float]) -> None:
        self._touch = touch
        self._monotonic = monotonic
        self._last: OrderedDict[str, float] = OrderedDict()
        self._waiting: OrderedDict[str, Record] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self.at_most_s = inf
        """However long the idle time is, a session that is in use is touched this often."""
        self.tell: list[Callable[[Record], None]] = []
        """Called after each touch: the session is in use."""
        self.failed: Callable[[str], None] = lambda _digest: None
        """Called when a touch could not be written: whoever waits for the next one should not."""

    def interval_s(self, record: Record) -> float:
        """How long after a touch the next one is due."""
        return min(record.idle_s / FRACTION, self.at_most_s)

    def used(self, record: Record) -> None:
        """A request used the session. Returns at once."""
        now, digest = self._monotonic(), record.session.digest
        last = self._last.get(digest)
        if (last is not None and now - last < self.interval_s(record)) or len(self._waiting) >= WAITING:
            return
        self._last[digest] = now
        self._last.move_to_end(digest)
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        self._waiting[digest] = record
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain())

    def forget(self, digest: str) -> None:
        self._last.pop(digest, None)
        self._waiting.pop(digest, None)

    async def _drain(self) -> None:
        while self._waiting:
            digest, record = self._waiting.popitem(last=False)
            try:
                await self._touch(record)
            except UnavailableError as error:
                self._last.pop(digest, None)
                self.failed(digest)
                _log.debug("touch_failed", extra=fields(error=str(error)))
                continue
            for tell in self.tell:
                tell(record)

    async def settle(self) -> None:
        """Until nothing waits."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def close(self) -> None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
