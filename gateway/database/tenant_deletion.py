"""What goes with a tenant that is deleted, and what stays. Whoever gets its id next is another
tenant, and must find nothing of it.

Rules:
- Every table with a ``tenant`` column is emptied of it, whatever tables will come, unless
  ``KEPT_OF_A_TENANT`` names it and says why.
- Keys of the admin API that were bound to it are revoked: they would open its successor.
- The version of its document is remembered: the successor's versions go on from there. So is when
  it was deleted: what keeps people out (blocks, groups taken away) is in Redis too, and is lifted
  when its sessions are ended (``StoreRevoker.end_tenant``), before the id is served again.
- What was under way may still write a row a moment later, so a reader of what arrived counts from
  ``begun_at`` of the tenant there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update

from gateway.database.schema import admin_keys, metadata, revocations, tenant_removals, tenants

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

KEPT_OF_A_TENANT = frozenset(
    {
        "tenant_removals",
        "admin_keys",  # what makes its id another tenant's; keys are revoked
        "audit",
        "revocations",
        "provision_runs",  # who did what
        "blocks",
        "overlays",  # lifted when its sessions are ended
        "disabled_users",  # by which its people are enabled again in the pool
        "client_credentials",
        "graph_subscriptions",  # by which things elsewhere are ended
    }
)
"""Tables in which a tenant that was deleted leaves rows."""
FORGOTTEN_WITH_A_TENANT = tuple(
    table
    for table in metadata.sorted_tables
    if "tenant" in table.c and table.name not in KEPT_OF_A_TENANT
)
"""All others: people in a directory, events that were not applied, messages that were not sent,
what arrived from providers.
"""


async def forget_tenant(
    connection: AsyncConnection, tenant: str, *, version: int, at: float
) -> None:
    """Within the transaction that deletes it. ``version``: its last; ``at``: UTC epoch seconds."""
    for table in FORGOTTEN_WITH_A_TENANT:
        await connection.execute(delete(table).where(table.c.tenant == tenant))
    await connection.execute(delete(tenants).where(tenants.c.id == tenant))
    # What was done by hand is told to the application of this tenant, or to none.
    await connection.execute(
        update(revocations)
        .where(revocations.c.tenant == tenant, revocations.c.to_tell == 1)
        .values(to_tell=0)
    )
    again = (
        update(tenant_removals)
        .where(tenant_removals.c.tenant == tenant)
        .values(removals=version, removed_at=at)
    )
    if (await connection.execute(again)).rowcount == 0:
        await connection.execute(
            insert(tenant_removals).values(tenant=tenant, removals=version, removed_at=at)
        )
    own = (admin_keys.c.tenant == tenant, admin_keys.c.revoked_at.is_(None))
    await connection.execute(update(admin_keys).where(*own).values(revoked_at=at))


async def removed_at(connection: AsyncConnection, tenant: str) -> float:
    """When the last tenant that had this id was deleted from SQL (UTC epoch seconds); 0 if none
    was.
    """
    return float(
        (
            await connection.execute(
                select(tenant_removals.c.removed_at).where(tenant_removals.c.tenant == tenant)
            )
        ).scalar_one_or_none()
        or 0.0
    )


async def begun_at(connection: AsyncConnection, tenant: str) -> float:
    """When the tenant that has this id now was made (UTC epoch seconds); 0 for one of a file, which
    SQL does not know.
    """
    return float(
        (
            await connection.execute(select(tenants.c.created_at).where(tenants.c.id == tenant))
        ).scalar_one_or_none()
        or 0.0
    )
