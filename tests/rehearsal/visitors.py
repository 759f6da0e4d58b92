"""Who uses the application meanwhile: an app that shows what it receives, people who sign in (in
Chromium, which trusts the pages' CA, and by a client that is quicker), and requests all the time
whose failures are counted.
"""

from __future__ import annotations

import base64
import functools
import http.client
import json
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.sync_api import Error, expect, sync_playwright

from tests.support.browserless import Person

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COOKIE = "__Host-gw"
PAUSE_S = 0.03
CHROMIUM: Final = "/usr/bin/chromium"
POLICY: Final = Path("/etc/chromium/policies/managed/rehearsal.json")
ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic")
"""Chromium has no sandbox of its own for root."""


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


def trust_in_chromium(authority: Path) -> None:
    """As an organization does it on its people's machines: by policy. ``authority``: PEM."""
    der = ssl.PEM_cert_to_DER_cert(authority.read_text())
    POLICY.parent.mkdir(parents=True, exist_ok=True)
    POLICY.write_text(json.dumps({"CACertificates": [base64.b64encode(der).decode()]}))


def browse_in(host: str, email: str) -> str:
    """As ``log_in``, in Chromium. Raises ``AssertionError`` where it does not arrive."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS])
        try:
            context = browser.new_context()
            context.set_default_timeout(60_000)
            page = context.new_page()
            page.goto(f"https://{host}/")
            page.fill("input[name=email]", email)
            page.fill("input[name=password]", "demo")
            page.locator("button, input[type=submit]").first.click()
            expect(page).to_have_url(f"https://{host}/", timeout=60_000)
            shown = json.loads(page.inner_text("body"))
            assert shown["x-auth-request-email"] == email, shown
            return next(
                cookie["value"]
                for cookie in context.cookies(f"https://{host}/")
                if cookie["name"] == COOKIE
            )
        except Error as error:
            raise AssertionError(str(error)) from error
        finally:
            browser.close()


@functools.cache
def _tls() -> ssl.SSLContext:
    """Of the machine's authorities; to read them costs more than a connection."""
    return ssl.create_default_context()


def ask(host: str, cookie: str = "", extra: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """One request over TLS through the proxy, on a connection of its own."""
    connection = http.client.HTTPSConnection(host, timeout=10, context=_tls())
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
