"""The application to protect: it shows what reaches it, and obeys a signed webhook."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from demo.apps.legacy import LegacyApp, Notice
from demo.net import bind, client_session, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.browserless import Person


def signed(headers: Mapping[str, str], body: bytes) -> bool:
    return hmac.compare_digest(headers.get("X-Signature", ""), hmac.new(b"key", body, "sha256").hexdigest())


def understood(body: Mapping[str, Any]) -> Notice | None:
    return Notice(body["email"], active=body["type"] == "restored") if "email" in body else None


@dataclass
class Running:
    legacy: LegacyApp
    url: str


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    legacy, bound = LegacyApp("acme", verify=signed, interpret=understood), bind()
    runner = await serve(legacy.app, bound)
    yield Running(legacy, bound.url("acme.localhost"))
    await runner.cleanup()


async def post(url: str, body: bytes, **headers: str) -> int:
    async with client_session() as http, http.post(url, data=body, headers=headers) as response:
        return response.status


async def test_page_shows_person_headers_and_cookies_escaped(running: Running, person: Person) -> None:
    person.set_cookie("acme.localhost", "theme", "dark")
    page = await person.open(f"{running.url}/a%2fb?x=1", headers={"Remote-User": "alice@acme.test", "X-Evil": "<script>"})
    assert "alice@acme.test" in page.text and "theme=dark" in page.text and "/a%2fb?x=1" in page.text
    assert "<script>" not in page.text and "&lt;script&gt;" in page.text
    assert "Nobody is signed in" in (await person.open(running.url)).text


async def test_echo_tells_method_raw_path_every_header_and_size(running: Running) -> None:
    async with client_session() as http:
        headers = [("X-A", "1"), ("X-A", "2")]
        async with http.post(f"{running.url}/echo?a=%2f", data=b"12345", headers=headers) as response:
            body = await response.json()
    assert (body["method"], body["body_bytes"]) == ("POST", 5) and body["path"].startswith("/echo?a=")
    assert [value for name, value in body["headers"] if name == "X-A"] == ["1", "2"]


async def test_websocket_echoes_and_stream_streams(running: Running) -> None:
    async with client_session() as http:
        async with http.ws_connect(f"{running.url}/ws") as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "hello"
            await socket.send_bytes(b"\x00")
            assert await socket.receive_bytes() == b"\x00"
        async with http.get(f"{running.url}/stream?count=3&every_ms=1") as response:
            assert await response.text() == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
        async with http.get(f"{running.url}/stream?count=x") as response:
            assert response.status == 400


async def test_signed_webhook_deactivates_and_restores(running: Running, person: Person) -> None:
    url = f"{running.url}/hooks/deprovisioned"
    for kind, text in (("deprovisioned", "alice@acme.test: deactivated"), ("restored", "alice@acme.test: active")):
        body = json.dumps({"type": kind, "email": "alice@acme.test"}).encode()
        assert await post(url, body, **{"X-Signature": hmac.new(b"key", body, "sha256").hexdigest(), "Webhook-Id": kind}) == 204
        assert text in (await person.open(running.url)).text
    assert [delivery for delivery, _ in running.legacy.received] == ["deprovisioned", "restored"]


async def test_webhook_without_a_fitting_signature_changes_nothing(running: Running) -> None:
    url = f"{running.url}/hooks/deprovisioned"
    assert await post(url, b'{"type": "deprovisioned", "email": "a@b"}', **{"X-Signature": "0"}) == 401
    body = b"not json"
    assert await post(url, body, **{"X-Signature": hmac.new(b"key", body, "sha256").hexdigest()}) == 400
    running.legacy.verify = None
    assert await post(url, b"{}") == 401
    assert running.legacy.people == {} and running.legacy.received == []
