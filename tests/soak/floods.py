"""A person who is signed in, while something floods or sticks: what they notice, what is kept, how
soon all is normal again.

``python -m tests.soak.floods log-stuck|flood-logins|flood-connections [--seconds 10]`` prints a
table; exit code 1 where a check of theirs failed, the slowest of a hundred took more than five
times as long as before, or a bound was passed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from gateway.config.model import Redis
from gateway.core.model import Secret
from gateway.keys import ring as keys
from gateway.sessions.api import LoginConsumed
from gateway.sessions.connection import connect
from gateway.sessions.store import MAX_PENDING_BYTES, RedisSessions
from tests.sessions.conftest import HOST
from tests.soak.fleet import quantiles
from tests.support.gateway_process import GatewayProcess, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKERS = 2
PACE_S = 0.01
"""Between two checks of the person."""
LONG_RETURN = "/report?" + "q" * 3500
FLOODERS = 4
"""Client addresses that flood."""
TIMES_AS_LONG = 5


@dataclass
class Person:
    """Somebody signed in, over one connection of an ingress."""

    gateway: GatewayProcess
    cookie: str
    failed: int = 0
    seconds: list[float] = field(default_factory=list)

    def checks(self, *, for_s: float) -> list[float]:
        """Durations; failures are counted."""
        began, took = time.monotonic(), []
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.ports["check"], timeout=5)
        headers = {
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": HOST,
            "X-Forwarded-Uri": "/",
            "Cookie": f"__Host-gw={self.cookie}",
        }
        while time.monotonic() - began < for_s:
            sent = time.monotonic()
            try:
                connection.request("GET", "/auth/nginx", headers=headers)
                response = connection.getresponse()
                response.read()
                self.failed += response.status != 200
            except (OSError, http.client.HTTPException):
                self.failed += 1
                connection.close()
            took.append(time.monotonic() - sent)
            time.sleep(PACE_S)
        connection.close()
        return took


@dataclass(frozen=True)
class Report:
    """One scenario's lines, and whether everything held."""

    name: str
    quiet: list[float]
    flooded: list[float]
    failed: int
    lines: list[str]
    held: bool

    @property
    def ok(self) -> bool:
        return (
            self.held and not self.failed and p99(self.flooded) <= TIMES_AS_LONG * p99(self.quiet)
        )

    def __str__(self) -> str:
        times = p99(self.flooded) / p99(self.quiet)
        return "\n  ".join(
            [
                f"{self.name}: {'ok' if self.ok else 'NOT OK'}",
                f"a signed-in person, quiet: {len(self.quiet)} checks, {quantiles(self.quiet)}",
                (
                    f"meanwhile: {len(self.flooded)} checks, {self.failed} failed, "
                    f"{quantiles(self.flooded)} ({times:.1f} times the quiet p99)"
                ),
                *self.lines,
            ]
        )


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


@contextlib.contextmanager
def flooding(work: Callable[..., None], *arguments: object) -> Iterator[None]:
    """In a process of its own, which ends with the block."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def begin(port: int, address: str, *, return_to: str = LONG_RETURN) -> tuple[int, str, str]:
    """Status, Location and Set-Cookie of a login that is begun by ``address``."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(
            "GET",
            f"/_auth/login?rd={return_to}",
            headers={"Host": HOST, "X-Forwarded-For": address, "Sec-Fetch-Mode": "navigate"},
        )
        response = connection.getresponse()
        response.read()
        return (
            response.status,
            response.headers.get("Location", ""),
            response.headers.get("Set-Cookie", ""),
        )
    finally:
        connection.close()


def begin_logins(port: int) -> None:
    """For ever, as fast as it is answered: four connections of each address. (Addresses for
    documentation count as private ones, which nobody is refused for.)
    """

    async def one(address: int) -> None:
        request = (
            f"GET /_auth/login?rd={LONG_RETURN} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: "
            f"93.184.216.{address}\r\nSec-Fetch-Mode: navigate\r\n\r\n"
        ).encode()
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                while True:
                    writer.write(request)
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    await reader.readexactly(
                        int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
                    )

    async def all_of_them() -> None:
        await asyncio.gather(*(one(1 + n % FLOODERS) for n in range(4 * FLOODERS)))

    asyncio.run(all_of_them())


def _connect(port: int, connections: int) -> None:
    """Idle connections, and every other one with a head that never ends; a new one for each that is
    closed.
    """

    async def one(sent: bytes) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(sent)
                await reader.read()
                writer.close()
            await asyncio.sleep(0.2)

    async def all_of_them() -> None:
        await asyncio.gather(
            *(one(b"" if n % 2 else b"GET /_auth/login HTTP/1.1\r\nHo") for n in range(connections))
        )

    asyncio.run(all_of_them())


def _check(port: int) -> None:
    """Checks of nobody, which are logged too."""
    request = (
        "GET /auth/nginx HTTP/1.1\r\nHost: a\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Proto: "
        f"https\r\nX-Forwarded-Host: {HOST}\r\nX-Forwarded-Uri: /\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as client:
        while True:
            client.sendall(request.encode())
            client.recv(65536)


def log_stuck(folder: Path, seconds: float) -> Report:
    """Nobody reads the pipe that stderr is; then somebody does again."""
    reader, writer = os.pipe()
    read: list[bytes] = []
    with serving(folder, workers=WORKERS, stderr=writer) as gateway:
        reading = threading.Thread(
            target=lambda: read.extend(iter(lambda: os.read(reader, 1 << 20), b"")), daemon=True
        )
        person = Person(gateway, gateway.log_in())
        quiet = person.checks(for_s=5)
        with flooding(_check, gateway.ports["check"]):
            flooded = person.checks(for_s=seconds)
        healthy = gateway.get("admin", "/healthz")[0] == 200
        dropped = gateway.metric("gateway_log_lines_dropped_total")
        began = time.monotonic()
        ended = gateway.stop() == 0
        stop_s = time.monotonic() - began
        os.close(writer)
        reading.start()
        reading.join(30)
    os.close(reader)
    lines = [
        (
            f"/healthz answers: {healthy}; lines dropped meanwhile: {dropped:.0f}; SIGTERM "
            f"with the log stuck: {'ended' if ended else 'FAILED'} after {stop_s:.1f} s"
        )
    ]
    return Report("log-stuck", quiet, flooded, person.failed, lines, healthy and ended)


def flood_logins(folder: Path, seconds: float) -> Report:
    """Logins with long return addresses, as fast as they are answered; somebody else began one
    before and finishes it after.
    """
    with serving(folder, workers=WORKERS) as gateway:
        person = Person(gateway, gateway.log_in())
        port = gateway.ports["public"]
        quiet = person.checks(for_s=5)
        before = _used_memory(folder)
        _, location, cookie = begin(port, "151.101.1.7")
        with flooding(begin_logins, port):
            flooded = person.checks(for_s=seconds)
            during = [begin(port, "151.101.1.8")[0] for _ in range(10)]
        ended = time.monotonic()
        grown = _used_memory(folder) - before
        while begin(port, "93.184.216.1")[0] != 302 and time.monotonic() - ended < 60:
            time.sleep(0.05)
        again_s = time.monotonic() - ended
        arrives = _arrives(
            folder,
            parse_qs(urlsplit(location).query)["state"][0],
            cookie.partition(";")[0].partition("=")[2],
        )
        begun, refused = (
            gateway.log.count('"path": "/_auth/login"'),
            gateway.log.count('"reason": "login_loop"'),
        )
    lines = [
        (
            f"{begun} requests for a login, {refused} refused; Redis grew by {grown / 1e6:.1f} "
            f"MB (bound: {WORKERS * MAX_PENDING_BYTES / 1e6:.0f} MB)"
        ),
        (
            f"another address begins a login meanwhile: {during.count(302)} of {len(during)}; "
            f"one begun before the flood arrives: {arrives}"
        ),
        f"the flooding address begins one again {again_s:.1f} s after the flood",
    ]
    held = (
        grown < 1.2 * WORKERS * MAX_PENDING_BYTES
        and arrives
        and set(during) == {302}
        and again_s < 15
    )
    return Report("flood-logins", quiet, flooded, person.failed, lines, held)


def flood_connections(folder: Path, seconds: float) -> Report:
    """Idle connections and heads that never end at the public listener, more than the process may
    open.
    """
    with serving(folder, workers=WORKERS, open_files=1024) as gateway:
        person = Person(gateway, gateway.log_in())
        quiet = person.checks(for_s=5)
        with flooding(_connect, gateway.ports["public"], 1500):
            flooded = person.checks(for_s=seconds)
            healthy = gateway.get("admin", "/healthz")[0] == 200
            page = gateway.get("public", "/_auth/userinfo", {"Host": HOST})[0] == 401
            errors = gateway.metric('gateway_accept_errors_total{listener="public"}')
            open_now = gateway.metric('gateway_connections{listener="public"}')
        told = gateway.log.count('"connections_at_limit"')
    lines = [
        (
            f"/healthz answers: {healthy}; a page answers: {page}; open at the public "
            f"listener: {open_now:.0f}; accept errors: {errors:.0f}; said in the log {told} "
            "times"
        )
    ]
    return Report(
        "flood-connections", quiet, flooded, person.failed, lines, healthy and page and not errors
    )


def _used_memory(folder: Path) -> int:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "state" / "valkey" / "valkey.sock"))
        client.sendall(b"INFO memory\r\n")
        return int(client.recv(65536).partition(b"used_memory:")[2].split(b"\r\n", 1)[0])


def _arrives(folder: Path, state: str, binding: str) -> bool:
    """Whether the callback of a login would find it."""

    async def take() -> bool:
        redis = connect(
            Redis(url=Secret("embedded")),
            socket_path=str(folder / "state" / "valkey" / "valkey.sock"),
        )
        ring = keys.load(folder / "state" / "keys.json", create=False)
        try:
            return isinstance(
                await RedisSessions(redis, lambda: ring).consume_login(state, bindings=(binding,)),
                LoginConsumed,
            )
        finally:
            await redis.close()

    return asyncio.run(take())


SCENARIOS = {
    "log-stuck": log_stuck,
    "flood-logins": flood_logins,
    "flood-connections": flood_connections,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = SCENARIOS[arguments.scenario](Path(folder), arguments.seconds)
    print(report)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
