"""What needs attention, in real tables: each kind, newest first, a tenant's own, and no more than
its limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from gateway.database.attention import DAY_S, LIMIT, AttentionRecords, Kind
from gateway.database.schema import (
    connections,
    credential_expiries,
    domains,
    hook_arrivals,
    hook_inbox,
    provision_runs,
    revocations,
    webhooks_outbox,
)
from tests.admin.conftest import database

if TYPE_CHECKING:
    from sqlalchemy import Table

    from gateway.database.engine import Database

__all__ = ["database"]
NOW = 1_800_000_000.0


def row(table: Table, **values: object) -> dict[str, Any]:
    """With something in every column that must not be empty."""
    filled: dict[str, Any] = {}
    for column in table.columns:
        if column.nullable or column.default is not None or column.autoincrement is True:
            continue
        filled[column.name] = "x" if column.type.python_type is str else 0
    return {**filled, **values}


async def put(database: Database, table: Table, **values: object) -> None:
    async with database.write() as connection:
        await connection.execute(insert(table).values(row(table, **values)))


async def one_of_each(database: Database, tenant: str = "acme") -> None:
    old = NOW - 3600
    await put(database, revocations, id=f"r-{tenant}", tenant=tenant, received_at=old)
    for n, state in enumerate(("failed", "failed", "held", "applied")):
        number = f"{tenant}-{n}"
        await put(
            database,
            hook_inbox,
            id=number,
            event=number,
            tenant=tenant,
            state=state,
            received_at=old,
        )
    for outcome in ("bad_signature", "handshake", "request"):
        await put(
            database,
            hook_arrivals,
            tenant=tenant,
            provider="okta",
            outcome=outcome,
            minute=int(old) // 60,
            times=3,
            last_at=old,
        )
    for provider, state in (("okta", "failing"), ("entra", "active")):
        await put(
            database,
            connections,
            tenant=tenant,
            provider=provider,
            state=state,
            checked_at=NOW,
            failing_since=old if state == "failing" else None,
        )
    for credential, days in (("client_secret", 5), ("certificate", 90)):
        await put(
            database,
            credential_expiries,
            tenant=tenant,
            provider="okta",
            credential=credential,
            expires_at=NOW + days * DAY_S,
        )
    for name, state in (("a.test", "lost"), ("b.test", "verified")):
        await put(
            database,
            domains,
            tenant=tenant,
            domain=f"{tenant}.{name}",
            holder=None,
            state=state,
            missing_since=old,
            result={},
        )
    for state in ("running", "done"):
        await put(
            database,
            provision_runs,
            id=f"{tenant}-{state}",
            tenant=tenant,
            state=state,
            started_at=old,
        )
    await put(
        database,
        webhooks_outbox,
        id=f"m-{tenant}",
        tenant=tenant,
        state="failed",
        created_at=old,
    )


async def test_each_kind_is_found_and_what_is_well_is_not(database: Database) -> None:
    await one_of_each(database)
    found = await AttentionRecords(database, clock=lambda: NOW).list(set(Kind), tenant=None)
    assert [(c.kind, c.target, c.count) for c in found] == [
        (Kind.REVOCATION_UNACKNOWLEDGED, "r-acme", 1),
        (Kind.HOOK_FAILED, "", 2),
        (Kind.HOOK_HELD, "", 1),
        (Kind.HOOK_REFUSED, "okta", 3),
        (Kind.CONNECTION_FAILING, "okta", 1),
        (Kind.CREDENTIAL_EXPIRES, "okta", 1),
        (Kind.DOMAIN_LOST, "acme.a.test", 1),
        (Kind.RUN_STOPPED, "acme-running", 1),
        (Kind.MESSAGE_FAILED, "", 1),
    ]
    assert {c.tenant for c in found} == {"acme"}


async def test_a_tenant_hears_of_itself_and_nobody_of_other_kinds(database: Database) -> None:
    await one_of_each(database)
    await one_of_each(database, "globex")
    records = AttentionRecords(database, clock=lambda: NOW)
    assert {c.tenant for c in await records.list(set(Kind), tenant="globex")} == {"globex"}
    held = await records.list({Kind.HOOK_HELD}, tenant=None)
    assert {(c.kind, c.tenant) for c in held} == {
        (Kind.HOOK_HELD, "acme"),
        (Kind.HOOK_HELD, "globex"),
    }


async def test_what_is_young_or_long_over_is_not_told(database: Database) -> None:
    for name, age_s in (("young", 5.0), ("old", 2 * DAY_S)):
        await put(database, revocations, id=name, tenant="acme", received_at=NOW - age_s)
    await put(database, provision_runs, id="r", tenant="acme", state="running", started_at=NOW - 60)
    assert not await AttentionRecords(database, clock=lambda: NOW).list(set(Kind), tenant=None)


async def test_of_many_the_newest_are_told(database: Database) -> None:
    for n in range(LIMIT + 2):
        await put(database, revocations, id=f"{n:02}", tenant="acme", received_at=NOW - 200 + n)
    found = await AttentionRecords(database, clock=lambda: NOW).list(set(Kind), tenant=None)
    assert [c.target for c in found] == [f"{n:02}" for n in range(LIMIT + 1, 1, -1)]
