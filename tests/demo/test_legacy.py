"""The application to protect: it shows what reaches it, and obeys a signed webhook."""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from demo.apps.legacy import LegacyApp
from demo.apps.webhooks import standard_webhook
from demo.net import bind, client_session, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.browserless import Person


SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
NOW = 1_700_000_000


def signed(
    body: bytes, *, message_id: str = "msg_1", timestamp: int = NOW, key: bytes = b"k" * 24
) -> dict[str, str]:
    """Headers as the Standard Webhooks specification makes them."""
    signature = base64.b64encode(
        hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    ).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{'A' * 43}= v2,x v1,{signature}",
    }


def message(kind: str, email: str | None = "alice@acme.test") -> bytes:
    """A body as the gateway sends it."""
    data = {
        "tenant": "acme",
        "subject": {"idp_subject": "00u1", "oid": None, "email": email},
        "users": [{"email": "Alice@Acme.test"}],
    }
    return json.dumps(
        {"type": kind, "timestamp": "2026-01-01T00:00:00.000Z", "data": data}
    ).encode()


@dataclass
class Running:
    legacy: LegacyApp
    url: str


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    legacy, bound = (
        LegacyApp("acme", verify=standard_webhook(SECRET, clock=lambda: float(NOW))),
        bind(),
    )
    runner = await serve(legacy.app, bound)
    yield Running(legacy, bound.url("acme.localhost"))
    await runner.cleanup()


async def post(url: str, body: bytes, **headers: str) -> int:
    async with client_session() as http, http.post(url, data=body, headers=headers) as response:
        return response.status


async def test_page_shows_person_headers_and_cookies_escaped(
    running: Running, person: Person
) -> None:
    person.set_cookie("acme.localhost", "theme", "dark")
    page = await person.open(
        f"{running.url}/a%2fb?x=1", headers={"Remote-User": "alice@acme.test", "X-Evil": "<script>"}
    )
    assert (
        "alice@acme.test" in page.text and "theme=dark" in page.text and "/a%2fb?x=1" in page.text
    )
    assert "<script>" not in page.text and "&lt;script&gt;" in page.text
    assert "Nobody is signed in" in (await person.open(running.url)).text


async def test_echo_tells_method_raw_path_every_header_and_size(running: Running) -> None:
    async with client_session() as http:
        headers = [("X-A", "1"), ("X-A", "2")]
        async with http.post(
            f"{running.url}/echo?a=%2f", data=b"12345", headers=headers
        ) as response:
            body = await response.json()
    assert (body["method"], body["body_bytes"]) == ("POST", 5) and body["path"].startswith(
        "/echo?a="
    )
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
    for kind, text in (
        ("user.deprovisioned", "alice@acme.test: deactivated"),
        ("user.restored", "alice@acme.test: active"),
    ):
        assert await post(url, message(kind), **signed(message(kind), message_id=kind)) == 204
        assert text in (await person.open(running.url)).text
    assert (
        await post(
            url,
            message("user.deprovisioned"),
            **signed(message("user.deprovisioned"), message_id="user.deprovisioned"),
        )
        == 204
    )
    assert running.legacy.people == {"alice@acme.test": True}, "a repeated message does nothing"
    assert [message_id for message_id, _ in running.legacy.received] == [
        "user.deprovisioned",
        "user.restored",
        "user.deprovisioned",
    ]


async def test_deactivated_person_is_shown_as_such(running: Running, person: Person) -> None:
    body = message("user.deprovisioned")
    await post(f"{running.url}/hooks/deprovisioned", body, **signed(body))
    page = await person.open(
        running.url,
        headers={"X-Auth-Request-Email": "alice@acme.test", "X-Auth-Request-Name": "Alice"},
    )
    assert "(deactivated)" in page.text


@pytest.mark.parametrize("kind", ["user.group_removed", "user.unheard_of"])
async def test_message_that_says_nothing_of_access_changes_nothing(
    running: Running, kind: str
) -> None:
    assert (
        await post(f"{running.url}/hooks/deprovisioned", message(kind), **signed(message(kind)))
        == 204
    )
    assert running.legacy.people == {}


BODY = message("user.deprovisioned")
REFUSED: dict[str, dict[str, str]] = {
    "unsigned": {},
    "another key": signed(BODY, key=b"x" * 24),
    "another body": signed(BODY + b" "),
    "too old": signed(BODY, timestamp=NOW - 301),
    "from the future": signed(BODY, timestamp=NOW + 301),
    "no id": {**signed(BODY), "webhook-id": ""},
    "another id": {**signed(BODY), "webhook-id": "msg_2"},
    "no number": {**signed(BODY), "webhook-timestamp": "now"},
    "no base64": {**signed(BODY), "webhook-signature": "v1,é v1,***"},
}


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED.keys())
async def test_webhook_without_a_fitting_signature_changes_nothing(
    running: Running, headers: dict[str, str]
) -> None:
    assert await post(f"{running.url}/hooks/deprovisioned", BODY, **headers) == 401
    assert running.legacy.people == {} and running.legacy.received == []


async def test_webhook_is_refused_without_a_verifier_and_must_be_an_object(
    running: Running,
) -> None:
    url = f"{running.url}/hooks/deprovisioned"
    assert await post(url, b"not json", **signed(b"not json")) == 400
    running.legacy.verify = None
    assert await post(url, BODY, **signed(BODY)) == 401
