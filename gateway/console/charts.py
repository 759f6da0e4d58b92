"""Charts as numbers: what the templates put into SVG. Pure."""

from __future__ import annotations

from dataclasses import dataclass
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
