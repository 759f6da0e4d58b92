"""What is to be done once is done by one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.sessions.leader import LEASE_S, RedisLeader

if TYPE_CHECKING:
    from gateway.sessions.connection import RedisClient

KEY = "gw:leader:canary"


async def test_one_leads_until_it_resigns_or_dies(redis: RedisClient) -> None:
    one, other, third = (RedisLeader(redis, name="canary", holder=name) for name in "abc")
    assert await one.lead()
    assert not await other.lead()
    await other.resign()
    assert not await other.lead(), "only the holder gives it back"
    await redis.command("PEXPIRE", KEY, 5000)
    assert await one.lead()
    left_ms = int(await redis.command("PTTL", KEY))
    assert 5000 < left_ms <= LEASE_S * 1000, "renewed, and it ends by itself"
    await redis.command("DEL", KEY)  # as when it has run out
    assert await other.lead()
    assert not await one.lead()
    await other.resign()
    assert await third.lead()
    assert await RedisLeader(redis, name="another", holder="a").lead()
    await redis.command("DEL", KEY, "gw:leader:another")
