"""What a check request says beside its URI and its ID, remembered for the next of the same client.

Rules:
- What remembered facts are read from is what they are remembered by, and nothing else: the reader
  sees no other lines. So nothing ends what is remembered: it is no answer, only the reading of
  these bytes.
- Lines that nobody reads (``NOT_READ``) are no part of it; they differ with nearly every request.
- Only what comes a second time is remembered; nothing that is malformed, or large, or holds a
  password that may be a person's own.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from multidict import CIMultiDict

from gateway.core.seen_once import SeenOnce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.check.dialects.raw_request import Headers, RawRequest
    from gateway.core.authorization import Basic
    from gateway.core.model import Destination, RequestKind

MAX_REMEMBERED: Final = 4_096
"""Requests of which the facts are remembered, in each worker and for each of two ways to ask."""
MAX_REMEMBERED_BYTES: Final = 4_096
"""Of the lines of one that is remembered: browsers send one or two thousand. At most some 25 MB in
all, of which a browser's takes 3 kB.
"""
NOT_READ: Final = frozenset(
    spelling.encode("ascii")
    for name in (
        # The URI and the ID are looked up at each request; the key is the trust's to compare.
        "X-Forwarded-Uri",
        "X-Request-Id",
        "X-Gateway-Key",
        # What browsers, clients and proxies say besides, of which most differs with every request.
        "Accept-Encoding",
        "Accept-Language",
        "Cache-Control",
        "Content-Length",
        "Content-Type",
        "If-Match",
        "If-Modified-Since",
        "If-None-Match",
        "If-Range",
        "If-Unmodified-Since",
        "Pragma",
        "Priority",
        "Range",
        "Referer",
        "Sec-CH-UA",
        "Sec-CH-UA-Mobile",
        "Sec-CH-UA-Platform",
        "Sec-Fetch-User",
        "Sec-WebSocket-Key",
        "Traceparent",
        "Tracestate",
        "Upgrade-Insecure-Requests",
        "User-Agent",
        "X-Amzn-Trace-Id",
        "X-Correlation-Id",
    )
    for spelling in (name, name.lower())
)
"""Names of lines that facts are not read from, as they are usually written: in another spelling a
name only makes one more thing to remember.
"""


class Facts(NamedTuple):
    """The fields of ``AuthRequest`` behind ``request_id``, in their order."""

    scheme: str
    host: str
    method: str
    kind: RequestKind
    html: bool
    cookies: tuple[str, ...]
    other_cookies: str
    bearer: str | None
    preflight: bool
    client: str
    destination: Destination | None
    depth: str
    websocket: bool
    app_password: str | None
    authorization: str
    prompts: bool
    basic: Basic | None


class RememberedFacts:
    """Facts of requests that came lately: a browser says the same of each of its requests, but for
    the URI and what nobody here reads. The oldest go first.
    """

    def __init__(
        self, read: Callable[[Headers, str, str], Facts], *, max_entries: int = MAX_REMEMBERED
    ) -> None:
        """``read``: from the headers, the method of the check request and the name of the session
        cookie. Raises ``MalformedError``.
        """
        self._read = read
        self._known: OrderedDict[object, Facts] = OrderedDict()
        self._seen = SeenOnce(max_entries)
        self._max_entries = max_entries

    def facts(self, request: RawRequest, cookie_name: str) -> Facts:
        """Raises ``MalformedError``."""
        head = request.known
        if head is None:
            return self._facts(request, cookie_name)
        entry = head.facts
        if entry is None or entry[0] is not self or entry[1] != cookie_name:
            facts = self._read(_decoded(_that_are_read(request)), request.method, cookie_name)
            entry = head.facts = self, cookie_name, facts
        return entry[2]

    def _facts(self, request: RawRequest, cookie_name: str) -> Facts:
        if not request.lines:
            return self._read(request.headers, request.method, cookie_name)
        lines = _that_are_read(request)
        key = lines, request.method, cookie_name
        facts = self._known.get(key)
        if facts is not None:
            return facts
        if self._seen.is_new(hash(key)):
            return self._read(request.headers, request.method, cookie_name)
        facts = self._read(_decoded(lines), request.method, cookie_name)
        if facts.basic is not None:
            return facts
        if sum([len(name) + len(value) for name, value in lines]) <= MAX_REMEMBERED_BYTES:
            self._known[key] = facts
            if len(self._known) > self._max_entries:
                self._known.popitem(last=False)
        return facts


def _that_are_read(request: RawRequest) -> tuple[tuple[bytes, bytes], ...]:
    return tuple([line for line in request.lines if line[0] not in NOT_READ])


def _decoded(lines: Iterable[tuple[bytes, bytes]]) -> Headers:
    """As the HTTP parser does it."""
    return CIMultiDict(
        [
            (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
            for name, value in lines
        ]
    )


__all__ = ["MAX_REMEMBERED", "MAX_REMEMBERED_BYTES", "NOT_READ", "Facts", "RememberedFacts"]
