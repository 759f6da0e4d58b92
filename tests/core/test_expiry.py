"""When the end of a secret or certificate is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.expiry import DAY_S, TOLD_DAYS, days_to_tell

END = 1_800_000_000.0


@pytest.mark.parametrize(
    ("before_s", "told", "days"),
    [
        (31 * DAY_S, None, None),
        (30 * DAY_S, None, 30),
        (30 * DAY_S, 30, None),
        (7 * DAY_S + 1, 30, None),
        (7 * DAY_S, 30, 7),
        (DAY_S, 7, 1),
        (DAY_S, None, 1),
        (0, 1, 0),
        (-400 * DAY_S, 0, None),
        (-400 * DAY_S, None, 0),
    ],
)
def test_each_day_is_told_when_it_is_reached(
    before_s: float, told: int | None, days: int | None
) -> None:
    assert days_to_tell(END, now=END - before_s, told=told) == days


@given(st.lists(st.integers(min_value=-60 * DAY_S, max_value=60 * DAY_S), max_size=40))
def test_nothing_is_told_twice_and_the_nearest_always(looks: list[int]) -> None:
    told: int | None = None
    said: list[int] = []
    for after_s in sorted(looks):
        days = days_to_tell(END, now=END + after_s, told=told)
        if days is not None:
            told = days
            said.append(days)
        reached = [d for d in TOLD_DAYS if -after_s <= d * DAY_S]
        assert told == (min(reached) if reached else None)
    assert said == sorted(set(said), reverse=True)
