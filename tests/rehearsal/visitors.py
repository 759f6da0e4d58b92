"""Who uses the application meanwhile: an app that shows what it receives, a person who signs in,
and requests all the time whose failures are counted.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.support.browserless import Person

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COOKIE = "__Host-gw"
PAUSE_S = 0.03


class App(BaseHTTPRequestHandler):
    """Answers with the request's headers as JSON."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def serve_app(port: int) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", port), App)
    threading.Thread(target=server.serve_forever, daemon=True).start()


async def log_in(host: str, email: str) -> str:
    """The session cookie's value after a whole login over TLS. Raises ``AssertionError`` with the
    page where it ended.
    """
    async with Person() as person:
        page = await person.log_in(f"https://{host}/", email)
        assert page.status == 200 and page.host == host, (
            f"{page.status} {page.url}\n{page.text[:800]}"
        )
        return person.cookies(host)[COOKIE]


def ask(host: str, cookie: str = "", extra: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """One request over TLS through the proxy, on a connection of its own."""
    connection = http.client.HTTPSConnection(host, timeout=10, context=ssl.create_default_context())
    headers = {"Cookie": f"{COOKIE}={cookie}"} if cookie else {}
    try:
        connection.request("GET", "/", headers=headers | dict(extra or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@dataclass(slots=True)
class Visits:
    """What became of the requests within a block."""

    asked: int = 0
    failed: list[str] = field(default_factory=list)


class Visitor:
    """Asks all the time, as somebody who is signed in."""

    def __init__(self, host: str, cookie: str) -> None:
        self._host, self._cookie = host, cookie
        self._now: Visits | None = None
        self._tls = ssl.create_default_context()
        threading.Thread(target=self._run, daemon=True).start()

    @contextmanager
    def counting(self) -> Iterator[Visits]:
        visits = self._now = Visits()
        try:
            yield visits
            enough = visits.asked + 5  # also of what the step left behind
            ends = time.monotonic() + 10
            while visits.asked < enough and time.monotonic() < ends:
                time.sleep(PAUSE_S)
        finally:
            self._now = None

    def _run(self) -> None:
        while True:
            time.sleep(PAUSE_S)
            visits = self._now
            if visits is None:
                continue
            began = time.monotonic()
            try:
                status = str(ask(self._host, self._cookie)[0])
            except OSError as error:
                status = type(error).__name__
            except http.client.HTTPException as error:
                status = type(error).__name__
            visits.asked += 1
            if status != "200":
                visits.failed.append(f"{status} after {time.monotonic() - began:.2f} s")
