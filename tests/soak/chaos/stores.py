"""The stores: Valkey with a replica and three sentinels, and PostgreSQL with a synchronous standby.

Each server is reached through a front of its own (``links``), which the others are told of too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from demo.processes import free_port
from tests.database.postgres import _binaries, _die_with_parent, _user
from tests.sessions import servers
from tests.support.memory_folder import make_folder, remove_folder
from tests.support.small_disk import NOBODY, SmallDisk

if TYPE_CHECKING:
    from tests.soak.chaos.links import Network

DOWN_AFTER_MS = 1500
FAILOVER_MS = 8000
VALKEY = (
    "--repl-diskless-sync-delay",
    "0",
    "--min-replicas-to-write",
    "1",
    "--appendonly",
    "yes",
    "--repl-timeout",
    "5",
)
VALKEY_DISK_BYTES = 64 << 20
POSTGRES_DISK_BYTES = 160 << 20
SERVERS, WATCHERS = ("valkey-a", "valkey-b"), ("sentinel-0", "sentinel-1", "sentinel-2")
PATIENCE_S = 60.0


class Valkey:
    """Two servers, of which sentinels name the primary. A server that was killed comes back as its
    configuration says, which for a primary is: as a primary.
    """

    def __init__(self, folder: Path, network: Network, *, small_disks: bool) -> None:
        self._artifacts, self._network = folder, network
        # Its own, since whoever is no user of ours has to get in; pytest's folders are closed.
        self.folder = make_folder("gateway-chaos-")
        self.folder.chmod(0o711)
        self.servers: dict[str, servers.Server] = {}
        self.watchers: dict[str, servers.Server] = {}
        self.disks: dict[str, SmallDisk] = {}
        self._small = small_disks
        self._follows: dict[str, str | None] = {}

    @property
    def url(self) -> str:
        ports = [self._network.fronts[name].port for name in WATCHERS]
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in ports)}/gw"

    async def start(self) -> None:
        for name in SERVERS:
            (self.folder / name).mkdir(parents=True)
            if self._small:
                self.disks[name] = SmallDisk(self.folder / name, size_bytes=VALKEY_DISK_BYTES)
            await self._network.front(name, [free_port()])
        await self._launch("valkey-a", None)
        await self._launch("valkey-b", "valkey-a")
        await asyncio.to_thread(
            self.servers["valkey-b"].until,
            lambda reply: b"master_link_status:up" in reply,
            "INFO",
            "replication",
        )
        for name in WATCHERS:
            front = await self._network.front(name, [free_port()])
            first = self._network.fronts["valkey-a"].port
            watch = (
                f"sentinel announce-ip 127.0.0.1\nsentinel announce-port {front.port}\n"
                f"sentinel monitor gw 127.0.0.1 {first} 2\n"
                f"sentinel down-after-milliseconds gw {DOWN_AFTER_MS}\n"
                f"sentinel failover-timeout gw {FAILOVER_MS}\nsentinel parallel-syncs gw 1\n"
            )
            self.watchers[name] = await asyncio.to_thread(
                servers.start, self.folder / name, sentinel=watch, port=front.targets[0]
            )
        for watcher in self.watchers.values():
            await asyncio.to_thread(
                watcher.until,
                lambda reply: b"slaves=1,sentinels=3" in reply,
                "INFO",
                "sentinel",
                seconds=PATIENCE_S,
            )

    async def _launch(self, name: str, follows: str | None) -> None:
        front = self._network.fronts[name]
        announced = ("--replica-announce-ip", "127.0.0.1", "--replica-announce-port", front.port)
        following = (
            ()
            if follows is None
            else ("--replicaof", f"127.0.0.1 {self._network.fronts[follows].port}")
        )
        within = [str(word) for word in self.disks[name].within()] if self._small else []
        self.servers[name] = await asyncio.to_thread(
            lambda: servers.start(
                self.folder / name,
                *VALKEY,
                *map(str, announced),
                *following,
                port=front.targets[0],
                within=within,
            )
        )

    def primary(self) -> str:
        """The one that more sentinels name; the first where none answers."""
        named: list[str] = []
        for watcher in self.watchers.values():
            with contextlib.suppress(OSError):
                reply = watcher.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "gw")
                named += [
                    name
                    for name in SERVERS
                    if b"\r\n%d\r\n" % self._network.fronts[name].port in reply
                ]
        return max(SERVERS, key=named.count)

    def replica(self) -> str:
        return next(name for name in SERVERS if name != self.primary())

    def ask(self, *words: str) -> bytes:
        """Of the primary."""
        return self.servers[self.primary()].ask(*words)

    async def kill(self, name: str) -> None:
        if name in self.watchers:
            await asyncio.to_thread(self.watchers[name].stop)
            return
        self._follows[name] = None if name == self.primary() else self.primary()
        await asyncio.to_thread(self.servers[name].stop)

    async def start_again(self, name: str) -> None:
        if name in self.watchers:
            self.watchers[name] = await asyncio.to_thread(self._start_watcher, name)
        else:
            await self._launch(name, self._follows.pop(name, None))

    def _start_watcher(self, name: str) -> servers.Server:
        """With what it wrote into its configuration itself."""
        kept = (self.folder / name / "sentinel.conf").read_text("utf-8").splitlines()
        mine = ("port ", "bind ", "protected-mode ", "dir ", "logfile ")
        watch = "\n".join(line for line in kept if not line.startswith(mine))
        return servers.start(
            self.folder / name, sentinel=watch, port=self._network.fronts[name].targets[0]
        )

    def pids(self) -> dict[str, list[int]]:
        return {
            name: [server.process.pid] for name, server in (self.servers | self.watchers).items()
        }

    def stop(self) -> None:
        for server in (*self.watchers.values(), *self.servers.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.process.pid, signal.SIGCONT)
            server.stop()
        for name in (*SERVERS, *WATCHERS):
            there = self.folder / name / "log"
            seen = self.disks[name].seen(there) if name in self.disks else there
            with contextlib.suppress(OSError):
                shutil.copy(seen, self._artifacts / f"{name}.log")
        for disk in self.disks.values():
            disk.close()
        remove_folder(self.folder)


class PostgresServer:
    """One PostgreSQL, made anew or as a copy of another."""

    def __init__(self, name: str, artifacts: Path, *, small_disk: bool) -> None:
        self.name, self.port = name, free_port()
        self._log = artifacts / f"{name}.log"
        """Beside the history, so that it is there however the run ends."""
        self.root = make_folder("gateway-chaos-")
        if os.geteuid() == 0:
            os.chown(self.root, NOBODY, NOBODY)
        self.disk = SmallDisk(self.root, size_bytes=POSTGRES_DISK_BYTES) if small_disk else None
        self.process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self.data = self.root / "data"

    def initialize(self) -> None:
        segments = () if self.disk is None else ("--wal-segsize=1",)
        self._run(
            "initdb",
            "-D",
            str(self.data),
            "-U",
            "gateway",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
            *segments,
        )

    def copy(self, port: int) -> None:
        """A streaming standby of the server at this port, under this one's name. What this one had
        before goes: a disk of three copies is full, and its primary ends at the next segment.
        """
        self._run_within("rm", "-rf", str(self.data))
        self._made += 1
        self.data = self.root / f"data-{self._made}"
        source = f"host=127.0.0.1 port={port} user=gateway application_name={self.name}"
        self._run(
            "pg_basebackup", "-D", str(self.data), "-d", source, "-R", "-X", "stream", "-c", "fast"
        )

    def _run(self, program: str, *arguments: str) -> None:
        self._run_within(str(_binaries() / program), *arguments)

    def _run_within(self, *command: str) -> None:
        """Where its files are. Raises ``RuntimeError`` with what the command said."""
        if self.disk is not None:
            done = subprocess.run(self.disk.within(*command), check=False, capture_output=True)
        else:
            done = subprocess.run(
                command, check=False, capture_output=True, cwd="/", user=_user(), group=_user()
            )
        if done.returncode != 0:
            msg = f"{self.name}: {command[0]}: {done.stderr.decode(errors='replace')[-2000:]}"
            raise RuntimeError(msg)

    def start(self) -> None:
        self.launch()
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers():
            assert self.alive(), self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def launch(self) -> None:
        command = [
            str(_binaries() / "postgres"),
            *("-D", str(self.data), "-k", str(self.root), "-p", str(self.port)),
            *("-h", "127.0.0.1", "-F", "-c", "max_connections=100"),
            *("-c", "wal_receiver_timeout=5s", "-c", "wal_sender_timeout=5s"),
            *("-c", "min_wal_size=8MB", "-c", "max_wal_size=32MB", "-c", "wal_keep_size=16MB"),
        ]
        with self._log.open("ab") as log:
            self.process = (
                subprocess.Popen(
                    command,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    user=_user(),
                    group=_user(),
                    preexec_fn=_die_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
                )
                if self.disk is None
                else subprocess.Popen(self.disk.within(*command), stdout=log, stderr=log)
            )

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def answers(self) -> bool:
        asked = [str(_binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        asked += ["-U", "gateway", "-d", "postgres"]
        return subprocess.run(asked, check=False).returncode == 0

    def log(self) -> str:
        return self._log.read_text("utf-8", errors="replace")[-3000:]

    def pids(self) -> list[int]:
        if self.process is None:
            return []
        main = self.process.pid
        with contextlib.suppress(OSError):
            return [
                main,
                *map(int, Path(f"/proc/{main}/task/{main}/children").read_text("ascii").split()),
            ]
        return [main]

    def crash(self) -> None:
        """Connections break without a goodbye."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
            self.process = None

    def promote(self) -> None:
        self._run("pg_ctl", "promote", "-D", str(self.data), "-w", "-t", "30")

    def remove(self) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.crash()
        if self.disk is not None:
            self.disk.close()
        remove_folder(self.root)


class Postgres:
    """A primary, to which the front leads, and its standby. What was committed is on both."""

    def __init__(self, artifacts: Path, network: Network, *, small_disks: bool) -> None:
        self._network = network
        self.primary = PostgresServer("postgres-a", artifacts, small_disk=small_disks)
        self.standby = PostgresServer("postgres-b", artifacts, small_disk=small_disks)

    async def start(self) -> None:
        await asyncio.to_thread(self.primary.initialize)
        await asyncio.to_thread(self.primary.start)
        await self.execute("CREATE DATABASE gateway", database="postgres")
        await self._network.front("postgres", [self.primary.port])
        await self._network.front("standby", [self.primary.port])
        await self.follow()

    @property
    def url(self) -> str:
        port = self._network.fronts["postgres"].port
        return f"postgresql+asyncpg://gateway@127.0.0.1:{port}/gateway"

    async def follow(self) -> None:
        """A standby of the primary, from a copy; from then on nothing is committed without it."""
        self._network.fronts["standby"].targets[:] = [self.primary.port]
        await self.execute("ALTER SYSTEM RESET synchronous_standby_names")
        await self.execute("SELECT pg_reload_conf()")
        await asyncio.to_thread(self.standby.copy, self._network.fronts["standby"].port)
        await asyncio.to_thread(self.standby.start)
        await self.require_standby()

    async def require_standby(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            streaming = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"
            while not await self.ask(streaming):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.1)
        await self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await self.execute("SELECT pg_reload_conf()")

    async def promote(self) -> None:
        """The primary is lost, and the standby takes its place; it waits for no standby until it
        has one.
        """
        await asyncio.to_thread(self.primary.crash)
        await asyncio.to_thread(self.standby.promote)
        self.primary, self.standby = self.standby, self.primary
        self._network.fronts["postgres"].targets[:] = [self.primary.port]
        self._network.fronts["postgres"].drop()

    async def execute(self, statement: str, *, database: str = "gateway") -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=self.primary.port, user="gateway", database=database, timeout=10
        )
        try:
            await connection.execute(statement, timeout=20)
        finally:
            await connection.close()

    async def ask(self, query: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=self.primary.port, user="gateway", database="gateway", timeout=5
        )
        try:
            return list(await connection.fetch(query, *values, timeout=5))
        finally:
            connection.terminate()

    def remove(self) -> None:
        self.standby.remove()
        self.primary.remove()
