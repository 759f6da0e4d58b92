"""The inbox and the outbox as operators see them: a page of either, one row, and having it done
again. No person.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import select, update

from gateway.background import fault
from gateway.core.paging import Page
from gateway.errors import ConfigError
from gateway.hooks.redacted import redacted
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.json_types import Json
    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter

V = TypeVar("V")


class SqlRecords(ABC, Generic[V]):
    """One table with the columns ``number``, ``id``, ``tenant`` and ``state``. ``wake`` is called
    when there is something to do again.
    """

    noun: str
    table: Table
    columns: Sequence[ColumnElement[Any]]
    kind: ColumnElement[Any]
    """What it is about, and when it came."""
    time: ColumnElement[Any]

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        *,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._committer = committer
        self._clock = clock
        self._wake = wake

    async def page(
        self,
        *,
        tenant: str | None,
        state: str | None,
        position: str | None,
        limit: int,
        event: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> Page[V]:
        """Newest first. ``position``: the number of the last row seen. ``since`` and ``until``: UTC
        epoch seconds.
        """
        query = select(*self.columns).order_by(self.table.c.number.desc()).limit(limit + 1)
        if tenant is not None:
            query = query.where(*self._of_tenant(tenant))
        if state is not None:
            query = query.where(self.table.c.state == state)
        if event is not None:
            query = query.where(self.kind == event)
        if since is not None:
            query = query.where(self.time >= since)
        if until is not None:
            query = query.where(self.time < until)
        if position is not None:
            query = query.where(self.table.c.number < int(position))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return Page(
            [self._view(row) for row in rows[:limit]],
            str(rows[limit - 1].number) if len(rows) > limit else None,
        )

    async def find(self, id_: str, /) -> V | None:
        async with self._database.read() as connection:
            row = (
                await connection.execute(select(*self.columns).where(self.table.c.id == id_))
            ).first()
        return self._view(row) if row is not None else None

    async def said(self, id_: str, /) -> Json | None:
        """What was sent, without who it is about."""
        query = select(self.table.c.payload, self.table.c.tenant).where(self.table.c.id == id_)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        try:
            text = self._database.crypt.open(
                row.payload, table=self.table.name, row=id_, column="payload"
            ).reveal()
        except ConfigError as error:
            fault("hook_row_does_not_open", error, tenant=row.tenant)
            return None
        document: Json = redacted(json.loads(text))
        return document

    async def replay(self, id_: str, /) -> V | Rejected:
        """Whatever it came to before."""

        async def work(connection: AsyncConnection) -> bool:
            statement = update(self.table).where(self.table.c.id == id_, self._replayable())
            return (await connection.execute(statement.values(**self._new_again()))).rowcount == 1

        replayed = await self._committer.run(work)
        record = await self.find(id_)
        if record is None:
            return Rejected("not_found", f"no such {self.noun}")
        if not replayed:
            return Rejected("conflict", self._why_not(record))
        self._wake()
        return record

    def _of_tenant(self, tenant: str) -> Sequence[ColumnElement[bool]]:
        return (self.table.c.tenant == tenant,)

    @abstractmethod
    def _view(self, row: Any) -> V: ...

    @abstractmethod
    def _replayable(self) -> ColumnElement[bool]:
        """Which rows may be done again."""

    @abstractmethod
    def _new_again(self) -> Mapping[str, Any]:
        """What makes a row one that waits to be done."""

    @abstractmethod
    def _why_not(self, record: V) -> str:
        """Why a row is not replayable."""
