"""The outbox as operators see it: each message, whether it was taken, and how to send it again.
No person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.database.schema import webhooks_outbox
from gateway.hooks.records import SqlRecords
from gateway.hooks.views import MessageView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement

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


class OutboxRecords(SqlRecords[MessageView]):
    """Implements ``hooks.views.MessageRecords``. What is sent again goes before the same person's
    later messages that still wait, as it did the first time.
    """

    noun = "message"
    table = webhooks_outbox
    columns = _COLUMNS
    kind = webhooks_outbox.c.event
    time = webhooks_outbox.c.created_at

    def _of_tenant(self, tenant: str) -> Sequence[ColumnElement[bool]]:
        # What a deleted tenant's application is told is no business of who has its id now.
        return (webhooks_outbox.c.tenant == tenant, webhooks_outbox.c.target.is_(None))

    def _view(self, row: Any) -> MessageView:
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

    def _replayable(self) -> ColumnElement[bool]:
        return webhooks_outbox.c.state != "new"

    def _new_again(self) -> Mapping[str, Any]:
        return {
            "state": "new",
            "attempts": 0,
            "next_at": self._clock(),
            "held_until": 0.0,
            "error": "",
        }

    def _why_not(self, record: MessageView) -> str:  # noqa: ARG002 - the same for every record
        return "it is on its way already"
