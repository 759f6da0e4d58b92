"""``custom:groups`` and ``custom:roles`` as Cognito flattens them, back to names.

Rules (first that fits):
1. A list gives its strings.
2. Blank gives none.
3. ``[`` at the start and no ``]`` at the end was cut off on the way: a truncated list is no list.
4. A JSON list of strings gives its strings.
5. ``[a, R%26D]`` is split on commas; each value form-URL-decoded where the provider says so.
6. Anything else is one group, verbatim: never split on a comma or a space.
"""

from __future__ import annotations

import json
from urllib.parse import unquote_plus


def parse_groups(value: object, *, form_decode: bool) -> tuple[str, ...] | None:
    """Names in order, each once; None where the value cannot be trusted (truncated, or not text)."""
    if value is None:
        return ()
    if isinstance(value, list):
        return _unique(value) if all(isinstance(v, str) for v in value) else None
    if not isinstance(value, str):
        return None
    text = value.strip()
    if not text:
        return ()
    if not text.startswith("["):
        return (text,)
    if not text.endswith("]"):
        return None
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        listed = None
    if isinstance(listed, list) and all(isinstance(v, str) for v in listed):
        return _unique(listed)
    names = [part.strip() for part in text[1:-1].split(",")]
    if form_decode:
        names = [unquote_plus(name) for name in names]
    return _unique(names)


def _unique(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
