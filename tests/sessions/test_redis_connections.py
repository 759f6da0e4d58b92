"""The bytes are redis-py's own, a command takes no task, and what cannot be written ends the
connection.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio as library
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import DataError
from redis.exceptions import TimeoutError as WriteTimeoutError

from gateway.sessions.connection import Target, client_to
from gateway.sessions.redis_connections import TcpConnection, UnixConnection
from tests.sessions import servers

if TYPE_CHECKING:
    from pathlib import Path

WORDS = st.lists(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.integers()
    | st.sampled_from(["", b"", "a b", "\r\n", "ä" * 7000])
)


@given(st.sampled_from(["GET", "EVALSHA", "CONFIG GET", b"GET", b"CONFIG GET"]), WORDS)
def test_the_bytes_of_a_command_are_redis_pys_own(name: str | bytes, words: list[Any]) -> None:
    ours, theirs = UnixConnection(path="x"), library.UnixDomainSocketConnection(path="x")
    assert b"".join(ours.pack_command(name, *words)) == b"".join(theirs.pack_command(name, *words))


@pytest.mark.parametrize("word", [None, True, ["x"]], ids=["none", "bool", "list"])
def test_a_word_that_redis_cannot_take_is_refused_and_not_quoted(word: object) -> None:
    with pytest.raises(DataError) as caught:
        UnixConnection(path="x").pack_command("SET", "a secret", word)
    assert "a secret" not in str(caught.value)


async def test_a_command_takes_no_task(tmp_path: Path) -> None:
    made: Counter[str] = Counter()

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        made[work.__qualname__] += 1
        return asyncio.Task(work, loop=loop, **options)

    with servers.running(tmp_path) as server:
        redis = client_to(Target("single", (("127.0.0.1", server.port),)), ca_file=None, replicas=0)
        await redis.get("gw:x")
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        try:
            assert await redis.command("SET", "gw:x", b"\x00" * 100_000) is True
            assert await redis.get("gw:x") == b"\x00" * 100_000
            made.clear()
            for _ in range(3):
                assert await redis.command("SET", "gw:x", "1") is True
        finally:
            loop.set_task_factory(None)
        await redis.close()
    assert not made


async def test_what_a_server_does_not_read_waits_for_the_time_out_and_no_longer() -> None:
    """Half of a command is under way then, so the connection is not used again."""
    taken: list[asyncio.StreamWriter] = []

    async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader.set_exception(ConnectionError())
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a socket
        taken.append(writer)

    async with await asyncio.start_server(never_reads, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = TcpConnection(host="127.0.0.1", port=port, socket_timeout=0.2)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        connection._reader, connection._writer = reader, writer
        with pytest.raises(WriteTimeoutError, match="writing"):
            await connection.send_packed_command([b"x" * 50_000_000])
        assert not connection.is_connected
        assert writer.transport.is_closing()
        for each in taken:
            each.transport.abort()
        writer.transport.abort()


async def test_a_connection_that_cannot_be_written_to_is_used_no_more() -> None:
    class Broken(asyncio.Transport):
        def __init__(self) -> None:
            super().__init__()
            self.closed = False

        def write(self, data: Any) -> None:
            message = "the handler is closed"
            raise RuntimeError(message)

        def is_closing(self) -> bool:
            return self.closed

        def close(self) -> None:
            self.closed = True

    loop = asyncio.get_running_loop()
    reader, transport = asyncio.StreamReader(), Broken()
    protocol = asyncio.StreamReaderProtocol(reader)
    connection = TcpConnection(host="127.0.0.1", port=1, socket_timeout=1)
    connection._reader = reader
    connection._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    with pytest.raises(RuntimeError, match="closed"):
        await connection.send_command("GET", "x")
    assert not connection.is_connected
    assert transport.closed
