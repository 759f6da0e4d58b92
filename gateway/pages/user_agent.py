"""Which browser and system a ``User-Agent`` names (RFC 9110 §10.1.5), for a person to recognize.

A table of our own: browsers have frozen what they say, so a few marks name nearly all of them,
while a library of patterns for every device takes milliseconds for each line that a stranger made
up, in the process that answers checks. What is not in the table is unknown, and told as such.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_CHARACTERS: Final = 512
"""What is read; sessions keep 200."""
_BROWSERS: Final = (
    # What builds on Chromium names itself and Chrome, and Chrome names Safari: the first one wins.
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("OPT/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("DuckDuckGo/", "DuckDuckGo"),
    ("Ddg/", "DuckDuckGo"),
    ("FxiOS/", "Firefox"),
    ("Focus/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS: Final = (
    ("Windows", "Windows"),
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)
_HANDHELD: Final = frozenset({"Android", "iPhone", "iPad"})


@dataclass(frozen=True, slots=True)
class Agent:
    """Empty where it is not known. Both are words of this module, never of the header."""

    browser: str
    system: str

    @property
    def handheld(self) -> bool:
        return self.system in _HANDHELD


def parse_user_agent(header: str) -> Agent:
    """Linear in ``header``, of which ``MAX_CHARACTERS`` are read."""
    text = header[:MAX_CHARACTERS]
    return Agent(_first(_BROWSERS, text), _first(_SYSTEMS, text))


def _first(table: tuple[tuple[str, str], ...], text: str) -> str:
    return next((name for mark, name in table if mark in text), "")
