"""The life of a claim, by its looks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from gateway.domains.lookup import Look, Outcome
from gateway.domains.state import (
    DAY_S,
    FAILED_AFTER_S,
    HOUR_S,
    LOST_AFTER_S,
    MINUTE_S,
    DomainState,
    Standing,
    after,
    begun,
)

T0 = 1_800_000_000.0
FOUND, ABSENT, UNKNOWN = (Look(outcome) for outcome in Outcome)


def run(standing: Standing, look: Look, until: float) -> tuple[Standing, list[float]]:
    """With a look at each time that was set, until then; the state at the end, and the times."""
    times = []
    while standing.next_at is not None and standing.next_at <= until:
        times.append(standing.next_at)
        standing = after(standing, look, standing.next_at)
    return standing, times


def test_a_claim_is_looked_at_less_and_less_often_and_fails_after_30_days() -> None:
    standing, times = run(begun(T0), ABSENT, T0 + 100 * DAY_S)
    offsets = [at - T0 for at in times]
    assert offsets[:3] == [MINUTE_S, 5 * MINUTE_S, 15 * MINUTE_S]
    assert {b - a for a, b in pairwise(offsets[2:50])} == {HOUR_S}
    assert offsets[-1] == FAILED_AFTER_S and len(offsets) < 90
    assert standing.state is DomainState.FAILED and standing.next_at is None


def test_what_proves_nothing_fails_a_claim_no_sooner() -> None:
    standing, _ = run(begun(T0), UNKNOWN, T0 + 29 * DAY_S)
    assert standing.state is DomainState.PENDING
    assert after(standing, FOUND, T0 + 29 * DAY_S).state is DomainState.VERIFIED


def test_a_failed_claim_is_verified_by_a_look_on_request() -> None:
    failed, _ = run(begun(T0), ABSENT, T0 + 100 * DAY_S)
    assert after(failed, FOUND, T0 + 200 * DAY_S).state is DomainState.VERIFIED
    assert after(failed, ABSENT, T0 + 200 * DAY_S) == failed


def test_a_record_that_is_removed_is_noticed_by_the_day() -> None:
    verified = after(begun(T0), FOUND, T0)
    states = []
    standing = verified
    while standing.next_at is not None:
        now = standing.next_at
        standing = after(standing, ABSENT, now)
        states.append(str(standing.state))
    assert states[:3] == ["verified"] * 3 and states[3:10] == ["missing"] * 7
    assert states[10:40] == ["lost"] * 30 and states[40:] == ["failed"]


def test_dns_that_does_not_answer_takes_nothing_away() -> None:
    verified = after(begun(T0), FOUND, T0)
    standing, times = run(verified, UNKNOWN, T0 + 30 * DAY_S)
    assert standing.state is DomainState.VERIFIED and standing.missing_since is None
    assert times[1] - times[0] == HOUR_S


def test_a_record_that_is_back_begins_anew() -> None:
    verified = after(begun(T0), FOUND, T0)
    missing = after(replace(verified, missing_since=T0), ABSENT, T0 + 4 * DAY_S)
    back = after(missing, FOUND, T0 + 5 * DAY_S)
    assert missing.state is DomainState.MISSING
    assert (back.state, back.missing_since, back.verified_at) == (DomainState.VERIFIED, None, T0)
    lost = after(replace(verified, missing_since=T0), ABSENT, T0 + LOST_AFTER_S)
    again = after(lost, FOUND, T0 + 20 * DAY_S)
    assert lost.state is DomainState.LOST and again.verified_at == T0 + 20 * DAY_S


def test_an_operators_word_is_not_looked_at() -> None:
    vouched = replace(begun(T0), state=DomainState.VOUCHED, next_at=None)
    assert after(vouched, ABSENT, T0 + DAY_S) == vouched
