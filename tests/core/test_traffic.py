"""Counts of intervals, and the quantiles that are estimated from buckets."""

from __future__ import annotations

import pytest

from gateway.core.traffic import Interval, Window, quantile_s, ranked, summed

COUNTS = {
    "check:allow:ok": 8,
    "check:deny:user_blocked": 1,
    "check:deny:group_missing": 3,
    "login:ok": 5,
    "login:idp_error": 2,
    "revocation:+Inf": 4,
    "checked:not": 9,
    "check:deny:none": 0,
}


def test_a_total_is_of_a_kind_and_of_nothing_that_only_begins_alike() -> None:
    interval = Interval(0, COUNTS)
    assert (interval.total("check"), interval.denied) == (12, 4)
    assert (interval.logins_failed, interval.revocations, interval.of("nothing")) == (2, 4, 0)
    assert ranked(interval, "check:deny") == [("group_missing", 3), ("user_blocked", 1)]


def test_intervals_are_summed_by_series() -> None:
    whole = summed([Interval(0, COUNTS), Interval(60, {"login:ok": 1})], at=0)
    assert (whole.at, whole.of("login:ok"), whole.of("login:idp_error")) == (0, 6, 2)


@pytest.mark.parametrize(
    ("buckets", "expected"),
    [
        ({}, None),
        ({"+Inf": 0}, None),
        ({"0.1": 100, "+Inf": 100}, 0.099),
        ({"0.1": 50, "0.2": 100, "+Inf": 100}, 0.198),
        ({"0.1": 50, "0.2": 50, "+Inf": 100}, 0.2),
        ({"+Inf": 3}, 0.0),
    ],
)
def test_a_quantile_is_estimated_as_prometheus_does(
    buckets: dict[str, int], expected: float | None
) -> None:
    interval = Interval(0, {f"store:{bound}": n for bound, n in buckets.items()})
    assert quantile_s(interval, "store", 0.99) == pytest.approx(expected)


def test_a_window_has_no_more_points_than_a_chart_has_room_for() -> None:
    assert [(w.step_s * w.points, w.points <= 96) for w in Window] == [(3600, True), (86400, True)]
