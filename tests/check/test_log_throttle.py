from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

import pytest

from gateway.check.log_throttle import EVERY_S, MAX_REMEMBERED, Repeats
from gateway.check.records import CheckRecord

if TYPE_CHECKING:
    from tests.support.world import RunningWorld

ACME = "acme.localhost"


def record(number: int) -> CheckRecord:
    return CheckRecord(
        request_id=str(number),
        tenant="acme",
        host=ACME,
        method="GET",
        path="/",
        decision="login",
        reason="no_session",
        user=None,
        provider=None,
        duration_ms=0.1,
        client="",
        dialect="nginx",
    )


def test_what_is_repeated_is_told_once_a_minute_with_how_often_and_nothing_is_lost() -> None:
    repeats, told, counted = Repeats(), [], 0
    for second in range(0, 200, 2):
        for latest, count in repeats.due(float(second)):
            told.append((second, int(latest.request_id or ""), count))
            counted += count
        if second < 150:
            counted += repeats.is_first("poll", record(second), now=float(second))
    assert told == [(60, 58, 29), (120, 118, 30), (180, 148, 15)]
    assert counted == 75
    assert list(repeats.due(1000.0)) == []
    assert repeats.is_first("poll", record(0), now=1000.0), (
        "whoever was silent for a minute begins again"
    )


def test_others_are_told_each_and_what_happened_once_is_not_told_twice() -> None:
    repeats = Repeats()
    assert [repeats.is_first(key, record(0), now=0.0) for key in ("a", "b", "a")] == [
        True,
        True,
        False,
    ]
    assert [count for _, count in repeats.due(EVERY_S)] == [1]


def test_of_many_the_oldest_is_given_up_and_its_number_told() -> None:
    repeats = Repeats()
    for number in range(MAX_REMEMBERED):
        repeats.is_first(number, record(number), now=0.0)
    repeats.is_first(0, record(7), now=1.0)
    assert list(repeats.due(1.0)) == []
    repeats.is_first("one more", record(0), now=1.0)
    assert list(repeats.due(1.0)) == [(record(7), 1)]
    assert repeats.is_first(0, record(0), now=1.0)


@pytest.mark.parametrize("mode", ["cors", "navigate"])
def test_a_page_that_polls_without_a_session_is_one_line_and_one_that_a_person_sees_is_one_each(
    policy: RunningWorld, mode: str
) -> None:
    cookie = f"abc{secrets.token_urlsafe(32)}"
    names = [secrets.token_hex(8) for _ in range(4)]
    for name in names[:3]:
        assert (
            policy.check(
                ACME,
                f"/poll/{mode}",
                cookie=cookie,
                headers={"X-Request-Id": name, "Sec-Fetch-Mode": mode},
            ).status
            != 200
        )
    policy.check(
        ACME, "/other", cookie=cookie, headers={"X-Request-Id": names[3], "Sec-Fetch-Mode": mode}
    )
    lines = [
        json.loads(line)["request_id"]
        for line in policy.log().splitlines()
        if any(name in line for name in names)
    ]
    assert lines == ([names[0], names[3]] if mode == "cors" else names)
