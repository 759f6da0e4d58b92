"""The export of the audit log, as the admin role runs it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gateway.audit_export.destination import open_destination
from gateway.audit_export.export import AuditExport
from gateway.audit_export.position import ExportRecords
from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from datetime import timedelta

    from gateway.config.model import Config
    from gateway.database.engine import Database
    from gateway.database.leader import Leader


async def exported_audit(
    config: Config, database: Database, leader: Leader, stack: AsyncExitStack
) -> None:
    """Started where it is configured; ends with ``stack``. Raises ``ConfigError``."""
    settings = config.audit
    if settings.export is None and settings.retention is None and settings.keeps_reads is None:
        return
    destination = None
    if settings.export is not None:
        destination = await stack.enter_async_context(
            open_destination(
                settings.export,
                region=settings.region or config.cognito.region,
                endpoint_url=settings.endpoint_url if config.development else None,
            )
        )

    async def resign() -> None:
        with contextlib.suppress(UnavailableError):
            await leader.resign()

    stack.push_async_callback(resign)
    export = AuditExport(
        ExportRecords(database, clock=database.clock),
        destination,
        target=settings.export,
        keep_s=_seconds(settings.retention),
        keep_reads_s=_seconds(settings.keeps_reads),
        leads=leader.lead,
        clock=database.clock,
    )
    await stack.enter_async_context(export.running())


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()
