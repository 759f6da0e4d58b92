"""What ``--stream-limit`` does to WebSockets that are open, in each real proxy:
docs/operator/ingress.md, "Open connections".
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.ingress import LAUNCHERS, launch
from demo.ingress.process import start
from demo.processes import free_port
from gateway.core.model import Secret
from gateway.hooks.webhooks.outbox import signature
from gateway.ingress_config import KINDS, render
from tests.ingress.stand import ACME, COOKIE, identity
from tests.ingress.wire import request, send

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.ingress.stand import Stand

LIMIT_S = 2
FRAME = b"\x81\x82\0\0\0\0hi"
"""``hi``, masked with nothing (RFC 6455 §5.2)."""
ENDS = {
    "nginx": {"silent"},
    "traefik": set(),
    "caddy": {"busy", "silent"},
    "envoy": {"busy", "silent"},
    "haproxy": {"silent"},
}


@dataclass
class Socket:
    """A WebSocket through a proxy."""

    port: int
    busy: bool
    who: str = "alice"
    wire: socket.socket = field(init=False)
    opened: float = field(init=False)
    heard: int = 0
    lasted_s: float | None = None

    def __post_init__(self) -> None:
        self.wire = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        handshake = (
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: Z2F0ZXdheS1kb2N0b3IhIQ==",
        )
        self.wire.sendall(
            request(
                *handshake, f"Cookie: {COOKIE}={self.who}", target="/ws", host=ACME, close=False
            )
        )
        assert self.wire.recv(65536).startswith(b"HTTP/1.1 101")
        self.opened = time.monotonic()
        self.wire.setblocking(False)

    def look(self) -> None:
        """Talk where it is busy, and see whether it has ended."""
        if self.lasted_s is not None:
            return
        try:
            if self.busy:
                self.wire.sendall(FRAME)
            with contextlib.suppress(BlockingIOError):
                received = self.wire.recv(65536)
                self.heard += len(received)
                if not received or received[:1] == b"\x88":
                    self.lasted_s = time.monotonic() - self.opened
        except OSError:
            self.lasted_s = time.monotonic() - self.opened


@pytest.fixture(scope="module")
def sockets(
    stand: Stand, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, dict[str, Socket]]]:
    """Of each proxy one in which there is talk and one in which there is none, twice the limit
    later, and when those have ended that will.
    """
    opened: dict[str, dict[str, Socket]] = {}
    with ExitStack() as stack:
        ports = {kind: free_port() for kind in KINDS if LAUNCHERS[kind].binary() is not None}
        for kind, port in ports.items():
            stack.callback(
                launch(
                    kind,
                    replace(stand.site(port), stream_limit_s=LIMIT_S),
                    directory=tmp_path_factory.mktemp(kind),
                ).stop
            )
        for kind, port in ports.items():
            opened[kind] = {"busy": Socket(port, busy=True), "silent": Socket(port, busy=False)}
            for one in opened[kind].values():
                stack.callback(one.wire.close)
        began = time.monotonic()
        while (age := time.monotonic() - began) < 20:
            for both in opened.values():
                for one in both.values():
                    one.look()
            ended = all(
                opened[kind][name].lasted_s is not None for kind in opened for name in ENDS[kind]
            )
            if ended and age > 2 * LIMIT_S:
                break
            time.sleep(0.02)
        yield opened


@pytest.mark.parametrize("kind", KINDS)
def test_an_open_socket_ends_at_its_limit_as_far_as_the_proxy_can(
    sockets: dict[str, dict[str, Socket]], kind: str
) -> None:
    if kind not in sockets:
        pytest.skip(f"{kind} is not installed")
    both = sockets[kind]
    assert {name for name, one in both.items() if one.lasted_s is not None} == ENDS[kind]
    assert all(one.lasted_s is None or one.lasted_s > LIMIT_S - 0.5 for one in both.values())
    assert both["busy"].heard > 20, "it was busy"


def test_at_haproxy_an_application_may_be_silent_for_longer_than_a_client(
    stand: Stand, tmp_path: Path
) -> None:
    """As at the other four. The minute of the defaults is a second here."""
    if LAUNCHERS["haproxy"].binary() is None:
        pytest.skip("haproxy is not installed")
    port = free_port()
    files = dict(render("haproxy", stand.site(port)))
    text = files["haproxy.cfg"]
    files["haproxy.cfg"] = text.replace("timeout client 60s", "timeout client 1s").replace(
        "timeout server 60s", "timeout server 1s"
    )
    assert files["haproxy.cfg"] != text
    running = start(LAUNCHERS["haproxy"], files, directory=tmp_path, port=port, host=ACME)
    try:
        answer = send(
            port,
            request(f"Cookie: {COOKIE}=alice", target="/stream?count=2&every_ms=1300", host=ACME),
        )
    finally:
        running.stop()
    assert (answer.status, answer.body.count(b"data: ")) == (200, 2)


# --- cut at once
# -------------------------------------------------------------------------------------

CUT = Path(__file__).parents[2] / "docs" / "apps" / "cut_connections" / "cut.py"
SECRET = "a secret of the application, 0123456789abcdef"


def post(port: int, document: Mapping[str, object], *, secret: str = SECRET) -> int:
    """A message of the gateway, as it signs them."""
    body, now = json.dumps(document), int(time.time())
    signed = signature((Secret(secret),), message_id="msg_1", timestamp=now, body=body)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(
            "POST",
            "/",
            body,
            {"webhook-id": "msg_1", "webhook-timestamp": str(now), "webhook-signature": signed},
        )
        return connection.getresponse().status
    finally:
        connection.close()


class Hub:
    """JupyterHub's API as far as it is asked: 204 whether a server ran or not, 404 for a name that
    it does not know (6.1.1).
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.status = 204
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_DELETE(self) -> None:
                hub.asked.append((self.command, self.path, self.headers["Authorization"]))
                self.send_response(404 if "nobody" in self.path else hub.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_the_receiver_of_the_documentation_cuts_what_a_removed_person_has_open(
    stand: Stand, tmp_path: Path
) -> None:
    binary = LAUNCHERS["haproxy"].binary()
    if binary is None:
        pytest.skip("haproxy is not installed")
    with (
        tempfile.TemporaryDirectory(prefix="gw") as short,
        ExitStack() as stack,
    ):  # a Unix socket's path has 107 characters at most
        runtime, port, listen = f"{short}/stats.sock", free_port(), free_port()
        site = replace(stand.site(port), stats_socket=runtime)
        name = site.apps[-1].name
        running = launch("haproxy", site, directory=tmp_path)
        stack.callback(running.stop)
        environment = {
            "WEBHOOK_SECRET": SECRET,
            "HAPROXY_SOCKETS": runtime,
            "HAPROXY_SERVERS": f"{name}/{name}",
            "LISTEN": f"127.0.0.1:{listen}",
            "AGAIN_S": "0.1",
        }
        hub = Hub()
        stack.callback(hub.stop)
        environment |= {
            "JUPYTERHUB_API": f"http://127.0.0.1:{hub.port}/hub/api",
            "JUPYTERHUB_TOKEN": "of a service",
        }
        receiver = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-I", str(CUT)], env=environment, stderr=subprocess.PIPE
            )
        )
        stack.callback(receiver.kill)
        stand.sign_in("leaver", identity("leaver@acme.test"))
        opened = Socket(port, busy=True, who="leaver")
        stack.callback(opened.wire.close)
        people = {
            "users": [{"email": "Leaver@acme.test"}, {"email": ""}],
            "identifiers": {"email": ["leaver@acme.test", "nobody@acme.test"]},
        }
        left = {"type": "user.deprovisioned", "data": {"tenant": "acme", **people}}
        ends = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                if post(listen, {"type": "user.restored"}) == 204:
                    break
            assert time.monotonic() < ends
            time.sleep(0.02)
        assert post(listen, left, secret="of somebody else") == 401
        before = opened.heard
        while opened.heard == before:
            opened.look()
            assert opened.lasted_s is None and time.monotonic() < ends, (
                "what is no end cuts nothing"
            )
        del stand.sessions["leaver"]  # revoked; the message comes after that
        assert post(listen, left) == 204
        assert sorted(hub.asked) == [
            ("DELETE", f"/hub/api/users/{name}%40acme.test/server", "token of a service")
            for name in ("leaver", "nobody")
        ]
        assert post(listen, {**left, "type": "user.group_removed"}) == 204
        assert len(hub.asked) == 2, "who lost one group keeps the server"
        hub.status = 403
        assert post(listen, left) == 503, "a token that may not is no success"
        hub.status = 204
        while opened.lasted_s is None:
            opened.look()
            assert time.monotonic() < ends
        assert (
            send(port, request(f"Cookie: {COOKIE}=leaver", target="/ws", host=ACME)).status == 401
        ), "whoever connects again is asked about"
        running.stop()
        assert post(listen, left) == 503, "what could not be done comes again"
