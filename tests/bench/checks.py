"""Checks per second, latency and processor time, as ratios to a bare protocol that answers the same
bytes, within one run.

    scripts/bench [checks] [--only ROW ...] [--seconds 2] [--rounds 5] [--json FILE] [--page]
    scripts/bench --compare URL --header 'Cookie: …' [--header …]
    scripts/bench --compare 'COMMAND …' --url URL        starts another server, and ends it

Rounds alternate between the measured and the yardstick, so that a machine that slows down slows
both: quote the ratios. Everything that answers is pinned to one processor, the load to the others.
Rows: alone, records, nginx, unix, latency, tenants, workers. All of them take about four minutes.
``--page`` writes the table of docs/operator/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import os
import platform
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
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
    from collections.abc import Callable, Iterator, Mapping, Sequence

COOKIE = "__Host-gw"
PAGE = Path(__file__).parents[2] / "docs" / "operator" / "performance.md"
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

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.seconds, self.rounds = arguments.seconds, arguments.rounds
        self.folder = folder
        self.rows: list[Row] = []
        self._stack = contextlib.ExitStack()
        self._worlds: dict[str, Gateway] = {}
        self._speed = 0.0

    def close(self) -> None:
        self._stack.close()

    def world(self, name: str, environment: Mapping[str, str], *, workers: int = 1) -> Gateway:
        if name not in self._worlds:
            world = World(self.folder / name, environment=dict(environment), workers=workers)
            running = self._stack.enter_context(RunningWorld(world))
            self._worlds[name] = Gateway(running)
        gateway = self._worlds[name]
        if workers == 1:
            pin([gateway.pid], SERVER_CPUS)
        return gateway

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
        """Load from as few connections as an ingress keeps; nothing is pinned."""
        two = self.world("two", {}, workers=2)
        self.compare(
            "two workers / one",
            two.target(),
            self.recording().target(),
            goal="≥ 1.7",
            connections=FEW_CONNECTIONS,
        )


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


def compare_other(arguments: argparse.Namespace) -> None:
    """Any other server's endpoint, beside a bare protocol that answers 200."""
    headers = dict(line.split(": ", 1) for line in arguments.header)
    url, process = arguments.compare, None
    if "://" not in arguments.compare.partition(" ")[0]:
        url = arguments.url
        process = subprocess.Popen(shlex.split(arguments.compare))
    try:
        wait_for(urlsplit(url).port or 80)
        pids = (process.pid,) if process is not None else ()
        if process is not None:
            pin(pids, SERVER_CPUS)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        with tempfile.TemporaryDirectory() as folder, bare(Path(folder), answer) as yardstick:
            other = Target(url, headers, pids)
            compare(
                f"{url} / bare protocol",
                lambda: load(other, arguments.seconds),
                lambda: load(yardstick, arguments.seconds),
                goal="–",
                rounds=arguments.rounds,
            )
    finally:
        if process is not None:
            process.terminate()
            process.wait(10)


def report(rows: Sequence[Row]) -> dict[str, Any]:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": f"{model[1] if model else platform.machine()}, {os.cpu_count()} processors",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
        "rows": [row.summary() for row in rows],
    }


def write_page(found: Mapping[str, Any]) -> None:
    lines = [
        f"{found['date']}, {found['machine']}, Python {found['python']}:",
        "",
        "| measured / yardstick | ratio (min–max) | goal | per second | CPU time |",
        "|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        measured, yardstick = row["measured"], row["yardstick"]
        lines.append(
            f"| {row['name']} | {row['ratio']:.2f} ({row['min']:.2f}–{row['max']:.2f}) | "
            f"{row['goal']} | {measured['per_second']:,.0f} / {yardstick['per_second']:,.0f} | "
            f"{measured['cpu_us']:.0f} / {yardstick['cpu_us']:.0f} µs |"
        )
    text = PAGE.read_text("utf-8")
    begin, end = "<!-- figures -->\n", "<!-- end of figures -->"
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    PAGE.write_text(before + begin + "\n".join(lines) + "\n" + end + after, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--compare", help="URL, or a command that serves --url")
    parser.add_argument("--url")
    parser.add_argument("--header", action="append", default=[])
    arguments = parser.parse_args([a for a in sys.argv[1:] if a != "checks"])
    if arguments.compare:
        compare_other(arguments)
        return
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        bench = Bench(arguments, Path(folder))
        try:
            for name in ROWS:
                if name in arguments.only:
                    getattr(bench, name)()
        finally:
            bench.close()
    found = report(bench.rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if arguments.page:
        write_page(found)


if __name__ == "__main__":
    main()
