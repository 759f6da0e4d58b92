"""No request costs a proxy more than it is long: every pattern of a rendered configuration is
linear on anything a client chooses.

What is measured is the proxy's own processor time, so that a busy machine does not matter.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.ingress_config import KINDS
from tests.ingress.conftest import Proxy
from tests.ingress.stand import ACME, COOKIE

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.ingress import RunningIngress
    from tests.ingress.stand import Stand

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LONG = 31_000
"""Just below nginx's 32 kB for one line."""
REQUESTS = 5
BOUND_S = 0.4
"""Of processor time, for all of ``REQUESTS``; one quadratic pattern took 0.7 s for one of them."""

LINES: dict[str, str] = {
    "our cookie, a dash, spaces": f"Cookie: {COOKIE}-{' ' * LONG}x",
    "our cookie, dashes and spaces": f"Cookie: {COOKIE}{'- ' * (LONG // 2)}x",
    "our cookie, spaces, no equals sign": f"Cookie: {COOKIE}{' ' * LONG}x",
    "our cookie often": "Cookie: " + f"{COOKIE}-;" * (LONG // 11),
    "our cookie often, with spaces": "Cookie: " + f"{COOKIE}- ; " * (LONG // 13),
    "semicolons": "Cookie: " + ";" * LONG,
    "commas": "Cookie: a=" + f",{COOKIE}" * (LONG // 10),
    "spaces": "Cookie: a" + " " * LONG + "b",
    "tabs": "Cookie: a=" + "\t;" * (LONG // 2),
    "a protocol and spaces": "Upgrade: websocket" + " " * LONG + "x",
    "protocols": "Upgrade: " + "websocket, " * (LONG // 11),
    "a connection": "Connection: close, " + "x-auth-request-email, " * (LONG // 23),
    "a fetch destination": "Sec-Fetch-Dest: " + "iframe " * (LONG // 7),
    "a harmless name and more": f"{'X-Requested-With-' * 400}: x",
    "a prefix often": f"{'X-' * 8000}: x",
    "a long path in a header": "X-Original-Url: /" + "../" * (LONG // 3),
}
TARGETS = {
    "dots": "/public/" + "../" * (LONG // 3),
    "slashes": "/" * LONG,
    "escapes": "/public/" + "%2e%2e%2f" * (LONG // 9),
    "pages": "/_auth" + "/" * LONG,
}
HOSTS = {"labels": "a." * 2000 + "acme.localhost", "a port": "acme.localhost:" + "1" * LONG}


@pytest.fixture(params=list(KINDS))
def proxy(
    request: pytest.FixtureRequest, proxies: Callable[[str], RunningIngress], stand: Stand
) -> Proxy:
    return Proxy(proxies(request.param), stand)


def processor_time_s(pid: int) -> float:
    """Of the process and all below it."""
    total, pids = 0, [pid]
    while pids:
        process = Path(f"/proc/{pids.pop()}")
        total += sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:13]))
        for task in (process / "task").iterdir():
            pids += map(int, (task / "children").read_text().split())
    return total / TICKS_PER_S


def spend(
    proxy: Proxy, lines: tuple[str, ...] = (), *, target: str = "/public/x", host: str = ACME
) -> float:
    before = processor_time_s(proxy.pid)
    for _ in range(REQUESTS):
        proxy.ask(
            *lines,
            close=not any(line.startswith("Connection") for line in lines),
            target=target,
            host=host,
        )
    return processor_time_s(proxy.pid) - before


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux' /proc")
def test_no_request_costs_more_than_it_is_long(proxy: Proxy) -> None:
    proxy.ask(proxy.alice)
    spent = {name: spend(proxy, (line,)) for name, line in LINES.items()}
    spent |= {name: spend(proxy, target=target) for name, target in TARGETS.items()}
    spent |= {name: spend(proxy, host=host) for name, host in HOSTS.items()}
    assert {name: seconds for name, seconds in spent.items() if seconds > BOUND_S} == {}
