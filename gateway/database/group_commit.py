"""Many small writes, few transactions.

Rules:
- Work that waits while a transaction runs shares the next one: one fsync for a hundred deliveries.
- What a sender waits for (``high_priority``) and what only we wait for go in transactions of their
  own, neither behind the other. SQLite has one writer (``writer``): there the first kind goes
  first, and the second kind goes in small ones.
- What was tried together and met a lock that another transaction holds is tried again one by one,
  beside the others: one row that somebody keeps holds up who wants that row, and nobody else.
- A caller hears success only after its transaction committed. If one piece fails, the others are
  done again without it.
- A piece may run more than once; only the committed run counts. It therefore does nothing but SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gateway.background import background_task, end
from gateway.database.engine import BusyError
from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database

T = TypeVar("T")
MAX_BATCH = 128
"""Pieces in one transaction: large enough to make the fsync cheap, small enough that a failed batch
is redone quickly.
"""
MAX_LOW_PRIORITY_BATCH = 10
"""Of pieces that nobody outside waits for: what a sender's piece has to wait for at most."""
ATTEMPTS = 3
"""Of a piece alone: of two replicas that store the same events in different order, PostgreSQL lets
one win, and the other comes again.
"""
APART = 6
"""Pieces tried one by one at a time: connections that they may take."""
MAX_WAITING = 4096
"""Beyond this the database is not keeping up: the next caller hears so at once."""


@dataclass(slots=True)
class _Piece:
    work: Callable[[AsyncConnection], Awaitable[Any]]
    done: asyncio.Future[Any]


class _Queue:
    """Pieces of one kind, and how many of them share a transaction."""

    def __init__(self, most: int, *, urgent: bool) -> None:
        self.most = most
        self.urgent = urgent
        self.pieces: deque[_Piece] = deque()
        self.some = asyncio.Event()


class GroupCommitter:
    """Groups writes of one process. Start it with ``running``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._high = _Queue(MAX_BATCH, urgent=True)
        self._low = _Queue(MAX_LOW_PRIORITY_BATCH, urgent=False)
        self._apart: dict[asyncio.Task[None], _Piece] = {}
        self._places = asyncio.Semaphore(APART)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            async with (
                background_task(self._run(self._high)),
                background_task(self._run(self._low)),
            ):
                yield
        finally:
            await end(list(self._apart))
            for piece in (*self._high.pieces, *self._low.pieces):
                _fail(piece, UnavailableError("shutting down"))

    async def run(
        self, work: Callable[[AsyncConnection], Awaitable[T]], *, high_priority: bool = False
    ) -> T:
        """What ``work`` returned, after its transaction committed. Raises ``UnavailableError``, or
        what ``work`` raised.

        ``high_priority``: somebody outside counts the seconds.

        A caller that gives up waiting does not undo the work: it may still be committed.
        """
        piece = _Piece(work, asyncio.get_running_loop().create_future())
        if len(self._high.pieces) + len(self._low.pieces) + len(self._apart) >= MAX_WAITING:
            msg = "SQL does not keep up"
            raise UnavailableError(msg)
        queue = self._high if high_priority else self._low
        queue.pieces.append(piece)
        queue.some.set()
        return cast("T", await asyncio.shield(piece.done))

    async def _run(self, queue: _Queue) -> None:
        while True:
            await queue.some.wait()
            queue.some.clear()
            while queue.pieces:
                batch = [queue.pieces.popleft() for _ in range(min(queue.most, len(queue.pieces)))]
                try:
                    await self._together(batch, urgent=queue.urgent)
                except BaseException:
                    for piece in batch:
                        _fail(piece, UnavailableError("shutting down"))
                    raise

    async def _together(self, batch: list[_Piece], *, urgent: bool) -> None:
        """Done, failed, or on their way one by one."""
        try:
            async with self._database.write_together(urgent=urgent) as connection:
                results = [await piece.work(connection) for piece in batch]
        except BusyError:
            self._one_by_one(batch)
        except UnavailableError as error:
            for piece in batch:
                _fail(piece, UnavailableError(str(error)))
        except Exception as error:  # noqa: BLE001 - belongs to whoever asked for the piece, not to this task
            if len(batch) == 1:
                _fail(batch[0], error)
            else:
                self._one_by_one(batch)
        else:
            for piece, result in zip(batch, results, strict=True):
                _succeed(piece, result)

    def _one_by_one(self, batch: list[_Piece]) -> None:
        """Not awaited by the loop: who comes next does not wait for who waits for a lock."""
        for piece in batch:
            task = asyncio.create_task(self._alone(piece))
            self._apart[task] = piece
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        _fail(self._apart.pop(task), UnavailableError("shutting down"))

    async def _alone(self, piece: _Piece) -> None:
        async with self._places:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    async with self._database.write_together() as connection:
                        result = await piece.work(connection)
                except BusyError as error:
                    if attempt == ATTEMPTS or not error.deadlock:
                        _fail(piece, UnavailableError(str(error)))
                        return
                except Exception as error:  # noqa: BLE001 - as above
                    _fail(
                        piece,
                        UnavailableError(str(error))
                        if isinstance(error, UnavailableError)
                        else error,
                    )
                    return
                else:
                    _succeed(piece, result)
                    return


def _succeed(piece: _Piece, result: object) -> None:
    if not piece.done.done():
        piece.done.set_result(result)


def _fail(piece: _Piece, error: Exception) -> None:
    if not piece.done.done():
        piece.done.set_exception(error)
        # Whoever gave up waiting does not look at it any more.
        piece.done.exception()
