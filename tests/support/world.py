"""The demo's world in a thread of its own, so that tests of any event loop can use one started
product.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from gateway.hooks.reconcile.subscriptions import RESOURCES
from tests.database.template import embedded_database
from tests.support.fork_server import launch
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path
    from types import TracebackType

    from demo.world import World


@dataclass(frozen=True, slots=True)
class Checked:
    """A check answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [v for n, v in self.headers if n.lower() == name.lower()]
        assert len(found) < 2, f"{name} twice"
        return found[0] if found else None


class RunningWorld:
    """``with RunningWorld(World(…)) as running:``; ``running.world`` from any thread,
    ``running.run`` for its coroutines. ``executed``: its gateways are started by new interpreters,
    not forked.
    """

    def __init__(self, world: World, *, executed: bool = False) -> None:
        self.world = world
        world.new_key = spare_keys()
        if not executed:
            world.launch = launch
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="world", daemon=True)

    def cpu_seconds(self) -> float:
        """Processor time of the stand-ins: the whole thread's, so far."""
        assert self._thread.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(400)

    def until_subscribed(self) -> None:
        """Entra tells of nothing before the gateway has subscribed, which it does by itself, a
        while after its start on a busy machine.
        """
        graph = self.world.cloud.customers["globex-entra"].graph
        assert graph is not None
        deadline = time.monotonic() + 60
        while len(graph.subscriptions.by_id) < len(RESOURCES):
            assert time.monotonic() < deadline, "the gateway does not subscribe"
            time.sleep(0.02)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            # A first start would make the schema, in each process anew; tests/demo and tests/docs
            # hold that it does.
            embedded_database(self.world.directory / "state")
            self.run(self.world.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.run(self.world.__aexit__(None, None, None))
        finally:
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def check(
        self,
        host: str,
        path: str = "/",
        *,
        dialect: str = "nginx",
        cookie: str | None = None,
        method: str = "GET",
        replica: int = 0,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Checked:
        """Ask as an ingress would; ``cookie`` is the value of the session cookie."""
        sent = {
            "X-Gateway-Key": self.world.ingress_key if key is None else key,
            "X-Forwarded-Method": method,
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": host,
            "X-Forwarded-Uri": path,
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
            **({"Cookie": f"__Host-gw={cookie}"} if cookie is not None else {}),
            **(headers or {}),
        }
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.world.gateways[replica].ports["check"], timeout=10
        )
        try:
            connection.putrequest("GET", f"/auth/{dialect}")
            for name, value in sent.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            return Checked(response.status, tuple(response.getheaders()), response.read())
        finally:
            connection.close()

    def post(
        self, host: str, path: str, body: str, *, cookie: str, headers: Mapping[str, str]
    ) -> int:
        """A form with the session cookie, and with these headers alone; its status."""
        port = self.world.gateways[0].ports["public"]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        own = {
            "Host": urlsplit(self.world.url(host)).netloc,
            "Cookie": f"__Host-gw={cookie}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        try:
            connection.request("POST", path, body=body, headers={**own, **headers})
            return connection.getresponse().status
        finally:
            connection.close()

    def log(self, replica: int = 0) -> str:
        """What the replica has logged until now. A thread writes it, in order: a check of our own
        is waited for, and left out.
        """
        marker = f"/log-marker-{secrets.token_hex(8)}"
        file = self.world.gateways[replica].log
        with contextlib.suppress(OSError):  # it has ended, and has written everything
            self.check("log-marker.invalid", marker, replica=replica)
            deadline = time.monotonic() + 5  # its level may be one at which checks are not logged
            while marker not in _end_of(file) and time.monotonic() < deadline:
                time.sleep(0.002)
        return "".join(
            line
            for line in file.read_text("utf-8", errors="replace").splitlines(keepends=True)
            if "/log-marker-" not in line
        )


def _end_of(file: Path) -> str:
    with file.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 64 * 1024))
        return log.read().decode(errors="replace")
