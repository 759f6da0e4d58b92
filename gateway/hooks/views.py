"""Deliveries and outgoing messages as an operator lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from gateway.core.json_types import Json
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


V = TypeVar("V")


class Records(Protocol[V]):
    """Rows as operators see them, newest first."""

    async def page(
        self,
        *,
        tenant: str | None,
        state: str | None,
        position: str | None,
        limit: int,
        event: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Page[V]: ...

    async def find(self, id_: str, /) -> V | None: ...

    async def said(self, id_: str, /) -> Json | None:
        """What was sent, without who it is about (``hooks.redacted``); None where it is gone, or
        was sealed with a key that is.
        """

    async def replay(self, id_: str, /) -> V | Rejected:
        """Have it done again: applied, or sent under the same id with the same body. Rejected:
        ``not_found``, ``conflict`` while it waits to be done.
        """


class DeliveryRecords(Records[DeliveryView], Protocol):
    """The hook inbox."""

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


MessageRecords = Records[MessageView]
"""Outgoing webhooks."""
