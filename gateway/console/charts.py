"""Charts as numbers: what the templates put into SVG. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH: Final = 320
HEIGHT: Final = 96


@dataclass(frozen=True, slots=True)
class Chart:
    """``area``: a closed path over the whole width; "" where nothing was measured. ``top``: the
    value at the upper edge.
    """

    area: str
    top: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Of the time axis. ``label``: hours and minutes, UTC; ``anchor``: which end of it is at ``x``,
    so that it stays within the box.
    """

    x: float
    label: str
    anchor: str


_EVERY_S: Final = (300, 900, 3600, 6 * 3600, 86_400)
_TICKS: Final = 5
_LABEL: Final = 16
"""Half of a label's width."""


def ticks(begin_s: int, span_s: int) -> list[Tick]:
    """At round times from ``begin_s`` on, UTC epoch seconds."""
    every_s = next((s for s in _EVERY_S if span_s < s * _TICKS), _EVERY_S[-1])
    first = -(-begin_s // every_s) * every_s
    return [
        _tick(at, (at - begin_s) / span_s) for at in range(first, begin_s + span_s + 1, every_s)
    ]


def _tick(at: int, share: float) -> Tick:
    x = round(WIDTH * share, 1)
    anchor = "start" if x < _LABEL else "end" if x > WIDTH - _LABEL else "middle"
    return Tick(x, datetime.fromtimestamp(at, UTC).strftime("%H:%M"), anchor)


def area(values: Sequence[float | None], *, at_least: float = 1.0) -> Chart:
    """Steps, as wide as an interval: what was counted in one did not happen at its beginning.
    What was not measured is drawn as nothing.
    """
    numbers = [value for value in values if value is not None]
    top = max([at_least, *numbers])
    if not any(numbers):
        return Chart("", top)
    step = WIDTH / len(values)
    corners = [f"M0 {HEIGHT}"]
    for number, value in enumerate(values):
        y = round(HEIGHT - HEIGHT * (value or 0.0) / top, 1)
        corners.append(f"L{number * step:.1f} {y}H{(number + 1) * step:.1f}")
    return Chart("".join([*corners, f"V{HEIGHT}Z"]), top)


def lengths(counts: Sequence[int]) -> list[int]:
    """Of bars to one scale; what is there at all is seen."""
    longest = max(counts, default=0)
    return [max(2, round(WIDTH * count / longest)) if count else 0 for count in counts]
