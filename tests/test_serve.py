"""Several workers under one supervisor, as a process."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from demo.world import World
from tests.gateway_process import GatewayProcess, serving
from tests.sessions.conftest import HOST
from tests.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_workers_share_the_listeners_and_the_metrics_and_leave_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with RunningWorld(World(tmp_path / "world", replicas=2, workers=2, environment={"TMPDIR": str(temporary)})) as running:
        for _ in range(8):
            assert running.check("acme.localhost").status == 401
        folders = set(temporary.glob("gateway-metrics-*"))
        assert len(folders) == 2, "one for each supervisor, though their state is shared"
        with urllib.request.urlopen(f"http://127.0.0.1:{running.world.gateways[0].ports['admin']}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert 'gateway_checks_total{decision="login",dialect="nginx",reason="no_session",tenant="acme"} 8.0' in text
    assert set(temporary.glob("gateway-metrics-*")) == set()


@dataclass
class Log:
    """The read end of the pipe that the gateway writes its log to; read only while ``reading``."""

    descriptor: int
    lines: list[bytes] = field(default_factory=list)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """In the block, and until the pipe is empty."""
        stop = threading.Event()
        reader = threading.Thread(target=self._read, args=[stop])
        reader.start()
        try:
            yield
        finally:
            stop.set()
            reader.join()

    def _read(self, stop: threading.Event) -> None:
        rest, quiet = b"", 0
        while not (stop.is_set() and quiet >= 10):
            try:
                read = os.read(self.descriptor, 65536)
            except BlockingIOError:
                read = b""
            quiet = 0 if read else quiet + 1
            if not read:
                stop.wait(0.02) if not stop.is_set() else threading.Event().wait(0.02)
            *whole, rest = (rest + read).split(b"\n")
            self.lines += whole

    def events(self, name: str) -> list[dict[str, object]]:
        found = [json.loads(line) for line in self.lines if line.startswith(b"{")]
        return [event for event in found if event["event"] == name]


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, Log]]:
    """Two workers and an admin process; their stderr is the smallest of pipes, as every service manager gives them one."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    log = Log(reader)
    with serving(tmp_path_factory.mktemp("piped"), workers=2, stderr=writer) as gateway:
        os.close(writer)
        yield gateway, log
    os.close(reader)


def test_a_reader_of_the_log_that_stops_stops_nothing_and_loses_nothing(piped: tuple[GatewayProcess, Log]) -> None:
    gateway, log = piped
    cookie = gateway.log_in()
    paths = [f"/page-{n}" for n in range(150)]
    assert [gateway.check(cookie, path=path) for path in paths] == [200] * len(paths)
    assert gateway.get("admin", "/healthz")[0] == 200
    assert gateway.get("public", "/_auth/userinfo", {"Host": HOST})[0] == 401
    with log.reading():
        assert gateway.metric("gateway_log_lines_dropped_total") == 0
    told = [event["path"] for event in log.events("check") if event["path"] != "/"]
    assert sorted(told, key=str) == sorted(paths), "none lost, none twice"


def test_an_end_does_not_need_a_reader_of_the_log(piped: tuple[GatewayProcess, Log]) -> None:
    gateway, _ = piped
    for _ in range(50):
        gateway.check()
    assert gateway.stop(within_s=12) == 0
