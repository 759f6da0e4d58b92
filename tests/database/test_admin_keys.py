"""Bearer keys of the admin API as they are stored: digests, ends of every kind, names."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from gateway.admin.keys import AdminKey, KeyRejection, Scope
from gateway.admin.keys_store import LAST_USED_RESOLUTION_S, AdminKeys
from gateway.database.schema import admin_keys
from gateway.database.tenant_deletion import forget_tenant

if TYPE_CHECKING:
    from gateway.database.engine import Database

pytestmark = pytest.mark.every_database


async def test_a_key_is_known_until_it_expires_or_is_revoked_and_only_its_digest_is_stored(
    database: Database,
) -> None:
    now = 1_800_000_000.0
    keys = AdminKeys(database, clock=lambda: now)
    assert not await keys.exist()
    new = await keys.create(
        name="ci",
        scopes=[Scope.PROVISION, Scope.AUDIT_READ],
        tenant="acme",
        lifetime_s=100.0,
        made_by="test",
    )
    assert new is not None
    presented = new.presented.reveal()
    known = await keys.authenticate(presented)
    assert isinstance(known, AdminKey)
    assert (known.name, known.scopes, known.tenant, known.expires_at) == (
        "ci",
        frozenset({Scope.PROVISION, Scope.AUDIT_READ}),
        "acme",
        1_800_000_100,
    )
    assert await keys.exist()
    async with database.read() as connection:
        assert presented.split("_", 2)[2] not in str(
            (await connection.execute(select(admin_keys))).all()
        )
    for wrong in (
        presented[:-1] + ("A" if presented[-1] != "A" else "B"),
        "gwk_000000000000_" + "x" * 43,
        "",
        presented + "x",
    ):
        assert await keys.authenticate(wrong) is KeyRejection.UNKNOWN
    now += 100
    assert await keys.authenticate(presented) is KeyRejection.EXPIRED
    assert not await keys.exist()
    now -= 50
    assert known.made_by == new.key.made_by == "test"
    assert await keys.revoke(known.id)
    assert not await keys.revoke(known.id)
    assert await keys.authenticate(presented) is KeyRejection.REVOKED
    assert [(key.name, key.revoked_at) for key in await keys.list()] == [("ci", 1_800_000_050)]


async def test_of_two_keys_of_one_name_made_at_once_there_is_one(database: Database) -> None:
    keys = AdminKeys(database, clock=lambda: 1_800_000_000.0)
    made = await asyncio.gather(
        *(
            keys.create(
                name="ci", scopes=[Scope.OPERATOR], tenant=None, lifetime_s=None, made_by="test"
            )
            for _ in range(4)
        )
    )
    assert sum(new is not None for new in made) == 1
    (kept,) = await keys.list()
    assert await keys.named(kept.id) == (kept,), "an id will do as well"


async def test_a_name_is_one_keys_of_its_tenant_and_one_of_none(database: Database) -> None:
    keys = AdminKeys(database, clock=lambda: 1.0)

    async def make(tenant: str | None) -> str | None:
        new = await keys.create(
            name="ci", scopes=[Scope.HOOKS], tenant=tenant, lifetime_s=None, made_by="test"
        )
        return None if new is None else new.key.id

    ids = {tenant: await make(tenant) for tenant in (None, "acme", "globex")}
    assert None not in ids.values()
    assert [await make(tenant) for tenant in ids] == [None] * 3
    assert {key.id for key in await keys.named("ci")} == {*ids.values()}
    assert await keys.revoke(str(ids["acme"]))
    assert {key.tenant for key in await keys.named("ci")} == {None, "globex"}
    assert await make("acme") is None, "it stays taken"


async def test_keys_of_a_tenant_that_is_gone_are_not_its_successors(database: Database) -> None:
    now = 1_800_000_000.0
    keys = AdminKeys(database, clock=lambda: now)

    async def make(name: str) -> None:
        assert await keys.create(
            name=name, scopes=[Scope.HOOKS], tenant="acme", lifetime_s=None, made_by="test"
        )

    async def listed(tenant: str | None) -> list[str]:
        return [key.name for key in (await keys.page(tenant=tenant, position=None, limit=9)).items]

    await make("former")
    assert await listed("acme") == ["former"]
    now += 60
    async with database.write() as connection:
        await forget_tenant(connection, "acme", version=3, at=now)
    assert await listed("acme") == []
    now += 60
    await make("successor")
    assert await listed("acme") == ["successor"]
    assert await listed(None) == ["successor", "former"], "an operator's list is the history"


async def test_use_is_noted_now_and_then(database: Database) -> None:
    now = 1_800_000_000.0
    keys = AdminKeys(database, clock=lambda: now)
    new = await keys.create(
        name="ci", scopes=[Scope.OPERATOR], tenant=None, lifetime_s=None, made_by="test"
    )
    assert new is not None
    used = []
    for _ in range(3):
        await keys.authenticate(new.presented.reveal())
        used.append((await keys.list())[0].last_used_at)
        now += LAST_USED_RESOLUTION_S / 2 + 1
    assert used == [1_800_000_000, 1_800_000_000, 1_800_000_062]


async def test_a_name_that_looks_like_another_keys_id_is_not_that_key(database: Database) -> None:
    keys = AdminKeys(database, clock=lambda: 1.0)
    first = await keys.create(
        name="ci", scopes=[Scope.OPERATOR], tenant=None, lifetime_s=None, made_by="test"
    )
    assert first is not None
    alike = await keys.create(
        name=first.key.id, scopes=[Scope.AUDIT_READ], tenant="acme", lifetime_s=None, made_by="test"
    )
    assert alike is not None
    assert await keys.named(first.key.id) == (first.key,)
