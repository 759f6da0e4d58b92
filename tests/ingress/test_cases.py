"""The attack corpus through five real proxies with the shipped configuration.

Every case holds to the same invariants, whatever its own expectation: the application receives
identity only from the gateway, exactly once and for the tenant it is asked as; without a session it
receives nothing but public paths, however they are read; our cookie and our key never reach it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from gateway.config.types import DEFAULT_HEADERS
from gateway.core.client_header_names import HARMLESS, NEVER, ORDINARY, PREFIXES
from gateway.core.client_headers import IDENTITY, OVERRIDES
from gateway.core.headers import identity_headers
from tests.ingress.stand import ACME, COOKIE, GLOBEX, KEY, LOOSE, identity
from tests.ingress.stand import LOGIN as LOGIN_HOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.ingress.conftest import Proxy
    from tests.ingress.stand import Seen
    from tests.ingress.wire import Received

NAVIGATE = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept: text/html")
TCHARS = "!#$%&'*+.^_`|~"
"""Characters that a header name may hold besides letters, digits and dashes (RFC 9110 §5.6.2)."""


class Want(Enum):
    THROUGH = "the application receives it"
    REFUSED = "the application receives nothing"
    EITHER = "refused, or received with the invariants kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    want: Want
    who: str = ""
    lines: tuple[str | bytes, ...] = ()
    method: str = "GET"
    target: str | bytes = "/p"
    host: str | None = ACME
    version: str = "1.1"
    raw: bytes = b""
    statuses: frozenset[int] = frozenset()
    """Allowed answers; empty: any that is not a 5xx and, where refused, not a 2xx."""


def through(*lines: str | bytes, who: str = "alice", **more: object) -> Case:
    return Case(want=Want.THROUGH, who=who, lines=lines, **more)  # type: ignore[arg-type]  # a table of arguments


def refused(*lines: str | bytes, **more: object) -> Case:
    return Case(want=Want.REFUSED, lines=lines, **more)  # type: ignore[arg-type]  # a table of arguments


def either(*lines: str | bytes, who: str = "alice", **more: object) -> Case:
    return Case(want=Want.EITHER, who=who, lines=lines, **more)  # type: ignore[arg-type]  # a table of arguments


def raw(text: str, *, who: str = "alice") -> Case:
    """``text`` between the cookie line and the end of the head."""
    cookie = f"Cookie: {COOKIE}={who}\r\n" if who else ""
    return Case(
        want=Want.EITHER,
        who=who,
        raw=(
            f"GET /p HTTP/1.1\r\nHost: {ACME}\r\n{cookie}X-Case: "
            f"@case@\r\n{text}\r\nConnection: close\r\n\r\n"
        ).encode("latin-1"),
    )


def spelled(separator: str, *, value: str = "evil") -> tuple[str, ...]:
    return tuple(
        f"{name.replace('-', separator)}: {value}"
        for name in ("X-Auth-Request-Email", "X-Auth-Request-Groups", "Remote-User")
    )


def batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Few enough for one request: proxies take about a hundred headers."""
    return (names[start : start + 60] for start in range(0, len(names), 60))


SHORT = (
    "X-Script-Name",
    "X-Forwarded-Prefix",
    "True-Client-IP",
    "X-Amzn-Oidc-Data",
    "X-Nobody-Thought-Of",
    "Impersonate-User",
    "X-SSL-Client-Verify",
)
EVIL_FORWARDED = (
    "X-Forwarded-Uri: /public/evil",
    "X-Forwarded-Method: OPTIONS",
    "X-Forwarded-Host: evil.test",
    "X-Forwarded-Proto: gopher",
)
LOGIN = frozenset({401})
TO_LOGIN = frozenset({302})
BAD = frozenset({400, 403, 404, 421})

HDR = {
    "HDR-01": through(
        "X-Auth-Request-User: evil",
        "X-Auth-Request-Email: evil",
        "X-Auth-Request-Groups: evil",
        "Remote-User: evil",
        "X-Forwarded-User: evil",
    ),
    **{
        f"HDR-01 known names {number}": through(*(f"{name}: evil" for name in names))
        for number, names in enumerate(batches(IDENTITY), 1)
    },
    **{
        f"HDR-14 prefixes {number}": through(
            *(f"{prefix}-Nobody-Thought-Of: evil" for prefix in names)
        )
        for number, names in enumerate(batches(PREFIXES), 1)
    },
    **{
        f"HDR-14 {separator}": either(*(f"{name.replace('-', separator)}: evil" for name in SHORT))
        for separator in "_."
    },
    "HDR-01 case and duplicates": through(
        "x-AUTH-request-EMAIL: evil",
        "X-Auth-Request-Email: evil, evil",
        "x-auth-request-email:evil",
    ),
    "HDR-02": through("X-Auth-Request-Roles: evil", "X-Department: evil"),
    "HDR-03 public, nobody signed in": through(
        "X-Auth-Request-Email: evil",
        "X-Auth-Request-Roles: evil",
        "X-Department: evil",
        who="",
        target="/public/x",
    ),
    "HDR-04": either(*spelled("_"), "X-Auth_Request-Groups: evil"),
    **{
        f"HDR-05 {character}": either(
            *spelled(character),
            f"X{character}Auth-Request-Email: evil",
            f"X-Auth-Request-Email{character}: evil",
        )
        for character in TCHARS
    },
    "HDR-06 connection names identity": through(
        "Connection: close, X-Auth-Request-Email, Remote-User"
    ),
    "HDR-07 cookie": either("Connection: close, Cookie"),
    "HDR-07 authorization": either("Connection: close, Authorization"),
    "HDR-07 forwarded host": either(
        "Connection: close, X-Forwarded-Host, X-Forwarded-Uri, X-Forwarded-Method, "
        "X-Forwarded-Proto"
    ),
    "HDR-07 gateway key": either("Connection: close, X-Gateway-Key"),
    "HDR-07 nobody": refused("Connection: close, X-Forwarded-Host, X-Forwarded-Uri, X-Gateway-Key"),
    "HDR-09 folded": raw("X-Foo: a\r\n X-Auth-Request-Email: evil"),
    "HDR-09 bare LF": raw("X-Foo: a\nX-Auth-Request-Roles: evil"),
    "HDR-09 bare CR": raw("X-Foo: a\rX-Auth-Request-Roles: evil"),
    "HDR-09 NUL": raw("X-Foo: a\x00X-Auth-Request-Roles: evil"),
    "HDR-09 space before colon": raw("X-Auth-Request-Roles : evil"),
    "HDR-09 no name": raw(": evil"),
    "HDR-12": either(
        "Connection: Upgrade, HTTP2-Settings",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    ),
    "key": through("X-Gateway-Key: evil"),
    "key nobody": refused("X-Gateway-Key: evil"),
}

FWD = {
    "FWD-01": refused(*EVIL_FORWARDED, target="/admin", statuses=LOGIN),
    "FWD-01 signed in": through(*EVIL_FORWARDED),
    "FWD-01 another group's path": refused(
        *EVIL_FORWARDED, who="bob", target="/admin/x", statuses=frozenset({403})
    ),
    "FWD-05": refused(method="get", statuses=frozenset({400, 401, 403, 405})),
    "FWD-05 mixed": refused(method="GETz", statuses=frozenset({400, 401, 403, 405})),
    "FWD-07": refused(
        "X-Forwarded-Host: acme.localhost, evil.test",
        "X-Forwarded-Uri: /public/x",
        "X-Forwarded-Uri: /public/y",
    ),
    **{
        f"FWD-08 known names {number}": through(*(f"{name}: evil" for name in names))
        for number, names in enumerate(batches(OVERRIDES), 1)
    },
    "FWD-08 script name": refused(
        "X-Script-Name: /public/evil",
        "Script-Name: /public/evil",
        "X-Forwarded-Prefix: /public/evil",
        target="/admin",
        statuses=LOGIN,
    ),
    "FWD-08 nobody": refused(
        "X-Original-URL: /public/x",
        "X-Original-URI: /public/x",
        "X-Rewrite-URL: /public/x",
        "Forwarded: host=evil.test",
        "X-Host: evil.test",
        statuses=LOGIN,
    ),
    "FWD-09": refused(
        "X_Forwarded_Uri: /public/x",
        "X.Forwarded.Uri: /public/x",
        "X_Forwarded_Host: evil.test",
        "X-Forwarded_Method: OPTIONS",
    ),
    "FWD-10": refused("X-Forwarded-Prefix: //evil.test", *NAVIGATE, statuses=TO_LOGIN),
    "FWD-12 override": through(
        "X-HTTP-Method-Override: DELETE",
        "X-Method-Override: DELETE",
        "X-HTTP-Method: DELETE",
        who="",
        target="/gets",
    ),
    "FWD-12 method rule": refused(
        "X-HTTP-Method-Override: GET", method="POST", target="/gets", statuses=LOGIN
    ),
}

NOBODY_PATHS = {
    "PATH-01": [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..%2fadmin",
        "/public/%2e%2e%2fadmin",
        "/public//../admin",
        "/public/./../admin",
        "/public/%2E./admin",
    ],
    "PATH-02": ["/public%2f..%2fone/x", "/public%2F../admin"],
    "PATH-04": [
        "/public/secret%23/../../admin",
        "/admin#/public/",
        "/admin%23/public/x",
        "/x/#/../public/y.css",
    ],
    "PATH-05": [
        "/secret%3f/public",
        "/secret;/public",
        "/secret;x=/public",
        "/..;/admin",
        "/admin;.css",
        "/admin%00.css",
        "/public/..;/admin",
        "/admin%3b.css",
    ],
    "PATH-06": [
        "/admin.css/",
        "/admin/x.css",
        "/admin%0a.css",
        "/admin?x=.css",
        "/admin#.css",
        "/admin%3fx.css",
        "/a.css%2f..%2fadmin",
    ],
    "PATH-07": ["/ADMIN", "/%41dmin", "/Public/..", "/PUBLIC/x", "/%50ublic/x", "/%70ublic/x"],
    "PATH-08": ["/public\\..\\admin", "/public%5c..%5cadmin", "/public\\admin"],
    "PATH-09": [
        "/public/%252e%252e/admin",
        "/public/%25252e%25252e/admin",
        "/public%252f..%252fadmin",
    ],
    "PATH-10": [
        "/%c0%ae%c0%ae/admin",
        "/public/%c0%ae%c0%ae/admin",
        "/%ff",
        "/%zz",
        "/%",
        "/public/%",
    ],
    "PATH-11": [
        "/../healthz",
        "/%2e%2e/healthz",
        "/a/../../healthz",
        "//x",
        "/../../metrics",
        "/../auth/nginx",
        "/..%2fhealthz",
    ],
    "PATH-13": [
        "http://evil.test/admin",
        "http://acme.localhost/admin",
        "acme.localhost:80",
        "*",
        "?x",
        "x",
    ],
    "RD-03": ["//evil.test/x", "///evil.test/x", "/\\evil.test/x", "/%5cevil.test"],
    "PATH pages": [
        "/_auth/../admin",
        "/_auth/..%2fadmin",
        "/x/../_auth/../admin",
        "/_auth%2flogin",
        "/_Auth/login",
        "/_gateway_check",
        "/_gateway_frame",
        "/auth/nginx",
    ],
}
PATH = {
    **{
        f"{identifier} {target}": either(who="", target=target)
        for identifier, targets in NOBODY_PATHS.items()
        for target in targets
    },
    "PATH-10 raw bytes": either(who="", target=b"/public/\xff\xfe"),
    "PATH-13 two hosts": either(who="", target="http://acme.localhost/", host=GLOBEX),
    "PATH-13 another tenant by target": either(target=f"http://{GLOBEX}/"),
    "PATH-13 another tenant by header": either(target=f"http://{ACME}/", host=GLOBEX),
    "PATH-13 star": either(method="OPTIONS", target="*"),
    "PATH-14": refused(method="OPTIONS", target="/admin", statuses=LOGIN),
    "PATH-14 preflight": refused(
        "Origin: https://x.test",
        "Access-Control-Request-Method: PUT",
        "Remote-User: evil",
        method="OPTIONS",
        target="/admin",
        statuses=LOGIN,
    ),
    **{
        f"HC-01 {agent}": refused(f"User-Agent: {agent}", statuses=LOGIN)
        for agent in ("GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0")
    },
}

HOST = {
    "HOST-02": through(host="ACME.LOCALHOST"),
    "HOST-03": either(host="acme.localhost."),
    "HOST-03 nobody": refused(host="acme.localhost."),
    "HOST-04": through(host="acme.localhost:8443"),
    "HOST-05": refused(host="acme.localhost:evil", who="alice"),
    "HOST-06": refused(host="acme.localhost@evil.test", who="alice"),
    "HOST-07 list": refused(host="acme.localhost, evil.test", who="alice"),
    "HOST-07 space": refused(host="acme.localhost evil", who="alice"),
    "HOST-07 slash": refused(host="acme.localhost/evil", who="alice"),
    "HOST-08": refused("Host: evil.test", who="alice"),
    "HOST-08 twice the same": either(f"Host: {ACME}"),
    "HOST-09": refused(host="", who="alice"),
    "HOST-09 none": refused(host=None, who="alice"),
    "HOST-09 HTTP/1.0": refused(host=None, version="1.0", who="alice"),
    "HOST-11 homograph": refused(host="аcme.localhost", who="alice"),
    "HOST-11 A-label": refused(host="xn--cme-7cd.localhost", who="alice"),
    "HOST-12 below": refused(host="sub.acme.localhost", who="alice", statuses=LOGIN),
    "HOST-12 suffix": refused(host="acme.localhost.evil.test", who="alice"),
    "HOST-12 prefix": refused(host="evilacme.localhost", who="alice"),
    "HOST-13 v4": refused(host="127.0.0.1", who="alice"),
    "HOST-13 v6": refused(host="[::1]", who="alice"),
    "HOST-15": through(f"X-Forwarded-Host: {GLOBEX}"),
    "HOST-15 another tenant's session": refused(
        f"X-Forwarded-Host: {ACME}", host=GLOBEX, who="alice", statuses=LOGIN
    ),
}

INJ = {
    "INJ-01": through(who="crlf"),
    "INJ-03": through(who="controls"),
    "INJ-04": through(who="unicode"),
    "INJ-05": through(who="commas"),
    "INJ-06": through(who="templates"),
}

KILOBYTE = 1024
LIM = {
    **{
        f"LIM-01 {size} kB": either(f"Cookie: a={'x' * size * KILOBYTE}; {COOKIE}=alice", who="")
        for size in (7, 8, 9, 16, 24, 31, 60, 90)
    },
    "LIM-02": through(who="large"),
    "LIM-02 too large": refused(who="too large", statuses=frozenset({403})),
    **{f"LIM-03 {size} kB": either(target="/" + "a" * size * KILOBYTE) for size in (8, 16, 64)},
    "LIM-04 many": either(*(f"X-Many-{number}: x" for number in range(129))),
    "LIM-04 long": either("X-Long: " + "x" * KILOBYTE * KILOBYTE),
    "SES-02 empty": refused(f"Cookie: {COOKIE}="),
    "SES-02 quoted": refused(f'Cookie: {COOKIE}="alice"'),
    "SES-02 not ASCII": refused(f"Cookie: {COOKIE}=ä".encode()),
    "SES-02 64 kB": refused(f"Cookie: {COOKIE}={'a' * 64 * KILOBYTE}"),
    "stale twin": either(f"Cookie: {COOKIE}=stale; {COOKIE}=alice", who=""),
}

CASES = {**HDR, **FWD, **PATH, **HOST, **INJ, **LIM}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(proxy: Proxy, case: Case) -> None:
    answer = play(proxy, case)
    for seen in proxy.app:
        hold(proxy, seen)
    if case.want is Want.THROUGH:
        assert len(proxy.app) == 1, answer
        assert answer.status == 200
    if case.want is Want.REFUSED:
        assert proxy.app == []
        assert not 200 <= answer.status < 300, answer
    if case.statuses:
        assert answer.status in case.statuses, answer
    assert answer.status < 500, answer
    hold_denial(answer)


def play(proxy: Proxy, case: Case) -> Received:
    if case.raw:
        return proxy.raw(case.raw)
    cookie = (f"Cookie: {COOKIE}={case.who}",) if case.who else ()
    close = not any(isinstance(line, str) and line.startswith("Connection") for line in case.lines)
    return proxy.ask(
        *cookie,
        *case.lines,
        method=case.method,
        target=case.target,
        host=case.host,
        version=case.version,
        close=close,
    )


SAID_BY_PROXIES = frozenset(
    {
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-port",
        "x-forwarded-server",
        "x-real-ip",
        "x-envoy-expected-rq-timeout-ms",
    }
)
FOREIGN = (
    frozenset(name.lower() for names in NEVER.values() for name in names)
    - {name.lower() for name in DEFAULT_HEADERS}
    - SAID_BY_PROXIES
)
"""What no application receives, from whomever."""


def hold(proxy: Proxy, seen: Seen) -> None:
    """What must be true of everything that an application receives."""
    names = [name.lower() for name, _ in seen.headers]
    for name, value in seen.headers:
        assert "evil" not in value.lower() or name.lower() == "x-foo", (name, value)
        assert name.lower() not in FOREIGN, (name, value)
        assert all(character.isalnum() or character == "-" for character in name), name
    assert "x-gateway-key" not in names
    assert f"{COOKIE}=" not in "; ".join(seen.values("Cookie"))
    if seen.values("Upgrade"):
        assert seen.values("Upgrade") == ["websocket"]
    assert seen.values("HTTP2-Settings") == []
    host = urlsplit(f"//{seen.values('Host')[0]}").hostname
    tenant = proxy.stand.table.by_host((host or "").rstrip("."))
    users = [value for value in seen.values("X-Auth-Request-User") if value]
    if not users:
        assert all(is_public(reading) for reading in readings(seen.path)), seen.path
        assert not any(value for name in IDENTITY for value in seen.values(name))
        assert not any(seen.values("X-Department"))
        return
    live = next(
        s
        for s in proxy.stand.sessions.values()
        if s.identity.sub == users[0] or s.identity.sub.replace("\r\n", "%0D%0A") == users[0]
    )
    assert live.host == (host or "").rstrip(".")
    expected = identity_headers(tenant, live.identity, assertion="")  # type: ignore[arg-type]  # a tenant: somebody is signed in there
    assert expected is not None
    for name, value in expected:
        if name == "X-Auth-Request-Jwt":
            assert len(seen.values(name)) == 1
        else:
            assert [v for v in seen.values(name) if v] == ([value] if value else []), name
            assert len(seen.values(name)) <= 1, name


def hold_denial(answer: Received) -> None:
    """HDR-11, and nothing of ours in what a client gets."""
    if answer.status == 200:
        return
    for name, value in answer.headers:
        assert not name.lower().startswith(("x-auth-request", "remote-")), name
        assert (
            "evil.test" not in value
            or name.lower() != "location"
            or urlsplit(value).hostname in {ACME, GLOBEX}
        ), value
        assert name.lower() != "set-cookie"
        assert name.lower() != "x-gateway-key"


def readings(path: str) -> set[str]:
    """How different readers may take a path: as it is, decoded once or twice, with dots resolved,
    cut at ``#`` or ``;``.
    """
    plain = path.partition("?")[0]
    found = {
        re.sub(
            "%[0-9A-Fa-f]{2}",
            lambda escape: (
                chr(int(escape[0][1:], 16))
                if chr(int(escape[0][1:], 16)) in _UNRESERVED
                else escape[0]
            ),
            plain,
        )
    }
    for _ in range(3):
        for reading in list(found):
            decoded = unquote_to_bytes(reading.encode("utf-8", "surrogateescape")).decode(
                "utf-8", "surrogateescape"
            )
            found |= {
                decoded,
                resolved(reading),
                reading.partition("#")[0],
                "/".join(part.partition(";")[0] for part in reading.split("/")),
                reading.replace("\\", "/"),
            }
    return found


_UNRESERVED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
"""Escaped or not, they are the same path for everybody (RFC 3986 §2.3)."""


def resolved(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/")[1:]:
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return "/" + "/".join(parts) + ("/" if path.endswith("/") and parts else "")


def is_public(path: str) -> bool:
    return (
        path == "/public" or path.startswith("/public/") or path.endswith(".css") or path == "/gets"
    )


@pytest.mark.parametrize("who", ["", "bob"], ids=["nobody", "without the group"])
def test_hdr_11_denials_show_no_identity_to_the_browser(proxy: Proxy, who: str) -> None:
    cookie = (f"Cookie: {COOKIE}={who}",) if who else ()
    for lines in ((), NAVIGATE):
        answer = proxy.ask(*cookie, *lines, target="/admin/x")
        assert answer.status in {302, 401, 403}
        assert "no-store" in (answer.header("Cache-Control") or "")
        hold_denial(answer)
    assert proxy.app == []


def test_rd_03_the_way_back_after_a_login_stays_on_the_host(proxy: Proxy) -> None:
    answer = proxy.ask(*NAVIGATE, target="//evil.test/x")
    assert answer.status in {302, 400}
    if answer.status == 302:
        location = answer.header("Location") or ""
        assert location.startswith(f"http://{ACME}/_auth/login?rd=http%3A%2F%2F{ACME}%2F")


def test_fwd_02_the_check_listener_believes_nobody_without_the_key(proxy: Proxy) -> None:
    """Asked directly, as somebody would who reached it around the ingress."""
    from tests.ingress.wire import request, send

    forged = [
        "X-Forwarded-Method: GET",
        "X-Forwarded-Proto: http",
        f"X-Forwarded-Host: {ACME}",
        "X-Forwarded-Uri: /public/x",
        proxy.alice,
    ]
    for key in (
        [],
        ["X-Gateway-Key: wrong-key-of-the-right-length-0123456"],
        ["X-Gateway-Key: a", "X-Gateway-Key: b"],
        [f"X-Gateway-Key: {KEY}", f"X-Gateway-Key: {KEY}"],
        [f"X-Gateway-Key: a,b,c,d,{KEY}"],
        [f"X-Gateway-Key: {KEY}x"],
        ["X-Gateway-Key: ,"],
        ["X-Gateway-Key: "],
    ):
        answer = send(
            proxy.stand.check_port, request(*forged, *key, target=f"/auth/{proxy.kind}/public/x")
        )
        assert answer.status == 403
        assert answer.header("X-Auth-Request-User") is None


PASSES = [
    name
    for name in (*HARMLESS, *ORDINARY)
    if not name.startswith(("Sec-WebSocket", "If-"))
    and name
    not in {"Via", "Date", "Range", "Max-Forwarded", "X-Request-Id", "Early-Data", "Destination"}
]


@pytest.mark.parametrize("names", list(batches(PASSES)), ids=lambda names: names[0])
def test_what_ordinary_clients_send_reaches_the_application(
    proxy: Proxy, names: Sequence[str]
) -> None:
    """Frameworks, uploads, WebDAV and traces work behind the gateway without a word of
    configuration.
    """
    assert proxy.ask(proxy.alice, *(f"{name}: 1" for name in names)).status == 200
    seen = proxy.only()
    assert [name for name in names if seen.values(name) != ["1"]] == []


def test_a_header_that_the_operator_named_reaches_the_application_and_others_like_it_do_not(
    proxy: Proxy,
) -> None:
    assert (
        proxy.ask(proxy.alice, "X-Foo: a", "X-Fool: b", "X-Fo: c", "X-Foo-Bar: d", "X-: e").status
        == 200
    )
    assert {
        name.lower(): value for name, value in proxy.only().headers if value and value in "abcdef"
    } == {"x-foo": "a"}


def test_a_header_in_utf8_reaches_the_application_byte_by_byte(proxy: Proxy) -> None:
    department = "Zoë Ångström, 李 ½%\x85"
    proxy.stand.sign_in(
        "zoe", identity("zoe@acme.test", claims=(("custom:department", department),))
    )
    assert proxy.ask(f"Cookie: {COOKIE}=zoe").status == 200
    assert proxy.only().values("X-Department") == ["Zoë Ångström, 李 ½%25%C2%85"]


@pytest.mark.parametrize(
    "names", list(batches((*IDENTITY, *OVERRIDES))), ids=lambda names: names[0]
)
@pytest.mark.parametrize(
    ("target", "host"),
    [("/_auth/login?rd=x", ACME), ("/_auth/callback?code=x", LOGIN_HOST)],
    ids=["protected host", "login host"],
)
def test_the_gateways_pages_receive_no_foreign_identity_either(
    proxy: Proxy, names: Sequence[str], target: str, host: str
) -> None:
    proxy.ask(proxy.alice, *(f"{name}: evil" for name in names), target=target, host=host)
    (page,) = proxy.pages
    assert [(name, value) for name, value in page.headers if "evil" in value.lower()] == []


@pytest.mark.parametrize("who", ["bob", "alice"])
def test_a_webdav_request_reaches_past_no_path_rule(proxy: Proxy, who: str) -> None:
    """``/admin/**`` is for admins, of whom bob is none: as the destination of a copy, within a
    listing without depth, and in a folder that is deleted.
    """
    held = who == "alice"
    there = f"http://{ACME}/admin/payroll.txt"
    for method, target, lines, allowed in [
        ("MOVE", "/p", (f"Destination: {there}",), held),
        ("COPY", "/p", ("Destination: /admin/payroll.txt",), held),
        ("COPY", "/p", ("Destination: /x%2F..%2Fadmin/payroll.txt",), held),
        ("COPY", "/p", ("Destination: /q", "Destination: /admin/x"), held),
        ("COPY", "/p", ("Destination: /q", f"Destination: {there}"), held),
        ("COPY", "/p", (f"Destination: {there}", "Destination: /q"), held),
        ("COPY", "/p", (f"Destination: http://{GLOBEX}/q",), False),
        ("MOVE", "/p", (f"Destination: http://{ACME}/q",), True),
        ("MOVE", "/", ("Destination: /q",), held),
        ("MOVE", "/p", (), False),
        ("PROPFIND", "/", ("Depth: infinity",), held),
        ("PROPFIND", "/", (), held),
        ("PROPFIND", "/", ("Depth: 1",), True),
        ("PROPFIND", "/", ("Depth: 1", "Depth: infinity"), held),
        ("PROPFIND", "/p", ("Depth: infinity",), True),
        ("DELETE", "/", (), held),
        ("REPORT", "/", ("Depth: 0",), held),
    ]:
        answer = proxy.ask(f"Cookie: {COOKIE}={who}", *lines, method=method, target=target)
        if allowed:
            # Two lines of one name are an answer of the proxy's own to some.
            assert answer.status == 200 or (answer.status in {400, 403} and len(lines) == 2), (
                method,
                target,
                lines,
                answer,
            )
            assert answer.status != 200 or [
                line.partition(": ")[2] for line in lines if line.startswith("Destination")
            ] == proxy.only().values("Destination")
        else:
            assert proxy.app == [], (method, target, lines)
            assert answer.status in {400, 403}, (method, target, lines, answer)


AS_THEY_CAME = (
    "//icon.svg",
    "/a/../b",
    "/a/./b",
    "/a;b=1",
    "/a%3Bb",
    "/a|b",
    "/a%23b",
    "/a%5Cb",
    "/a%2Fb",
    "/caf%E9",
    "/p?a;b=1",
    "/p?a|b",
)
RESOLVED = {"//icon.svg": "/icon.svg", "/a/../b": "/b", "/a/./b": "/a/b", "/a|b": "/a%7Cb"}
REWRITTEN: dict[str, dict[str, str | None]] = {
    "traefik": {**RESOLVED, "/p?a;b=1": "/p?a%3Bb=1"},
    "caddy": {"/a|b": "/a%7Cb"},
    "envoy": {**RESOLVED, "/a%5Cb": None, "/a%2Fb": None},
}
"""None: 400."""


def test_an_odd_address_reaches_an_application_without_rules_as_the_documentation_says(
    proxy: Proxy,
) -> None:
    rewritten = REWRITTEN.get(proxy.kind, {})
    for target in AS_THEY_CAME:
        expected = rewritten.get(target, target)
        assert proxy.ask(f"Cookie: {COOKIE}=loose alice", target=target, host=LOOSE).status == (
            400 if expected is None else 200
        ), target
        assert [seen.path for seen in proxy.app] == ([] if expected is None else [expected]), target
