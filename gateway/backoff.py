"""How long to wait before something that ended by itself is started again, or what failed is tried
again.
"""

from __future__ import annotations

from dataclasses import dataclass


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
