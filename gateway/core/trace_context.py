"""``traceparent`` as the W3C writes it, version 00. Source: W3C Trace Context §3.2.

A version that is not known yet counts as absent: its trace would begin anew, which harms nobody.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_TRACEPARENT: Final = re.compile(
    r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII
)
CHARACTERS: Final = 55
_BYTES: Final = bytes.fromhex


class TraceParent(NamedTuple):
    """Which span of which trace."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    sampled: bool


def parse_traceparent(text: str) -> TraceParent | None:
    """None for what is none, or of another version."""
    if len(text) != CHARACTERS:
        return None
    match = _TRACEPARENT.fullmatch(text)
    return None if match is None else TraceParent(match[1], match[2], bool(int(match[3], 16) & 1))


def trace_id_of(text: str) -> str | None:
    """The first part of what ``parse_traceparent`` finds, of what an ingress of ours has said: read
    at each check, so that nothing else is looked at.
    """
    trace_id = text[3:35]
    try:
        # Blanks between two digits are passed over, and are missing then.
        return trace_id if len(_BYTES(trace_id)) == 16 else None
    except ValueError:
        return None


def format_traceparent(context: TraceParent) -> str:
    return f"00-{context.trace_id}-{context.span_id}-{'01' if context.sampled else '00'}"


__all__ = ["CHARACTERS", "TraceParent", "format_traceparent", "parse_traceparent", "trace_id_of"]
