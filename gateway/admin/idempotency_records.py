"""Answers kept for an Idempotency-Key."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

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
