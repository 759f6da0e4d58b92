"""What was last seen of each tenant of a list: its connections, hooks, ends of secrets, and its
last sign-in.

Rules:
- Only reads of times and states: no sealed column is opened.
- Each query is for the tenants of one page, and reads no more of a tenant the more people and
  events it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from sqlalchemy import String, column, func, select, values

from gateway.database.attention import COUNTED_ONLY, DAY_S
from gateway.database.schema import (
    connections,
    credential_expiries,
    hook_arrivals,
    hook_inbox,
    people,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database


class HookState(StrEnum):
    """``SILENT``: no event has come. ``FAILING``: events could not be applied or wait for a
    decision, or requests of the last day were refused.
    """

    SILENT = "silent"
    ARRIVING = "arriving"
    FAILING = "failing"


_WORST_FIRST: Final = ("failing", "unchecked", "active")
"""States of a connection."""


@dataclass(frozen=True, slots=True)
class TenantState:
    """``connection``: of the identity provider that is worst off, None before the first look.
    ``expires_at``: the first end that is known of a secret or a certificate. Times are UTC epoch
    seconds.
    """

    connection: str | None = None
    expires_at: float | None = None
    hooks: HookState = HookState.SILENT
    last_sign_in_at: float | None = None


class TenantStates:
    """``clock``: UTC epoch seconds. Raises ``UnavailableError``."""

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    async def of(self, tenants: Sequence[str]) -> Mapping[str, TenantState]:
        """Of these, 200 at most."""
        if not tenants:
            return {}
        async with self._database.read() as connection:
            links = await _connections(connection, tenants)
            ends = await _ends(connection, tenants)
            failing = await _failing(connection, tenants, since=self._clock() - DAY_S)
            latest = await _latest(connection, tenants)
        return {
            name: TenantState(
                links.get(name), ends.get(name), _hooks(name in failing, event_at), sign_in_at
            )
            for name, (event_at, sign_in_at) in latest.items()
        }


def _hooks(is_failing: bool, event_at: float | None) -> HookState:  # noqa: FBT001 - private
    if is_failing:
        return HookState.FAILING
    return HookState.SILENT if event_at is None else HookState.ARRIVING


async def _connections(connection: AsyncConnection, tenants: Sequence[str]) -> dict[str, str]:
    found = connections.c
    query = select(found.tenant, found.state).where(found.tenant.in_(tenants))
    worst: dict[str, str] = {}
    for tenant, state in await connection.execute(query):
        worst[tenant] = min(worst.get(tenant, state), state, key=_WORST_FIRST.index)
    return worst


async def _ends(connection: AsyncConnection, tenants: Sequence[str]) -> dict[str, float]:
    end = credential_expiries.c
    query = (
        select(end.tenant, func.min(end.expires_at))
        .where(end.tenant.in_(tenants))
        .group_by(end.tenant)
    )
    return {row.tenant: row[1] for row in await connection.execute(query)}


async def _failing(
    connection: AsyncConnection, tenants: Sequence[str], *, since: float
) -> set[str]:
    event, arrival = hook_inbox.c, hook_arrivals.c
    stuck = select(event.tenant).where(
        event.state.in_(("failed", "held")) & event.tenant.in_(tenants)
    )
    refused = select(arrival.tenant).where(
        arrival.tenant.in_(tenants)
        & (arrival.minute >= int(since) // 60)
        & arrival.outcome.not_in(COUNTED_ONLY)
    )
    rows = await connection.execute(stuck.union(refused))
    return {tenant for (tenant,) in rows}


async def _latest(
    connection: AsyncConnection, tenants: Sequence[str]
) -> dict[str, tuple[float | None, float | None]]:
    """Of each: the last event, and the last sign-in. Each is one look into an index."""
    named = values(column("id", String), name="named").data([(name,) for name in tenants]).cte()
    event = (
        select(func.max(hook_inbox.c.received_at))
        .where(hook_inbox.c.tenant == named.c.id)
        .scalar_subquery()
    )
    sign_in = (
        select(func.max(people.c.last_sign_in_at))
        .where(people.c.tenant == named.c.id)
        .scalar_subquery()
    )
    rows = await connection.execute(select(named.c.id, event, sign_in))
    return {tenant: (event_at, sign_in_at) for tenant, event_at, sign_in_at in rows}
