"""The lease of one bucket: guards one by one, without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from gateway.sessions.events import (
    Event,
    Everything,
    Fence,
    Narrowed,
    Push,
    SessionsEnded,
    parse_event,
    parse_push,
)
from gateway.sessions.lease import Lease, Renewed

if TYPE_CHECKING:
    from collections.abc import Sequence

A, B = "a" * 32, "b" * 32


@dataclass
class Memory:
    dropped: list[str] = field(default_factory=list)
    emptied: list[int] = field(default_factory=list)

    def end(self, digests: Sequence[str]) -> None:
        self.dropped += digests

    def empty(self, bucket: int) -> None:
        self.emptied.append(bucket)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def lease(memory: Memory) -> Lease:
    """Joined at event 5, at time 100, for ten seconds."""
    made = Lease(7, 10.0, memory)
    assert made.renewed(made.renewal(100.0), answer(5), sent_at=100.0, now=100.1)
    return made


def answer(number: int, *events: Event, marker: str = "server", generation: int = 0) -> Renewed:
    return Renewed(marker, number, generation, events)


def test_a_lease_counts_from_before_the_renewal_was_sent(lease: Lease) -> None:
    assert lease.held(109.9)
    assert not lease.held(110.0)


def test_a_renewal_that_comes_back_too_late_grants_nothing(memory: Memory) -> None:
    lease = Lease(7, 10.0, memory)
    assert not lease.renewed(lease.renewal(100.0), answer(5), sent_at=100.0, now=110.0)
    assert not lease.held(110.0)


def test_a_renewal_applies_what_no_push_brought_before_it_extends(
    lease: Lease, memory: Memory
) -> None:
    assert lease.renewed(
        lease.renewal(105.0), answer(7, SessionsEnded((A,)), Fence()), sent_at=105.0, now=105.1
    )
    assert (memory.dropped, lease.applied, lease.held(114.9)) == ([A], 7, True)


def test_a_renewal_does_not_apply_twice_what_a_push_brought_meanwhile(
    lease: Lease, memory: Memory
) -> None:
    renewal = lease.renewal(105.0)
    lease.heard(6, SessionsEnded((A,)))
    assert lease.renewed(renewal, answer(6, SessionsEnded((A,))), sent_at=105.0, now=105.1)
    assert (memory.dropped, lease.applied) == ([A], 6)


def test_pushes_may_be_ahead_of_a_renewal(lease: Lease) -> None:
    renewal = lease.renewal(105.0)
    lease.heard(6, Fence())
    lease.heard(7, Fence())
    assert lease.renewed(renewal, answer(6, Fence()), sent_at=105.0, now=105.1)
    assert lease.applied == 7


def test_a_push_out_of_order_is_not_applied_and_asks_for_a_renewal(
    lease: Lease, memory: Memory
) -> None:
    assert lease.heard(7, SessionsEnded((A,)))
    assert (lease.applied, memory.dropped) == (5, [])
    assert lease.renewal(105.0).applied == 5


def test_a_push_that_is_old_is_nothing_new(lease: Lease, memory: Memory) -> None:
    epoch = lease.epoch
    assert not lease.heard(5, SessionsEnded((A,)))
    assert (lease.epoch, memory.dropped) == (epoch, [])


@pytest.mark.parametrize(
    "bad",
    [
        Renewed("server", 400, 0, None),
        Renewed("server", 8, 0, (Fence(),)),
        Renewed("server", 4, 0, ()),
        Renewed("another", 5, 0, ()),
    ],
    ids=["log too short", "a number is missing", "numbers went back", "another server"],
)
def test_what_does_not_follow_ends_the_incarnation(
    lease: Lease, memory: Memory, bad: Renewed
) -> None:
    incarnation, epoch = lease.incarnation, lease.epoch
    assert not lease.renewed(lease.renewal(105.0), bad, sent_at=105.0, now=105.1)
    assert not lease.held(105.1)
    assert memory.emptied == [7]
    assert (lease.incarnation, lease.applied) == (incarnation + 1, None)
    assert lease.epoch > epoch


def test_a_server_that_was_not_restored_grants_nothing_and_a_lease_of_before_runs_out_in_its_time(
    lease: Lease, memory: Memory
) -> None:
    ends = lease.ends
    assert not lease.renewed(lease.renewal(ends - 0.2), None, sent_at=ends - 0.2, now=ends - 0.1)
    assert (lease.ends, memory.emptied) == (ends, [])
    assert not lease.renewed(lease.renewal(ends - 0.1), None, sent_at=ends - 0.1, now=ends + 0.1)
    assert not lease.held(ends - 1)
    assert memory.emptied == [7]


def test_a_lapse_is_noticed_by_the_next_renewal_which_joins_anew(
    lease: Lease, memory: Memory
) -> None:
    renewal = lease.renewal(110.0)
    assert renewal.applied is None
    assert memory.emptied == [7]


def test_an_answer_to_another_incarnation_counts_for_nothing(lease: Lease) -> None:
    renewal = lease.renewal(105.0)
    lease.lapse()
    assert not lease.renewed(renewal, answer(5), sent_at=105.0, now=105.1)
    assert not lease.held(105.1)


def test_an_answer_that_finds_the_lease_run_out_does_not_revive_it(
    lease: Lease, memory: Memory
) -> None:
    renewal = lease.renewal(105.0)
    assert not lease.renewed(renewal, answer(5), sent_at=105.0, now=112.0)
    assert memory.emptied == [7]


def test_two_that_join_at_once_are_one(memory: Memory) -> None:
    lease = Lease(7, 10.0, memory)
    first, second = lease.renewal(100.0), lease.renewal(100.1)
    assert lease.renewed(first, answer(5), sent_at=100.0, now=100.2)
    assert lease.renewed(second, answer(6), sent_at=100.1, now=100.3)
    assert (lease.applied, lease.ends) == (5, 110.0)


def test_events_while_joining_are_brought_by_the_next_renewal(memory: Memory) -> None:
    lease = Lease(7, 10.0, memory)
    renewal = lease.renewal(100.0)
    lease.heard(6, SessionsEnded((A,)))
    assert lease.renewed(renewal, answer(5), sent_at=100.0, now=100.1)
    assert lease.owes(renewal.applied), "at once: a fence may be among them"
    assert lease.renewal(101.0).applied == 5
    assert not lease.owes(5), "once: numbers of another server may never be reached"


def test_only_what_somebody_waits_for_is_confirmed_at_once(lease: Lease) -> None:
    events: list[Event] = [SessionsEnded((A,)), Narrowed(3), Fence(), Everything()]
    wanted = [lease.heard(number, event) for number, event in enumerate(events, 6)]
    assert wanted == [False, False, True, True]
    assert not lease.heard(10, SessionsEnded((A,)))
    assert [lease.owes(told) for told in (7, 8, 9, 10)] == [True, True, False, False]


def test_what_was_awaited_of_an_earlier_server_is_owed_to_nobody(lease: Lease) -> None:
    lease.heard(6, Fence())
    lease.lapse()
    assert lease.renewed(lease.renewal(105.0), answer(2), sent_at=105.0, now=105.1)
    assert not lease.owes(2)


@pytest.mark.parametrize(
    "event",
    [SessionsEnded((A,)), Everything(), Fence(), Narrowed(3)],
    ids=lambda e: type(e).__name__,
)
def test_every_event_begins_an_epoch(lease: Lease, event: Event) -> None:
    epoch = lease.epoch
    lease.heard(6, event)
    assert lease.epoch == epoch + 1


def test_a_narrowing_suspends_answers_until_the_snapshot_is_there(lease: Lease) -> None:
    lease.heard(6, Narrowed(3))
    assert lease.held(101.0)
    assert lease.answers_until < 101.0
    lease.has(2)
    assert lease.answers_until < 101.0
    lease.has(3)
    assert lease.answers_until == 110.0


def test_whoever_joins_learns_which_snapshot_is_demanded(memory: Memory) -> None:
    lease = Lease(7, 10.0, memory, generation=2)
    assert lease.renewed(lease.renewal(100.0), answer(5, generation=3), sent_at=100.0, now=100.1)
    assert lease.answers_until < 100.0
    lease.has(3)
    assert lease.answers_until == 110.0


def test_a_renewal_never_shortens_a_lease(lease: Lease) -> None:
    assert lease.renewed(lease.renewal(105.0), answer(5), sent_at=99.0, now=105.1)
    assert lease.ends == 110.0


@pytest.mark.parametrize(
    ("words", "event"),
    [
        (A, SessionsEnded((A,))),
        (f"{A} {B}", SessionsEnded((A, B))),
        ("*", Everything()),
        ("-", Fence()),
        (f"- 00-{'a' * 32}-{'b' * 16}-01", Fence(f"00-{'a' * 32}-{'b' * 16}-01")),
        ("- 00-strange", Everything()),
        ("g 17 acme globex", Narrowed(17)),
        ("g x acme", Everything()),
        ("", Everything()),
        (A[:-1], Everything()),
        (f"{A}  {B}", Everything()),
        ("v2 something", Everything()),
    ],
)
def test_what_an_event_says(words: str, event: Event) -> None:
    assert parse_event(words) == event


@pytest.mark.parametrize("message", ["", "0a1", "0a1 5", "0a1 5 ", "4a1 5 -", "0a1 x -", "0A1 5 -"])
def test_what_is_no_push(message: str) -> None:
    assert parse_push(message) is None


def test_a_push() -> None:
    assert parse_push(f"0a1 5 {A}") == Push(0x0A1, 5, SessionsEnded((A,)))
