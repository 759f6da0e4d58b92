"""Answers kept for an Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer of the request that succeeded with an Idempotency-Key."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class IdempotencyState(StrEnum):
    """What is known of an Idempotency-Key that has no stored answer."""

    FRESH = "fresh"
    IN_FLIGHT = "in_flight"
    OTHER_REQUEST = "other_request"


class IdempotencyRecords(Protocol):
    """Answers by (key id, Idempotency-Key), kept for a day, encrypted: an answer may show a secret
    once.
    """

    async def claim(
        self, owner: str, key: str, *, fingerprint: str
    ) -> StoredAnswer | IdempotencyState: ...

    async def renew(self, owner: str, key: str) -> None:
        """Say that the claim's request is still running; without it the claim ends after half a
        minute.
        """

    async def store(self, owner: str, key: str, answer: StoredAnswer) -> None: ...

    async def release(self, owner: str, key: str) -> None:
        """Forget a claim whose request had no effect."""
