"""Tasks that run beside, and end with their owner; work that goes on, or comes round again,
whatever it failed by.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.metrics import TASK_FAILURES, begin_at_zero

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

log = logging.getLogger(__name__)


def doubling(first_s: float, times: int, *, longest_s: float) -> float:
    """``first_s`` doubled ``times`` times, at most ``longest_s``; however often that is, it does
    not overflow.
    """
    return float(min(longest_s, first_s * 2 ** min(times, 30)))


@dataclass(slots=True)
class Backoff:
    """Twice as long after each failure, up to ``longest_s``; from ``first_s`` again once it ran for
    ``healthy_s``.
    """

    first_s: float
    longest_s: float
    healthy_s: float
    failures: int = 0
    """In a row."""

    def failed(self, *, ran_s: float) -> float:
        """Seconds to wait, counted from now."""
        self.failures = 1 if ran_s >= self.healthy_s else self.failures + 1
        return doubling(self.first_s, self.failures - 1, longest_s=self.longest_s)


@contextlib.asynccontextmanager
async def background_task(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """``work`` goes on until the block is left. If it ends before by an error, that is logged when
    it happens: nobody awaits it.
    """
    task = asyncio.create_task(work)
    task.add_done_callback(_ended)
    try:
        yield
    finally:
        await end([task])


async def in_rounds(
    work: Callable[[], Awaitable[object]], *, pause_s: float, unavailable: str, failed: str
) -> None:
    """Until cancelled: ``work`` now, and again ``pause_s`` seconds after each end of it.

    What it fails by is logged, as the event ``unavailable`` where a store is away, else as
    ``failed``, and the next round comes all the same.
    """
    begin_at_zero(TASK_FAILURES, [failed])
    while True:
        try:
            await work()
        except UnavailableError as error:
            log.warning(unavailable, extra=fields(error=str(error)))
        except Exception as error:  # noqa: BLE001 - logged
            fault(failed, error)
        await asyncio.sleep(pause_s)


async def forever(
    work: Callable[[], Awaitable[None]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """``work``, until cancelled. Where an error that it does not know ends it, that is logged and
    counted, and it is begun again: half a second later, and less often the oftener it fails.
    ``work`` can be begun again at any time.
    """
    function = work.func if isinstance(work, partial) else work
    name, backoff = (
        getattr(function, "__qualname__", type(function).__qualname__),
        Backoff(first_s=0.5, longest_s=30.0, healthy_s=60.0),
    )
    begin_at_zero(TASK_FAILURES, [name])
    while True:
        began = time.monotonic()
        try:
            await work()
        except Exception as error:
            TASK_FAILURES.labels(name).inc()
            log.exception("task_failed", extra=fields(task=name, error=type(error).__name__))
            await sleep(backoff.failed(ran_s=time.monotonic() - began))
        else:
            return


def fault(event: str, error: BaseException, **where: object) -> None:
    """Of what nobody foresaw: logged with its trace, and counted for whoever watches the
    metrics.
    """
    TASK_FAILURES.labels(event).inc()
    log.error(event, exc_info=error, extra=fields(**where))


async def end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel, and again each second until all have ended: a library that turns a cancellation into
    its own time-out loses it.
    """
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=1)
    await asyncio.sleep(0)  # what was to be told of their end is told before the owner goes on


def _ended(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error(
            "task_failed",
            exc_info=error,
            extra=fields(task=getattr(task.get_coro(), "__qualname__", "")),
        )
