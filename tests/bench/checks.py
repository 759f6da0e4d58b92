"""Checks per second, latency and processor time, as ratios to a bare protocol that answers the same
bytes, within one run; and another server's endpoint beside the gateway's.

Rounds alternate between the measured and the yardstick, so that a machine that slows down slows
both: quote the ratios. Everything that answers is pinned to one processor, the load to the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from demo.ingress import LAUNCHERS, start
from demo.processes import free_port
from demo.world import World
from tests.bench import tenants as many_tenants
from tests.bench.load import SERVER_CPUS, Load, Row, Target, compare, load, p99, pin
from tests.support.browserless import Person
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

COOKIE = "__Host-gw"
QUIET = {"GATEWAY_LOG__LEVEL": "warning"}
FEW, MANY = 2, 10_000
FEW_CONNECTIONS = 16
"""As an ingress of one or two workers keeps them."""
BROWSER = {
    "User-Agent": (
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/141.0.0.0 Safari/537.36"
    ),
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.9",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "none",
}


class Bench:
    """What the rows share. Worlds are started when a row first needs them."""

    def __init__(self, folder: Path, *, seconds: int, rounds: int) -> None:
        self.seconds, self.rounds = seconds, rounds
        self.folder = folder
        self.rows: list[Row] = []
        self._stack = contextlib.ExitStack()
        self._running: dict[str, RunningWorld] = {}
        self._worlds: dict[str, Gateway] = {}
        self._speed = 0.0

    def close(self) -> None:
        self._stack.close()

    def running(
        self,
        name: str,
        environment: Mapping[str, str],
        *,
        workers: int = 1,
        central: bool = True,
    ) -> RunningWorld:
        if name not in self._running:
            world = World(
                self.folder / name,
                environment=dict(environment),
                workers=workers,
                central=central,
            )
            running = self._stack.enter_context(RunningWorld(world, executed=True))
            self._running[name] = running
            if workers == 1:
                pin([running.world.gateways[0].process.pid], SERVER_CPUS)
        return self._running[name]

    def world(self, name: str, environment: Mapping[str, str], *, workers: int = 1) -> Gateway:
        if name not in self._worlds:
            self._worlds[name] = Gateway(self.running(name, environment, workers=workers))
        return self._worlds[name]

    def quiet(self) -> Gateway:
        return self.world("quiet", QUIET)

    def recording(self) -> Gateway:
        return self.world("recording", {})

    def compare(
        self,
        name: str,
        measured: Target,
        yardstick: Target,
        *,
        goal: str,
        ratio: Callable[[Load, Load], float] | None = None,
        **options: Any,
    ) -> None:
        for target in (measured, yardstick):
            load(target, 1)
        more = {} if ratio is None else {"ratio": ratio}
        self.rows.append(
            compare(
                name,
                lambda: load(measured, self.seconds, **options),
                lambda: load(yardstick, self.seconds, **options),
                goal=goal,
                rounds=self.rounds,
                **more,
            )
        )

    # --- rows ------------------------------------------------------------------------------------

    def alone(self) -> None:
        gateway = self.recording()
        with bare(self.folder, gateway.answer()) as yardstick:
            self.compare(
                "check alone, with its log record / bare protocol",
                gateway.target(),
                yardstick,
                goal="≥ 0.35",
            )
        self._speed = self.rows[-1].summary()["measured"]["per_second"]

    def records(self) -> None:
        self.compare(
            "check alone, with its log record / without",
            self.recording().target(),
            self.quiet().target(),
            goal="≥ 0.9",
        )

    def latency(self) -> None:
        """At half of what the gateway can do, both."""
        gateway = self.recording()
        if not self._speed:
            self._speed = load(gateway.target(), self.seconds).per_second
        with bare(self.folder, gateway.answer()) as yardstick:
            self.compare(
                f"p99 at {self._speed / 2:.0f} checks a second, half of its saturation / bare",
                gateway.target(),
                yardstick,
                goal="≤ 3",
                ratio=p99,
                per_second=self._speed / 2,
                connections=64,
            )

    def nginx(self) -> None:
        gateway = self.recording()
        with bare(self.folder, gateway.answer()) as yardstick:
            port = urlsplit(yardstick.url).port
            self._behind_nginx("nginx + gateway / nginx + bare protocol", gateway, f"{port}", 0.85)

    def unix(self) -> None:
        path = self.folder / "check.sock"
        gateway = self.world("unix", {"GATEWAY_LISTEN__CHECK": f"unix:{path}"})
        other = self.folder / "bare.sock"
        with bare(self.folder, gateway.answer(str(path)), path=other):
            self._behind_nginx(
                "nginx + gateway / nginx + bare protocol, Unix sockets",
                gateway,
                str(other),
                0.70,
                check=str(path),
            )

    def _behind_nginx(
        self, name: str, gateway: Gateway, yardstick: str, goal: float, *, check: str = ""
    ) -> None:
        """The rendered configuration, with either in the place of the check."""
        with contextlib.ExitStack() as stack:
            app, targets = free_port(), []
            launch(stack, self.folder / "static", static(app), app)
            for number, address in enumerate((check or gateway.port, yardstick)):
                port, folder = free_port(), self.folder / f"nginx-{name[-4:].strip()}-{number}"
                server = f"127.0.0.1:{address}" if address.isdigit() else f"unix:{address}"
                rendered = gateway.render("nginx", folder, port=port, app=app, check=server)
                pid = launch(stack, folder, rendered["nginx.conf"], port)
                targets.append(
                    Target(
                        f"http://127.0.0.1:{port}/reports/@NUMBER@?x=1",
                        {**gateway.browser(), "Host": "acme.localhost"},
                        (pid,),
                    )
                )
            self.compare(name, targets[0], targets[1], goal=f"≥ {goal:.2f}")

    def tenants(self) -> None:
        """A public path of every tenant in turn, so far as one load has room for."""
        headers = {
            "X-Gateway-Key": many_tenants.KEY,
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "t1.example.com",
            "X-Forwarded-Uri": "/t1/public/4/x",
        }
        with many_tenants.gateway(FEW) as one, many_tenants.gateway(MANY) as many:
            spread = {
                **headers,
                "X-Forwarded-Host": "t@NUMBER@.example.com",
                "X-Forwarded-Uri": "/t@NUMBER@/public/4/x",
            }
            targets = []
            for made, sent in ((many, spread), (one, headers)):
                pids = tuple(process.pid for process in made.processes.values())
                pin(pids, SERVER_CPUS)
                url = f"http://127.0.0.1:{made.ports['check']}/auth/traefik"
                targets.append(Target(url, sent, pids))
            self.compare(
                f"time of a check with {MANY} tenants / with {FEW}",
                targets[0],
                targets[1],
                goal="≤ 1.05",
                ratio=lambda measured, yardstick: yardstick.per_second / measured.per_second,
            )

    def workers(self) -> None:
        """Load from as few connections as an ingress keeps; nothing is pinned. On two processors
        the load takes its part of both workers', so what they could do without it is told by the
        processor time of a check.
        """
        two = self.world("two", {}, workers=2)
        self.compare(
            "two workers / one",
            two.target(),
            self.recording().target(),
            goal="≥ 1.7",
            connections=FEW_CONNECTIONS,
        )
        wall = self.rows[-1]
        self.rows.append(
            Row(
                "two workers / one, by processor time of a check",
                "≥ 1.7",
                wall.measured,
                wall.yardstick,
                tuple(
                    2 * one.cpu_us / two.cpu_us
                    for two, one in zip(wall.measured, wall.yardstick, strict=True)
                ),
            )
        )
        self.rows[-1].show()


class Gateway:
    """One running world, with a person who is signed in."""

    def __init__(self, running: RunningWorld) -> None:
        self._running = running
        self.world = running.world
        self.cookies = f"theme=dark; {COOKIE}={asyncio.run(a_session(running.world))}"

    @property
    def pid(self) -> int:
        return int(self.world.gateways[0].process.pid)

    @property
    def port(self) -> str:
        return str(self.world.gateways[0].ports["check"])

    @property
    def admin_port(self) -> int:
        return int(self.world.gateways[0].ports["admin"])

    def headers(self) -> dict[str, str]:
        """As the rendered nginx asks."""
        return {
            **BROWSER,
            "X-Gateway-Key": self.world.ingress_key,
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": "acme.localhost",
            "X-Forwarded-Uri": "/reports/@NUMBER@?x=1",
            "X-Forwarded-For": "10.0.0.7",
            "X-Request-Id": "0123456789abcdef0123456789@NUMBER@",
            "Cookie": self.cookies,
        }

    def target(self) -> Target:
        return Target(f"http://127.0.0.1:{self.port}/auth/nginx", self.headers(), (self.pid,))

    def answer(self, path: str = "") -> bytes:
        """What the gateway says to such a request, byte for byte."""
        lines = [f"{name}: {value}" for name, value in self.headers().items()]
        sent = "\r\n".join(["GET /auth/nginx HTTP/1.1", "Host: gateway", *lines, "", ""])
        made = (
            socket.create_connection(("127.0.0.1", int(self.port)), 10)
            if not path
            else socket.socket(socket.AF_UNIX)
        )
        with made as connection:
            if path:
                connection.connect(path)
            connection.sendall(sent.replace("@NUMBER@", "7").encode())
            got = b""
            while not got.endswith(b"\r\n\r\n"):
                more = connection.recv(65536)
                assert more, got
                got += more
        assert got.startswith(b"HTTP/1.1 200 "), got
        return got

    def browser(self) -> dict[str, str]:
        """Headers of a request that is signed in."""
        return {**BROWSER, "Cookie": self.cookies}

    def render(
        self, kind: str, folder: Path, *, port: int, app: int, check: str = ""
    ) -> dict[str, str]:
        self._running.run(
            self.world.command(
                *("ingress", "render", kind, "-c", "config/gateway.yaml"),
                *("--listen", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{app}"),
                *("-o", str(folder), "--check", check or f"127.0.0.1:{self.port}"),
            )
        )
        return {path.name: path.read_text("utf-8") for path in folder.iterdir() if path.is_file()}


async def a_session(world: World) -> str:
    async with Person() as person:
        await person.log_in(
            f"{world.url('acme.localhost')}/_auth/login?{urlencode({'rd': '/'})}", "alice@acme.test"
        )
        return person.cookies("acme.localhost")[COOKIE]


@contextlib.contextmanager
def bare(folder: Path, answer: bytes, *, path: Path | None = None) -> Iterator[Target]:
    port, file = free_port(), folder / "answer"
    file.write_bytes(answer)
    address = str(path or port)
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.bare", address, str(file)])
    try:
        wait_for(port, path)
        pin([process.pid], SERVER_CPUS)
        headers = {"Cookie": "x" * 60, **BROWSER}  # read by nobody, and as long as a check's
        yield Target(f"http://127.0.0.1:{port}/", headers, (process.pid,))
    finally:
        process.terminate()
        process.wait(10)


def wait_for(port: int, path: Path | None = None) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if path is None:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                return
        time.sleep(0.05)
    raise TimeoutError(port)


def static(port: int) -> str:
    """An application that has nothing to do: configuration of an nginx."""
    return (
        "worker_processes 1; pid static.pid; error_log stderr; events {} http { access_log "
        f"off; server {{ listen 127.0.0.1:{port}; location / {{ return 200 'hello'; }} }} }}"
    )


def launch(stack: contextlib.ExitStack, folder: Path, text: str, port: int) -> int:
    """An nginx with that configuration; its process."""
    proxy = start(
        LAUNCHERS["nginx"], {"nginx.conf": text}, directory=folder, port=port, host="acme.localhost"
    )
    stack.callback(proxy.stop)
    pid = proxy.pid
    pin([pid], SERVER_CPUS)
    return pid


ROWS = ("alone", "records", "latency", "nginx", "unix", "tenants", "workers")


def compare_other(
    bench: Bench, command: str, *, url: str | None, headers: Mapping[str, str]
) -> None:
    """Any other server's endpoint beside the gateway's, and beside a bare protocol. ``command``: a
    URL of one that runs, or what starts one that serves ``url``.
    """
    process = None
    if "://" in command.partition(" ")[0]:
        url = command
    else:
        process = subprocess.Popen(shlex.split(command))
    if url is None:
        message = "--url: where the command serves"
        raise SystemExit(message)
    try:
        wait_for(urlsplit(url).port or 80)
        pids = (process.pid,) if process is not None else ()
        pin(pids, SERVER_CPUS)
        gateway, other = bench.recording(), Target(url, headers, pids)
        bench.compare(f"this gateway / {url}", gateway.target(), other, goal="–")
        with bare(bench.folder, gateway.answer()) as yardstick:
            bench.compare(f"{url} / bare protocol", other, yardstick, goal="–")
    finally:
        if process is not None:
            process.terminate()
            process.wait(10)
