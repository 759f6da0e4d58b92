"""The database's clock: what processes on different machines compare (leases, what became durable
when, holds) is told by one clock.

Rules:
- PostgreSQL is asked for the time; in between, this process's steady clock counts on, so that a
  step of its own wall clock changes nothing.
- SQLite is used on one machine, which has one clock.
- A question whose answer was long on its way tells little; of the last ones it is not believed.
- The difference to this machine's own wall clock is told (``/readyz``, a metric): tokens and
  sessions are judged by wall clocks, which somebody should set.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.sessions.clock_offset import CERTAIN_S, ClockOffset

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

MEASURE_S: Final = 10.0
"""How soon a step of the database's clock (a fail-over to another machine) is followed."""
_NOW = text("SELECT extract(epoch FROM clock_timestamp())::float8")

_log = logging.getLogger(__name__)


def _steady() -> float:
    """Seconds that also count while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class DatabaseClock:
    """Call it for UTC epoch seconds. ``read``: a connection to ask on. ``shared``: several machines
    use the database. ``wall`` and ``steady`` are this machine's clocks.
    """

    def __init__(
        self,
        read: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
        *,
        shared: bool,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = _steady,
    ) -> None:
        self._read, self._shared = read, shared
        self._wall, self._steady = wall, steady
        self._ahead: float | None = None
        """Database's time less ours on ``steady``, when it was last known."""
        self.offset = ClockOffset("database")

    def __call__(self) -> float:
        return self._wall() if self._ahead is None else self._steady() + self._ahead

    async def measure(self) -> None:
        """Ask. Raises ``UnavailableError``."""
        if not self._shared:
            return
        async with self._read() as connection:
            # The second of two: the first one begins the transaction.
            for _ in range(2):
                asked_at = self._steady()
                now: float = (await connection.execute(_NOW)).scalar_one()
                answered_at = self._steady()
        if answered_at - asked_at > CERTAIN_S and self._ahead is not None:
            return
        self._ahead = now - (asked_at + answered_at) / 2
        self.offset.measured(self._wall() - self())

    async def run(self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Until cancelled."""
        while True:
            await sleep(MEASURE_S)
            try:
                await self.measure()
            except UnavailableError as error:
                _log.info("clock_not_measured", extra=fields(error=str(error)))
