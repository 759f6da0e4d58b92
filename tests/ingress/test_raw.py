"""What an application receives, byte for byte: no trailer, no foreign target, no NUL. HAProxy has
more of these in test_haproxy.py.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded, StreamReset

from demo.ingress import LAUNCHERS, RunningIngress, launch
from demo.processes import free_port
from gateway.ingress_config import KINDS
from tests.ingress.conftest import Proxy
from tests.ingress.raw_application import RawApplication
from tests.ingress.stand import ACME, COOKIE
from tests.ingress.wire import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.ingress.stand import Stand

ALICE = f"Cookie: {COOKIE}=alice"


@pytest.fixture(scope="module")
def application() -> Iterator[RawApplication]:
    found = RawApplication()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def before_it(
    stand: Stand, application: RawApplication, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], RunningIngress]]:
    """Starts each kind when it is first asked for."""
    running: dict[str, RunningIngress] = {}

    def get(kind: str) -> RunningIngress:
        if kind not in running:
            if LAUNCHERS[kind].binary() is None:
                pytest.skip(f"{kind} is not installed")
            site = stand.site(free_port())
            site = replace(
                site,
                apps=tuple(
                    replace(app, upstream=f"127.0.0.1:{application.port}") for app in site.apps
                ),
            )
            running[kind] = launch(kind, site, directory=tmp_path_factory.mktemp(f"raw-{kind}"))
        return running[kind]

    yield get
    for ingress in running.values():
        ingress.stop()


@pytest.fixture(params=KINDS)
def proxy(
    request: pytest.FixtureRequest,
    before_it: Callable[[str], RunningIngress],
    stand: Stand,
    application: RawApplication,
) -> Proxy:
    found = Proxy(before_it(request.param), stand)
    application.received()
    application.forget()
    return found


RELAYS_TRAILERS = {"traefik", "caddy"}
"""Go hands on trailers that the head announced, behind the body, and no setting of these two
prevents it (docs/operator/ingress.md, "What remains").
"""
TRAILERS = {
    "identity": b"X-Auth-Request-Email: evil@globex.test\r\n",
    "an alias": b"x_auth_request_email: evil\r\n",
    "another path": b"X-Script-Name: /evil\r\n",
    "cookies": b"Cookie: evil=1\r\n",
    "many": b"A: evil\r\n" * 50,
}


@pytest.mark.parametrize(
    "announced",
    ["X-Foo: a", "Trailer: X-Auth-Request-Email, X-Script-Name, Cookie, A"],
    ids=["", "announced"],
)
@pytest.mark.parametrize("trailer", TRAILERS.values(), ids=TRAILERS)
def test_hdr_10_trailers_do_not_reach_the_application(
    proxy: Proxy, application: RawApplication, trailer: bytes, announced: str
) -> None:
    for target, who in (("/p", (ALICE,)), ("/public/x", ())):
        chunked = request(
            *who,
            announced,
            "Transfer-Encoding: chunked",
            "TE: trailers",
            method="POST",
            target=target,
        )
        proxy.raw(chunked + b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n", "POST")
    for data in application.received():
        head, _, body = data.partition(b"\r\n\r\n")
        assert b"evil" not in head
        if proxy.kind not in RELAYS_TRAILERS:
            assert b"evil" not in body
            assert b"\r\ntrailer:" not in head.lower()


def test_hdr_10_trailers_of_http2_do_not_reach_the_application(
    proxy: Proxy, application: RawApplication
) -> None:
    client = H2Connection(H2Configuration(client_side=True, validate_outbound_headers=False))
    client.initiate_connection()
    client.send_headers(
        1,
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", ACME),
            (":path", "/p"),
            ("cookie", f"{COOKIE}=alice"),
            ("trailer", "x-auth-request-email"),
        ],
    )
    client.send_data(1, b"hello")
    client.send_headers(
        1, [("x-auth-request-email", "evil"), ("x-script-name", "/evil")], end_stream=True
    )
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
        connection.sendall(client.data_to_send())
        ended = False
        while not ended and (chunk := connection.recv(65536)):
            ended = any(
                isinstance(event, StreamEnded | StreamReset) for event in client.receive_data(chunk)
            )
    for data in application.received():
        assert b"evil" not in data


@pytest.mark.parametrize(
    "target",
    [
        f"http://{ACME}/p?q=1",
        f"http://user:pw@{ACME}/p?q=1",
        f"http://evil.test:80@{ACME}/p?q=1",
        f"http://{ACME}:80/p?q=1",
        f"HTTP://{ACME}/p?q=1",
    ],
)
def test_path_13_the_application_receives_path_and_query_and_nothing_else_of_the_target(
    proxy: Proxy, application: RawApplication, target: str
) -> None:
    proxy.ask(ALICE, target=target)
    for data in application.received():
        head = data.partition(b"\r\n\r\n")[0]
        assert head.split(b" ")[1] == b"/p?q=1"
        assert b"evil" not in head
        assert b"user:" not in head.partition(b"\r\nx-auth")[0].partition(b"\r\nremote")[0]
        assert b":pw" not in head


def test_hdr_09_no_nul_and_no_bare_line_break_reaches_the_application(
    proxy: Proxy, application: RawApplication
) -> None:
    for character in (b"\x00", b"\r", b"\n", b"\x85", b"\x0b"):
        proxy.ask(ALICE, b"X-Foo: a" + character + b"X-Auth-Request-Roles: evil", target="/p")
    for data in application.received():
        head = data.partition(b"\r\n\r\n")[0]
        assert b"\x00" not in head
        assert b"\r" not in head.replace(b"\r\n", b"")
        assert [
            line
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"x-auth-request-roles") and b"evil" in line
        ] == []


CONNECTION = [
    "X-Auth-Request-Email",
    "Remote-User, X-Department, Cookie",
    "X-Request-Id, X-Forwarded-For, X-Forwarded-Host",
    "close, X-Auth-Request-Email\r\nConnection: Remote-User",
]


@pytest.mark.parametrize("names", CONNECTION)
def test_hdr_06_what_connection_names_is_neither_removed_nor_relayed(
    proxy: Proxy, application: RawApplication, names: str
) -> None:
    answer = proxy.raw(request(ALICE, f"Connection: {names}", target="/p", close=False))
    for data in application.received():
        head = data.partition(b"\r\n\r\n")[0].lower()
        assert b"\r\nx-auth-request-email: alice@acme.test" in head
        assert b"\r\nremote-user: alice@acme.test" in head
        assert not any(
            b"x-" in line or b"remote" in line
            for line in head.split(b"\r\n")
            if line.startswith(b"connection:")
        )
    assert answer.status in {200, 400} or ("Cookie" in names and answer.status == 401)
