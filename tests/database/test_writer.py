"""SQLite's one writer: who shares a transaction, whose turn it is, and what one part's end means
for the others.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, insert, select, text

from gateway.core.revocation import RevocationKind, RevocationRequest, RevocationStatus, Who
from gateway.database import writer
from gateway.database.engine import Database, Patience, open_database
from gateway.database.schema import admin_keys
from gateway.errors import UnavailableError
from gateway.revocation.api import Recorded
from gateway.revocation.records import SqlRevocations
from tests.database.fixtures import config_with, database_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[Database]:
    database = open_database(
        config_with(tmp_path), database_keys(), patience=Patience(statement_s=2, writer_s=0.5)
    )
    await database.prepare()
    yield database
    await database.close()


class Commits:
    """How often the writer's transactions were committed."""

    def __init__(self, database: Database) -> None:
        self.count = 0
        event.listen(database._engine.sync_engine, "commit", self._committed)

    def _committed(self, _connection: object) -> None:
        self.count += 1


async def names(database: Database) -> list[str]:
    async with database.read() as connection:
        return sorted((await connection.execute(select(admin_keys.c.name))).scalars())


async def write(
    database: Database, name: str, order: list[str], *, urgent: bool = False, fails: bool = False
) -> str:
    async with database.write_together(urgent=urgent) as connection:
        order.append(name)
        await connection.execute(
            insert(admin_keys).values(id=name, name=name, hash=name, scopes=[], created_at=1.0)
        )
        if fails:
            raise RuntimeError(name)
    return name


async def test_who_waits_for_the_writer_shares_its_next_transaction_urgent_ones_first(
    embedded: Database,
) -> None:
    commits, order = Commits(embedded), list[str]()
    async with embedded.write():
        parts = [
            asyncio.create_task(write(embedded, "later", order)),
            *(
                asyncio.create_task(write(embedded, f"u{n}", order, urgent=True, fails=n == 1))
                for n in range(3)
            ),
        ]
        await asyncio.sleep(0)
    results = await asyncio.gather(*parts, return_exceptions=True)
    assert order == ["u0", "u1", "u2", "later"]
    # One that failed is undone, and it alone.
    assert [type(one) for one in results] == [str, str, RuntimeError, str]
    assert await names(embedded) == ["later", "u0", "u2"]
    assert commits.count == 2, "the one that they waited for, and their own"


def statements(database: Database) -> list[str]:
    """The first words of what the connection's thread is asked to do."""
    said: list[str] = []
    engine = database._engine.sync_engine

    @event.listens_for(engine, "before_cursor_execute")
    def _said(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        said.append(statement.split(maxsplit=1)[0])

    event.listen(engine, "commit", lambda _: said.append("COMMIT"))
    event.listen(engine, "rollback", lambda _: said.append("ROLLBACK TRANSACTION"))
    return said


async def test_a_short_write_alone_is_three_visits_to_the_connections_thread(
    embedded: Database,
) -> None:
    said = statements(embedded)
    await write(embedded, "one", [])
    assert said == ["BEGIN", "INSERT", "COMMIT"]


async def test_a_revocation_waits_for_three_visits_to_the_connections_thread(
    embedded: Database,
) -> None:
    said = statements(embedded)
    request = RevocationRequest("acme", Who(user="bob"), RevocationKind.END_SESSIONS, "", "admin")
    status = RevocationStatus("r" * 32, request, 1.0, 1.0, (), None, 1)
    async with SqlRevocations(embedded).change("acme", ["alias"]) as change:
        await change.revocation(Recorded(status, "end_sessions", 7, 1.0))
    assert said == ["BEGIN", "INSERT", "COMMIT"]
    async with SqlRevocations(embedded).change("acme", ["alias"]) as change:
        assert await change.is_open(status.id)
        await change.repeated(Recorded(status, "end_sessions", 8, 1.0))
    (found,) = await SqlRevocations(embedded).unacknowledged()
    assert (found.status.ended, found.watermark) == (2, 8)


async def test_a_first_part_that_fails_is_undone_and_who_waits_goes_on(
    embedded: Database,
) -> None:
    commits, order = Commits(embedded), list[str]()
    async with embedded.write():
        parts = [
            asyncio.create_task(write(embedded, name, order, fails=name == "first"))
            for name in ("first", "second", "third")
        ]
        await asyncio.sleep(0)
    first, *others = await asyncio.gather(*parts, return_exceptions=True)
    assert isinstance(first, RuntimeError)
    assert others == ["second", "third"]
    assert await names(embedded) == ["second", "third"]
    assert commits.count == 2, "the one that they waited for, and theirs"


async def test_a_first_part_that_is_given_up_leaves_nothing_and_keeps_nobody(
    embedded: Database,
) -> None:
    inside = asyncio.Event()

    async def stays() -> None:
        async with embedded.write_together() as connection:
            await connection.execute(
                insert(admin_keys).values(id="x", name="x", hash="x", scopes=[], created_at=1.0)
            )
            inside.set()
            await asyncio.Event().wait()

    first = asyncio.create_task(stays())
    await inside.wait()
    second = asyncio.create_task(write(embedded, "second", []))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == "second"
    assert await names(embedded) == ["second"]


async def test_who_has_waited_long_goes_before_urgent_ones_and_a_long_write_shares_with_nobody(
    embedded: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "AGED_S", 0.0)
    commits, order = Commits(embedded), list[str]()

    async def alone() -> None:
        async with embedded.write() as connection:
            order.append("alone")
            await connection.execute(text("SELECT 1"))

    async with embedded.write():
        parts = [
            asyncio.create_task(write(embedded, "first", order)),
            asyncio.create_task(alone()),
            asyncio.create_task(write(embedded, "urgent", order, urgent=True)),
        ]
        await asyncio.sleep(0)
    await asyncio.gather(*parts)
    assert order == ["first", "alone", "urgent"]
    assert commits.count == 4


async def test_nobody_hears_success_of_a_transaction_that_was_not_committed(
    embedded: Database,
) -> None:
    order = list[str]()

    async def ends_it() -> None:
        async with embedded.write_together() as connection:
            # As a disk that is full does within a statement.
            await connection.exec_driver_sql("ROLLBACK")

    async with embedded.write():
        parts = [
            asyncio.create_task(write(embedded, "before", order)),
            asyncio.create_task(ends_it()),
            asyncio.create_task(write(embedded, "after", order)),
        ]
        await asyncio.sleep(0)
    before, ended, after = await asyncio.gather(*parts, return_exceptions=True)
    assert isinstance(before, UnavailableError)
    assert isinstance(ended, UnavailableError)
    assert after == "after", "in a transaction of its own"
    assert await names(embedded) == ["after"]


async def test_who_gives_up_waiting_passes_its_turn_on_and_who_waits_too_long_is_told(
    embedded: Database,
) -> None:
    order = list[str]()
    async with embedded.write():
        with pytest.raises(UnavailableError, match="writer is busy"):
            await write(embedded, "impatient", order)
    async with embedded.write():
        waiting = asyncio.create_task(write(embedded, "gone", order))
        await asyncio.sleep(0)
    # It has been given its turn, and has not run since.
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await write(embedded, "next", order) == "next", "the turn was not lost"
    assert order == ["next"]
