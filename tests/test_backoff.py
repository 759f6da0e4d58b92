from __future__ import annotations

from gateway.background import Backoff, doubling


def test_each_failure_waits_twice_as_long_up_to_the_longest() -> None:
    backoff = Backoff(first_s=1, longest_s=30, healthy_s=60)
    assert [backoff.failed(ran_s=0) for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert backoff.failures == 8


def test_what_ran_for_long_enough_has_recovered() -> None:
    backoff = Backoff(first_s=1, longest_s=30, healthy_s=60)
    waits = [backoff.failed(ran_s=ran_s) for ran_s in (0, 59, 60, 0)]
    assert waits == [1, 2, 1, 2]


def test_it_never_overflows() -> None:
    backoff = Backoff(first_s=0.1, longest_s=30, healthy_s=60)
    assert {backoff.failed(ran_s=0) for _ in range(5000)} <= {0.1 * 2**n for n in range(9)} | {30.0}
    assert doubling(0.5, 5000, longest_s=30) == 30
