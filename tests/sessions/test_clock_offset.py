"""The estimate by itself, with clocks of the test's own."""

from __future__ import annotations

import pytest

from gateway.sessions.clock_offset import APART_S, CERTAIN_S, ClockOffset, offset_s

NOW = 1_800_000_000.0


@pytest.mark.parametrize("shift_s", [0.0, 600.0, -3600.0])
@pytest.mark.parametrize("there_and_back", [(0.0, 0.0), (0.1, 0.1), (0.4, 0.0), (0.0, 0.4)])
def test_the_offset_is_told_to_half_a_round_trip_and_not_at_all_where_that_was_long(
    shift_s: float, there_and_back: tuple[float, float]
) -> None:
    there, back = there_and_back
    found = offset_s(
        NOW + there, asked_at=7.0, answered_at=7.0 + there + back, wall=NOW + there + back + shift_s
    )
    assert found is not None
    assert abs(found - shift_s) <= (there + back) / 2 + 1e-6
    if there == back:
        assert found == pytest.approx(shift_s, abs=1e-6), "half of the way was back"
    assert offset_s(NOW, asked_at=7.0, answered_at=7.01 + CERTAIN_S, wall=NOW) is None


def test_what_is_not_known_is_not_wrong_and_what_differs_is() -> None:
    offset = ClockOffset("redis")
    assert offset.is_right
    for seconds, right in ((APART_S, True), (APART_S + 0.1, False), (-APART_S - 0.1, False)):
        offset.measured(seconds)
        assert offset.is_right is right
