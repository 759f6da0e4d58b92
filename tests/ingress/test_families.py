"""Families of attacks, made by rule: names times spellings, counts, sizes, positions; through five
proxies with the shipped configuration.

After every request the same must be true. An application receives somebody's identity from the
gateway only, and without a session nothing but public paths. The gateway's cookie and key reach
neither it nor the text of an answer. Whatever the request was, the next person is answered.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import pytest

from gateway.core.client_header_names import NEVER
from gateway.doctor.families import ODD_CHARACTERS, reader_variants, spellings
from gateway.ingress_config.site import ASKED
from tests.ingress import http2
from tests.ingress.stand import ACME, CASE, COOKIE, GLOBEX, LOOSE
from tests.ingress.test_cases import batches, hold, hold_denial
from tests.ingress.test_traffic import pseudo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ingress.conftest import Proxy
    from tests.ingress.wire import Received

SECRET = "evil-to-show"
WHO = (("alice", "/p"), ("", "/public/x"), ("", "/admin/x"))
"""A session at a path of its own; nobody at a public one; nobody where somebody must be."""


def judge(proxy: Proxy, answer: Received, *, who: str, target: str) -> None:
    for seen in proxy.stand.at("app", proxy.case):
        hold(proxy, seen)
    if not who and target.startswith("/admin"):
        assert proxy.stand.at("app", proxy.case) == [], target
        assert not 200 <= answer.status < 300
    assert SECRET.encode() not in answer.body
    assert not any(SECRET in value for _, value in answer.headers)
    hold_denial(answer)


def ask(proxy: Proxy, *lines: str | bytes, who: str, target: str, **more: object) -> Received:
    cookie = (f"Cookie: {COOKIE}={who}",) if who else ()
    answer = proxy.ask(*cookie, *lines, target=target, **more)  # type: ignore[arg-type]  # a table of arguments
    judge(proxy, answer, who=who, target=target)
    return answer


def ask2(proxy: Proxy, headers: list[tuple[str, str]], *, who: str, target: str) -> Received:
    """``headers`` are all of the request's but the test's own."""
    proxy.case = f"h2-{next(NUMBERS)}-{proxy.kind}"
    answer = http2.send(proxy.port, [*headers, (CASE.lower(), proxy.case)])
    judge(proxy, answer, who=who, target=target)
    return answer


NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def next_person(proxy: Proxy) -> Iterator[None]:
    """The proxy and the gateway stay up and answer whoever comes next."""
    yield
    assert proxy.ask(proxy.alice).status == 200
    hold(proxy, proxy.only())
    assert proxy.ask().status == 401


def spelled_names() -> Iterator[str]:
    for names in NEVER.values():
        for name in names:
            yield from (*spellings(name), name.upper(), name.swapcase())


def test_no_name_in_any_spelling_reaches_an_application(proxy: Proxy) -> None:
    for names in batches(list(dict.fromkeys(spelled_names()))):
        for who, target in WHO[:2]:
            ask(proxy, *(f"{name}: evil" for name in names), who=who, target=target)


def test_no_name_with_an_odd_character_reaches_an_application(proxy: Proxy) -> None:
    names = (
        "X-Auth-Request-Email",
        "Remote-User",
        "X-Script-Name",
        "X-Forwarded-User",
        "X-Original-URL",
    )
    for character in ODD_CHARACTERS:
        spelled = [
            place
            for name in names
            for place in (
                name.replace("-", character),
                name.replace("-", character, 1),
                f"{name}{character}",
                f"{character}{name}",
            )
        ]
        ask(proxy, *(f"{name}: evil" for name in spelled), who="alice", target="/p")


def test_no_name_over_http2_reaches_an_application(proxy: Proxy) -> None:
    names = list(
        dict.fromkeys(
            spelled.lower()
            for names in NEVER.values()
            for name in names
            for spelled in (name, name.replace("-", "_"))
        )
    )
    for batch in batches(names):
        ask2(
            proxy,
            pseudo(("cookie", f"{COOKIE}=alice"), *((name, "evil") for name in batch)),
            who="alice",
            target="/echo",
        )
        ask2(
            proxy,
            pseudo(*((name, "evil") for name in batch), path="/admin/x"),
            who="",
            target="/admin/x",
        )


COUNTS = (2, 60, 95, 101, 129, 300)
"""Around the limits of proxies and servers: HAProxy takes 101 header lines, Envoy 100, aiohttp
128.
"""


@pytest.mark.parametrize("count", COUNTS)
def test_no_number_of_lines_of_what_the_check_reads_is_a_way_in_or_an_end(
    proxy: Proxy, count: int
) -> None:
    for name in (*ASKED, "X-Forwarded-For", "X-Gateway-Key", "X-Auth-Request-User"):
        value = "a=1" if name == "Cookie" else "x" if name in ASKED else "evil"
        for who, target in WHO:
            answer = ask(proxy, *([f"{name}: {value}"] * count), who=who, target=target)
            assert answer.status < 500, (name, count, answer)


def test_no_number_of_names_is_a_way_in_or_an_end(proxy: Proxy) -> None:
    for count in (*COUNTS, *range(78, 101, 4)):
        for who, target in WHO:
            answer = ask(
                proxy, *(f"Doctor-{number}: x" for number in range(count)), who=who, target=target
            )
            assert answer.status < 500, (count, answer)


OURS = f"{COOKIE}={SECRET}"


def cookie_lines() -> Iterator[tuple[str, ...]]:
    """Our cookie in every place of up to three lines, once and twice, and as a companion of a
    login.
    """
    for mine, plain in itertools.product(
        (OURS, f"{COOKIE}-binding={SECRET}", f" \t{COOKIE} ={SECRET}"), ("a=1", "a=1; b=2", "")
    ):
        for line in (
            f"{mine}; {plain}",
            f"{plain}; {mine}",
            f"{plain};{mine};{plain}",
            f"{mine};{mine}",
        ):
            yield from ((line,), (plain, line), (line, plain), (plain, line, plain), (line, line))


def test_our_cookie_reaches_no_application_from_any_place_of_any_line(proxy: Proxy) -> None:
    for lines in dict.fromkeys(cookie_lines()):
        for who, target in (("alice", "/p"), ("", "/public/x")):
            answer = ask(proxy, *(f"Cookie: {line}" for line in lines), who=who, target=target)
            assert answer.status < 500, (lines, answer)
            assert not any(
                SECRET in value for seen in proxy.app for value in seen.values("Cookie")
            ), lines


def test_no_answer_quotes_the_cookie(proxy: Proxy) -> None:
    heavy = "; ".join((OURS, *(f"c{number}={'x' * 3900}" for number in range(17))))
    controls = [
        f"{OURS}; a={chr(code)}".encode("latin-1")
        for code in (*range(1, 9), 11, 12, *range(14, 32), 127)
    ]
    for target in ("/p", "/public/x", "/_auth/signed-out", "/_auth/doctor"):
        for line in (
            heavy.encode(),
            b"%b; a=\x00" % OURS.encode(),
            b"%b\x00" % OURS.encode(),
            b"%b\r; a" % OURS.encode(),
            *controls,
            b"x" * 130_000 + OURS.encode(),
        ):
            answer = proxy.ask(b"Cookie: " + line, target=target)
            judge(proxy, answer, who="", target=target)
            assert answer.status < 500, (target, line[:40], answer)


def http2_requests(path: str, cookie: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Pseudo-header fields missing, twice, unknown, late and odd; connection-specific fields; names
    and values that HTTP/1 could not carry (RFC 9113 §8).
    """
    usual = pseudo(path=path)
    for number, (name, value) in enumerate(usual):
        yield [*usual[:number], *usual[number + 1 :], *cookie]
        for twin in (value, "/public/x", GLOBEX, "OPTIONS"):
            yield [*usual, (name, twin), *cookie]
        yield [*usual[:number], *usual[number + 1 :], *cookie, (name, value)]
    for name, value in (
        (":evil", "1"),
        (":status", "200"),
        (":protocol", "websocket"),
        (":host", GLOBEX),
    ):
        yield [*usual, (name, value), *cookie]
    for name, values in {
        ":path": (
            "",
            "*",
            f"{path[1:]}",
            f"http://{GLOBEX}{path}",
            f"//{GLOBEX}{path}",
            f"{path}\r\nx-evil: 1",
            f"{path} HTTP/1.1",
            f"/public/..{path}",
            f"{path}#/public/",
            f"{path}\x00",
        ),
        ":scheme": ("", "https", "ftp", "http://evil.test/public?", "javascript"),
        ":authority": (
            "",
            f"{ACME}:evil",
            f"evil@{ACME}",
            f"{ACME}@evil.test",
            f"{ACME},{GLOBEX}",
            f"{ACME} ",
            f"{ACME}/public/x?",
            GLOBEX,
        ),
        ":method": ("", "get", "GET /public/x HTTP/1.1\r\nx: ", "CONNECT", "OPTIONS"),
    }.items():
        for value in values:
            yield [(key, value if key == name else old) for key, old in usual] + cookie
    for name, value in itertools.product(
        (
            "connection",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "upgrade",
            "te",
            "http2-settings",
            "content-length",
            "trailer",
            "host",
        ),
        (
            "x-auth-request-email",
            "close",
            "chunked",
            "h2c",
            "trailers, x-gateway-key",
            GLOBEX,
            "5",
            "",
        ),
    ):
        yield [*usual, *cookie, (name, value)]
    for name in (
        "",
        " ",
        "X-Upper",
        "a b",
        "a:b",
        ":",
        "x\r\nx-auth-request-roles",
        "x\x00",
        "ü",
        "x-auth-request-email ",
    ):
        yield [*usual, *cookie, (name, "evil")]
    for value in (
        "a\r\nx-auth-request-roles: evil",
        "a\nremote-user: evil",
        "a\rremote-user: evil",
        "a\x00b",
        " a",
        "a\t",
    ):
        yield [*usual, *cookie, ("x-foo", value)]


AT_ONCE = 40
"""Envoy keeps a connection that it refuses for a second."""


@pytest.mark.parametrize(
    ("who", "path"), [("alice", "/echo"), ("", "/admin/x")], ids=["a session", "nobody"]
)
def test_http2_that_http_1_cannot_say_is_refused_or_keeps_the_invariants(
    proxy: Proxy, who: str, path: str
) -> None:
    cookie = [("cookie", f"{COOKIE}={who}")] if who else []
    cases = [
        (f"h2-{next(NUMBERS)}-{proxy.kind}", headers) for headers in http2_requests(path, cookie)
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(
            pool.map(
                lambda case: http2.send(proxy.port, [*case[1], (CASE.lower(), case[0])]), cases
            )
        )
    for (proxy.case, headers), answer in zip(cases, answers, strict=True):
        if proxy.kind == "traefik" and (":authority", f"{ACME} ") in headers:
            assert all(seen.values("Host") == [""] for seen in proxy.app)
            continue
        elsewhere = [value for name, value in headers if name == ":path"] != [
            path
        ] or "/public/x" in dict(headers).values()
        judge(proxy, answer, who=who, target="" if elsewhere else path)
        assert answer.status < 500 or (
            proxy.kind in {"caddy", "traefik"} and ("trailer", "") in headers
        ), (headers, answer)


def test_cookie_crumbs_in_every_order_are_one_jar(proxy: Proxy) -> None:
    for crumbs in itertools.permutations(
        (f"{COOKIE}=alice", "a=1", "b=2", f"{COOKIE}-binding={SECRET}")
    ):
        assert (
            ask2(
                proxy, pseudo(*(("cookie", crumb) for crumb in crumbs)), who="alice", target="/echo"
            ).status
            == 200
        )
        (seen,) = proxy.stand.at("app", proxy.case)
        assert sorted(
            pair.strip() for value in seen.values("Cookie") for pair in value.split(";")
        ) == ["a=1", "b=2"]


HIDDEN = (
    f"GET /admin/hidden HTTP/1.1\r\nHost: {ACME}\r\n{CASE}: @case@\r\nX-Auth-Request-Email: "
    "evil\r\n\r\n"
)


def bodies() -> Iterator[tuple[tuple[str, ...], str]]:
    """Lines and a body that two readers could take for one request or for two: lengths, codings,
    chunks and trailers (RFC 9112 §6, 7).
    """
    codings = (
        "chunked",
        " chunked",
        "Chunked",
        "chunked, identity",
        "identity, chunked",
        "gzip, chunked",
        "xchunked",
        "chunked\t",
        '"chunked"',
        "chunked;q=1",
        "\x0bchunked",
        "chunked, chunked",
    )
    hidden = f"0\r\n\r\n{HIDDEN}"
    for coding in codings:
        yield (f"Transfer-Encoding: {coding}",), hidden
        for length in ("0", "5", str(len(hidden)), "+5", "0x5", "5, 5", "-1", " 5 "):
            yield (f"Content-Length: {length}", f"Transfer-Encoding: {coding}"), hidden
    for lines in (
        ("Content-Length: 0", f"Content-Length: {len(HIDDEN)}"),
        ("Content-Length: 5", "Content-Length: 0"),
        ("Content-Length: 00",),
        ("Content-Length : 0",),
        ("Content-Length:\x0b0",),
    ):
        yield lines, HIDDEN
    for lines in (
        ("Transfer-Encoding : chunked",),
        ("Transfer_Encoding: chunked",),
        ("X: y\nTransfer-Encoding: chunked",),
        ("Transfer-Encoding:\r\n chunked",),
        ("TE: chunked",),
    ):
        yield lines, hidden
    for size in (
        "0",
        "00",
        "0x0",
        "+0",
        "-0",
        " 0",
        "0 ",
        "0;x",
        "0;x=\r\n",
        "0\n",
        "FFFFFFFFFFFFFFFFF",
        "10000000000000000",
        "1;\n",
        "g",
        "",
    ):
        yield ("Transfer-Encoding: chunked",), f"{size}\r\n\r\n{HIDDEN}"
    for size in ("3", "3;a=b", "3 ;a", "03", "3\t"):
        yield ("Transfer-Encoding: chunked",), f"{size}\r\nabc\r\n{hidden}"
        yield ("Transfer-Encoding: chunked",), f"{size}\r\nabcX{hidden}"
        yield ("Transfer-Encoding: chunked",), f"{size}\r\nabc\n{hidden}"
    for trailer in (
        "X-Auth-Request-Email: evil",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: evil.test",
        "bad",
        " folded: evil",
        "Cookie: a=b",
        "A" * 9000 + ": 1",
    ):
        yield (
            ("Transfer-Encoding: chunked", "Trailer: X-Auth-Request-Email"),
            f"1\r\nx\r\n0\r\n{trailer}\r\n\r\n{HIDDEN}",
        )
        yield ("Transfer-Encoding: chunked",), f"0\r\n{trailer}\r\n\r\n{HIDDEN}"


@pytest.mark.parametrize("who", ["alice", ""], ids=["a session", "nobody"])
def test_no_body_hides_a_request(proxy: Proxy, who: str) -> None:
    cookie = f"Cookie: {COOKIE}={who}\r\n" if who else ""
    for version in ("1.1", "1.0"):
        for lines, body in bodies() if version == "1.1" else itertools.islice(bodies(), 0, None, 7):
            head = "\r\n".join(
                (
                    f"POST {'/p' if who else '/public/x'} HTTP/{version}",
                    f"Host: {ACME}",
                    *lines,
                    f"{CASE}: @case@",
                )
            )
            answer = proxy.raw(
                f"{head}\r\n{cookie}\r\n{body}".encode("latin-1"), "POST", timeout_s=3
            )
            judge(proxy, answer, who=who, target="/p" if who else "/public/x")
            assert not any(
                "hidden" in seen.path
                for seen in proxy.app
                if seen.values("X-Auth-Request-User") in ([], [""])
            ), (lines, body)


def loose_readings(path: str) -> set[str]:
    """What an application that reads loosely makes of a path: Windows, Unicode and suffixes, in any
    order.
    """
    found = {unquote(path, errors="replace")}
    for _ in range(3):
        for reading in list(found):
            found |= {
                unquote(reading, errors="replace"),
                reading.lower(),
                reading.upper().lower(),
                reading.casefold(),
                unicodedata.normalize("NFKC", reading).casefold(),
                reading.replace("ı", "i").replace("ſ", "s"),
                "/".join(part.rstrip(". ") for part in reading.split("/")),
                re.sub(r"\.[a-z0-9]+$", "", reading),
                reading.replace("\\", "/"),
            }
    return found


def spelled_paths() -> Iterator[str]:
    """``/admin/x`` and what loose readers take for it, alone and behind a public folder."""
    pages = ("/admin/x", "/admin", "/ADMIN/x", "/Admin/X")
    for page in pages:
        yield page
        yield from (variant for _, variant in reader_variants(page))
        yield from (variant.replace("/x", "/x/y", 1) for _, variant in reader_variants(page))
    for letter in "admin":
        for twin in dict.fromkeys(
            (
                letter.upper(),
                chr(ord(letter) + 0xFEE0),
                {"i": "ı", "m": "ⅿ", "d": "ⅾ"}.get(letter, "ª" if letter == "a" else "ⁿ"),
            )
        ):
            yield f"/{'admin'.replace(letter, quote(twin), 1)}/x"
    for end in (
        ".",
        "..",
        "%20",
        "%2e",
        ". .",
        "%20.",
        "...",
        "%c2%a0",
        "%e2%80%a4",
        "%09",
        "::$DATA",
        "~1",
        ";x",
        ".json",
        ".css",
        ".CSS",
        ".css.",
        ".xml.json",
        "%2ecss",
    ):
        target = end.replace(" ", "%20")
        yield from (
            f"/admin{target}",
            f"/admin{target}/x",
            f"/admin/x{target}",
            f"/public{target}/../admin/x",
            f"/public/{target}/admin",
            f"/public/x/{target}/{target}/admin/x",
        )
    for dots in ("‥", "．．", "․․", "…", "．."):
        yield from (
            f"/public/{quote(dots)}/admin/x",
            f"/public{quote('／')}{quote(dots)}/admin",
            f"/public/x/{quote(dots)}/{quote(dots)}/admin",
        )


@pytest.mark.parametrize("who", ["loose bob", ""], ids=["without the group", "nobody"])
def test_no_spelling_of_a_path_gets_around_a_rule_of_a_loose_reader(proxy: Proxy, who: str) -> None:
    """The tenant says that its application reads like Windows, folds Unicode and cuts suffixes
    off.
    """
    for target in dict.fromkeys(spelled_paths()):
        cookie = (f"Cookie: {COOKIE}={who}",) if who else ()
        answer = proxy.ask(*cookie, target=target, host=LOOSE)
        assert answer.status < 500, (target, answer)
        for seen in proxy.app:
            readings = loose_readings(seen.path.partition("?")[0])
            assert not any(f"{reading}/".startswith("/admin/") for reading in readings), (
                target,
                seen.path,
            )
            if not who:
                assert all(f"{reading}/".startswith("/public/") for reading in readings), (
                    target,
                    seen.path,
                )


def test_a_loose_readers_own_pages_are_served(proxy: Proxy) -> None:
    for target in ("/p", "/P", "/page.json", "/public/x", "/PUBLIC/x"):
        assert proxy.ask(f"Cookie: {COOKIE}=loose bob", target=target, host=LOOSE).status == 200, (
            target
        )
    assert proxy.ask(f"Cookie: {COOKIE}=loose alice", target="/ADMIN/x", host=LOOSE).status == 200
