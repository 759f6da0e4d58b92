"""Cookies, control characters and numbers of headers that no browser sends: the right answer, never
a 5xx, and nothing of ours in the application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.ingress_config import KINDS
from gateway.ingress_config.site import ASKED
from tests.ingress.conftest import Proxy
from tests.ingress.stand import COOKIE
from tests.ingress.test_cases import hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.ingress import RunningIngress
    from tests.ingress.stand import Stand


@pytest.fixture(params=list(KINDS))
def proxy(
    request: pytest.FixtureRequest, proxies: Callable[[str], RunningIngress], stand: Stand
) -> Proxy:
    return Proxy(proxies(request.param), stand)


def received(proxy: Proxy) -> set[str]:
    return {
        pair.strip() for value in proxy.only().values("Cookie") for pair in value.split(";")
    } - {""}


@pytest.mark.parametrize("number", [3, 4, 12, 60])
def test_however_many_cookies_of_ours_there_are_the_application_gets_its_own(
    proxy: Proxy, number: int
) -> None:
    """Every login that was begun and not finished leaves one."""
    pairs = [
        "first=1",
        *(
            part
            for count in range(number)
            for part in (f"{COOKIE}-login{count}=x", f"theirs{count}=y")
        ),
        f"{COOKIE}=alice",
        "last=1",
    ]
    assert proxy.ask(f"Cookie: {'; '.join(pairs)}").status == 200
    assert received(proxy) == {
        "first=1",
        "last=1",
        *(f"theirs{count}=y" for count in range(number)),
    }


LINES = {
    "ours last": ("Cookie: a=1", f"Cookie: {COOKIE}=alice"),
    "ours first": (f"Cookie: {COOKIE}=alice", "Cookie: a=1"),
    "ours between": ("Cookie: a=1", f"Cookie: {COOKIE}=alice", "Cookie: b=2"),
    "ours twice": (
        f"Cookie: {COOKIE}=stale",
        f"Cookie: a=1; {COOKIE}=alice",
        f"Cookie: {COOKIE}-login=x",
    ),
    "ours alone": (f"Cookie: {COOKIE}=alice", f"Cookie: {COOKIE}-login=x"),
    "ours behind a comma": (f"Cookie: a=1,{COOKIE}=alice; b=2",),
    "ours behind a comma and a space": (f"Cookie: a=1, {COOKIE}=alice, {COOKIE}-login=x; b=2",),
    "ours without a value": (f"Cookie: a=1; {COOKIE}", f"Cookie: {COOKIE}-login"),
    "an empty line": ("Cookie:", f"Cookie: {COOKIE}=alice", "Cookie: ;"),
}


@pytest.mark.parametrize("target", ["/public/x", "/p"])
@pytest.mark.parametrize("lines", LINES.values(), ids=LINES)
def test_several_cookie_lines_bring_nothing_of_ours_to_the_application(
    proxy: Proxy, lines: tuple[str, ...], target: str
) -> None:
    if proxy.kind == "haproxy" and any(f",{COOKIE}" in line.replace(" ", "") for line in lines):
        pytest.skip("HAProxy joins no lines, so nothing of ours stands behind a comma")
    answer = proxy.ask(*lines, target=target)
    assert answer.status in ({200} if target == "/public/x" else {200, 401}), answer
    for seen in proxy.app:
        hold(proxy, seen)
        assert COOKIE not in "; ".join(seen.values("Cookie"))
        assert "alice" not in "; ".join(seen.values("Cookie"))
        assert all(value.strip() for value in seen.values("Cookie")), "no cookie is no header"
        assert seen.values("X-Forwarded-Server") == [], (
            "the name of the proxy's machine is nobody's business"
        )


@pytest.mark.parametrize("name", [name for name in ASKED if name != "X-Request-Id"])
def test_control_characters_are_a_bad_request(proxy: Proxy, name: str) -> None:
    """The check cannot be asked with them; that is the client's mistake, and no failure of a
    store.
    """
    for character in (b"\x01", b"\x0b", b"\x1f", b"\x7f"):
        answer = proxy.ask(name.encode() + b": a" + character + b"b", proxy.alice, target="/p")
        for seen in proxy.app:
            hold(proxy, seen)
        assert answer.status in {200, 400, 401}, (character, answer)
        assert b"alice" not in answer.body


@pytest.mark.parametrize("kilobytes", [20, 33, 48, 70, 100, 140])
def test_more_cookies_than_anybody_takes_are_the_clients_mistake(
    proxy: Proxy, kilobytes: int
) -> None:
    """Any script of any sibling host can set them, so the answer must not show what else was in the
    line.
    """
    cookies = "; ".join(f"theirs{number}={'x' * 3900}" for number in range(kilobytes // 4))
    for lines in (
        (f"Cookie: {cookies}; {COOKIE}=alice",),
        *([tuple(f"Cookie: {pair}" for pair in (*cookies.split("; "), f"{COOKIE}=alice"))]),
    ):
        answer = proxy.ask(*lines, target="/p")
        assert answer.status in {0, 200, 400, 401, 431, 494}, answer
        assert answer.status == 200 or (b"alice" not in answer.body and b"xxxx" not in answer.body)
        for seen in proxy.app:
            hold(proxy, seen)


@pytest.mark.parametrize(
    "number", [40, 60, 75, 80, 81, 85, 90, 95, 97, 98, 99, 100, 101, 120, 128, 129, 200, 600]
)
def test_any_number_of_headers_is_served_or_is_too_many(proxy: Proxy, number: int) -> None:
    for name in ("X-Many", "Many"):
        answer = proxy.ask(
            proxy.alice, *(f"{name}-{count}: x" for count in range(number)), target="/p"
        )
        assert answer.status in {0, 200, 400, 431}, answer
        assert number > 60 or answer.status == 200
        for seen in proxy.app:
            hold(proxy, seen)
