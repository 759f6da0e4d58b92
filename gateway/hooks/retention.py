"""What was settled is forgotten after a while: the inbox holds people's names, and grows with every
event.

Rules:
- What waits is never forgotten. What failed stays longest: somebody may still replay it.
- Longer than any sender repeats itself, so that a repeated event is still known as one; what is
  older loses to the standing's newer time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from gateway.background import background_task, in_rounds
from gateway.database.schema import hook_deliveries, hook_inbox, webhooks_outbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.group_commit import GroupCommitter

DAY_S = 86_400.0
SETTLED_S = 35 * DAY_S
"""Graph's subscriptions and delta tokens, Okta's retries and our own backfill all look back
less.
"""
FAILED_S = 180 * DAY_S
ROUND_S = 3600.0
BATCH = 500
"""Rows of one transaction: senders wait behind it."""


class Retention:
    """The periodic clean-up of one process; several do no harm. ``clock``: UTC epoch seconds."""

    def __init__(self, committer: GroupCommitter, *, clock: Callable[[], float]) -> None:
        self._committer = committer
        self._clock = clock

    def running(self) -> AbstractAsyncContextManager[None]:
        return background_task(
            in_rounds(
                self.round,
                pause_s=ROUND_S,
                unavailable="hook_retention_unavailable",
                failed="hook_retention_fault",
            )
        )

    async def round(self) -> int:
        """Forget what is due; the number of rows. Raises ``UnavailableError``."""
        now = self._clock()
        inbox, outbox = hook_inbox.c, webhooks_outbox.c
        rules: list[tuple[Table, ColumnElement[bool]]] = [
            (
                hook_inbox,
                inbox.state.in_(("applied", "applied_to_nobody", "ignored"))
                & (inbox.received_at < now - SETTLED_S),
            ),
            (hook_inbox, (inbox.state == "failed") & (inbox.received_at < now - FAILED_S)),
            (hook_deliveries, hook_deliveries.c.received_at < now - SETTLED_S),
            (webhooks_outbox, (outbox.state == "sent") & (outbox.created_at < now - SETTLED_S)),
            (webhooks_outbox, (outbox.state == "failed") & (outbox.created_at < now - FAILED_S)),
        ]
        total = 0
        for table, condition in rules:
            while True:

                async def work(
                    connection: AsyncConnection,
                    table: Table = table,
                    condition: ColumnElement[bool] = condition,
                ) -> int:
                    batch = select(table.c.number).where(condition).limit(BATCH)
                    return (
                        await connection.execute(delete(table).where(table.c.number.in_(batch)))
                    ).rowcount

                count = await self._committer.run(work)
                total += count
                if count < BATCH:
                    break
        return total
