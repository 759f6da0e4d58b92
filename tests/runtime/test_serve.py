"""Several workers under one supervisor, as a process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import resource
import signal
import socket
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from aiohttp import web

from demo.world import World
from gateway.errors import ConfigError
from gateway.http.listener import listening
from gateway.runtime.dependencies import stopping_state
from gateway.runtime.serve import _refuse_twice, bind, identity, unbind
from tests.sessions.conftest import HOST
from tests.soak.floods import FLOODERS, TIMES_AS_LONG, Person, begin, begin_logins, flooding, p99
from tests.support.gateway_process import ROOT, GatewayProcess, serving, until
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_workers_share_the_listeners_and_the_metrics_and_leave_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {"TMPDIR": str(temporary), "NOTIFY_SOCKET": str(tmp_path / "notify")}
    with (
        Told(tmp_path / "notify") as told,
        RunningWorld(
            World(tmp_path / "world", replicas=2, workers=2, environment=environment), executed=True
        ) as running,
    ):
        until(lambda: told.facts() == ["READY=1", "READY=1"])  # each supervisor, and no worker
        for _ in range(8):
            assert running.check("acme.localhost").status == 401
        folders = set(temporary.glob("gateway-metrics-*"))
        assert len(folders) == 2, "one for each supervisor, though their state is shared"
        address = f"http://127.0.0.1:{running.world.gateways[0].ports['admin']}/metrics"
        counted = (
            'gateway_checks_total{decision="login",dialect="nginx",reason="no_session",'
            'tenant="acme"} 8.0'
        )
        ends, text = time.monotonic() + 10, ""
        while counted not in text and time.monotonic() < ends:  # each worker tells once a second
            with urllib.request.urlopen(address, timeout=10) as answer:
                text = answer.read().decode()
            time.sleep(0.05)
        assert counted in text
    assert set(temporary.glob("gateway-metrics-*")) == set()


class Told:
    """A service manager's end of ``NOTIFY_SOCKET``; collects what it is told."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._facts: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def facts(self, *, but: str = "") -> list[str]:
        """The first line of each datagram so far, without those that say ``but``."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._facts.append(self._socket.recv(4096).decode().partition("\n")[0])
        return [fact for fact in self._facts if fact != but]


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
    """For tests after which it still serves."""
    with two_workers(tmp_path_factory.mktemp("piped")) as found:
        yield found


@contextmanager
def two_workers(folder: Path) -> Iterator[tuple[GatewayProcess, Log]]:
    """Two workers and an admin process; their stderr is the smallest of pipes, as every service
    manager gives them one.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    log = Log(reader)
    with serving(folder, workers=2, stderr=writer) as gateway:
        os.close(writer)
        yield gateway, log
    os.close(reader)


def test_a_reader_of_the_log_that_stops_stops_nothing_and_loses_nothing(
    piped: tuple[GatewayProcess, Log],
) -> None:
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


def readiness(gateway: GatewayProcess) -> tuple[int, bool, str]:
    """Status of ``/readyz``, and what it says of the workers."""
    status, body = gateway.get("admin", "/readyz")
    told = json.loads(body)["dependencies"]["workers"]
    return status, told["ok"], told["detail"]


def test_every_dependency_that_readyz_names_is_documented(
    piped: tuple[GatewayProcess, Log],
) -> None:
    gateway, _ = piped
    page = (ROOT / "docs/operator/metrics.md").read_text("utf-8")
    table = page[page.index("| dependency |") : page.index("`redis` has `parts`")]
    documented = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert documented == {
        *json.loads(gateway.get("admin", "/readyz")[1])["dependencies"],
        stopping_state().name,
    }


def test_a_worker_that_cannot_start_again_takes_nobody_along_and_comes_back(
    piped: tuple[GatewayProcess, Log],
) -> None:
    """The key ring is away for a moment while a worker has to start again: exit code 2, and the
    other one goes on. Where none is left, ``/readyz`` says so.
    """
    gateway, log = piped
    cookie = gateway.log_in("bob")
    ring = gateway.folder / "state" / "keys.json"
    away = ring.rename(ring.with_suffix(".away"))
    victim, *others = gateway.workers()
    exposed = gateway.get("admin", "/metrics")[1]
    for worker in ("worker-0", "worker-1", "admin"):
        series = f'gateway_worker_exits_total{{worker="{worker}"}}'
        assert f"{series} " in exposed, "before one ended"
    gauges = f"gateway-metrics-*/gauge_live*_{victim}.db"
    assert list(Path(tempfile.gettempdir()).glob(gauges))
    log.lines.clear()
    with log.reading():
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(log.events("worker_died")) >= 2)
        assert not list(Path(tempfile.gettempdir()).glob(gauges)), "nothing of the dead is told"
        assert gateway.process.poll() is None
        assert set(others) <= set(gateway.workers())
        assert gateway.check(cookie) == 200
        until(
            lambda: (
                readiness(gateway)
                == (200, False, "1 of 2 workers serve; the log says why (worker_died)")
            )
        )
        os.kill(others[0], signal.SIGKILL)
        until(
            lambda: (
                readiness(gateway)
                == (503, False, "0 of 2 workers serve; the log says why (worker_died)")
            )
        )
        away.rename(ring)
        until(lambda: len(gateway.workers()) == 3 and len(log.events("started")) >= 2, seconds=40)
        until(lambda: readiness(gateway) == (200, True, "2 of 2 workers serve"))
    first, second = log.events("worker_died")[:2]
    assert (first["exit_code"], first["cause"]) == (
        -9,
        "killed by SIGKILL (the kernel does so where memory is short)",
    )
    assert second["exit_code"] == 2 and "key ring" in str(second["cause"])
    assert [first["again_in_s"], second["again_in_s"]] == [1.0, 2.0]
    assert "the key ring is missing" in str(log.events("config_invalid")[0]["error"])


def test_a_worker_that_stands_still_is_replaced_and_no_other_one(tmp_path: Path) -> None:
    with serving(tmp_path, workers=2, module="tests.support.impatient") as gateway:
        before = gateway.workers()
        assert len(before) == 3
        victim = before[0]
        os.kill(victim, signal.SIGSTOP)
        until(lambda: "stood still" in gateway.log)
        until(lambda: len(gateway.workers()) == 3)
        assert set(before) - set(gateway.workers()) == {victim}
        until(lambda: gateway.check() == 401)
        assert gateway.log.count('"event": "worker_died"') == 1


def test_a_flood_of_logins_is_not_noticed_by_whoever_is_signed_in(
    piped: tuple[GatewayProcess, Log],
) -> None:
    """With long return addresses, as fast as they are answered; another address begins a login all
    the same.
    """
    gateway, _ = piped
    public = gateway.ports["public"]
    person = Person(gateway, gateway.log_in("dave"))
    quiet = person.checks(for_s=0.5)
    # A machine that runs other tests beside has a quiet of its own.
    most = TIMES_AS_LONG * max(p99(quiet), 0.02)
    flooded: list[float] = []
    with flooding(begin_logins, public):
        until(lambda: gateway.metric('gateway_connections{listener="public"}') >= FLOODERS)
        # And takes the processor away now and then, which a flood always does.
        while len(flooded) < 3:
            flooded.append(p99(person.checks(for_s=1.5)))
            if flooded[-1] < most:
                break
        assert begin(public, "151.101.1.8")[0] == 302
    assert person.failed == 0
    assert min(flooded) < most, flooded


def test_at_the_end_nobody_who_is_connected_is_lost_and_nobody_needs_a_reader_of_the_log(
    tmp_path: Path,
) -> None:
    """Clients that connect all the time, each once, through SIGTERM; a rolling restart sends them
    elsewhere once they are refused.
    """
    with two_workers(tmp_path) as (gateway, _):
        outcomes = visited_until_the_end(gateway)
    assert {status: outcomes.count(status) for status in set(outcomes)}.keys() == {"200", "401"}


def visited_until_the_end(gateway: GatewayProcess) -> list[str]:
    cookie = gateway.log_in("carol")
    outcomes: list[str] = []
    answered = threading.Event()

    def visit(listener: str, request: bytes) -> None:
        while True:
            client = socket.socket()
            client.settimeout(0.8)
            try:
                client.connect(("127.0.0.1", gateway.ports[listener]))
            except OSError:
                client.close()
                return
            try:
                client.settimeout(8)
                client.sendall(request)
                status = client.recv(65536)[9:12].decode()
                outcomes.append(status or "lost")
            except OSError:
                outcomes.append("lost")
            finally:
                client.close()
            if len(outcomes) > 100:
                answered.set()

    check = (
        "GET /auth/nginx HTTP/1.1\r\nHost: a\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Proto: "
        f"https\r\nX-Forwarded-Host: {HOST}\r\nX-Forwarded-Uri: /\r\nCookie: "
        f"__Host-gw={cookie}\r\n\r\n"
    )
    userinfo = f"GET /_auth/userinfo HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    visitors = [
        threading.Thread(target=visit, args=[name, text.encode()])
        for name, text in (("check", check), ("public", userinfo))
        for _ in range(6)
    ]
    for visitor in visitors:
        visitor.start()
    assert answered.wait(30)
    assert gateway.stop(within_s=12) == 0
    for visitor in visitors:
        visitor.join()
    return outcomes


def test_idle_connections_of_one_listener_cost_the_others_nothing(tmp_path: Path) -> None:
    """With a hard limit of 512 descriptors: more idle connections than that at the public
    listener.
    """
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
    with (
        Told(tmp_path / "notify") as told,
        serving(tmp_path, open_files=512, environment=environment) as gateway,
    ):
        until(lambda: told.facts().count("WATCHDOG=1") >= 2)
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: told.facts(but="WATCHDOG=1") == ["READY=1", "RELOADING=1", "READY=1"])
        cookie = gateway.log_in()
        limits = Path(f"/proc/{gateway.process.pid}/limits").read_text()
        assert re.search(r"Max open files +512 +512", limits), "the soft limit is raised"
        clients = [
            socket.create_connection(("127.0.0.1", gateway.ports["public"]), timeout=5)
            for _ in range(700)
        ]
        try:
            assert [gateway.check(cookie) for _ in range(20)] == [200] * 20
            assert gateway.get("admin", "/healthz")[0] == 200
            assert gateway.get("public", "/_auth/userinfo", {"Host": HOST})[0] == 401, (
                "the idle ones make room"
            )
            assert gateway.metric('gateway_connections{listener="public"}') <= 64
            assert gateway.metric('gateway_accept_errors_total{listener="public"}') == 0
        finally:
            for client in clients:
                client.close()
        assert gateway.log.count('"connections_at_limit"') == 1
        # Something else takes the descriptors all the same: not one is left.
        used = len(list(Path(f"/proc/{gateway.process.pid}/fd").iterdir()))
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (used, 512))
        waiting = socket.create_connection(("127.0.0.1", gateway.ports["public"]), timeout=10)
        waiting.sendall(f"GET /_auth/userinfo HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        more = [
            socket.create_connection(("127.0.0.1", gateway.ports["public"]), timeout=10)
            for _ in range(80)
        ]
        until(lambda: "accept_failed" in gateway.log)
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (512, 512))
        assert waiting.recv(65536).startswith(b"HTTP/1.1 401"), "it waited, and was not reset"
        for client in (waiting, *more):
            client.close()
        assert gateway.log.count('"accept_failed"') == 1
        assert gateway.metric('gateway_accept_errors_total{listener="public"}') > 0
        told.facts()  # its queue holds ten
        assert gateway.stop() == 0
        assert told.facts(but="WATCHDOG=1")[3:] == ["STOPPING=1"]


def test_a_wrong_configuration_at_the_first_start_ends_everything_with_its_message(
    tmp_path: Path,
) -> None:
    """Nobody serves yet, and an operator waits for the message."""
    (tmp_path / "state").mkdir(mode=0o700)
    ring = tmp_path / "state" / "keys.json"
    ring.write_text("{}")
    ring.chmod(0o600)
    with (
        pytest.raises(AssertionError, match="not a key ring"),
        serving(tmp_path, workers=2) as gateway,
    ):
        raise RuntimeError(gateway.log)


def test_a_unix_socket_of_a_successor_is_left_alone(tmp_path: Path) -> None:
    """In a rolling restart on one path the old process ends after the new one has bound."""
    address = f"unix:{tmp_path}/check.sock"
    old = bind(address, key="listen.check")
    made = identity(old)
    new = bind(address, key="listen.check")
    unbind(old, made)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/check.sock")
    unbind(new, identity(new))
    assert not (tmp_path / "check.sock").exists()


async def test_a_tcp_socket_refuses_until_somebody_can_serve() -> None:
    """Two processes may have bound one port by then: the second learns it when it begins to."""
    first = bind("127.0.0.1:0", key="listen.check")
    host, port = first.getsockname()
    second = bind(f"{host}:{port}", key="listen.check")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)
    async with listening(web.ServerRunner(web.Server(_answered)), first, name="check"):
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        with pytest.raises(ConfigError, match=rf"^listen\.check: cannot listen on {host}:{port}: "):
            async with listening(web.ServerRunner(web.Server(_answered)), second, name="check"):
                pass
        with pytest.raises(ConfigError, match="another of the listeners"):
            _refuse_twice("hooks", {"check": first, "hooks": second})
        with pytest.raises(ConfigError, match="another process, or another of the listeners"):
            bind(f"{host}:{port}", key="listen.check")
    first.close()
    second.close()


async def _answered(_: web.BaseRequest) -> web.Response:
    return web.Response(status=204)
