"""The id that an ingress gives a request, as it stands in logs, on pages and in records."""

from __future__ import annotations

import re

MAX_CHARACTERS = 128
"""HAProxy's ids name two IPv6 addresses, in about a hundred."""
_SHAPE = re.compile(rf"[A-Za-z0-9._:-]{{1,{MAX_CHARACTERS}}}")


def parse_request_id(text: str) -> str:
    """``text`` if it has the shape of an id, else ""."""
    if text.isalnum() and text.isascii() and len(text) <= MAX_CHARACTERS:
        return text  # most are, and need no pattern
    return text if _SHAPE.fullmatch(text) else ""
