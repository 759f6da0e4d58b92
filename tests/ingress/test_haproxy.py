"""What is HAProxy's own: the Lua action, and what the rendered configuration refuses or takes out
before and after it.

Every proxy here was started for this file: some of what is sent would end one that is not well
configured.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from demo.ingress import LAUNCHERS, start
from demo.processes import free_port
from gateway.ingress_config import render
from gateway.ingress_config.site import ASKED
from tests.ingress.conftest import Proxy
from tests.ingress.misbehaving import MisbehavingGateway, Misbehaviour, status
from tests.ingress.raw_application import RawApplication
from tests.ingress.stand import ACME, BELOW, COOKIE
from tests.ingress.test_cases import hold
from tests.ingress.wire import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from demo.ingress import RunningIngress
    from tests.ingress.stand import Stand

    Change = Callable[[dict[str, str]], dict[str, str]]

ALICE = f"Cookie: {COOKIE}=alice"
KILOBYTE = 1024


@pytest.fixture(scope="module")
def started(
    stand: Stand, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., RunningIngress]]:
    """Starts HAProxy with its files as rendered and then changed; all are stopped at the end."""
    if LAUNCHERS["haproxy"].binary() is None:
        pytest.skip("haproxy is not installed")
    running = []

    def launched(
        change: Change = dict, *, application: int | None = None, check: int | None = None
    ) -> RunningIngress:
        site = stand.site(free_port(), check_port=check)
        if application is not None:
            site = replace(
                site,
                apps=tuple(replace(app, upstream=f"127.0.0.1:{application}") for app in site.apps),
            )
        running.append(
            start(
                LAUNCHERS["haproxy"],
                change(render("haproxy", site)),
                directory=tmp_path_factory.mktemp("haproxy"),
                port=site.port,
                host=ACME,
            )
        )
        return running[-1]

    yield launched
    for ingress in running:
        ingress.stop()


@pytest.fixture(scope="module")
def proxy(started: Callable[..., RunningIngress], stand: Stand) -> Iterator[Proxy]:
    """As rendered; still alive at the end, whatever it was sent."""
    running = started()
    yield Proxy(running, stand)
    assert running.alive


@pytest.fixture(scope="module")
def application() -> Iterator[RawApplication]:
    found = RawApplication()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def _before_the_application(
    started: Callable[..., RunningIngress], stand: Stand, application: RawApplication
) -> Proxy:
    return Proxy(started(application=application.port), stand)


@pytest.fixture
def raw(_before_the_application: Proxy, application: RawApplication) -> Proxy:
    """In front of the application that keeps every byte."""
    application.received()
    application.forget()
    return _before_the_application


# Upgrades: those of HTTP/1.1 are tried through every proxy in test_upgrades.py


@pytest.mark.parametrize(
    "protocol",
    ["h2c", "websocket, h2c", "h2c, websocket", "websocket,h2c", "TLS/1.0", "connect-udp"],
)
def test_hdr_12_an_extended_connect_of_http2_carries_no_request_past_the_check(
    proxy: Proxy, protocol: str
) -> None:
    """RFC 8441. The tunnel would say a whole request in HTTP/2 to an application that takes
    ``h2c``.
    """
    secret = f"/admin/{uuid.uuid4().hex}"
    assert extended_connect(proxy.port, protocol, host=BELOW, secret=secret) == "400"
    assert [arrived for arrived in proxy.stand.h2c.arrived if arrived.path == secret] == []


def test_hdr_13_an_extended_connect_of_http2_opens_a_websocket(
    raw: Proxy, application: RawApplication
) -> None:
    assert extended_connect(raw.port, "websocket", host=ACME, secret="/admin") == "200"
    assert application.upgrades() == [b"websocket"]


@pytest.mark.parametrize("said", ["websocket", "WebSocket", " websocket\t"])
def test_hdr_13_a_websocket_is_relayed_as_the_configuration_spells_it(
    raw: Proxy, application: RawApplication, said: str
) -> None:
    key = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    assert (
        raw.ask(
            "Connection: Upgrade", f"Upgrade:{said}", *key, target="/public/x", close=False
        ).status
        == 101
    )
    assert application.upgrades() == [b"websocket"]


def extended_connect(port: int, protocol: str, *, host: str, secret: str) -> str:
    """Ask for ``secret`` inside the tunnel if it opens; the status of the first answer, empty where
    the stream was ended instead.
    """
    inner = H2Connection(H2Configuration(client_side=True, validate_outbound_headers=False))
    inner.initiate_connection()
    forged = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", host),
        (":path", secret),
        ("x-auth-request-email", "evil@globex.test"),
    ]
    inner.send_headers(1, forged, end_stream=True)
    outer = H2Connection(
        H2Configuration(
            client_side=True, validate_outbound_headers=False, header_encoding="latin-1"
        )
    )
    outer.initiate_connection()
    outer.send_headers(
        1,
        [
            (":method", "CONNECT"),
            (":protocol", protocol),
            (":scheme", "http"),
            (":authority", host),
            (":path", "/public/x"),
            ("sec-websocket-version", "13"),
        ],
    )
    found = ""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        contextlib.suppress(OSError, ProtocolError),
    ):
        connection.sendall(outer.data_to_send())
        while chunk := connection.recv(65536):
            for event in outer.receive_data(chunk):
                if isinstance(event, ResponseReceived):
                    found = {str(name): str(value) for name, value in event.headers}[":status"]
                    if found != "200":
                        return found
                    outer.send_data(1, inner.data_to_send(), end_stream=True)
                elif isinstance(event, DataReceived):
                    outer.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded | StreamReset):
                    return found
            connection.sendall(outer.data_to_send())
    return found


# What strangers can send

LISTS = {"cookie", "accept", "accept-language"}


@pytest.mark.parametrize("name", [*ASKED, "X-Other"])
def test_lim_04_no_number_of_header_lines_ends_the_proxy(proxy: Proxy, name: str) -> None:
    """Its HTTP client writes past a table when it is handed more than ``tune.http.maxhdr``
    lines.
    """
    for count in (2, 60, 95, 97, 400):
        answer = proxy.ask(*[f"{name}: a"] * count, target="/public/x")
        joined = name.lower() in LISTS or name in {
            "X-Other",
            "X-Request-Id",
        }  # the configuration writes the id anew
        assert answer.status == (200 if joined and count < 100 else 400), count
    assert (
        proxy.ask(*[f"{each}: a" for each in ASKED for _ in range(8)], target="/public/x").status
        == 400
    )
    assert proxy.ask(proxy.alice).status == 200


def test_cookies_of_many_lines_are_one_jar(proxy: Proxy) -> None:
    assert (
        proxy.ask(
            *(f"Cookie: c{number}={number}" for number in range(40)),
            proxy.alice,
            *(f"Cookie: d{number}={number}" for number in range(40)),
        ).status
        == 200
    )
    (line,) = proxy.only().values("Cookie")
    assert line.split("; ") == [
        f"{letter}{number}={number}" for letter in "cd" for number in range(40)
    ]


PAYLOADS: dict[str, Callable[[int], str]] = {
    "blanks inside a name": lambda size: f"Cookie: a{' ' * size}b",
    "blanks before a value": lambda size: f"Cookie: a={' ' * size}b",
    "blanks around the sign": lambda size: f"Cookie: a{' ' * (size // 2)}={' ' * (size // 2)}b",
    "blanks and tabs": lambda size: "Cookie: a" + " \t" * (size // 2) + "b",
    "blanks only": lambda size: f"Cookie: ;{' ' * size};",
    "signs": lambda size: f"Cookie: {'=' * size}",
    "many cookies": lambda size: f"Cookie: {'a;' * (size // 2)}",
    "many empty cookies": lambda size: f"Cookie: {';' * size}b",
    "many of ours": lambda size: f"Cookie: {f'{COOKIE}-x=1;' * (size // 14)}",
    "a long name of ours": lambda size: f"Cookie: {COOKIE}-{'-' * size}",
    "another header": lambda size: f"Accept-Language: a{' ' * size}b",
    "a header that is not sent on": lambda size: f"Referer: a{' ' * size}b",
}
"""Header lines of about so many bytes."""


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_lim_01_reading_a_header_takes_time_in_proportion_to_its_length(
    proxy: Proxy, payload: Callable[[int], str]
) -> None:
    """Eight times the bytes, at most sixteen times the time; what squares would be sixty-four
    times, and the watchdog ends the proxy.
    """

    def fastest_s(size: int) -> float:
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            assert proxy.ask(payload(size), target="/public/x").status < 500
            best = min(best, time.perf_counter() - began)
        return best

    assert fastest_s(40 * KILOBYTE) <= 16 * max(fastest_s(5 * KILOBYTE), 0.01)


PATTERN_CALL = re.compile(
    r":(?:find|match|gmatch|gsub)\(([^)]*)\)|string\.(?:find|match|gmatch|gsub)"
)
LINEAR = {'"[^;]+"', '"[^ \\t]"', '"=", 1, true', '"text/html", 1, true', "CONTROLS"}
"""One class, once; or a plain search: none of them can be tried at one place in two ways."""


def test_every_pattern_of_the_action_is_one_that_cannot_backtrack(stand: Stand) -> None:
    text = render("haproxy", stand.site(1))["gateway.lua"]
    found = {match[1] for match in PATTERN_CALL.finditer(text)}
    assert found == LINEAR
    assert 'local CONTROLS = "[%z\\1-\\8\\10-\\31\\127]"' in text


# What the action says, and what happens when it cannot

UNAVAILABLE = (
    b'{"type":"about:blank","title":"Service Unavailable","status":503,"code":"store_unavailable"}'
)
STATEMENT = re.compile(
    r"^( +)((?:local|for|if|while|return)\b|[a-z][\w.:\[\]\"+# -]*(?:\(| = ))", re.MULTILINE
)
INJECTED = """
local armed, register = nil, core.register_action
core.register_action = function(name, contexts, action, arguments)
  register(name, contexts, function(txn)
    armed = txn.sf:req_fhdr("fault")
    return action(txn)
  end, arguments)
end
local function fault(number)
  if armed == number then core.Alert("fault " .. number .. " struck"); error("fault") end
end
"""


def with_faults(lua: str) -> tuple[str, int]:
    """``lua`` with an error before each statement of a function, which a request chooses by its
    number in Fault; and their number.
    """
    count = 0

    def inject(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f'{found[1]}fault("{count}"); {found[2]}'

    return INJECTED + STATEMENT.sub(inject, lua), count


def test_an_error_anywhere_in_the_action_lets_nothing_through(
    started: Callable[..., RunningIngress], stand: Stand
) -> None:
    lua, count = with_faults(render("haproxy", stand.site(1))["gateway.lua"])
    assert count > 60

    def change(files: dict[str, str]) -> dict[str, str]:
        return {**files, "gateway.lua": with_faults(files["gateway.lua"])[0]}

    running = started(change)
    proxy = Proxy(running, stand)
    stand.sign_in("alice", stand.sessions["alice"].identity)
    assert proxy.ask(proxy.alice, "Fault: none").status == 200
    struck = set()
    for number in range(1, count + 1):
        for lines, target in (
            ((f"Cookie: a=1; {COOKIE}=alice",), "/p"),
            (("Cookie: a = 1;;  ",), "/public/x"),
            ((), "/p"),
            ((b"X-Foo: \x01",), "/p"),
            (("Origin: a", "Origin: b"), "/p"),
        ):
            answer = proxy.ask(*lines, f"Fault: {number}", target=target)
            if f"fault {number} struck" in running.log.read_text():
                struck.add(number)
                (statement,) = (line for line in lua.splitlines() if f'fault("{number}")' in line)
                # What looks at the answer comes when the application has been asked.
                assert proxy.app == [] or ".code ==" in statement, statement
                assert answer.status in (
                    {0, 400, 502, 503} if ".code ==" in statement else {400, 503}
                ), (statement, answer)
                break
            assert (proxy.app == []) == (target == "/p" and b"=alice" not in str(lines).encode())
    assert len(struck) > count * 0.8, sorted(set(range(1, count + 1)) - struck)


BROKEN: dict[str, Callable[[str], str]] = {
    "no HTTP client": lambda lua: "core.httpclient = nil\n" + lua,
    "an HTTP client that says nothing": lambda lua: (
        "core.httpclient = function() return { get = function() end } end\n" + lua
    ),
    "an HTTP client that says 200 and no more": lambda lua: (
        "core.httpclient = function() return { get = function() return { status = 200 } end } end\n"
        + lua
    ),
    "a status that is a text": lambda lua: (
        (
            'core.httpclient = function() return { get = function() return { status = "200", '
            "headers = {} } end } end\n"
        )
        + lua
    ),
    "no names": lambda lua: lua.replace("local MANAGED = {", "local MANAGED = nil and {"),
    "the action returns at once": lambda lua: lua.replace(
        "  local headers = question(txn)",
        "  if txn then return end\n  local headers = question(txn)",
    ),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_an_action_that_does_not_work_lets_nothing_through(
    started: Callable[..., RunningIngress], stand: Stand, change: Callable[[str], str]
) -> None:
    running = started(lambda files: {**files, "gateway.lua": change(files["gateway.lua"])})
    proxy = Proxy(running, stand)
    for lines, target in (
        ((ALICE,), "/p"),
        ((), "/admin"),
        ((), "/public/x"),
        (("Sec-Fetch-Mode: navigate",), "/_auth/doctor"),
    ):
        answer = proxy.ask(*lines, target=target)
        assert proxy.app == []
        assert not 200 <= answer.status < 300, answer
    running.stop()


def test_a_refusal_of_the_configuration_itself_says_when_to_come_back(
    started: Callable[..., RunningIngress], stand: Stand
) -> None:
    running = started(
        lambda files: {**files, "gateway.lua": BROKEN["no HTTP client"](files["gateway.lua"])}
    )
    proxy = Proxy(running, stand)
    answer = proxy.ask(proxy.alice)
    assert (answer.status, answer.body) == (503, UNAVAILABLE)
    assert answer.header("Retry-After") == "2"
    assert answer.header("Cache-Control") == "no-store"
    assert answer.header("Content-Type") == "application/problem+json"
    assert proxy.ask(target="/_auth/signed-out").status == 200
    running.stop()


def test_lim_02_a_large_identity_reaches_the_application_beside_the_longest_head_that_is_taken(
    proxy: Proxy,
) -> None:
    proxy.stand.sign_in("bulky", proxy.stand.sessions["large"].identity)
    taken = 0
    for size in range(44 * KILOBYTE, 66 * KILOBYTE, 509):
        answer = proxy.ask(f"Cookie: {COOKIE}=bulky", f"X-Foo: {'x' * size}")
        assert answer.status in {200, 400}, size
        if answer.status == 200:
            hold(proxy, proxy.only())
            assert proxy.only().values("X-Auth-Request-Groups") != []
            taken = size
        else:
            assert proxy.app == []
    assert taken > 46 * KILOBYTE


def test_lim_02_where_the_identity_does_not_fit_nothing_is_let_through(
    started: Callable[..., RunningIngress], stand: Stand
) -> None:
    """HAProxy does not say that a header was not set. With the reserve of its defaults, a head of
    64 kB takes the room.
    """

    def change(files: dict[str, str]) -> dict[str, str]:
        configuration = files["haproxy.cfg"].replace(
            "tune.maxrewrite 16384", "tune.maxrewrite 1024"
        )
        assert configuration != files["haproxy.cfg"]
        return {**files, "haproxy.cfg": configuration}

    proxy = Proxy(started(change), stand)
    seen = set()
    for size in range(52 * KILOBYTE, 65 * KILOBYTE, 197):
        answer = proxy.ask(f"Cookie: {COOKIE}=large", f"X-Foo: {'x' * size}")
        seen.add(answer.status)
        if answer.status == 200:
            hold(proxy, proxy.only())
            assert proxy.only().values("X-Auth-Request-Email") == ["large@acme.test"]
        else:
            assert proxy.app == [], size
    assert seen == {200, 400, 503}


# Targets, values, trailers

TARGETS = {
    "origin": ("/p?q=a@b", b"/p?q=a@b"),
    "an empty query": ("/p?", b"/p?"),
    "absolute": (f"http://{ACME}/p?q=1", b"/p?q=1"),
    "absolute with a user": (f"http://user:pw@{ACME}/p?q=1", b"/p?q=1"),
    "absolute with a user that looks like a host": (f"http://evil.test:80@{ACME}/p", b"/p"),
    "absolute with a port": (f"http://{ACME}:80/p", b"/p"),
}


@pytest.mark.parametrize(("target", "arrived"), TARGETS.values(), ids=TARGETS)
def test_path_13_the_application_receives_path_and_query_and_nothing_else_of_the_target(
    raw: Proxy, application: RawApplication, target: str, arrived: bytes
) -> None:
    answer = raw.ask(raw.alice, target=target)
    heads = [data.split(b" ")[1] for data in application.received()]
    assert heads in ([arrived], []) if "absolute" in target or "://" in target else [arrived]
    assert answer.status == (200 if heads else 400)


CONTROLS = [bytes([code]) for code in (*range(9), 11, 12, *range(14, 32), 127)]


@pytest.mark.parametrize("target", ["/p", "/public/x", "/_auth/login"])
def test_hdr_09_a_control_character_in_a_value_is_refused_with_a_text_of_the_proxys_own(
    proxy: Proxy, target: str
) -> None:
    for control in CONTROLS:
        for name in (
            b"X-Foo: a",
            f"Cookie: {COOKIE}=alice; x=".encode(),
            b"Authorization: Bearer x",
            b"User-Agent: ",
        ):
            answer = proxy.ask(name + control + b"b", target=target)
            assert (answer.status, proxy.app, proxy.pages) == (400, [], []), (control, name)
            assert b"alice" not in answer.body
            assert b"x-foo" not in answer.body.lower()


def test_hdr_09_a_tab_and_bytes_beyond_ascii_in_a_value_are_relayed(
    raw: Proxy, application: RawApplication
) -> None:
    assert raw.ask(raw.alice, b"X-Foo: a\tb\xff\x80\xc3\xa9").status == 200
    assert b"x-foo: a\tb\xff\x80\xc3\xa9\r\n" in application.received()[0].lower()


CHUNKED = "Transfer-Encoding: chunked"
TRAILERS = {
    "identity": b"X-Auth-Request-Email: evil@globex.test\r\n",
    "anything": b"a:\r\n",
    "many": b"A: b\r\n" * 50,
    "an alias": b"x_auth_request_email: evil\r\n",
}


@pytest.mark.parametrize("trailer", TRAILERS.values(), ids=TRAILERS)
@pytest.mark.parametrize("size", [0, 3, 100_000])
def test_hdr_10_a_request_with_trailers_does_not_reach_the_application_whole(
    raw: Proxy, application: RawApplication, trailer: bytes, size: int
) -> None:
    body = b"%x\r\n%b\r\n" % (size, b"x" * size) if size else b""
    answer = raw.raw(
        request(raw.alice, CHUNKED, "Trailer: X-Auth-Request-Email", "TE: trailers", method="POST")
        + body
        + b"0\r\n"
        + trailer
        + b"\r\n",
        "POST",
    )
    assert answer.status == 400
    for data in application.received():
        assert b"evil" not in data
        assert not data.endswith(b"0\r\n\r\n"), "the request ended as if it were whole"


def test_hdr_10_trailers_that_come_after_the_body_was_passed_on_are_cut_off(
    raw: Proxy, application: RawApplication
) -> None:
    with socket.create_connection(("127.0.0.1", raw.port), timeout=10) as connection:
        connection.sendall(
            request(raw.alice, CHUNKED, method="POST", close=False) + b"5\r\nhello\r\n"
        )
        application.wait_for(b"\r\nhello\r\n")
        connection.sendall(b"0\r\nX-Auth-Request-Email: evil\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")
    (data,) = application.received()
    assert data.endswith(b"\r\nhello\r\n")


@pytest.mark.parametrize("length", [(), (("content-length", "5"),)], ids=["no length", "a length"])
def test_hdr_10_trailers_of_http2_do_not_reach_the_application(
    raw: Proxy, application: RawApplication, length: tuple[tuple[str, str], ...]
) -> None:
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    client.send_headers(
        1,
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", ACME),
            (":path", "/p"),
            ("cookie", f"{COOKIE}=alice"),
            *length,
        ],
    )
    client.send_data(1, b"hello")
    client.send_headers(1, [("x-auth-request-email", "evil")], end_stream=True)
    status_code = b""
    with socket.create_connection(("127.0.0.1", raw.port), timeout=10) as connection:
        connection.sendall(client.data_to_send())
        while not status_code and (chunk := connection.recv(65536)):
            for event in client.receive_data(chunk):
                if isinstance(event, ResponseReceived):
                    status_code = dict(event.headers)[b":status"]
    assert status_code == (b"200" if length else b"400")
    for data in application.received():
        assert b"evil" not in data


def test_lim_05_a_chunked_body_without_trailers_reaches_the_application_whole(
    raw: Proxy, application: RawApplication
) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in (1, 70_000, 5))
    assert (
        raw.raw(request(raw.alice, CHUNKED, method="POST") + chunks + b"0\r\n\r\n", "POST").status
        == 200
    )
    (data,) = application.received()
    assert data.partition(b"\r\n\r\n")[2].count(b"x") == 70_006
    assert data.endswith(b"0\r\n\r\n")


# Answers of the gateway

QUOTING = b"Invalid header value char: b'cookie: __Host-gw=alice'"


def test_what_the_gateways_server_says_of_a_request_that_it_cannot_read_is_not_relayed(
    started: Callable[..., RunningIngress], stand: Stand
) -> None:
    gateway = MisbehavingGateway()
    try:
        gateway.behaviour = status(403)
        proxy = Proxy(started(check=gateway.port), stand)
        gateway.behaviour = status(400, b"Content-Type: text/plain", body=QUOTING)
        answer = proxy.ask(proxy.alice)
        assert (answer.status, answer.header("Content-Type")) == (400, "application/problem+json")
        assert b"alice" not in answer.body
        gateway.behaviour = Misbehaviour(
            b"HTTP/1.1 200 OK\r\n" + b"X-Filler: a\r\n" * 300 + b"Content-Length: 0\r\n\r\n"
        )
        assert proxy.ask(proxy.alice).status == 503
        gateway.behaviour = status(200, b"X-Auth-Request-Name: a", b"X-Auth-Request-Name: b")
        assert proxy.ask(proxy.alice).status == 503
        assert proxy.app == []
    finally:
        gateway.stop()
