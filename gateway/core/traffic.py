"""What the gateway did, counted by series and interval: names of the series, and what charts are
drawn from. Pure.

A series is ``KIND:NAME``. Buckets of a histogram are cumulative, and are named by their upper
bound in seconds, as Prometheus does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CHECK: Final = "check"
"""``check:DECISION:REASON``."""
LOGIN: Final = "login"
"""``login:ok``, or why not."""
REVOCATION: Final = "revocation"
"""``revocation:BOUND``: from the event to the last replica's confirmation."""
STORE: Final = "store"
"""``store:BOUND``: round trips to Redis and SQL."""
TASK: Final = "task"
"""``task:NAME``: unexpected errors of work in the background."""
LAST: Final = "+Inf"


class Window(StrEnum):
    """What is looked at. At most 96 points: more are narrower than a pixel is wide."""

    HOUR = "hour"
    DAY = "day"

    @property
    def step_s(self) -> int:
        return 60 if self is Window.HOUR else 900

    @property
    def points(self) -> int:
        return 60 if self is Window.HOUR else 96


@dataclass(frozen=True, slots=True)
class Interval:
    """``at``: its beginning, UTC epoch seconds."""

    at: int
    counts: Mapping[str, int]

    def total(self, prefix: str) -> int:
        """Of a kind, or of what begins so."""
        return sum(n for name, n in self.counts.items() if name.startswith(f"{prefix}:"))

    def of(self, name: str) -> int:
        return self.counts.get(name, 0)

    @property
    def logins_failed(self) -> int:
        return self.total(LOGIN) - self.of(f"{LOGIN}:ok")

    @property
    def denied(self) -> int:
        return self.total(f"{CHECK}:deny")

    @property
    def revocations(self) -> int:
        return self.of(f"{REVOCATION}:{LAST}")


def summed(intervals: Iterable[Interval], *, at: int) -> Interval:
    total: Counter[str] = Counter()
    for interval in intervals:
        total.update(interval.counts)
    return Interval(at, total)


def ranked(interval: Interval, prefix: str) -> Sequence[tuple[str, int]]:
    """What is below ``prefix``, the most frequent first."""
    start = f"{prefix}:"
    counts = {n.removeprefix(start): c for n, c in interval.counts.items() if n.startswith(start)}
    return sorted(((n, c) for n, c in counts.items() if c), key=lambda pair: (-pair[1], pair[0]))


def quantile_s(interval: Interval, kind: str, part: float) -> float | None:
    """Below which ``part`` of what was observed is, in seconds, as Prometheus estimates it: evenly
    spread within a bucket; above the last bound, that bound. None: nothing was observed.
    """
    total = interval.of(f"{kind}:{LAST}")
    if total <= 0:
        return None
    rank, before, low = part * total, 0, 0.0
    bounds = sorted((float(n), c) for n, c in ranked(interval, kind) if n != LAST)
    for bound, count in bounds:
        if count >= rank:
            return low + (bound - low) * (rank - before) / (count - before)
        before, low = count, bound
    return low
