"""What an event or a message says, without who it is about: for an operator who looks for a mistake
in a delivery. Pure.

Only what is listed here by its place is shown; a field that is new is hidden until it is listed.
"""

from __future__ import annotations

from typing import Any, Final

_OF_EVENT: Final = ("source", "type", "effect", "id", "group")
_OF_MESSAGE: Final = ("specversion", "id", "source", "type", "time", "timestamp", "datacontenttype")
_OF_DATA: Final = (
    *("tenant", "provider", "cause", "source", "source_event"),
    *("group", "revocation", "domain", "connection"),
)
SHOWN: Final = frozenset({*_OF_EVENT, *_OF_MESSAGE, *(f"data.{name}" for name in _OF_DATA)})
"""Texts, by their place; what is below one of them too. Numbers name nobody."""
MOST: Final = 10
"""Of a list; the rest is counted."""
_LONG: Final = 12
_TAIL: Final = 4


def redacted(value: Any, place: str = "") -> Any:
    """JSON as it was said, each hidden text as what is left of it."""
    if isinstance(value, dict):
        return {k: redacted(v, f"{place}.{k}" if place else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        shown = [redacted(one, place) for one in value[:MOST]]
        return [*shown, f"+{len(value) - MOST}"] if len(value) > MOST else shown
    return hidden(value) if isinstance(value, str) and not _is_shown(place) else value


def hidden(text: str) -> str:
    """The domain of an address, the last four characters of a long id: enough to compare with what
    one has.
    """
    if not text:
        return ""
    local, at, domain = text.rpartition("@")
    if local and at:
        return f"…@{domain}"
    return f"…{text[-_TAIL:]}" if len(text) >= _LONG else "…"


def _is_shown(place: str) -> bool:
    parts = place.split(".")
    return any(".".join(parts[:n]) in SHOWN for n in range(1, len(parts) + 1))
