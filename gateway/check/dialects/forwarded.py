"""The request as the ingress describes it, parsed once for all dialects.

Rules:
- Exact header names with dashes only; an alias (``X_Forwarded_Host``) is another header and means
  nothing.
- What decides (method, scheme, host, path) must be there exactly once and in one spelling; anything
  else is malformed.
- What only steers the form of the answer (fetch metadata, Accept) falls back to "not a navigation":
  a 401, never a redirect.
- What only goes to the log is dropped when it is odd.
- ``detail`` of ``Malformed`` shows at most 60 characters of what a client sent, escaped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.check.dialects.facts import Facts, RememberedFacts
from gateway.check.dialects.names import (
    ACCEPT,
    ACCESS_CONTROL_REQUEST_METHOD,
    AUTHORIZATION,
    COOKIE,
    DEPTH,
    DESTINATION,
    HOST,
    ORIGIN,
    SEC_FETCH_DEST,
    SEC_FETCH_MODE,
    SEC_FETCH_SITE,
    SEC_PURPOSE,
    SEC_WEBSOCKET_VERSION,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_METHOD,
    X_FORWARDED_PROTO,
    X_FORWARDED_URI,
    X_ORIGINAL_METHOD,
    X_ORIGINAL_URL,
    X_REQUEST_ID,
    X_REQUESTED_WITH,
)
from gateway.core import authorization
from gateway.core.cookies import parted
from gateway.core.hosts import parse_host_header
from gateway.core.model import AuthRequest, RequestKind
from gateway.core.paths import canonical, is_plain
from gateway.core.reason import Reason
from gateway.core.request_id import parse_request_id
from gateway.core.webdav import parse_depth, parse_destination

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.check.dialects.raw_request import Headers, RawRequest


@dataclass(frozen=True, slots=True)
class Malformed:
    """The ingress asked something that no honest configuration asks, or a client's target cannot be
    read. ``detail`` is for the log.

    ``html``: whether whoever asked would see a page.
    """

    reason: Reason
    detail: str
    html: bool = False


class MalformedError(ValueError):
    """Leaves the parser as a ``Malformed`` value, never as an exception."""


MAX_COOKIE_CHARS = 32 * 1024
"""Of all Cookie lines, and with them of the Authorization that an application receives. Proxies
take both from the answer, beside 12 kB of identity: nginx has 64 kB for its head, Envoy refuses at
60. Browsers send 4 kB a cookie, and most servers take 8 to 16 kB in all.
"""
_METHOD = re.compile(r"[A-Z]{1,24}(?:-[A-Z]{1,24})?")
"""Registered methods are upper-case words, some with one dash (RFC 9110 §16.1.1); ``get`` is not
GET (§9.1).
"""
_USUAL_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
"""Traefik says ``ws`` for a WebSocket handshake when it is told to trust forwarded headers."""
_REFUSED = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_NOT_ASCII = re.compile(r"[^\x21-\x7e]")
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]{2,45}")
_OPENS_SOCKET = frozenset({"GET", "CONNECT"})
_FRAMES = frozenset({"iframe", "frame", "embed", "object", "fencedframe"})


def parse_forwarded(request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
    """For proxies that tell method, scheme, host and URI in ``X-Forwarded-*``."""
    try:
        facts = _FORWARDED.facts(request, cookie_name)
        uri = request.uri if request.uri is not None else _once(request.headers, X_FORWARDED_URI)
        return _build(request, facts, uri)
    except MalformedError as error:
        headers = request.headers
        method = next(iter(headers.getall(X_FORWARDED_METHOD, ())), "")
        return Malformed(Reason.BAD_REQUEST, str(error), sees_pages(headers, method))


def parse_either(request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
    """For proxies that tell method, scheme, host and URI in ``X-Forwarded-*``, or in
    ``X-Original-URL`` and ``X-Original-Method``. Where both are there, a client wrote one of them:
    they must say the same.
    """
    try:
        method, scheme, host, uri = _agreed(request.headers)
        facts = _facts(
            request.headers, method=method, scheme=scheme, host=host, cookie_name=cookie_name
        )
        return _build(request, facts, uri)
    except MalformedError as error:
        return Malformed(Reason.BAD_REQUEST, str(error), sees_pages(request.headers, "GET"))


def _agreed(headers: Headers) -> tuple[str, str, str, str]:
    """Method, scheme, host and URI. Raises ``MalformedError``."""
    descriptions = [
        reader(headers)
        for reader, names in (
            (_forwarded, (X_FORWARDED_URI, X_FORWARDED_METHOD)),
            (_original, (X_ORIGINAL_URL, X_ORIGINAL_METHOD)),
        )
        if any(headers.getall(name, ()) for name in names)
    ]
    if not descriptions:
        raise MalformedError("neither X-Forwarded-Uri nor X-Original-URL")
    if any(one != descriptions[0] for one in descriptions):
        raise MalformedError("X-Forwarded-* and X-Original-* tell two requests")
    return descriptions[0]


def _forwarded(headers: Headers) -> tuple[str, str, str, str]:
    return (
        _once(headers, X_FORWARDED_METHOD),
        _once(headers, X_FORWARDED_PROTO),
        _once(headers, X_FORWARDED_HOST),
        _once(headers, X_FORWARDED_URI),
    )


def _original(headers: Headers) -> tuple[str, str, str, str]:
    method = _once(headers, X_ORIGINAL_METHOD)
    scheme, separator, rest = _once(headers, X_ORIGINAL_URL).partition("://")
    host, slash, uri = rest.partition("/")
    if not separator or not slash:
        raise MalformedError("X-Original-URL: an absolute address with a path")
    return method, scheme, host, f"/{uri}"


def parse_below(prefix: str, request: RawRequest, *, cookie_name: str) -> AuthRequest | Malformed:
    """For proxies that send the client's own request line with ``prefix`` put before the path."""
    path = request.raw_path
    try:
        facts = _BELOW.facts(request, cookie_name)
        return _build(request, facts, path.removeprefix(prefix) if path.startswith(prefix) else "")
    except MalformedError as error:
        html = sees_pages(request.headers, request.method)
        return Malformed(Reason.BAD_REQUEST, str(error), html)


def _once(headers: Headers, name: str) -> str:
    """The value of a header that must be there exactly once. Raises ``MalformedError``."""
    values = headers.getall(name, ())
    if len(values) != 1:
        raise MalformedError(f"{name}: {len(values)} lines instead of one")
    return values[0]


def _build(request: RawRequest, facts: Facts, uri: str) -> AuthRequest:
    """``uri``: path and query as the wire had them. Raises ``MalformedError``."""
    path, ambiguous, original_uri = (
        _read_uri_once(uri) if len(uri) <= _MAX_REMEMBERED_URI else _read_uri(uri)
    )
    number = request.request_id
    if number is None:
        numbers = request.headers.getall(X_REQUEST_ID, ())
        number = parse_request_id(",".join(numbers)) if numbers else ""
    return AuthRequest(path, ambiguous, original_uri, number, *facts)


def _read_uri(uri: str) -> tuple[str, bool, str]:
    """Its canonical path, whether that is ambiguous, and the whole in visible ASCII. Raises
    ``MalformedError``.
    """
    plain = is_plain(uri)
    if not uri.startswith("/") or (not plain and _REFUSED.search(uri)):
        raise MalformedError(f"URI {_shown(uri)}")
    path = canonical(uri.partition("?")[0])
    if path is None:
        raise MalformedError(f"path {_shown(uri)}")
    return path.path, path.ambiguous, uri if plain else _NOT_ASCII.sub(_percent_encoded, uri)


_MAX_REMEMBERED_URI = 256
"""Characters of a URI that is remembered: pages ask for the same files and poll the same paths."""
_read_uri_once = lru_cache(maxsize=4096)(_read_uri)


def _facts(headers: Headers, *, method: str, scheme: str, host: str, cookie_name: str) -> Facts:
    """All that is said beside the URI and the request's ID, canonical; ``method``, ``scheme`` and
    ``host`` as the wire had them. Raises ``MalformedError``.
    """
    if method not in _USUAL_METHODS and not _METHOD.fullmatch(method):
        raise MalformedError(f"method {_shown(method)}")
    known_scheme, canonical_host = _SCHEMES.get(scheme), parse_host_header(host)
    if known_scheme is None:
        raise MalformedError(f"scheme {_shown(scheme)}")
    if canonical_host is None:
        raise MalformedError(f"host {_shown(host)}")
    get = headers.getall
    accept = get(ACCEPT, ())
    kind = request_kind(headers, method)
    cookie_lines = get(COOKIE, ())
    cookie_chars = sum(map(len, cookie_lines))
    if cookie_chars > MAX_COOKIE_CHARS:
        raise MalformedError(f"Cookie of more than {MAX_COOKIE_CHARS} bytes")
    cookies, other_cookies = parted(cookie_lines, cookie_name)
    credentials = authorization.read(get(AUTHORIZATION, ()))
    clients = get(X_FORWARDED_FOR, ())
    return Facts(
        scheme=known_scheme,
        host=canonical_host,
        method=method,
        kind=kind,
        html=kind is not RequestKind.OTHER or names_html(accept),
        cookies=cookies,
        other_cookies=other_cookies,
        bearer=credentials.bearer,
        preflight=method == "OPTIONS"
        and len(get(ORIGIN, ())) == 1
        and len(get(ACCESS_CONTROL_REQUEST_METHOD, ())) == 1,
        client=_address(",".join(clients).rpartition(",")[2].strip()) if clients else "",
        destination=parse_destination(get(DESTINATION, ()), method=method, host=canonical_host),
        depth=parse_depth(get(DEPTH, ())),
        websocket=method in _OPENS_SOCKET and len(get(SEC_WEBSOCKET_VERSION, ())) == 1,
        app_password=credentials.app_password,
        authorization=credentials.passed
        if cookie_chars + len(credentials.passed) <= MAX_COOKIE_CHARS
        else "",
        prompts=prompts(headers),
        basic=credentials.basic,
    )


def _read_forwarded(headers: Headers, _: str, cookie_name: str) -> Facts:
    return _facts(
        headers,
        method=_once(headers, X_FORWARDED_METHOD),
        scheme=_once(headers, X_FORWARDED_PROTO),
        host=_once(headers, X_FORWARDED_HOST),
        cookie_name=cookie_name,
    )


def _read_below(headers: Headers, method: str, cookie_name: str) -> Facts:
    return _facts(
        headers,
        method=method,
        scheme=_once(headers, X_FORWARDED_PROTO),
        host=_once(headers, HOST),
        cookie_name=cookie_name,
    )


_FORWARDED: Final = RememberedFacts(_read_forwarded)
_BELOW: Final = RememberedFacts(_read_below)


def request_kind(headers: Headers, method: str) -> RequestKind:
    """Whether a person would see where a redirect leads. Fetch metadata decides where there is any;
    Accept is the fallback.
    """
    kind = {
        "GET": RequestKind.NAVIGATION,
        "HEAD": RequestKind.NAVIGATION,
        "POST": RequestKind.FORM,
    }.get(method)
    if kind is None:
        return RequestKind.OTHER
    mode, destination = headers.getall(SEC_FETCH_MODE, ()), headers.getall(SEC_FETCH_DEST, ())
    purposes = headers.getall(SEC_PURPOSE, ())
    if purposes and any("prefetch" in purpose.lower() for purpose in purposes):
        return RequestKind.OTHER
    if not mode and not destination:
        # Android's WebView names its application there, which has a dot; scripts say XMLHttpRequest
        # and the like.
        script = any("." not in value for value in headers.getall(X_REQUESTED_WITH, ()))
        return kind if not script and names_html(headers.getall(ACCEPT, ())) else RequestKind.OTHER
    if list(mode) != ["navigate"] or len(destination) > 1:
        return RequestKind.OTHER
    if not destination or destination[0] == "document":
        return kind
    if destination[0] == "empty":
        # Chromium, of what a service worker passes through and of <a download>. No script can ask
        # in this mode (Fetch, "Request" constructor).
        return kind if names_html(headers.getall(ACCEPT, ())) else RequestKind.OTHER
    return RequestKind.FRAME if destination[0] in _FRAMES else RequestKind.OTHER


def sees_pages(headers: Headers, method: str) -> bool:
    """Whether whoever asks would see a page: a person, or a script that names HTML."""
    return request_kind(headers, method) is not RequestKind.OTHER or names_html(
        headers.getall(ACCEPT, ())
    )


def prompts(headers: Headers) -> bool:
    """Whether a browser might ask for a page: in its own prompt people would type their real
    password. Programs send no fetch metadata and ask for no HTML; mail clients made of a browser
    say that no site began their requests, which no page can.
    """
    site, mode = headers.getall(SEC_FETCH_SITE, ()), headers.getall(SEC_FETCH_MODE, ())
    if site or mode or headers.getall(SEC_FETCH_DEST, ()):
        return list(site) != ["none"] or "navigate" in mode
    return any(headers.getall(name, ()) for name in (ORIGIN, X_REQUESTED_WITH)) or names_html(
        headers.getall(ACCEPT, ())
    )


def names_html(accept_lines: Sequence[str]) -> bool:
    """``text/html`` by name; ``*/*`` is what scripts and command-line clients send."""
    return any(
        _names_html_once(line) if len(line) <= _MAX_ACCEPT else _names_html(line)
        for line in accept_lines
    )


def _names_html(line: str) -> bool:
    return any(
        media.partition(";")[0].strip().lower() == "text/html"
        and "q=0" not in media.replace(" ", "").split(";")[1:]
        for media in line.split(",")
    )


_MAX_ACCEPT = 256
"""Characters of an Accept line that is remembered: browsers send some fifty different ones."""
_names_html_once = lru_cache(maxsize=512)(_names_html)


def _address(text: str) -> str:
    """For the log; "" for what is none."""
    return text if _ADDRESS.fullmatch(text) else ""


def _shown(value: str) -> str:
    return ascii(value[:60])


def _percent_encoded(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())
