"""What the headers of a WebDAV request name beside its path (RFC 4918 §10): where it writes to, and
how deep it reaches.

Rules:
- ``Destination`` is a path, or a URL of the request's host; anything else names no path here, and
  is refused where there are rules.
- Two lines are none: an application may take either.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.core.hosts import parse_host_header
from gateway.core.model import Destination
from gateway.core.paths import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESTINATION = re.compile(
    r"(?:https?://(?P<host>[^/?#@]+))?(?P<path>/[^?]*)?(?:\?.*)?", re.IGNORECASE
)
_NAMES_DESTINATION = frozenset({"COPY", "MOVE"})
"""Of these a ``Destination`` must be there (RFC 4918 §9.8, §9.9): an ingress that keeps it to
itself would hand it on unjudged.
"""
_SECOND = re.compile(r",(?:/|https?:)", re.IGNORECASE)
"""Envoy tells of two lines as of one, and the application receives two."""


def parse_destination(lines: Sequence[str], *, method: str, host: str) -> Destination | None:
    """None without the header. The scheme may differ from the request's: an application behind TLS
    is told either.
    """
    if not lines:
        return Destination(None) if method in _NAMES_DESTINATION else None
    url = _DESTINATION.fullmatch(lines[0]) if len(lines) == 1 else None
    if (
        url is None
        or (url["host"] is None and url["path"] is None)
        or (url["host"] is not None and parse_host_header(url["host"]) != host)
    ):
        return Destination(None)
    path = canonical(url["path"] or "/")
    return (
        Destination(None)
        if path is None
        else Destination(path.path, path.ambiguous or _SECOND.search(lines[0]) is not None)
    )


def parse_depth(lines: Sequence[str]) -> str:
    """Lower case; empty where it is not said once, which means infinity."""
    return lines[0].strip().lower() if len(lines) == 1 else ""
