"""Asking the sentinels: with real ones in ``test_failovers.py``; here what those who ask at the
same time do to each other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.sessions.sentinels import Sentinels

if TYPE_CHECKING:
    from redis.asyncio import Redis

HOSTS = (("a.example", 1), ("b.example", 2), ("c.example", 3))


class Told:
    """What one sentinel answers, after so many turns of the loop. ``port`` None: it is gone."""

    def __init__(
        self,
        port: int | None,
        *,
        epoch: int = 1,
        turns: int = 1,
        down: bool = False,
        hangs: bool = False,
    ) -> None:
        self.port, self.epoch, self.turns, self.down, self.hangs = port, epoch, turns, down, hangs
        self.asked = 0

    async def sentinel_masters(self) -> dict[str, dict[str, Any]]:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.port is None:
            raise RedisConnectionError
        state = {
            "ip": "127.0.0.1",
            "port": self.port,
            "is_master": True,
            "is_sdown": self.down,
            "is_odown": self.down,
            "num-other-sentinels": 2,
            "config-epoch": self.epoch,
        }
        return {"gw": state}


def sentinels(*told: Told) -> Sentinels:
    asked = Sentinels(HOSTS)
    asked.sentinels = cast("list[Redis]", list(told))
    return asked


async def test_however_many_ask_at_the_same_time_none_of_the_sentinels_is_forgotten() -> None:
    first, second, third = Told(7001, down=True), Told(7001), Told(7001, turns=2)
    asked = sentinels(first, second, third)
    for turns in range(12):
        first.turns, second.turns = 1 + turns % 4, 1 + turns % 3
        first.down, second.down = turns % 2 == 0, turns % 2 == 1
        last = [asyncio.create_task(asked.discover_master("gw")) for _ in range(5)]
        await asyncio.sleep(0)
        assert (
            await asyncio.gather(*last, *(asked.discover_master("gw") for _ in range(5)))
            == [("127.0.0.1", 7001)] * 10
        )
    for knows in (first, second, third):
        for one in (first, second, third):
            one.port, one.down = (7002, False) if one is knows else (None, False)
        assert await asked.discover_master("gw") == ("127.0.0.1", 7002), "any one of them is enough"


async def test_those_who_ask_at_the_same_time_share_one_answer_and_whoever_comes_later_gets_a_new_one() -> (  # noqa: E501 - a test's name is a sentence
    None
):
    only = Told(7001)
    asked = sentinels(only)
    await asyncio.gather(*(asked.discover_master("gw") for _ in range(50)))
    assert only.asked == 1
    gone = asyncio.create_task(asked.discover_master("gw"))
    await asyncio.sleep(0)
    stays = asyncio.create_task(asked.discover_master("gw"))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == ("127.0.0.1", 7001), "who goes away takes nobody's answer along"
    only.port = 7002
    assert await asked.discover_master("gw") == ("127.0.0.1", 7002)
    assert only.asked == 3


async def test_a_sentinel_that_was_cut_off_is_not_believed_and_one_that_hangs_is_not_waited_for() -> (  # noqa: E501 - a test's name is a sentence
    None
):
    old, new = Told(7001, epoch=4, turns=0), Told(7002, epoch=5, turns=6)
    assert await sentinels(old, new).discover_master("gw") == ("127.0.0.1", 7002)
    async with asyncio.timeout(5):
        assert await sentinels(Told(7001, hangs=True), new).discover_master("gw") == (
            "127.0.0.1",
            7002,
        )


async def test_where_nobody_names_a_primary_the_error_says_how_many_were_asked() -> None:
    with pytest.raises(
        MasterNotFoundError,
        match=r"of 3 sentinels none names a primary of 'gw'; "
        r"without an answer: \S+:\d+: the connection failed",
    ):
        await sentinels(Told(None), Told(7001, down=True), Told(7001, down=True)).discover_master(
            "gw"
        )
    with pytest.raises(MasterNotFoundError):
        await sentinels(Told(7001)).discover_master("other")
