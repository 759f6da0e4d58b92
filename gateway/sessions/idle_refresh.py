"""Idle time is extended in the background, and only when an eighth of it has passed: never a write
per request.

So a session idles out between 7/8 of ``session.idle_timeout`` and all of it after its last request,
or after the moment until which that keeps it active. A touch that fails is tried again with the
next request, and by itself as long as a session is kept active: of an open socket there may be no
next one. It never makes a check fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING, Final

from gateway.errors import UnavailableError
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.sessions.codec import Record

FRACTION: Final = 8
REMEMBERED: Final = 100_000
"""Sessions whose last touch is remembered (about 150 bytes each); a forgotten one is touched once
more than needed.
"""
WAITING: Final = 10_000
"""Touches that may wait while the store is slow; beyond, new ones are dropped and come back with
the next request.
"""
AGAIN_S: Final = 1.0

_log = logging.getLogger(__name__)


class Touches:
    """Remembers when this process last extended a session, and extends it again in time."""

    def __init__(
        self,
        touch: Callable[[Record, float], Awaitable[None]],
        *,
        monotonic: Callable[[], float],
        in_use: Callable[[Record], None] | None = None,
        in_use_every_s: float = inf,
    ) -> None:
        """``touch`` is given for how many seconds from now the session is active; its idle time
        comes on top. ``in_use`` hears of a session that is in use, whether that counts as activity
        or not: after an eighth of its idle time, and after ``in_use_every_s`` however long that is.
        """
        self._touch = touch
        self._monotonic = monotonic
        self._until: OrderedDict[str, float] = OrderedDict()
        """Where its idle time begins, as the store was last told: at a request, or later."""
        self._told: OrderedDict[str, float] = OrderedDict()
        self._waiting: OrderedDict[str, Record] = OrderedDict()
        self._failed: dict[str, tuple[Record, float]] = {}
        """What nobody may ask for again, and until when each is active."""
        self._again: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._in_use = in_use
        self._in_use_every_s = in_use_every_s

    def used(self, record: Record, *, active_s: float = 0.0) -> None:
        """A request used the session, and keeps it active for so long from now. Returns at once."""
        self.seen(record)
        digest, until = record.session.digest, self._monotonic() + active_s
        previous_until = self._until.get(digest)
        if previous_until is not None and until - previous_until < record.idle_s / FRACTION:
            return
        if len(self._waiting) >= WAITING:
            self._try_later(record, until)
            return
        _remember(self._until, digest, until)
        self._waiting[digest] = record
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain(), context=Context())

    def renewed(self, digest: str) -> None:
        """The store has let its idle time begin anew just now, by something else than a touch."""
        _remember(self._until, digest, self._monotonic())

    def seen(self, record: Record) -> None:
        """A request showed the session, and extends nothing. Returns at once."""
        if self._in_use is None:
            return
        now, digest = self._monotonic(), record.session.digest
        last = self._told.get(digest)
        if last is not None and now - last < min(record.idle_s / FRACTION, self._in_use_every_s):
            return
        _remember(self._told, digest, now)
        self._in_use(record)

    def forget(self, digest: str) -> None:
        for table in (self._until, self._told, self._waiting, self._failed):
            table.pop(digest, None)

    async def _drain(self) -> None:
        while self._waiting:
            digest, record = self._waiting.popitem(last=False)
            until = self._until.get(digest, 0.0)
            try:
                await self._touch(record, max(until - self._monotonic(), 0.0))
            except UnavailableError as error:
                self._until.pop(digest, None)
                self._try_later(record, until)
                _log.debug("session_refresh_failed", extra=fields(error=str(error)))

    def _try_later(self, record: Record, until: float) -> None:
        """Where a session is active without a further request; else the next one does it."""
        if until > self._monotonic() and len(self._failed) < WAITING:
            self._failed[record.session.digest] = record, until
            self._again = self._again or asyncio.get_running_loop().call_later(
                AGAIN_S, self._try_again
            )

    def _try_again(self) -> None:
        self._again = None
        failures, self._failed = self._failed, {}
        for record, until in failures.values():
            remaining_s = until - self._monotonic()
            if remaining_s > 0:
                self.used(record, active_s=remaining_s)

    async def settle(self) -> None:
        """Until nothing waits."""
        while self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    async def close(self) -> None:
        self._waiting.clear()
        if self._again is not None:
            self._again.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def _remember(known: OrderedDict[str, float], digest: str, value: float) -> None:
    known[digest] = value
    known.move_to_end(digest)
    if len(known) > REMEMBERED:
        known.popitem(last=False)
