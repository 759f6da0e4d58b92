"""Tasks that run beside, and end with their owner; work that comes round again, whatever a round failed by."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from gateway.errors import UnavailableError
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

log = logging.getLogger("gateway")


@contextlib.asynccontextmanager
async def beside(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """``work`` goes on until the block is left. If it ends before by an error, that is logged when it happens: nobody awaits it."""
    task = asyncio.create_task(work)
    task.add_done_callback(_ended)
    try:
        yield
    finally:
        await end([task])


async def in_rounds(work: Callable[[], Awaitable[object]], *, pause_s: float, event: str) -> None:
    """Until cancelled: ``work`` now, and again ``pause_s`` seconds after each end of it.

    What it fails by is logged, as ``{event}_unavailable`` where a store is away, else as ``{event}_fault``, and the next round comes all the same.
    """
    while True:
        try:
            await work()
        except UnavailableError as error:
            log.warning("%s_unavailable", event, extra=fields(error=str(error)))
        except Exception:
            log.exception("%s_fault", event)
        await asyncio.sleep(pause_s)


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel, and again each second until all have ended: a library that turns a cancellation into its own time-out loses it."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=1)
    await asyncio.sleep(0)  # what was to be told of their end is told before the owner goes on


def _ended(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("task_failed", exc_info=error, extra=fields(task=getattr(task.get_coro(), "__qualname__", "")))
