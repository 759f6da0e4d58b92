"""The gateway is away, slow, cut off or not itself: no proxy lets anything through, and each
answers within a bound.

What a person then sees is the table in docs/operator/ingress.md, which one test here holds to what
was observed.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from demo.ingress import LAUNCHERS, launch
from demo.processes import free_port
from tests.ingress.conftest import HARDENED, Proxy
from tests.ingress.misbehaving import MisbehavingGateway, Misbehaviour, status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from demo.ingress import RunningIngress
    from tests.ingress.stand import Stand

BOUND_S = {"nginx": 8.0, "traefik": 5.0, "caddy": 12.0, "envoy": 10.0, "haproxy": 14.0}
"""How long a person may wait for the refusal. HAProxy's client asks four times."""
DOCUMENT = (Path(__file__).parents[2] / "docs" / "operator" / "ingress.md").read_text(
    encoding="utf-8"
)


def documented(behaviour: str, kind: str) -> int:
    """What a person sees, according to the table in the documentation."""
    rows = {
        cells[1]: cells[2:7]
        for line in DOCUMENT.splitlines()
        if len(cells := [cell.strip() for cell in line.split("|")]) == 8
    }
    return int(rows[behaviour][rows["the gateway"].index(kind)])


BEHAVIOURS: dict[str, Misbehaviour] = {
    "resets": Misbehaviour(reset=True),
    "closes without an answer": Misbehaviour(),
    "answers garbage": Misbehaviour(b"\x00\xffnot http at all\r\n\r\n"),
    "answers half a head": Misbehaviour(b"HTTP/1.1 200 OK\r\nX-Auth-Request-Em"),
    "answers a head without end": Misbehaviour(
        b"HTTP/1.1 200 OK\r\nX-Auth-Request-Email: " + b"x" * 300_000 + b"\r\n\r\n"
    ),
    "answers 200 with a NUL in the head": status(200, b"X-Auth-Request-User: a\x00b"),
    "500": status(500),
    "502": status(502),
    "503": status(503, b"Retry-After: 7"),
    "404": status(404),
    "418": status(418),
    "429": status(429),
    "407": status(407),
    "399": status(399),
    "600": status(600),
}


ODD_ALLOWS = {"answers a head without end", "answers 200 with a NUL in the head"}
"""A 200 all the same: where the proxy passes it on, the application refuses it."""


@pytest.fixture(scope="module")
def gateway() -> Iterator[MisbehavingGateway]:
    found = MisbehavingGateway()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def misled(
    stand: Stand, gateway: MisbehavingGateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], RunningIngress]]:
    """Proxies whose gateway misbehaves."""
    running: dict[str, RunningIngress] = {}

    def get(kind: str) -> RunningIngress:
        if kind not in running:
            if LAUNCHERS[kind].binary() is None:
                pytest.skip(f"{kind} is not installed")
            gateway.behaviour = status(403)
            running[kind] = launch(
                kind,
                stand.site(free_port(), check_port=gateway.port),
                directory=tmp_path_factory.mktemp(f"misled-{kind}"),
            )
        return running[kind]

    yield get
    for ingress in running.values():
        ingress.stop()


@pytest.fixture(params=HARDENED)
def proxy(
    request: pytest.FixtureRequest, misled: Callable[[str], RunningIngress], stand: Stand
) -> Proxy:
    return Proxy(misled(request.param), stand)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_avl_04_nothing_passes_a_gateway_that_is_not_itself(
    proxy: Proxy, gateway: MisbehavingGateway, name: str
) -> None:
    gateway.behaviour = BEHAVIOURS[name]
    asked = gateway.asked
    answer = proxy.ask(proxy.alice)
    assert gateway.asked > asked, "the proxy did not ask"
    assert proxy.app == []
    assert not 200 <= answer.status < 300, answer
    assert b"evil.test" not in answer.body
    if name not in ODD_ALLOWS:
        assert answer.status == documented(name, proxy.kind)


def test_avl_02_a_gateway_that_hangs_is_given_up(proxy: Proxy, gateway: MisbehavingGateway) -> None:
    gateway.behaviour = Misbehaviour(hang=True)
    if (
        proxy.kind == "traefik"
    ):  # its 30 s cannot be configured: long enough to see that nothing passes meanwhile
        with pytest.raises(TimeoutError):
            proxy.ask(proxy.alice, timeout_s=1.5)
        assert proxy.app == []
        return
    started = time.monotonic()
    answer = proxy.ask(proxy.alice)
    assert proxy.app == []
    assert answer.status == documented("hangs", proxy.kind)
    assert time.monotonic() - started < BOUND_S[proxy.kind]


def test_avl_01_a_gateway_that_is_away_closes_the_door(
    proxy: Proxy, gateway: MisbehavingGateway
) -> None:
    with gateway.away():
        started = time.monotonic()
        answer = proxy.ask(proxy.alice)
    assert proxy.app == []
    assert answer.status == documented("is away", proxy.kind)
    assert time.monotonic() - started < BOUND_S[proxy.kind]


def test_a_person_sees_a_page_while_the_gateway_is_away_and_a_program_reads_json(
    proxy: Proxy, gateway: MisbehavingGateway
) -> None:
    person = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept: text/html")
    if proxy.kind == "traefik":
        pytest.skip("Traefik has no page of its own")
    with gateway.away():
        for method in ("GET", "POST"):
            shown, read = (
                proxy.ask(*person, proxy.alice, method=method),
                proxy.ask(proxy.alice, "Accept: application/json", method=method),
            )
            assert (shown.status, read.status) == (documented("is away", proxy.kind),) * 2
            assert (shown.header("Content-Type") or "").startswith("text/html")
            assert b"Please try again in a moment" in shown.body
            assert (read.header("Content-Type"), json.loads(read.body)["code"]) == (
                "application/problem+json",
                "store_unavailable",
            )
            assert (shown.header("Retry-After"), read.header("Retry-After")) == ("2", "2")
    assert proxy.app == []


def test_a_yes_to_the_second_question_of_nginx_is_no_way_in(
    proxy: Proxy, gateway: MisbehavingGateway
) -> None:
    """Whoever answers 200 there shows something; the application is reached by nobody."""
    if proxy.kind != "nginx":
        pytest.skip("the others ask once")
    for code in (401, 403, 503):
        gateway.behaviour = status(code, b"X-Auth-Page: yes", b"Connection: close")
        asked = gateway.asked
        answer = proxy.ask(
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
            proxy.alice,
            method="POST",
            body=b"a=1",
        )
        assert gateway.asked == asked + 2
        assert (answer.status, proxy.app) == (code, [])
    for code, second in (
        (401, Misbehaviour(reset=True)),
        (403, Misbehaviour()),
        (503, status(502)),
    ):
        gateway.behaviour = replace(status(code, b"X-Auth-Page: yes"), then=second)
        answer = proxy.ask(
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
            proxy.alice,
            method="POST",
            body=b"a=1",
        )
        assert (answer.status, answer.header("Retry-After"), proxy.app) == (503, "2", [])
        assert b"Please try again in a moment" in answer.body
    gateway.behaviour = status(200, b"X-Auth-Page: yes\r\nX-Auth-Request-Email: alice@acme.test")
    assert proxy.ask(proxy.alice).status == 200, "the first question is the check's"


def test_the_gateways_own_pages_do_not_need_the_check(
    proxy: Proxy, gateway: MisbehavingGateway
) -> None:
    gateway.behaviour = status(500)
    assert proxy.ask(target="/_auth/signed-out").status == 200
    assert len(proxy.pages) == 1


def test_a_gateway_that_comes_back_is_asked_again(
    proxy: Proxy, gateway: MisbehavingGateway
) -> None:
    with gateway.away():
        assert proxy.ask(proxy.alice).status >= 500
    gateway.behaviour = status(200)
    deadline = time.monotonic() + 15
    while proxy.ask(proxy.alice).status != 200:
        assert time.monotonic() < deadline
    gateway.behaviour = status(403)
    assert proxy.ask(proxy.alice).status == 403


def test_ses_15_a_store_that_is_down_is_503_with_retry_after(
    stand: Stand, proxies: Callable[[str], RunningIngress], request: pytest.FixtureRequest
) -> None:
    stand.store_is_down = True
    request.addfinalizer(lambda: setattr(stand, "store_is_down", False))
    for kind in HARDENED:
        if LAUNCHERS[kind].binary() is None:
            continue
        proxy = Proxy(proxies(kind), stand)
        answer = proxy.ask(proxy.alice)
        assert (kind, answer.status) == (kind, 503)
        assert (answer.header("Retry-After") or "").isdigit()
        assert proxy.app == []


def test_avl_09_no_shipped_file_lets_requests_through_when_the_gateway_is_away() -> None:
    for path in (Path(__file__).parents[2] / "deploy").rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert not re.search(
                r"failure_mode_allow:\s*true|failOpen:\s*true|fail_open:\s*true", text
            ), path
