"""The inbox as operators see it: each event and what came of it, newest first. No payload, no
person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import null, select, update

from gateway.core.paging import Page
from gateway.database.schema import hook_inbox
from gateway.hooks.views import DeliveryView
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter

_COLUMNS = tuple(
    hook_inbox.c[n]
    for n in (
        "number",
        "id",
        "tenant",
        "provider",
        "source",
        "type",
        "received_at",
        "event_time",
        "state",
        "attempts",
        "error",
        "applied_at",
        "revocations",
    )
)


class InboxRecords:
    """Implements ``hooks.views.DeliveryRecords``. ``wake`` is called when there is something to
    apply again.
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
    ) -> Page[DeliveryView]:
        """``position``: the number of the last row seen."""
        query = select(*_COLUMNS).order_by(hook_inbox.c.number.desc()).limit(limit + 1)
        if tenant is not None:
            query = query.where(hook_inbox.c.tenant == tenant)
        if state is not None:
            query = query.where(hook_inbox.c.state == state)
        if position is not None:
            query = query.where(hook_inbox.c.number < int(position))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return Page(
            [_view(row) for row in rows[:limit]],
            str(rows[limit - 1].number) if len(rows) > limit else None,
        )

    async def find(self, delivery: str) -> DeliveryView | None:
        async with self._database.read() as connection:
            row = (
                await connection.execute(select(*_COLUMNS).where(hook_inbox.c.id == delivery))
            ).first()
        return _view(row) if row is not None else None

    async def replay(self, delivery: str) -> DeliveryView | Rejected:
        """Apply again, whatever it came to before. What is newer still outvotes it."""

        async def work(connection: AsyncConnection) -> bool:
            statement = update(hook_inbox).where(
                hook_inbox.c.id == delivery, hook_inbox.c.state.not_in(("new", "held"))
            )
            return (
                await connection.execute(
                    statement.values(
                        state="new", attempts=0, next_at=self._clock(), error="", revocations=null()
                    )
                )
            ).rowcount == 1

        replayed = await self._committer.run(work)
        found = await self.find(delivery)
        if found is None:
            return Rejected("not_found", "no such delivery")
        if not replayed:
            return Rejected(
                "conflict",
                "it is held: release or drop it"
                if found.state == "held"
                else "it is waiting to be applied already",
            )
        self._wake()
        return found

    async def release_held(self, *, tenant: str, provider: str | None) -> int:
        """Apply what the brake held, all of it."""
        count = await self._decide(
            tenant,
            provider,
            {"state": "new", "released": 1, "attempts": 0, "next_at": self._clock(), "error": ""},
        )
        self._wake()
        return count

    async def drop_held(self, *, tenant: str, provider: str | None) -> int:
        """Ignore what the brake held, all of it."""
        return await self._decide(
            tenant,
            provider,
            {
                "state": "ignored",
                "applied_at": self._clock(),
                "error": "held, and dropped by an operator",
            },
        )

    async def _decide(self, tenant: str, provider: str | None, values: dict[str, Any]) -> int:
        where = [
            hook_inbox.c.tenant == tenant,
            hook_inbox.c.state == "held",
            *([hook_inbox.c.provider == provider] if provider is not None else []),
        ]

        async def work(connection: AsyncConnection) -> int:
            return (
                await connection.execute(update(hook_inbox).where(*where).values(**values))
            ).rowcount

        return await self._committer.run(work)


def _view(row: Any) -> DeliveryView:
    took = (
        ""
        if row.applied_at is None
        else f", applied after {(row.applied_at - row.received_at) * 1000:.0f} ms"
    )
    revocations = f", revocations {' '.join(row.revocations)}" if row.revocations else ""
    return DeliveryView(
        row.id,
        row.tenant,
        row.provider,
        row.source,
        row.received_at,
        row.state,
        row.attempts,
        f"{row.type}{took}{revocations}"[:400],
        row.error,
    )
