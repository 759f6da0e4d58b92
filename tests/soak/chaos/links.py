"""The network between the machines: each server is reached through a port of ours, and who connects
is known by the process that owns the other end. So a link between two machines can be cut, be
silent or be slow, without root.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

CONNECT_S = 5.0
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST = 4, 20, 1


@dataclass(eq=False, slots=True)
class Link:
    """From one machine to one server. ``silent``: bytes are kept, and no connection breaks."""

    cut: bool = False
    silent: bool = False
    delay_s: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def set(self, *, cut: bool = False, silent: bool = False, delay_s: float = 0.0) -> None:
        self.cut, self.silent, self.delay_s = cut, silent, delay_s
        self.changed.set()
        self.changed = asyncio.Event()
        if cut:
            for writer in self.writers:
                writer.transport.abort()


class Front:
    """The port by which a server is reached. With several targets they take turns, and one that
    refuses is passed over, as a load balancer does.
    """

    def __init__(
        self,
        name: str,
        targets: Sequence[int],
        who: Callable[[int, int], str],
        *,
        address: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name, self.targets = name, list(targets)
        self.links: defaultdict[str, Link] = defaultdict(Link)
        self._who, self._address, self._tls = who, address, tls
        self._turn = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """Break all connections, as a server that moved does."""
        for link in self.links.values():
            for writer in link.writers:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            peer = writer.get_extra_info("peername")
            link = self.links[self._who(peer[1], self.port) if peer else ""]
            if not link.cut:
                await self._through(link, reader, writer)
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _through(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there_reader, there_writer = await self._connect()
        link.writers |= {writer, there_writer}
        try:
            await asyncio.gather(
                self._pump(link, reader, there_writer), self._pump(link, there_reader, writer)
            )
        finally:
            link.writers -= {writer, there_writer}
            there_writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        error: OSError | None = None
        for _ in range(len(self.targets)):
            self._turn += 1
            target = self.targets[self._turn % len(self.targets)]
            try:
                async with asyncio.timeout(CONNECT_S):
                    return await asyncio.open_connection(self._address, target)
            except (OSError, TimeoutError) as refused:
                error = OSError(str(refused))
        raise error or OSError("no target")

    @staticmethod
    async def _pump(link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """An end of one direction is passed on; an abort ends both."""
        try:
            while data := await reader.read(65536):
                if link.delay_s and not link.silent:
                    await _until(link.changed, link.delay_s)
                while link.silent:
                    await link.changed.wait()
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            else:
                writer.transport.close()
        except OSError:
            writer.transport.abort()


async def _until(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Network:
    """All fronts. ``pids`` says which processes are on which machine."""

    def __init__(self, pids: Callable[[], Mapping[str, Iterable[int]]]) -> None:
        self.fronts: dict[str, Front] = {}
        self._pids = pids

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for front in self.fronts.values():
            await front.close()

    async def front(
        self,
        name: str,
        targets: Sequence[int],
        *,
        port: int = 0,
        address: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        told_apart: bool = True,
    ) -> Front:
        """``told_apart``: whether there is a link for each machine that connects, or one for
        all.
        """
        who = self.who if told_apart else _anybody
        made = self.fronts[name] = Front(name, targets, who, address=address, tls=tls)
        await made.start(port)
        return made

    def link(self, source: str, target: str) -> Link:
        return self.fronts[target].links[source]

    def links_of(self, source: str, targets: Iterable[str]) -> list[Link]:
        return [self.link(source, target) for target in targets]

    def heal(self) -> None:
        for front in self.fronts.values():
            for link in front.links.values():
                if link.cut or link.silent or link.delay_s:
                    link.set()

    def who(self, port: int, server: int) -> str:
        """The machine whose process has this local port; empty for the soak's own."""
        inode = _inode_of(port, server)
        if inode is None:
            return ""
        wanted = f"socket:[{inode}]"
        for name, pids in self._pids().items():
            for pid in pids:
                if _has_open(pid, wanted):
                    return name
        return ""


def _anybody(_port: int, _server: int) -> str:
    return ""


def _inode_of(port: int, server: int) -> str | None:
    """Of the client's end of a connection on loopback: asked of the kernel by its four numbers,
    since a list of all sockets takes long on a busy machine (sock_diag(7)).
    """
    ports = struct.pack("!HH", port, server)
    ends = socket.inet_aton("127.0.0.1") + bytes(12)
    identity = ports + ends + ends + bytes(4) + b"\xff" * 8
    request = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + identity
    header = struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as kernel:
        kernel.sendto(header + request, (0, 0))
        answer = kernel.recv(8192)
    if struct.unpack_from("=H", answer, 4)[0] != SOCK_DIAG_BY_FAMILY:
        return None
    return str(struct.unpack_from("=I", answer, 16 + 4 + 48 + 16)[0])


def _has_open(pid: int, wanted: str) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(_leads_to(entry.path, wanted) for entry in entries)
    except OSError:
        return False


def _leads_to(path: str, wanted: str) -> bool:
    try:
        return os.readlink(path) == wanted  # noqa: PTH115 - of the kernel's, thousands of them
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split():
            found += descendants(int(child))
    return found
