"""Heads that the parser read before, for the next one that differs by its URI, ID and trace alone:
a proxy and a browser say the same in each request, but for these.

Rules:
- What a head is known by is all of its bytes, but for its URI and for the values of one
  ``X-Request-Id`` line and one ``traceparent`` line, in any order. The URI is the value of one
  ``X-Forwarded-Uri`` line; in a head without one, what follows Envoy's address in the request line.
  Those hold visible ASCII alone, an ID the letters of IDs and a trace those of traces, which the
  parser takes in these places whatever they are.
- So what the parser makes of the bytes is known too, where it stands between two requests. That is
  the caller's to know.
- Only that is noted which somebody's session, password or token let in, and when it comes for the
  second time: whoever is refused, or asks for what is public, pushes nobody out. Nothing is noted
  of a connection's last request, of a head with a body, or one that holds a password that may be a
  person's own.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias

from gateway.check.dialects.envoy import PREFIX as ENVOY
from gateway.check.dialects.names import AUTHORIZATION, TRACEPARENT, X_FORWARDED_URI, X_REQUEST_ID
from gateway.check.dialects.raw_request import KnownHead, KnownRequest
from gateway.check.http_parser import RequestParser, is_http_1_1
from gateway.core import authorization
from gateway.core.paths import is_plain
from gateway.core.request_id import parse_request_id
from gateway.core.seen_once import SeenOnce
from gateway.core.trace_context import CHARACTERS, parse_traceparent

if TYPE_CHECKING:
    import asyncio

    from gateway.check.dialects.raw_request import Headers, Lines
    from gateway.check.http_parser import Head

MAX_KNOWN: Final = 4_096
"""In each worker."""
MAX_KNOWN_BYTES: Final = 4_096
"""Of a head. With its facts and its answer, of 4 kB each at most, 55 MB in all; a browser's takes
4 kB.
"""
MAX_FOUND_BYTES: Final = 2 * MAX_KNOWN_BYTES
"""Of a head that is looked for: its URI may be longer than that of the one that was noted. A longer
head is the parser's, whose limits are far beyond this one, so it refuses none that is found here.
"""
_URI_LINES: Final = (b"\r\nX-Forwarded-Uri: ", b"\r\nx-forwarded-uri: ")
_ID_LINES: Final = frozenset((b"\r\nX-Request-Id: ", b"\r\nX-Request-ID: ", b"\r\nx-request-id: "))
"""How proxies write the two lines. A head that has one of them otherwise is never noted."""
_URI_LINE_BYTES: Final = len(_URI_LINES[0])
_ID: Final = b"equest-I"
"""Of each spelling but one, of which ``_ID_LOWER`` is; both stand 5 bytes behind its beginning."""
_ID_LOWER: Final = b"equest-i"
_ID_AT: Final = 5
_ID_LINE_BYTES: Final = 16
_BELOW: Final = b" " + ENVOY.encode("ascii")
_LONGEST_METHOD: Final = 49
_TRACE: Final = b"raceparent: "
_TRACE_STARTS: Final = (b"\r\nt", b"\r\nT")
_SOME_TRACE: Final = b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00"
"""Stands for each trace; as a trace it is none, but a client may write it all the same."""

_Key = tuple[bytes, ...]
"""No part of a head is empty; an empty one at the end says that a trace was left out."""
_Parts: TypeAlias = tuple[_Key, str, str, bool]
"""What a head is known by, its URI, its ID ("" without one), and whether the URI is in the request
line.
"""


class KnownHeads:
    """Of one event loop. The oldest go first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, max_entries: int = MAX_KNOWN) -> None:
        self._loop = loop
        self._known: OrderedDict[_Key, KnownHead] = OrderedDict()
        self._seen = SeenOnce(max_entries)
        self._max_entries = max_entries
        self._uri_at = 0
        """Where the URI's line was last: in most heads of a proxy it is there again."""

    def find(self, data: bytes, peer: str) -> KnownRequest | None:
        """The request that these bytes are, all of them, if it is known."""
        if len(data) > MAX_FOUND_BYTES:
            return None
        trace, without = _traced(data)
        parts = self._parted(without)
        if parts is None:
            return None
        key, uri, number, _ = parts
        head = self._known.get((*key, b"") if trace else key)
        if head is None or not is_plain(uri):
            return None
        if number and not parse_request_id(number):
            return None
        return KnownRequest(head, uri, number, trace, peer, data, self._read)

    def note(self, data: bytes, head: Head) -> None:
        """``data`` was one whole request without a body, read as ``head``, and somebody was let in
        by it.
        """
        if len(data) > MAX_KNOWN_BYTES or not is_http_1_1(head):
            return
        trace, without = _traced(data)
        parts = self._parted(without)
        if parts is None:
            return
        key, uri, number, is_below = parts
        headers = head.headers
        path = ENVOY if is_below else head.path
        numbers = [number] if len(key) == 3 else []
        if trace:
            key = *key, b""
        if (
            head.should_close
            or headers.getall(X_FORWARDED_URI, []) != ([] if is_below else [uri])
            or (is_below and head.path != path + uri)
            or headers.getall(X_REQUEST_ID, []) != numbers
            or headers.getall(TRACEPARENT, []) != ([trace] if trace else [])
            or authorization.read(headers.getall(AUTHORIZATION, ())).basic is not None
            or self._seen.is_new(hash(key))
        ):
            return
        self._known[key] = KnownHead(head.method, path, is_below=is_below)
        if len(self._known) > self._max_entries:
            _, oldest = self._known.popitem(last=False)
            oldest.facts = oldest.allowed = None  # a request that is remembered refers to it

    def _parted(self, data: bytes) -> _Parts | None:
        """None for a head that has no URI."""
        at = self._uri_at
        if not data.startswith(_URI_LINES, at):
            at = max(data.find(line) for line in _URI_LINES)
            if at < 0:
                return _below(data)
            self._uri_at = at
        at += _URI_LINE_BYTES
        return _cut(data, at, data.find(b"\r\n", at), is_below=False)

    def _read(self, data: bytes) -> tuple[Headers, Lines]:
        """A whole head that the parser would take."""
        ((head, _),) = RequestParser(self._loop).feed(data)
        return head.headers, head.raw_headers


def _below(data: bytes) -> _Parts | None:
    """Of a head whose URI is in the request line."""
    at = data.find(_BELOW, 0, _LONGEST_METHOD + len(_BELOW))
    if at < 0:
        return None
    at += len(_BELOW)
    end = data.find(b" ", at)
    # To the parser, "#" begins what is no part of a path.
    if data[at : at + 1] != b"/" or b"#" in data[at:end]:
        return None
    return _cut(data, at, end, is_below=True)


def _cut(data: bytes, uri_at: int, uri_end: int, *, is_below: bool) -> _Parts:
    """Without the URI, and without an ID behind or before it."""
    uri = data[uri_at:uri_end].decode("latin-1")
    at = _id_in(data, uri_end, len(data))
    if at >= 0:
        end = data.find(b"\r\n", at)
        key: _Key = (data[:uri_at], data[uri_end:at], data[end:])
        return key, uri, data[at:end].decode("latin-1"), is_below
    at = _id_in(data, 0, uri_at)
    if at >= 0:
        end = data.find(b"\r\n", at)
        key = (data[:at], data[end:uri_at], data[uri_end:])
        return key, uri, data[at:end].decode("latin-1"), is_below
    return (data[:uri_at], data[uri_end:]), uri, "", is_below


def _id_in(data: bytes, start: int, end: int) -> int:
    """Where the value of an ID's line begins; less than 0 without one."""
    at = data.find(_ID, start, end)
    if at < 0:
        at = data.find(_ID_LOWER, start, end)
    at -= _ID_AT
    return at + _ID_LINE_BYTES if data[at : at + _ID_LINE_BYTES] in _ID_LINES else -1


def _traced(data: bytes) -> tuple[str, bytes]:
    """The trace that a head names, "" without one, and the head with ``_SOME_TRACE`` for it."""
    at = data.find(_TRACE)
    if at < 0 or data[at - 3 : at] not in _TRACE_STARTS:
        return "", data
    at += len(_TRACE)
    end = at + CHARACTERS
    trace = data[at:end].decode("latin-1")
    if data[end : end + 2] != b"\r\n" or parse_traceparent(trace) is None:
        return "", data
    return trace, data[:at] + _SOME_TRACE + data[end:]


__all__ = ["MAX_FOUND_BYTES", "MAX_KNOWN", "MAX_KNOWN_BYTES", "KnownHeads"]
