"""Whether a tenant's document may name a domain: nobody else has proven it and, where the
configuration says so, this tenant has, or an operator vouched for it. Asked within the transaction
that writes the document, of domains that are new in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from gateway.database.schema import domains
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.tenants.stored import StoredTenant

BATCH = 500


def added_domains(names: Iterable[tuple[str, str]], before: StoredTenant | None) -> set[str]:
    """``names``: of the document to be written."""
    old_domains = frozenset[str]() if before is None else before.document.email_domains
    return {name for kind, name in names if kind == "domain" and name not in old_domains}


async def domains_held(connection: AsyncConnection, tenant: str) -> frozenset[str]:
    """Of a tenant, by proof or by an operator's word."""
    rows = await connection.execute(
        select(domains.c.holder).where(domains.c.tenant == tenant, domains.c.holder.is_not(None))
    )
    return frozenset(row.holder for row in rows)


async def refused_unless_held(
    connection: AsyncConnection, tenant: str, names: Collection[str]
) -> Rejected | None:
    """Of a change that may be made only by whoever holds these domains."""
    missing_names = sorted({*names} - await domains_held(connection, tenant)) if names else []
    if not missing_names:
        return None
    return Rejected(
        "conflict",
        f"{', '.join(missing_names)}: not proven any more, only an operator changes it; look again",
    )


async def lost_domains(connection: AsyncConnection) -> dict[str, frozenset[str]]:
    """By tenant: what it had proven once, and holds no more."""
    rows = await connection.execute(
        select(domains.c.tenant, domains.c.domain).where(
            domains.c.holder.is_(None), domains.c.verified_at.is_not(None)
        )
    )
    by_tenant: dict[str, set[str]] = {}
    for row in rows:
        by_tenant.setdefault(row.tenant, set()).add(row.domain)
    return {tenant: frozenset(names) for tenant, names in by_tenant.items()}


async def refused_domains(
    connection: AsyncConnection, added: Mapping[str, str], *, required: bool
) -> dict[str, Rejected]:
    """``added``: domain → the tenant whose document is to name it. Says nothing of whose a domain
    is that another tenant has proven.
    """
    ordered = sorted(added)
    refusals: dict[str, Rejected] = {}
    holders: dict[str, str] = {}
    for first in range(0, len(ordered), BATCH):
        rows = await connection.execute(
            select(domains.c.holder, domains.c.tenant).where(
                domains.c.holder.in_(ordered[first : first + BATCH])
            )
        )
        holders.update((row.holder, row.tenant) for row in rows)
    for domain in ordered:
        holder = holders.get(domain)
        if holder is not None and holder != added[domain]:
            refusals[domain] = Rejected("taken", f"domain {domain}: another tenant has proven it")
        elif required and holder is None:
            refusals[domain] = Rejected(
                "conflict",
                f"domain {domain}: not proven (domains.proof: required); add its DNS record, or "
                f"vouch for it: gateway domains add {added[domain]} {domain}",
            )
    return refusals


async def refused_domain(
    connection: AsyncConnection, added: Mapping[str, str], *, required: bool
) -> Rejected | None:
    """The first of ``refused_domains``."""
    refusals = await refused_domains(connection, added, required=required)
    return next(iter(refusals.values()), None)
