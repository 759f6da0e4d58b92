"""Whom a block disabled is due when that block is lifted, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select, update

from gateway.database.schema import blocks, disabled_users
from gateway.revocation.api import DisabledUser
from gateway.revocation.disabled_users import SqlDisabledUsers
from tests.database.fixtures import database, database_url

if TYPE_CHECKING:
    from gateway.database.engine import Database

__all__ = ["database", "database_url"]


async def lift(database: Database, *names: str) -> None:
    async with database.write() as connection:
        await connection.execute(update(blocks).where(blocks.c.id.in_(names)).values(lifted_at=2.0))


@pytest.fixture
async def disabled(database: Database) -> SqlDisabledUsers:
    async with database.write() as connection:
        for name in ("b1", "b2", "b3"):
            await connection.execute(
                insert(blocks).values(
                    id=name,
                    tenant="acme",
                    alias=name,
                    who="",
                    source="okta",
                    reason="",
                    watermark_us=1,
                    created_at=1.0,
                )
            )
    return SqlDisabledUsers(database)


async def test_users_are_due_when_their_block_is_lifted_page_by_page(
    database: Database, disabled: SqlDisabledUsers
) -> None:
    users = [
        DisabledUser(block, "acme", f"acme-okta_{n}")
        for n, block in enumerate(("b1", "b1", "b1", "b2"))
    ]
    for user in (*users, users[0]):
        await disabled.add(user, at=1.0)
    assert await disabled.tenants_to_enable() == []
    assert await disabled.to_enable("acme", after=None, limit=10) == []
    await lift(database, "b1")
    assert await disabled.tenants_to_enable() == ["acme"]
    first = await disabled.to_enable("acme", after=None, limit=2)
    second = await disabled.to_enable("acme", after=first[-1], limit=2)
    assert sorted((*first, *second), key=lambda u: u.username) == users[:3]
    assert await disabled.to_enable("globex", after=None, limit=2) == []
    assert await disabled.remove(users[0])
    assert not await disabled.remove(users[0])
    assert not await disabled.has("acme-okta_0", pool="default")
    assert await disabled.has("acme-okta_1", pool="default")
    assert not await disabled.has("acme-okta_1", pool="b")
    there = DisabledUser("b1", "acme", "acme-okta_1", "b")
    await disabled.add(there, at=1.0)
    assert await disabled.has("acme-okta_1", pool="b")
    assert there in await disabled.to_enable("acme", after=None, limit=10)
    assert await disabled.remove(there)
    assert await disabled.has("acme-okta_1", pool="default")


async def test_a_user_who_does_not_open_keeps_no_other_from_being_enabled_and_is_due_when_they_open(
    database: Database, disabled: SqlDisabledUsers
) -> None:
    for number in range(4):
        await disabled.add(DisabledUser("b1", "acme", f"acme-okta_{number}"), at=1.0)
    await lift(database, "b1")
    everybody = list(await disabled.to_enable("acme", after=None, limit=10))
    async with database.write() as connection:
        rows = (
            await connection.execute(
                select(disabled_users).order_by(disabled_users.c.user).limit(3)
            )
        ).all()
        await connection.execute(
            update(disabled_users)
            .where(disabled_users.c.user.in_([row.user for row in rows]))
            .values(username="k0.AAAA")
        )
    assert await disabled.to_enable("acme", after=None, limit=2) == everybody[3:], (
        "beyond pages of which nobody opens"
    )
    assert await disabled.to_enable("acme", after=everybody[3], limit=2) == []
    async with database.write() as connection:
        for row in rows:
            await connection.execute(
                update(disabled_users)
                .where(disabled_users.c.user == row.user)
                .values(username=row.username)
            )
    assert await disabled.to_enable("acme", after=None, limit=10) == everybody


async def test_a_user_of_two_blocks_is_held_by_the_other_and_moves_to_a_third(
    database: Database, disabled: SqlDisabledUsers
) -> None:
    first, second = (DisabledUser(block, "acme", "acme-okta_1") for block in ("b1", "b2"))
    await disabled.add(first, at=1.0)
    await disabled.add(second, at=1.0)
    await lift(database, "b1")
    assert await disabled.is_held(first)
    await lift(database, "b2")
    assert not await disabled.is_held(first)
    await disabled.move(first, block="b3")
    await disabled.move(second, block="b3")
    assert await disabled.to_enable("acme", after=None, limit=10) == []
    await lift(database, "b3")
    assert await disabled.to_enable("acme", after=None, limit=10) == [
        DisabledUser("b3", "acme", "acme-okta_1")
    ]
