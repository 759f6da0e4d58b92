"""A command that changes who may come in is on record before it begins, like its request to the
admin API.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from gateway.database.audit import SqlAuditLog
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.core.revocation import RevocationStatus, Who
    from gateway.database.engine import Database

ACTOR = "cli"


async def audited(
    database: Database,
    action: str,
    tenant: str,
    who: Who,
    work: Callable[[], Awaitable[RevocationStatus]],
) -> RevocationStatus:
    """Run ``work`` between the two halves of its audit record."""
    audit = SqlAuditLog(database, clock=database.clock)
    named = {name: value for name, value in asdict(who).items() if value is not None}
    entry = await audit.begin(
        actor=ACTOR, action=action, tenant=tenant, target=tenant, request_id=""
    )
    try:
        status = await work()
    except GatewayError:
        await audit.finish(entry, outcome="failed", before=None, after={"who": named})
        raise
    await audit.finish(
        entry,
        outcome="done",
        before=None,
        after={"who": named, "revocation": status.id, "ended": status.ended},
    )
    return status
