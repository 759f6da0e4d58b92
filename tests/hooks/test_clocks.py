"""Two admin processes whose machines' clocks differ, on one PostgreSQL: what one writes the other
acts on, as if they did not.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING, Any, cast

from gateway.core.revocation import RevocationKind, RevocationRequest, RevocationStatus, Who
from gateway.database import leader
from gateway.database.clock import DatabaseClock
from gateway.database.engine import open_database
from gateway.database.group_commit import GroupCommitter
from gateway.revocation import cognito_sync
from gateway.revocation.api import Recorded
from gateway.revocation.cognito_sync import PoolPeople
from gateway.revocation.disabled_users import SqlDisabledUsers
from gateway.revocation.feed import RevocationFeed
from gateway.revocation.records import SqlRevocations
from gateway.runtime.dependencies import clock_state
from gateway.sessions.clock_offset import APART_S, CERTAIN_S
from tests.database.fixtures import UNHURRIED, config_with, database_keys
from tests.hooks.samples import okta_delivery, okta_event
from tests.hooks.world import hooks_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import aiohttp
    import pytest

    from gateway.database.engine import Database
    from tests.database.postgres import Postgres

SHIFTS_S = (-300.0, -60.0, -15.0, 15.0, 60.0, 300.0)
LEASE_S = 0.5
RENEWALS = 11
"""Of a lead, together longer than its lease."""


class Wall:
    """A machine's clock, set wrongly."""

    def __init__(self, shift_s: float) -> None:
        self.shift_s = shift_s

    def __call__(self) -> float:
        return time.time() + self.shift_s


@contextlib.asynccontextmanager
async def two(postgres: Postgres, folder: Path) -> AsyncIterator[tuple[Database, Database]]:
    url, keys = postgres.new_database(), database_keys()
    first, second = (
        open_database(config_with(folder, database={"url": url}), keys, patience=UNHURRIED)
        for _ in range(2)
    )
    await first.prepare()
    await second.prepare()
    yield first, second
    await first.close()
    await second.close()
    postgres.drop(url)


async def shifted(database: Database, shift_s: float) -> DatabaseClock:
    database.clock = DatabaseClock(database.read, shared=database.is_postgresql, wall=Wall(shift_s))
    await measure(database.clock)
    return database.clock


async def measure(clock: DatabaseClock) -> None:
    """Until its answer came at once, also on a busy machine: the first one counts in any case."""
    async with asyncio.timeout(60):
        while True:
            began = time.monotonic()
            await clock.measure()
            if time.monotonic() - began < CERTAIN_S:
                return


async def revoked(database: Database) -> str:
    name = uuid.uuid4().hex
    request = RevocationRequest("acme", Who(user="sub-alice"), RevocationKind.BLOCK, "", "admin")
    async with SqlRevocations(database).change("acme", ["alias"]) as change:
        now = database.clock()
        await change.revocation(
            Recorded(RevocationStatus(name, request, now, 1.0, (), None, 0), "block", 1, now)
        )
    return name


class Following(PoolPeople):
    """Notes what would be told to Cognito."""

    def __init__(
        self, database: Database, leads: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        record = SqlRevocations(database)
        nobody = cast("Any", None)  # nothing is told
        super().__init__(
            nobody,
            record,
            nobody,
            nobody,
            SqlDisabledUsers(database),
            table=nobody,
            clock=database.clock,
            sleep=lambda _: asyncio.sleep(0.02),
            leads=leads,
        )
        self.told: dict[str, bool] = {}

    def _begin(self, recorded: Recorded, *, fresh: bool) -> None:
        self.told[recorded.status.id] = fresh


async def test_a_machines_wrong_clock_is_noticed_and_counts_for_nothing(
    postgres: Postgres, tmp_path: Path
) -> None:
    async with two(postgres, tmp_path) as (database, _):
        for shift_s in (0.0, *SHIFTS_S):
            wall = Wall(shift_s)
            clock = DatabaseClock(database.read, shared=database.is_postgresql, wall=wall)
            await measure(clock)
            assert abs(clock() - time.time()) < 0.5, "the database runs on this machine"
            assert clock.offset.seconds is not None
            assert abs(clock.offset.seconds - shift_s) < 0.5
            finding = clock_state(clock.offset)
            assert (finding.ok, finding.needed) == (abs(shift_s) <= APART_S, False)
            assert (shift_s > 0) == ("ahead of database" in finding.detail) or not shift_s
            wall.shift_s += 1000
            assert abs(clock() - time.time()) < 0.5, (
                "a step of the machine's clock is none of this one"
            )


async def test_what_one_process_revokes_reaches_the_stream_and_the_pool_of_another_with_another_clock(  # noqa: E501 - a test's name is a sentence
    postgres: Postgres, tmp_path: Path
) -> None:
    async with two(postgres, tmp_path) as (first, second):
        for shift_s in SHIFTS_S:
            ours, theirs = await shifted(first, 0.0), await shifted(second, shift_s)
            assert abs(ours() - theirs()) < 0.5
            feed, people = RevocationFeed(SqlRevocations(first), clock=ours), Following(first)
            following = asyncio.create_task(people.run())
            stream = feed.follow()
            seen = asyncio.create_task(anext(stream))
            # What is done here must not carry the reader beyond what is done there, and the other
            # way round.
            async with asyncio.timeout(60):
                while not (people.told and seen.done()):
                    mine = await revoked(first)
                    await asyncio.sleep(0.05)
                told = {seen.result().id}
                wanted = {mine, await revoked(second), await revoked(first), await revoked(second)}
                while not wanted <= told:
                    told.add((await anext(stream)).id)
                while not wanted <= set(people.told):  # noqa: ASYNC110 - another task's loop
                    await asyncio.sleep(0.05)
            assert all(people.told[name] for name in wanted), (
                "fresh ones: signed out of Cognito too"
            )
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await stream.aclose()


async def test_what_a_process_that_died_had_taken_is_taken_over_after_its_lease_whatever_its_clock_said(  # noqa: E501 - a test's name is a sentence
    postgres: Postgres, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with two(postgres, tmp_path) as (first, second):
        for number, shift_s in enumerate(SHIFTS_S):
            ours, theirs = await shifted(first, 0.0), await shifted(second, shift_s)
            async with (
                hooks_world(second, http, applying=False, holder="dead", clock=theirs) as dead,
                hooks_world(first, http, applying=False, holder="alive", clock=ours) as alive,
            ):
                for world in (dead, alive):
                    world.inbox._lease_s = LEASE_S
                await dead.okta(
                    okta_delivery(
                        okta_event(
                            "user.lifecycle.suspend", uuid=f"u-{number}", user=f"00u{number}"
                        ),
                        event_id=f"e-{number}",
                    )
                )
                asked_at = time.monotonic()
                [lane] = await dead.inbox.claim(now=theirs(), limit=10)
                async with asyncio.timeout(LEASE_S + 60):
                    while not (found := await alive.inbox.claim(now=ours(), limit=10)):  # noqa: ASYNC110 - the database's time has to pass
                        await asyncio.sleep(0.05)
                assert time.monotonic() - asked_at > LEASE_S / 2, "it was held"
                assert [one.key for one in found] == [lane.key]
                await alive.applier.apply(found[0])
            assert {state for _, state, _ in await alive.states()} == {"applied"}


async def test_one_process_tells_cognito_and_the_next_one_what_it_left(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, seconds in (
        (leader, "LEASE_S", 2.0),
        (cognito_sync, "RENEW_S", 0.2),
        (cognito_sync, "LEASE_S", 2.0),
        (cognito_sync, "FOLLOW_S", 0.1),
    ):
        monkeypatch.setattr(module, name, seconds)
    async with two(postgres, tmp_path) as databases, contextlib.AsyncExitStack() as stack:
        people, running, asked = [], [], [0, 0]
        for number, database in enumerate(databases):
            committer = GroupCommitter(database)
            await stack.enter_async_context(committer.running())
            leads = leader.Leader(
                database,
                committer,
                name="pool_people",
                holder=f"admin-{number}",
                clock=database.clock,
            ).lead

            async def counted(
                number: int = number, leads: Callable[[], Awaitable[bool]] = leads
            ) -> bool:
                asked[number] += 1
                return await leads()

            people.append(Following(database, counted))
            running.append(asyncio.create_task(people[-1].run()))
        async with asyncio.timeout(90):
            first = await revoked(databases[0])
            while not (leading := [one for one in people if first in one.told]):  # noqa: ASYNC110 - another task's loop
                await asyncio.sleep(0.02)
            before = tuple(asked)
            while min(now - then for now, then in zip(asked, before, strict=True)) < RENEWALS:  # noqa: ASYNC110 - other tasks' loops
                await asyncio.sleep(0.02)
            assert len(leading) == 1
            assert sum(first in one.told for one in people) == 1, "and not twice"
            ended = people.index(leading[0])
            running[ended].cancel()
            await asyncio.gather(running[ended], return_exceptions=True)
            left = await revoked(databases[1 - ended])
            while left not in people[1 - ended].told:  # noqa: ASYNC110 - another task's loop
                await asyncio.sleep(0.02)
        assert people[1 - ended].told[left], "fresh, though nobody led when it came"
        assert left not in people[ended].told
        running[1 - ended].cancel()
        await asyncio.gather(*running, return_exceptions=True)
