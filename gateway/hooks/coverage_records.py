"""What SQL knows of how completely removals are told, for one tenant or for all of them: a fixed
number of queries either way. One admin process shows it as a metric.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from gateway.background import background_task, in_rounds
from gateway.core.canonical import canonical_id
from gateway.database.schema import (
    directory_cursors,
    graph_subscriptions,
    hook_arrivals,
    people,
    people_names,
    scim_resources,
    scim_usage,
)
from gateway.hooks.activity import REQUEST
from gateway.hooks.coverage import DAY_S, Coverage, Facts, State, coverage
from gateway.hooks.event import RejectionReason, Source
from gateway.hooks.inbox import digest
from gateway.hooks.scim.rows import GROUP, called_digest
from gateway.metrics import DEPROVISIONING_INCOMPLETE, provider_labels

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.hooks.api import HookTargets

ROUND_S: Final = 300.0
LATELY_S: Final = 30 * DAY_S
Key = tuple[str, str]


class CoverageRecords:
    """``interval_s``: between two readings of a directory. ``clock``: UTC epoch seconds."""

    def __init__(
        self,
        database: Database,
        *,
        targets: HookTargets,
        interval_s: float,
        leads: Callable[[], Awaitable[bool]],
        clock: Callable[[], float],
    ) -> None:
        self._database, self._targets = database, targets
        self._interval_s, self._leads, self._clock = interval_s, leads, clock
        self._shown: frozenset[Key] = frozenset()

    async def of(self, tenant: str) -> Sequence[Coverage]:
        """One for each provider; none where the tenant is not served. Raises
        ``UnavailableError``.
        """
        return await self._of(self._targets.of(tenant), tenant)

    def running(self) -> AbstractAsyncContextManager[None]:
        return background_task(
            in_rounds(
                self.round,
                pause_s=ROUND_S,
                unavailable="deprovisioning_unavailable",
                failed="deprovisioning_fault",
            )
        )

    async def round(self) -> None:
        """Show what is known as metrics. Raises ``UnavailableError``."""
        states: dict[Key, bool] = {}
        if await self._leads():
            for each in await self._of(await self._targets.all(), None):
                capped = provider_labels(each.tenant, each.provider)
                incomplete = each.state is State.INCOMPLETE
                states[capped] = incomplete or states.get(capped, False)
        for capped in self._shown - states.keys():
            DEPROVISIONING_INCOMPLETE.labels(*capped).set(math.nan)
        for capped, incomplete in states.items():
            DEPROVISIONING_INCOMPLETE.labels(*capped).set(incomplete)
        self._shown = frozenset(states)

    async def _of(self, targets: Sequence[HookTarget], tenant: str | None) -> Sequence[Coverage]:
        if not targets:
            return ()
        now = self._clock()
        async with self._database.read() as connection:
            read_at = await _nested(connection, tenant, directory_cursors, "read_at")
            pushed = await _nested(connection, tenant, graph_subscriptions, "expires_at")
            requests, refusals = await _arrivals(connection, tenant)
            users = await _users(connection, tenant)
            signed_in = await _people(connection, tenant, now)
            groups = await _groups(connection, tenant)
        providers = Counter(target.tenant for target in targets)
        return [
            coverage(
                target,
                Facts(
                    now,
                    self._interval_s,
                    read_at.get(target.key, {}),
                    pushed.get(target.key, {}),
                    requests.get(target.key),
                    refusals.get(target.key),
                    users.get(target.key, 0),
                    signed_in.get(target.key, 0),
                    _named(target, groups.get(target.key, frozenset())),
                    alone=providers[target.tenant] == 1,
                ),
            )
            for target in targets
        ]


def _within(query: Select[Any], column: Any, tenant: str | None) -> Select[Any]:
    return query if tenant is None else query.where(column == tenant)


async def _nested(
    connection: AsyncConnection, tenant: str | None, table: Any, value: str
) -> Mapping[Key, Mapping[str, float]]:
    """A time by provider and resource."""
    query = select(table.c.tenant, table.c.provider, table.c.resource, table.c[value])
    times: dict[Key, dict[str, float]] = defaultdict(dict)
    for row in await connection.execute(_within(query, table.c.tenant, tenant)):
        times[row.tenant, row.provider][row.resource] = float(row[3])
    return times


async def _arrivals(
    connection: AsyncConnection, tenant: str | None
) -> tuple[Mapping[Key, float], Mapping[Key, float]]:
    """The last request of each provider's SCIM client, and the last one with another token."""
    arrived = hook_arrivals.c
    query = (
        select(
            arrived.tenant, arrived.provider, arrived.outcome, func.max(arrived.last_at).label("at")
        )
        .where(
            arrived.source == Source.SCIM.value,
            arrived.outcome.in_((REQUEST, RejectionReason.UNAUTHENTICATED.value)),
        )
        .group_by(arrived.tenant, arrived.provider, arrived.outcome)
    )
    requests: dict[Key, float] = {}
    refusals: dict[Key, float] = {}
    for row in await connection.execute(_within(query, arrived.tenant, tenant)):
        (requests if row.outcome == REQUEST else refusals)[row.tenant, row.provider] = row.at
    return requests, refusals


async def _users(connection: AsyncConnection, tenant: str | None) -> Mapping[Key, int]:
    query = select(scim_usage.c.tenant, scim_usage.c.provider, scim_usage.c.users)
    rows = await connection.execute(_within(query, scim_usage.c.tenant, tenant))
    return {(row.tenant, row.provider): row.users for row in rows}


async def _people(connection: AsyncConnection, tenant: str | None, now: float) -> Mapping[Key, int]:
    """Who signed in lately and has access, of providers with SCIM records."""
    names = people_names.c
    query = (
        select(names.tenant, names.provider, func.count(names.person.distinct()).label("count"))
        .join(people, people.c.id == names.person)
        .join(
            scim_usage,
            (scim_usage.c.tenant == names.tenant) & (scim_usage.c.provider == names.provider),
        )
        .where(people.c.last_sign_in_at >= now - LATELY_S, people.c.deprovisioned == 0)
        .group_by(names.tenant, names.provider)
    )
    rows = await connection.execute(_within(query, names.tenant, tenant))
    return {(row.tenant, row.provider): row.count for row in rows}


async def _groups(connection: AsyncConnection, tenant: str | None) -> Mapping[Key, frozenset[str]]:
    """Digests of what SCIM groups are called, and of their external ids."""
    table = scim_resources.c
    query = select(table.tenant, table.provider, table.name_digest, table.external_digest).where(
        table.kind == GROUP
    )
    by_key: dict[Key, set[str]] = defaultdict(set)
    for row in await connection.execute(_within(query, table.tenant, tenant)):
        by_key[row.tenant, row.provider] |= {row.name_digest, row.external_digest}
    return {key: frozenset(digests) for key, digests in by_key.items()}


def _named(target: HookTarget, digests: frozenset[str]) -> frozenset[str]:
    """Groups of the policy among them, by name or by the provider's id."""
    return frozenset(
        group
        for group in target.groups_used or ()
        if called_digest(target, GROUP, group) in digests
        or digest(target.tenant, target.provider, canonical_id(group)) in digests
    )
