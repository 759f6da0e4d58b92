"""How long to wait before something that ended by itself is started again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Twice as long after each failure, up to ``longest_s``; from ``first_s`` again once it ran for ``healthy_s``."""

    first_s: float
    longest_s: float
    healthy_s: float
    failures: int = 0
    """In a row."""

    def failed(self, *, ran_s: float) -> float:
        """Seconds to wait, counted from now."""
        self.failures = 1 if ran_s >= self.healthy_s else self.failures + 1
        return float(min(self.longest_s, self.first_s * 2 ** min(self.failures - 1, 30)))
