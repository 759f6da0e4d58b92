"""Every revocation, once it is durable, to everybody who follows: one reader of the record for a
process, however many listen.

Rules:
- A revocation leaves word and goes on. It waits for no follower, and its work does not grow with
  their number.
- The record is read twice a second while anybody follows, for what other admin processes made
  durable; never for each follower.
- A revocation that does not open keeps no other from being shown; it is shown once it opens.
- A follower who does not keep up is cut off, and goes on from the last one it saw.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Final

from gateway.revocation.api import LIFT
from gateway.revocation.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from gateway.core.revocation import RevocationStatus
    from gateway.revocation.api import Closed, Recorded, RevocationRecord

POLL_S: Final = 0.5
"""How soon a follower sees what another admin process made durable; what this process did is seen
at once.
"""
OVERLAP_S: Final = 10.0
"""From the moment that a revocation calls its own to the moment in which others can see it, at
most: the reader looks back this far and leaves out what it has shown.
"""
KEPT_S: Final = 900.0
"""How long it is known what was shown: longer than the database's clock steps back at once."""
MAX_BEHIND: Final = 1000
"""Revocations that wait for one follower: a connection that takes none of them in must not hold
ever more.
"""
_PAGE: Final = 500


class _Follower:
    """What waits for one who follows; ``ended`` with the reader's error, or None for one who is too
    far behind.
    """

    def __init__(self) -> None:
        self._waiting: deque[RevocationStatus] = deque()
        self._bell = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None

    def tell(self, status: RevocationStatus) -> None:
        if len(self._waiting) >= MAX_BEHIND:
            self.end(None)
        else:
            self._waiting.append(status)
            self._bell.set()

    def end(self, error: Exception | None) -> None:
        self._ended, self._error = True, error
        self._bell.set()

    async def next(self) -> RevocationStatus | None:
        """None where it ends. Raises what ended the reader."""
        while not self._ended:
            if self._waiting:
                return self._waiting.popleft()
            self._bell.clear()
            await self._bell.wait()
        if self._error is not None:
            raise self._error
        return None


class RevocationFeed:
    """One per admin process."""

    def __init__(self, record: RevocationRecord, *, clock: Callable[[], float]) -> None:
        self._record = record
        self._clock = clock
        self._unopened = Unopened(record, event="revocation_feed_does_not_open")
        self._followers: set[_Follower] = set()
        self._news: deque[Recorded] = deque()
        self._bell = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None

    def tell(self, recorded: Recorded) -> None:
        """What has become durable in this process."""
        if self._followers:
            self._news.append(recorded)
            self._bell.set()

    async def follow(self, *, after: str | None = None) -> AsyncGenerator[RevocationStatus, None]:
        """Every revocation (not lifts) once: from the id ``after`` on if that is known, else from
        now on. Ends for whoever does not keep up.
        """
        follower = _Follower()
        self._followers.add(follower)
        try:
            joined_at = self._clock()
            await self._reading()
            seen_ids: set[str] = set()
            last = None if after is None else await self._find(after)
            if last is not None:
                async for entry in self._between(last.durable_at - OVERLAP_S, shown=last):
                    if entry.durable_at >= joined_at - 2 * OVERLAP_S:
                        seen_ids.add(entry.status.id)
                    if entry.kind != LIFT:
                        yield entry.status
            while (status := await follower.next()) is not None:
                if status.id not in seen_ids:
                    yield status
        finally:
            self._followers.discard(follower)
            if not self._followers and self._reader is not None:
                self._reader.cancel()
                self._reader = None

    async def _find(self, revocation: str) -> Recorded | Closed | None:
        """Where somebody left off: also one that does not open any more."""
        closed_entries: list[Closed] = []
        for entry in await self._record.these((revocation,), closed=closed_entries.append):
            return entry
        return closed_entries[0] if closed_entries else None

    async def _between(
        self, durable_at: float, *, shown: Recorded | Closed
    ) -> AsyncIterator[Recorded]:
        """What became durable later than ``shown``."""
        after = ""
        while True:
            page = await self._record.since(
                durable_at, after=after, limit=_PAGE, closed=self._unopened.note
            )
            for entry in page:
                if entry.durable_at > shown.durable_at:
                    yield entry
            if len(page) < _PAGE:
                return
            durable_at, after = page[-1].durable_at, page[-1].status.id

    async def _reading(self) -> None:
        """Until the reader knows what there was before anybody followed."""
        if self._reader is None or self._reader.done():
            self._news.clear()
            self._ready = asyncio.get_running_loop().create_future()
            self._reader = asyncio.create_task(self._read(self._ready), context=Context())
        assert self._ready is not None  # noqa: S101 - set with the reader
        await asyncio.shield(self._ready)

    async def _read(self, ready: asyncio.Future[None]) -> None:
        try:
            # When the record was last read, never what stood in it: of what another process calls
            # late, nothing is early.
            position = self._clock()
            shown_at = {r.status.id: position for r in await self._all_since(position - OVERLAP_S)}
            ready.set_result(None)
            loop = asyncio.get_running_loop()
            read_again_at = loop.time() + POLL_S
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(read_again_at):
                        await self._bell.wait()
                self._bell.clear()
                news = list(self._news)
                self._news.clear()
                now = self._clock()
                if loop.time() >= read_again_at:
                    news += await self._all_since(min(position, now) - OVERLAP_S)
                    news += await self._unopened.opened(now)
                    position = now
                    read_again_at = loop.time() + POLL_S
                for entry in news:
                    if entry.status.id not in shown_at:
                        shown_at[entry.status.id] = now
                        if entry.kind != LIFT:
                            for follower in tuple(self._followers):
                                follower.tell(entry.status)
                shown_at = {name: at for name, at in shown_at.items() if at >= now - KEPT_S}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is those who follow that have to hear of it
            if not ready.done():
                ready.set_result(None)
            for follower in tuple(self._followers):
                follower.end(error)

    async def _all_since(self, durable_at: float) -> list[Recorded]:
        entries: list[Recorded] = []
        while True:
            page = await self._record.since(
                durable_at,
                after=entries[-1].status.id if entries else "",
                limit=_PAGE,
                closed=self._unopened.note,
            )
            entries += page
            if len(page) < _PAGE:
                return entries
            durable_at = page[-1].durable_at
