"""Users of a pool who are being made, in SQL: written before Cognito is asked for one, gone when
they are in their tenant's group. What is left belongs to a request that was interrupted: the same
tenant finishes it, and nobody else gets that user.

A row is of one address in one pool, and is worked on by one request at a time.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, select, update

from gateway.database.schema import pool_user_creations

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import ColumnElement, Row

    from gateway.cognito.own_users import OwnUser
    from gateway.database.engine import Database

HOLD_S: Final = 60.0
"""A request that was begun this long ago is taken for dead."""
EMPTY_S: Final = 3600.0
"""From then on, no call that was begun with the row makes a user any more."""
SKEW_S: Final = 30.0
"""Between our clock and Cognito's."""
_c = pool_user_creations.c


@dataclass(frozen=True, slots=True)
class Creation:
    """``sub``: of the user, "" while Cognito has not been heard. Times are UTC epoch seconds."""

    id: str
    tenant: str
    attempt: str
    begun_at: float
    held_until: float
    username: str
    address: str
    sub: str

    def made(self, user: OwnUser) -> bool:
        """Whether this is the user of the row. Without their ``sub``, one who came when Cognito was
        asked.
        """
        if user.username != self.username or user.email != self.address:
            return False
        if self.sub:
            return user.sub == self.sub
        return self.begun_at - SKEW_S <= user.created_at <= self.begun_at + HOLD_S + SKEW_S


@dataclass(frozen=True, slots=True)
class Creations:
    """``clock`` is UTC epoch seconds. Raises ``UnavailableError``."""

    database: Database
    pool: str
    clock: Callable[[], float]

    async def of(self, address: str) -> Creation | None:
        async with self.database.read() as connection:
            query = select(pool_user_creations).where(_c.id == self._id(address))
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _read(self.database, row)

    async def begin(
        self, tenant: str, username: str, address: str, *, instead: Creation | None
    ) -> Creation | None:
        """``instead``: of a row that was read and is of no use. None: there is another one."""
        name, now = self._id(address), self.clock()
        creation = Creation(
            name, tenant, uuid.uuid4().hex, now, now + HOLD_S, username, address, sub=""
        )
        async with self.database.write(self._lock(name)) as connection:
            if instead is not None:
                await connection.execute(delete(pool_user_creations).where(*_attempt_of(instead)))
            query = select(_c.id).where(_c.id == name)
            if (await connection.execute(query)).one_or_none() is not None:
                return None
            await connection.execute(
                insert(pool_user_creations).values(
                    id=name,
                    tenant=tenant,
                    pool=self.pool,
                    attempt=creation.attempt,
                    begun_at=now,
                    held_until=creation.held_until,
                    document=self._sealed(creation),
                )
            )
        return creation

    async def take(self, left: Creation) -> Creation | None:
        """Work on what another request left. None: somebody else does."""
        attempt, until = uuid.uuid4().hex, self.clock() + HOLD_S
        async with self.database.write(self._lock(left.id)) as connection:
            result = await connection.execute(
                update(pool_user_creations)
                .where(*_attempt_of(left), _c.held_until <= self.clock())
                .values(attempt=attempt, held_until=until)
            )
        return replace(left, attempt=attempt, held_until=until) if result.rowcount else None

    async def learn(self, creation: Creation, user: OwnUser) -> Creation:
        """Cognito has made them, as ``user``."""
        new_creation = replace(creation, username=user.username, sub=user.sub)
        async with self.database.write(self._lock(creation.id)) as connection:
            await connection.execute(
                update(pool_user_creations)
                .where(*_attempt_of(creation))
                .values(document=self._sealed(new_creation))
            )
        return new_creation

    async def hold(self, creation: Creation) -> bool:
        """Work on for as long again; False: another request does."""
        async with self.database.write(self._lock(creation.id)) as connection:
            result = await connection.execute(
                update(pool_user_creations)
                .where(*_attempt_of(creation))
                .values(held_until=self.clock() + HOLD_S)
            )
        return bool(result.rowcount)

    async def release(self, creation: Creation) -> None:
        """Left as it is, for whoever asks next."""
        async with self.database.write(self._lock(creation.id)) as connection:
            await connection.execute(
                update(pool_user_creations).where(*_attempt_of(creation)).values(held_until=0.0)
            )

    async def settle(self, creation: Creation) -> None:
        """They are in their group, or not in the pool."""
        async with self.database.write(self._lock(creation.id)) as connection:
            await connection.execute(delete(pool_user_creations).where(*_attempt_of(creation)))

    def stale(self, creation: Creation) -> bool:
        """Whether a row without a user may be taken by anybody."""
        return self.clock() >= creation.begun_at + EMPTY_S

    def held(self, creation: Creation) -> bool:
        return self.clock() < creation.held_until

    def _id(self, address: str) -> str:
        return hashlib.sha256(f"{self.pool}\0{address}".encode()).hexdigest()

    def _lock(self, name: str) -> str:
        return f"pool_user:{name}"

    def _sealed(self, creation: Creation) -> str:
        document = {
            "username": creation.username,
            "address": creation.address,
            "sub": creation.sub,
        }
        return self.database.crypt.seal(
            json.dumps(document),
            table=pool_user_creations.name,
            row=creation.id,
            column="document",
        )


async def interrupted(database: Database, tenant: str, *, now: float) -> Sequence[Creation]:
    """In all pools, oldest first: those that nobody works on."""
    query = (
        select(pool_user_creations)
        .where(_c.tenant == tenant, _c.held_until <= now)
        .order_by(_c.begun_at)
    )
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return [_read(database, row) for row in rows]


def _read(database: Database, row: Row[Any]) -> Creation:
    text = database.crypt.open(
        row.document, table=pool_user_creations.name, row=row.id, column="document"
    )
    document = json.loads(text.reveal())
    return Creation(row.id, row.tenant, row.attempt, row.begun_at, row.held_until, **document)


def _attempt_of(creation: Creation) -> tuple[ColumnElement[bool], ...]:
    return (_c.id == creation.id, _c.attempt == creation.attempt)
