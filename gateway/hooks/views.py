"""Deliveries and outgoing messages as an operator lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.core.paging import Page
    from gateway.tenants.api import Rejected


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One event that a hook delivered, and what came of it."""

    id: str
    tenant: str
    provider: str
    source: str
    received_at: float
    state: str
    attempts: int
    summary: str
    error: str = ""


class DeliveryRecords(Protocol):
    """The hook inbox as operators see it."""

    async def page(
        self, *, tenant: str | None, state: str | None, position: str | None, limit: int
    ) -> Page[DeliveryView]: ...

    async def find(self, delivery: str) -> DeliveryView | None: ...

    async def replay(self, delivery: str) -> DeliveryView | Rejected: ...

    async def release_held(self, *, tenant: str, provider: str | None) -> int:
        """Have what is held applied; the number of events."""

    async def drop_held(self, *, tenant: str, provider: str | None) -> int:
        """Have what is held ignored; the number of events."""


@dataclass(frozen=True, slots=True)
class MessageView:
    """One outgoing webhook. ``id`` is what its ``webhook-id`` header says; the body stays
    sealed.
    """

    id: str
    tenant: str
    event: str
    created_at: float
    state: str
    """``new`` (due at ``next_at``), ``sent``, ``failed``: given up."""
    attempts: int
    next_at: float
    sent_at: float | None
    error: str


class MessageRecords(Protocol):
    """Outgoing webhooks as operators see them."""

    async def page(
        self, *, tenant: str | None, state: str | None, position: str | None, limit: int
    ) -> Page[MessageView]: ...

    async def find(self, message: str) -> MessageView | None: ...

    async def replay(self, message: str) -> MessageView | Rejected:
        """Send it again, under the same id and with the same body. Rejected: ``not_found``,
        ``conflict`` while it is on its way.
        """
