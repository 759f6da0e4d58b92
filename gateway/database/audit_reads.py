"""Who saw what: reads in the audit log, counted so that they cannot flood it.

Rules:
- The first read of a kind is a record of its own, within a second. The same read again is counted,
  and each count is one record for every ``WINDOW_S``.
- One actor reads ``MOST_TARGETS`` targets one by one; what is beyond is counted by operation and
  tenant, with the target ``MANY``.
- No request waits: records are written in batches beside the answers. While SQL is away they wait
  in memory, and what comes then is counted; a crash loses what waits and the counts of its window.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.background import background_task, in_rounds
from gateway.database.audit import READ, AuditRecord, say, write_within
from gateway.errors import UnavailableError
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.database.engine import Database

_log = logging.getLogger(__name__)
WINDOW_S: Final = 300.0
ROUND_S: Final = 1.0
MOST_TARGETS: Final = 1000
"""Of one actor in a window."""
MOST_WAITING: Final = 2000
"""Records; with more, reads are counted only."""
BATCH: Final = 200
MANY: Final = "(more)"


@dataclass(frozen=True, slots=True)
class Read:
    """What is counted together. ``target``: ids of the path and the filter."""

    actor: str
    operation: str
    tenant: str | None
    target: str


@dataclass(slots=True)
class _Count:
    requests: int = 0
    rows: int = 0
    first_at: float = 0.0
    last_at: float = 0.0


class ReadLog:
    """Of one process. ``clock``: UTC epoch seconds."""

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock
        self._counts: dict[Read, _Count] = {}
        self._targets: Counter[str] = Counter()
        self._waiting: list[AuditRecord] = []
        self._ends_at = 0.0
        self._batch = BATCH

    def add(self, read: Read, *, rows: int, request_id: str) -> None:
        """One answer with so many rows. Does not wait, does not fail."""
        now = self._clock()
        if not self._counts:
            self._ends_at = now + WINDOW_S
        count = self._counts.get(read)
        is_first = count is None
        if count is None:
            if self._targets[read.actor] >= MOST_TARGETS:
                read = Read(read.actor, read.operation, read.tenant, MANY)
                is_first = read not in self._counts
            else:
                self._targets[read.actor] += 1
            count = self._counts.setdefault(read, _Count())
        if is_first and len(self._waiting) < MOST_WAITING:
            after = {"requests": 1, "rows": rows}
            self._waiting.append(_record(read, now, after, request_id))
            return
        count.requests += 1
        count.rows += rows
        count.first_at = count.first_at or now
        count.last_at = now

    async def round(self) -> int:
        """Write what waits, and the counts when their window is over. How many records. Raises
        ``UnavailableError``; they are then written in a later round.
        """
        count = await self._write()
        if self._counts and self._clock() >= self._ends_at:
            self._end_window()
            count += await self._write()
        return count

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        rounds = in_rounds(
            self.round,
            pause_s=ROUND_S,
            unavailable="audit_reads_unavailable",
            failed="audit_reads_fault",
        )
        try:
            async with background_task(rounds):
                yield
        finally:
            self._end_window()
            try:
                await self._write()
            except UnavailableError as error:
                _log.warning(
                    "audit_reads_lost",
                    extra=fields(records=len(self._waiting), error=str(error)),
                )

    async def _write(self) -> int:
        count = 0
        while batch := self._waiting[: self._batch]:
            try:
                async with self._database.write_together() as connection:
                    await write_within(connection, *batch)
            except UnavailableError:
                raise
            except Exception:
                # One that SQL never takes holds up no other: it is found alone, and left out.
                if len(batch) == 1:
                    del self._waiting[:1]
                self._batch = 1
                raise
            del self._waiting[: len(batch)]
            for record in batch:
                say(record)
            count += len(batch)
        self._batch = BATCH
        return count

    def _end_window(self) -> None:
        """What was read again goes on being counted; what was not is a first read when it comes."""
        now, again = self._clock(), {}
        for read, count in self._counts.items():
            if count.requests:
                after = {
                    "requests": count.requests,
                    "rows": count.rows,
                    "first_at": count.first_at,
                    "last_at": count.last_at,
                }
                self._waiting.append(_record(read, now, after, ""))
                again[read] = _Count()
        self._counts, self._ends_at = again, now + WINDOW_S
        self._targets = Counter(read.actor for read in again if read.target != MANY)


def _record(read: Read, at: float, after: object, request_id: str) -> AuditRecord:
    return AuditRecord(
        at,
        read.actor,
        read.operation,
        read.tenant,
        read.target,
        after=after,
        request_id=request_id,
        outcome=READ,
    )
