"""Time as an argument: every server of the demo asks the clock it was given."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""UTC epoch seconds."""

system_clock: Clock = time.time


class MovableClock:
    """A clock that runs with the system's and can be moved ahead, so that an hour costs a test
    nothing.
    """

    def __init__(self, source: Clock = system_clock) -> None:
        self._source = source
        self._offset_s = 0.0

    def __call__(self) -> float:
        return self._source() + self._offset_s

    def advance(self, seconds: float) -> None:
        """Move on; a negative value moves back, as a badly kept machine does."""
        self._offset_s += seconds
