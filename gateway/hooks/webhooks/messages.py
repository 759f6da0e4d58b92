"""The outbox as operators see it: each message, whether it was taken, and how to send it again. No
body, no person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from gateway.core.paging import Page
from gateway.database.schema import webhooks_outbox
from gateway.hooks.views import MessageView
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter

_COLUMNS = tuple(
    webhooks_outbox.c[n]
    for n in (
        "number",
        "id",
        "tenant",
        "event",
        "created_at",
        "state",
        "attempts",
        "next_at",
        "sent_at",
        "error",
        "target",
    )
)


class OutboxRecords:
    """Implements ``hooks.views.MessageRecords``. ``wake`` is called when there is something to send
    again.
    """

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        *,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._committer = committer
        self._clock = clock
        self._wake = wake

    async def page(
        self, *, tenant: str | None, state: str | None, position: str | None, limit: int
    ) -> Page[MessageView]:
        """Newest first. ``position``: the number of the last row seen."""
        query = select(*_COLUMNS).order_by(webhooks_outbox.c.number.desc()).limit(limit + 1)
        if tenant is not None:
            # What a deleted tenant's application is told is no business of who has its id now.
            query = query.where(
                webhooks_outbox.c.tenant == tenant, webhooks_outbox.c.target.is_(None)
            )
        if state is not None:
            query = query.where(webhooks_outbox.c.state == state)
        if position is not None:
            query = query.where(webhooks_outbox.c.number < int(position))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return Page(
            [_view(row) for row in rows[:limit]],
            str(rows[limit - 1].number) if len(rows) > limit else None,
        )

    async def find(self, message: str) -> MessageView | None:
        async with self._database.read() as connection:
            row = (
                await connection.execute(select(*_COLUMNS).where(webhooks_outbox.c.id == message))
            ).first()
        return _view(row) if row is not None else None

    async def replay(self, message: str) -> MessageView | Rejected:
        """Whatever it came to before. It goes before the same person's later messages that still
        wait, as it did the first time.
        """

        async def work(connection: AsyncConnection) -> bool:
            values = {
                "state": "new",
                "attempts": 0,
                "next_at": self._clock(),
                "held_until": 0.0,
                "error": "",
            }
            statement = (
                update(webhooks_outbox)
                .where(webhooks_outbox.c.id == message, webhooks_outbox.c.state != "new")
                .values(**values)
            )
            return (await connection.execute(statement)).rowcount == 1

        replayed = await self._committer.run(work)
        found = await self.find(message)
        if found is None:
            return Rejected("not_found", "no such message")
        if not replayed:
            return Rejected("conflict", "it is on its way already")
        self._wake()
        return found


def _view(row: Any) -> MessageView:
    return MessageView(
        row.id,
        row.tenant if row.target is None else "",
        row.event,
        row.created_at,
        row.state,
        row.attempts,
        row.next_at,
        row.sent_at,
        row.error,
    )
