"""How long the event loop was held by one step, in CPU time of its thread: what every check that
came meanwhile waited for, whatever else the machine did.
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Slices:
    """``found``: seconds and what ran, of each step that took a millisecond or more."""

    found: list[tuple[float, str]] = field(default_factory=list)

    @property
    def longest(self) -> tuple[float, str]:
        return max(self.found, default=(0.0, ""))


@contextmanager
def slices() -> Iterator[Slices]:
    """Of asyncio's own loop, while inside. The collector is off: what it visits is the whole test
    run's.
    """
    measured, run = Slices(), asyncio.Handle._run

    def timed(handle: Any) -> None:
        before = time.thread_time()
        run(handle)
        took = time.thread_time() - before
        if took >= 0.001:
            measured.found.append((took, _where(handle)))

    asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]  # the one place where all pass
    gc.disable()
    try:
        yield measured
    finally:
        gc.enable()
        asyncio.Handle._run = run  # type: ignore[method-assign]  # as above


def _where(handle: asyncio.Handle) -> str:
    """The coroutines of the task, outermost first, where they stand now."""
    callback: Any = handle._callback  # type: ignore[attr-defined]
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return repr(callback)
    coroutine: Any = task.get_coro()
    chain = []
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        chain.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        coroutine = getattr(coroutine, "cr_await", None)
    return " > ".join(chain) or repr(task)
