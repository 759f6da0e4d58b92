"""What a process tells of its counters, and that nothing is told twice or lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from gateway.errors import UnavailableError
from gateway.metrics import CHECKS, LOGINS, REVOCATION_DURATION
from gateway.runtime.activity import ActivityRecorder, totals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.sessions.activity_log import ActivityLog


class Records:
    def __init__(self) -> None:
        self.told: list[Mapping[str, int]] = []
        self.away = False

    async def add(self, counts: Mapping[str, int], *, at: float) -> None:
        assert at == 1.0
        if self.away:
            what = "redis"
            raise UnavailableError(what)
        self.told.append(counts)


def test_series_name_no_tenant_and_nothing_that_a_provider_says() -> None:
    before = totals()
    CHECKS.labels("one-tenant", "nginx", "deny", "group_missing").inc(2)
    CHECKS.labels("another", "nginx", "deny", "group_missing").inc(3)
    LOGINS.labels("one-tenant", "one-idp", "<script>").inc()
    REVOCATION_DURATION.labels("admin").observe(0.004)
    gained = totals() - before
    assert gained["check:deny:group_missing"] == 5
    assert gained["login:other"] == 1
    assert gained["revocation:0.005"] == gained["revocation:+Inf"] == 1
    assert gained["revocation:0.0025"] == 0
    assert not [name for name in gained if "tenant" in name.partition(":")[2] and "one" in name]


async def test_what_was_counted_while_redis_was_away_is_missing_and_nothing_counts_twice() -> None:
    records = Records()
    recorder = ActivityRecorder(cast("ActivityLog", records), clock=lambda: 1.0)
    await recorder.tell()
    records.told.clear()
    LOGINS.labels("t", "p", "ok").inc(2)
    records.away = True
    await recorder.tell()
    records.away = False
    LOGINS.labels("t", "p", "ok").inc()
    await recorder.tell()
    await recorder.tell()
    assert [told.get("login:ok", 0) for told in records.told] == [1, 0]
