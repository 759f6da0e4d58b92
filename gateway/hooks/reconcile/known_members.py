"""What the directories' readings have seen of users and groups, and what their sources refuse.

Rules:
- A row stands for one member of one group (``EVERYBODY`` for the directory's users themselves) and
  names the last full reading that saw them: whoever another one did not see at its end has left.
- What is already so is not said again: giving back only to whom a source refused, refusing only
  whom it did not.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, select

from gateway.database.engine import insert_new
from gateway.database.schema import directory_members, hook_standing, overlays
from gateway.hooks.event import Effect
from gateway.hooks.inbox import about_key, lane_key

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.hooks.event import HookEvent, Source

EVERYBODY: Final = ""
"""``group_id`` of the rows that stand for the directory's users themselves."""
_ROWS: Final = 500

Member = tuple[str, str]
"""Group (``EVERYBODY`` for users) and member, by their ids."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What one source refuses at one provider."""

    states: frozenset[tuple[str, str]]
    """Lane and ``about``."""
    from_everybody: frozenset[str]
    """Names and ids of deleted groups that are not believed again: who is added to another group of
    the name has it.
    """

    def holds(self, target: HookTarget, event: HookEvent) -> bool:
        """Whether what the event is about is refused to its person."""
        return (lane_key(target, event), about_key(event.group)) in self.states

    def holds_for_all(self, target: HookTarget, event: HookEvent) -> bool:
        """Whether the event's group is refused to everybody: it was deleted."""
        return event.group is not None and self.holds(target, replace(event, subject=None))

    def is_news(self, target: HookTarget, event: HookEvent) -> bool:
        """Whether an event of a reading says something that the source has not said."""
        gives_back = event.effect in {Effect.LIFT, Effect.LOOK_UP_MEMBERSHIP}
        if self.holds(target, event) is gives_back:
            return True
        return (
            event.effect is Effect.LOOK_UP_MEMBERSHIP
            and event.group is not None
            and not self.from_everybody.isdisjoint(event.group.spellings)
        )


class KnownMembers:
    """Rows of ``directory_members``. What takes a connection belongs to a transaction of its
    caller's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def refused(
        self, connection: AsyncConnection, target: HookTarget, source: Source
    ) -> Refused:
        states = await connection.execute(
            select(hook_standing.c.lane, hook_standing.c.about).where(
                hook_standing.c.tenant == target.tenant,
                hook_standing.c.provider == target.provider,
                hook_standing.c.source == source.value,
                hook_standing.c.refused == 1,
            )
        )
        result = await connection.execute(
            select(overlays.c.group_name).where(
                overlays.c.tenant == target.tenant,
                overlays.c.source == source.value,
                overlays.c.everybody == 1,
                overlays.c.lifted_at.is_(None),
                overlays.c.cleared_at.is_(None),
            )
        )
        return Refused(
            frozenset((row.lane, row.about) for row in states), frozenset(result.scalars())
        )

    async def unseen(
        self, target: HookTarget, *which: ColumnElement[bool], reading: str
    ) -> set[Member]:
        """Of the rows that ``which`` selects, those that the reading of this name did not see.
        Raises ``UnavailableError``.
        """
        query = select(directory_members.c.group_id, directory_members.c.member).where(
            *_of(target), *which, directory_members.c.reading != reading
        )
        async with self._database.read() as connection:
            return {(row.group_id, row.member) for row in await connection.execute(query)}

    async def groups(self, target: HookTarget) -> set[str]:
        """Ids of the groups that have known members. Raises ``UnavailableError``."""
        query = (
            select(directory_members.c.group_id)
            .where(*_of(target), directory_members.c.group_id != EVERYBODY)
            .distinct()
        )
        async with self._database.read() as connection:
            return set((await connection.execute(query)).scalars())

    async def of(self, target: HookTarget, group: str) -> set[str]:
        """Known members of one group. Raises ``UnavailableError``."""
        query = select(directory_members.c.member).where(
            *_of(target), directory_members.c.group_id == group
        )
        async with self._database.read() as connection:
            return set((await connection.execute(query)).scalars())

    async def saw(self, target: HookTarget, member: Member, *, reading: str = "") -> bool:
        """Whether the member is known; with ``reading``, whether this one saw it. Raises
        ``UnavailableError``.
        """
        query = select(directory_members.c.member).where(*_of(target), *_is(member))
        if reading:
            query = query.where(directory_members.c.reading == reading)
        async with self._database.read() as connection:
            return (await connection.execute(query)).first() is not None

    async def remember(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        there: Collection[Member],
        gone: Collection[Member],
        *,
        reading: str,
    ) -> None:
        """``reading``: the full one that saw them, "" for a change."""
        rows = [
            {
                "tenant": target.tenant,
                "provider": target.provider,
                "group_id": group,
                "member": member,
                "reading": reading,
            }
            for group, member in sorted(there)
        ]
        for start in range(0, len(rows), _ROWS):
            statement = insert_new(self._database, directory_members).values(
                rows[start : start + _ROWS]
            )
            keys = ["tenant", "provider", "group_id", "member"]
            await connection.execute(
                statement.on_conflict_do_update(index_elements=keys, set_={"reading": reading})
                if reading
                else statement.on_conflict_do_nothing()
            )
        for member in sorted(gone):
            await connection.execute(delete(directory_members).where(*_of(target), *_is(member)))

    async def forget_group(
        self, connection: AsyncConnection, target: HookTarget, group: str
    ) -> None:
        await connection.execute(
            delete(directory_members).where(*_of(target), directory_members.c.group_id == group)
        )


def new_reading() -> str:
    """The name of a full reading."""
    return uuid.uuid4().hex


def _of(target: HookTarget) -> tuple[ColumnElement[bool], ...]:
    return (
        directory_members.c.tenant == target.tenant,
        directory_members.c.provider == target.provider,
    )


def _is(member: Member) -> tuple[ColumnElement[bool], ...]:
    return (directory_members.c.group_id == member[0], directory_members.c.member == member[1])
