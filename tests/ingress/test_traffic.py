"""What applications need to go on working: WebSockets, HTTP/2, HEAD, bodies, streams, kept-alive
connections.
"""

from __future__ import annotations

import base64
import json
import socket
import time
from typing import TYPE_CHECKING

import jwt
import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError

from gateway.config.types import DEFAULT_HEADERS
from tests.ingress import http2
from tests.ingress.stand import ACME, APP_PASSWORD, BELOW, CASE, COOKIE, GLOBEX, MACHINES, PROGRAMS
from tests.ingress.test_cases import NAVIGATE, hold
from tests.ingress.wire import request

if TYPE_CHECKING:
    from tests.ingress.conftest import Proxy


async def test_hdr_13_a_websocket_opens_with_a_session_and_echoes(proxy: Proxy) -> None:
    async with (
        ClientSession() as client,
        client.ws_connect(
            f"http://127.0.0.1:{proxy.port}/ws", headers={"Host": ACME, "Cookie": f"{COOKIE}=alice"}
        ) as ws,
    ):
        await ws.send_str("hello")
        message = await ws.receive(timeout=10)
        assert (message.type, message.data) == (WSMsgType.TEXT, "hello")


@pytest.mark.parametrize(
    "lines",
    [{}, {"Sec-Fetch-Mode": "websocket", "Accept": "text/html"}, {"Cookie": f"{COOKIE}=stale"}],
    ids=["nothing", "browser", "stale"],
)
async def test_hdr_13_a_websocket_without_a_session_is_401_not_a_redirect(
    proxy: Proxy, lines: dict[str, str]
) -> None:
    if lines.get("Accept") == "text/html":
        lines = {**lines, "Sec-Fetch-Dest": "empty"}
    async with ClientSession() as client:
        with pytest.raises(WSServerHandshakeError) as refusal:
            await client.ws_connect(
                f"http://127.0.0.1:{proxy.port}/ws", headers={"Host": ACME, **lines}
            )
    assert refusal.value.status == 401


def pseudo(
    *more: tuple[str, str], method: str = "GET", authority: str = ACME, path: str = "/echo"
) -> list[tuple[str, str]]:
    return [
        (":method", method),
        (":scheme", "http"),
        (":authority", authority),
        (":path", path),
        *more,
    ]


def test_http2_reaches_the_application_with_the_identity(proxy: Proxy) -> None:
    answer = http2.send(
        proxy.port,
        pseudo(
            ("cookie", "a=1"),
            ("cookie", f"{COOKIE}=alice"),
            ("cookie", "b=2"),
            (CASE.lower(), "h2-" + proxy.kind),
        ),
    )
    assert answer.status == 200
    (seen,) = proxy.stand.at("app", "h2-" + proxy.kind)
    hold(proxy, seen)
    assert seen.values("X-Auth-Request-Email") == ["alice@acme.test"]
    assert {pair.strip() for pair in "; ".join(seen.values("Cookie")).split(";")} - {""} == {
        "a=1",
        "b=2",
    }


def test_http2_without_a_session_is_401_and_a_navigation_goes_to_the_login(proxy: Proxy) -> None:
    assert http2.send(proxy.port, pseudo()).status == 401
    answer = http2.send(proxy.port, pseudo(("sec-fetch-mode", "navigate"), ("accept", "text/html")))
    assert answer.status == 302


HTTP2_ATTACKS: dict[str, list[tuple[str, str]]] = {
    "another tenant by host": pseudo(("host", GLOBEX), ("cookie", f"{COOKIE}=alice")),
    "another tenant by authority": pseudo(
        ("host", ACME), ("cookie", f"{COOKIE}=alice"), authority=GLOBEX
    ),
    "upper case": pseudo(("X-Auth-Request-Roles", "evil"), ("cookie", f"{COOKIE}=alice")),
    "underscore": pseudo(("x_auth_request_roles", "evil"), ("cookie", f"{COOKIE}=alice")),
    "tilde": pseudo(("x~auth~request~roles", "evil"), ("cookie", f"{COOKIE}=alice")),
    "connection": pseudo(("connection", "x-auth-request-email"), ("cookie", f"{COOKIE}=alice")),
    "line break": pseudo(
        ("x-foo", "a\r\nx-auth-request-roles: evil"), ("cookie", f"{COOKIE}=alice")
    ),
    "forged path": pseudo(("x-forwarded-uri", "/public/evil"), path="/admin"),
    "path with dots": pseudo(path="/public/../admin"),
    "path with a fragment": pseudo(path="/admin#/public/"),
    "no slash": pseudo(path="admin"),
    "authority with a user": pseudo(("cookie", f"{COOKIE}=alice"), authority=f"{ACME}@evil.test"),
    "two cookies of ours": pseudo(("cookie", f"{COOKIE}=stale"), ("cookie", f"{COOKIE}=alice")),
}


@pytest.mark.parametrize("headers", HTTP2_ATTACKS.values(), ids=HTTP2_ATTACKS)
def test_http2_attacks_are_refused_or_keep_the_invariants(
    proxy: Proxy, headers: list[tuple[str, str]], request: pytest.FixtureRequest
) -> None:
    case = request.node.name
    answer = http2.send(proxy.port, [*headers, (CASE.lower(), case)])
    for seen in proxy.stand.at("app", case):
        hold(proxy, seen)
    if not any("alice" in value for _, value in headers):
        assert answer.status != 200
        assert proxy.stand.at("app", case) == []
    assert answer.status < 500


def test_head_is_asked_for_and_answered_without_a_body(proxy: Proxy) -> None:
    answer = proxy.ask(proxy.alice, method="HEAD", target="/echo")
    assert (answer.status, answer.body) == (200, b"")
    assert proxy.only().method == "HEAD"


def test_head_without_a_session_leaves_the_connection_usable(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(
            request(method="HEAD", close=False) + request(target="/public/x", close=True)
        )
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    first, _, rest = received.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 401")
    assert rest.startswith(b"HTTP/1.1 200"), received


@pytest.mark.parametrize("size", [0, 5, 300_000, 3_000_000])
def test_lim_05_a_body_reaches_the_application_whole(proxy: Proxy, size: int) -> None:
    answer = proxy.ask(proxy.alice, method="POST", target="/echo", body=b"x" * size)
    assert answer.status == 200
    assert json.loads(answer.body)["body_bytes"] == size
    assert proxy.only().method == "POST"


def test_lim_05_a_chunked_body_reaches_the_application_whole(proxy: Proxy) -> None:
    chunks = (
        b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [b"a" * 1000, b"b" * 70_000])
        + b"0\r\n\r\n"
    )
    answer = proxy.raw(
        request(
            proxy.alice,
            f"{CASE}: @case@",
            "Transfer-Encoding: chunked",
            method="POST",
            target="/echo",
        )
        + chunks,
        "POST",
    )
    assert answer.status == 200
    assert json.loads(answer.body)["body_bytes"] == 71_000


def test_lim_05_expect_100_continue(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(
            request(
                proxy.alice,
                "Expect: 100-continue",
                "Content-Length: 5",
                method="POST",
                target="/echo",
            )
        )
        received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 100")
        connection.sendall(b"hello")
        while chunk := connection.recv(65536):
            received += chunk
    assert b"HTTP/1.1 200" in received
    assert b'"body_bytes": 5' in received


def test_lim_05_a_body_without_a_session_is_refused_at_once(proxy: Proxy) -> None:
    started = time.monotonic()
    answer = proxy.ask("Sec-Fetch-Mode: cors", method="POST", target="/echo", body=b"x" * 300_000)
    assert answer.status in {401, 0}
    assert proxy.app == []
    assert time.monotonic() - started < 3


def test_cb_18_a_script_gets_a_problem_document(proxy: Proxy) -> None:
    answer = proxy.ask(
        "Accept: application/json", "X-Requested-With: XMLHttpRequest", target="/api"
    )
    assert answer.status == 401
    assert answer.header("Content-Type") == "application/problem+json"
    assert answer.header("Location") is None
    assert answer.header("WWW-Authenticate") == "Bearer"
    assert json.loads(answer.body)["code"] == "no_session"


def test_a_frame_gets_a_page_with_a_link(proxy: Proxy) -> None:
    answer = proxy.ask("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe", "Accept: text/html")
    assert answer.status == 401
    assert (answer.header("Content-Type") or "").startswith("text/html")
    assert b"/_auth/login" in answer.body
    assert b'target="_blank"' in answer.body


def test_a_machine_arrives_as_its_client_whatever_it_says_itself(proxy: Proxy) -> None:
    """(Invariant 9) What the gateway leaves empty overwrites what was sent, too."""
    claimed = [f"{name}: evil" for name in DEFAULT_HEADERS]
    assert (
        proxy.ask("Authorization: Bearer machine", proxy.alice, *claimed, host=MACHINES).status
        == 200
    )
    seen = proxy.only()
    told = {name: value for name in DEFAULT_HEADERS for value in seen.values(name) if value}
    claims = jwt.decode(told.pop("X-Auth-Request-Jwt"), options={"verify_signature": False})
    assert told == {
        "X-Auth-Request-User": "m1",
        "X-Auth-Request-Tenant": "acme",
        "Remote-User": "deploy-bot",
    }
    assert {"sub", "client_id", "tenant"} < claims.keys() and "email" not in claims
    assert seen.values("Authorization") == ["Bearer machine"]
    assert proxy.ask("Authorization: Bearer other", proxy.alice, host=MACHINES).status == 401
    assert proxy.app == []


def test_an_app_password_arrives_as_its_person_and_never_reaches_an_application(
    proxy: Proxy,
) -> None:
    """Wherever it is sent, and however it is written; what is the application's own arrives."""

    def basic(text: str) -> str:
        return "Authorization: Basic " + base64.b64encode(text.encode()).decode()

    assert (
        proxy.ask(
            basic(f"anybody:{APP_PASSWORD}"),
            "X-Auth-Request-Email: evil@acme.test",
            "Remote-User: evil",
            host=PROGRAMS,
        ).status
        == 200
    )
    seen = proxy.only()
    assert (
        seen.values("Authorization"),
        seen.values("X-Auth-Request-Email"),
        seen.values("Remote-User"),
    ) == ([], ["bob@acme.test"], ["bob@acme.test"])
    for line, host, target in (
        (basic(f"x:{APP_PASSWORD}"), ACME, "/echo"),
        (basic(f"x:{APP_PASSWORD}"), ACME, "/public/x"),
        (basic(f"{APP_PASSWORD}:"), ACME, "/echo"),
        (f"Authorization: Bearer {APP_PASSWORD}", ACME, "/echo"),
        (basic(f"x:{APP_PASSWORD}") + "==", ACME, "/public/x"),
    ):
        assert proxy.ask(line, proxy.alice, host=host, target=target).status == 200
        assert proxy.only().values("Authorization") == [], (line, target)
    for line in (
        basic("alice:secret"),
        "Authorization: token abc",
        'Authorization: Digest username="x", realm="y"',
        "Authorization: Basic " + "QUJD" * 4000,
    ):
        assert proxy.ask(line, proxy.alice, host=ACME).status == 200
        assert proxy.only().values("Authorization") == [line.partition(": ")[2]], line[:60]
    for asks, line in (
        ([], f'Basic realm="{PROGRAMS}", charset="UTF-8", Bearer'),
        (["Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"], "Bearer"),
    ):
        answer = proxy.ask(*asks, host=PROGRAMS)
        assert (
            answer.status,
            answer.header("WWW-Authenticate"),
            answer.header("X-Auth-Challenge"),
        ) == (401, line, None)
    wrong = proxy.ask(basic(f"x:{APP_PASSWORD[:-1]}b"), proxy.alice, host=PROGRAMS)
    assert (wrong.status, json.loads(wrong.body)["code"]) == (401, "app_password_invalid")
    assert proxy.app == []


def test_a_person_without_the_group_is_told_why(proxy: Proxy) -> None:
    answer = proxy.ask(proxy.bob, *NAVIGATE, target="/admin/x")
    if proxy.kind == "nginx":
        assert answer.status == 302
        assert (answer.header("Location") or "").startswith(f"http://{ACME}/_auth/denied?rd=")
    else:
        assert answer.status == 403
        assert (answer.header("Content-Type") or "").startswith("text/html")
    answer = proxy.ask(proxy.bob, "Accept: application/json", target="/admin/x")
    assert answer.status == 403
    assert json.loads(answer.body)["code"] == "group_missing"


def test_streams_arrive_while_they_are_sent(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(request(proxy.alice, target="/stream?count=6&every_ms=150"))
        arrivals, received = [], b""
        while chunk := connection.recv(65536):
            received += chunk
            if b"data:" in chunk:
                arrivals.append(time.monotonic())
    assert received.count(b"data:") == 6
    assert arrivals[-1] - arrivals[0] > 0.5, "the proxy kept the stream back"


def test_the_check_is_asked_over_kept_alive_connections(proxy: Proxy) -> None:
    proxy.ask(proxy.alice)
    proxy.stand.check_connections.clear()
    for _ in range(30):
        assert proxy.ask(proxy.alice).status == 200
        assert proxy.ask().status == 401
    # Of 60 checks. A proxy closes some that were idle for seconds, which a busy machine makes them.
    assert len(proxy.stand.check_connections) <= 15


def test_lim_08_idle_connections_to_the_check_starve_nobody(proxy: Proxy) -> None:
    idle = [socket.create_connection(("127.0.0.1", proxy.stand.check_port)) for _ in range(200)]
    try:
        assert proxy.ask(proxy.alice).status == 200
    finally:
        for connection in idle:
            connection.close()


def test_cookies_of_the_application_arrive_and_ours_do_not(proxy: Proxy) -> None:
    for line in (
        f"a=1; {COOKIE}=alice; b=2",
        f"{COOKIE}=alice; a=1; b=2",
        f"a=1; b=2; {COOKIE}=alice",
        f"a=1;{COOKIE}-binding=x;b=2;{COOKIE}=alice",
    ):
        assert proxy.ask(f"Cookie: {line}").status == 200
        assert {
            pair.strip() for value in proxy.only().values("Cookie") for pair in value.split(";")
        } - {""} == {"a=1", "b=2"}, line
    assert proxy.ask(proxy.alice).status == 200
    assert not any(value.strip() for value in proxy.only().values("Cookie"))


def test_cookies_that_only_look_like_ours_arrive(proxy: Proxy) -> None:
    proxy.ask(f"Cookie: x{COOKIE}=1; {COOKIE}2=2; {COOKIE}=alice")
    assert {
        pair.strip() for value in proxy.only().values("Cookie") for pair in value.split(";")
    } - {""} == {f"x{COOKIE}=1", f"{COOKIE}2=2"}


def test_the_gateways_pages_hear_who_really_asks(proxy: Proxy) -> None:
    proxy.ask(
        "X-Forwarded-For: 203.0.113.9",
        "X-Gateway-Key: evil",
        proxy.alice,
        target="/_auth/login?rd=x",
    )
    (page,) = proxy.pages
    assert page.path == "/_auth/login?rd=x"
    assert page.values("X-Forwarded-For")[-1].rpartition(",")[2].strip() in {
        "127.0.0.1",
        "192.0.2.2",
    }
    assert page.values("Host")[0].partition(":")[0] == ACME
    assert page.values("Cookie") == [f"{COOKIE}=alice"]
    assert page.values("X-Gateway-Key") == []


def test_the_login_host_reaches_the_gateway_only(proxy: Proxy) -> None:
    for target in ("/", "/_auth/callback?code=x", "/anything"):
        assert proxy.ask(proxy.alice, target=target, host="login.localhost").status == 200
        assert len(proxy.pages) == 1
        assert proxy.app == []


def test_a_host_of_its_own_upstream_below_a_wildcard_of_another_reaches_its_own(
    proxy: Proxy,
) -> None:
    path = f"/public/{proxy.kind}-routes"
    for lines in (
        (),
        (
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: Z2F0ZXdheS1kb2N0b3IhIQ==",
        ),
    ):
        proxy.ask(*lines, target=path, host=BELOW, close=not lines)
        assert proxy.app == []
        proxy.ask(target=path, host="other.acme.localhost")
        assert len(proxy.app) == 1
    assert [arrived.path for arrived in proxy.stand.h2c.arrived if arrived.path == path] == [
        path,
        path,
    ]
