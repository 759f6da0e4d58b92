"""How much one tenant may keep, and how much each of its providers does: counted with every
write.

Rules:
- A tenant's providers share its limits. What makes more takes the tenant's own row first, so that
  two processes never both take the last place; SQLite has one writer anyway.
- What makes less is never refused, and waits for nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import case, func, select, update

from gateway.database.engine import insert_new
from gateway.database.schema import scim_usage
from gateway.hooks.scim.rows import USER, members_of

if TYPE_CHECKING:
    from sqlalchemy import Column, ScalarSelect
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.hooks.scim.rows import Stored

ALL_PROVIDERS: Final = ""
"""The provider of a tenant's own row, which is locked and counts nothing."""


@dataclass(frozen=True, slots=True)
class ScimLimits:
    """Of one tenant, over all resources of all its providers. ``members``: of groups, each
    membership by itself.
    """

    users: int = 100_000
    groups: int = 10_000
    members: int = 1_000_000
    bytes: int = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Growth:
    """What a write makes more; negative: less."""

    bytes: int
    resources: int = 0
    members: int = 0

    @classmethod
    def between(cls, before: Stored | None, after: Stored | None) -> Growth:
        """None: the resource is not there."""
        return cls(
            (after.bytes if after else 0) - (before.bytes if before else 0),
            (after is not None) - (before is not None),
            (members_of(after) if after else 0) - (members_of(before) if before else 0),
        )


class ScimUsage:
    """Every change belongs to a transaction of its caller's."""

    def __init__(self, database: Database, limits: ScimLimits) -> None:
        self._database = database
        self._limits = limits

    async def count(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        kind: str,
        growth: Growth,
        *,
        always: bool = False,
    ) -> bool:
        """False where this would be more than the tenant may have. What makes less is counted in
        any case, and with ``always`` what makes more.
        """
        usage, limits = scim_usage.c, self._limits
        column, limit = (
            (usage.users, limits.users) if kind == USER else (usage.groups, limits.groups)
        )
        grows = [
            (counter, by, most)
            for counter, by, most in (
                (column, growth.resources, limit),
                (usage.members, growth.members, limits.members),
                (usage.bytes, growth.bytes, limits.bytes),
            )
            if by > 0 and not always
        ]
        if grows:
            await self._row(connection, target.tenant, ALL_PROVIDERS)
            # A statement of its own: what it waited for is seen by the next one.
            await connection.execute(
                select(usage.tenant)
                .where(usage.tenant == target.tenant, usage.provider == ALL_PROVIDERS)
                .with_for_update()
            )
        await self._row(connection, target.tenant, target.provider)
        statement = update(scim_usage).where(
            usage.tenant == target.tenant,
            usage.provider == target.provider,
            *(_of_all(target, counter) + by <= most for counter, by, most in grows),
        )
        members = usage.members + growth.members
        return (
            await connection.execute(
                statement.values(
                    {
                        column: column + growth.resources,
                        # Groups that were stored before members were counted have none to lose.
                        usage.members: case((members < 0, 0), else_=members),
                        usage.bytes: usage.bytes + growth.bytes,
                    }
                )
            )
        ).rowcount == 1

    async def _row(self, connection: AsyncConnection, tenant: str, provider: str) -> None:
        new = insert_new(self._database, scim_usage).values(
            tenant=tenant, provider=provider, users=0, groups=0, members=0, bytes=0
        )
        await connection.execute(new.on_conflict_do_nothing())


def _of_all(target: HookTarget, column: Column[int]) -> ScalarSelect[int]:
    """Of all providers of the tenant together."""
    every = scim_usage.alias("every")
    return (
        select(func.coalesce(func.sum(every.c[column.name]), 0))
        .where(every.c.tenant == target.tenant)
        .scalar_subquery()
    )
