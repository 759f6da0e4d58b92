"""How far the export has come, and what comes next.

Rules:
- Records leave in the order of their ids. One whose change has not ended is passed over and waited
  for; after ``INTERRUPTED_S`` it leaves as interrupted.
- An id that is absent may be a transaction that has not ended: it is waited for, for ``GAP_S``.
- The position is written after the destination has confirmed. A crash between the two sends the
  same records again, with the same ``uid``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, func, select

from gateway.database.audit import entry_of
from gateway.database.engine import insert_new
from gateway.database.schema import AUDIT_CHANGES, AUDIT_READS, audit, audit_exports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.audit_entries import AuditEntry
    from gateway.database.engine import Database

BATCH: Final = 100
"""A record has two documents of 256 kB at most."""
GAP_S: Final = 120.0
"""Longer than a transaction may last (``statement_timeout`` and its like)."""
INTERRUPTED_S: Final = 3600.0
MOST_WAITING: Final = 1000
"""Ids that are waited for; with more, the export does not go on."""
DELETED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Position:
    """``after``: the highest id that was looked at. ``waiting``: lower ids that are still to leave,
    with the time at which they were first missed (epoch seconds).
    """

    after: int = 0
    waiting: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """``entries`` leave now; ``position`` is written when they have."""

    entries: Sequence[AuditEntry]
    position: Position
    behind_s: float
    """Age of the oldest of ``entries``; 0 without any."""


def next_batch(
    position: Position, again: Sequence[AuditEntry], new: Sequence[AuditEntry], *, now: float
) -> Batch:
    """``again``: records of ``position.waiting`` that exist. ``new``: those above
    ``position.after``, by id, at most ``BATCH``.
    """
    pending = dict(position.waiting)
    leaving = [entry for entry in again if _leaves(entry, now)]
    for entry in leaving:
        del pending[entry.id]
    present = {entry.id for entry in again}
    for entry_id in [id_ for id_, since in pending.items() if id_ not in present]:
        if now - pending[entry_id] > GAP_S:
            del pending[entry_id]
    after = position.after
    for entry in new:
        gap = range(after + 1, entry.id)
        if len(gap) >= MOST_WAITING:  # older records were deleted; no transactions lack so many
            gap = range(0)
        if len(pending) + len(gap) >= MOST_WAITING:
            break
        pending.update(dict.fromkeys(gap, now))
        if _leaves(entry, now):
            leaving.append(entry)
        else:
            pending[entry.id] = now
        after = entry.id
    behind = now - min((entry.at for entry in leaving), default=now)
    return Batch(leaving, Position(after, pending), max(0.0, behind))


def _leaves(entry: AuditEntry, now: float) -> bool:
    return entry.outcome != "begun" or now - entry.at > INTERRUPTED_S


class ExportRecords:
    """In SQL, for each destination. ``clock``: UTC epoch seconds of the database."""

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    async def load(self, destination: str) -> Position:
        """Where it stands; a new destination begins with the oldest record."""
        query = select(audit_exports).where(audit_exports.c.destination == destination)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
            newest = await connection.scalar(select(func.max(audit.c.id))) or 0
        # A log that ends before the position is not the one that was exported.
        if row is None or row["position"] > newest:
            return Position()
        pending = {int(id_): float(since) for id_, since in row["waiting"].items()}
        return Position(int(row["position"]), pending)

    async def batch(self, position: Position) -> Batch:
        """What leaves next. Raises ``UnavailableError``."""
        async with self._database.read() as connection:
            again = await _entries(
                connection, select(audit).where(audit.c.id.in_(list(position.waiting)))
            )
            new = await _entries(
                connection,
                select(audit).where(audit.c.id > position.after).order_by(audit.c.id).limit(BATCH),
            )
        return next_batch(position, again, new, now=self._clock())

    async def save(self, destination: str, position: Position) -> None:
        """After the destination has confirmed."""
        values = {
            "position": position.after,
            "waiting": {str(id_): since for id_, since in position.waiting.items()},
            "updated_at": self._clock(),
        }
        statement = insert_new(self._database, audit_exports).values(
            destination=destination, **values
        )
        async with self._database.write_together() as connection:
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["destination"], set_=values)
            )

    async def forget(
        self, older_than_s: float, *, exported: Position | None, reads: bool | None = None
    ) -> int:
        """Delete records that are older; with ``exported``, none that has not left; of ``reads``
        alone, or of what is none. How many. The newest stays whatever its age: SQLite gives an id
        again that is above all that are there, and the export would pass over the records that
        have it.
        """
        query = select(audit.c.id, audit.c.at).where(
            audit.c.id < select(func.max(audit.c.id)).scalar_subquery()
        )
        if reads is not None:
            query = query.where(AUDIT_READS if reads else AUDIT_CHANGES)
        if exported is not None:
            query = query.where(
                audit.c.id <= exported.after, audit.c.id.not_in(list(exported.waiting))
            )
        # The first by id, and those of them that are old: by age alone, each look would read all.
        first = query.order_by(audit.c.id).limit(DELETED_AT_ONCE).subquery()
        old = select(first.c.id).where(first.c.at < self._clock() - older_than_s)
        async with self._database.write_together() as connection:
            result = await connection.execute(delete(audit).where(audit.c.id.in_(old)))
            return int(result.rowcount)


async def _entries(connection: AsyncConnection, query: Any) -> list[AuditEntry]:
    return [entry_of(row) for row in (await connection.execute(query)).mappings()]
