"""How far each directory and log has been read, and when it is due again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from gateway.database.engine import insert_new
from gateway.database.schema import directory_cursors

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter


REST = "rest"
"""The resource whose ``read_at`` says until when a provider is to be left alone."""


def page_of(resource: str) -> str:
    """The resource under which it is kept where an unfinished reading goes on."""
    return f"{resource}.page"


@dataclass(frozen=True, slots=True)
class Cursor:
    """``text`` is what continues the reading; ``read_at`` when it last reached the end; ``wanted``
    a gap was seen since.
    """

    text: str
    read_at: float
    wanted: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """A cursor without what continues the reading."""

    read_at: float
    wanted: bool


class Cursors:
    """Rows of ``directory_cursors``."""

    def __init__(self, database: Database, committer: GroupCommitter) -> None:
        self._database = database
        self._committer = committer

    async def get(self, target: HookTarget, resource: str) -> Cursor | None:
        where = (
            directory_cursors.c.tenant == target.tenant,
            directory_cursors.c.provider == target.provider,
            directory_cursors.c.resource == resource,
        )
        async with self._database.read() as connection:
            row = (await connection.execute(select(directory_cursors).where(*where))).first()
        if row is None:
            return None
        return Cursor(
            self._database.crypt.open(
                row.cursor, table="directory_cursors", row=_row(target, resource), column="cursor"
            ).reveal(),
            row.read_at,
            row.wanted_at is not None,
        )

    async def progress(self) -> dict[tuple[str, str], dict[str, Progress]]:
        """Of every tenant and provider, by resource, in one query."""
        columns = (
            directory_cursors.c.tenant,
            directory_cursors.c.provider,
            directory_cursors.c.resource,
            directory_cursors.c.read_at,
            directory_cursors.c.wanted_at,
        )
        by_target: dict[tuple[str, str], dict[str, Progress]] = {}
        async with self._database.read() as connection:
            for row in await connection.execute(select(*columns)):
                by_target.setdefault((row.tenant, row.provider), {})[row.resource] = Progress(
                    row.read_at, row.wanted_at is not None
                )
        return by_target

    async def put(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        resource: str,
        text: str,
        *,
        read_at: float | None,
    ) -> None:
        """In the caller's transaction, with the events that were read. ``read_at`` None: there is
        more to read.
        """
        values: dict[str, Any] = {
            "cursor": self._database.crypt.seal(
                text, table="directory_cursors", row=_row(target, resource), column="cursor"
            )
        }
        if read_at is not None:
            values |= {"read_at": read_at, "wanted_at": None}
        statement = insert_new(self._database, directory_cursors).values(
            tenant=target.tenant,
            provider=target.provider,
            resource=resource,
            **{"read_at": 0.0, **values},
        )
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=["tenant", "provider", "resource"], set_=values
            )
        )

    async def keep(self, target: HookTarget, resource: str, text: str) -> None:
        """``put`` in a transaction of its own: there is more to read."""
        await self._committer.run(
            lambda connection: self.put(connection, target, resource, text, read_at=None)
        )

    async def drop(self, connection: AsyncConnection, target: HookTarget, resource: str) -> None:
        """In the caller's transaction."""
        where = (
            directory_cursors.c.tenant == target.tenant,
            directory_cursors.c.provider == target.provider,
            directory_cursors.c.resource == resource,
        )
        await connection.execute(delete(directory_cursors).where(*where))

    async def forget(self, target: HookTarget, resource: str) -> None:
        await self._committer.run(lambda connection: self.drop(connection, target, resource))

    async def rest(self, target: HookTarget, *, until: float) -> None:
        """The provider asked to be left alone until then (UTC epoch seconds), whichever process
        would ask.
        """
        await self._committer.run(
            lambda connection: self.put(connection, target, REST, "", read_at=until)
        )

    async def want(self, target: HookTarget, *, now: float) -> None:
        """A gap was seen: read again before the schedule says so."""

        async def work(connection: AsyncConnection) -> None:
            where = (
                directory_cursors.c.tenant == target.tenant,
                directory_cursors.c.provider == target.provider,
            )
            await connection.execute(update(directory_cursors).where(*where).values(wanted_at=now))

        await self._committer.run(work)


def _row(target: HookTarget, resource: str) -> str:
    return f"{target.tenant}/{target.provider}/{resource}"
