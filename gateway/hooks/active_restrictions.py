"""Blocks and removed groups as an operator lists them: those in force, and what providers said that
imposes nothing yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select

from gateway.background import fault
from gateway.core.paging import Page
from gateway.core.revocation import Who
from gateway.database.schema import hook_standing
from gateway.errors import ConfigError
from gateway.hooks.ordering import AccountState
from gateway.hooks.payload import load_kept
from gateway.revocation.blocks import BlockView
from gateway.revocation.records import SqlBlocks

if TYPE_CHECKING:
    from gateway.database.engine import Database


_PAGE = 200


class Restrictions(SqlBlocks):
    """Implements ``revocation.blocks.BlockDirectory``."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._standings = database

    async def remembered(
        self, *, tenant: str | None, position: str | None, limit: int
    ) -> Page[BlockView]:
        """Oldest first; ``position`` is the time and id of the last row seen. One that does not
        open is left out, and logged; it stands all the same.
        """
        at, identifier = hook_standing.c.at, hook_standing.c.id
        query = (
            select(hook_standing)
            .where(hook_standing.c.refused == 1, hook_standing.c.in_force == 0)
            .order_by(at, identifier)
            .limit(limit + 1)
        )
        if tenant is not None:
            query = query.where(hook_standing.c.tenant == tenant)
        after = None
        if position is not None:
            time, _, last = position.partition(" ")
            after = (float(time), last)
        views: list[BlockView] = []
        closed_count = 0
        while True:
            async with self._standings.read() as connection:
                rows = (
                    await connection.execute(
                        query
                        if after is None
                        else query.where(
                            or_(at > after[0], (at == after[0]) & (identifier > after[1]))
                        )
                    )
                ).all()
            for row in rows:
                try:
                    views.append(self._remembered_view(row))
                except ConfigError as error:
                    closed_count += 1
                    if closed_count == 1:
                        # One of them says it: where a key is missing there may be many.
                        fault("block_does_not_open", error, tenant=row.tenant, id=row.id)
            if len(rows) <= limit or len(views) > limit:
                break
            after = (rows[-1].at, rows[-1].id)
        items = views[:limit]
        return Page(items, f"{items[-1].since!r} {items[-1].id}" if len(views) > limit else None)

    async def find(self, block: str) -> BlockView | None:
        view = await super().find(block)
        if view is not None:
            return view
        this = (
            hook_standing.c.id == block,
            hook_standing.c.refused == 1,
            hook_standing.c.in_force == 0,
        )
        async with self._standings.read() as connection:
            row = (await connection.execute(select(hook_standing).where(*this))).first()
        return None if row is None else self._remembered_view(row)

    def _remembered_view(self, row: Any) -> BlockView:
        text = self._standings.crypt.open(
            row.imposed, table="hook_standing", row=f"{row.lane}/{row.about}", column="imposed"
        ).reveal()
        event = load_kept(text, AccountState(refused=True, at=row.at)).event
        group = (
            None
            if event.group is None
            else event.group.spelling or event.group.name or event.group.id
        )
        if event.subject is None:
            who = Who(group=group, provider=row.provider)
        else:
            kind, value = event.subject.names[0] if event.subject.names else ("email", "")
            who = Who(provider=row.provider, **{kind: value})
        return BlockView(
            row.id, row.tenant, who, event.type, row.source, row.at, group, in_force=False
        )


__all__ = ["Restrictions"]
