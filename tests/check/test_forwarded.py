"""What every dialect reads alike. Ids are those of the attack corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.check.dialects import DIALECTS, Malformed
from gateway.check.dialects.facts import MAX_REMEMBERED_BYTES, NOT_READ, Facts, RememberedFacts
from gateway.check.dialects.forwarded import (
    _BELOW,
    _FORWARDED,
    MAX_COOKIE_CHARS,
    MalformedError,
    _read_forwarded,
    names_html,
)
from gateway.core import authorization
from gateway.core.model import AuthRequest, Destination, RequestKind
from gateway.core.reason import Reason
from tests.ingress.checks import COOKIE, Pairs, ask, forwarded, known_request, raw_request

if TYPE_CHECKING:
    from gateway.check.dialects import Headers

FORWARDED_DIALECTS = ["nginx", "traefik", "caddy", "haproxy"]
dialects = pytest.mark.parametrize("dialect", FORWARDED_DIALECTS)


def parsed(pairs: Pairs, dialect: str = "nginx") -> AuthRequest:
    found = ask(dialect, pairs)
    assert isinstance(found, AuthRequest), found
    return found


@dialects
def test_the_request_is_the_forwarded_one(dialect: str) -> None:
    request = parsed(
        forwarded(
            ("Cookie", "a=1; __Host-gw=s1"),
            ("Cookie", "__Host-gw=s2; b=2"),
            ("X-Forwarded-For", "203.0.113.9, 192.0.2.7"),
            ("X-Request-Id", "abc-1"),
            method="POST",
            host="App.Acme.Test.:8443",
            uri="/%41dmin?next=/x",
        ),
        dialect,
    )
    assert (request.scheme, request.host, request.method, request.path, request.ambiguous) == (
        "https",
        "app.acme.test",
        "POST",
        "/Admin",
        False,
    )
    assert request.original_uri == "/%41dmin?next=/x"
    assert request.cookies == ("s1", "s2")
    assert request.other_cookies == "a=1; b=2"
    assert (request.client, request.request_id) == ("192.0.2.7", "abc-1")
    assert (request.kind, request.html, request.bearer, request.preflight) == (
        RequestKind.OTHER,
        False,
        None,
        False,
    )


@pytest.mark.parametrize(
    "missing", ["X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri"]
)
@dialects
def test_fwd_04_a_missing_fact_is_malformed(dialect: str, missing: str) -> None:
    found = ask(dialect, forwarded(without=missing))
    assert isinstance(found, Malformed)
    assert found.reason is Reason.BAD_REQUEST
    assert missing in found.detail


MALFORMED: dict[str, Pairs] = {
    "FWD-04 empty": forwarded(uri=""),
    "FWD-04 star": forwarded(uri="*"),
    "FWD-05 mixed case": forwarded(method="GETz"),
    "FWD-05 lower case": forwarded(method="get"),
    "FWD-05 list": forwarded(method="GET,OPTIONS"),
    "FWD-05 empty": forwarded(method=""),
    "FWD-05 long": forwarded(method="G" * 60),
    "FWD-06 gopher": forwarded(scheme="gopher"),
    "FWD-06 javascript": forwarded(scheme="javascript"),
    "FWD-06 upper case": forwarded(scheme="HTTPS"),
    "FWD-06 list": forwarded(scheme="https, http"),
    "FWD-07 host list": forwarded(host="app.acme.test, evil.test"),
    "FWD-07 two hosts": forwarded(("X-Forwarded-Host", "evil.test")),
    "FWD-07 two URIs": forwarded(("X-Forwarded-Uri", "/public")),
    "FWD-07 two methods": forwarded(("X-Forwarded-Method", "GET")),
    "FWD-07 two schemes": forwarded(("X-Forwarded-Proto", "https")),
    "FWD-09": forwarded(
        ("X_Forwarded_Host", "app.acme.test"),
        ("X.Forwarded.Host", "app.acme.test"),
        without="X-Forwarded-Host",
    ),
    "RD-04": forwarded(uri="https://evil.example/path?q=v"),
    "PATH-08": forwarded(uri="/public\\..\\admin"),
    "PATH-10": forwarded(uri="/%f"),
    "PATH-10 raw": forwarded(uri="/\udcff"),
    "PATH-13": forwarded(uri="http://evil.test/admin"),
    "HOST-05": forwarded(host="app.acme.test:evil"),
    "HOST-06": forwarded(host="app.acme.test@evil.test"),
    "HOST-07 space": forwarded(host="app.acme.test evil"),
    "HOST-07 slash": forwarded(host="app.acme.test/evil"),
    "HOST-08 joined": forwarded(host="app.acme.test,evil.test"),
    "HOST-09": forwarded(host=""),
    "HOST-11": forwarded(host="аpp.acme.test"),
    "HOST-13 v4": forwarded(host="127.0.0.1"),
    "HOST-13 v6": forwarded(host="[::1]"),
}


@pytest.mark.parametrize("pairs", MALFORMED.values(), ids=MALFORMED)
def test_two_readings_or_none_are_malformed(pairs: Pairs) -> None:
    for dialect in FORWARDED_DIALECTS:
        assert isinstance(ask(dialect, pairs), Malformed)


def test_envoys_own_request_line_needs_one_host_and_one_scheme_too() -> None:
    asked = [("X-Forwarded-Proto", "https"), ("Host", "app.acme.test")]
    found = ask("envoy", asked, raw_path="/auth/envoy/p?q=1")
    assert isinstance(found, AuthRequest)
    assert found.original_uri == "/p?q=1"
    for pairs in (asked[:1], asked[1:], [*asked, ("Host", "evil.test")]):
        assert isinstance(ask("envoy", pairs, raw_path="/auth/envoy/p"), Malformed)
    assert isinstance(ask("envoy", asked, raw_path="/elsewhere/p"), Malformed)


def test_more_cookies_than_fit_are_malformed_and_credentials_beside_many_are_not_handed_on() -> (
    None
):
    half = "x" * (MAX_COOKIE_CHARS // 2)
    full = forwarded(("Cookie", half), ("Cookie", half))
    assert parsed([*full, ("Authorization", "Basic eDp5")]).authorization == ""
    assert parsed(forwarded(("Authorization", "Basic eDp5"))).authorization == "Basic eDp5"
    found = ask("nginx", [*full, ("Cookie", "x")])
    assert isinstance(found, Malformed)
    assert "Cookie" in found.detail


def test_details_for_the_log_are_short_and_escaped() -> None:
    found = ask("nginx", forwarded(host="\x1b[2J\n" + "é" * 500))
    assert isinstance(found, Malformed)
    assert found.detail.isascii()
    assert found.detail.isprintable()
    assert len(found.detail) < 320


@pytest.mark.parametrize(
    ("said", "read"), [("http", "http"), ("https", "https"), ("ws", "http"), ("wss", "https")]
)
def test_fwd_06_a_websocket_scheme_is_its_http_scheme(said: str, read: str) -> None:
    assert parsed(forwarded(scheme=said)).scheme == read


def test_destination_and_depth_are_those_of_the_client() -> None:
    asked = parsed(
        forwarded(("Destination", "https://app.acme.test/admin/x"), ("Depth", " Infinity"))
    )
    assert (asked.destination, asked.depth) == (Destination("/admin/x"), "infinity")
    assert parsed(
        forwarded(("Destination", "/a"), ("Destination", "/a"))
    ).destination == Destination(None)


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_where_a_destination_must_be_named_none_is_one_that_nobody_knows(method: str) -> None:
    """As from an ingress whose configuration was rendered before the check read it: the application
    would receive it all the same.
    """
    assert parsed(forwarded(method=method)).destination == Destination(None)
    assert parsed(forwarded(("Destination", "/a"), method=method)).destination == Destination("/a")


@pytest.mark.parametrize(
    ("lines", "read"),
    [
        ((), ""),
        (("0",), "0"),
        (("Infinity",), "infinity"),
        (("0", "infinity"), ""),
        (("0, infinity",), "0, infinity"),
    ],
)
def test_a_depth_is_one_line(lines: tuple[str, ...], read: str) -> None:
    assert parsed(forwarded(*(("Depth", line) for line in lines))).depth == read


def test_fwd_08_other_proxies_words_are_not_read() -> None:
    others = [
        "X-Original-URL",
        "X-Original-URI",
        "X-Rewrite-URL",
        "Forwarded",
        "X-Real-IP",
        "X-Original-Host",
        "X-Host",
        "X-Forwarded-Prefix",
        "X-HTTP-Method-Override",
        "User-Agent",
    ]
    assert parsed(forwarded(*((name, "/public") for name in others))) == parsed(forwarded())


def test_a_websocket_handshake_is_told_by_its_version() -> None:
    """Of the client's own lines ``Upgrade`` and ``Connection`` are hop-by-hop, and
    ``Sec-WebSocket-Key`` is not there in HTTP/2.
    """
    version = ("Sec-WebSocket-Version", "13")
    assert [
        parsed(forwarded(*lines, method=method)).websocket
        for lines, method in (
            ((), "GET"),
            ((version,), "GET"),
            ((version,), "CONNECT"),
            ((version,), "POST"),
            ((version, version), "GET"),
        )
    ] == [
        False,
        True,
        True,
        False,
        False,
    ]


def test_the_original_uri_is_printable_ascii() -> None:
    assert parsed(forwarded(uri="/größe?x=ü")).original_uri == "/gr%C3%B6%C3%9Fe?x=%C3%BC"


def test_commas_are_letters_of_a_path() -> None:
    assert parsed(forwarded(uri="/a,b")).path == "/a,b"


NAVIGATE = ("Sec-Fetch-Mode", "navigate")
HTML = ("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
KINDS: dict[str, tuple[str, Pairs, RequestKind]] = {
    "top-level": ("GET", [NAVIGATE, ("Sec-Fetch-Dest", "document")], RequestKind.NAVIGATION),
    "HEAD": ("HEAD", [NAVIGATE, ("Sec-Fetch-Dest", "document")], RequestKind.NAVIGATION),
    "no destination": ("GET", [NAVIGATE], RequestKind.NAVIGATION),
    "form post": ("POST", [NAVIGATE, ("Sec-Fetch-Dest", "document"), HTML], RequestKind.FORM),
    "iframe": ("GET", [NAVIGATE, ("Sec-Fetch-Dest", "iframe"), HTML], RequestKind.FRAME),
    "object": ("GET", [NAVIGATE, ("Sec-Fetch-Dest", "object")], RequestKind.FRAME),
    "prefetch": (
        "GET",
        [NAVIGATE, ("Sec-Fetch-Dest", "document"), ("Sec-Purpose", "prefetch;prerender")],
        RequestKind.OTHER,
    ),
    "fetch": (
        "GET",
        [("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"), HTML],
        RequestKind.OTHER,
    ),
    "image": (
        "GET",
        [("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image"), HTML],
        RequestKind.OTHER,
    ),
    "websocket": (
        "GET",
        [("Sec-Fetch-Mode", "websocket"), ("Sec-Fetch-Dest", "empty")],
        RequestKind.OTHER,
    ),
    "destination alone": ("GET", [("Sec-Fetch-Dest", "document"), HTML], RequestKind.OTHER),
    "two modes": ("GET", [NAVIGATE, NAVIGATE], RequestKind.OTHER),
    "two destinations": (
        "GET",
        [NAVIGATE, ("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Dest", "iframe")],
        RequestKind.OTHER,
    ),
    "old browser": ("GET", [HTML], RequestKind.NAVIGATION),
    "old XHR": ("GET", [HTML, ("X-Requested-With", "XMLHttpRequest")], RequestKind.OTHER),
    "old form post": ("POST", [HTML], RequestKind.FORM),
    "old XHR post": ("POST", [HTML, ("X-Requested-With", "XMLHttpRequest")], RequestKind.OTHER),
    "post in a frame": ("POST", [NAVIGATE, ("Sec-Fetch-Dest", "iframe"), HTML], RequestKind.FRAME),
    "fetch post": (
        "POST",
        [("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"), HTML],
        RequestKind.OTHER,
    ),
    "put": ("PUT", [NAVIGATE, HTML], RequestKind.OTHER),
    "curl": ("GET", [("Accept", "*/*")], RequestKind.OTHER),
    "nothing": ("GET", [], RequestKind.OTHER),
}


CHROME_HTML = (
    "Accept",
    (
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,"
        "image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
    ),
)
SENDERS: dict[str, tuple[str, Pairs, RequestKind]] = {
    "Chromium, address bar": (
        "GET",
        [NAVIGATE, ("Sec-Fetch-Dest", "document"), ("Sec-Fetch-User", "?1"), CHROME_HTML],
        RequestKind.NAVIGATION,
    ),
    "Chromium, view-source": (
        "GET",
        [NAVIGATE, ("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Site", "none"), CHROME_HTML],
        RequestKind.NAVIGATION,
    ),
    "Chromium, worker passes a navigation through": (
        "GET",
        [NAVIGATE, ("Sec-Fetch-Dest", "empty"), ("Sec-Fetch-Site", "same-origin"), CHROME_HTML],
        RequestKind.NAVIGATION,
    ),
    "Chromium, worker passes a form through": (
        "POST",
        [NAVIGATE, ("Sec-Fetch-Dest", "empty"), CHROME_HTML],
        RequestKind.FORM,
    ),
    "Chromium, worker asks for the address": (
        "GET",
        [("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"), ("Accept", "*/*")],
        RequestKind.OTHER,
    ),
    "Chromium, worker preloads a navigation": (
        "GET",
        [
            NAVIGATE,
            ("Sec-Fetch-Dest", "document"),
            ("Service-Worker-Navigation-Preload", "true"),
            CHROME_HTML,
        ],
        RequestKind.NAVIGATION,
    ),
    "Chromium, worker script": (
        "GET",
        [("Sec-Fetch-Mode", "same-origin"), ("Sec-Fetch-Dest", "serviceworker"), ("Accept", "*/*")],
        RequestKind.OTHER,
    ),
    "Chromium, <a download>": (
        "GET",
        [NAVIGATE, ("Sec-Fetch-Dest", "empty"), ("Sec-Fetch-User", "?1"), CHROME_HTML],
        RequestKind.NAVIGATION,
    ),
    "Chromium, prefetch": (
        "GET",
        [
            ("Sec-Fetch-Mode", "no-cors"),
            ("Sec-Fetch-Dest", "empty"),
            ("Sec-Purpose", "prefetch"),
            CHROME_HTML,
        ],
        RequestKind.OTHER,
    ),
    "Chromium, prerender": (
        "GET",
        [
            NAVIGATE,
            ("Sec-Fetch-Dest", "document"),
            ("Sec-Purpose", "prefetch;prerender"),
            CHROME_HTML,
        ],
        RequestKind.OTHER,
    ),
    "Safari before 16.4": (
        "GET",
        [("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")],
        RequestKind.NAVIGATION,
    ),
    "Safari before 16.4, fetch": ("GET", [("Accept", "*/*")], RequestKind.OTHER),
    "Android WebView without fetch metadata": (
        "GET",
        [("X-Requested-With", "com.example.app"), CHROME_HTML],
        RequestKind.NAVIGATION,
    ),
    "Android WebView": (
        "GET",
        [
            NAVIGATE,
            ("Sec-Fetch-Dest", "document"),
            ("X-Requested-With", "com.example.app"),
            CHROME_HTML,
        ],
        RequestKind.NAVIGATION,
    ),
    "jQuery": (
        "GET",
        [("X-Requested-With", "XMLHttpRequest"), ("Accept", "text/html, */*; q=0.01")],
        RequestKind.OTHER,
    ),
    "Office, existence discovery": (
        "HEAD",
        [("User-Agent", "Microsoft Office Existence Discovery")],
        RequestKind.OTHER,
    ),
    "Office, protocol discovery": (
        "OPTIONS",
        [("User-Agent", "Microsoft Office Protocol Discovery")],
        RequestKind.OTHER,
    ),
    "Office, link": (
        "GET",
        [("User-Agent", "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"), ("Accept", "*/*")],
        RequestKind.OTHER,
    ),
}
"""Who really asks, as its headers came or as its maker documents them, and whether a redirect to
the login would be seen by a person.
"""


@pytest.mark.parametrize(("method", "pairs", "kind"), SENDERS.values(), ids=SENDERS)
@pytest.mark.parametrize("dialect", ["nginx", "traefik"])
def test_every_real_sender_gets_the_answer_that_fits_it(
    method: str, pairs: Pairs, kind: RequestKind, dialect: str
) -> None:
    assert parsed(forwarded(*pairs, method=method), dialect).kind is kind


def test_the_documentation_names_every_real_sender_and_what_it_is_taken_for() -> None:
    page = (
        (Path(__file__).parents[2] / "docs" / "developer" / "check.md")
        .read_text(encoding="utf-8")
        .partition("## Clients and how they are classified")[2]
        .partition("\n## ")[0]
    )
    rows = [
        [cell.strip().replace("`", "") for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if line.startswith("| ")
    ][1:]
    named = {
        RequestKind.NAVIGATION: "a navigation",
        RequestKind.FORM: "a form",
        RequestKind.OTHER: "a program",
    }
    assert {row[0]: row[1] for row in rows} == {
        sender: named[kind] for sender, (_, _, kind) in SENDERS.items()
    }


@pytest.mark.parametrize(("method", "pairs", "kind"), KINDS.values(), ids=KINDS)
def test_only_what_a_person_would_see_is_a_navigation(
    method: str, pairs: Pairs, kind: RequestKind
) -> None:
    assert parsed(forwarded(*pairs, method=method)).kind is kind


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (["text/html"], True),
        (["a/b", "*/*, TEXT/HTML ;q=0.1"], True),
        (["text/html;q=0"], False),
        (["text/*"], False),
        (["application/json"], False),
        ([], False),
    ],
)
def test_html_is_wanted_only_by_name(accept: list[str], html: bool) -> None:
    assert names_html(accept) is html


BEARERS: dict[str, tuple[list[str], str | None]] = {
    "none": ([], None),
    "good": (["Bearer abc.def-_~+/=="], "abc.def-_~+/=="),
    "TOK-14 lower case": (["bearer abc"], "abc"),
    "TOK-14 upper case": (["BEARER abc"], "abc"),
    "TOK-14 two spaces": (["Bearer  abc"], ""),
    "TOK-14 Basic": (["Basic YTpi"], None),
    "TOK-14 two lines": (["Bearer abc", "Bearer abc"], ""),
    "TOK-14 two schemes": (["Basic YTpi", "Bearer abc"], ""),
    "joined": (["Bearer abc,Bearer def"], ""),
    "empty": (["Bearer"], ""),
    "trailing": (["Bearer abc "], ""),
    "not ASCII": (["Bearer \udcff"], ""),
}


@pytest.mark.parametrize(("lines", "token"), BEARERS.values(), ids=BEARERS)
def test_tok_14_one_credential_or_a_malformed_one(lines: list[str], token: str | None) -> None:
    assert authorization.read(lines).bearer == token


@pytest.mark.parametrize(
    ("method", "pairs", "preflight"),
    [
        ("OPTIONS", [("Origin", "https://x.test"), ("Access-Control-Request-Method", "PUT")], True),
        ("OPTIONS", [("Origin", "https://x.test")], False),
        ("OPTIONS", [("Access-Control-Request-Method", "PUT")], False),
        (
            "OPTIONS",
            [("Origin", "a"), ("Origin", "b"), ("Access-Control-Request-Method", "PUT")],
            False,
        ),
        ("GET", [("Origin", "https://x.test"), ("Access-Control-Request-Method", "PUT")], False),
    ],
)
def test_path_14_only_a_true_preflight_is_one(method: str, pairs: Pairs, preflight: bool) -> None:
    assert parsed(forwarded(*pairs, method=method)).preflight is preflight


def test_odd_values_for_the_log_are_dropped() -> None:
    request = parsed(forwarded(("X-Forwarded-For", "not an address\x1b"), ("X-Request-Id", "a b")))
    assert (request.client, request.request_id) == ("", "")
    assert parsed(forwarded(("X-Request-Id", "a"), ("X-Request-Id", "b"))).request_id == ""


bytes_as_aiohttp_reads_them = st.binary(max_size=60).map(
    lambda raw: raw.decode("utf-8", "surrogateescape")
)
names = st.sampled_from(
    [
        "X-Forwarded-Method",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Uri",
        "X-Forwarded-For",
        "X-Request-Id",
        "Host",
        "Cookie",
        "Authorization",
        "Accept",
        "Sec-Fetch-Mode",
        "Sec-Fetch-Dest",
        "Sec-Purpose",
        "X-Requested-With",
        "Origin",
        "Access-Control-Request-Method",
        "X_Forwarded_Uri",
    ]
)


@given(
    st.sampled_from([*FORWARDED_DIALECTS, "envoy"]),
    st.lists(st.tuples(names, bytes_as_aiohttp_reads_them)),
    st.booleans(),
    bytes_as_aiohttp_reads_them,
    bytes_as_aiohttp_reads_them,
)
def test_no_bytes_make_a_parser_raise_or_hand_on_what_a_header_cannot_carry(
    dialect: str, pairs: Pairs, well_described: bool, method: str, path: str
) -> None:
    described = [*forwarded(), ("Host", "app.acme.test")] if well_described else []
    found = ask(
        dialect,
        [*described, *pairs],
        method="GET" if well_described else method,
        raw_path=f"/auth/envoy/{path}",
    )
    if isinstance(found, Malformed):
        assert found.detail.isascii()
        return
    for text in (
        found.host,
        found.method,
        found.original_uri,
        found.client,
        found.request_id,
        found.bearer or "",
    ):
        assert text.isascii()
        assert text == "" or text.isprintable()
    assert found.original_uri.startswith("/")
    assert found.other_cookies.isprintable()
    assert not any(0xD800 <= ord(character) <= 0xDFFF for character in found.path)


# --- what is remembered ---------------------------------------------------------------------------

SESSION = ("Cookie", f"a=1; {COOKIE}=s1")


def counting(**options: int) -> tuple[RememberedFacts, list[object]]:
    """And what was read by it."""
    reads: list[object] = []

    def read(headers: Headers, method: str, cookie_name: str) -> Facts:
        reads.append(headers)
        return _read_forwarded(headers, method, cookie_name)

    return RememberedFacts(read, **options), reads


@pytest.mark.parametrize("dialect", DIALECTS)
def test_everything_that_decides_is_part_of_what_facts_are_remembered_by(dialect: str) -> None:
    """One request, then the same with one line more, less or other: each as if it came first."""
    base = [*forwarded(SESSION, ("Accept", "text/html")), ("Host", "app.acme.test")]
    ask(dialect, base, raw_path=f"/auth/{dialect}/p")
    for changed in (
        ("X-Forwarded-Method", "DELETE"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "app.globex.test"),
        ("Host", "app.globex.test"),
        ("Cookie", f"{COOKIE}=s2"),
        ("Accept", "image/png"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("Authorization", "Bearer t"),
        ("Destination", "/elsewhere"),
        ("Depth", "0"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-Fetch-Mode", "cors"),
        ("Sec-Fetch-Dest", "iframe"),
        ("Sec-Fetch-Site", "none"),
        ("Sec-Purpose", "prefetch"),
        ("X-Requested-With", "XMLHttpRequest"),
        ("Origin", "https://app.acme.test"),
        ("Access-Control-Request-Method", "PUT"),
        ("X-Forwarded-Uri", "/other"),
        ("X-Request-Id", "r-2"),
    ):
        name = changed[0]
        for pairs in (
            [*base, changed],
            [*base, (name.lower(), changed[1])],
            [pair for pair in base if pair[0] != name],
            [changed if pair[0] == name else pair for pair in base],
        ):
            for method in ("GET", "PUT"):
                ask(dialect, pairs, method=method, raw_path=f"/auth/{dialect}/q")


@pytest.mark.parametrize("remembered", [_FORWARDED, _BELOW])
def test_no_fact_is_read_from_a_line_that_is_left_out(remembered: RememberedFacts) -> None:
    read: set[str] = set()

    class Noting(CIMultiDict[str]):
        def getall(self, key: str, default: Any = ()) -> Any:
            read.add(key.lower())
            return super().getall(key, default)

    for method in ("GET", "POST", "OPTIONS", "MOVE"):
        headers = Noting([*forwarded(method=method), ("Host", "app.acme.test")])
        remembered._read(headers, method, COOKIE)
    assert {"cookie", "authorization", "x-forwarded-for", "depth"} <= read
    assert not read & {name.decode().lower() for name in NOT_READ}


def test_facts_of_a_known_head_are_of_its_own_bytes_and_of_who_asks() -> None:
    reads: list[tuple[list[str], str]] = []

    def read(headers: Headers, method: str, cookie_name: str) -> Facts:
        reads.append((list(headers), cookie_name))
        return _read_forwarded(headers, method, cookie_name)

    known = known_request([*forwarded(SESSION), ("X-Request-Id", "1")])
    assert known is not None
    one, other = RememberedFacts(read), RememberedFacts(read)
    for facts, cookie_name in ((one, COOKIE), (one, COOKIE), (one, "gw"), (other, "gw")):
        assert facts.facts(known, cookie_name).cookies == (("s1",) if cookie_name == COOKIE else ())
    assert [cookie_name for _, cookie_name in reads] == [COOKIE, "gw", "gw"]
    assert not {"X-Forwarded-Uri", "X-Request-Id"} & set(reads[0][0])


def test_what_differs_with_every_request_and_decides_nothing_is_no_other_request() -> None:
    facts, reads = counting()
    for number in range(4):
        noise = [("User-Agent", f"b/{number}"), ("referer", f"/{number}"), ("X-Request-Id", "1")]
        pairs = [*forwarded(SESSION, uri=f"/{number}"), *noise]
        facts.facts(raw_request(pairs, with_lines=True), COOKIE)
    assert len(reads) == 2, "the first time, and the one at which it was remembered"


def test_memory_of_facts_has_an_end() -> None:
    facts, reads = counting(max_entries=2)

    def ask_with(*extra: tuple[str, str]) -> int:
        pairs, before = forwarded(*extra), len(reads)
        facts.facts(raw_request(pairs, with_lines=True), COOKIE)
        return len(reads) - before

    def asked(*numbers: int) -> list[int]:
        return [ask_with(("Cookie", f"a={n}")) for n in numbers]

    assert asked(1, 1, 1, 2, 2, 2) == [1, 1, 0, 1, 1, 0]
    assert asked(3, 4, 5, 3, 4, 5) == [1] * 6, "there is no room for three"
    assert asked(1, 2) == [0, 0], "so nobody took the place of another"
    assert asked(6, 6, 6, 2, 1) == [1, 1, 0, 0, 1], "the oldest made room for one"
    large = ("Cookie", f"a={'x' * MAX_REMEMBERED_BYTES}")
    assert [ask_with(large) for _ in range(3)] == [1, 1, 1]
    malformed = forwarded(host="a..b")
    for _ in range(3):
        before = len(reads)
        with pytest.raises(MalformedError):
            facts.facts(raw_request(malformed, with_lines=True), COOKIE)
        assert len(reads) == before + 1
