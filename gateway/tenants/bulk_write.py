"""Many tenants in one transaction of SQL, prepared before it: whoever else writes waits for rows,
and not for thousands of documents to be validated, sealed and compared.

Rules:
- What was read before the transaction is compared within it, by version; another one refuses all.
- Names are compared once, all with all: those of SQL, of the files and of the change.
- A query is for ``BATCH`` tenants, or ``DOCUMENTS``, and never for one that is new.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, tuple_, update

from gateway.core.claims import ClaimIndex, names_of_listing
from gateway.database.schema import client_credentials, tenant_names, tenant_removals, tenants
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.config.model import Config
    from gateway.core.claims import Listing, Name
    from gateway.database.audit import AuditRecord
    from gateway.tenants.folder_plan import Change
    from gateway.tenants.stored import StoredTenant

BATCH = 500
"""Ids in one query: SQLite takes 32,766 parameters, PostgreSQL's driver as many; and no result is
held that is larger than it need be.
"""
DOCUMENTS = 50
"""Documents in one statement: SQLAlchemy writes their JSON on the event loop, 0.1 ms each."""
PAGE = 2000
"""Names in one answer: some milliseconds of the event loop."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change of one tenant. ``row``: what to write, without its version; None deletes it."""

    tenant: str
    before: StoredTenant | None
    row: dict[str, Any] | None = field(repr=False)
    names: frozenset[Name]
    audit: AuditRecord


@dataclass(frozen=True, slots=True)
class Held:
    """Names with the tenant that has them. ``clients`` are those of provisioning, which stay with
    their tenant whatever its document says.
    """

    names: tuple[tuple[str, Name], ...]
    clients: tuple[tuple[str, Name], ...]


def version_problem(tenant: str, wanted: int | None, found: int | None) -> Rejected | None:
    """Of a change that was made from version ``wanted`` (None: it creates the tenant)."""
    if wanted == found:
        return None
    if wanted is None:
        return Rejected("exists", f"tenant {tenant} exists (version {found})")
    return Rejected(
        "precondition_failed",
        f"tenant {tenant} does not exist any more"
        if found is None
        else f"tenant {tenant} is at version {found} now",
    )


async def rows_of(connection: AsyncConnection, changes: Sequence[Change]) -> dict[str, Row[Any]]:
    """The tenants that there are, by id."""
    by_id: dict[str, Row[Any]] = {}
    for ids in _batches([change.tenant for change in changes]):
        rows = await connection.execute(select(tenants).where(tenants.c.id.in_(ids)))
        by_id.update((row.id, row) for row in rows)
    return by_id


async def changed_since(connection: AsyncConnection, steps: Sequence[Step]) -> Rejected | None:
    """Whether another change came in between."""
    versions: dict[str, int] = {}
    for ids in _batches([step.tenant for step in steps]):
        query = select(tenants.c.id, tenants.c.version).where(tenants.c.id.in_(ids))
        versions.update((row.id, row.version) for row in await connection.execute(query))
    for step in steps:
        before = step.before.version if step.before is not None else None
        rejection = version_problem(step.tenant, before, versions.get(step.tenant))
        if rejection is not None:
            return rejection
    return None


async def names_held(connection: AsyncConnection) -> Held:
    """All that SQL knows."""
    key = (tenant_names.c.kind, tenant_names.c.name)
    names: list[tuple[str, Name]] = []
    following = select(tenant_names.c.tenant, *key).order_by(*key).limit(PAGE)
    query = following
    while True:
        rows = (await connection.execute(query)).all()
        names += [(row.tenant, (row.kind, row.name)) for row in rows]
        if len(rows) < PAGE:
            break
        query = following.where(tuple_(*key) > (rows[-1].kind, rows[-1].name))
    clients = await connection.execute(
        select(client_credentials.c.tenant, client_credentials.c.client_id)
    )
    return Held(tuple(names), tuple((row.tenant, ("client", row.client_id)) for row in clients))


def first_clash(
    steps: Sequence[Step], held: Held, files: Sequence[Listing], config: Config
) -> Rejected | None:
    """The first tenant that claims another's name, and what it claims. Names may move between the
    tenants that change.
    """
    index = ClaimIndex(shared_hosts=config.shared_hosts, login_host=config.login_host)
    for listing in files:
        index.enter(listing.id, names_of_listing(listing))
    changing = {step.tenant for step in steps}
    for owner, name in held.names:
        if owner not in changing:
            index.enter(owner, [name])
    for owner, name in held.clients:
        index.enter(owner, [name])
    for step in steps:
        claims = index.against(step.tenant, step.names)
        if claims:
            lines = (f"{c.name}: claimed by {c.first} and by {c.second}" for c in claims)
            return Rejected("taken", "\n".join(lines))
        index.enter(step.tenant, step.names)
    return None


async def write_rows(connection: AsyncConnection, steps: Sequence[Step]) -> None:
    """What is to be deleted is deleted by now."""
    writes = [step for step in steps if step.row is not None]
    for some in _batches(writes):
        ids = [step.tenant for step in some]
        await connection.execute(delete(tenant_names).where(tenant_names.c.tenant.in_(ids)))
    for some in _batches(writes, DOCUMENTS):
        await _write(connection, some)
    for some in _batches(writes):
        names = [
            {"kind": kind, "name": name, "tenant": step.tenant}
            for step in some
            for kind, name in sorted(step.names)
        ]
        if names:
            await connection.execute(insert(tenant_names), names)


async def _write(connection: AsyncConnection, steps: Sequence[Step]) -> None:
    new_rows = [step.row for step in steps if step.before is None and step.row is not None]
    if new_rows:
        last = select(tenant_removals).where(
            tenant_removals.c.tenant.in_([row["id"] for row in new_rows])
        )
        removals = {row.tenant: int(row.removals) for row in await connection.execute(last)}
        rows = [
            {**row, "created_at": row["updated_at"], "version": removals.get(row["id"], 0) + 1}
            for row in new_rows
        ]
        await connection.execute(insert(tenants), rows)
    for step in steps:
        if step.before is not None and step.row is not None:
            statement = update(tenants).where(tenants.c.id == step.tenant)
            await connection.execute(statement.values(**step.row, version=step.before.version + 1))


def _batches(items: Sequence[Any], size: int = BATCH) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
