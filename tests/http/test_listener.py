"""One listener: how many connections, for how long, and what becomes of them at the end. Real
sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from aiohttp import web
from prometheus_client import generate_latest

from gateway.check import server
from gateway.check.response import CheckResponse
from gateway.http import listener as module
from gateway.http.listener import Listener, listening
from gateway.metrics import REGISTRY
from gateway.runtime.draining import drain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from gateway.check.dialects import RawRequest

    class Serve(Protocol):
        def __call__(self, *, limit: int = 100) -> AbstractAsyncContextManager[Server]: ...


PATIENCE_S = 60
"""Longer than a busy machine takes for anything."""
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Server:
    """A listener whose requests to ``/wait`` are answered once ``go`` is set."""

    def __init__(self, listener: Listener, port: int, go: asyncio.Event) -> None:
        self.listener, self.port, self.go = listener, port, go
        self.clients: list[Client] = []

    async def connect(self, sent: bytes = b"") -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        client.writer.write(sent)
        self.clients.append(client)
        return client

    async def close(self) -> None:
        for client in self.clients:
            client.writer.close()
            with contextlib.suppress(OSError):
                await client.writer.wait_closed()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, sent: bytes = REQUEST) -> bytes:
        self.writer.write(sent)
        return await self.head()

    async def head(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def ended(self) -> bool:
        """Waits until the other side closes."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self.reader.read() == b""
        except ConnectionResetError:
            return True

    @property
    def open(self) -> bool:
        return not self.reader.at_eof() and self.reader.exception() is None


@asynccontextmanager
async def serving_checks(*, limit: int = 100) -> AsyncIterator[Server]:
    """As ``serving``, by the server of the check listener, which reads no bodies."""
    go = asyncio.Event()

    async def later() -> CheckResponse:
        await go.wait()
        return CheckResponse(204)

    def handle(request: RawRequest) -> CheckResponse | Awaitable[CheckResponse]:
        if request.raw_path == "/fault":
            raise LookupError("a mistake of ours")
        if request.raw_path.startswith("/large"):
            return CheckResponse(200, body=bytes(8 << 20))
        return later() if request.raw_path == "/wait" else CheckResponse(204)

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen(128)
        bound.setblocking(False)
        async with server.serving(handle, bound, limit=limit) as listener:
            made = Server(listener, bound.getsockname()[1], go)
            yield made
            go.set()
        await made.close()


@asynccontextmanager
async def serving(*, limit: int = 100, name: str = "check") -> AsyncIterator[Server]:
    go = asyncio.Event()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/wait":
            await go.wait()
        if request.path == "/fault":
            raise LookupError("a mistake of ours")
        if request.method == "POST":
            await request.read()
        if request.path == "/large":
            return web.Response(
                body=bytes(8 << 20),
                headers={"Connection": "close"} if request.query_string else None,
            )
        return web.Response(status=204)

    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(128)
    bound.setblocking(False)
    try:
        async with listening(
            web.ServerRunner(web.Server(handle), shutdown_timeout=1), bound, name=name, limit=limit
        ) as listener:
            server = Server(listener, bound.getsockname()[1], go)
            yield server
            go.set()
        await server.close()
    finally:
        bound.close()


def metric(line: str) -> float:
    return next(
        (
            float(row.rpartition(" ")[2])
            for row in generate_latest(REGISTRY).decode().splitlines()
            if row.rpartition(" ")[0] == line
        ),
        0.0,
    )


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - of sockets
            await asyncio.sleep(0.01)


both = pytest.mark.parametrize(
    "serve", [serving, serving_checks], ids=["aiohttp", "the check's own"]
)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"HEAD_S": 0.1, "BODY_S": 0.3, "TAKEN_S": 0.3, "_SWEEP_S": 0.02}.items():
        monkeypatch.setattr(module, name, seconds)


@pytest.mark.usefixtures("impatient")
async def test_heads_and_bodies_that_never_end_are_cut_off_and_nobody_else_is() -> None:
    closed = {
        reason: metric(f'gateway_connections_closed_total{{listener="check",reason="{reason}"}}')
        for reason in ("slow_head", "slow_body")
    }
    async with serving() as server:
        idle, silent, waiting = (
            await server.connect(),
            await server.connect(),
            await server.connect(),
        )
        assert b" 204 " in await idle.ask()
        slow = await server.connect(b"GET / HTTP/1.1\r\nHost")
        second = await server.connect()
        await second.ask()
        second.writer.write(b"GET")
        body = await server.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        behind = await server.connect(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: "
            b"websocket\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"
        )
        waiting.writer.write(REQUEST.replace(b"/", b"/wait", 1))
        assert b" 204 " in await behind.head() and await behind.ended()
        assert await slow.ended() and await second.ended() and await body.ended()
        assert idle.open and silent.open, (
            "between requests a proxy may keep a connection for as long as it likes"
        )
        assert b" 204 " in await silent.ask(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nfull"
        )
        server.go.set()
        assert b" 204 " in await waiting.head(), "an answer takes as long as it takes"
    assert (
        metric('gateway_connections_closed_total{listener="check",reason="slow_head"}')
        == closed["slow_head"] + 2
    )
    assert (
        metric('gateway_connections_closed_total{listener="check",reason="slow_body"}')
        == closed["slow_body"] + 2
    )


@both
async def test_whoever_asks_and_does_not_take_the_answer_keeps_no_place(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SWEEP_S", 0.02)
    before = metric('gateway_connections_closed_total{listener="check",reason="unread"}')
    async with serve(limit=3) as server:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as deaf:
            for target in (b"/large", b"/large?last", b"/large?last"):
                client = deaf.enter_context(socket.socket())
                client.setblocking(False)
                await loop.sock_connect(client, ("127.0.0.1", server.port))
                await loop.sock_sendall(client, REQUEST.replace(b"/", target, 1))
            await eventually(lambda: len(server.listener._unread) == 3)
            now = asyncio.get_running_loop().time()
            assert all(
                now < ends <= now + module.TAKEN_S for ends in server.listener._unread.values()
            )
            # Their time passes.
            server.listener._unread = dict.fromkeys(server.listener._unread, now)
            assert b" 204 " in await (await server.connect(REQUEST)).head()
            reader = await server.connect(REQUEST.replace(b"/", b"/large", 1))
            await reader.head()
            async with asyncio.timeout(PATIENCE_S):
                assert len(await reader.reader.readexactly(8 << 20)) == 8 << 20, (
                    "it was taken as it came"
                )
    assert (
        metric('gateway_connections_closed_total{listener="check",reason="unread"}') == before + 3
    )


@both
async def test_at_the_bound_the_connection_that_was_idle_for_longest_makes_room(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    before = metric('gateway_connections{listener="check"}')
    async with serve(limit=4) as server:
        busy = await server.connect(REQUEST.replace(b"/", b"/wait", 1))
        used = await server.connect()
        idle = [await server.connect() for _ in range(2)]
        await eventually(lambda: len(server.listener._open) == 4)
        await used.ask()
        for n in range(20):
            assert b" 204 " in await (await server.connect()).ask(), n
        assert await idle[0].ended() and await idle[1].ended() and await used.ended()
        assert busy.open and len(server.listener._open) <= 4
        server.go.set()
        assert b" 204 " in await busy.head()
    assert [record.message for record in caplog.records].count("connections_at_limit") == 1, (
        "said once, not for each"
    )
    await eventually(lambda: metric('gateway_connections{listener="check"}') == before)


@both
async def test_where_all_are_busy_a_new_connection_waits_and_none_is_cut_off(serve: Serve) -> None:
    async with serve(limit=3) as server:
        busy = [await server.connect(REQUEST.replace(b"/", b"/wait", 1)) for _ in range(3)]
        await eventually(lambda: len(server.listener._open) == 3)
        late = await server.connect(REQUEST)
        await eventually(lambda: server.listener._paused is not None)
        server.go.set()
        for client in [*busy, late]:
            assert b" 204 " in await client.head()


@both
async def test_a_process_without_descriptors_says_so_once_and_accepts_again(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    before = metric('gateway_accept_errors_total{listener="check"}')
    async with serve() as server:
        bound: Any = server.listener._bound

        class Exhausted:
            """As the kernel answers a process that has used up its descriptors."""

            errors = 5

            def accept(self) -> Any:
                if self.errors:
                    self.errors -= 1
                    raise OSError(errno.EMFILE, "Too many open files")
                return bound.accept()

            def fileno(self) -> int:
                return int(bound.fileno())

        server.listener._bound = Exhausted()  # type: ignore[assignment]  # what is used of a socket
        client = await server.connect(REQUEST)
        assert b" 204 " in await client.head()
    (told,) = [record for record in caplog.records if record.message == "accept_failed"]
    assert (
        told.gateway_fields["error"] == "Too many open files"  # type: ignore[attr-defined]  # set by our fields()
        and told.gateway_fields["listener"] == "check"  # type: ignore[attr-defined]  # set by our fields()
    )
    assert metric('gateway_accept_errors_total{listener="check"}') == before + 5


@both
async def test_a_mistake_of_ours_says_when_to_come_again_and_its_trace_does_not_flood_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve() as server:
        for _ in range(20):
            client = await server.connect(REQUEST.replace(b"/", b"/fault", 1))
            head = await client.head()
            assert b" 500 " in head and b"\r\nRetry-After: 2\r\n" in head
    told = [record for record in caplog.records if record.message == "unexpected_error"]
    assert 1 <= len(told) < 20
    assert told[0].exc_info is not None and told[0].exc_info[0] is LookupError


@both
async def test_whoever_is_connected_when_it_ends_is_answered_and_nobody_is_reset(
    serve: Serve,
) -> None:
    """Clients that connect all the time, each once; at some moment nobody accepts any more."""
    outcomes: list[str] = []

    async def visit(port: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with socket.socket() as client:
                client.setblocking(False)
                try:
                    async with asyncio.timeout(0.8):
                        await loop.sock_connect(client, ("127.0.0.1", port))
                except (ConnectionRefusedError, TimeoutError):
                    return
                try:
                    await loop.sock_sendall(client, REQUEST)
                    head = await loop.sock_recv(client, 4096)
                    outcomes.append(
                        "last" if b"Connection: close" in head else "answered" if head else "lost"
                    )
                except ConnectionError:
                    outcomes.append("lost")

    async with serve() as server:
        kept = await server.connect()
        await kept.ask()
        late = await server.connect()
        visitors = [asyncio.create_task(visit(server.port)) for _ in range(20)]
        await eventually(lambda: outcomes.count("answered") > 200)
        draining = asyncio.create_task(drain([server.listener], owns=lambda: True))
        await eventually(lambda: server.listener.ending)
        assert b"Connection: close" in await kept.ask()
        await eventually(lambda: not server.listener.accepting)
        assert b" 204 " in await late.ask(), "its request was on the way"
        await draining
    await asyncio.gather(*visitors)
    assert outcomes.count("lost") == 0
    assert outcomes.count("last") > 0


@both
async def test_a_process_that_leaves_its_sockets_to_others_leaves_them_their_connections(
    serve: Serve,
) -> None:
    async with serve() as server:
        await drain([server.listener], owns=lambda: False)
        client = await server.connect(REQUEST)
        server.listener.start()  # as another worker, on the same socket
        assert b" 204 " in await client.head()


async def test_a_unix_socket_refuses_who_comes_late_and_answers_who_is_in_its_queue(
    tmp_path: Path,
) -> None:
    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=204)

    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(path)
        bound.listen(8)
        bound.setblocking(False)
        async with listening(web.ServerRunner(web.Server(handle)), bound, name="check") as listener:
            listener._loop.remove_reader(
                bound.fileno()
            )  # as while the process is busy: the queue is all there is
            client = Client(*await asyncio.open_unix_connection(path))
            client.writer.write(REQUEST)
            await drain([listener], owns=lambda: True)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_unix_connection(path)
            assert b" 204 " in await client.head()
            client.writer.close()
            await client.writer.wait_closed()
