"""What a refusal looks like through each real proxy: a page to whoever would see one, JSON to
programs. The table is in docs/operator/ingress.md.
"""

from __future__ import annotations

import json
import re
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.core.model import RequestKind
from gateway.pages import standalone
from gateway.pages.language import LANGUAGES
from tests.check.test_forwarded import KINDS, NAVIGATE, SENDERS
from tests.ingress.conftest import Proxy
from tests.ingress.stand import ACME, COOKIE, MACHINES, identity
from tests.ingress.wire import request as bytes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from demo.ingress import RunningIngress
    from tests.ingress.stand import Stand
    from tests.ingress.wire import Received

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operator" / "ingress.md").read_text(
    encoding="utf-8"
)
PROBLEM = "application/problem+json"
GERMAN = "Accept-Language: de"


@dataclass(frozen=True, slots=True)
class Case:
    """``code``: of the problem document. ``methods``: of the senders that it is about; None for
    all.
    """

    code: str
    target: str = "/page"
    host: str = ACME
    session: str = ""
    methods: frozenset[str] | None = None
    store_is_down: bool = False


CASES = {
    "a form after the session ended": Case("no_session", methods=frozenset({"POST"})),
    "a form that may not be sent": Case(
        "group_missing", session="mallory", methods=frozenset({"POST"})
    ),
    "an address that cannot be read": Case("bad_request", host=MACHINES, target="/%ff"),
    "a store is away": Case("store_unavailable", session="alice", store_is_down=True),
    "a host of nobody": Case("unknown_host", host="nobody.localhost"),
}


def documented(case: str, kind: str) -> tuple[int, bool]:
    """Status, and whether the page is the ingress' own, according to the table in the
    documentation.
    """
    head = next(line for line in DOCUMENT.splitlines() if line.startswith("| a person is refused"))
    row = next(
        line for line in DOCUMENT.splitlines() if line.startswith(f"| {case.partition(',')[0]} ")
    )
    column = [cell.strip() for cell in head.split("|")].index(kind)
    cell = [cell.strip() for cell in row.split("|")][column]
    return int(cell.split()[0]), cell.endswith("own")


@contextmanager
def state_of(case: Case, stand: Stand) -> Iterator[None]:
    stand.sign_in("mallory", identity("mallory@acme.test", groups=()))
    stand.store_is_down = case.store_is_down
    try:
        yield
    finally:
        stand.store_is_down = False


def is_page(answer: Received, *, own: bool) -> bool:
    return (
        (answer.header("Content-Type") or "").startswith("text/html")
        and b"<h1" in answer.body
        and (answer.header("Content-Security-Policy") is None) is own
    )


@pytest.mark.parametrize("name", CASES)
def test_a_person_sees_a_page_and_a_program_reads_json(
    proxy: Proxy, stand: Stand, name: str
) -> None:
    case = CASES[name]
    status, own = documented(name, proxy.kind)
    cookie = [f"Cookie: {COOKIE}={case.session}"] if case.session else []
    seen = set()
    with state_of(case, stand):
        for sender, (method, pairs, kind) in {
            **SENDERS,
            "form": KINDS["form post"],
            "old form": KINDS["old form post"],
            "in a frame": KINDS["post in a frame"],
        }.items():
            accepts_pages = any(
                "text/html" in value for header, value in pairs if header == "Accept"
            )
            program = kind is RequestKind.OTHER
            if (
                method == "HEAD"
                or (not program and case.methods is not None and method not in case.methods)
                or (program and accepts_pages)
            ):
                continue  # no body; another case; whoever says text/html may have either
            answer = proxy.ask(
                *(f"{header}: {value}" for header, value in pairs),
                *cookie,
                GERMAN,
                method=method,
                target=case.target,
                host=case.host,
                body=b"a=1" if method == "POST" else b"",
            )
            assert (sender, answer.status) == (sender, status), answer
            assert proxy.app == []
            assert answer.header("Cache-Control") == "no-store", sender
            if status == 503:
                assert (answer.header("Retry-After") or "").isdigit(), sender
            if not program:
                assert is_page(answer, own=own), (sender, answer)
                assert own or b'lang="de"' in answer.body
            else:
                assert (answer.header("Content-Type") or "").startswith(PROBLEM), (sender, answer)
                problem = json.loads(answer.body)
                assert (problem["status"], problem["code"]) == (status, case.code)
                if status == 401:
                    assert problem["login"].startswith(f"http://{ACME}/_auth/login?rd=")
                    assert answer.header("WWW-Authenticate") == "Bearer"
            seen.add(program)
    assert seen == {True, False}


def test_what_the_proxy_itself_cannot_read_is_told_on_a_page_where_it_can_be(proxy: Proxy) -> None:
    """The library that Traefik and Caddy are built on answers before either could."""
    for target in ("/%zz", "/%00"):
        answer = proxy.ask("Accept: text/html", "Sec-Fetch-Mode: navigate", target=target)
        assert (answer.status, proxy.app) == (400, [])
        assert proxy.kind in {"traefik", "caddy"} or (
            answer.header("Content-Type") or ""
        ).startswith("text/html"), (target, answer)


def test_neither_a_refusal_nor_a_page_of_the_gateway_waits_for_a_body_or_keeps_one(
    proxies: Callable[[str], RunningIngress], stand: Stand
) -> None:
    """nginx reads all of a body before it asks, unless it is told otherwise; here a terabyte is
    announced and a few bytes come.
    """
    proxy = Proxy(proxies("nginx"), stand)
    person = (f"{NAVIGATE[0]}: navigate", "Sec-Fetch-Dest: document")
    for target, status in (("/upload", b"401"), ("/_auth/any", b"200")):
        for framing in (b"Content-Length: 1000000000000", b"Transfer-Encoding: chunked"):
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
                connection.sendall(
                    bytes_of(*person, framing, method="POST", target=target, close=False)
                    + b"3\r\na=1\r\n"
                )
                assert connection.recv(65536).startswith(b"HTTP/1.1 " + status), (target, framing)


def test_the_page_of_a_refusal_cannot_be_asked_for_from_outside(
    proxies: Callable[[str], RunningIngress], stand: Stand
) -> None:
    proxy = Proxy(proxies("nginx"), stand)
    for target in (
        "/_gateway_page",
        "/_gateway_away",
        "/_gateway_unreadable",
        "/_gateway_away_program",
        "/_gateway_bad_request",
        "/_gateway_check",
    ):
        answer = proxy.ask(proxy.alice, "X-Auth-Page: yes", "X-Auth-Reason: ok", target=target)
        assert (answer.status, proxy.app) == (404, []), target


def test_pages_written_into_configurations_hold_nothing_that_a_format_gives_a_meaning() -> None:
    for status in standalone.STATUSES:
        page = standalone.page(status)
        assert page.isascii()
        assert page.isprintable()
        assert not set(page) & set("'`\\$%{}")
        assert re.findall(r'<section lang="(..)">', page) == list(LANGUAGES)
        assert json.loads(standalone.problem(status))["status"] == status
