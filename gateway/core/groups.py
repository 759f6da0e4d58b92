"""``custom:groups`` and ``custom:roles`` as Cognito flattens them, back to names.

Rules (first that fits):
1. A list gives its strings.
2. An object whose values are objects gives its names, those with an empty one left out: Zitadel's
   roles, ``{"role": {"orgid": "domain"}}``. As text it is the same in JSON.
3. Blank gives none.
4. ``[`` at the start and no ``]`` at the end was cut off on the way: a truncated list is no list.
   Unless there is a ``]`` before the end, which no name in a list holds unencoded: ``[Team] Sales``
   is one group. ``[Team]`` cannot be told from a list of one, and is taken for it.
5. A JSON list of strings gives its strings.
6. ``[a, R%26D]`` is split on commas; each value form-URL-decoded where the provider says so.
7. Anything else is one group, verbatim: never split on a comma or a space.
"""

from __future__ import annotations

import json
from urllib.parse import unquote_plus


def parse_groups(value: object, *, url_decode_groups: bool) -> tuple[str, ...] | None:
    """Names in order, each once; None where the value cannot be trusted (truncated, or not
    text).
    """
    if value is None:
        return ()
    if isinstance(value, list):
        return _unique(value) if all(isinstance(v, str) for v in value) else None
    if isinstance(value, dict):
        return _keys(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if not text:
        return ()
    if text.startswith("{"):
        document = _json(text)
        return _keys(document) if isinstance(document, dict) else (text,)
    if not text.startswith("["):
        return (text,)
    if not text.endswith("]"):
        return (text,) if "]" in text and not text.startswith('["') else None
    values = _json(text)
    if isinstance(values, list) and all(isinstance(v, str) for v in values):
        return _unique(values)
    names = [part.strip() for part in text[1:-1].split(",")]
    if url_decode_groups:
        names = [unquote_plus(name) for name in names]
    return _unique(names)


def _json(text: str) -> object:
    """None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _keys(value: dict[object, object]) -> tuple[str, ...] | None:
    if not all(
        isinstance(name, str) and isinstance(details, dict) for name, details in value.items()
    ):
        return None
    return _unique([str(name) for name, details in value.items() if details])


def _unique(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))
