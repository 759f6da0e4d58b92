"""A tenant's colour, made safe to read: WCAG 2.2 contrast, computed, not hoped for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

AA = 4.5
"""WCAG 2.2 §1.4.3, normal text. Lower would make a tenant's pale brand colour unreadable."""
LIGHT_BACKGROUND = "#f4f5f7"
DARK_BACKGROUND = "#1b1e24"
"""In each scheme the worse one of card and canvas of ``static/pages.css``."""
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Palette:
    """``accent`` carries text of ``on_accent``; ``light`` and ``dark`` are text colours on the page
    in each scheme.
    """

    accent: str
    on_accent: str
    light: str
    dark: str


@lru_cache(maxsize=1024)
def palette(colour: str) -> Palette:
    """``colour`` is ``#rrggbb``; every pair that is shown reaches ``AA``."""
    on_accent = max("#ffffff", "#000000", key=lambda ink: contrast(colour, ink))
    return Palette(
        colour,
        on_accent,
        _towards(colour, "#000000", LIGHT_BACKGROUND),
        _towards(colour, "#ffffff", DARK_BACKGROUND),
    )


def contrast(one: str, other: str) -> float:
    """WCAG contrast ratio of two ``#rrggbb`` colours, 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _towards(colour: str, goal: str, background: str) -> str:
    for step in range(_STEPS + 1):
        mixed = _mix(colour, goal, step / _STEPS)
        if contrast(mixed, background) >= AA:
            return mixed
    return goal


def _mix(one: str, other: str, share: float) -> str:
    return "#" + "".join(
        f"{round(a + (b - a) * share):02x}"
        for a, b in zip(_channels(one), _channels(other), strict=True)
    )


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    """WCAG 2.2, "relative luminance"."""
    red, green, blue = (
        c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4
        for c in _channels(colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
