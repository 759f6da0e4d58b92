"""Reads on record: each kind at once, then counted; bounded, in few transactions, none lost while
SQL is away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.database import audit_reads
from gateway.database.audit import AuditLog
from gateway.database.audit_entries import AuditFilter
from gateway.database.audit_reads import MANY, WINDOW_S, Read, ReadLog
from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from gateway.database.engine import Database

ALICE, BOB = (Read("key:1", "list_sessions", "acme", f"email={n}") for n in ("alice", "bob"))


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reads(database: Database, clock: Clock) -> ReadLog:
    return ReadLog(database, clock=clock)


async def stored(database: Database) -> list[tuple[str, object]]:
    """Target and numbers, oldest first."""
    log = AuditLog(database, clock=Clock())
    page = await log.page(AuditFilter(reads=True), position=None, limit=5000)
    return [(entry.target, entry.after) for entry in reversed(page.items)]


def counted(requests: int, rows: int, first: float, last: float) -> dict[str, float]:
    return {"requests": requests, "rows": rows, "first_at": first, "last_at": last}


async def test_the_first_is_on_record_at_once_and_the_same_again_is_counted(
    database: Database, reads: ReadLog, clock: Clock
) -> None:
    start = clock.now
    for _ in range(3):
        reads.add(ALICE, rows=50, request_id="r1")
        clock.now += 1
    reads.add(BOB, rows=1, request_id="r2")
    assert await reads.round() == 2
    first = [
        ("email=alice", {"requests": 1, "rows": 50}),
        ("email=bob", {"requests": 1, "rows": 1}),
    ]
    assert await stored(database) == first
    clock.now = start + WINDOW_S - 1
    assert await reads.round() == 0
    clock.now = start + WINDOW_S
    assert await reads.round() == 1
    counts = [("email=alice", counted(2, 100, start + 1, start + 2))]
    assert await stored(database) == first + counts
    # Whoever goes on has one record for each window, whoever comes back one at once.
    reads.add(ALICE, rows=7, request_id="r3")
    reads.add(BOB, rows=1, request_id="r4")
    assert await reads.round() == 1
    clock.now += WINDOW_S
    assert await reads.round() == 1
    assert (await stored(database))[-1][1] == counted(1, 7, start + WINDOW_S, start + WINDOW_S)


async def test_whoever_walks_through_everybody_is_counted_after_so_many(
    database: Database, reads: ReadLog, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_reads, "MOST_TARGETS", 3)
    for number in range(10):
        reads.add(Read("key:1", "get_person", "acme", str(number)), rows=1, request_id="r")
    reads.add(Read("key:2", "get_person", "acme", "0"), rows=1, request_id="r")
    clock.now += WINDOW_S
    await reads.round()
    targets = [target for target, _ in await stored(database)]
    assert targets == ["0", "1", "2", MANY, "0", MANY]
    assert (await stored(database))[-1][1] == counted(
        6, 6, clock.now - WINDOW_S, clock.now - WINDOW_S
    )


async def test_while_sql_is_away_nothing_is_lost_and_memory_is_bounded(
    database: Database, reads: ReadLog, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_reads, "MOST_WAITING", 1)

    def away() -> AbstractAsyncContextManager[None]:
        raise UnavailableError("SQL")

    with monkeypatch.context() as patch:
        patch.setattr(database, "write_together", away)
        reads.add(ALICE, rows=1, request_id="r")
        reads.add(BOB, rows=2, request_id="r")
        clock.now += WINDOW_S
        with pytest.raises(UnavailableError):
            await reads.round()
        reads.add(BOB, rows=3, request_id="r")
    assert await reads.round() == 2
    assert await stored(database) == [
        ("email=alice", {"requests": 1, "rows": 1}),
        ("email=bob", counted(2, 5, clock.now - WINDOW_S, clock.now)),
    ]


async def test_a_record_that_sql_does_not_take_holds_up_no_other(
    database: Database, reads: ReadLog
) -> None:
    bad = Read("key:1", "list_sessions", "acme", "bad")
    reads.add(ALICE, rows=1, request_id="r")
    reads.add(bad, rows=object(), request_id="r")  # type: ignore[arg-type]
    reads.add(BOB, rows=1, request_id="r")
    for _ in range(2):
        with pytest.raises(Exception, match=r"JSON|serializable"):
            await reads.round()
    await reads.round()
    assert [target for target, _ in await stored(database)] == ["email=alice", "email=bob"]


async def test_a_hundred_reads_are_one_transaction(
    database: Database, reads: ReadLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions = 0
    write: Callable[[], AbstractAsyncContextManager[object]] = database.write_together

    def counting() -> AbstractAsyncContextManager[object]:
        nonlocal transactions
        transactions += 1
        return write()

    monkeypatch.setattr(database, "write_together", counting)
    for number in range(100):
        reads.add(Read("key:1", "get_person", "acme", str(number)), rows=1, request_id="r")
    assert (await reads.round(), transactions) == (100, 1)


async def test_what_was_counted_is_written_when_the_process_ends(
    database: Database, reads: ReadLog
) -> None:
    async with reads.running():
        for _ in range(2):
            reads.add(ALICE, rows=1, request_id="r")
    numbers = [after for _, after in await stored(database)]
    assert [one["requests"] for one in numbers if isinstance(one, dict)] == [1, 1]


async def test_what_the_end_of_a_process_loses_is_told(
    reads: ReadLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def is_away() -> int:
        raise UnavailableError("postgresql: connection refused")

    monkeypatch.setattr(reads, "_write", is_away)
    monkeypatch.setattr(audit_reads, "ROUND_S", 3600.0)
    async with reads.running():
        reads.add(ALICE, rows=50, request_id="r1")
        reads.add(ALICE, rows=50, request_id="r2")
        reads.add(BOB, rows=1, request_id="r3")
    (record,) = (one for one in caplog.records if one.getMessage() == "audit_reads_lost")
    assert record.levelname == "WARNING"
    # Two that were the first of their kind, and one count.
    told = record.gateway_fields  # type: ignore[attr-defined]  # fields() puts it there
    assert (told["records"], told["error"]) == (3, "postgresql: connection refused")
