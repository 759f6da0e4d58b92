"""How far this machine's wall clock is from another server's: for ``/readyz``, a metric and the
log.

Rules:
- The other server's time is taken for that of the middle of the question's round trip.
- Where the round trip was long, the answer may be off by half of it, and nothing is told by it.
- Nothing is decided by the offset. It tells whoever can set a clock.
"""

from __future__ import annotations

import logging
from typing import Final

from gateway.log import fields
from gateway.metrics import CLOCK_OFFSET_SECONDS

CERTAIN_S: Final = 0.5
"""An answer that took longer is off by up to half of it."""
APART_S: Final = 5.0
"""More than clocks that are set differ; signed tokens are given as much."""

_log = logging.getLogger(__name__)


def offset_s(theirs: float, *, asked_at: float, answered_at: float, wall: float) -> float | None:
    """``wall`` less theirs, in seconds; None where the answer took too long to tell. ``theirs`` is
    what they answered and ``wall`` this machine's clock at ``answered_at``, both UTC epoch seconds;
    ``asked_at`` and ``answered_at`` are of one steady clock.
    """
    took_s = answered_at - asked_at
    return wall - (theirs + took_s / 2) if took_s <= CERTAIN_S else None


class ClockOffset:
    """Of one reference: ``database`` or ``redis``, label ``reference`` of
    ``gateway_clock_offset_seconds``.
    """

    def __init__(self, reference: str) -> None:
        self.reference = reference
        self.seconds: float | None = None
        """This machine's clock less the reference's, when it was last known."""
        self._server = ""
        self._told_apart = False

    def measured(self, seconds: float, *, server: str = "") -> None:
        """``server``: which of several, where that is to be said."""
        self.seconds, self._server = seconds, server
        CLOCK_OFFSET_SECONDS.labels(self.reference).set(seconds)
        if self._told_apart != (not self.is_right):
            self._told_apart = not self._told_apart
            _log.log(
                logging.WARNING if self._told_apart else logging.INFO,
                "clock_apart" if self._told_apart else "clock_together",
                extra=fields(
                    reference=self.reference,
                    offset_s=round(seconds, 3),
                    **({"server": server} if server else {}),
                ),
            )

    @property
    def is_right(self) -> bool:
        """Whether this machine's clock and the reference's agree, as far as is known."""
        return self.seconds is None or abs(self.seconds) <= APART_S

    def __str__(self) -> str:
        of = f"{self.reference} ({self._server})" if self._server else self.reference
        if self.seconds is None:
            return f"not compared with {of}"
        return f"{abs(self.seconds):.1f} s {'ahead of' if self.seconds > 0 else 'behind'} {of}"
