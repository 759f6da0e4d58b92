"""Path globs: ``*`` is any text within one segment, ``**`` any number of whole segments. Every
other character is itself.

Rules:
- Matching goes by segments and never goes back: the segments before the first ``**`` and after the
  last are compared in place, and each run of segments between two is taken where it fits first. A
  later place could not do more for what follows it. The same holds for the text between two ``*``
  of a segment. Work is at most the segments of the path times those of the glob; a path without one
  of the plain segments between two ``**`` is done with before.
- What other tools give a meaning (``?``, ``[a-z]``, ``{a,b}``, ``!(a)``) is refused, not taken as
  text: a rule that closes ``/{admin,internal}/**`` must not be one that closes nothing.
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_GLOB_CHARACTERS: Final = 512
MAX_GLOB_SEGMENTS: Final = 32
"""Deeper than rules are written; it bounds how much of a path one rule compares."""
MAX_GLOB_STARS: Final = 8
"""Segments with ``*`` or ``**`` in one glob: each may be tried at every segment of a path."""
_FOREIGN = re.compile(r"[?\[\]{}|]|[!*+@]\(")
"""Single characters, classes, alternatives and extended globs of shells and other gateways."""

Segment = str | tuple[str, ...]
"""Plain text, or the texts around the stars of a segment in order (the first and the last may be
empty).
"""


class Glob:
    """A parsed glob. ``head``: its segments before the first star; ``rest``: those from there on.
    ``slash``: it ends with ``/``.
    """

    __slots__ = ("_least", "_plain", "_runs", "head", "rest", "slash", "text")

    def __init__(self, text: str) -> None:
        """Raises ``ValueError`` saying what to write instead."""
        check_glob(text)
        segments = text.split("/")[1:]
        self.text = text
        self.slash = segments[-1] == ""
        if self.slash:
            segments.pop()
        self.head = tuple(takewhile(lambda segment: "*" not in segment, segments))
        self.rest = tuple(segments[len(self.head) :])
        runs: list[list[Segment]] = [[]]
        for segment in segments:
            if segment == "**":
                runs.append([])
            else:
                runs[-1].append(tuple(segment.split("*")) if "*" in segment else segment)
        self._runs = tuple(map(tuple, runs))
        self._least = sum(map(len, runs))
        self._plain = tuple(
            dict.fromkeys(
                segment for run in runs[1:-1] for segment in run if isinstance(segment, str)
            )
        )

    def matches(self, segments: Sequence[str]) -> bool:
        """Whether the segments of a canonical path fit, none of them empty; the final slash is the
        caller's to judge.
        """
        runs = self._runs
        first, last = runs[0], runs[-1]
        if len(runs) == 1:
            return len(segments) == len(first) and _fits_at(first, segments, 0)
        if len(segments) < self._least:
            return False
        start, end = len(first), len(segments) - len(last)
        if (
            not _fits_at(first, segments, 0)
            or not _fits_at(last, segments, end)
            or not all(segment in segments for segment in self._plain)
        ):
            return False
        for run in runs[1:-1]:
            place = _place(run, segments, start, end)
            if place is None:
                return False
            start = place + len(run)
        return True

    def reaches_below(self, segments: Sequence[str]) -> bool:
        """Whether a path of these segments, or some path below it, fits."""
        first = self._runs[0]
        within = min(len(first), len(segments))
        return (len(segments) <= len(first) or len(self._runs) > 1) and _fits_at(
            first[:within], segments, 0
        )

    def __repr__(self) -> str:
        return f"Glob({self.text!r})"


def _place(run: tuple[Segment, ...], segments: Sequence[str], start: int, end: int) -> int | None:
    """Where the run fits first between the two. One that begins with plain text is looked for by
    that: at the speed of C, and most paths do not have it.
    """
    last = end - len(run)
    if not run:
        return start if start <= last else None
    first = run[0]
    while start <= last:
        if isinstance(first, str):
            try:
                start = segments.index(first, start, last + 1)
            except ValueError:
                return None
        if _fits_at(run, segments, start):
            return start
        start += 1
    return None


def _fits_at(run: tuple[Segment, ...], segments: Sequence[str], start: int) -> bool:
    for offset, pattern in enumerate(run, start):
        segment = segments[offset]
        if isinstance(pattern, str):
            if pattern != segment:
                return False
        elif not _fits(pattern, segment):
            return False
    return True


def _fits(texts: tuple[str, ...], segment: str) -> bool:
    """Each text at its first place after the one before; the first at the beginning, the last at
    the end.
    """
    first, last = texts[0], texts[-1]
    position, end = len(first), len(segment) - len(last)
    if position > end or not segment.startswith(first) or not segment.endswith(last):
        return False
    for text in texts[1:-1]:
        position = segment.find(text, position, end)
        if position < 0:
            return False
        position += len(text)
    return True


def check_glob(text: str) -> str:
    """The text itself, where it is a glob. Raises ``ValueError`` saying what to write instead."""
    if not text.startswith("/") or len(text) > MAX_GLOB_CHARACTERS:
        msg = f"a path starts with / and has at most {MAX_GLOB_CHARACTERS} characters"
        raise ValueError(msg)
    foreign = _FOREIGN.search(text)
    if foreign is not None:
        msg = (
            f"{foreign[0]} is no pattern here: write one rule for each alternative, * for any "
            "text within a segment, ** for any segments"
        )
        raise ValueError(msg)
    segments = text.split("/")[1:]
    if "//" in text or "." in segments or ".." in segments:
        msg = "no path with empty or dot segments (//, /./, /../) is ever matched"
        raise ValueError(msg)
    stars = [segment for segment in segments if "*" in segment] if "*" in text else []
    if any("**" in segment and segment != "**" for segment in stars):
        msg = "** must be alone between slashes (/**/*.css); within a segment write one *"
        raise ValueError(msg)
    if len(segments) > MAX_GLOB_SEGMENTS or len(stars) > MAX_GLOB_STARS:
        msg = f"at most {MAX_GLOB_SEGMENTS} segments, and {MAX_GLOB_STARS} with * or **"
        raise ValueError(msg)
    return text


__all__ = [
    "MAX_GLOB_CHARACTERS",
    "MAX_GLOB_SEGMENTS",
    "MAX_GLOB_STARS",
    "Glob",
    "check_glob",
]
