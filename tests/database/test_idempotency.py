"""First answers by Idempotency-Key as they are stored: one request runs, the others hear of it, and
everything ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from gateway.admin.idempotency import ABANDONED_S, KEEP_S, IdempotencyRecords
from gateway.admin.idempotency_records import IdempotencyState, StoredAnswer
from gateway.database.schema import idempotency

if TYPE_CHECKING:
    from gateway.database.engine import Database

pytestmark = pytest.mark.every_database

ANSWER = StoredAnswer(201, {"Location": "/x", "ETag": '"1"'}, b'{"key": "gwk_shown_once"}\x00\xff')


async def test_of_equal_requests_at_once_one_runs_and_all_get_its_answer(
    database: Database,
) -> None:
    stored = IdempotencyRecords(database, clock=lambda: 1_800_000_000.0)
    answers = await asyncio.gather(*(stored.claim("key:1", "k", fingerprint="f") for _ in range(6)))
    assert sorted(map(str, answers)) == sorted(
        [str(IdempotencyState.FRESH), *[str(IdempotencyState.IN_FLIGHT)] * 5]
    )
    await stored.store("key:1", "k", ANSWER)
    assert await stored.claim("key:1", "k", fingerprint="f") == ANSWER
    assert await stored.claim("key:1", "k", fingerprint="another") is IdempotencyState.OTHER_REQUEST
    assert await stored.claim("key:2", "k", fingerprint="f") is IdempotencyState.FRESH, (
        "keys of one caller say nothing to another"
    )
    async with database.read() as connection:
        assert "gwk_shown_once" not in str((await connection.execute(select(idempotency))).all())


async def test_a_request_that_failed_may_be_sent_again_and_one_that_was_answered_not(
    database: Database,
) -> None:
    stored = IdempotencyRecords(database, clock=lambda: 1_800_000_000.0)
    await stored.claim("key:1", "k", fingerprint="f")
    await stored.release("key:1", "k")
    assert await stored.claim("key:1", "k", fingerprint="f") is IdempotencyState.FRESH
    await stored.store("key:1", "k", ANSWER)
    await stored.release("key:1", "k")
    assert await stored.claim("key:1", "k", fingerprint="f") == ANSWER


async def test_an_abandoned_claim_ends_soon_and_an_answer_after_a_day(database: Database) -> None:
    now = 1_800_000_000.0
    stored = IdempotencyRecords(database, clock=lambda: now)
    await stored.claim("key:1", "dead", fingerprint="f")
    await stored.claim("key:1", "running", fingerprint="f")
    await stored.claim("key:1", "done", fingerprint="f")
    await stored.store("key:1", "done", ANSWER)
    now += ABANDONED_S
    assert await stored.claim("key:1", "dead", fingerprint="f") is IdempotencyState.IN_FLIGHT
    await stored.renew("key:1", "running")
    now += 1
    assert await stored.claim("key:1", "dead", fingerprint="f") is IdempotencyState.FRESH
    assert await stored.claim("key:1", "running", fingerprint="f") is IdempotencyState.IN_FLIGHT
    assert await stored.claim("key:1", "done", fingerprint="f") == ANSWER
    now += KEEP_S
    assert await stored.claim("key:1", "done", fingerprint="f") is IdempotencyState.FRESH
