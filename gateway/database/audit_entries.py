"""What the audit log holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.core.paging import Page


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what. ``before`` and ``after`` hold no secrets. ``outcome`` is ``begun`` until the
    change has an end.
    """

    id: int
    at: float
    actor: str
    action: str
    tenant: str | None
    target: str
    outcome: str
    request_id: str
    before: object = None
    after: object = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """None matches all."""

    tenant: str | None = None
    actor: str | None = None
    action: str | None = None
    since: float | None = None
    until: float | None = None


class AuditLog(Protocol):
    """Written before the change begins, completed when it ends: no change goes without a record, a
    crash included.
    """

    async def begin(
        self, *, actor: str, action: str, tenant: str | None, target: str, request_id: str
    ) -> int: ...

    async def finish(self, entry: int, *, outcome: str, before: object, after: object) -> None: ...

    async def page(
        self, wanted: AuditFilter, *, position: str | None, limit: int
    ) -> Page[AuditEntry]:
        """Newest first."""
