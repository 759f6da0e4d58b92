"""The server of the check listener, over real sockets. How many connections, and for how long, is
in ``tests/http/test_listener.py``; what it makes of bytes that others read otherwise in
``test_oracle.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.check import server as module
from gateway.check.http_parser import MAX_PIPELINED
from gateway.check.response import CheckResponse
from gateway.check.server import serving
from gateway.runtime.draining import drain
from tests.http.test_foreign_bytes import NOT_HTTP, SECRET
from tests.http.test_listener import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from gateway.check.dialects import RawRequest
    from gateway.http.listener import Listener

REQUEST = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n"


class Answering:
    """A handler that answers with the request's target, and to ``/wait…`` once ``go`` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked: list[RawRequest] = []
        self.listener: Listener
        self.address: str | tuple[str, int]

    def __call__(self, request: RawRequest) -> CheckResponse | Awaitable[CheckResponse]:
        self.asked.append(request)
        if request.raw_path == "/fault":
            msg = "a mistake of ours"
            raise LookupError(msg)
        answer = CheckResponse(200, f"X-Target: {request.raw_path}\r\n".encode())
        if request.raw_path == "/body":
            return CheckResponse(403, answer.lines, b"refused")
        if request.raw_path == "/large":
            return CheckResponse(200, answer.lines, bytes(8 << 20))
        if request.raw_path == "/cancelled":
            return self._cancelled()
        return self._later(answer) if request.raw_path.startswith("/wait") else answer

    async def _cancelled(self) -> CheckResponse:
        """Waits for what somebody else gave up."""
        shared = asyncio.get_running_loop().create_future()
        shared.cancel()
        await shared
        raise AssertionError

    async def _later(self, answer: CheckResponse) -> CheckResponse:
        await self.go.wait()
        return answer

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.address, str):
            return await asyncio.open_unix_connection(self.address)
        return await asyncio.open_connection(*self.address)

    async def exchange(self, *sent: bytes, half_close: bool = False) -> bytes:
        """All that comes until the server closes; ``sent`` in pieces, each in a segment of its
        own.
        """
        reader, writer = await self.connect()
        try:
            for piece in sent:
                writer.write(piece)
                await asyncio.sleep(0.001 if len(sent) > 1 else 0)
            if half_close:
                writer.write_eof()
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def answering(path: Path | None = None) -> AsyncIterator[Answering]:
    handler = Answering()
    with socket.socket(socket.AF_UNIX if path is not None else socket.AF_INET) as bound:
        bound.bind(str(path) if path is not None else ("127.0.0.1", 0))
        bound.listen(16)
        bound.setblocking(False)
        handler.address = bound.getsockname()
        async with serving(handler, bound, limit=100) as handler.listener:
            yield handler
            handler.go.set()


def request(target: str, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: a", *lines, "", ""]).encode()


def targets(got: bytes) -> list[str]:
    return [
        line.removeprefix(b"X-Target: ").decode()
        for line in got.split(b"\r\n")
        if line.startswith(b"X-Target: ")
    ]


LAST = request("/last", "Connection: close")


async def test_answers_are_complete_and_a_connection_is_used_again() -> None:
    async with answering() as server:
        got = await server.exchange(
            request("/one") + request("/body") + request("/body", method="HEAD") + LAST
        )
    answers = got.split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"403", b"403", b"200"]
    assert b"\r\nContent-Length: 0\r\n" in answers[0] and b"Connection:" not in answers[0]
    assert b"\r\nServer: gateway\r\n" in answers[0] and b"\r\nDate: " in answers[0]
    assert answers[1].endswith(b"\r\n\r\nrefused")
    assert b"\r\nContent-Length: 7\r\n" in answers[2] and answers[2].endswith(b"\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in answers[3]


async def test_requests_that_are_sent_at_once_are_answered_in_their_order() -> None:
    """More than are read ahead, and one that has to wait among them."""
    names = [f"/{number}" for number in range(5 * MAX_PIPELINED)]
    names[3] = "/wait"
    sent = b"".join(map(request, names))
    async with answering() as server:
        reader, writer = await server.connect()
        writer.write(sent)
        got = await reader.readuntil(b"X-Target: /2\r\n")
        assert targets(got) == names[:3]
        assert [asked.raw_path for asked in server.asked] == names[:4], "one at a time waits"
        server.go.set()
        writer.write(LAST)
        got += await reader.read()
        assert targets(got) == [*names, "/last"]
        writer.close()
        await writer.wait_closed()


async def test_a_request_is_the_same_wherever_its_bytes_are_cut() -> None:
    sent = request("/a", "X-One: 1", "Cookie: x=1; y=2") + request("/b", "X-Two: ") + LAST
    async with answering() as server:
        whole = await server.exchange(sent)
        for at in range(1, len(sent)):
            got = await server.exchange(sent[:at], sent[at:])
            assert targets(got) == targets(whole) == ["/a", "/b", "/last"], at
        got = await server.exchange(*(sent[n : n + 1] for n in range(len(sent))))
        assert targets(got) == targets(whole)


async def test_whoever_closes_its_side_is_answered_first() -> None:
    async with answering() as server:
        assert targets(await server.exchange(REQUEST, half_close=True)) == ["/one"]
        waits = asyncio.create_task(
            server.exchange(request("/wait") + request("/two"), half_close=True)
        )
        await eventually(lambda: [a.raw_path for a in server.asked][-1:] == ["/wait"])
        await asyncio.sleep(0.02)
        server.go.set()
        assert targets(await waits) == ["/wait", "/two"]
        assert await server.exchange(b"GET / HT", half_close=True) == b""


async def test_http_1_0_is_kept_only_where_it_asks() -> None:
    async with answering() as server:
        got = await server.exchange(
            request("/a", "Connection: keep-alive", version="1.0") + request("/b", version="1.0")
        )
        assert targets(got) == ["/a", "/b"]
        assert got.count(b"Connection: keep-alive") == got.count(b"Connection: close") == 1


FOLLOWED = {
    "a body": (request("/x", "Content-Length: 4") + b"body", b"200"),
    "a body that is to come": (request("/x", "Content-Length: 4"), b"200"),
    "a body that is a request": (request("/x", "Content-Length: 99") + request("/in"), b"200"),
    "chunks": (request("/x", "Transfer-Encoding: chunked") + b"0\r\n\r\n", b"200"),
    "an expectation with a body": (
        request("/x", "Expect: 100-continue", "Content-Length: 4"),
        b"200",
    ),
    "another protocol": (request("/x", "Connection: Upgrade", "Upgrade: websocket"), b"200"),
    "HTTP/2 asked for": (request("/x", "Connection: Upgrade", "Upgrade: h2c"), b"200"),
    "an expectation that nobody knows": (request("/x", "Expect: a-wonder"), b"417"),
    "both lengths": (request("/x", "Content-Length: 4", "Transfer-Encoding: chunked"), b"400"),
    "HTTP/0.9, and lines behind it": (b"GET /x\r\nHost: a\r\n\r\n", b"505"),
    "HTTP/2 in words": (request("/x", version="2.0"), b"505"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
}


@pytest.mark.parametrize("name", FOLLOWED)
async def test_nothing_is_read_as_a_request_where_something_else_may_follow(name: str) -> None:
    sent, status = FOLLOWED[name]
    async with answering() as server:
        got = await server.exchange(request("/first"), sent, request("/smuggled"))
    answers = got.split(b"HTTP/1.1 ")[1:]
    assert targets(got) == ["/first", "/x"] if status == b"200" else ["/first"]
    assert len(answers) == 2 and answers[1][:3] == status
    assert answers[1].count(b"\r\nConnection: close\r\n") == 1
    assert [asked.raw_path for asked in server.asked] == targets(got)


async def test_what_asks_for_nothing_costs_no_connection() -> None:
    async with answering() as server:
        for line in ("Expect: 100-continue", "Content-Length: 0"):
            got = await server.exchange(request("/x", line, method="POST") + LAST)
            assert targets(got) == ["/x", "/last"]


@pytest.mark.parametrize("name", NOT_HTTP)
async def test_what_is_no_http_is_quoted_nowhere_and_ends_the_connection(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent, status = NOT_HTTP[name]
    raw = sent.replace(b"%s", b"/x", 1)
    async with answering() as server:
        got = await server.exchange(raw)
        split = await server.exchange(*(raw[n : n + 4096] for n in range(0, len(raw), 4096)))
    for answer in (got, split):
        assert SECRET[:20] not in answer
        assert not status or answer.startswith(b"HTTP/1.1 %d " % status)
        assert answer.count(b"HTTP/1.1 ") == 1 and b"\r\nConnection: close\r\n" in answer
    assert SECRET.decode()[:20] not in caplog.text


async def test_a_mistake_of_ours_costs_one_request_and_says_when_to_come_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with answering() as server:
        got = await server.exchange(request("/fault") + request("/two"))
        assert got.startswith(b"HTTP/1.1 500 ") and b"\r\nRetry-After: 2\r\n" in got
        assert targets(await server.exchange(LAST)) == ["/last"]
    assert [r.message for r in caplog.records] == ["unexpected_error"]


async def test_whoever_waited_for_what_was_given_up_is_told_so() -> None:
    async with answering() as server:
        got = await server.exchange(request("/cancelled") + request("/two"))
        assert got.startswith(b"HTTP/1.1 500 ") and got.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (request("/wait", "Transfer-Encoding: chunked"), b"1\r\nx\r\n" * 40_000),
        (request("/wait", "Content-Length: 99999999"), b"x" * 240_000),
        (request("/wait", "Connection: upgrade", "Upgrade: websocket"), b"x" * 240_000),
        (request("/wait"), b"\0" * 4096),
    ],
    ids=["chunks", "a body", "another protocol", "no HTTP"],
)
async def test_what_follows_a_last_request_is_thrown_away_while_that_waits(
    head: bytes, more: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with answering() as server:
        for pieces in ((head, more, more, REQUEST), (head + more, more)):
            server.go.clear()
            reader, writer = await server.connect()
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
            if head == request("/wait") and pieces[0] != head:
                assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            else:
                (connection,) = server.listener._open
                assert isinstance(connection, module.CheckConnection)
                assert len(connection._queue) <= 1
                server.go.set()
                assert targets(await reader.read()) == ["/wait"]
            writer.close()
            await writer.wait_closed()
            await eventually(lambda: not server.listener._open)
    assert not [r for r in caplog.records if r.levelname == "ERROR"]


async def test_bytes_that_the_parser_fails_at_end_their_connection_and_are_quoted_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        def __init__(self, *_: object, **__: object) -> None: ...

        def feed_data(self, data: bytes) -> None:
            raise AssertionError(data)

    async with answering() as server:
        with monkeypatch.context() as patch:
            patch.setattr("gateway.check.http_parser.HttpRequestParser", Failing)
            for _ in range(20):
                got = await server.exchange(request("/x", f"Cookie: a={SECRET.decode()}"))
        assert got.startswith(b"HTTP/1.1 400 ") and SECRET not in got
        assert targets(await server.exchange(LAST)) == ["/last"]
    assert SECRET.decode() not in caplog.text
    told = [record for record in caplog.records if record.message == "invalid_http_request"]
    assert 1 <= len(told) < 5, "a stranger fills no disk: one a second"
    assert told[0].gateway_fields == {  # type: ignore[attr-defined]  # what log.fields attaches
        "listener": "check",
        "client": "127.0.0.1",
        "error": "AssertionError",
        "held_back": None,
    }


async def test_a_head_behind_another_has_an_end_too() -> None:
    """However it is cut, and once whatever is before it is answered; between two requests there is
    none.
    """
    async with answering() as server:
        heads = server.listener._heads
        first = await server.connect()
        first[1].write(REQUEST + b"GET /x HT")
        await first[0].readuntil(b"\r\n\r\n")
        assert len(heads) == 1
        second = await server.connect()
        second[1].write(request("/wait"))
        await eventually(lambda: server.asked[-1].raw_path == "/wait")
        second[1].write(b"G")
        await asyncio.sleep(0.02)
        assert len(heads) == 1, "not while it is answered"
        server.go.set()
        await second[0].readuntil(b"\r\n\r\n")
        assert len(heads) == 2
        for sent in (b"TP/1.1\r\nHost: a\r\n\r", b"\n"):
            first[1].write(sent)
            await asyncio.sleep(0.02)
        await first[0].readuntil(b"\r\n\r\n")
        second[1].write(b"ET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        await second[0].readuntil(b"\r\n\r\n")
        assert not heads
        for _, writer in (first, second):
            writer.close()
            await writer.wait_closed()


async def test_a_head_in_pieces_is_not_larger_than_all_that_is_read_of_one() -> None:
    async with answering() as server:
        lines = [f"X-{number}: {'x' * 8000}" for number in range(60)]
        fits, large = request("/x", *lines[:20]), request("/x", *lines)
        for whole in (fits, large):
            pieces = [whole[at : at + 16_000] for at in range(0, len(whole), 16_000)]
            got = await server.exchange(*pieces, *([LAST] if whole is fits else []))
            assert targets(got) == (["/x", "/last"] if whole is fits else [])
        assert got.startswith(b"HTTP/1.1 431 ")


async def test_a_client_that_takes_no_answers_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what fits into the buffers between both is made."""
    async with answering() as server:
        loop = asyncio.get_running_loop()
        with socket.socket() as deaf:
            deaf.setblocking(False)
            assert not isinstance(server.address, str)
            await loop.sock_connect(deaf, server.address)
            await loop.sock_sendall(deaf, request("/large") * 50)
            await eventually(lambda: server.asked)
            for _ in range(20):
                await asyncio.sleep(0.01)
            assert len(server.asked) < 5
            seen = 0
            while seen < 3 * (8 << 20):
                seen += len(await loop.sock_recv(deaf, 1 << 20))
            assert len(server.asked) >= 3, "it goes on when they are taken"


async def test_a_connection_that_cannot_be_answered_costs_those_of_the_same_turn_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All that asked in one turn are answered one after the other; what is collected of them is
    written once so many wait.
    """
    written: list[int] = []
    write_all = module.CheckServer._write_all

    def noted(server: module.CheckServer) -> None:
        written.append(len(server._unwritten))
        write_all(server)

    def broken(server: module.CheckServer, *given: object, **options: object) -> bytes:
        if "/broken" in str(given[0]):
            msg = "this answer has no bytes"
            raise LookupError(msg)
        return response_bytes(server, *given, **options)  # type: ignore[arg-type]  # passed on

    response_bytes = module.CheckServer.response_bytes
    monkeypatch.setattr(module.CheckServer, "_write_all", noted)
    monkeypatch.setattr(module.CheckServer, "response_bytes", broken)
    monkeypatch.setattr(module, "MAX_UNWRITTEN", 4)
    async with answering() as server:
        assert not isinstance(server.address, str)
        clients = [socket.create_connection(server.address) for _ in range(11)]
        try:
            await eventually(lambda: server.listener.new == len(clients))
            for number, client in enumerate(clients):
                client.sendall(
                    request(f"/{number}") + request("/broken" if number == 5 else f"/{number}")
                )
                client.setblocking(False)
            loop = asyncio.get_running_loop()
            for number, client in enumerate(clients):
                got = b""
                while got.count(b"X-Target") < 2:
                    more = await asyncio.wait_for(loop.sock_recv(client, 1 << 16), 10)
                    if not more:
                        break
                    got += more
                expected = [f"/{number}"] * (1 if number == 5 else 2)
                assert targets(got) == expected
        finally:
            for client in clients:
                client.close()
    assert max(written) == 4, written
    assert "unexpected_error" in caplog.text


async def test_a_silent_connection_ends_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEEPALIVE_S", 0.2)
    async with answering() as server:
        reader, writer = await server.connect()
        writer.write(REQUEST)
        async with asyncio.timeout(10):
            assert targets(await reader.read()) == ["/one"]
        writer.close()
        await writer.wait_closed()


async def test_at_the_end_the_last_answer_of_each_connection_says_so() -> None:
    async with answering() as server:
        kept = await server.connect()
        kept[1].write(REQUEST)
        await kept[0].readuntil(b"\r\n\r\n")
        waits = asyncio.create_task(server.exchange(request("/wait")))
        await eventually(lambda: server.asked[-1].raw_path == "/wait")
        draining = asyncio.create_task(drain([server.listener], owns=lambda: True))
        await eventually(lambda: server.listener.ending)
        kept[1].write(REQUEST)
        assert b"\r\nConnection: close\r\n" in await kept[0].read()
        await draining
    assert b"\r\nConnection: close\r\n" in await waits, "what waits for a store is answered"
    kept[1].close()
    await kept[1].wait_closed()


async def test_at_the_end_whoever_has_waited_for_too_long_is_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STOP_GRACE_S", 0.05)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen(16)
        bound.setblocking(False)
        handler = Answering()
        handler.address = bound.getsockname()
        async with serving(handler, bound) as handler.listener:
            reader, writer = await handler.connect()
            writer.write(request("/wait"))
            await eventually(lambda: handler.asked)
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 500 ")
        writer.close()
        await writer.wait_closed()


async def test_the_kernel_looks_after_connections_of_a_machine_that_is_gone() -> None:
    async with answering() as server:
        reader, writer = await server.connect()
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n")
        (transport,) = server.listener._open.values()
        assert transport is not None
        wire = transport.get_extra_info("socket")
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        writer.close()
        await writer.wait_closed()


async def test_a_unix_socket_has_a_peer_without_an_address(tmp_path: Path) -> None:
    async with answering(tmp_path / "check.sock") as server:
        assert targets(await server.exchange(REQUEST + LAST)) == ["/one", "/last"]
        assert [asked.peer for asked in server.asked] == ["", ""]
    async with answering() as server:
        await server.exchange(LAST)
        assert server.asked[0].peer == "127.0.0.1"
