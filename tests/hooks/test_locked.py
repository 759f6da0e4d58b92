"""PostgreSQL with somebody's transaction on a row, with a frozen process, with a server that hangs:
the others notice nothing, and it is over when it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select, text, update

from gateway.database import engine
from gateway.database.engine import open_database
from gateway.database.schema import hook_inbox, hook_lanes, webhooks_outbox
from gateway.errors import UnavailableError
from gateway.hooks import inbox
from gateway.hooks.activity import ActivityCounter
from gateway.hooks.sources import okta
from tests.database.fixtures import UNHURRIED, config_with, database_keys
from tests.hooks.samples import okta_delivery, okta_event
from tests.hooks.world import hooks_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

    from gateway.database.engine import Database
    from tests.database.postgres import Postgres
    from tests.hooks.world import World


@pytest.fixture
async def opened(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Database]:
    """Of PostgreSQL only: SQLite has one writer, and no rows to lock."""
    url = postgres.new_database()
    made = open_database(
        config_with(tmp_path / "state", database={"url": url}), database_keys(), patience=UNHURRIED
    )
    await made.prepare()
    yield made
    await made.close()
    postgres.drop(url)


def suspended(number: int, *, user: str | None = None) -> object:
    return okta_delivery(
        okta_event("user.lifecycle.suspend", uuid=f"u-{number}", user=user or f"00u{number}"),
        event_id=f"e-{number}",
    )


async def answers(world: World, numbers: range) -> list[tuple[int, float]]:
    """Status and seconds of each, all sent at once, none repeated."""

    async def one(number: int) -> tuple[int, float]:
        began = time.monotonic()
        return await world.okta(suspended(number), attempts=1), time.monotonic() - began

    return list(await asyncio.gather(*(one(n) for n in numbers)))


def ended(world: World) -> set[str]:
    return {
        request.who.idp_subject
        for verb, request in world.revoker.calls
        if verb == "revoke" and request.who.idp_subject is not None
    }


async def test_a_transaction_on_a_row_holds_up_who_wants_that_row_and_nobody_else(
    opened: Database, http: aiohttp.ClientSession
) -> None:
    """The lane of one person, an event of another that is being stored, and the counters: each held
    by a transaction that does not go on.
    """
    async with hooks_world(opened, http, applying=False) as world:
        await world.okta(suspended(0))
        [lane] = await world.inbox.claim(now=world.clock(), limit=10)
        # Gone with its process, and its lease over: anybody may take the lane, who can.
        async with opened.write() as connection:
            await connection.execute(update(hook_lanes).values(holder="another", held_until=0.0))
        async with contextlib.AsyncExitStack() as stack:
            row = await stack.enter_async_context(opened.write())
            await row.execute(
                text("SELECT * FROM hook_lanes WHERE lane = :lane FOR UPDATE"), {"lane": lane.key}
            )
            storing = await stack.enter_async_context(opened.write())
            entries = okta.log_entries(
                [okta_event("user.lifecycle.suspend", uuid="u-1", user="00u1")]
            )
            await world.inbox.store(
                storing,
                world.targets.by_key["acme", "acme-okta"],
                entries,
                received_at=world.clock(),
            )
            counters = await stack.enter_async_context(opened.write())
            await counters.execute(
                text("LOCK TABLE hook_leaders, hook_arrivals IN ACCESS EXCLUSIVE MODE")
            )
            # Something periodic is in the middle of its own transaction.
            slow, started = asyncio.Event(), asyncio.Event()

            async def dawdle(_: object) -> None:
                started.set()
                await slow.wait()

            periodic = asyncio.create_task(world.committer.run(dawdle))
            await started.wait()
            tally = ActivityCounter(opened, world.committer, clock=world.clock)
            await stack.enter_async_context(tally.running())
            await stack.enter_async_context(world.applier.running())
            tally.note(world.targets.by_key["acme", "acme-okta"], "okta", "handshake")
            flushing = asyncio.create_task(tally.flush())
            # All of them in one transaction.
            gate = asyncio.Event()
            gated = asyncio.create_task(
                world.committer.run(lambda _: gate.wait(), high_priority=True)
            )
            sending = asyncio.create_task(answers(world, range(1, 25)))
            await world.until(lambda: len(world.committer._high.pieces) == 24)
            gate.set()
            told = await sending
            slow.set()
            await asyncio.gather(periodic, gated)
            assert told[0][0] == 503, "the sender repeats what another process may be storing"
            assert [status for status, _ in told[1:]] == [200] * 23
            assert max(seconds for _, seconds in told) < 2.5, "before the sender gives up"
            await world.until(lambda: len(ended(world)) >= 23)
            assert ended(world) == {f"00u{n}" for n in range(2, 25)}
            with contextlib.suppress(UnavailableError):
                await flushing
            # Let go: rolled back, as when its process dies.
            for transaction in (row, storing, counters):
                await transaction.rollback()
        assert await world.okta(suspended(1)) == 200
        async with world.applier.running():
            await world.settled()
        assert ended(world) == {f"00u{n}" for n in range(25)}


async def test_what_a_process_could_not_settle_it_takes_again_at_once(
    opened: Database, http: aiohttp.ClientSession
) -> None:
    """A hiccup of SQL between the revocation and its record; the lease would keep everybody
    waiting, this process included.
    """
    async with hooks_world(opened, http) as world:
        keep = world.inbox.release
        failures = 2

        async def failing(*arguments: Any, **named: Any) -> bool:
            nonlocal failures
            if failures:
                failures -= 1
                msg = "SQL does not answer"
                raise UnavailableError(msg)
            return await keep(*arguments, **named)

        world.inbox.release = failing  # type: ignore[method-assign]  # SQL fails just there
        began = time.monotonic()
        assert await world.okta(suspended(0)) == 200
        await world.settled()
        assert time.monotonic() - began < inbox.LEASE_S / 3
        assert await world.states() == [("user.lifecycle.suspend", "applied", "")]


async def test_a_lane_that_another_process_is_taking_is_passed_over_not_waited_for(
    opened: Database, http: aiohttp.ClientSession
) -> None:
    async with (
        hooks_world(opened, http, applying=False, holder="frozen") as frozen,
        hooks_world(opened, http, applying=False, holder="other") as other,
    ):
        for number in range(3):
            await frozen.okta(suspended(number))
        async with opened.read() as connection:
            lanes = (
                (await connection.execute(select(hook_inbox.c.lane).order_by(hook_inbox.c.number)))
                .scalars()
                .all()
            )
        async with opened.write() as connection:
            assert (
                len(await frozen.inbox._hold(connection, lanes[:2], frozen.clock(), again=True))
                == 2
            )
            began = time.monotonic()
            assert [
                lane.key for lane in await other.inbox.claim(now=other.clock(), limit=10)
            ] == lanes[2:]
            assert time.monotonic() - began < engine.LOCK_S


async def test_a_message_that_another_transaction_holds_does_not_stop_the_others(
    opened: Database, http: aiohttp.ClientSession
) -> None:
    async with hooks_world(opened, http, applying=False) as world:
        async with opened.write() as connection:
            for number in range(2):
                row = {
                    "id": f"m{number}",
                    "tenant": "acme",
                    "lane": f"l{number}",
                    "event": "x",
                    "created_at": 0.0,
                    "state": "new",
                    "next_at": 0.0,
                }
                sealed = opened.crypt.seal(
                    "{}", table="webhooks_outbox", row=f"m{number}", column="payload"
                )
                await connection.execute(insert(webhooks_outbox).values(payload=sealed, **row))
        async with opened.write() as held:
            await held.execute(text("SELECT * FROM webhooks_outbox WHERE id = 'm0' FOR UPDATE"))
            assert [message.id for message in await world.outbox._claim(10, {})] == ["m1"]
        assert [message.id for message in await world.outbox._claim(10, {})] == ["m0"]
