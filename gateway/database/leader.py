"""One admin replica at a time does the periodic work. The lease is a row; the holder renews it
while it works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, or_

from gateway.database.engine import insert_new
from gateway.database.schema import hook_leaders

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter

LEASE_S = 30.0
"""How long after a leader's death another one takes over."""


class Leader:
    """``clock``: UTC epoch seconds of the database, by which replicas agree whatever their
    machines' clocks say.
    """

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        *,
        name: str,
        holder: str,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._committer = committer
        self._name = name
        self._holder = holder
        self._clock = clock

    async def lead(self) -> bool:
        """Take or renew; False while another holds it. Raises ``UnavailableError``."""

        async def work(connection: AsyncConnection) -> bool:
            now = self._clock()
            values = {"holder": self._holder, "held_until": now + LEASE_S}
            statement = insert_new(self._database, hook_leaders).values(name=self._name, **values)
            upsert = statement.on_conflict_do_update(
                index_elements=["name"],
                set_=values,
                where=or_(hook_leaders.c.holder == self._holder, hook_leaders.c.held_until < now),
            ).returning(hook_leaders.c.name)
            return (await connection.execute(upsert)).first() is not None

        return await self._committer.run(work)

    async def resign(self) -> None:
        """So that another need not wait for the lease to run out."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                delete(hook_leaders).where(
                    hook_leaders.c.name == self._name, hook_leaders.c.holder == self._holder
                )
            )

        await self._committer.run(work)
