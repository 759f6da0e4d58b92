"""Cognito users whom blocks disabled: who is to be enabled again when a block is lifted, and nobody
else.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, select, tuple_
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from gateway.background import fault
from gateway.core.model import DEFAULT_POOL
from gateway.database.schema import blocks, disabled_users
from gateway.errors import ConfigError
from gateway.revocation.api import DisabledUser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database

_IN_FORCE = exists().where(blocks.c.id == disabled_users.c.block, blocks.c.lifted_at.is_(None))


class SqlDisabledUsers:
    """Implements ``revocation.api.DisabledUsers``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, disabled: DisabledUser, *, at: float) -> None:
        async with self._database.write() as connection:
            await self._insert(connection, disabled, at=at)

    async def _insert(
        self, connection: AsyncConnection, disabled: DisabledUser, *, at: float
    ) -> None:
        user = _digest(disabled.username, disabled.pool)
        ciphertext = self._database.crypt.seal(
            disabled.username,
            table="disabled_users",
            row=f"{disabled.block}/{user}",
            column="username",
        )
        into = (postgresql_insert if self._database.is_postgresql else sqlite_insert)(
            disabled_users
        )
        values = {
            "block": disabled.block,
            "user": user,
            "pool": disabled.pool,
            "tenant": disabled.tenant,
            "username": ciphertext,
            "disabled_at": at,
        }
        await connection.execute(into.values(values).on_conflict_do_nothing())

    async def has(self, username: str, *, pool: str) -> bool:
        async with self._database.read() as connection:
            return (
                await connection.execute(
                    select(disabled_users.c.block)
                    .where(disabled_users.c.user == _digest(username, pool))
                    .limit(1)
                )
            ).first() is not None

    async def tenants_to_enable(self) -> Sequence[str]:
        async with self._database.read() as connection:
            return (
                (
                    await connection.execute(
                        select(disabled_users.c.tenant).where(~_IN_FORCE).distinct()
                    )
                )
                .scalars()
                .all()
            )

    async def to_enable(
        self, tenant: str, *, after: DisabledUser | None, limit: int
    ) -> Sequence[DisabledUser]:
        order = (disabled_users.c.user, disabled_users.c.block)
        query = (
            select(disabled_users)
            .where(disabled_users.c.tenant == tenant, ~_IN_FORCE)
            .order_by(*order)
            .limit(limit)
        )
        last = None if after is None else (_digest(after.username, after.pool), after.block)
        users: list[DisabledUser] = []
        closed_count = 0
        while True:
            async with self._database.read() as connection:
                rows = (
                    await connection.execute(
                        query if last is None else query.where(tuple_(*order) > last)
                    )
                ).all()
            for row in rows:
                try:
                    name = self._database.crypt.open(
                        row.username,
                        table="disabled_users",
                        row=f"{row.block}/{row.user}",
                        column="username",
                    )
                    users.append(DisabledUser(row.block, row.tenant, name.reveal(), row.pool))
                except ConfigError as error:
                    closed_count += 1
                    if closed_count == 1:
                        # One of them says it: where a key is missing there may be many.
                        fault("disabled_user_does_not_open", error, tenant=tenant)
            if len(rows) < limit or users:
                return users
            last = (rows[-1].user, rows[-1].block)

    async def is_held(self, disabled: DisabledUser) -> bool:
        query = (
            select(disabled_users.c.block)
            .where(
                disabled_users.c.user == _digest(disabled.username, disabled.pool),
                disabled_users.c.block != disabled.block,
                _IN_FORCE,
            )
            .limit(1)
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).first() is not None

    async def move(self, disabled: DisabledUser, *, block: str) -> None:
        this = (
            disabled_users.c.block == disabled.block,
            disabled_users.c.user == _digest(disabled.username, disabled.pool),
        )
        async with self._database.write() as connection:
            at = (
                await connection.execute(select(disabled_users.c.disabled_at).where(*this))
            ).scalar()
            if at is not None:
                await self._insert(connection, replace(disabled, block=block), at=at)
                await connection.execute(delete(disabled_users).where(*this))

    async def remove(self, disabled: DisabledUser) -> bool:
        this = (
            disabled_users.c.block == disabled.block,
            disabled_users.c.user == _digest(disabled.username, disabled.pool),
        )
        async with self._database.write() as connection:
            return (await connection.execute(delete(disabled_users).where(*this))).rowcount == 1


def _digest(username: str, pool: str) -> str:
    """No username holds a control character."""
    whole = username if pool == DEFAULT_POOL else f"{pool}\0{username}"
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
