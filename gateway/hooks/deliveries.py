"""The inbox as operators see it: each event and what came of it, newest first. No person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import null, update

from gateway.database.schema import hook_inbox
from gateway.hooks.records import SqlRecords
from gateway.hooks.views import DeliveryView

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

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


class InboxRecords(SqlRecords[DeliveryView]):
    """Implements ``hooks.views.DeliveryRecords``. What is newer outvotes what is applied again."""

    noun = "delivery"
    table = hook_inbox
    columns = _COLUMNS
    kind = hook_inbox.c.type
    time = hook_inbox.c.received_at

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

    def _view(self, row: Any) -> DeliveryView:
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

    def _replayable(self) -> ColumnElement[bool]:
        return hook_inbox.c.state.not_in(("new", "held"))

    def _new_again(self) -> Mapping[str, Any]:
        return {
            "state": "new",
            "attempts": 0,
            "next_at": self._clock(),
            "error": "",
            "revocations": null(),
        }

    def _why_not(self, record: DeliveryView) -> str:
        return (
            "it is held: release or drop it"
            if record.state == "held"
            else "it is waiting to be applied already"
        )
