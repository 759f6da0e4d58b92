"""One tenant asked about at a time hears of the claims that all side by side would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.claims import Claim, ClaimIndex, claims, names_of_listing

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARED, LOGIN = ("app.example",), "login.example"


@dataclass(frozen=True)
class Listed:
    id: str
    hosts: tuple[str, ...] = ()
    wildcards: tuple[str, ...] = ()
    email_domains: tuple[str, ...] = ()
    client_ids: tuple[str, ...] = ()
    provider_names: tuple[str, ...] = ()
    active: bool = True


def index_of(listings: Sequence[Listed]) -> ClaimIndex:
    index = ClaimIndex(shared_hosts=SHARED, login_host=LOGIN)
    for listing in listings:
        index.enter(listing.id, names_of_listing(listing))
    return index


def against(listings: Sequence[Listed], one: Listed) -> tuple[Claim, ...]:
    return index_of(listings).against(one.id, names_of_listing(one))


def test_each_kind_of_name_has_one_owner() -> None:
    first = Listed("a", ("h.test",), ("w.test",), ("d.test",), ("c",), ("p",))
    second = Listed("b", ("h.test",), ("w.test",), ("d.test",), ("c",), ("p",))
    assert {claim.name for claim in against([first], second)} == {
        "host h.test",
        "host *.w.test",
        "e-mail domain d.test",
        "client c",
        "provider p",
    }
    assert {(claim.first, claim.second) for claim in against([first], second)} == {("a", "b")}
    assert against([first], first) == ()


def test_the_gateways_own_hosts_are_nobodys() -> None:
    assert against([], Listed("a", ("app.example", "login.example"))) == (
        Claim("host app.example", "shared_hosts", "a"),
        Claim("host login.example", "login_host", "a"),
    )
    assert against([], Listed("a", wildcards=("example",))) == (
        Claim("host app.example (within *.example)", "a", "shared_hosts"),
    )
    assert ClaimIndex().against("a", [("host", "login.example")]) == ()


def test_a_wildcard_beside_ones_own_and_anothers_hosts_is_anothers() -> None:
    """Only two owners are remembered: the asker is never both."""
    there = [Listed(name, (f"{name}.example.test",)) for name in ("mine", "theirs", "third")]
    claim = Claim("host theirs.example.test (within *.example.test)", "mine", "theirs")
    assert against(there, Listed("mine", wildcards=("example.test",))) == (claim,)


def test_a_host_within_anothers_wildcard_is_the_others() -> None:
    there = [Listed("a", wildcards=("example.test",)), Listed("b", ("b.test",))]
    claim = Claim("host h.example.test (within *.example.test)", "a", "b")
    assert against(there, Listed("b", ("h.example.test",))) == (claim,)
    assert against(there, Listed("a", ("h.example.test",))) == ()
    assert against(there, Listed("c", wildcards=("h.example.test",))) == (
        Claim("host *.h.example.test (within *.example.test)", "a", "c"),
    )


def test_of_one_name_two_owners_are_remembered_and_one_only_once() -> None:
    there = [Listed(name, ("h.test",)) for name in ("a", "a", "b", "c")]
    assert against(there, Listed("d", ("h.test",))) == (Claim("host h.test", "a", "d"),)
    assert against(there, Listed("a", ("h.test",))) == (Claim("host h.test", "b", "a"),)


labels = st.sampled_from(["a", "b", "c"])
dotted = st.lists(labels, min_size=1, max_size=3).map(".".join)
some = st.lists(dotted, max_size=2, unique=True).map(tuple)
words = st.lists(labels, max_size=2, unique=True).map(tuple)


@given(st.lists(st.tuples(some, some, some, words, words), min_size=1, max_size=5))
def test_it_agrees_with_all_side_by_side(
    drawn: list[tuple[tuple[str, ...], ...]],
) -> None:
    listings = [
        Listed(f"t{number}", hosts, wildcards, domains, clients, providers)
        for number, (hosts, wildcards, domains, clients, providers) in enumerate(drawn)
    ]
    there: list[Listed] = []
    for listing in listings:
        together = claims([*there, listing], shared_hosts=SHARED, login_host=LOGIN)
        alone = against(there, listing)
        assert bool(alone) == bool(together), (alone, together)
        # Of all that are within one wildcard one is told; nothing is told that is not so.
        assert set(alone) <= set(together)
        if not together:
            there.append(listing)
