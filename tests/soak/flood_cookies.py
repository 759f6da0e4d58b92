"""Strangers' cookies: random ones of a tenant, over many connections, and somebody who is signed in
there meanwhile.

``python -m tests.soak.flood_cookies flood-cookies [--store single sentinel cluster] [--seconds 8]
[--connections 200]`` prints a table; exit code 1 where a check of theirs failed, or the slowest of
a hundred took more than five times as long as before, or a login was not begun.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.model import Redis
from gateway.core.model import Secret
from gateway.errors import UnavailableError
from gateway.keys import ring as keys
from gateway.sessions.connection import connect
from gateway.sessions.keyspace import bucket_of
from gateway.sessions.store import RedisSessions
from tests.sessions import servers
from tests.sessions.conftest import HOST, Login, identity, tenant
from tests.soak.floods import Person, Report, begin, flooding
from tests.support.gateway_process import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

STORES = ("single", "sentinel", "cluster")


@contextlib.contextmanager
def store(kind: str, folder: Path) -> Iterator[tuple[str, int]]:
    """URL, and how many replicas must confirm."""
    if kind == "single":
        with servers.running(folder) as server:
            yield f"redis://127.0.0.1:{server.port}", 0
    elif kind == "sentinel":
        with servers.sentinel(folder) as (_, _, watcher):
            yield f"redis+sentinel://127.0.0.1:{watcher.port}/gw", 1
    else:
        with servers.cluster(folder, replicas=(1, 1, 1)) as nodes:
            yield nodes.url, 1


def strangers(port: int, connections: int) -> None:
    """For ever, as fast as they are answered: each with a cookie that nobody has seen."""
    bucket = f"{bucket_of('acme'):03x}"

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                while True:
                    cookie = bucket + base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
                    writer.write(
                        "GET /auth/nginx HTTP/1.1\r\nHost: a\r\nX-Forwarded-Method: "
                        f"GET\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: {HOST}\r\n"
                        f"X-Forwarded-Uri: /\r\nCookie: __Host-gw={cookie}\r\n\r\n".encode()
                    )
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    await reader.readexactly(
                        int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
                    )

    async def all_of_them() -> None:
        await asyncio.gather(*(one() for _ in range(connections)))

    asyncio.run(all_of_them())


async def log_in(folder: Path, url: str, replicas: int, *, name: str = "alice") -> str:
    """Directly at the store, as a callback would; the session cookie's value."""
    redis = connect(Redis(url=Secret(url), min_replicas=replicas))
    ring = keys.load(folder / "state" / "keys.json", create=False)
    sessions = RedisSessions(redis, lambda: ring)
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(
                    UnavailableError
                ):  # the store is believed a moment after its start
                    return (
                        await Login(sessions, tenant()).finish(identity=identity(name))
                    ).cookie.reveal()
                await asyncio.sleep(0.05)
    finally:
        await sessions.touches.close()
        await redis.close()


def flood_cookies(
    folder: Path, kind: str, *, seconds: float, connections: int, quiet_s: float = 5.0
) -> Report:
    with store(kind, folder / "store") as (url, replicas):
        environment = {"GATEWAY_REDIS__URL": url, "GATEWAY_REDIS__MIN_REPLICAS": str(replicas)}
        (folder / "gateway" / "state").mkdir(parents=True, mode=0o700)
        keys.load(folder / "gateway" / "state" / "keys.json", create=True)
        with serving(folder / "gateway", environment=environment) as gateway:
            person = Person(gateway, asyncio.run(log_in(folder / "gateway", url, replicas)))
            while gateway.check(person.cookie) != 200:
                time.sleep(0.05)
            quiet = person.checks(for_s=quiet_s)
            before = gateway.log.count('"event": "check"')
            with flooding(strangers, gateway.ports["check"], connections):
                while gateway.log.count('"event": "check"') < before + connections:
                    time.sleep(0.05)
                before = gateway.log.count('"event": "check"')
                flooded = person.checks(for_s=seconds)
                asked = gateway.log.count('"event": "check"') - before
                begun = [
                    begin(gateway.ports["public"], "151.101.1.7", return_to="/")[0]
                    for _ in range(10)
                ]
            refused = gateway.log.count('"reason": "store_unavailable"')
    lines = [
        (
            f"{connections} connections: {asked / seconds:.0f} checks a second, {refused} "
            f"answered 503; logins begun meanwhile: {begun.count(302)} of {len(begun)}"
        )
    ]
    return Report(
        f"flood-cookies, {kind}", quiet, flooded, person.failed, lines, set(begun) == {302}
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=["flood-cookies"])
    parser.add_argument("--store", nargs="+", choices=STORES, default=STORES)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--connections", type=int, default=200)
    arguments = parser.parse_args()
    failed = False
    for kind in arguments.store:
        with tempfile.TemporaryDirectory() as folder:
            report = flood_cookies(
                Path(folder), kind, seconds=arguments.seconds, connections=arguments.connections
            )
        print(report)
        failed |= not report.ok
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
