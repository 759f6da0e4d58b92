"""What follows a protocol switch is not asked about: an ingress relays the literal ``Upgrade:
websocket``, or nothing.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from gateway.ingress_config import KINDS
from tests.ingress import http2
from tests.ingress.conftest import Proxy
from tests.ingress.h2c import smuggle
from tests.ingress.stand import BELOW, COOKIE, identity
from tests.ingress.wire import request

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.ingress import RunningIngress
    from tests.ingress.stand import Stand

SETTINGS = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
KEY = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: Z2F0ZXdheS1kb2N0b3IhIQ==")
PLAIN: dict[str, tuple[str, ...]] = {
    "h2c": ("Upgrade: h2c",),
    "h2c with settings": ("Upgrade: h2c", SETTINGS),
    "h2c, then websocket": ("Upgrade: h2c", "Upgrade: websocket"),
    "websocket, then h2c": ("Upgrade: websocket", "Upgrade: h2c"),
    "websocket, then h2c, as a handshake": ("Upgrade: websocket", "Upgrade: h2c", *KEY),
    "websocket between": ("Upgrade: h2c", "Upgrade: websocket", "Upgrade: h2c", SETTINGS),
    "a list": ("Upgrade: websocket, h2c", *KEY),
    "a list, the other way": ("Upgrade: h2c, websocket", *KEY),
    "a list without space": ("Upgrade: websocket,h2c",),
    "a list with nothing in it": ("Upgrade: ,websocket,,h2c",),
    "a list with a tab": ("Upgrade: websocket,\th2c",),
    "a version": ("Upgrade: websocket/13, h2c/2",),
    "upper case": ("Upgrade: WEBSOCKET", "Upgrade: H2C"),
    "a parameter": ("Upgrade: websocket; h2c",),
    "another protocol": ("Upgrade: TLS/1.0", "Upgrade: websocket"),
    "another protocol, the other way": ("Upgrade: websocket", "Upgrade: TLS/1.0"),
    "an empty line first": ("Upgrade:", "Upgrade: websocket", "Upgrade: h2c"),
    "an empty line last": ("Upgrade: h2c", "Upgrade: websocket", "Upgrade:"),
    "another spelling of the name": ("Upgrade: websocket", "UPGRADE: h2c"),
}
CONNECTION = {
    "": "Connection: Upgrade, HTTP2-Settings",
    "two lines": "Connection: Upgrade\r\nConnection: HTTP2-Settings, Upgrade",
    "kept": "Connection: keep-alive, upgrade",
}


@pytest.fixture(params=KINDS)
def proxy(
    request: pytest.FixtureRequest, proxies: Callable[[str], RunningIngress], stand: Stand
) -> Proxy:
    stand.sign_in("below", identity("alice@acme.test"), host=BELOW)
    return Proxy(proxies(request.param), stand)


@pytest.mark.parametrize("connection", CONNECTION.values(), ids=CONNECTION)
@pytest.mark.parametrize("lines", PLAIN.values(), ids=PLAIN)
def test_no_tunnel_opens_and_only_the_literal_websocket_is_relayed(
    proxy: Proxy, lines: tuple[str, ...], connection: str
) -> None:
    """From a public path, without a session: where a tunnel opens, the next request in it is for
    anything, as anybody.
    """
    path, secret = f"/public/{uuid.uuid4().hex}", f"/admin/{uuid.uuid4().hex}"
    head = smuggle(
        proxy.port,
        request(*lines, connection, target=path, host=BELOW, close=False),
        path=secret,
        authority=BELOW,
    )
    application = proxy.stand.h2c
    assert [arrived for arrived in application.arrived if arrived.path == secret] == [], (
        "the tunnel carried a request that nobody asked about"
    )
    assert not head.startswith(b"HTTP/1.1 101")
    for arrived in application.arrived:
        if arrived.path == path:
            assert [value.lower() for value in arrived.upgrades] in ([], ["websocket"])
            assert not any(name.lower() == "http2-settings" for name, _ in arrived.headers)
            assert not any(
                "http2-settings" in value.lower() or "x-" in value.lower()
                for name, value in arrived.headers
                if name.lower() == "connection"
            )


@pytest.mark.parametrize(
    "protocol",
    ["websocket, h2c", "h2c, websocket", "h2c", "websocket,h2c", "connect-udp", "TLS/1.0"],
)
@pytest.mark.parametrize(
    "more", [[], [("upgrade", "h2c"), ("connection", "upgrade")]], ids=["", "and an upgrade line"]
)
def test_an_extended_connect_over_http2_relays_no_other_protocol(
    proxy: Proxy, protocol: str, more: list[tuple[str, str]]
) -> None:
    """RFC 8441."""
    path = f"/public/{uuid.uuid4().hex}"
    pseudo = [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":authority", BELOW),
        (":path", path),
    ]
    http2.send(proxy.port, [*pseudo, ("sec-websocket-version", "13"), *more], timeout_s=2)
    assert [
        arrived.upgrades
        for arrived in proxy.stand.h2c.arrived
        if arrived.path == path and arrived.upgrades not in ([], ["websocket"])
    ] == []


def test_an_upgrade_line_over_http2_is_not_relayed(proxy: Proxy) -> None:
    path = f"/public/{uuid.uuid4().hex}"
    pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", BELOW), (":path", path)]
    for more in (
        [("upgrade", "h2c")],
        [
            ("upgrade", "h2c"),
            ("connection", "upgrade, http2-settings"),
            ("http2-settings", "AAMAAABk"),
        ],
        [("upgrade", "websocket"), ("upgrade", "h2c")],
    ):
        http2.send(proxy.port, [*pseudo, *more], timeout_s=5)
    assert [
        arrived.upgrades
        for arrived in proxy.stand.h2c.arrived
        if arrived.path == path and arrived.upgrades not in ([], ["websocket"])
    ] == []


def test_a_handshake_is_told_to_the_check_which_knows_for_how_long_it_counts(proxy: Proxy) -> None:
    """``session.idle_counts`` of the tenant."""
    stand = proxy.stand
    for target, lines, expected in (
        ("/ws", ("Upgrade: websocket", "Connection: Upgrade", *KEY), 1800.0),
        ("/", (), 0.0),
        ("/polled?x", (), None),
    ):
        stand.used_for.clear()
        smuggle(
            proxy.port,
            request(*lines, f"Cookie: {COOKIE}=below", target=target, host=BELOW, close=not lines),
            path="/admin",
            authority=BELOW,
        )
        assert stand.used_for == [("digest-below", expected)], target


def test_a_websocket_handshake_is_relayed_as_one(proxy: Proxy) -> None:
    """Otherwise nothing above would mean anything."""
    path = f"/public/{uuid.uuid4().hex}"
    smuggle(
        proxy.port,
        request(
            "Upgrade: WebSocket",
            "Connection: keep-alive, Upgrade",
            *KEY,
            target=path,
            host=BELOW,
            close=False,
        ),
        path="/admin",
        authority=BELOW,
    )
    (arrived,) = (arrived for arrived in proxy.stand.h2c.arrived if arrived.path == path)
    assert arrived.upgrades == ["WebSocket" if proxy.kind == "envoy" else "websocket"], (
        "Envoy compares without regard to case, and relays one value only"
    )
