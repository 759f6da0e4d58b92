"""What stands between the gateway and PostgreSQL: a network that stops, and a pooler that gives
each transaction another session.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

_SSL_REQUEST = 80877103


@dataclass(eq=False)
class _Session:
    """Of a pooler, at PostgreSQL."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    client: asyncio.StreamWriter | None = None


class Relay:
    """A port that leads to PostgreSQL; ``silent`` passes nothing on and closes nothing, as a server
    that hangs.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._passing = asyncio.Event()
        self._passing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._sessions: list[_Session] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers.append(writer)
        return reader, writer

    def silent(self) -> None:
        self._passing.clear()

    def speaks(self) -> None:
        self._passing.set()

    def url(self, direct: str) -> str:
        """``direct``, but through this port."""
        return direct.replace(f":{self._to}/", f":{self.port}/")

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        server_reader, server_writer = await self._connect()
        for source, sink in ((reader, server_writer), (server_reader, writer)):
            self._start(self._pass(source, sink))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    await self._passing.wait()
                    sink.write(data)
                    await sink.drain()
        finally:
            sink.close()


class TransactionPooler(Relay):
    """As PgBouncer with ``pool_mode = transaction``: a client has a session until its transaction
    ends, and the next one has whichever was idle last.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._idle: list[_Session] = []
        self._greeting = b""

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        startup = await _untyped(reader)
        while struct.unpack("!I", startup[4:8])[0] == _SSL_REQUEST:
            writer.write(b"N")
            startup = await _untyped(reader)
        if not self._greeting:
            session, self._greeting = await self._session(startup)
            self._idle.append(session)
        writer.write(self._greeting)
        self._start(self._serve(reader, writer, startup))

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, startup: bytes
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while (message := await _typed(reader))[:1] != b"X":
                session = next((one for one in self._sessions if one.client is writer), None)
                if session is None:
                    session = self._idle.pop() if self._idle else (await self._session(startup))[0]
                    session.client = writer
                session.writer.write(message)
        writer.close()

    async def _session(self, startup: bytes) -> tuple[_Session, bytes]:
        session = _Session(*await self._connect())
        session.writer.write(startup)
        greeting = b""
        while not greeting.endswith(b"Z\x00\x00\x00\x05I"):
            greeting += await _typed(session.reader)
        self._sessions.append(session)
        self._start(self._answer(session))
        return session, greeting

    async def _answer(self, session: _Session) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while answer := await _typed(session.reader):
                client = session.client
                if answer == b"Z\x00\x00\x00\x05I":
                    session.client = None
                    self._idle.append(session)
                if client is not None:
                    client.write(answer)


async def _untyped(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack("!I", head)[0] - 4)


async def _typed(reader: asyncio.StreamReader) -> bytes:
    kind = await reader.readexactly(1)
    return kind + await _untyped(reader)
