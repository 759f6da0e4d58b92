"""Python's collector of cyclic garbage. It stops every thread while it looks, checks too: so it
looks at little at a time, and never at everything while much is being made.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

YOUNG: Final = 5_000
"""Objects made before it looks at those. Python's own 700 costs a fifth of the time in which tenant
files are read. A look at 5,000 takes a fifth of a millisecond, on a busy machine a few.
"""
MIDDLE: Final = 1
"""So many looks more, and it looks at what is left of them all, once: 15,000 objects at most. With
20 (and so 105,000 objects) a look took 25 to 70 ms of the processor while tenants were changed.
"""
OLD: Final = 400
"""So many of those, and it looks at everything that was made since the last freeze: every few
million objects.
"""
_NEVER: Final = 2**31 - 1

_large_works = 0
_old = OLD


def look_at_little() -> None:
    """For a process that answers checks, once: what is there now stays."""
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)


@contextmanager
def large_work() -> Iterator[None]:
    """Until the block is left, nothing has it look at everything: with what 2,000 new tenants are
    made of in memory that took 0.6 s, and found nothing. On the event
    loop's thread; several may go on at once.
    """
    global _large_works, _old  # noqa: PLW0603 - the collector is one for the process
    young, middle, old = gc.get_threshold()
    if _large_works == 0:
        _old = old
        gc.set_threshold(young, middle, _NEVER)
    _large_works += 1
    try:
        yield
    finally:
        _large_works -= 1
        if _large_works == 0:
            young, middle, _ = gc.get_threshold()
            gc.set_threshold(young, middle, _old)
