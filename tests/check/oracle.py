"""What aiohttp's server makes of the same bytes: the measure for the server of the check listener.

Both get the same handler, whose answer names all that it was asked. The server may refuse what
aiohttp takes, and stop there; it must never let the handler answer anything that aiohttp would not
have asked it at that place.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import random
import re
import sys
import time
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from gateway.check.dialects.raw_request import KnownRequest
from gateway.check.http_parser import MAX_HEAD_LINE_BYTES
from gateway.check.response import CheckResponse
from gateway.check.server import CheckConnection, CheckServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.check.dialects import RawRequest

_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3})")
KNOWN = (
    b"GET /auth/nginx HTTP/1.1\r\nHost: a\r\nX-Forwarded-Uri: %b\r\nX-Request-Id: %b\r\n\r\n",
    b"HEAD /auth/x HTTP/1.1\r\nx-forwarded-uri: %b\r\nx-request-id: %b\r\nhost: a\r\n\r\n",
    b"POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nX-Forwarded-Uri: %b\r\nX-B: %b\r\n\r\n",
    b"PUT /z HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nX-Forwarded-Uri: %b\r\nX-B: %b\r\n\r\n",
    b"GET /u HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nX-Forwarded-Uri: %b\r\nConnection: %b\r\n\r\n",
    b"GET /auth/envoy%b HTTP/1.1\r\nhost: a\r\nx-request-id: %b\r\n\r\n",
    b"POST /auth/envoy%b HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nX-Request-ID: %b\r\n\r\n",
    b"GET /auth/envoy%b HTTP/1.1\r\nhost: a\r\nX-Forwarded-Uri: %b\r\n\r\n",
)
LAST_FIRST = (
    b"GET /auth/haproxy HTTP/1.1\r\nhost: a\r\nx-request-id: %b\r\nx-forwarded-uri: %b\r\n\r\n",
    b"GET /w HTTP/1.1\r\nX-Request-ID: %b\r\nHost: a\r\nX-Forwarded-Uri: %b\r\nCookie: b\r\n\r\n",
)
"""Heads that come again and again, with another URI and another ID, in this order and in the
other.
"""
SEEDS = (
    b"GET /auth/nginx HTTP/1.1\r\nHost: a\r\nX-Forwarded-Uri: /p?q=1\r\nCookie: a=1\r\n\r\n",
    b"POST /auth/envoy/a/../b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
    b"HEAD /auth/caddy HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
    b"GET /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    b"PROPFIND /x HTTP/1.1\r\nHost: a\r\nDepth: 1\r\nConnection: close\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
    b"GET http://a.test/x HTTP/1.1\r\nHost: a\r\n\r\n",
)
TOKENS = (
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b"\x01", b"\xff", b" ", b"\t", b":", b",", b"%"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: +4\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"Host: b\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Upgrade: websocket\r\n"),
    *(b"Expect: x\r\n", b"X-A : b\r\n", b" folded\r\n", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"),
    *(b"x" * 300, b"0\r\n\r\n", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", b"Content-Length: "),
    b"PRI * HTTP/2.0\r\n\r\n",
)


class Wire:
    """A transport that keeps what is written. It can do what both servers ask of one."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.written += data

    def writelines(self, data: Sequence[bytes]) -> None:
        self.write(b"".join(data))

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "peername" else default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0


class Unbounded:
    """A listener without connections to bound."""

    name = "check"
    ending = False
    answered = 0

    def opened(self, *_: object) -> None: ...

    def closed(self, *_: object) -> None: ...

    def heard(self, *_: object, request: bool) -> None: ...

    def begun(self, *_: object) -> None: ...

    def not_http(self, *_: object) -> None: ...

    def fault(self, error: BaseException, **_: object) -> None:
        raise error


def digest(method: str, target: str, headers: Sequence[tuple[str, str]]) -> str:
    told = repr((method, target, sorted((name.lower(), value) for name, value in headers)))
    return hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()


class Oracle:
    """Both servers, on the running loop."""

    def __init__(self) -> None:
        # Nobody reads a body, so whether one can be decompressed makes no difference.
        options: dict[str, Any] = {
            "max_line_size": MAX_HEAD_LINE_BYTES,
            "max_field_size": MAX_HEAD_LINE_BYTES,
            "auto_decompress": False,
        }
        self._aiohttp = web.Server(self._handle, **options)
        self._server = CheckServer(self._answer)
        self.known = 0
        """Requests whose head was known."""

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        told = digest(request.method, request.raw_path, list(request.headers.items()))
        return web.Response(headers={"X-Digest": told})

    def _answer(self, request: RawRequest) -> CheckResponse:
        headers = list(cast("Any", request.headers).items())
        lines = [
            (
                name.decode("utf-8", "surrogateescape").lower(),
                value.decode("utf-8", "surrogateescape"),
            )
            for name, value in request.lines
        ]
        if lines != [(name.lower(), value) for name, value in headers]:
            msg = "the lines are not the headers"
            raise AssertionError(msg)
        request.of_somebody = True
        if isinstance(request, KnownRequest):
            self.known += 1
            number = ",".join(request.headers.getall("X-Request-Id", ()))
            uris = list(request.headers.getall("X-Forwarded-Uri", ()))
            traces = list(request.headers.getall("traceparent", ()))
            if (uris, number, traces) != (
                [] if request.known.is_below else [request.uri],
                request.request_id,
                [request.traceparent] if request.traceparent else [],
            ):
                msg = "the URI, the ID or the trace is not the one on the wire"
                raise AssertionError(msg)
        told = digest(request.method, request.raw_path, headers)
        return CheckResponse(200, f"X-Digest: {told}\r\n".encode())

    async def aiohttp(self, pieces: Sequence[bytes]) -> bytes:
        protocol = self._aiohttp()
        wire = Wire()
        protocol.connection_made(cast("Any", wire))
        for piece in pieces:
            if not wire.closed:
                protocol.data_received(piece)
            for _ in range(6):
                await asyncio.sleep(0)
        before = -1
        while before != len(wire.written):
            before = len(wire.written)
            for _ in range(12):
                await asyncio.sleep(0)
        handling = protocol._task_handler
        protocol.connection_lost(None)
        if handling is not None:
            handling.cancel()
            await asyncio.gather(handling, return_exceptions=True)
        return bytes(wire.written)

    async def ours(self, pieces: Sequence[bytes]) -> bytes:
        connection = CheckConnection(self._server, cast("Any", Unbounded()), starting=None)
        wire = Wire()
        connection.connection_made(cast("Any", wire))
        for piece in pieces:
            if not wire.closed:
                connection.data_received(piece)
            await asyncio.sleep(0)
        while connection._unparsed:  # noqa: ASYNC110 - it goes on by itself, turn by turn
            await asyncio.sleep(0)
        connection.connection_lost(None)
        return bytes(wire.written)

    async def difference(self, pieces: Sequence[bytes]) -> str | None:
        """What our server did that it must not; None where all is well."""
        expected, got = answers(await self.aiohttp(pieces)), answers(await self.ours(pieces))
        for place, (status, told) in enumerate(got):
            if status == 200 and (place >= len(expected) or expected[place] != (200, told)):
                return f"answer {place} was to a request that aiohttp did not see"
            if status == 500:
                return f"answer {place} was a fault"
        if len(got) < len(expected) and got and got[-1][0] == 200 and not ends(pieces):
            return "silence where aiohttp answered"
        if not got and any(status == 200 for status, _ in expected):
            return "no answer where aiohttp answered"
        return None


def ends(pieces: Sequence[bytes]) -> bool:
    """Whether something in it lets our server end the connection with a good answer."""
    text = b"".join(pieces).lower()
    return any(word in text for word in (b"upgrade", b"close", b"http/1.0", b"connect", b"http/"))


def answers(written: bytes) -> list[tuple[int, str]]:
    """Status and digest of each answer."""
    found = []
    for part in re.split(rb"(?=HTTP/\d\.\d \d{3})", written)[1:]:
        status = _STATUS.match(part)
        told = re.search(rb"X-Digest: ([0-9a-f]{64})", part)
        found.append((int(status[1]) if status else 0, told[1].decode() if told else ""))
    return found


def again(chance: random.Random) -> list[bytes]:
    """Whole heads that are known by now, some with values that no head has, some cut into pieces,
    and in between requests with something wrong.
    """
    pieces: list[bytes] = []
    for _ in range(chance.randint(1, 5)):
        if not chance.randrange(6):
            pieces += mutated(chance)
            continue
        template, values = (
            chance.choice(KNOWN + LAST_FIRST),
            (
                _value(chance, b"/a?"),
                _value(chance, b"id-"),
            ),
        )
        data = template % (values[::-1] if template in LAST_FIRST else values)
        if not chance.randrange(3):
            data = _with_trace(chance, data)
        at = chance.randrange(len(data)) if not chance.randrange(4) else 0
        pieces += [data[:at], data[at:]] if at else [data]
        if not chance.randrange(12):
            pieces[-1] += b"PRI * HTTP/2.0\r\n\r\n"
        if not chance.randrange(8):
            pieces[-2:] = [b"".join(pieces[-2:])]
    return pieces


def _with_trace(chance: random.Random, data: bytes) -> bytes:
    """Most are traces, some are nearly."""
    trace = f"00-{chance.getrandbits(128):032x}-{chance.getrandbits(64):016x}-01".encode()
    if not chance.randrange(4):
        at = chance.randrange(len(trace))
        trace = (
            trace[:at] + chance.choice((b"", b"0", b" ", b"A", b"\r", b"\xff")) + trace[at + 1 :]
        )
    name = chance.choice((b"traceparent", b"Traceparent", b"TraceParent", b"x-traceparent"))
    lines = data.split(b"\r\n")
    lines.insert(chance.randint(1, len(lines) - 2), name + b": " + trace)
    return b"\r\n".join(lines)


def _value(chance: random.Random, start: bytes) -> bytes:
    kind = chance.randrange(8)
    if not chance.randrange(40):
        length = MAX_HEAD_LINE_BYTES + chance.randint(-99, 9_999)
        return start + chance.choice((b"a", b"%41")) * length
    if kind == 0:
        return start + chance.choice(TOKENS)
    if kind == 1:
        return chance.choice((b"", b" ", b"\t/a", b"/a ", b" /a", chance.randbytes(3)))
    return start + b"".join(
        b"%c" % chance.randrange(0x21, 0x7F) for _ in range(chance.randrange(9))
    )


def mutated(chance: random.Random) -> list[bytes]:
    """Requests with something wrong, cut into pieces."""
    data = bytearray(b"".join(chance.choice(SEEDS) for _ in range(chance.randint(1, 3))))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 6))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] = chance.randrange(256)
        elif kind == 1:
            data[at:at] = chance.choice(TOKENS)
        elif kind == 2:
            del data[at : at + chance.randint(1, 12)]
        elif kind == 3:
            line = data.find(b"\r\n", at)
            if line >= 0:
                data[line + 2 : line + 2] = chance.choice(TOKENS)
        else:
            start = chance.randrange(len(data) + 1)
            data[at:at] = data[start : start + chance.randint(1, 60)]
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 0, 1, 2, 8))))
    return [bytes(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@contextlib.contextmanager
def be_quiet() -> Iterator[None]:
    """aiohttp tells of each request that it cannot read, and asyncio of its faults."""
    loggers = [logging.getLogger(name) for name in ("aiohttp.server", "asyncio", "gateway")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


async def fuzz(
    seconds: float = math.inf, *, seed: int, most: float = math.inf
) -> tuple[int, int, list[tuple[str, list[bytes]]]]:
    """For so long, or with ``most`` inputs: how many were tried, how many requests had a known
    head, and the first ten inputs that show a difference.
    """
    oracle, chance, count = Oracle(), random.Random(seed), 0
    found: list[tuple[str, list[bytes]]] = []
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at and count < most and len(found) < 10:
        pieces = chance.choice((again, mutated))(chance)
        count += 1
        if (difference := await oracle.difference(pieces)) is not None:
            found.append((difference, pieces))
    return count, oracle.known, found


def main() -> int:
    """``python -m tests.check.oracle SECONDS [SEED]``."""
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    with be_quiet():
        count, known, found = asyncio.run(fuzz(float(sys.argv[1]), seed=seed))
    print(f"server: {count} inputs, {known} known, seed {seed}, differences {len(found)}")
    for difference, pieces in found:
        print(f"  {difference}: {pieces!r}")
    return 1 if found else 0


__all__ = ["SEEDS", "Oracle", "answers", "be_quiet", "fuzz", "mutated"]

if __name__ == "__main__":
    sys.exit(main())
