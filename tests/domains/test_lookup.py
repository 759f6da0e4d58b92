"""What several DNS servers say together, over real packets."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import dns.message
import dns.rrset
import pytest

from gateway.domains import exchange, lookup
from gateway.domains.exchange import MAX_ANSWER_BYTES, MAX_RECORDS, Server
from gateway.domains.lookup import Look, Lookup, Outcome, Said
from tests.domains.server import Dns, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VALUE = "gateway-verify=abcdefghijklmnopqrstuvwxyz"
NAME = "_gateway-verify.acme.com"


@asynccontextmanager
async def world(
    resolvers: list[Dns], authority: Dns, *, networks: tuple[str, ...] = ("127.0.0.0/8",)
) -> AsyncIterator[Lookup]:
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(authority.serving())
        servers = []
        for number, resolver in enumerate(resolvers):
            resolver.delegated |= authority.delegated
            servers.append(
                await stack.enter_async_context(resolver.serving(address=f"127.0.0.{number + 2}"))
            )
        yield Lookup(servers, port=own.port, networks=networks)


def holding(*texts: str, name: str = NAME, fault: Fault = "") -> Dns:
    server = Dns(fault=fault)
    if texts:
        server.put(name, *texts)
    return server


async def look(resolvers: list[Dns], authority: Dns, **more: tuple[str, ...]) -> Look:
    async with world(resolvers, authority, **more) as asked:
        return await asked.look("acme.com", VALUE)


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is waited for as long as a busy machine needs."""
    for name, seconds in (("QUERY_S", 30.0), ("LOOK_S", 60.0), ("SLOW_S", 30.0)):
        monkeypatch.setattr(lookup, name, seconds)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers whose answer never comes, where nothing may be proven in any case."""
    monkeypatch.setattr(lookup, "QUERY_S", 0.3)


HERE, NOT = (VALUE,), ()
CASES = {
    "everywhere": ([HERE, HERE, HERE], HERE, Outcome.FOUND),
    "two resolvers": ([HERE, HERE, NOT], HERE, Outcome.FOUND),
    "one resolver": ([HERE, NOT, NOT], HERE, Outcome.UNKNOWN),
    "not at the source": ([HERE, HERE, HERE], NOT, Outcome.UNKNOWN),
    "at the source alone": ([NOT, NOT, NOT], HERE, Outcome.UNKNOWN),
    "nowhere": ([NOT, NOT, NOT], NOT, Outcome.ABSENT),
    "another value": ([("gateway-verify=z",)] * 3, ("gateway-verify=z",), Outcome.ABSENT),
    "one resolver is configured": ([HERE], HERE, Outcome.FOUND),
    "none is": ([], HERE, Outcome.UNKNOWN),
    "beside others": ([("v=spf1 -all", VALUE)] * 3, ("x", VALUE), Outcome.FOUND),
    "within another text": ([(f"x{VALUE}",)] * 3, (f"{VALUE}x",), Outcome.ABSENT),
    "in another case": ([(VALUE.upper(),)] * 3, (VALUE.upper(),), Outcome.ABSENT),
    "with a blank": ([(f"{VALUE} ",)] * 3, (f"{VALUE} ",), Outcome.ABSENT),
}


@pytest.mark.parametrize(("resolvers", "authority", "outcome"), CASES.values(), ids=CASES)
async def test_what_is_proven(
    resolvers: list[tuple[str, ...]], authority: tuple[str, ...], outcome: Outcome
) -> None:
    found = await look([holding(*texts) for texts in resolvers], holding(*authority))
    assert found.outcome is outcome


@pytest.mark.parametrize(
    "fault",
    [
        "servfail",
        "refused",
        "silent",
        "garbage",
        "spoofed_id",
        "other_question",
        "truncated_without_tcp",
        "long",
        "many",
    ],
)
@pytest.mark.usefixtures("hurried")
async def test_a_server_that_says_nothing_proves_nothing(fault: Fault) -> None:
    broken = [holding(VALUE, fault=fault), holding(VALUE, fault=fault), holding(VALUE)]
    assert (await look(broken, holding(VALUE))).outcome is Outcome.UNKNOWN
    gone = [holding(fault=fault), holding(fault=fault), holding()]
    assert (await look(gone, holding())).outcome is Outcome.UNKNOWN
    # And at the source: the resolvers alone neither prove nor take away.
    assert (await look([holding(VALUE)] * 2, holding(fault=fault))).outcome is Outcome.UNKNOWN
    assert (await look([holding()] * 2, holding(fault=fault))).outcome is Outcome.UNKNOWN


async def test_an_answer_without_authority_is_none() -> None:
    found = await look([holding(VALUE)] * 3, holding(VALUE, fault="not_authoritative"))
    assert found.outcome is Outcome.UNKNOWN


async def test_a_long_answer_is_fetched_over_tcp() -> None:
    servers = [holding(VALUE, fault="truncated") for _ in range(3)]
    authority = holding(VALUE, fault="truncated")
    assert (await look(servers, authority)).outcome is Outcome.FOUND
    assert ("tcp", NAME, "TXT") in authority.asked


async def test_the_strings_of_a_record_are_joined_and_two_records_are_not() -> None:
    split, apart = Dns(), Dns()
    split.texts[NAME] = [[VALUE[:9], VALUE[9:]]]
    apart.put(NAME, VALUE[:9], VALUE[9:])
    assert (await look([split] * 2, split)).outcome is Outcome.FOUND
    assert (await look([apart] * 2, apart)).outcome is Outcome.ABSENT


async def test_an_alias_is_followed_to_the_zone_where_it_leads() -> None:
    def aliased() -> Dns:
        server = Dns(delegated={"acme.com", "proofs.example"})
        server.aliases[NAME] = "acme.proofs.example"
        server.put("acme.proofs.example", VALUE)
        return server

    assert (await look([aliased(), aliased()], aliased())).outcome is Outcome.FOUND
    elsewhere = Dns(delegated={"acme.com", "proofs.example"})
    elsewhere.aliases[NAME] = "acme.proofs.example"  # the authority does not have the target
    assert (await look([aliased(), aliased()], elsewhere)).outcome is not Outcome.FOUND


@pytest.mark.parametrize("length", [2, 39])
async def test_a_chain_of_aliases_ends(length: int) -> None:
    def circle() -> Dns:
        server = Dns()
        names = [NAME, *(f"a{number}.acme.com" for number in range(length))]
        for name, target in zip(names, [*names[1:], names[0]], strict=True):
            server.aliases[name] = target
        return server

    servers = [circle() for _ in range(3)]
    authority = circle()
    found = await look(servers, authority)
    assert found.outcome is not Outcome.FOUND
    assert sum(len(server.asked) for server in (*servers, authority)) < 60


async def test_ten_thousand_records_are_little_work() -> None:
    def flood() -> Dns:
        server = holding(*(f"gateway-verify={number}" for number in range(1500)), VALUE)
        server.fault = "truncated"
        return server

    began = time.process_time()
    found = await look([flood() for _ in range(3)], flood())
    assert found.outcome is not Outcome.FOUND and len(found.others) <= lookup.SHOWN
    assert time.process_time() - began < 20  # the server of the tests included


def test_an_answer_that_is_too_long_is_not_even_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 64 kB, with names of 253 characters, takes most of a second."""
    query = dns.message.make_query(NAME, "TXT")
    response = dns.message.make_response(query)
    for number in range(MAX_RECORDS + 1):
        response.answer.append(dns.rrset.from_text(f"{number}.test.", 60, "IN", "TXT", '"a"'))
    many = response.to_wire(max_size=65535)
    response.answer.pop()
    most = response.to_wire(max_size=65535)
    assert exchange.parsed(query, most) is not None
    long = most + bytes(MAX_ANSWER_BYTES)

    def read(_wire: bytes) -> None:
        raise AssertionError

    monkeypatch.setattr("gateway.domains.exchange.dns.message.from_wire", read)
    assert exchange.parsed(query, many) is exchange.parsed(query, long) is None


async def test_silent_name_servers_make_a_look_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not (await look([holding(VALUE)] * 2, holding(VALUE))).slow
    for name in ("QUERY_S", "SLOW_S"):
        monkeypatch.setattr(lookup, name, 0.3)
    assert (await look([holding(VALUE)] * 2, holding(fault="silent"))).slow


async def test_a_name_server_inside_is_not_asked() -> None:
    authority = holding(VALUE)
    found = await look([holding(VALUE)] * 3, authority, networks=())
    assert found.outcome is Outcome.UNKNOWN and authority.asked == []


async def test_what_was_found_instead_is_told() -> None:
    doubled = holding(VALUE, name=f"{NAME}.acme.com")
    found = await look([doubled] * 2, holding())
    assert found.outcome is Outcome.ABSENT and found.doubled
    other = holding("gateway-verify=other", "gateway-verify=\x01")
    told = await look([other] * 2, other)
    assert told.others == ("gateway-verify=other",)
    assert {said for _, said in told.servers} == {Said.OTHER}


async def test_a_look_ends_though_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "LOOK_S", 0.3)
    async with asyncio.timeout(10):
        found = await look([Dns(fault="silent")] * 2, Dns())
    assert found == Look(Outcome.UNKNOWN)


def test_a_server_is_named_with_its_port() -> None:
    assert (str(Server("9.9.9.9")), str(Server("9.9.9.9", 54))) == ("9.9.9.9", "9.9.9.9:54")
