"""How long a first removal took, from the event to the last replica."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.revocation.records import SqlRevocations

_BY_HAND: Final = frozenset({"admin", "tenant", "cli", "logout"})
_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class RemovalTimes:
    """Of what identity providers told, not of what operators did."""

    revocations: SqlRevocations

    async def denied_after_ms(self, tenant: str, since: float) -> float | None:
        """Of the first one after ``since`` (UTC epoch seconds) that every replica has confirmed;
        None while there is none.
        """
        revocations = await self.revocations.of_tenant(tenant, durable_after=since, limit=_MOST)
        for one in revocations:
            status = one.status
            if status.request.source not in _BY_HAND and status.acknowledged_ms is not None:
                return status.acknowledged_ms
        return None
