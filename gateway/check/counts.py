"""What is counted at every check, as plain integers: handed to Prometheus' counters when they are
scraped, and at least once a second, for another process of the same gateway may be the one that is
asked.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from typing import Final, TypeAlias

from gateway.check.dialects import ENDPOINTS, PATHS
from gateway.core.reason import Reason
from gateway.metrics import (
    CHECK_BOUNDS,
    CHECK_DURATION,
    CHECKS,
    HANDED_OVER,
    begin_at_zero,
    observe_all,
)

HAND_OVER_S: Final = 1.0
CheckLabels: TypeAlias = tuple[str, str, str, str]
"""Tenant, dialect, decision and reason: the labels of ``CHECKS``."""
_STORE_AWAY: Final = Reason.STORE_UNAVAILABLE.value
_ALARMING: Final = (_STORE_AWAY, Reason.UNTRUSTED_PROXY.value)
"""Reasons that alert rules read."""


class CheckCounts:
    """Of one event loop."""

    def __init__(self) -> None:
        self._checks: defaultdict[CheckLabels, int] = defaultdict(int)
        """As many as there are label sets, which are capped."""
        self._durations: defaultdict[str, list[float]] = defaultdict(_no_durations)
        """By dialect: how many in each bucket, and at the end the sum in seconds."""
        self._timer: asyncio.TimerHandle | None = None
        dialects = {dialect.name for dialect in (*ENDPOINTS.values(), *PATHS.values())}
        begin_at_zero(CHECK_DURATION, dialects)
        for reason in _ALARMING:
            begin_at_zero(CHECKS, [""], dialects, ["deny"], [reason])
        self._known: set[tuple[str, str]] = set()
        """Tenants and dialects of which a check was counted."""
        HANDED_OVER.add(self)

    def count(self, labels: CheckLabels, *, seconds: float) -> None:
        self._checks[labels] += 1
        durations = self._durations[labels[1]]
        durations[bisect_left(CHECK_BOUNDS, seconds)] += 1
        durations[-1] += seconds
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HAND_OVER_S, self.hand_over)

    def hand_over(self) -> None:
        """To be called once more before the process ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for labels, number in self._checks.items():
            if (pair := labels[:2]) not in self._known:
                # Before the store is away for the first time.
                self._known.add(pair)
                begin_at_zero(CHECKS, *([one] for one in pair), ["deny"], [_STORE_AWAY])
            CHECKS.labels(*labels).inc(number)
        for dialect, (*buckets, seconds) in self._durations.items():
            observe_all(CHECK_DURATION.labels(dialect), [int(n) for n in buckets], seconds)
        self._checks.clear()
        self._durations.clear()


def _no_durations() -> list[float]:
    return [0] * (len(CHECK_BOUNDS) + 1) + [0.0]


__all__ = ["CheckCounts", "CheckLabels"]
