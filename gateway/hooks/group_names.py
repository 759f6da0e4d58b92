"""What the groups of a provider are called, and were: by id, from every event and answer that names
one.

Rules:
- A group is its id. Another name is "lost the old, gained the new" for all of its members, whoever
  they are: tokens and Cognito's stored attributes hold names, and go on holding the old one.
- A name is lost the moment that a later one is known, also where that is known first; by event
  time, in whatever order events come.
- A removal speaks of every name that the group has had (``complete``): the person may have signed
  in under any of them.
- Where another group of the provider has the name now, its members keep it; sessions end, for
  nobody knows through which they had it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, select, update

from gateway.background import fault
from gateway.database.engine import insert_new
from gateway.database.schema import hook_groups, hook_inbox, hook_standing, overlays
from gateway.errors import ConfigError
from gateway.hooks.event import Effect, Group, HookEvent
from gateway.hooks.inbox import about_key, digest, lane_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.hooks.event import Source

MAX_FORMER: Final = 8
"""Names that are remembered of one group. A longer list makes a removal that many revocations."""
FRESH_S: Final = 60.0
"""How much later a group must be known by the same name for it to be written down: one write a
minute for a busy group.
"""


@dataclass(frozen=True, slots=True)
class Names:
    """``current`` since, or at least until, ``at`` (UTC epoch seconds); ``former``: newest
    first.
    """

    current: str
    at: float
    former: tuple[str, ...] = ()

    def complete(self, group: Group) -> Group:
        """The group as an event names it, with what else it is and was called."""
        name = group.name or self.current
        others = dict.fromkeys((self.current, *self.former, *group.former))
        others.pop(name, None)
        return Group(group.id, name, tuple(others))


def group_key(target: HookTarget, source: Source, group_id: str) -> str:
    return digest(target.tenant, target.provider, source.value, "group", group_id)


class GroupNames:
    """Rows of ``hook_groups``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(
        self,
        target: HookTarget,
        source: Source,
        groups: Iterable[Group | None],
        *,
        closed: set[str] | None = None,
    ) -> Mapping[str, Names]:
        """``known``, outside a transaction. ``closed``: gets the ids of groups whose names do not
        open; without it the first of them raises ``ConfigError``.
        """
        group_list = [group for group in groups if group is not None and group.id]
        if not group_list:
            return {}
        async with self._database.read() as connection:
            return await self.known(connection, target, source, group_list, closed=closed)

    async def known(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        source: Source,
        groups: Iterable[Group | None],
        *,
        closed: set[str] | None = None,
    ) -> Mapping[str, Names]:
        """By group id."""
        keys = {
            group_key(target, source, group.id): group.id
            for group in groups
            if group is not None and group.id
        }
        by_id: dict[str, Names] = {}
        sorted_keys = sorted(keys)
        for start in range(0, len(sorted_keys), 500):
            rows = await connection.execute(
                select(hook_groups).where(hook_groups.c.group.in_(sorted_keys[start : start + 500]))
            )
            for row in rows:
                try:
                    by_id[keys[row.group]] = self._names(row)
                except ConfigError as error:
                    if closed is None:
                        raise
                    if not closed:
                        # One of them says it: where a key is missing there are many.
                        fault(
                            "group_names_do_not_open",
                            error,
                            tenant=target.tenant,
                            provider=target.provider,
                        )
                    closed.add(keys[row.group])
        return by_id

    async def unknown(self, target: HookTarget, source: Source, names: Iterable[str]) -> list[str]:
        """Those that no group is known to have now."""
        digests = {_name_key(target, source, name): name for name in names}
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(hook_groups.c.name).where(
                    hook_groups.c.tenant == target.tenant, hook_groups.c.name.in_(sorted(digests))
                )
            )
            known_digests = set(rows.scalars())
        return sorted(name for key, name in digests.items() if key not in known_digests)

    async def learn(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        source: Source,
        group: Group,
        *,
        at: float,
    ) -> tuple[HookEvent, ...]:
        """The group was called ``group.name`` at ``at``, and ``group.former`` before; events of
        names that were lost and gained, to be stored with it.
        """
        if not group.id or not group.name:
            return ()
        key = group_key(target, source, group.id)
        fresh = Names(group.name, at, group.former[:MAX_FORMER])
        present = select(hook_groups).where(hook_groups.c.group == key).with_for_update()
        # Most are known by this very name: nothing is sealed for them, while others wait for the
        # database.
        row = (await connection.execute(present)).first()
        if row is None:
            values = {
                "tenant": target.tenant,
                "provider": target.provider,
                "source": source.value,
                **self._values(target, source, key, fresh),
            }
            statement = (
                insert_new(self._database, hook_groups)
                .values(group=key, **values)
                .on_conflict_do_nothing()
                .returning(hook_groups.c.group)
            )
            row = (
                None
                if (await connection.execute(statement)).first() is not None
                else (await connection.execute(present)).one()
            )
        if row is None:
            before, after = None, fresh
        else:
            before = self._names(row)
            after = merged(before, fresh)
            if after == before:
                return ()
            values = (
                {"at": after.at}
                if after == replace(before, at=after.at)
                else self._values(target, source, key, after)
            )
            await connection.execute(
                update(hook_groups).where(hook_groups.c.group == key).values(**values)
            )
        had = set() if before is None else {before.current, *before.former}
        lost_names = [
            name
            for name in after.former
            if name not in had or (before is not None and name == before.current)
        ]
        gained = before is None or before.current != after.current
        events = [
            await self._lost(connection, target, source, key, name, at=after.at)
            for name in lost_names
        ]
        if gained:
            events += await self._gained(
                connection, target, source, key, after.current, at=after.at, first=before is None
            )
        return tuple(events)

    async def forget(
        self, connection: AsyncConnection, target: HookTarget, source: Source, group: Group
    ) -> None:
        """The group is gone: no group is called so now, though it was."""
        await connection.execute(
            update(hook_groups)
            .where(hook_groups.c.group == group_key(target, source, group.id))
            .values(name="")
        )

    async def _lost(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        source: Source,
        key: str,
        name: str,
        *,
        at: float,
    ) -> HookEvent:
        others = (
            select(hook_groups.c.group)
            .where(
                hook_groups.c.name == _name_key(target, source, name), hook_groups.c.group != key
            )
            .limit(1)
        )
        # Of a name that only those have who were added after its deletion, those who are in this
        # group have it by this group.
        overlay_query = select(overlays.c.id).where(
            overlays.c.tenant == target.tenant,
            overlays.c.group_name == name,
            overlays.c.source == source.value,
            overlays.c.everybody == 1,
            overlays.c.lifted_at.is_(None),
            overlays.c.cleared_at.is_(None),
        )
        is_shared = (await connection.execute(others)).first() is not None and (
            await connection.execute(overlay_query.limit(1))
        ).first() is None
        return HookEvent(
            source,
            "group.name.lost",
            Effect.END_SESSIONS if is_shared else Effect.GROUP_DELETED,
            None,
            Group(name=name),
            at,
            digest(key, "lost", name, repr(at)),
        )

    async def _gained(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        source: Source,
        key: str,
        name: str,
        *,
        at: float,
        first: bool,
    ) -> list[HookEvent]:
        event = HookEvent(
            source,
            "group.name.gained",
            Effect.GROUP_ADDED,
            None,
            Group(name=name),
            at,
            digest(key, "gained", name, repr(at)),
        )
        if first:
            # Nothing is to be given back in most cases, and then there is no need of an event for
            # each group of a directory.
            lane = lane_key(target, event)
            state_query = (
                select(hook_standing.c.lane)
                .where(
                    hook_standing.c.lane == lane, hook_standing.c.about == about_key(event.group)
                )
                .limit(1)
            )
            inbox_query = (
                select(hook_inbox.c.id)
                .where(and_(hook_inbox.c.lane == lane, hook_inbox.c.state == "new"))
                .limit(1)
            )
            if (await connection.execute(state_query)).first() is None and (
                await connection.execute(inbox_query)
            ).first() is None:
                return []
        return [event]

    def _values(self, target: HookTarget, source: Source, key: str, names: Names) -> dict[str, Any]:
        ciphertext = self._database.crypt.seal(
            json.dumps([names.current, *names.former]), table="hook_groups", row=key, column="names"
        )
        return {
            "name": _name_key(target, source, names.current),
            "at": names.at,
            "names": ciphertext,
        }

    def _names(self, row: Any) -> Names:
        current, *former = json.loads(
            self._database.crypt.open(
                row.names, table="hook_groups", row=row.group, column="names"
            ).reveal()
        )
        return Names(current, row.at, tuple(former))


def merged(before: Names, said: Names) -> Names:
    """What is known after ``said``; ``before`` itself where nothing worth writing was added."""
    if said.at >= before.at:
        former = dict.fromkeys((before.current, *said.former, *before.former))
        former.pop(said.current, None)
        after = Names(said.current, said.at, tuple(former)[:MAX_FORMER])
        return (
            before
            if after == replace(before, at=said.at) and said.at < before.at + FRESH_S
            else after
        )
    former = dict.fromkeys((*before.former, said.current, *said.former))
    former.pop(before.current, None)
    return replace(before, former=tuple(former)[:MAX_FORMER])


def _name_key(target: HookTarget, source: Source, name: str) -> str:
    return digest(target.tenant, target.provider, source.value, "name", name)


__all__ = ["GroupNames", "Names", "group_key", "merged"]
