"""Every record leaves, whatever order it ended in, and whatever failed meanwhile."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, insert, select

from gateway.audit_export.export import AuditExport
from gateway.audit_export.position import (
    BATCH,
    GAP_S,
    INTERRUPTED_S,
    MOST_WAITING,
    ExportRecords,
    Position,
    next_batch,
)
from gateway.database.audit import AuditLog, AuditRecord, write_within
from gateway.database.audit_entries import AuditEntry, AuditFilter
from gateway.database.schema import audit
from gateway.errors import UnavailableError
from gateway.metrics import AUDIT_EXPORT_BEHIND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.database.engine import Database

pytestmark = pytest.mark.every_database

NOW = 1_800_000_000.0
TARGET = "file:/var/log/audit.jsonl"


def entry(number: int, *, at: float = NOW, outcome: str = "done") -> AuditEntry:
    return AuditEntry(number, at, "key:1", "put_tenant", "acme", "", outcome, "r")


def ids(entries: Sequence[AuditEntry]) -> list[int]:
    return [one.id for one in entries]


def test_a_change_that_goes_on_is_waited_for_and_holds_nobody_up() -> None:
    first = next_batch(Position(), [], [entry(1), entry(2, outcome="begun"), entry(3)], now=NOW + 1)
    assert ids(first.entries) == [1, 3]
    assert first.position == Position(3, {2: NOW + 1})
    again = next_batch(first.position, [entry(2, outcome="begun")], [], now=NOW + 2)
    assert (ids(again.entries), again.position) == ([], first.position)
    ended = next_batch(first.position, [entry(2)], [entry(4)], now=NOW + 3)
    assert (ids(ended.entries), ended.position) == ([2, 4], Position(4, {}))


def test_one_that_was_interrupted_leaves_after_an_hour() -> None:
    waiting = Position(5, {4: NOW})
    lost = entry(4, outcome="begun")
    assert ids(next_batch(waiting, [lost], [], now=NOW + INTERRUPTED_S).entries) == []
    late = next_batch(waiting, [lost], [], now=NOW + INTERRUPTED_S + 1)
    assert (ids(late.entries), late.position) == ([4], Position(5, {}))


def test_an_id_whose_transaction_has_not_ended_is_waited_for() -> None:
    first = next_batch(Position(1), [], [entry(4)], now=NOW)
    assert (ids(first.entries), first.position) == ([4], Position(4, {2: NOW, 3: NOW}))
    came = next_batch(first.position, [entry(3)], [], now=NOW + GAP_S)
    assert (ids(came.entries), came.position) == ([3], Position(4, {2: NOW}))
    never = next_batch(came.position, [], [], now=NOW + GAP_S + 1)
    assert (ids(never.entries), never.position) == ([], Position(4, {}))


def test_what_is_waited_for_is_bounded() -> None:
    many = dict.fromkeys(range(1, MOST_WAITING), NOW)
    stuck = next_batch(Position(5000, many), [], [entry(5002)], now=NOW)
    assert (ids(stuck.entries), stuck.position) == ([], Position(5000, many))
    begins_late = next_batch(Position(), [], [entry(70_000)], now=NOW)
    assert (ids(begins_late.entries), begins_late.position) == ([70_000], Position(70_000, {}))


def test_how_far_it_is_behind_is_the_age_of_what_could_leave() -> None:
    assert next_batch(Position(), [], [], now=NOW).behind_s == 0
    assert next_batch(Position(), [], [entry(1, outcome="begun")], now=NOW + 9).behind_s == 0
    assert next_batch(Position(), [], [entry(1), entry(2)], now=NOW + 9).behind_s == 9
    assert next_batch(Position(), [], [entry(1, at=NOW + 5)], now=NOW).behind_s == 0


class Kept:
    """A destination that fails when told to, before or after it took the lines."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.fails = ""

    async def send(self, lines: Sequence[bytes], *, first: int, last: int, at: float) -> None:
        assert at > 0
        if self.fails == "before":
            raise UnavailableError("away")
        numbers = [int(line.split(b'"sequence":')[1].split(b",")[0]) for line in lines]
        assert (numbers[0], numbers[-1]) == (first, last)
        self.taken += numbers
        if self.fails == "after":
            raise UnavailableError("answer lost")


class World:
    def __init__(self, database: Database) -> None:
        self.now, self.database, self.leading = NOW, database, True
        self.kept = Kept()
        self.records = ExportRecords(database, clock=lambda: self.now)
        self.log = AuditLog(database, clock=lambda: self.now)

    def export(self, *, keep_s: float | None = None, to: Kept | None = None) -> AuditExport:
        async def leads() -> bool:
            return self.leading

        return AuditExport(
            self.records,
            to or self.kept,
            target=TARGET,
            keep_s=keep_s,
            leads=leads,
            clock=lambda: self.now,
        )

    async def begin(self) -> int:
        return await self.log.begin(
            actor="key:1", action="put_tenant", tenant="acme", target="", request_id="r"
        )

    async def finish(self, number: int) -> None:
        await self.log.finish(number, outcome="done", before=None, after=None)

    async def stored(self) -> list[int]:
        async with self.database.read() as connection:
            rows = await connection.execute(select(audit.c.id).order_by(audit.c.id))
            return [row[0] for row in rows]


@pytest.fixture
def world(database: Database) -> World:
    return World(database)


async def test_everything_leaves_once_while_nothing_fails(world: World) -> None:
    begun = [await world.begin() for _ in range(5)]
    for number in begun[1:]:
        await world.finish(number)
    assert await world.export().round() == 4
    assert world.kept.taken == begun[1:]
    await world.finish(begun[0])
    assert await world.export().round() == 1  # another process goes on where this one stood
    assert world.kept.taken == [*begun[1:], begun[0]]
    assert await world.export().round() == 0


async def test_more_than_a_batch_leaves_in_one_round(world: World) -> None:
    async with world.database.write() as connection:
        await connection.execute(
            insert(audit),
            [
                {"at": NOW, "actor": "a", "action": "x", "target": "", "request_id": ""}
                for _ in range(BATCH + 3)
            ],
        )
    assert await world.export().round() == BATCH + 3
    assert world.kept.taken == await world.stored()


async def test_a_destination_that_fails_gets_it_again(world: World) -> None:
    first, second = await world.begin(), await world.begin()
    for number in (first, second):
        await world.finish(number)
    world.now += 30
    for failure, taken in (("before", []), ("after", [first, second])):
        world.kept.fails = failure
        with pytest.raises(UnavailableError):
            await world.export().round()
        assert world.kept.taken == taken
        assert AUDIT_EXPORT_BEHIND._value.get() == 30
    world.kept.fails = ""
    assert await world.export().round() == 2
    assert world.kept.taken == [first, second] * 2
    assert AUDIT_EXPORT_BEHIND._value.get() == 0


async def test_who_does_not_lead_sends_nothing(world: World) -> None:
    await world.finish(await world.begin())
    world.leading = False
    assert await world.export(keep_s=1.0).round() == 0
    assert world.kept.taken == []


async def test_a_record_is_deleted_when_it_is_old_and_has_left(world: World) -> None:
    old, open_ = await world.begin(), await world.begin()
    await world.finish(old)
    world.now += 100
    young = await world.begin()
    await world.finish(young)
    world.kept.fails = "before"
    with pytest.raises(UnavailableError):
        await world.export(keep_s=50.0).round()
    assert await world.stored() == [old, open_, young], "nothing is deleted that has not left"
    world.kept.fails = ""
    await world.export(keep_s=50.0).round()
    assert await world.stored() == [open_, young]
    await world.finish(open_)
    await world.export(keep_s=50.0).round()
    assert await world.stored() == [young]
    assert sorted(world.kept.taken) == [old, open_, young]


async def test_without_a_destination_records_are_only_deleted(world: World) -> None:
    for _ in range(2):
        await world.finish(await world.begin())

    async def leads() -> bool:
        return True

    alone = AuditExport(
        world.records, None, target=None, keep_s=50.0, leads=leads, clock=lambda: world.now
    )
    await alone.round()
    assert len(await world.stored()) == 2
    world.now += 111
    await alone.round()
    assert len(await world.stored()) == 1, "the newest keeps its id from being given again"


async def test_reads_are_deleted_by_their_own_age_and_not_before_they_left(world: World) -> None:
    def read() -> AuditRecord:
        return AuditRecord(world.now, "key:1", "list_sessions", "acme", outcome="read")

    async with world.database.write() as connection:
        await write_within(connection, read(), read())
    change, open_ = await world.begin(), await world.begin()
    await world.finish(change)
    world.now += 100
    async with world.database.write() as connection:
        await write_within(connection, read())
    *old, _, _, young = await world.stored()

    async def leads() -> bool:
        return True

    def export(to: Kept | None) -> AuditExport:
        return AuditExport(
            world.records,
            to,
            target=None if to is None else TARGET,
            keep_s=None,
            keep_reads_s=50.0,
            leads=leads,
            clock=lambda: world.now,
        )

    world.kept.fails = "before"
    with pytest.raises(UnavailableError):
        await export(world.kept).round()
    assert await world.stored() == [*old, change, open_, young]
    world.kept.fails = ""
    await export(world.kept).round()
    assert await world.stored() == [change, open_, young]
    world.now += 100
    await export(None).round()
    assert await world.stored() == [change, open_, young], "the newest, and changes, stay"


async def test_lists_and_deletion_read_an_index_and_not_the_table(world: World) -> None:
    """Between two changes there may be a hundred thousand reads, and none of them old."""
    if world.database.is_postgresql:
        pytest.skip("PostgreSQL scans a table that holds nothing")
    said: list[tuple[str, Any]] = []

    def note(
        _connection: object, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> None:
        said.append((statement, parameters))

    engine = world.database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    for wanted in (
        AuditFilter(reads=False),
        AuditFilter(reads=False, tenant="acme"),
        AuditFilter(reads=True),
    ):
        await world.log.page(wanted, position="7", limit=10)
    for reads in (True, False):
        await world.records.forget(50.0, exported=Position(9, {}), reads=reads)
    event.remove(engine, "before_cursor_execute", note)
    plans = []
    async with world.database.read() as connection:
        for statement, parameters in said:
            if "audit" in statement:
                explained = f"EXPLAIN QUERY PLAN {statement}"
                rows = (await connection.exec_driver_sql(explained, parameters)).all()
                plans.append(" ".join(str(row) for row in rows))
    assert len(plans) == 5
    for plan, index in zip(
        plans,
        (
            "ix_audit_changes",
            "ix_audit_changes_tenant",
            "ix_audit_reads",
            "ix_audit_reads",
            "ix_audit_changes",
        ),
        strict=True,
    ):
        assert f"INDEX {index} (" in plan, plan
        assert "SCAN audit" not in plan and "TEMP B-TREE" not in plan, plan


async def test_what_is_written_after_everything_became_old_leaves_too(world: World) -> None:
    for _ in range(3):
        await world.finish(await world.begin())
    export = world.export(keep_s=50.0)
    assert await export.round() == 3
    world.now += 200
    await export.round()
    later = await world.begin()
    await world.finish(later)
    assert await export.round() == 1
    assert world.kept.taken[-1] == later == max(world.kept.taken)


async def test_a_log_that_ends_before_the_position_is_another_one_and_leaves_whole(
    world: World,
) -> None:
    await world.records.save(TARGET, Position(10_000, {7: NOW}))
    number = await world.begin()
    await world.finish(number)
    assert await world.export().round() == 1
    assert world.kept.taken == [number]


@pytest.mark.parametrize("seed", range(8))
async def test_no_order_of_ends_and_failures_loses_a_record(world: World, seed: int) -> None:
    draw = random.Random(seed)
    open_: list[int] = []
    done: set[int] = set()
    for _ in range(60):
        what = draw.random()
        if what < 0.4:
            open_.append(await world.begin())
        elif what < 0.7 and open_:
            number = open_.pop(draw.randrange(len(open_)))
            await world.finish(number)
            done.add(number)
        else:
            world.kept.fails = draw.choice(["", "before", "after"])
            try:
                await world.export().round()
            except UnavailableError:
                assert world.kept.fails
    world.kept.fails = ""
    await world.export().round()
    assert set(world.kept.taken) == done
