"""Where a login comes from, as the operator's CDN says in headers of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from gateway.login.request import is_own

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

MAX_CHARACTERS: Final = 60
"""Of a place: kept for each session."""
_MAX_HEADER: Final = 300
"""Characters of a header that are read: CloudFront percent-encodes names of cities."""


def place_of(request: web.Request, names: Sequence[str], is_proxy: Callable[[str], bool]) -> str:
    """The values of these headers, in their order; "" from whoever is none of our proxies."""
    if not names or not is_own(request.remote or "127.0.0.1", is_proxy):
        return ""
    values = (_shown(request.headers.get(name, "")) for name in names)
    return ", ".join(value for value in values if value)[:MAX_CHARACTERS]


def _shown(header: str) -> str:
    text = unquote(header[:_MAX_HEADER]).strip()
    return text if text.isprintable() else ""
