"""What processes counted, in Redis: added up, by interval, for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.traffic import Window
from gateway.sessions.activity_log import ActivityLog
from tests.sessions.conftest import redis

if TYPE_CHECKING:
    from gateway.sessions.connection import RedisClient

__all__ = ["redis"]
NOW = 1_800_000_030.0


async def test_what_two_processes_counted_is_added_up_by_minute_and_quarter(
    redis: RedisClient,
) -> None:
    one, other = ActivityLog(redis), ActivityLog(redis)
    await one.add({"login:ok": 2, "check:allow:ok": 0}, at=NOW - 120)
    await one.add({"login:ok": 1}, at=NOW)
    await other.add({"login:ok": 4}, at=NOW)
    hour = await one.read(Window.HOUR, now=NOW)
    assert [i.of("login:ok") for i in hour if i.counts] == [2, 5]
    assert (len(hour), hour[-1].at) == (60, 1_800_000_000)
    day = await one.read(Window.DAY, now=NOW)
    assert sum(i.of("login:ok") for i in day) == 7
    assert all("check:allow:ok" not in i.counts for i in hour), "nothing is not stored"


async def test_an_interval_is_kept_for_its_window_and_no_longer(redis: RedisClient) -> None:
    log = ActivityLog(redis)
    await log.add({"login:ok": 1}, at=NOW)
    minute = await redis.command("TTL", f"gw:activity:hour:{int(NOW) // 60}")
    quarter = await redis.command("TTL", f"gw:activity:day:{int(NOW) // 900}")
    assert 3600 < minute <= 62 * 60
    assert 86_400 < quarter <= 98 * 900


async def test_what_nobody_of_ours_wrote_is_passed_by(redis: RedisClient) -> None:
    key = f"gw:activity:hour:{int(NOW) // 60}"
    await redis.command("HSET", key, "login:ok", "many")
    await redis.command("HSET", key, b"\xff", "1")
    await redis.command("HSET", key, "login:idp_error", "inf")
    log = ActivityLog(redis)
    assert not (await log.read(Window.HOUR, now=NOW))[-1].counts
    await log.add({"login:ok": 3}, at=NOW)
    assert (await log.read(Window.HOUR, now=NOW))[-1].counts == {"login:ok": 3}
