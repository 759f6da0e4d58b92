"""Sessions in memory: bounded, found by cookie, dropped by digest or bucket."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.model import Session
from gateway.core.reason import Reason
from gateway.sessions.codec import Record
from gateway.sessions.lease import Lease
from gateway.sessions.memory import Entry, SessionCache, weigh
from tests.sessions.conftest import identity

NOWHERE = SessionCache()


def entry(number: int, *, bucket: int = 1, size: int = 100) -> Entry:
    session = Session(f"{number:064x}", "acme", "h", "f", identity(), 1, 1, 1, 2**40, "c")
    return Entry(
        session, Record(session, "", bytes(32), 60), Lease(bucket, 1.0, NOWHERE), 1e9, size
    )


def test_what_is_put_is_found_until_it_is_dropped() -> None:
    cache = SessionCache()
    cache.put("cookie", one := entry(1))
    assert cache.found["cookie"] is one
    cache.drop([one.session.digest, "unknown"])
    assert (cache.found, cache.bytes) == ({}, 0)


def test_what_an_event_ended_is_told_from_what_had_to_make_room() -> None:
    cache = SessionCache()
    cache.put("ended", one := entry(1))
    cache.put("dropped", two := entry(2))
    cache.end([one.session.digest, "unknown"])
    cache.drop([two.session.digest])
    assert (cache.found, cache.why_not("ended"), cache.why_not("dropped")) == (
        {},
        Reason.SESSION_REVOKED,
        None,
    )


def test_the_same_session_is_held_once() -> None:
    cache = SessionCache()
    cache.put("cookie", entry(1))
    cache.put("cookie", second := entry(1, size=70))
    assert cache.found == {"cookie": second}
    assert cache.bytes == 70


def test_a_bucket_is_emptied_alone() -> None:
    cache = SessionCache()
    cache.put("a", entry(1, bucket=1))
    cache.put("b", entry(2, bucket=1))
    cache.put("c", entry(3, bucket=2))
    cache.empty(1)
    cache.empty(9)
    assert list(cache.found) == ["c"]


def test_what_was_asked_for_lately_stays_when_room_is_needed() -> None:
    cache = SessionCache(max_entries=2)
    cache.put("a", first := entry(1))
    cache.put("b", entry(2))
    first.lately = True
    cache.put("c", entry(3))
    assert list(cache.found) == ["c", "a"]


def test_an_entry_larger_than_its_share_is_not_kept() -> None:
    cache = SessionCache(max_bytes=1600)
    cache.put("a", entry(1, size=101))
    assert cache.found == {}


@given(
    st.lists(
        st.tuples(
            st.sampled_from("pdel"),
            st.integers(0, 12),
            st.integers(0, 2),
            st.integers(1, 60),
            st.booleans(),
        ),
        max_size=80,
    )
)
def test_it_is_bounded_and_its_indexes_agree(steps: list[tuple[str, int, int, int, bool]]) -> None:
    cache = SessionCache(max_entries=6, max_bytes=1000)
    for step, number, bucket, size, lately in steps:
        match step:
            case "p":
                cache.put(f"c{number}", entry(number, bucket=number % 3, size=size))
            case "d":
                cache.drop([f"{number:064x}"])
            case "e":
                cache.empty(bucket)
            case _:
                for one in cache.found.values():
                    one.lately = lately
        assert len(cache.found) <= 6
        assert cache.bytes == sum(e.bytes for e in cache.found.values()) <= 1000
        assert sorted(cache._cookies.items()) == sorted(
            (e.session.digest, c) for c, e in cache.found.items()
        )
        assert {d for held in cache._buckets.values() for d in held} == set(cache._cookies)


def test_an_entry_weighs_more_the_more_it_says() -> None:
    small = entry(1).record
    large = Record(
        replace(
            small.session, identity=identity(groups=tuple(f"group-{n}" * 20 for n in range(100)))
        ),
        "",
        bytes(32),
        60,
    )
    assert weigh("c", large) > weigh("c", small) + 100 * 60
