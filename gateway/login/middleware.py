"""The edge of the public listener: every fault becomes a page with a reason and a request id, and
one log record.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.check.dialects.forwarded import sees_pages
from gateway.check.services import SERVICES
from gateway.core.reason import Reason
from gateway.errors import UnavailableError
from gateway.http.served import answered, served_request
from gateway.log import JsonEvent, Throttled, fields, of_request, write_event
from gateway.login.page_links import change_link, start_page
from gateway.login.request import (
    BrowserError,
    language_of,
    parse,
    parse_any,
    record_of,
    request_id_of,
)
from gateway.pages import standalone

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from gateway.core.model import Tenant
    from gateway.login.request import RequestRecord
    from gateway.tracing.spans import Span

_LOG = logging.getLogger(__name__)
_REQUEST = JsonEvent(
    "http_request",
    (
        *("request_id", "tenant", "host", "method", "path", "reason", "user", "provider"),
        *("duration_ms", "cause", "code", "setting", "status", "trace_id", "span_id"),
    ),
    varying=("request_id", "path", "user", "duration_ms", "cause", "trace_id", "span_id"),
)
RETRY_AFTER_S = 3
STORE: Final = "redis.url: Redis, and the event store_state"
FAULT: Final = "none: report unexpected_error with its trace"


_fault = Throttled(_LOG, logging.ERROR, "unexpected_error")


@web.middleware
async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
    trusted = request.app[SERVICES].trust.proxy(request.remote or "127.0.0.1")
    with of_request(request_id_of(request)), served_request(request, trusted=trusted) as span:
        return await _edge(request, handler, span)


async def _edge(request: web.Request, handler: Handler, span: Span) -> web.StreamResponse:
    start_time = perf_counter()
    reason, cause, error_code, setting = None, "", "", ""
    try:
        response = await handler(request)
        reason = record_of(request).reason
    except BrowserError as error:
        reason, cause = error.reason, error.cause
        error_code, setting = error.code, error.setting
        response = error_page(request, error)
    except UnavailableError as error:
        reason, cause, setting = Reason.STORE_UNAVAILABLE, str(error), STORE
        response = page(request, "unavailable", None, status=503, seconds=RETRY_AFTER_S)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = _nobodys(request) or page(
            request, "not_found", None, status=error.status, start=_start(request)
        )
        if error.status == 405:
            response.headers["Allow"] = error.headers.get("Allow", "GET")
    except Exception as error:  # noqa: BLE001 - the edge: whatever it was, the person gets a page and the log gets the trace
        cause, setting = f"a mistake in the gateway: {type(error).__name__}", FAULT
        _fault(error, listener="public", path=request.path[:256])
        response = page(request, "unavailable", None, status=500, seconds=RETRY_AFTER_S)
    if response.status == 503:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    record = record_of(request)
    _tell(span, record, response.status, reason, error_code)
    event_fields: dict[str, str | float | None] = {
        "request_id": record.request_id,
        "tenant": record.tenant,
        "host": request.headers.get("Host", "")[:256],
        "method": request.method,
        "path": request.path[:256],
        "reason": reason.value if reason is not None else None,
        "user": record.user,
        "provider": record.provider,
        "duration_ms": round((perf_counter() - start_time) * 1000, 3),
        "cause": cause or None,
        "code": error_code or (reason.value if cause and reason is not None else None),
        "setting": setting or None,
        "status": response.status,
        "trace_id": span.trace_id or None,
        "span_id": span.span_id or None,
    }
    if response.status >= 500:
        _LOG.warning("http_request", extra=fields(**event_fields))
    else:
        write_event(_LOG, _REQUEST, event_fields)
    return response


def _tell(span: Span, record: RequestRecord, status: int, reason: Reason | None, code: str) -> None:
    span.set("gateway.request_id", record.request_id)
    span.set("gateway.tenant", record.tenant)
    span.set("gateway.provider", record.provider)
    span.set("gateway.reason", reason.value if reason is not None else None)
    answered(span, status, code=code)


def page(
    request: web.Request, name: str, tenant: Tenant | None, *, status: int = 200, **values: object
) -> web.Response:
    """A page of ours with all its headers."""
    pages = request.app[SERVICES].pages
    language = language_of(request)
    html = pages.render(name, tenant, language, request_id=request_id_of(request), **values)
    response = web.Response(status=status, body=html.encode())
    for key, value in pages.headers(name, tenant, language):
        response.headers[key] = value
    return response


def _start(request: web.Request) -> str | None:
    """The start page that a page about a wrong address leads to; None at a host of nobody."""
    try:
        return start_page(parse(request))
    except (BrowserError, UnavailableError):
        return None


def _nobodys(request: web.Request) -> web.Response | None:
    """What is said at a host that nobody serves, whatever the path; None at any other."""
    try:
        parse_any(request)
    except BrowserError as error:
        return error_page(request, error)
    return None


def error_page(request: web.Request, error: BrowserError) -> web.Response:
    if error.reason is Reason.UNKNOWN_HOST and not sees_pages(request.headers, request.method):
        return web.json_response(
            text=standalone.problem(error.status),
            status=error.status,
            content_type="application/problem+json",
            headers={"Cache-Control": "no-store"},
        )
    try:
        change = change_link(parse_any(request), error.retry)
    except (BrowserError, UnavailableError):
        change = None
    return page(
        request,
        "error",
        error.tenant,
        status=error.status,
        reason=error.reason,
        code=error.code,
        retry=error.retry,
        others=error.others,
        change=change,
        start=_start(request),
    )


def redirect(location: str, *, status: int = 303) -> web.Response:
    """303: the browser follows with GET, whatever it sent. Never stored, and never tells the next
    site where it came from.
    """
    response = web.Response(status=status)
    response.headers["Location"] = location
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def forget_pages(response: web.Response) -> None:
    """The application's pages of whoever was signed in here leave the browser's caches, so that
    Back shows none of them.

    Of this origin alone ("cookies" would reach the whole site), at addresses that no other site can
    make a browser ask for: clearing takes time. Source: Clear Site Data, W3C, §3.1; Chromium clears
    its back/forward cache with it.
    """
    response.headers["Clear-Site-Data"] = '"cache"'


def forget_site(response: web.Response) -> None:
    """As above, and all cookies of the registrable domain, whatever their host and path: those of
    this answer too (measured with Chromium), so it sets none that matter.
    """
    response.headers["Clear-Site-Data"] = '"cache", "cookies"'


def set_cookie(response: web.Response, name: str, value: str, *, max_age_s: int) -> None:
    """``__Host-``: Secure, HttpOnly, SameSite=Lax, Path=/, no Domain (RFC 6265bis §4.1.3)."""
    response.set_cookie(
        name, value, max_age=max_age_s, path="/", secure=True, httponly=True, samesite="Lax"
    )


def drop_cookie(response: web.Response, name: str) -> None:
    response.set_cookie(name, "", max_age=0, path="/", secure=True, httponly=True, samesite="Lax")
