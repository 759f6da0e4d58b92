"""What the audit log holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what. ``before`` and ``after`` hold no secrets. ``outcome`` is ``begun`` until the
    change has an end, ``read`` where nothing was changed.
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
    """None matches all. ``reads``: only reads, or none. ``documents``: whether entries of changes
    come with ``before`` and ``after``.
    """

    tenant: str | None = None
    actor: str | None = None
    action: str | None = None
    since: float | None = None
    until: float | None = None
    reads: bool | None = None
    documents: bool = True
