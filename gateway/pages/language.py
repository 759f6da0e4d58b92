"""Which of our languages a browser prefers (RFC 9110 §12.5.4, RFC 4647 §3.4 "lookup")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LANGUAGES = ("en", "de", "fr", "es")
"""The first is what everybody else gets."""
_RANGE = re.compile(
    r"\s*([A-Za-z]{1,8}|\*)((?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*[qQ]\s*=\s*(0(?:\.[0-9]{0,"
    r"3})?|1(?:\.0{0,3})?)\s*)?"
)
MAX_LANGUAGES = 1024
"""Characters of the header that are read."""
_MOST = 32
"""Ranges that are read; browsers send a handful."""


def negotiate(accept_language: str, languages: Sequence[str] = LANGUAGES) -> str:
    """The language with the highest quality; the header's order breaks ties; a malformed range
    counts as absent.
    """
    best, best_quality = languages[0], 0.0
    exclusions = set[str]()
    wildcard = 0.0
    for item in accept_language[:MAX_LANGUAGES].split(",")[:_MOST]:
        match = _RANGE.fullmatch(item)
        if match is None:
            continue
        primary, quality = match[1].lower(), float(match[3] or 1)
        if quality == 0:
            exclusions.add(primary if not match[2] else "")
        elif primary == "*":
            wildcard = max(wildcard, quality)
        elif primary in languages and quality > best_quality:
            best, best_quality = primary, quality
    if best_quality == 0.0 and wildcard and best in exclusions:
        return next((language for language in languages if language not in exclusions), best)
    return best
