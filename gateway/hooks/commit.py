"""Many small writes, few transactions.

Rules:
- Work that waits while a transaction runs shares the next one: one fsync for a hundred deliveries.
- What a sender waits for goes before what only we wait for, in transactions of its own; the rest goes in small ones in between.
- A caller hears success only after its transaction committed. If one piece fails, the others are done again without it.
- A piece may run more than once; only the committed run counts. It therefore does nothing but SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from gateway.beside import beside
from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.sql.database import Database

T = TypeVar("T")
MAX_BATCH = 128
"""Pieces in one transaction: large enough to make the fsync cheap, small enough that a failed batch is redone quickly."""
MAX_PATIENT_BATCH = 16
"""Of pieces that nobody outside waits for: what a sender's piece has to wait for at most."""
MAX_DEADLOCKS = 3
MAX_WAITING = 4096
"""Beyond this the database is not keeping up: the next caller hears so at once."""


@dataclass(slots=True)
class _Piece:
    work: Callable[[AsyncConnection], Awaitable[Any]]
    done: asyncio.Future[Any]


class Committer:
    """Groups writes of one process. Start it with ``running``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._urgent: deque[_Piece] = deque()
        self._patient: deque[_Piece] = deque()
        self._some = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            async with beside(self._run()):
                yield
        finally:
            for piece in (*self._urgent, *self._patient):
                _fail(piece, UnavailableError("shutting down"))

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]], *, urgent: bool = False) -> T:
        """What ``work`` returned, after its transaction committed. Raises ``UnavailableError``, or what ``work`` raised.

        ``urgent``: somebody outside counts the seconds.

        A caller that gives up waiting does not undo the work: it may still be committed.
        """
        piece = _Piece(work, asyncio.get_running_loop().create_future())
        if len(self._urgent) + len(self._patient) >= MAX_WAITING:
            msg = "SQL does not keep up"
            raise UnavailableError(msg)
        (self._urgent if urgent else self._patient).append(piece)
        self._some.set()
        return cast("T", await asyncio.shield(piece.done))

    async def _run(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while self._urgent or self._patient:
                for waiting, most in ((self._urgent, MAX_BATCH), (self._patient, MAX_PATIENT_BATCH)):
                    batch = [waiting.popleft() for _ in range(min(most, len(waiting)))]
                    if batch:
                        await self._together(batch)

    async def _together(self, batch: list[_Piece]) -> None:
        try:
            await self._commit(batch)
        except BaseException:
            for piece in batch:
                _fail(piece, UnavailableError("shutting down"))
            raise

    async def _commit(self, batch: list[_Piece], *, deadlocks: int = 0) -> None:
        try:
            async with self._database.write() as connection:
                results = [await piece.work(connection) for piece in batch]
        except UnavailableError as error:
            if "DeadlockDetected" in str(error) and deadlocks < MAX_DEADLOCKS:
                # Two replicas stored the same events in different order; PostgreSQL let the other one win.
                await self._commit(batch, deadlocks=deadlocks + 1)
                return
            for piece in batch:
                _fail(piece, UnavailableError(str(error)))
        except Exception as error:  # noqa: BLE001 - belongs to whoever asked for the piece, not to this task
            if len(batch) == 1:
                _fail(batch[0], error)
            else:
                for piece in batch:
                    await self._commit([piece])
        else:
            for piece, result in zip(batch, results, strict=True):
                if not piece.done.done():
                    piece.done.set_result(result)


def _fail(piece: _Piece, error: Exception) -> None:
    if not piece.done.done():
        piece.done.set_exception(error)
        # Whoever gave up waiting does not look at it any more.
        piece.done.exception()
