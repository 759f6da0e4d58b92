"""Sends what is new, in rounds; one admin process at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway import __version__
from gateway.audit_export.ocsf import line
from gateway.background import background_task, in_rounds
from gateway.metrics import AUDIT_EXPORT_BEHIND, AUDIT_EXPORTED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from gateway.audit_export.destination import Destination
    from gateway.audit_export.position import ExportRecords, Position

ROUND_S: Final = 2.0
BATCHES_IN_A_ROUND: Final = 50
"""Then leadership is renewed: a lease lives longer than these take."""
FORGET_EVERY_S: Final = 60.0


class AuditExport:
    """``target``: ``audit.export``; with None and no destination, records are deleted only.
    ``keep_s``: age at which they are deleted, None for never; ``keep_reads_s``: the same of records
    of reads. ``clock``: UTC epoch seconds.
    """

    def __init__(
        self,
        records: ExportRecords,
        destination: Destination | None,
        *,
        target: str | None,
        keep_s: float | None,
        keep_reads_s: float | None = None,
        leads: Callable[[], Awaitable[bool]],
        clock: Callable[[], float],
    ) -> None:
        self._records, self._destination = records, destination
        self._target = target
        self._keep = {True: keep_reads_s, False: keep_s}
        self._leads, self._clock = leads, clock
        self._forget_at = 0.0

    def running(self) -> AbstractAsyncContextManager[None]:
        return background_task(
            in_rounds(
                self.round,
                pause_s=ROUND_S,
                unavailable="audit_export_unavailable",
                failed="audit_export_fault",
            )
        )

    async def round(self) -> int:
        """How many records left. Raises ``UnavailableError``; they then leave in a later round."""
        if not await self._leads():
            AUDIT_EXPORT_BEHIND.set(0)
            return 0
        count, position = 0, None
        if self._destination is not None and self._target is not None:
            position, count = await self._send(self._destination, self._target)
        if self._clock() >= self._forget_at:
            await self._forget(position)
        return count

    async def _forget(self, position: Position | None) -> None:
        gone = 0
        for reads, keep_s in self._keep.items():
            if keep_s is not None:
                gone += await self._records.forget(keep_s, exported=position, reads=reads)
        if not gone:
            self._forget_at = self._clock() + FORGET_EVERY_S

    async def _send(self, destination: Destination, target: str) -> tuple[Position, int]:
        position, count = await self._records.load(target), 0
        for _ in range(BATCHES_IN_A_ROUND):
            batch = await self._records.batch(position)
            AUDIT_EXPORT_BEHIND.set(batch.behind_s)
            if batch.position == position:
                break
            if batch.entries:
                await destination.send(
                    [line(entry, version=__version__) for entry in batch.entries],
                    first=batch.entries[0].id,
                    last=batch.entries[-1].id,
                    at=batch.entries[0].at,
                )
                AUDIT_EXPORTED.inc(len(batch.entries))
                count += len(batch.entries)
            await self._records.save(target, batch.position)
            position = batch.position
        return position, count
