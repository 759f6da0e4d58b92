"""The audit log: a row before a change begins, completed when it ends. A row left at ``begun`` is a
crash half-way.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import case, insert, null, select, type_coerce, update

from gateway.core.paging import Page
from gateway.database.audit_entries import AuditEntry, AuditFilter
from gateway.database.schema import AUDIT_CHANGES, AUDIT_READS, audit
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database

log = logging.getLogger(__name__)
_TARGET_CHARACTERS = 400
READ: Final = "read"
"""Outcome of a record that says who saw what: nothing was changed."""


class AuditLog:
    """Written before the change begins, completed when it ends: no change goes without a record, a
    crash included.

    Also writes each completed record to the log, as ``event: audit``. ``clock`` is UTC epoch
    seconds.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    async def begin(
        self, *, actor: str, action: str, tenant: str | None, target: str, request_id: str
    ) -> int:
        async with self._database.write_together(urgent=True) as connection:
            return await self.begin_within(
                connection,
                actor=actor,
                action=action,
                tenant=tenant,
                target=target,
                request_id=request_id,
            )

    async def begin_within(
        self,
        connection: AsyncConnection,
        *,
        actor: str,
        action: str,
        tenant: str | None,
        target: str,
        request_id: str,
    ) -> int:
        """``begin`` in the caller's transaction: it is on record once that is committed."""
        row = {
            "at": self._clock(),
            "actor": actor,
            "action": action,
            "tenant": tenant,
            "target": target[:_TARGET_CHARACTERS],
            "outcome": "begun",
            "request_id": request_id,
        }
        result = await connection.execute(insert(audit).values(row).returning(audit.c.id))
        return int(result.scalar_one())

    async def finish(
        self,
        entry: int,
        *,
        outcome: str,
        before: object,
        after: object,
        target: str = "",
        tenant: str | None = None,
        also: Callable[[AsyncConnection], Awaitable[None]] | None = None,
    ) -> None:
        """``before`` and ``after`` are free of secrets already. ``target`` and ``tenant``: what is
        only known by now; empty and None for what was said at the beginning. ``also``: what is
        written in the same transaction.
        """
        values: dict[str, object] = {"outcome": outcome, "before": before, "after": after}
        if target:
            values["target"] = target[:_TARGET_CHARACTERS]
        if tenant is not None:
            values["tenant"] = tenant
        async with self._database.write_together(urgent=True) as connection:
            result = await connection.execute(
                update(audit).where(audit.c.id == entry).values(**values).returning(audit)
            )
            row = result.mappings().one()
            if also is not None:
                await also(connection)
        log.info(
            "audit",
            extra=fields(
                request_id=row["request_id"],
                tenant=row["tenant"],
                actor=row["actor"],
                action=row["action"],
                target=row["target"],
                outcome=outcome,
                before=before,
                after=after,
            ),
        )

    async def entry(self, entry: int) -> AuditEntry | None:
        query = select(audit).where(audit.c.id == entry)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else entry_of(row)

    async def page(
        self, wanted: AuditFilter, *, position: str | None, limit: int
    ) -> Page[AuditEntry]:
        """Newest first; ``position`` is the id of the last row seen."""
        columns = (audit,) if wanted.documents else _BRIEF
        query = select(*columns).order_by(audit.c.id.desc()).limit(limit + 1)
        if wanted.tenant is not None:
            query = query.where(audit.c.tenant == wanted.tenant)
        if wanted.actor is not None:
            query = query.where(audit.c.actor == wanted.actor)
        if wanted.action is not None:
            query = query.where(audit.c.action == wanted.action)
        if wanted.since is not None:
            query = query.where(audit.c.at >= wanted.since)
        if wanted.until is not None:
            query = query.where(audit.c.at < wanted.until)
        if wanted.reads is not None:
            query = query.where(AUDIT_READS if wanted.reads else AUDIT_CHANGES)
        if position is not None:
            query = query.where(audit.c.id < int(position))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return Page(
            [entry_of(row) for row in rows[:limit]],
            str(rows[limit - 1]["id"]) if len(rows) > limit else None,
        )


_READ_COUNTS: Final = type_coerce(case((AUDIT_READS, audit.c.after)), audit.c.after.type)
_BRIEF: Final = (
    *(column for column in audit.c if column.name not in {"before", "after"}),
    null().label("before"),
    _READ_COUNTS.label("after"),
)
"""Without the documents of changes: of a long list, they are nearly all of the bytes."""


def entry_of(row: RowMapping) -> AuditEntry:
    """A row of the table."""
    return AuditEntry(
        id=row["id"],
        at=row["at"],
        actor=row["actor"],
        action=row["action"],
        tenant=row["tenant"],
        target=row["target"],
        outcome=row["outcome"],
        request_id=row["request_id"],
        before=row["before"],
        after=row["after"],
    )


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """What is written in one transaction: a change, or a read. ``before`` and ``after`` are JSON
    values in which secrets are ``***``. ``at`` is UTC epoch seconds.
    """

    at: float
    actor: str
    action: str
    tenant: str | None
    target: str = ""
    before: object = None
    after: object = None
    request_id: str = ""
    outcome: str = "done"


async def write_within(connection: AsyncConnection, *records: AuditRecord) -> None:
    """In the caller's transaction: no change without its record, no record without its change."""
    names = ("at", "actor", "action", "tenant", "before", "after", "request_id", "outcome")
    rows = [
        {
            **{name: getattr(record, name) for name in names},
            "target": record.target[:_TARGET_CHARACTERS],
        }
        for record in records
    ]
    if rows:
        await connection.execute(insert(audit), rows)


def say(record: AuditRecord) -> None:
    """To the log, after the commit."""
    log.info(
        "audit",
        extra=fields(
            request_id=record.request_id or None,
            tenant=record.tenant,
            actor=record.actor,
            action=record.action,
            target=record.target or None,
            outcome=record.outcome,
            before=record.before,
            after=record.after,
        ),
    )
