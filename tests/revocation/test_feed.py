"""One reader tells everybody who follows; revocations wait for none of them."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event

from gateway.core.revocation import RevocationKind, RevocationRequest, RevocationStatus, Who
from gateway.errors import ConfigError, UnavailableError
from gateway.revocation import feed as feed_module
from gateway.revocation import unopened
from gateway.revocation.api import LIFT, Closed, Recorded
from gateway.revocation.feed import RevocationFeed
from gateway.revocation.records import SqlRevocations

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from gateway.database.engine import Database


def made(number: int, *, kind: str = "end_sessions", at: float | None = None) -> Recorded:
    request = RevocationRequest(
        "acme", Who(user=f"u{number}"), RevocationKind.END_SESSIONS, "", "admin"
    )
    now = time.time() if at is None else at
    return Recorded(
        RevocationStatus(f"{number:032x}", request, now, 1.0, (), None, 0), kind, number, now
    )


class Record:
    """The queries that a feed makes, the one of each look counted; ``down`` while SQL does not
    answer, ``closed`` are ids of what does not open.
    """

    def __init__(self) -> None:
        self.rows: list[Recorded] = []
        self.reads = 0
        self.down = False
        self.closed: set[str] = set()

    async def since(
        self, durable_at: float, *, after: str, limit: int, closed: Callable[[Closed], None]
    ) -> Sequence[Recorded]:
        self.reads += 1
        if self.down:
            raise UnavailableError("down")
        return self._opened(
            [r for r in self.rows if (r.durable_at, r.status.id) > (durable_at, after)], closed
        )[:limit]

    async def these(
        self, ids: Sequence[str], *, closed: Callable[[Closed], None]
    ) -> Sequence[Recorded]:
        return self._opened([r for r in self.rows if r.status.id in ids], closed)

    def _opened(
        self, rows: Sequence[Recorded], closed: Callable[[Closed], None]
    ) -> Sequence[Recorded]:
        for one in rows:
            if one.status.id in self.closed:
                closed(
                    Closed(one.status.id, "acme", one.durable_at, ConfigError("its key is away"))
                )
        return [
            one
            for one in sorted(rows, key=lambda r: (r.durable_at, r.status.id))
            if one.status.id not in self.closed
        ]


@pytest.fixture
def record() -> Record:
    return Record()


@pytest.fixture
def feed(record: Record, monkeypatch: pytest.MonkeyPatch) -> RevocationFeed:
    monkeypatch.setattr(feed_module, "POLL_S", 0.02)
    return RevocationFeed(record, clock=time.time)  # type: ignore[arg-type]  # the two methods that a feed uses


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)


async def begun(
    stream: AsyncGenerator[RevocationStatus, None], feed: RevocationFeed
) -> asyncio.Task[RevocationStatus]:
    """Its next one, once the stream follows."""
    before = len(feed._followers)
    upcoming = asyncio.ensure_future(anext(stream))
    await until(
        lambda: len(feed._followers) > before and feed._ready is not None and feed._ready.done()
    )
    return upcoming


async def test_everybody_who_follows_hears_once_of_what_any_process_made_durable(
    feed: RevocationFeed, record: Record
) -> None:
    record.rows.append(made(1))
    streams = [feed.follow() for _ in range(5)]
    upcoming = [await begun(stream, feed) for stream in streams]
    record.rows.append(made(2))  # another process
    async with asyncio.timeout(10):
        assert {(await one).id for one in upcoming} == {made(2).status.id}
        record.rows.append(made(3, kind=LIFT))
        mine = made(4)
        record.rows.append(mine)
        feed.tell(mine)
        assert {(await anext(stream)).id for stream in streams} == {mine.status.id}
        record.rows.append(made(5))
        assert {(await anext(stream)).id for stream in streams} == {made(5).status.id}
    for stream in streams:
        await stream.aclose()
    assert feed._reader is None


async def test_a_follower_who_comes_back_hears_what_it_missed_and_nothing_twice(
    feed: RevocationFeed, record: Record
) -> None:
    began = time.time() - 5000
    record.rows = [made(number, at=began + number) for number in range(1, 1203)]
    async with aclosing(feed.follow(after=made(2).status.id)) as stream, asyncio.timeout(20):
        found = [(await anext(stream)).id]
        meanwhile = made(4000)  # waits for the follower, and is on the last page of what it missed
        record.rows.append(meanwhile)
        feed.tell(meanwhile)
        found += [(await anext(stream)).id for _ in range(1200)]
        late = made(5000)
        record.rows.append(late)
        feed.tell(late)
        found.append((await anext(stream)).id)
        last = made(5001)
        record.rows.append(last)
        found.append((await anext(stream)).id)
    assert found == [*(r.status.id for r in record.rows[2:])]


async def test_the_record_is_read_as_often_for_many_followers_and_revocations_as_for_one(
    feed: RevocationFeed, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "POLL_S", 60.0)

    async def reads(followers: int) -> int:
        streams = [feed.follow() for _ in range(followers)]
        upcoming = [await begun(stream, feed) for stream in streams]
        before = record.reads
        for number in range(20):
            one = made(1000 * followers + number)
            record.rows.append(one)
            feed.tell(one)
            async with asyncio.timeout(10):
                assert {(await task).id for task in upcoming} == {one.status.id}
            upcoming = [asyncio.ensure_future(anext(stream)) for stream in streams]
        for task in upcoming:
            task.cancel()
        await asyncio.gather(*upcoming, return_exceptions=True)
        return record.reads - before

    assert (await reads(1), await reads(150)) == (0, 0)


async def test_leaving_word_does_the_same_work_however_many_follow(
    feed: RevocationFeed, record: Record
) -> None:
    """Counted, not timed: nothing is done for a follower before the reader has its turn."""
    streams = [feed.follow() for _ in range(150)]
    upcoming = [await begun(stream, feed) for stream in streams]
    told: list[str] = []
    for follower in feed._followers:
        follower.tell = lambda status: told.append(status.id)  # type: ignore[method-assign]  # counts
    feed.tell(made(1))
    assert told == []
    await until(lambda: len(told) == 150)
    for task in upcoming:
        task.cancel()
    await asyncio.gather(*upcoming, return_exceptions=True)
    assert feed._followers == set()


async def test_a_follower_who_does_not_keep_up_is_cut_off_and_others_go_on(
    feed: RevocationFeed, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "MAX_BEHIND", 10)
    slow, quick = feed.follow(), feed.follow()
    first = [await begun(slow, feed), await begun(quick, feed)]
    async with asyncio.timeout(10):
        for number in range(1, 31):
            one = made(number)
            record.rows.append(one)
            feed.tell(one)
            assert (await (first.pop() if len(first) == 2 else anext(quick))).id == one.status.id
        await first[0]
        with pytest.raises(StopAsyncIteration):
            await anext(slow)
    await quick.aclose()


async def test_while_the_record_is_down_those_who_follow_hear_of_it_and_may_begin_again(
    feed: RevocationFeed, record: Record
) -> None:
    stream = feed.follow()
    upcoming = await begun(stream, feed)
    record.down = True
    with pytest.raises(UnavailableError):
        await upcoming
    with pytest.raises(UnavailableError):
        await anext(feed.follow())
    record.down = False
    again = feed.follow()
    upcoming = asyncio.ensure_future(anext(again))
    async with asyncio.timeout(10):
        while not upcoming.done():
            record.rows.append(made(len(record.rows) + 1))
            await asyncio.sleep(0.01)
    await again.aclose()


async def test_one_that_does_not_open_keeps_no_other_from_being_shown_and_is_shown_when_it_opens(
    feed: RevocationFeed,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(unopened, "AGAIN_S", 0.0)
    long_ago = time.time() - 100
    left_at, closed, well = made(1, at=long_ago), made(2, at=long_ago + 1), made(3)
    record.rows, record.closed = [left_at, closed], {left_at.status.id, closed.status.id}
    async with aclosing(feed.follow(after=left_at.status.id)) as stream:
        upcoming = await begun(stream, feed)
        record.rows.append(well)
        assert (await upcoming).id == well.status.id, (
            "whoever left off at one that does not open goes on, too"
        )
        upcoming = asyncio.ensure_future(anext(stream))
        read = record.reads
        await until(lambda: record.reads > read + 3)
        assert not upcoming.done()
        record.closed.discard(closed.status.id)
        assert (await upcoming).id == closed.status.id, (
            "long after the window in which the record is read"
        )
    assert {one.message for one in caplog.records} == {"revocation_feed_does_not_open"}
    assert len(caplog.records) <= 2, "once for each, however often they are met"


async def test_the_readers_query_is_answered_by_an_index(database: Database) -> None:
    if database.is_postgresql:
        pytest.skip("PostgreSQL scans a table that holds nothing")
    said: list[tuple[str, Any]] = []

    def note(
        _connection: object, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> None:
        said.append((statement, parameters))

    engine = database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    assert await SqlRevocations(database).since(time.time(), after="", limit=500) == []
    event.remove(engine, "before_cursor_execute", note)
    ((statement, parameters),) = (
        (said_, given) for said_, given in said if "FROM revocations" in said_
    )
    async with database.read() as connection:
        plan = [
            str(row)
            for row in (
                await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            ).all()
        ]
    assert any("ix_revocations_durable_at_id" in row for row in plan), plan
    assert not any("TEMP B-TREE" in row for row in plan), plan
