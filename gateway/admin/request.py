"""What the admin API reads of a request, over whichever way it came: HTTP, or a page of the console
in the same process.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from multidict import CIMultiDict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiohttp import web
    from multidict import MultiMapping

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """``path``: its parameters; ``target``: path and query as one text."""

    path: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    headers: MultiMapping[str]
    content_type: str
    has_body: bool
    read_body: Callable[[int], Awaitable[bytes]]
    """At most so many bytes; raises ``Problem``."""
    target: str
    over_http: web.Request | None = None
    """None within the process: no stream can be answered there."""


def within_process(
    operation: str,
    *,
    path: Mapping[str, str],
    query: Mapping[str, str],
    body: object | None,
    if_match: str | None,
) -> ApiRequest:
    """``body``: JSON, checked as if it had been sent. ``if_match``: an entity tag, unquoted."""
    raw = b"" if body is None else json.dumps(body).encode()

    async def read(_limit: int) -> bytes:
        return raw

    headers: CIMultiDict[str] = CIMultiDict()
    if if_match is not None:
        headers["If-Match"] = f'"{if_match}"'
    return ApiRequest(
        path=dict(path),
        query=list(query.items()),
        headers=headers,
        content_type=JSON if body is not None else "",
        has_body=body is not None,
        read_body=read,
        target=f"{operation}/{'/'.join(path.values())}?{urlencode(query)}",
    )
