"""How work grows with what a stranger chooses the length of, on a machine that is busy with other
things.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
ROUNDS = 5


def best_s(work: Callable[[T], object], value: T) -> float:
    """CPU seconds of this thread, the best of several rounds: what else runs here only ever
    adds.
    """
    times = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        work(value)
        times.append(time.thread_time() - began)
    return min(times)


def assert_linear(
    work: Callable[[T], object], value_of: Callable[[int], T], *, n: int, ratio: float = 20.0
) -> None:
    """At 8 n it costs less than ``ratio`` times what it costs at n: about 8 where work grows with
    the length, 64 with its square.
    """
    small, large = best_s(work, value_of(n)), best_s(work, value_of(8 * n))
    assert large < ratio * max(small, 0.000_5), (
        f"{small * 1000:.2f} ms for {n}, {large * 1000:.2f} ms for {8 * n}"
    )
