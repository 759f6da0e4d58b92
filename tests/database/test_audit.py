"""The audit log as it is stored: a crash half-way shows, filters and pages agree, JSON comes back
as it was.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from gateway.database.audit import AuditLog, AuditRecord, write_within
from gateway.database.audit_entries import AuditFilter

if TYPE_CHECKING:
    from gateway.database.engine import Database

pytestmark = pytest.mark.every_database

BEFORE = {"hosts": ["a.example.com"], "nested": {"none": None, "text": "ä \u2028 '", "number": 1.5}}


async def test_a_change_is_begun_and_completed_and_said(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(database, clock=lambda: 1_800_000_000.5)
    with caplog.at_level(logging.INFO, logger="gateway"):
        entry = await log.begin(
            actor="key:1", action="put_tenant", tenant="acme", target="x" * 1000, request_id="r1"
        )
        (begun,) = (await log.page(AuditFilter(), position=None, limit=10)).items
        assert (begun.outcome, begun.before, begun.at, len(begun.target)) == (
            "begun",
            None,
            1_800_000_000.5,
            400,
        )
        assert caplog.records == []
        await log.finish(entry, outcome="done", before=BEFORE, after=None)
    (ended,) = (await log.page(AuditFilter(), position=None, limit=10)).items
    assert (ended.id, ended.outcome, ended.before, ended.after) == (entry, "done", BEFORE, None)
    assert [record.getMessage() for record in caplog.records] == ["audit"]


async def test_filters_and_pages(database: Database) -> None:
    now = 0.0
    log = AuditLog(database, clock=lambda: now)
    for number in range(9):
        now = float(number)
        await log.begin(
            actor=f"key:{number % 2}",
            action=("put_tenant", "revoke", "provision")[number % 3],
            tenant=("acme", None)[number % 2],
            target="",
            request_id="",
        )
    async with database.write() as connection:
        await write_within(connection, AuditRecord(9.0, "cli", "tenant.update", "acme"))

    async def times(wanted: AuditFilter, limit: int = 2) -> list[float]:
        found: list[float] = []
        position = None
        while True:
            page = await log.page(wanted, position=position, limit=limit)
            found += [entry.at for entry in page.items]
            position = page.position
            if position is None:
                return found

    assert await times(AuditFilter()) == [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    assert await times(AuditFilter(tenant="acme")) == [9.0, 8.0, 6.0, 4.0, 2.0, 0.0]
    assert await times(AuditFilter(actor="key:1", action="revoke")) == [7.0, 1.0]
    assert await times(AuditFilter(since=3.0, until=6.0)) == [5.0, 4.0, 3.0]
    assert await times(AuditFilter(tenant="nobody")) == []


async def test_entries_written_at_once_have_ids_of_their_own(database: Database) -> None:
    log = AuditLog(database, clock=lambda: 1.0)
    ids = await asyncio.gather(
        *(log.begin(actor="a", action="b", tenant=None, target="", request_id="") for _ in range(8))
    )
    assert len(set(ids)) == 8
