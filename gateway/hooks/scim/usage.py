"""How much one tenant may keep, and how much each of its providers does: counted with every
write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update

from gateway.database.engine import insert_new
from gateway.database.schema import scim_usage
from gateway.hooks.scim.rows import USER

if TYPE_CHECKING:
    from sqlalchemy import Column, ScalarSelect
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database


@dataclass(frozen=True, slots=True)
class ScimLimits:
    """Of one tenant, over all resources of all its providers."""

    users: int = 100_000
    groups: int = 10_000
    bytes: int = 1024 * 1024 * 1024


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
        *,
        bytes_: int,
        resources: int = 0,
        always: bool = False,
    ) -> bool:
        """False where this would be more than the tenant may have. What makes less is counted in
        any case, and with ``always`` what makes more.

        Two processes that write for two providers of a tenant at one instant may each let pass what
        the other has not committed: more by one resource.
        """
        usage, limits = scim_usage.c, self._limits
        new = insert_new(self._database, scim_usage).values(
            tenant=target.tenant, provider=target.provider, users=0, groups=0, bytes=0
        )
        await connection.execute(new.on_conflict_do_nothing())
        column, limit = (
            (usage.users, limits.users) if kind == USER else (usage.groups, limits.groups)
        )
        statement = update(scim_usage).where(
            usage.tenant == target.tenant, usage.provider == target.provider
        )
        if resources > 0:
            statement = statement.where(_of_all(target, column) + resources <= limit)
        if bytes_ > 0 and not always:
            statement = statement.where(_of_all(target, usage.bytes) + bytes_ <= limits.bytes)
        return (
            await connection.execute(
                statement.values({column: column + resources, usage.bytes: usage.bytes + bytes_})
            )
        ).rowcount == 1


def _of_all(target: HookTarget, column: Column[int]) -> ScalarSelect[int]:
    """Of all providers of the tenant together."""
    every = scim_usage.alias("every")
    return (
        select(func.coalesce(func.sum(every.c[column.name]), 0))
        .where(every.c.tenant == target.tenant)
        .scalar_subquery()
    )
