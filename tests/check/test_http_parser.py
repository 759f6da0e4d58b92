"""What this project relies on of aiohttp's parser, which its documentation does not promise."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from gateway.check import http_parser
from gateway.check.http_parser import (
    MAX_HEAD_LINE_BYTES,
    MAX_HEADER_LINES,
    MAX_PIPELINED,
    NotHttpError,
    RequestParser,
    has_body,
    is_http_1,
    is_http_1_0,
)

GET = b"GET /a%%2f?b HTTP/1.1\r\nHost: h\r\nX-%d: \xff v \r\nx-0: w\r\n\r\n"


@pytest.fixture
async def parser() -> RequestParser:
    return RequestParser(asyncio.get_running_loop())


async def test_a_head_is_handed_out_as_it_stood_on_the_wire(parser: RequestParser) -> None:
    assert HttpRequestParser is not HttpRequestParserPy, "the parser in C is not installed"
    assert list(parser.feed(b"GET /a%2f")) == []
    ((head, token),) = parser.feed((GET % 0)[9:])
    assert (head.method, head.path) == ("GET", "/a%2f?b")
    assert head.headers.getall("x-0", ()) == ["\udcff v", "w"]
    assert head.headers.getall("X-Absent", ()) == ()
    assert list(head.headers) == ["Host", "X-0", "x-0"] and len(head.headers) == 3
    assert head.raw_headers == ((b"Host", b"h"), (b"X-0", b"\xff v"), (b"x-0", b"w"))
    assert not (head.should_close or head.upgrade or head.chunked or has_body(token))
    assert is_http_1(head) and not is_http_1_0(head)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"Connection: close", "should_close"),
        (b"Connection: upgrade\r\nUpgrade: h2c", "upgrade"),
        (b"Transfer-Encoding: chunked", "chunked"),
    ],
)
async def test_what_ends_a_connection_is_told(
    parser: RequestParser, line: bytes, name: str
) -> None:
    ((head, token),) = parser.feed(b"GET / HTTP/1.1\r\nHost: h\r\n" + line + b"\r\n\r\n")
    assert getattr(head, name) is True
    assert has_body(token) is (name == "chunked")


async def test_a_body_is_told_from_none(parser: RequestParser) -> None:
    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
    assert [has_body(token) for _, token in parser.feed(head % 0)] == [False]
    assert [has_body(token) for _, token in parser.feed(head % 1)] == [True]


async def test_so_many_are_read_ahead_and_the_others_later(parser: RequestParser) -> None:
    sent = b"".join(GET % number for number in range(2 * MAX_PIPELINED + 3))
    sizes = []
    messages = parser.feed(sent)
    while messages:
        sizes.append(len(messages))
        for _ in messages:
            parser.consumed()
        messages = parser.feed(b"")
    assert sizes == [MAX_PIPELINED, MAX_PIPELINED, 3]


async def test_limits_hold_for_each_line_and_their_number() -> None:
    loop = asyncio.get_running_loop()
    line = b"x" * (MAX_HEAD_LINE_BYTES - 20)
    head = b"GET /%b HTTP/1.1\r\nHost: h\r\nCookie: %b\r\n%b\r\n"
    lines = b"A: b\r\n" * (MAX_HEADER_LINES - 2)
    assert len(RequestParser(loop).feed(head % (line, line, lines))) == 1
    for sent, too_long in (
        (head % (line + b"x" * 40, b"", b""), True),
        (head % (b"", line + b"x" * 40, b""), True),
        (head % (b"", b"", lines + b"A: b\r\n"), False),
    ):
        with pytest.raises(NotHttpError) as error:
            RequestParser(loop).feed(sent)
        assert error.value.too_long is too_long
        assert "xxx" not in str(error.value)


async def test_no_other_version_is_taken_for_http_1(parser: RequestParser) -> None:
    ((head, _),) = parser.feed(b"GET / HTTP/2.0\r\nHost: h\r\n\r\n")
    assert not is_http_1(head)
    assert http_parser.MAX_PIPELINED > 0
