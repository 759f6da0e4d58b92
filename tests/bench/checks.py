"""Checks per second and latency, against a bare aiohttp handler in the same run; nginx with and
without the gateway.

    scripts/bench [--seconds 3] [--rounds 5]

Rounds alternate between the measured and the yardstick, so that a machine that slows down slows
both. Quote the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from demo.ingress import LAUNCHERS, start
from demo.processes import free_port
from demo.world import World
from tests.support.browserless import Person
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CONNECTIONS = 32
COOKIE = "__Host-gw"


@dataclass(frozen=True, slots=True)
class Load:
    """One run of wrk. Latencies in milliseconds."""

    per_second: float
    p50: float
    p99: float
    wrong: int


def wrk(url: str, seconds: int, headers: Mapping[str, str]) -> Load:
    script = Path(tempfile.gettempdir()) / "gateway-bench.lua"
    script.write_text(
        (
            "done = function(s, l) io.write(string.format('P %f %f\\n', l:percentile(50)/1000, "
            "l:percentile(99)/1000)) end\n"
        ),
        "utf-8",
    )
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "-s",
        str(script),
        *(f"-H{k}: {v}" for k, v in headers.items()),
        url,
    ]
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=seconds + 30
    ).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    percentiles = re.search(r"^P ([\d.]+) ([\d.]+)$", said, re.MULTILINE)
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    assert rate and percentiles, said
    return Load(
        float(rate[1]), float(percentiles[1]), float(percentiles[2]), int(wrong[1]) if wrong else 0
    )


def compare(name: str, measured: Sequence[Load], yardstick: Sequence[Load]) -> None:
    ratios = [m.per_second / y.per_second for m, y in zip(measured, yardstick, strict=True)]

    def median(values: Sequence[float]) -> float:
        return statistics.median(values)

    print(f"{name}")
    for label, loads in (("measured", measured), ("yardstick", yardstick)):
        print(
            f"  {label:9} {median([x.per_second for x in loads]):9.0f}/s   p50 "
            f"{median([x.p50 for x in loads]):.2f} ms   "
            f"p99 {median([x.p99 for x in loads]):.2f} ms   not 2xx: {sum(x.wrong for x in loads)}"
        )
    print(
        f"  ratio     {median(ratios):9.2f}     (min {min(ratios):.2f}, max "
        f"{max(ratios):.2f}, {len(ratios)} rounds)"
    )


@contextlib.contextmanager
def bare() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.bare", str(port)])
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(10)


def wait_for(port: int) -> None:
    import socket

    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
    raise TimeoutError(port)


async def a_session(world: World) -> str:
    async with Person() as person:
        await person.log_in(
            f"{world.url('acme.localhost')}/_auth/login?{urlencode({'rd': '/'})}", "alice@acme.test"
        )
        return person.cookies("acme.localhost")[COOKIE]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"GATEWAY_LOG__LEVEL": "warning"}
        for label, environment in (
            ("with its log record for each check", {}),
            ("log.level: warning", quiet),
        ):
            with (
                RunningWorld(
                    World(Path(folder) / label.split()[0], environment=environment)
                ) as running,
                bare() as yardstick,
            ):
                measure_checks(running, yardstick, arguments, label)
        with RunningWorld(
            World(Path(folder) / "fronted", ingress="nginx", environment=quiet)
        ) as running:
            measure_nginx(running, Path(folder), arguments)


def measure_checks(
    running: RunningWorld, yardstick: str, arguments: argparse.Namespace, label: str
) -> None:
    world = running.world
    cookie = asyncio.run(a_session(world))
    headers = {
        "X-Gateway-Key": world.ingress_key,
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "acme.localhost",
        "X-Forwarded-Uri": "/reports/7?x=1",
        "Cookie": f"theme=dark; {COOKIE}={cookie}",
        "Accept": "text/html",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    url = f"http://127.0.0.1:{world.gateways[0].ports['check']}/auth/nginx"
    wrk(url, 1, headers)
    measured, bare_loads = [], []
    for _ in range(arguments.rounds):
        measured.append(wrk(url, arguments.seconds, headers))
        bare_loads.append(wrk(yardstick, arguments.seconds, headers))
    compare(
        f"/auth/nginx with a live session, {label}, to a bare aiohttp handler", measured, bare_loads
    )


def measure_nginx(running: RunningWorld, folder: Path, arguments: argparse.Namespace) -> None:
    """The same static application behind nginx, with and without ``auth_request``."""
    world = running.world
    cookie = asyncio.run(a_session(world))
    app_port, open_port, guarded_port = free_port(), free_port(), free_port()
    static = (
        f"worker_processes 1; pid static.pid; error_log stderr; events {{}} http {{ access_log "
        f"off; server {{ listen 127.0.0.1:{app_port}; return 200 'hello'; }} }}"
    )
    plain = (
        f"worker_processes 1; pid plain.pid; error_log stderr; events {{}} http {{ access_log "
        f"off; upstream a {{ server 127.0.0.1:{app_port}; keepalive 32; }} server {{ listen "
        f"127.0.0.1:{open_port}; location / {{ proxy_http_version 1.1; proxy_set_header "
        f"Connection ''; proxy_pass http://a; }} }} }}"
    )
    running.run(
        world.command(
            "ingress",
            "render",
            "nginx",
            "-c",
            "config/gateway.yaml",
            "--listen",
            f"127.0.0.1:{guarded_port}",
            "--upstream",
            f"127.0.0.1:{app_port}",
            "-o",
            str(folder / "guarded"),
        )
    )
    started = []
    try:
        started.append(
            start(
                LAUNCHERS["nginx"],
                {"nginx.conf": static},
                directory=folder / "static",
                port=app_port,
                host="acme.localhost",
            )
        )
        started.append(
            start(
                LAUNCHERS["nginx"],
                {"nginx.conf": plain},
                directory=folder / "plain",
                port=open_port,
                host="acme.localhost",
            )
        )
        guarded = {"nginx.conf": (folder / "guarded" / "nginx.conf").read_text("utf-8")}
        started.append(
            start(
                LAUNCHERS["nginx"],
                guarded,
                directory=folder / "guarded",
                port=guarded_port,
                host="acme.localhost",
            )
        )
        headers = {"Host": "acme.localhost", "Cookie": f"{COOKIE}={cookie}", "Accept": "text/html"}
        measured, yardstick = [], []
        for _ in range(arguments.rounds):
            measured.append(wrk(f"http://127.0.0.1:{guarded_port}/", arguments.seconds, headers))
            yardstick.append(wrk(f"http://127.0.0.1:{open_port}/", arguments.seconds, headers))
        compare(
            "nginx with the gateway in front of a static app, to nginx without", measured, yardstick
        )
    finally:
        for proxy in reversed(started):
            proxy.stop()


if __name__ == "__main__":
    main()
