"""aiohttp's HTTP/1 parser behind one small interface: bytes in, heads of requests out.

aiohttp does not document the parser, so this module is the only one that calls it;
``tests/check/test_http_parser.py`` fails where its signature or its answers change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.http_parser import HttpRequestParser
from aiohttp.http_writer import HttpVersion10, HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from multidict import CIMultiDictProxy

MAX_HEAD_LINE_BYTES: Final = 64 * 1024
"""Of the request line, and of each header line. aiohttp's own limit of 8190 would turn a large
cookie of the application into a 400 here and a 500 at nginx.
"""
MAX_HEADER_LINES: Final = 128
MAX_HEAD_BYTES: Final = 256 * 1024
"""Of a head that arrives in pieces: without it, the lines would hold 8 MB of each connection."""
MAX_PIPELINED: Final = 16
"""Requests of one connection that are read ahead of the one that is being answered."""
_HTTP_1: Final = (HttpVersion11, HttpVersion10)
_BODY_BUFFER_BYTES: Final = 2**16
"""What a body may fill before the parser stops; no body of a check is read."""


class HeadLine(Protocol):
    """What the form of an answer depends on."""

    @property
    def method(self) -> str: ...
    @property
    def version(self) -> tuple[int, int]: ...
    @property
    def should_close(self) -> bool:
        """The client asks for it, by ``Connection`` or by its version."""


class Head(HeadLine, Protocol):
    """A request as far as its blank line. Undecodable bytes are lone surrogates."""

    @property
    def path(self) -> str:
        """The request target as it stood on the wire."""

    @property
    def headers(self) -> CIMultiDictProxy[str]: ...
    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """The same lines as they stood on the wire; decoded as UTF-8, undecodable bytes as lone
        surrogates, they are ``headers``.
        """

    @property
    def upgrade(self) -> bool:
        """Asks to go on in another protocol; what follows may be in it."""

    @property
    def chunked(self) -> bool: ...


class NotHttpError(ValueError):
    """The bytes are no request. Its text names the kind of mistake and quotes none of them."""

    def __init__(self, kind: str, *, too_long: bool) -> None:
        super().__init__(kind)
        self.too_long = too_long
        """A line, or a header field, is longer than ``MAX_HEAD_LINE_BYTES``."""


class _Unpaused(BaseProtocol):
    """What a body is read for. Of one that nobody reads, no more is handed to the parser than came
    with its head, so there is nothing to stop; by itself, it would fail without a connection.
    """

    def pause_reading(self) -> None:
        return


class RequestParser:
    """Of one connection. A request that has a body is its last: nothing reads the body."""

    __slots__ = ("_parser",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._parser: Any = HttpRequestParser(
            _Unpaused(loop),
            loop,
            _BODY_BUFFER_BYTES,
            max_line_size=MAX_HEAD_LINE_BYTES,
            max_field_size=MAX_HEAD_LINE_BYTES,
            max_headers=MAX_HEADER_LINES,
            auto_decompress=False,
            max_msg_queue_size=MAX_PIPELINED,
        )

    def feed(self, data: bytes) -> Sequence[tuple[Head, object]]:
        """Each request whose head is complete now, and a token that ``has_body`` reads. Of many in
        ``data``, as many as there is room for; ``feed(b"")`` hands out the others, once
        ``consumed`` was called for these. Raises ``NotHttpError``.
        """
        try:
            messages: Sequence[tuple[Head, object]] = self._parser.feed_data(data)[0]
        except HttpProcessingError as error:
            # The library's own text holds the line that it could not read.
            raise NotHttpError(
                type(error).__name__, too_long=isinstance(error, LineTooLong)
            ) from None
        except Exception as error:  # noqa: BLE001 - whatever it is, these bytes are what it fails at
            raise NotHttpError(type(error).__name__, too_long=False) from None
        return messages

    def consumed(self) -> None:
        """One that was handed out was taken up: there is room for another."""
        self._parser.message_consumed()


def has_body(token: object) -> bool:
    """Whether content follows the head, or was announced to."""
    return token is not EMPTY_PAYLOAD


def is_http_1_0(head: HeadLine) -> bool:
    return head.version == HttpVersion10


def is_http_1_1(head: HeadLine) -> bool:
    return head.version == HttpVersion11


def is_http_1(head: Head) -> bool:
    """1.0 or 1.1: the parser takes others too, one of them without any version at all."""
    return head.version in _HTTP_1


__all__ = [
    "MAX_HEADER_LINES",
    "MAX_HEAD_BYTES",
    "MAX_HEAD_LINE_BYTES",
    "MAX_PIPELINED",
    "Head",
    "HeadLine",
    "NotHttpError",
    "RequestParser",
    "has_body",
    "is_http_1",
    "is_http_1_0",
    "is_http_1_1",
]
