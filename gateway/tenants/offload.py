"""Work of a few hundred milliseconds beside an event loop that may not wait for twenty."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from gateway.tenants.collector import large_work

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 10_000
"""Fewer are not worth it: what happens to be garbage at that moment is never collected either."""
P = ParamSpec("P")
T = TypeVar("T")

SWITCH_S = 0.0001
"""How long a thread keeps the interpreter while the loop wants it. A check takes it up to ten times
(each send and receive gives it away), so Python's own 5 ms would make 50 of it, and this makes one.
Costs nothing while only one thread runs.
"""


async def woken(event: asyncio.Event, *, within_s: float) -> bool:
    """Wait for ``event`` and clear it; False when the time is over.

    Not with ``wait_for``: in Python 3.11 that can lose a cancellation, and a task that was to end
    goes on.
    """
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True


def settled(*, objects: int) -> None:
    """So many objects came to stay: from now on the collector, which stops everything, passes them
    by.
    """
    if objects >= MANY:
        gc.freeze()


async def in_background(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``work`` in a thread that gives way often."""
    if sys.getswitchinterval() > SWITCH_S:
        sys.setswitchinterval(SWITCH_S)
    with large_work():
        return await asyncio.to_thread(work, *args, **kwargs)
