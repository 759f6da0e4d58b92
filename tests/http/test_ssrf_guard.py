"""Somebody else names an address, and we call it from inside: where that must not lead."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from gateway.errors import PeerError
from gateway.http.ssrf_guard import (
    MAX_LOOKUPS,
    SsrfGuardResolver,
    check_url,
    guarded_session,
    permitted,
    resolve,
)
from tests.hooks.world import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.http.ssrf_guard import Resolve

OURS = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("address", "allowed", "in_development"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1:248:1893:25c8:1946", True, True),
        ("127.0.0.1", False, True),
        ("127.8.8.8", False, True),
        ("::1", False, True),
        ("10.1.2.3", False, True),
        ("172.16.0.1", False, True),
        ("192.168.1.1", False, True),
        ("100.64.0.1", False, False),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("fd00:ec2::254", False, False),
        ("fd20:ce::254", False, False),
        ("168.63.129.16", False, False),
        ("168.63.129.17", True, True),
        ("::ffff:168.63.129.16", False, False),
        ("64:ff9b::a83f:8110", False, False),
        ("2002:a83f:8110::1", False, False),
        ("192.0.0.192", False, False),
        ("192.0.0.8", False, False),
        ("192.88.99.1", False, False),
        ("100.100.100.200", False, False),
        ("64:ff9b:1::7f00:1", False, False),
        ("::127.0.0.1", False, False),
        ("::ffff:0:127.0.0.1", False, False),
        ("2606:2800:220:1::5efe:a9fe:a9fe", False, False),
        ("2606:2800:220:1:200:5efe:a01:203", False, True),
        ("2606:2800:220:1::5efe:5db8:d822", True, True),
        ("3fff::1", False, False),
        ("5f00::1", False, False),
        ("2001:db8::1", False, True),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("240.0.0.1", False, False),
        ("::ffff:127.0.0.1", False, True),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("64:ff9b::5db8:d822", True, True),
        ("2002:7f00:1::", False, True),
        ("2002:a9fe:a9fe::1", False, False),
        ("2001:0:4136:e378:8000:63bf:5601:5601", False, False),
        ("198.18.0.1", False, True),
        ("192.0.2.1", False, True),
    ],
)
def test_where_a_stranger_may_send_us(address: str, *, allowed: bool, in_development: bool) -> None:
    parsed = ipaddress.ip_address(address)
    assert permitted(parsed, development=False) is allowed
    assert permitted(parsed, development=True) is in_development


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("64:ff9b::a01:203", True),
        ("fd00:ec2::254", False),
        ("fd00::5", True),
        ("168.63.129.16", False),
        ("192.168.1.1", False),
        ("127.0.0.1", False),
        ("93.184.216.34", True),
        ("169.254.169.254", False),
        ("fe80::1", False),
    ],
)
def test_the_operators_own_networks_are_reached_and_no_others(
    address: str, *, allowed: bool
) -> None:
    assert permitted(ipaddress.ip_address(address), development=False, networks=OURS) is allowed


def test_no_network_makes_link_local_reachable() -> None:
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    for address in ("169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "224.0.0.1", "0.0.0.0"):
        assert not permitted(ipaddress.ip_address(address), development=True, networks=everything)


@pytest.mark.parametrize(
    "url",
    [
        "http://idp.example.com/",
        "http://127.0.0.1/",
        "http://localhost/",
        "ftp://idp.example.com/",
        "https://user@idp.example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://10.0.0.1/",
        "https://169.254.169.254/",
        "https://[::ffff:169.254.169.254]/",
        "https://[fe80::1%25eth0]/",
    ],
)
def test_what_is_not_even_looked_up(url: str) -> None:
    with pytest.raises(PeerError) as caught:
        check_url(URL(url), development=False)
    assert caught.value.code == "address_not_permitted"


def test_development_calls_this_machine_over_http_and_the_outside_only_over_https() -> None:
    for url in (
        "http://127.0.0.1:8000/",
        "http://app.acme.localhost:8000/",
        "https://10.0.0.1/",
        "https://idp.example.com/",
    ):
        check_url(URL(url), development=True)
    for url in ("http://idp.example.com/", "http://169.254.169.254/", "https://169.254.169.254/"):
        with pytest.raises(PeerError):
            check_url(URL(url), development=True)


class Names:
    """A resolver that answers from a list, the last answer for ever, and remembers what it was
    asked.
    """

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
async def inside() -> AsyncIterator[tuple[int, list[str]]]:
    """A server of our own network: its port, and the paths it was asked for."""
    reached: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.Response(text="internal")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with serving(app) as url:
        yield int(url.rpartition(":")[2]), reached


@pytest.mark.parametrize(
    "addresses",
    [("127.0.0.1",), ("93.184.216.34", "127.0.0.1"), ("::ffff:127.0.0.1",), ("169.254.169.254",)],
    ids=["inside", "one-of-two", "mapped", "metadata"],
)
async def test_a_name_that_leads_inside_is_not_called(
    inside: tuple[int, list[str]], addresses: tuple[str, ...]
) -> None:
    port, reached = inside
    async with guarded_session(development=False, resolve=Names(addresses)) as session:
        for method in ("GET", "POST"):
            with pytest.raises(PeerError) as caught:
                await session.request(method, f"https://app.example.com:{port}/")
            assert caught.value.code == "address_not_permitted"
            assert not any(a in str(caught.value) for a in addresses)
    assert reached == []


@pytest.mark.parametrize("host", ["0x7f000001", "2130706433", "127.1", "017700000001"])
async def test_unusual_spellings_of_an_address_are_names_and_end_at_the_same_guard(
    inside: tuple[int, list[str]], host: str
) -> None:
    port, reached = inside
    async with guarded_session(development=False, resolve=Names(["127.0.0.1"])) as session:
        with pytest.raises((PeerError, aiohttp.InvalidURL)):
            await session.get(f"https://{host}:{port}/")
    assert reached == []


async def test_a_name_that_changes_between_look_and_call_gains_nothing(
    inside: tuple[int, list[str]],
) -> None:
    port, reached = inside
    rebinding: Resolve = Names(["127.0.0.1"], ["169.254.169.254"])
    connector = aiohttp.TCPConnector(
        resolver=SsrfGuardResolver(rebinding, development=True),
        use_dns_cache=False,
        force_close=True,
    )
    async with aiohttp.ClientSession(connector=connector) as session:
        url = f"http://idp.internal:{port}/keys"
        async with session.get(url) as response:
            assert response.status == 200
        with pytest.raises(PeerError, match="private address"):
            await session.get(url)
    assert reached == ["/keys"]


async def test_a_redirect_inside_is_guarded_even_where_it_is_followed(
    inside: tuple[int, list[str]],
) -> None:
    port, reached = inside

    async def away(_request: web.Request) -> web.Response:
        raise web.HTTPFound("http://169.254.169.254/latest/meta-data")

    app = web.Application()
    app.router.add_get("/", away)
    async with serving(app) as url, guarded_session(development=True) as session:
        with pytest.raises(PeerError):
            await session.get(url)
    assert (port > 0, reached) == (True, [])


async def test_the_operators_own_network_is_called(inside: tuple[int, list[str]]) -> None:
    port, reached = inside
    async with guarded_session(
        development=False,
        networks=(ipaddress.ip_network("127.0.0.0/8"),),
        resolve=Names(["127.0.0.1"]),
    ) as session:
        # Nobody speaks TLS there: what matters is that it was let through.
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"https://app.internal:{port}/")
    assert reached == []


async def test_names_that_nobody_answers_for_keep_nothing_else_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over, found = threading.Event(), socket.getaddrinfo("127.0.0.1", 443)

    def silent(*_: object, **__: object) -> object:
        over.wait(30)
        return found

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    looks = [asyncio.create_task(resolve(f"{n}.example", 443)) for n in range(4 * MAX_LOOKUPS)]
    try:
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(lambda: "done") == "done"
        assert not any(look.done() for look in looks)
    finally:
        over.set()
        assert {*map(tuple, await asyncio.gather(*looks))} == {("127.0.0.1",) * len(found)}
