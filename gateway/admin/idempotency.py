"""Answers of requests that succeeded, by Idempotency-Key, for a day. Sealed: an answer may show a
secret once, and then again to a retry.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.admin.idempotency_records import IdempotencyState, StoredAnswer
from gateway.database.schema import idempotency

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database

    Within = Callable[[AsyncConnection], Awaitable[None]]

KEEP_S = 24 * 3600.0
ABANDONED_S = 30.0
"""A claim not renewed for this long belonged to a process that died. Leaves room for a store that
answers slowly and for clocks that differ.
"""


class IdempotencyRecords:
    """Answers by (key id, Idempotency-Key), kept for a day, encrypted: an answer may show a secret
    once. ``clock`` is UTC epoch seconds.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    async def claim(
        self, owner: str, key: str, *, fingerprint: str, also: Within | None = None
    ) -> StoredAnswer | IdempotencyState:
        """``also``: what is written in the same transaction where the claim is fresh."""
        now = self._clock()
        stale = (idempotency.c.created_at < now - KEEP_S) | (
            idempotency.c.status.is_(None) & (idempotency.c.renewed_at < now - ABANDONED_S)
        )
        try:
            async with self._database.write_together(urgent=True) as connection:
                await connection.execute(delete(idempotency).where(stale))
                await connection.execute(
                    insert(idempotency).values(
                        scope=owner,
                        key=key,
                        fingerprint=fingerprint,
                        created_at=now,
                        renewed_at=now,
                    )
                )
                if also is not None:
                    await also(connection)
        except IntegrityError:
            return await self._found(owner, key, fingerprint)
        return IdempotencyState.FRESH

    async def _found(
        self, owner: str, key: str, fingerprint: str
    ) -> StoredAnswer | IdempotencyState:
        async with self._database.read() as connection:
            row = (
                (
                    await connection.execute(
                        select(idempotency).where(
                            idempotency.c.scope == owner, idempotency.c.key == key
                        )
                    )
                )
                .mappings()
                .first()
            )
        if row is None:
            return IdempotencyState.IN_FLIGHT
        if row["fingerprint"] != fingerprint:
            return IdempotencyState.OTHER_REQUEST
        if row["status"] is None:
            return IdempotencyState.IN_FLIGHT
        plaintext = self._database.crypt.open(
            row["body"], table="idempotency", row=f"{owner}/{key}", column="body"
        )
        document = json.loads(plaintext.reveal())
        return StoredAnswer(
            int(row["status"]), dict(document["headers"]), base64.b64decode(document["body"])
        )

    async def renew(self, owner: str, key: str) -> None:
        running = (
            (idempotency.c.scope == owner)
            & (idempotency.c.key == key)
            & idempotency.c.status.is_(None)
        )
        async with self._database.write_together(urgent=True) as connection:
            await connection.execute(
                update(idempotency).where(running).values(renewed_at=self._clock())
            )

    async def store(self, owner: str, key: str, answer: StoredAnswer) -> None:
        async with self._database.write_together(urgent=True) as connection:
            await self.store_within(connection, owner, key, answer)

    async def store_within(
        self, connection: AsyncConnection, owner: str, key: str, answer: StoredAnswer
    ) -> None:
        """``store`` in the caller's transaction."""
        text = json.dumps(
            {"headers": dict(answer.headers), "body": base64.b64encode(answer.body).decode("ascii")}
        )
        ciphertext = self._database.crypt.seal(
            text, table="idempotency", row=f"{owner}/{key}", column="body"
        )
        await connection.execute(
            update(idempotency)
            .where(idempotency.c.scope == owner, idempotency.c.key == key)
            .values(status=answer.status, body=ciphertext)
        )

    async def release(self, owner: str, key: str) -> None:
        async with self._database.write_together(urgent=True) as connection:
            await self.release_within(connection, owner, key)

    async def release_within(self, connection: AsyncConnection, owner: str, key: str) -> None:
        """``release`` in the caller's transaction."""
        await connection.execute(
            delete(idempotency).where(
                idempotency.c.scope == owner,
                idempotency.c.key == key,
                idempotency.c.status.is_(None),
            )
        )
