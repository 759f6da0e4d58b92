"""The span of a request that one of our listeners answers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.tracing.spans import served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.tracing.spans import Span


@contextlib.contextmanager
def served_request(request: web.Request, *, trusted: bool = False) -> Iterator[Span]:
    """Named by the pattern of its route: an address may hold what is secret, or anything at all.
    ``trusted``: the peer is an ingress of ours. An answer that is raised is one like any other.
    """
    resource = request.match_info.route.resource
    route = "" if resource is None else resource.canonical
    with served(request.method, route, request.headers, trusted=trusted) as span:
        try:
            yield span
        except web.HTTPException as answer:
            answered(span, answer.status)
            http_error = answer
        else:
            return
    raise http_error


def answered(span: Span, status: int, *, code: str = "") -> None:
    """``code``: of what went wrong, one of a few words."""
    span.set("http.response.status_code", status)
    if status >= 500:
        span.failed(code or str(status))


__all__ = ["answered", "served_request"]
