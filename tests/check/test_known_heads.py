"""Heads that are read once. That the parser would have taken each, and made the same of it, is in
``test_oracle.py``; that every dialect reads the same in it, in ``tests/ingress/checks.py``.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import pytest
from multidict import CIMultiDict

from gateway.check.dialects.raw_request import KnownRequest, RawRequest
from gateway.check.http_parser import (
    MAX_HEAD_LINE_BYTES,
    MAX_PIPELINED,
    NotHttpError,
    RequestParser,
)
from gateway.check.known_heads import _SOME_TRACE, MAX_FOUND_BYTES, MAX_KNOWN_BYTES, KnownHeads
from gateway.check.response import CheckResponse
from gateway.check.server import CheckConnection, CheckServer
from gateway.check.trusted_peer import Trust
from gateway.config.model import Ingress
from gateway.core.model import Secret
from tests.check.oracle import Unbounded, Wire
from tests.ingress.checks import NO_LOOP

if TYPE_CHECKING:
    from collections.abc import Awaitable

KEYS = ("a" * 32, "b" * 32)
WITH_BODY = b"POST /z HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n"


def head(
    uri: bytes = b"/a",
    number: bytes = b"id-1",
    *more: bytes,
    request_line: bytes = b"GET /auth/nginx HTTP/1.1",
) -> bytes:
    lines = (
        *(request_line, b"Host: a", b"X-Gateway-Key: " + KEYS[0].encode()),
        *(b"X-Forwarded-Uri: " + uri, b"X-Request-Id: " + number, *more, b"", b""),
    )
    return b"\r\n".join(lines)


def noted(data: bytes, *, times: int = 2, **options: int) -> KnownHeads:
    known = KnownHeads(NO_LOOP, **options)
    note(known, data, times=times)
    return known


def note(known: KnownHeads, data: bytes, *, times: int = 2) -> None:
    ((read, _),) = RequestParser(NO_LOOP).feed(data)
    for _ in range(times):
        known.note(data, read)


def test_a_head_is_known_by_all_of_it_but_the_values_of_uri_and_id() -> None:
    known = noted(head())
    found = known.find(head(b"/b?c=%20", b"id-2"), "10.0.0.1")
    assert found is not None
    assert (found.method, found.raw_path, found.peer) == ("GET", "/auth/nginx", "10.0.0.1")
    assert (found.uri, found.request_id) == ("/b?c=%20", "id-2")
    assert found.headers.getall("x-forwarded-uri", ()) == ["/b?c=%20"]
    assert found.lines[-1] == (b"X-Request-Id", b"id-2")
    again = known.find(head(), "")
    assert again is not None and again.known is found.known
    for other in (
        head(b"/a", b"id-1", b"A: b"),
        head(request_line=b"HEAD /auth/nginx HTTP/1.1"),
        head(request_line=b"GET /auth/caddy HTTP/1.1"),
        head().replace(b"Host: a", b"Host: b"),
        head().replace(b"X-Request-Id: id-1\r\n", b""),
        b"\r\n" + head(),
        head() + head(),
        head()[:-1],
    ):
        assert known.find(other, "") is None, other


@pytest.mark.parametrize("uri_line", [b"X-Forwarded-Uri: ", b"x-forwarded-uri: "])
@pytest.mark.parametrize("id_line", [b"X-Request-Id: ", b"X-Request-ID: ", b"x-request-id: "])
@pytest.mark.parametrize("id_first", [False, True])
def test_uri_and_id_stand_in_any_order_as_proxies_write_them(
    uri_line: bytes, id_line: bytes, *, id_first: bool
) -> None:
    def data(uri: bytes, number: bytes, *more: bytes) -> bytes:
        two = [uri_line + uri, id_line + number]
        lines = two[::-1] if id_first else two
        return b"\r\n".join([b"GET /auth/haproxy HTTP/1.1", b"Host: a", *lines, *more, b"", b""])

    known = noted(data(b"/a", b"id-1", b"Cookie: c"))
    found = known.find(data(b"/longer?than=before", b"id-234", b"Cookie: c"), "")
    assert found is not None
    assert (found.uri, found.request_id) == ("/longer?than=before", "id-234")
    assert known.find(data(b"/a", b"id-1", b"Cookie: d"), "") is None
    assert known.find(data(b"/a", b"id/1", b"Cookie: c"), "") is None, "no ID has a slash"
    for more in (b"X-Request-Id: 2", b"X-Forwarded-Uri: /2"):
        assert noted(data(b"/a", b"1", more)).find(data(b"/a", b"1", more), "") is None, "two"


def test_at_envoy_the_uri_is_what_follows_in_the_request_line() -> None:
    def data(target: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
        line = method + b" /auth/envoy" + target + b" HTTP/1.1"
        return b"\r\n".join([line, b"host: a", *lines, b"", b""])

    known = noted(data(b"/a", b"x-request-id: 1", b"cookie: c"))
    found = known.find(data(b"/b?c=%20", b"x-request-id: 2", b"cookie: c"), "")
    assert found is not None
    assert (found.uri, found.request_id, found.raw_path) == (
        *("/b?c=%20", "2"),
        "/auth/envoy/b?c=%20",
    )
    ((read, _),) = RequestParser(NO_LOOP).feed(data(b"/b?c=%20", b"x-request-id: 2", b"cookie: c"))
    assert (read.path, read.method) == (found.raw_path, found.method)
    for other in (
        *(data(b"/b", b"x-request-id: 2"), data(b"", b"x-request-id: 2", b"cookie: c")),
        *(data(b"?/b", b"x-request-id: 2", b"cookie: c"), data(b"x/", b"x-request-id: 2")),
        *(data(odd, b"x-request-id: 2", b"cookie: c") for odd in (b"/#", b"/\x80", b"/\t", b"/ b")),
        data(b"/b", b"x-request-id: 2", b"cookie: c", method=b"HEAD"),
        data(b"/b", b"x-request-id: 2", b"cookie: c").replace(b" /auth", b" //auth"),
        data(b"/b", b"x-request-id: 2", b"cookie: c").replace(b"/auth/envoy", b"/auth/caddy"),
    ):
        assert known.find(other, "") is None, other
    without = noted(data(b"/a")).find(data(b"/b"), "")
    assert without is not None and (without.uri, without.request_id) == ("/b", "")
    for spelling in (b"X-Forwarded-Uri: /z", b"X-forwarded-uri: /z"):
        clients = noted(data(b"/a", spelling))
        found = clients.find(data(b"/b", spelling), "")
        assert found is None, "a client's own word is no URI; the target stays part of the head"


@pytest.mark.parametrize("name", [b"traceparent", b"Traceparent"])
def test_a_head_is_known_whatever_trace_it_names(name: bytes) -> None:
    known = noted(head(b"/a", b"id-1", name + b": " + trace(1)))
    for data in (
        head(b"/b", b"id-2", name + b": " + trace(2)),
        noted_first(name + b": " + trace(2), known),
    ):
        found = known.find(data, "")
        assert found is not None and found.traceparent == trace(2).decode()
        assert found.headers.getall("Traceparent", ()) == [trace(2).decode()]
    for odd in (
        _SOME_TRACE,
        *(trace(2).upper(), trace(2)[:-1], trace(2) + b"0", trace(2).replace(b"-", b"0")),
        *(b"01" + trace(2)[2:], trace(0), b"", trace(2)[:-1] + b"\xff", trace(2)[:-1] + b"\r"),
    ):
        data = head(b"/b", b"id-2", name + b": " + odd)
        assert known.find(data, "") is None, odd
        with suppress(NotHttpError):
            assert noted(data).find(data, "") is None, odd
    twice = head(b"/a", b"id-1", name + b": " + trace(1), b"traceparent: " + trace(2))
    assert known.find(twice, "") is None
    assert noted(twice).find(twice, "") is None
    without = noted(head()).find(head(), "")
    assert without is not None and without.traceparent == ""


def trace(number: int) -> bytes:
    return b"00-%032x-%016x-01" % (number * 0xABCDEF, number * 0xFEDCBA)


def noted_first(line: bytes, known: KnownHeads) -> bytes:
    """A head that begins with that line, and is known."""
    data = head().replace(b"\r\n", b"\r\n" + line + b"\r\n", 1)
    note(known, data)
    return data


@pytest.mark.parametrize("odd", [b"/\x7f", b"/\x80", b"/ ", b"\t/", b"/\0", b"/\r", b"/\n", b"/ a"])
def test_a_value_that_the_parser_might_refuse_is_the_parsers_to_read(odd: bytes) -> None:
    known = noted(head())
    assert known.find(head(odd), "") is None
    assert known.find(head(number=odd[1:]), "") is None
    assert known.find(head(number=b"a/b"), "") is None, "no ID has a slash"


async def test_a_uri_that_the_parser_refuses_is_refused_of_a_known_head_too() -> None:
    known = noted(head())
    room = MAX_FOUND_BYTES - len(head(b"/"))
    assert known.find(head(b"/" + b"a" * room), "") is not None
    assert known.find(head(b"/" + b"a" * (room + 1)), "") is None
    asked = Asked()
    assert await asked.send(head(), head(), head()) == [False, False, True]
    assert await asked.send(head(b"/" + b"a" * MAX_HEAD_LINE_BYTES)) == []
    assert statuses(asked)[3:] == [b"431"]


@pytest.mark.parametrize(
    "data",
    [
        head(b"/a", b"id-1", b"X-Forwarded-Uri: /b"),
        head(b"/a", b"id-1", b"x-forwarded-uri: /b"),
        head(b"/a", b"id-1", b"x-request-id: id-2"),
        head(b"/a", b"id-1", b"Connection: close"),
        head(b"/a", b"id-1", b"Authorization: Basic YTpi"),
        head(b"/a", b"id-1", b"Cookie: " + b"c" * MAX_KNOWN_BYTES),
        head(b"/a", b"id-1", b"Connection: keep-alive", request_line=b"GET / HTTP/1.0"),
        head().replace(b"X-Forwarded-Uri", b"X-FORWARDED-URI"),
        head().replace(b"X-Request-Id", b"X-REQUEST-ID"),
    ],
)
def test_what_is_never_noted(data: bytes) -> None:
    assert noted(data).find(data, "") is None


def test_as_many_are_known_as_there_is_room_for_and_each_came_twice() -> None:
    assert noted(head(), times=1).find(head(), "") is None
    known = noted(head(b"/a", b"1", b"A: 0"), max_entries=2)
    for number in (1, 2):
        note(known, head(b"/a", b"1", b"A: %d" % number))
    found = [known.find(head(b"/a", b"1", b"A: %d" % n), "") is not None for n in range(3)]
    assert found == [False, True, True]


class Asked:
    """A connection of a handler that answers ``status``, and how often the parser was used."""

    def __init__(self, status: int = 200) -> None:
        self.status, self.requests = status, list[RawRequest]()
        self.server = CheckServer(self._answer)
        self.go = asyncio.Event()
        self.connect()

    def connect(self) -> None:
        self.wire, self.listener = Wire(), Unbounded()
        self.connection = CheckConnection(self.server, cast("Any", self.listener), starting=None)
        self.connection.connection_made(cast("Any", self.wire))

    def _answer(self, request: RawRequest) -> CheckResponse | Awaitable[CheckResponse]:
        self.requests.append(request)
        request.of_somebody = self.status == 200
        return self._later() if "wait" in request.raw_path else CheckResponse(self.status)

    async def _later(self) -> CheckResponse:
        await self.go.wait()
        return CheckResponse(self.status)

    async def send(self, *pieces: bytes) -> list[bool]:
        """Whether each request had a known head."""
        before = len(self.requests)
        for piece in pieces:
            self.connection.data_received(piece)
            await asyncio.sleep(0)
        return [isinstance(one, KnownRequest) for one in self.requests[before:]]


def statuses(asked: Asked) -> list[bytes]:
    return re.findall(rb"HTTP/1.1 (\d{3})", asked.wire.written)


class Failing(Asked):
    """Fails at what says so, at once or later; its headers can be read no more then."""

    def _answer(self, request: RawRequest) -> CheckResponse | Awaitable[CheckResponse]:
        if request.uri is not None and "fail" in request.uri:
            self.requests.append(request)
            return self._fails(later="later" in request.uri)
        return super()._answer(request)

    def _fails(self, *, later: bool) -> Awaitable[CheckResponse]:
        if not later:
            raise NotHttpError("LineTooLong", too_long=True)
        return self._fails_later()

    async def _fails_later(self) -> CheckResponse:
        await self.go.wait()
        raise NotHttpError("LineTooLong", too_long=True)


@pytest.mark.parametrize("uri", [b"/fail", b"/fail-later"])
@pytest.mark.parametrize("is_told", [True, False])
async def test_a_known_head_that_cannot_be_read_is_a_fault_that_ends_its_connection(
    uri: bytes, *, is_told: bool
) -> None:
    asked = Failing()
    assert await asked.send(head(), head()) == [False, False]
    told: list[dict[str, object]] = []
    if is_told:
        cast("Any", asked.listener).fault = lambda _, **values: told.append(values)
    cast("Any", asked.server.known)._read = unreadable
    assert await asked.send(head(uri, b"id-9"), head(b"/next")) == [True]
    asked.go.set()
    await asyncio.gather(*asked.server.tasks, return_exceptions=True)
    assert statuses(asked) == [b"200", b"200", *([b"500"] if is_told else [])]
    assert asked.wire.closed, "nobody takes the next answer for this one"
    assert [one["request_id"] for one in told] == (["id-9"] if is_told else [])


async def test_a_request_whose_headers_cannot_be_read_is_a_fault_too() -> None:
    asked, told = Failing(), list[dict[str, object]]()
    cast("Any", asked.listener).fault = lambda _, **values: told.append(values)

    def fails(request: RawRequest) -> CheckResponse:
        cast("Any", request)._headers = None
        raise RuntimeError

    asked.server.handler = fails
    asked.connection.data_received(head())
    await asyncio.sleep(0)
    assert statuses(asked) == [b"500"] and asked.wire.closed
    assert told == [{"listener": "check", "path": "/auth/nginx", "request_id": None}]


async def test_an_answer_that_cannot_be_written_ends_its_connection() -> None:
    asked = Asked()
    assert await asked.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n") == [False]

    def unwritable(*_: object, **__: object) -> bytes:
        raise RuntimeError

    cast("Any", asked.server).response_bytes = unwritable
    asked.go.set()
    await asyncio.gather(*asked.server.tasks, return_exceptions=True)
    assert asked.wire.closed and statuses(asked) == []


def unreadable(data: bytes) -> Any:
    raise NotHttpError("LineTooLong", too_long=True)


async def test_what_the_parser_passes_over_is_no_place_between_two_requests() -> None:
    """HTTP/2's preface has a blank line, and what comes behind it is refused."""
    preface = b"PRI * HTTP/2.0\r\n\r\n"
    for pieces in ([head() + preface], [head()[:-2], head()[-2:] + preface]):
        asked = Asked()
        assert await asked.send(head(), head(), head()) == [False, False, True]
        assert await asked.send(*pieces) == [False]
        assert await asked.send(head()) == []
        assert statuses(asked) == [b"200"] * 4 + [b"400"]
    asked = Asked()
    for _ in range(3):
        assert await asked.send(head() + preface) == [False]
        asked.connect()


async def test_only_whole_heads_that_let_somebody_in_are_noted() -> None:
    asked = Asked()
    assert await asked.send(head(), head(b"/b"), head(b"/c")) == [False, False, True]
    refused = Asked(403)
    assert await refused.send(head(), head(), head()) == [False] * 3
    cut = Asked()
    pieces = (head()[:9], head()[9:])
    assert await cut.send(*pieces, *pieces, *pieces, head()) == [False] * 4
    together = Asked()
    assert await together.send(head() + head(), head() + head()) == [False] * 4


async def test_bytes_within_a_request_are_not_taken_for_a_known_head() -> None:
    asked = Asked()
    assert await asked.send(head(), head(), head()) == [False, False, True]
    assert await asked.send(b"GET /x HTTP/1.1\r\nA: ", head()) == [False]
    assert asked.requests[-1].headers.getall("A", ()) == ["GET /auth/nginx HTTP/1.1"]
    assert await asked.send(head()) == [True], "the parser stands between two requests again"
    assert await asked.send(WITH_BODY, head()) == [False], "a body is no request"
    asked.connect()
    assert await asked.send(WITH_BODY.replace(b"/z", b"/wait"), head(), head()) == [False]
    asked.go.set()
    await asyncio.gather(*asked.server.tasks)
    assert asked.requests[-1].raw_path == "/wait"


async def test_a_head_with_a_body_or_that_asks_for_another_protocol_is_never_noted() -> None:
    asked = Asked()
    for data in (
        head(b"/a", b"1", b"Content-Length: 9", request_line=b"POST / HTTP/1.1"),
        head(b"/a", b"1", b"Connection: upgrade", b"Upgrade: h2c"),
    ):
        for _ in range(4):
            assert await asked.send(data) == [False]
            asked.connect()


async def test_known_heads_that_are_sent_ahead_keep_their_order_and_are_bounded() -> None:
    asked = Asked()
    assert await asked.send(head(), head(), head()) == [False, False, True]
    many = b"".join(head(b"/%d" % number) for number in range(MAX_PIPELINED + 4))
    asked.connection.data_received(many)
    await asyncio.sleep(0)
    asked.connection.data_received(head(b"/last"))
    for _ in range(8):
        await asyncio.sleep(0)
    uris = [one.headers.getall("X-Forwarded-Uri", ())[0] for one in asked.requests[3:]]
    assert uris == [*(f"/{number}" for number in range(MAX_PIPELINED + 4)), "/last"]
    await asked.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    for _ in range(3 * MAX_PIPELINED):
        if asked.connection._reading:
            asked.connection.data_received(head())
    assert len(asked.connection._queue) == MAX_PIPELINED
    asked.go.set()
    await asyncio.gather(*asked.server.tasks)


def test_a_key_that_was_found_right_is_compared_again_once_there_are_others() -> None:
    known = noted(head())
    trust = Trust(Ingress(keys=(Secret(KEYS[0]),)))

    def believed(peer: str = "10.0.0.1") -> bool:
        found = known.find(head(), peer)
        assert found is not None
        plain = RawRequest("GET", "/", CIMultiDict({"X-Gateway-Key": KEYS[0]}), peer)
        assert trust.believes(found) is trust.believes(plain)
        return trust.believes(found)

    assert believed() and believed()
    trust.replace(Ingress(keys=(Secret(KEYS[1]),)))
    assert not believed() and not believed()
    trust.replace(Ingress(keys=(Secret(KEYS[1]), Secret(KEYS[0]))))
    assert believed()
    trust.replace(Ingress(keys=(Secret(KEYS[0]),), trusted_proxies=["10.0.0.0/8"]))
    assert believed() and not believed("11.0.0.1") and believed()
    trust.replace(Ingress(trusted_proxies=["10.0.0.0/8"]))
    assert believed() and not believed("")
    trust.replace(Ingress(keys=(Secret(KEYS[1]),)))
    assert not believed()
