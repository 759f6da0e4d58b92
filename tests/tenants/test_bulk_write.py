"""Many tenants in one transaction: refused as one at a time would be, in a few statements, and
without holding up who writes meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, select

from gateway.core.model import Secret
from gateway.database.schema import audit, tenant_names, tenants
from gateway.tenants.api import Rejected
from gateway.tenants.folder_plan import Change
from gateway.tenants.snapshot_record import Credentials, record_of
from tests.tenants.test_database import ALICE, CLAIMS, created, doc, registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from typing import Any

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database
    from gateway.tenants.database import TenantDatabase
    from gateway.tenants.document import TenantDocument

pytestmark = pytest.mark.every_database

__all__ = ["registry"]


def create(document: TenantDocument) -> Change:
    return Change("create", document.id, None, document, ())


def replace(document: TenantDocument, version: int = 1) -> Change:
    return Change("update", document.id, version, document, ())


def remove(tenant: str, version: int = 1) -> Change:
    return Change("delete", tenant, version, None, ())


async def both(registry: TenantDatabase, changes: Sequence[Change], **more: Any) -> Rejected | None:
    """The rehearsal, and then the change, which must agree with it."""
    rehearsed = await registry.rehearse(changes, **more)
    done = await registry.apply(changes, by=ALICE, **more)
    assert rehearsed == done
    return done


async def names(database: Database) -> set[tuple[str, str]]:
    async with database.read() as connection:
        rows = await connection.execute(select(tenant_names.c.name, tenant_names.c.tenant))
        return {(row.name, row.tenant) for row in rows}


@pytest.mark.parametrize(
    "change",
    [change for change, message in CLAIMS.values() if message],
    ids=[name for name, (_, message) in CLAIMS.items() if message],
)
async def test_a_claimed_name_is_refused_and_nothing_is_written(
    registry: TenantDatabase, database: Database, change: dict[str, Any]
) -> None:
    acme = ["acme.example.com", "*.wild.example.org", "a.b.example.net", "axb.example.net"]
    await created(registry, doc("acme", hosts=acme))
    await registry.put_credentials("initech", Credentials("madeforinitech", Secret("s")), by=ALICE)
    before = await names(database)
    answer = await both(registry, [create(doc("hooli")), create(doc("globex", **change))])
    assert answer is not None and answer.code == "taken", answer
    assert "globex" in answer.message
    assert await names(database) == before
    # The same, where the other is a file, and where both are of one change.
    clash = [create(doc("acme", hosts=acme)), create(doc("globex", **change))]
    if change != {"client_id": "madeforinitech"}:
        await registry.delete("acme", version=None, by=ALICE)
        again = await both(
            registry,
            [create(doc("globex", **change))],
            files=[record_of(doc("acme", hosts=acme), None)],
        )
        assert again is not None and again.code == "taken", again
        within = await both(registry, clash)
        assert within is not None and within.code == "taken", within


async def test_names_move_between_the_tenants_of_one_change(
    registry: TenantDatabase, database: Database
) -> None:
    one, other = ["one.example.org"], ["other.example.org"]
    await created(registry, doc("acme", hosts=one))
    await created(registry, doc("globex", hosts=other))
    await created(registry, doc("hooli", hosts=["third.example.org"]))
    changes = [
        replace(doc("acme", hosts=other)),
        replace(doc("globex", hosts=["third.example.org"])),
        remove("hooli"),
        create(doc("initech", hosts=one)),
    ]
    assert await both(registry, changes) is None
    assert {
        ("other.example.org", "acme"),
        ("third.example.org", "globex"),
        ("one.example.org", "initech"),
    } <= await names(database)
    assert not any(tenant == "hooli" for _, tenant in await names(database))


async def test_a_change_without_a_change_keeps_its_names(
    registry: TenantDatabase, database: Database
) -> None:
    stored = await created(registry, doc("acme"))
    before, revision = await names(database), await registry.revision()
    assert await both(registry, [replace(stored.document)]) is None
    assert await names(database) == before
    assert await registry.revision() == revision


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (create(doc("acme")), "exists"),
        (replace(doc("acme", name="Other"), 2), "precondition_failed"),
        (replace(doc("globex")), "precondition_failed"),
        (remove("acme", 2), "precondition_failed"),
        (remove("globex"), "not_found"),
        (create(doc("hooli", headers={"X-Other": "email"})), "invalid_body"),
        (create(doc("hooli", client_secret="***")), "invalid_body"),
        (create(doc("filed")), "read_only"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_is_refused(
    registry: TenantDatabase, database: Database, change: Change, code: str
) -> None:
    await created(registry, doc("acme"))
    before = await names(database)
    answer = await both(
        registry, [create(doc("initech")), change], files=[record_of(doc("filed"), None)]
    )
    assert answer is not None and answer.code == code, answer
    assert await names(database) == before


async def test_a_change_in_between_refuses_all(
    registry: TenantDatabase, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await created(registry, doc("acme"))
    write = database.write

    @asynccontextmanager
    async def after_another(*locks: str) -> AsyncIterator[AsyncConnection]:
        monkeypatch.setattr(database, "write", write)
        meanwhile = await registry.put(doc("acme", name="Meanwhile"), version=1, by=ALICE)
        assert not isinstance(meanwhile, Rejected)
        async with write(*locks) as connection:
            yield connection

    monkeypatch.setattr(database, "write", after_another)
    answer = await registry.apply(
        [create(doc("globex")), replace(doc("acme", name="Mine"))], by=ALICE
    )
    assert answer == Rejected("precondition_failed", "tenant acme is at version 2 now")
    stored = await registry.get("acme")
    assert stored is not None and stored.document.name == "Meanwhile"
    assert await registry.get("globex") is None


async def test_versions_and_records_are_as_one_at_a_time(
    registry: TenantDatabase, database: Database
) -> None:
    await created(registry, doc("acme"))
    await registry.delete("acme", version=1, by=ALICE)
    await created(registry, doc("globex"))
    changes = [create(doc("acme")), replace(doc("globex", name="Other")), create(doc("hooli"))]
    revision, _ = await registry.revision()
    assert await registry.apply(changes, by=ALICE) is None
    assert await registry.revision() == (revision + 3, 0)
    async with database.read() as connection:
        rows = (await connection.execute(select(tenants.c.id, tenants.c.version))).all()
        records = (await connection.execute(select(audit).order_by(audit.c.id))).all()
    assert {(row.id, row.version) for row in rows} == {("acme", 2), ("globex", 2), ("hooli", 1)}
    assert [(row.action, row.tenant, row.outcome) for row in records][-3:] == [
        ("tenant.create", "acme", "done"),
        ("tenant.update", "globex", "done"),
        ("tenant.create", "hooli", "done"),
    ]
    assert records[-2].before["name"] != records[-2].after["name"] == "Other"


def statements(database: Database) -> list[str]:
    said: list[str] = []
    engine = database._engine.sync_engine

    @event.listens_for(engine, "before_cursor_execute")
    def _count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        said.append(statement)

    return said


async def test_three_hundred_tenants_take_a_few_statements(
    registry: TenantDatabase, database: Database
) -> None:
    """One after the other would be thousands of statements, in a transaction that all who write
    wait for.
    """
    counted = []
    said = statements(database)
    for number, first in ((30, 0), (300, 1000)):
        changes = [create(doc(f"t{n}")) for n in range(first, first + number)]
        before = len(said)
        assert await both(registry, changes) is None
        counted.append(len(said) - before)
    # For each 50 documents three, and one more page of names.
    assert counted[1] <= counted[0] + 5 * 3 + 1, counted


async def test_a_rehearsal_does_not_wait_for_who_writes(
    registry: TenantDatabase, database: Database
) -> None:
    await created(registry, doc("acme"))
    async with database.write("tenants"), asyncio.timeout(30):
        answer = await registry.rehearse([replace(doc("acme", name="Other")), create(doc("hooli"))])
    assert answer is None
