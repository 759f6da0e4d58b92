"""Who waits for a confirmation is told, whatever happens in between."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.errors import UnavailableError
from gateway.revocation.acknowledgement import Acknowledgements
from gateway.sessions.connection import RedisClient
from gateway.sessions.lease_client import LeaseClient

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway.sessions.connection import Script
    from gateway.sessions.lease import Memory

SERVER = "a" * 40
MARKER = b"s " + SERVER.encode() + b" nonce"


class Answers(RedisClient):
    """A store that answers each script when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, asyncio.Future[Any]]] = []
        self.came = asyncio.Event()

    async def run(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | int]
    ) -> Any:
        answer = asyncio.get_running_loop().create_future()
        self.asked.append((script.name, answer))
        self.came.set()
        return await answer

    run_durably = run

    def apart(self, *, at_once: int) -> Answers:
        return self

    async def next(self, name: str) -> asyncio.Future[Any]:
        async with asyncio.timeout(5):
            while not any(n == name for n, _ in self.asked):
                self.came.clear()
                await self.came.wait()
        number = next(i for i, (n, _) in enumerate(self.asked) if n == name)
        return self.asked.pop(number)[1]


def acknowledgements(redis: RedisClient) -> Acknowledgements:
    return Acknowledgements(redis, staleness_s=60, monotonic=time.monotonic)


async def confirming(made: Acknowledgements) -> asyncio.Task[None]:
    return asyncio.create_task(made.confirm("acme", lambda _name, _at: None, server=SERVER))


async def test_who_comes_in_the_moment_in_which_the_last_one_is_told_is_told_too() -> None:
    redis = Answers()
    made = acknowledgements(redis)
    first = await confirming(made)
    (await redis.next("fence")).set_result([MARKER, 1, {}])
    asked = await redis.next("holders")
    second = await confirming(made)
    fence = await redis.next("fence")
    asked.set_result([MARKER, {}])
    fence.set_result([MARKER, 2, {}])  # in the same turn of the loop
    await first
    (await redis.next("holders")).set_result([MARKER, {}])
    async with asyncio.timeout(5):
        await second
    await made.close()


async def test_an_answer_that_nobody_understands_leaves_nobody_waiting() -> None:
    redis = Answers()
    made = acknowledgements(redis)
    waiting = await confirming(made)
    (await redis.next("fence")).set_result([MARKER, 1, {}])
    (await redis.next("holders")).set_result([MARKER, {b"replica": b"nonsense"}])
    with pytest.raises(UnavailableError):
        async with asyncio.timeout(5):
            await waiting


async def test_closing_leaves_nobody_waiting() -> None:
    redis = Answers()
    made = acknowledgements(redis)
    waiting = await confirming(made)
    (await redis.next("fence")).set_result([MARKER, 1, {}])
    await redis.next("holders")
    await made.close()
    with pytest.raises(UnavailableError):
        async with asyncio.timeout(5):
            await waiting


class ClosesBadly:
    """A client whose connection fails while a cancelled command lets go of it."""

    connection_pool = None

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def execute_command(self, *_: object) -> Any:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise RedisConnectionError("while closing")


async def test_a_command_that_is_ended_ends_though_its_connection_closes_badly() -> None:
    client = ClosesBadly()
    task = asyncio.create_task(RedisClient(cast("Any", client)).command("GET", "gw:x"))
    await client.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_replica_that_is_stopped_in_the_middle_of_a_renewal_stops() -> None:
    client = ClosesBadly()
    replica = LeaseClient(
        RedisClient(cast("Any", client)),
        cast("Memory", None),
        name="one",
        staleness_s=60,
        monotonic=time.monotonic,
    )
    running = asyncio.create_task(replica.run())
    joining = asyncio.create_task(replica.lease(0))
    await client.asked.wait()
    client.asked.clear()
    replica._hears(True)
    await client.asked.wait()
    running.cancel()
    joining.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(running, joining, return_exceptions=True)
    assert running.cancelled()
    for task in replica._joining.values():
        task.cancel()
    await asyncio.gather(*replica._joining.values(), return_exceptions=True)


async def test_a_narrowing_is_told_of_each_tenant_and_one_whose_primary_is_away_keeps_no_other_waiting() -> (  # noqa: E501 - a test's name is a sentence
    None
):
    redis = Answers()
    made, told = acknowledgements(redis), asyncio.Event()
    heard: list[str] = []

    def confirmed(tenants: Collection[str]) -> None:
        heard.extend(tenants)
        told.set()

    narrowing = asyncio.create_task(
        made.narrow(["acme", "globex"], 7, lambda _name, _at: None, confirmed)
    )
    away, there = await redis.next("narrow"), await redis.next("narrow")
    there.set_result(SERVER.encode())
    (await redis.next("fence")).set_result([MARKER, 1, {}])
    (await redis.next("holders")).set_result([MARKER, {}])
    async with asyncio.timeout(5):
        await told.wait()
    assert len(heard) == 1
    assert not narrowing.done()
    away.set_exception(UnavailableError("away"))
    with pytest.raises(UnavailableError, match="away"):
        await narrowing
    assert len(heard) == 1
    await made.close()
