"""SQLite has one writer: whose turn it is, and which short writes share a transaction.

Rules:
- Who waits while a transaction runs does its part in the next one together with the others who
  wait: one commit, and one fsync, for all of them. Each part has a savepoint: one that fails is
  undone, and the others are not.
- Nobody hears success before the commit. Where that fails, it failed for all.
- Urgent ones go first; who has waited for ``AGED_S`` is urgent too.
- A transaction takes no further part after ``SHARED_S``, or ``MOST``: a turn stays short.
- Long writes (``alone``) share with nobody, so that no short one waits for them with its own part
  done.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic as system_monotonic
from typing import TYPE_CHECKING, Final

from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

SHARED_S: Final = 0.02
"""Longer makes those wait whose part is done; shorter makes more commits."""
MOST: Final = 32
"""Parts of one transaction."""
AGED_S: Final = 0.1
"""How long the urgent ones may go first."""


@dataclass(slots=True, eq=False)
class _Shared:
    """A transaction, from its first part to its commit."""

    begun: asyncio.Future[AsyncConnection]
    outcome: asyncio.Future[None]
    full: asyncio.Event = field(default_factory=asyncio.Event)
    """No further part: it is to be committed."""
    since: float = 0.0
    parts: int = 1
    broken: BaseException | None = None
    """Why a part could not be undone."""


@dataclass(slots=True, eq=False)
class _Waiting:
    shares: bool
    since: float
    turn: asyncio.Future[_Shared | None]
    """The transaction to go on with; None: the turn, to begin one."""


class Writer:
    """``begin`` is one transaction of the database."""

    def __init__(
        self,
        begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
        *,
        patience_s: float,
        monotonic: Callable[[], float] = system_monotonic,
    ) -> None:
        """``patience_s``: how long to wait for a turn."""
        self._begin = begin
        self._patience_s = patience_s
        self._monotonic = monotonic
        self._busy = False
        self._urgent: deque[_Waiting] = deque()
        self._others: deque[_Waiting] = deque()
        self.tasks: set[asyncio.Task[None]] = set()
        """Shared transactions from their begin to their commit."""

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        """A transaction of the caller's own. Raises ``UnavailableError``."""
        await self._turn(shares=False, urgent=False)
        try:
            async with self._begin() as connection:
                yield connection
        finally:
            self._release()

    @asynccontextmanager
    async def together(self, *, urgent: bool) -> AsyncIterator[AsyncConnection]:
        """A part of a transaction that others share; it is committed on leaving. For what takes
        milliseconds. Raises ``UnavailableError``.
        """
        transaction = await self._turn(shares=True, urgent=urgent)
        first = transaction is None
        if transaction is None:
            loop = asyncio.get_running_loop()
            transaction = _Shared(loop.create_future(), loop.create_future())
            task = loop.create_task(self._carry(transaction))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        try:
            connection = await asyncio.shield(transaction.begun)
            async with _first_part(transaction) if first else _part(transaction, connection):
                yield connection
        finally:
            self._leave(transaction)
        await asyncio.shield(transaction.outcome)

    async def _carry(self, shared: _Shared) -> None:
        """The transaction, in a task of its own: whoever gives up in the middle of it ends it for
        nobody else.
        """
        try:
            async with self._begin() as connection:
                shared.since = self._monotonic()
                shared.begun.set_result(connection)
                await shared.full.wait()
                await _check(shared, connection)
        except BaseException as error:
            failure = (
                error
                if isinstance(error, Exception)
                else UnavailableError("SQL: the transaction was given up")
            )
            for future in (shared.begun, shared.outcome):
                if not future.done():
                    future.set_exception(failure)
                    future.exception()  # perhaps nobody looks at it any more
            if not isinstance(error, Exception):
                raise
        else:
            shared.outcome.set_result(None)
        finally:
            self._release()

    # --- turns ---

    async def _turn(self, *, shares: bool, urgent: bool) -> _Shared | None:
        if not self._busy:
            self._busy = True
            return None
        waiter = _Waiting(shares, self._monotonic(), asyncio.get_running_loop().create_future())
        (self._urgent if urgent else self._others).append(waiter)
        try:
            async with asyncio.timeout(self._patience_s):
                return await waiter.turn
        except BaseException as error:
            if waiter.turn.done() and not waiter.turn.cancelled():
                # It was this one's turn in the very moment in which it gave up.
                transaction = waiter.turn.result()
                if transaction is None:
                    self._release()
                else:
                    self._leave(transaction)
            waiter.turn.cancel()
            if isinstance(error, TimeoutError):
                msg = "SQL does not answer (its one writer is busy)"
                raise UnavailableError(msg) from error
            raise

    def _next(self) -> deque[_Waiting] | None:
        """Where the one stands whose turn is next."""
        for queue in (self._urgent, self._others):
            while queue and queue[0].turn.done():
                queue.popleft()
        if self._others and (
            not self._urgent
            or (
                self._others[0].since < self._urgent[0].since
                and self._others[0].since <= self._monotonic() - AGED_S
            )
        ):
            return self._others
        return self._urgent or None

    def _leave(self, shared: _Shared) -> None:
        """A part is done: the next one, or the commit."""
        queue = self._next()
        if (
            queue is not None
            and queue[0].shares
            and shared.broken is None
            and not shared.outcome.done()
            and shared.parts < MOST
            and self._monotonic() - shared.since < SHARED_S
        ):
            shared.parts += 1
            queue.popleft().turn.set_result(shared)
        else:
            shared.full.set()

    def _release(self) -> None:
        queue = self._next()
        if queue is None:
            self._busy = False
        else:
            queue.popleft().turn.set_result(None)


@asynccontextmanager
async def _first_part(shared: _Shared) -> AsyncIterator[None]:
    try:
        yield
    except BaseException as error:
        shared.broken = error
        raise


@asynccontextmanager
async def _part(shared: _Shared, connection: AsyncConnection) -> AsyncIterator[None]:
    try:
        savepoint = await connection.begin_nested()
    except BaseException as error:
        shared.broken = error
        raise
    try:
        yield
        await savepoint.commit()
    except BaseException:
        try:
            await savepoint.rollback()
            await _check(shared, connection)
        except BaseException as error:  # noqa: BLE001 - what is raised is why it was to be undone
            shared.broken = error
        raise


async def _check(shared: _Shared, connection: AsyncConnection) -> None:
    """Raises unless the transaction goes on: some failures of a statement (a full disk) end the
    whole of it in SQLite. A commit would then say yes to nothing, and a savepoint begin another.
    """
    if shared.broken is not None:
        msg = f"SQL: another part of the transaction failed ({type(shared.broken).__name__})"
        raise UnavailableError(msg) from shared.broken
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    if driver is None or not driver.in_transaction:
        msg = "SQL: the transaction ended with another part of it"
        raise UnavailableError(msg)
