"""Names that more than one record had: those of deleted records stay refused, until an active
record has them or takes the deleted one's place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, or_, select

from gateway.core.canonical import canonical_address, canonical_id
from gateway.database.engine import insert_new
from gateway.database.schema import scim_former_names, scim_resources
from gateway.hooks.effects import ACCOUNT, WITH_USERS
from gateway.hooks.event import Effect, HookEvent, Source, Subject
from gateway.hooks.inbox import digest
from gateway.hooks.scim import resources as scim
from gateway.hooks.scim.rows import (
    MAX_NAMESAKES,
    USER,
    Stored,
    called_digest,
    external_digest,
    of_kind,
    shared_names,
)
from gateway.hooks.scim.usage import Growth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.hooks.scim.rows import ScimRows
    from gateway.hooks.scim.usage import ScimUsage

FORMER_NAME_BYTES = 256
"""What a name of a deleted record counts for in what a provider may store: its row and the index
entries.
"""
_LOGIN = "login"


@dataclass(frozen=True, slots=True)
class Former:
    """A deleted record, and the names of it that a new state of a record has. ``same``: it was the
    same person's.
    """

    person: str
    names: tuple[tuple[str, str], ...]
    same: bool


class ScimNames:
    """``clock``: UTC epoch seconds. Every method belongs to a transaction of its caller's."""

    def __init__(self, rows: ScimRows, usage: ScimUsage, *, clock: Callable[[], float]) -> None:
        self._rows = rows
        self._usage = usage
        self._clock = clock

    async def remember(self, connection: AsyncConnection, target: HookTarget, gone: Stored) -> int:
        """The number of names that are kept."""
        external = canonical_id(str(gone.document.get("externalId") or ""))
        rows = [
            {
                "tenant": target.tenant,
                "provider": target.provider,
                "name": digest(kind, value),
                "person": gone.person,
                "external": int(kind in {"idp_subject", "oid"} and value == external),
            }
            for kind, value in _remembered(gone.document)
        ]
        statement = (
            insert_new(self._rows.database, scim_former_names)
            .values(rows)
            .on_conflict_do_nothing()
            .returning(scim_former_names.c.name)
        )
        return len((await connection.execute(statement)).all())

    async def forget(
        self, connection: AsyncConnection, target: HookTarget, *which: ColumnElement[bool]
    ) -> None:
        count = (
            await connection.execute(delete(scim_former_names).where(*formerly(target), *which))
        ).rowcount
        if count:
            await self._usage.count(connection, target, USER, Growth(-count * FORMER_NAME_BYTES))

    async def former(
        self, connection: AsyncConnection, target: HookTarget, document: dict[str, Any]
    ) -> tuple[Former, ...]:
        """Deleted records that had one of the document's names; those of the same person first, the
        most alike of them before others.
        """
        table = scim_former_names.c
        digests = {digest(kind, value): (kind, value) for kind, value in _remembered(document)}
        rows = (
            await connection.execute(
                select(table.person, table.name).where(*formerly(target), table.name.in_(digests))
            )
        ).all()
        if not rows:
            return ()
        by_person: dict[str, list[tuple[str, str]]] = {}
        for row in rows:
            by_person.setdefault(row.person, []).append(digests[row.name])
        query = select(table.person, table.name).where(
            *formerly(target), table.person.in_(by_person), table.external == 1
        )
        external = {(row.person, row.name) for row in await connection.execute(query)}
        people = {person for person, _ in external}
        own = digest("idp_subject", canonical_id(str(document.get("externalId") or "")))

        def same(person: str) -> bool:
            if document.get("externalId") and person in people:
                return (person, own) in external
            return any(kind == _LOGIN for kind, _ in by_person[person])

        records = [
            Former(person, tuple(sorted(names)), same(person))
            for person, names in sorted(by_person.items())
        ]
        return tuple(
            sorted(
                records,
                key=lambda one: (not one.same, (one.person, own) not in external, -len(one.names)),
            )
        )

    async def released(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        after: Stored,
        former: Iterable[Former],
    ) -> list[HookEvent]:
        """An active record has its names to itself: what deleted records left standing against them
        goes.
        """
        if after.kind != USER or not after.document["active"]:
            return []
        events: list[HookEvent] = []
        for one in former:
            names = [digest(kind, value) for kind, value in one.names]
            await self.forget(
                connection,
                target,
                scim_former_names.c.person == one.person,
                scim_former_names.c.name.in_(names),
            )
            who = Subject.of_record(one.person, scim.subject(after.document, "").names)
            events.append(
                HookEvent(
                    Source.SCIM,
                    "User.name_taken",
                    Effect.RELEASED,
                    who,
                    None,
                    self._clock(),
                    reference=WITH_USERS if one.same else "",
                )
            )
        return events

    async def contradicted(
        self, connection: AsyncConnection, target: HookTarget, after: Stored
    ) -> list[HookEvent]:
        """What inactive records with the same ``externalId`` refuse, this record says to be
        active.
        """
        if (
            after.kind != USER
            or not after.document["active"]
            or not (own := external_digest(target, after))
        ):
            return []
        table = scim_resources.c
        query = (
            select(scim_resources)
            .where(*of_kind(target, USER), table.external_digest == own, table.id != after.id)
            .limit(MAX_NAMESAKES)
        )
        others = [
            one
            for row in await connection.execute(query)
            if not (one := self._rows.stored(row)).document["active"]
        ]
        return [
            HookEvent(
                Source.SCIM,
                "User.active=true",
                Effect.RELEASED,
                shared_names(one, after),
                None,
                self._clock(),
                reference=ACCOUNT,
            )
            for one in others
        ]

    async def named_alike(
        self, connection: AsyncConnection, target: HookTarget, gone: Stored
    ) -> list[Stored]:
        """Active records whose login or ``externalId`` is a name of a record that goes; those that
        have it as an address only follow with their next change.
        """
        table, logins = (
            scim_resources.c,
            {called_digest(target, USER, value) for _, value in scim.names(gone.document)},
        )
        same = (
            (table.name_digest.in_(logins),)
            if not (own := external_digest(target, gone))
            else (table.name_digest.in_(logins), table.external_digest == own)
        )
        query = (
            select(scim_resources)
            .where(*of_kind(target, USER), table.id != gone.id, or_(*same))
            .limit(MAX_NAMESAKES)
        )
        return [
            one
            for row in await connection.execute(query)
            if (one := self._rows.stored(row)).document["active"]
        ]


def _remembered(document: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The names of a User, and its login as logins compare: without case."""
    return (_LOGIN, canonical_address(document["userName"])), *scim.subject(document, "").names


def formerly(target: HookTarget) -> list[ColumnElement[bool]]:
    return [
        scim_former_names.c.tenant == target.tenant,
        scim_former_names.c.provider == target.provider,
    ]
