"""SCIM resources in SQL. A write and the events that follow from it are one transaction.

Rules:
- Persons' data is sealed; names are found by digest.
- A request is understood, the resource read, changed and sealed before the transaction that
  everybody's hooks share; that one only compares the version and writes. Where another request was
  faster, it is done again.
- A transaction holds a number of rows that does not depend on how many members a group has: who was
  lost and gained goes out in events of ``MAX_NAMED`` people, whose names are looked up when they
  are applied.
- What stands against a person hangs on the record. When it is deleted its names are remembered, and
  stay refused. Another record of the same person (the same ``externalId``, or the same login where
  one of the two has none) takes its place, and is inactive unless it says ``active: true``. Another
  person's active record with one of these names has the name from then on, and nothing else is
  given back; so it is too where that record was there before the deletion.
- An inactive record holds its login against nobody who is said to be active: it is deleted when
  another person's record has the login.
- Two records that are both there and have one ``externalId`` stay two. What one of them says later
  of the names that both have holds: refused, or, where ``active: true`` or a group was said, given
  back. Other names are each record's own.
- A creation that was answered 503 may have been done. Asked of the same process again, it is
  answered with what it made; any other client hears 409 and finds it.
- What a provider's resources and the names of deleted ones come to is counted with every write, and
  limited.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import uuid
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import and_, delete, false, func, insert, not_, or_, select, true, update
from sqlalchemy.exc import IntegrityError

from gateway.core.canonical import canonical_address, canonical_id
from gateway.database.engine import insert_new
from gateway.database.schema import scim_addresses, scim_former_names, scim_resources, scim_usage
from gateway.errors import UnavailableError
from gateway.hooks.effects import ACCOUNT, WITH_USERS
from gateway.hooks.event import (
    Delivery,
    DeliveryRejectedError,
    Effect,
    HookEvent,
    RejectionReason,
    Source,
    Subject,
)
from gateway.hooks.inbox import digest
from gateway.hooks.scim import filter as scim_filter
from gateway.hooks.scim import patch as scim_patch
from gateway.hooks.scim import resources as scim
from gateway.hooks.scim.filter import AllOf, AnyOf, Budget, Entry, Expression, Not, ScimError, Term

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.inbox import Inbox

T = TypeVar("T")
USER, GROUP = "User", "Group"
_NAME = {USER: "userName", GROUP: "displayName"}
MAX_USER_BYTES = 64 * 1024
"""Of one document as JSON. What identity providers send of a person is 1 to 4 kB."""
MAX_GROUP_BYTES = 2 * 1024 * 1024
"""``scim.MAX_MEMBERS`` members at 50 bytes, and as much again."""
PAGE_BYTES = 4 * 1024 * 1024
"""Of the documents in one page of a list; one resource is always shown."""
BATCH, BATCH_BYTES = 250, 1024 * 1024
"""Documents read by one statement, and their length, where many are read."""
FORMER_NAME_BYTES = 256
"""What a name of a deleted record counts for in what a provider may store: its row and the index
entries.
"""
MAX_NAMESAKES = 20
"""Other records that are looked at because they share a name with the one that is written. A client
that makes more is not keeping people.
"""
MAX_SCANNED, MAX_SCANNED_BYTES = 2_000, 16 * 1024 * 1024
"""Documents that one filter may have opened, where it names nothing that an index has: a quarter of
a second of one processor. More is ``tooMany``.
"""
MAX_LOOKS = 1_000_000
"""Names and values that such a filter may compare in them: one term in sixteen megabytes of
members.
"""
MAX_SCANS = 2
"""Such filters at once; others wait."""
MAX_UNANSWERED, UNANSWERED_S = 1000, 600.0
"""Creations that nobody was told of, and for how long the same one asked for again is answered with
what it made. Clients try again within minutes.
"""
MAX_SAME_NAME = 2
"""Newer groups with the name of one that goes whose members keep it. Their documents are large."""
MAX_ATTEMPTS = 10
"""How often a change is computed anew because another one came in between."""


_LOGIN = "login"
_ID = re.compile(r"[0-9a-f-]{36}")
"""Of a record. Other text is nobody's, and not every database takes all of it."""


class ScimConflictError(DeliveryRejectedError):
    """409 ``uniqueness``: the name is taken."""

    def __init__(self) -> None:
        super().__init__(RejectionReason.MALFORMED, "another resource has this name")


@dataclass(frozen=True, slots=True)
class ScimLimits:
    """Of one provider of one tenant, over all its resources."""

    users: int = 100_000
    groups: int = 10_000
    bytes: int = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """One resource as SCIM clients see it. Times are UTC epoch seconds. ``person``: what a user's
    standing hangs on.
    """

    id: str
    kind: str
    person: str
    document: dict[str, Any]
    bytes: int
    version: int
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a list."""

    total: int
    resources: tuple[Stored, ...]


@dataclass(frozen=True, slots=True)
class _Former:
    """A deleted record, and the names of it that a new state of a record has. ``same``: it was the
    same person's.
    """

    person: str
    names: tuple[tuple[str, str], ...]
    same: bool


class _Lost(Enum):
    """Why a transaction wrote nothing."""

    RACE = "another request was faster"
    NAME = "the name is taken"
    FULL = "the provider has as much as it may"


class ScimStore:
    """Users and Groups of one provider at a time. ``clock``: UTC epoch seconds. Methods raise
    ``UnavailableError``.
    """

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        inbox: Inbox,
        *,
        clock: Callable[[], float],
        limits: ScimLimits | None = None,
    ) -> None:
        self._database = database
        self._committer = committer
        self._inbox = inbox
        self._clock = clock
        self._limits = limits or ScimLimits()
        self._scans = asyncio.Semaphore(MAX_SCANS)
        self._unanswered: dict[str, tuple[tuple[str, ...], float]] = {}
        """By content: records and time of what is being made, or was begun and ended in an error,
        which may have come after the commit.
        """

    # --- reading ---

    async def get(self, target: HookTarget, kind: str, resource: str) -> Stored | None:
        if not _ID.fullmatch(resource):
            return None
        async with self._database.read() as connection:
            row = (
                await connection.execute(
                    select(scim_resources).where(
                        scim_resources.c.id == resource, *_of(target, kind)
                    )
                )
            ).first()
        return self._stored(row) if row is not None else None

    async def find(
        self,
        target: HookTarget,
        kind: str,
        *,
        wanted: scim_filter.Filter | None,
        start: int,
        count: int,
    ) -> Found:
        """``start`` counts from 1. ``ScimError`` (``tooMany``) for a filter that would have to open
        more than ``MAX_SCANNED`` documents.

        A page ends before ``count`` where its documents would be more than ``PAGE_BYTES``.
        """
        where, narrowed = (
            _of(target, kind),
            _narrowed(target, kind, wanted.expression) if wanted is not None else _All,
        )
        if narrowed.condition is not None:
            where.append(narrowed.condition)
        page = (
            select(scim_resources.c.id, scim_resources.c.bytes)
            .where(*where)
            .order_by(scim_resources.c.created_at, scim_resources.c.id)
        )
        if wanted is not None and not narrowed.exact:
            async with self._scans:
                return await self._scanned(page, wanted, start=start, count=count)
        async with self._database.read() as connection:
            total = (
                await connection.execute(
                    select(func.count()).select_from(scim_resources).where(*where)
                )
            ).scalar_one()
            sizes = [
                (row.id, row.bytes)
                for row in await connection.execute(page.offset(max(0, start - 1)).limit(count))
            ]
            found = [
                one for batch in _batches(sizes) for one in await self._opened(connection, batch)
            ]
        return Found(total, tuple(found))

    async def _scanned(
        self, page: Select[Any], wanted: scim_filter.Filter, *, start: int, count: int
    ) -> Found:
        """Documents are opened beside the loop, a batch at a time."""
        async with self._database.read() as connection:
            sizes = [
                (row.id, row.bytes) for row in await connection.execute(page.limit(MAX_SCANNED + 1))
            ]
            if len(sizes) > MAX_SCANNED or sum(size for _, size in sizes) > MAX_SCANNED_BYTES:
                msg = "tooMany"
                raise ScimError(
                    msg,
                    (
                        "too many resources would have to be looked through: filter by "
                        "userName, displayName of a group, externalId, id or emails.value"
                    ),
                )
            total, held, found, full, budget = 0, 0, list[Stored](), False, Budget(MAX_LOOKS)
            for batch in _batches(sizes, at_most=MAX_SCANNED_BYTES):
                rows = (
                    await connection.execute(
                        select(scim_resources).where(scim_resources.c.id.in_(batch))
                    )
                ).all()
                for one in await asyncio.to_thread(self._matching, rows, wanted, batch, budget):
                    total += 1
                    full = full or (bool(found) and held + one.bytes > PAGE_BYTES)
                    if total >= start and len(found) < count and not full:
                        found.append(one)
                        held += one.bytes
        return Found(total, tuple(found))

    def _matching(
        self, rows: Iterable[Any], wanted: scim_filter.Filter, order: Sequence[str], budget: Budget
    ) -> list[Stored]:
        opened = {row.id: self._stored(row) for row in rows}
        return [
            one
            for id_ in order
            if (one := opened.get(id_)) is not None and wanted.holds(_whole(one), budget)
        ]

    async def _opened(self, connection: AsyncConnection, ids: Sequence[str]) -> list[Stored]:
        rows = {
            row.id: row
            for row in await connection.execute(
                select(scim_resources).where(scim_resources.c.id.in_(ids))
            )
        }
        return [self._stored(rows[one]) for one in ids]

    async def people(self, target: HookTarget, records: Sequence[str]) -> Mapping[str, Subject]:
        """The people behind members' ids: one statement for those who are here, one for those who
        were deleted and have no other record.
        """
        mine = _of(target, USER)
        async with self._database.read() as connection:
            rows = (
                await connection.execute(
                    select(scim_resources).where(scim_resources.c.id.in_(records), *mine)
                )
            ).all()
            found = {row.id: scim.subject(self._stored(row).document, row.person) for row in rows}
            missing = [record for record in records if record not in found]
            if missing:
                former = scim_former_names.c
                query = (
                    select(former.person)
                    .distinct()
                    .where(
                        former.tenant == target.tenant,
                        former.provider == target.provider,
                        former.person.in_(missing),
                    )
                )
                found |= {
                    person: Subject(record=person)
                    for person in (await connection.execute(query)).scalars()
                }
        return found

    async def namesakes(self, target: HookTarget, records: Sequence[str]) -> Sequence[Subject]:
        """Other records with the ``externalId`` of one of these, each with the names that both
        have; for one of these at most ``MAX_NAMESAKES``.
        """
        async with self._database.read() as connection:
            mine = [
                self._stored(row)
                for row in await connection.execute(
                    select(scim_resources).where(
                        scim_resources.c.id.in_(records), *_of(target, USER)
                    )
                )
            ]
            own = {digest_: one for one in mine if (digest_ := _external_digest(target, one))}
            others = scim_resources.c.external_digest.in_(own), scim_resources.c.id.not_in(records)
            rows = (
                (
                    await connection.execute(
                        select(scim_resources)
                        .where(*_of(target, USER), *others)
                        .limit(MAX_NAMESAKES * len(own))
                    )
                ).all()
                if own
                else []
            )
        return [_shared(self._stored(row), own[row.external_digest]) for row in rows]

    async def is_another(self, target: HookTarget, ids: Sequence[str], *, record: str) -> bool:
        """Whether one of ``ids`` is the ``externalId`` of an active record of another person than
        ``record``'s.

        That it is one tells what this client sends there, so ``record`` is known by an id too, if
        it has one; else the address is all there is of it.
        """
        table, former = scim_resources.c, scim_former_names.c
        wanted = (
            table.external_digest.in_(
                [digest(target.tenant, target.provider, canonical_id(one)) for one in ids]
            ),
            table.person != record,
        )
        own = (
            select(table.id)
            .where(*_of(target, USER), table.person == record, table.external_digest != "")
            .limit(1)
        )
        gone = (
            select(former.name)
            .where(*_formerly(target), former.person == record, former.external == 1)
            .limit(1)
        )
        async with self._database.read() as connection:
            if (await connection.execute(own)).first() is None and (
                await connection.execute(gone)
            ).first() is None:
                return False
            rows = (
                await connection.execute(
                    select(scim_resources).where(*_of(target, USER), *wanted).limit(MAX_NAMESAKES)
                )
            ).all()
        return any(self._stored(row).document["active"] for row in rows)

    # --- writing ---

    async def create(
        self, target: HookTarget, kind: str, body: dict[str, Any], *, request_id: str = ""
    ) -> Stored:
        """Raises ``ScimConflictError``, ``ScimError``, ``ScimTooLargeError``.

        Of a person whose inactive record is here, and with ``active: true``: that record is
        replaced and returned. Another person's inactive record makes way: its login belongs to this
        one.
        """
        document = scim.user_document(body) if kind == USER else scim.group_document(body)
        record = str(uuid.uuid4())
        now = self._clock()
        made = self._sized(Stored(record, kind, record, document, 0, 1, now, now))
        said = scim.says_active(body)

        async def work(connection: AsyncConnection) -> Stored | _Lost:
            if not await self._free(connection, target, made):
                return _Lost.NAME
            if not await self._count(connection, target, kind, bytes_=made.bytes, resources=1):
                return _Lost.FULL
            former = await self._former(connection, target, made.document) if kind == USER else ()
            successor = next((one for one in former if one.same), None)
            after = made
            if successor is not None:
                former = tuple(one for one in former if one is not successor)
                after = replace(
                    made,
                    person=successor.person,
                    document={**document, "active": document["active"] and said},
                )
                await self._forget(
                    connection, target, scim_former_names.c.person == successor.person
                )
            await connection.execute(
                insert(scim_resources).values(
                    id=record,
                    tenant=target.tenant,
                    provider=target.provider,
                    kind=kind,
                    created_at=now,
                    **self._values(target, after),
                )
            )
            await self._address(connection, target, after)
            events = self._events(after, None, after.document, succeeds=successor is not None)
            freed = [
                *await self._released(connection, target, after, former),
                *(await self._contradicted(connection, target, after) if said else ()),
            ]
            await self._tell(connection, target, [*events, *freed], now=now, request_id=request_id)
            return after

        outcome = await self._answered(target, made, work, said_active=said)
        if (
            outcome is _Lost.NAME
            and kind == USER
            and said
            and document["active"]
            and (kept := await self._inactive(target, document)) is not None
        ):
            if _may_be_one_person(document, kept.document):
                restored = await self.replace(target, kind, kept.id, body, request_id=request_id)
                return _settled(restored if restored is not None else outcome)
            await self._delete(target, kind, kept.id, request_id=request_id, inactive_only=True)
            outcome = await self._run(work)
        return _settled(outcome)

    async def _answered(
        self,
        target: HookTarget,
        made: Stored,
        work: Callable[[AsyncConnection], Awaitable[Stored | _Lost]],
        *,
        said_active: bool,
    ) -> Stored | _Lost:
        """What ``work`` comes to. Where the same was asked of this process before, and nobody was
        told that it was done, it is told now.
        """
        key = digest(
            target.tenant, target.provider, made.kind, str(said_active), _json(made.document)
        )
        begun, at = self._unanswered.pop(key, ((), 0.0))
        begun = begun[-MAX_ATTEMPTS:] if at > made.created_at - UNANSWERED_S else ()
        self._unanswered[key] = ((*begun, made.id), made.created_at)
        while len(self._unanswered) > MAX_UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]
        outcome = await self._run(work)
        self._unanswered.pop(key, None)
        for one in begun if outcome is _Lost.NAME else ():
            if (
                kept := await self.get(target, made.kind, one)
            ) is not None and kept.version == made.version:
                return kept
        return outcome

    async def _inactive(self, target: HookTarget, document: dict[str, Any]) -> Stored | None:
        """The inactive record with the document's login."""
        same = scim_resources.c.name_digest == _called(target, USER, document["userName"])
        async with self._database.read() as connection:
            row = (
                await connection.execute(select(scim_resources).where(*_of(target, USER), same))
            ).first()
        found = self._stored(row) if row is not None else None
        return found if found is not None and not found.document["active"] else None

    async def replace(
        self,
        target: HookTarget,
        kind: str,
        resource: str,
        body: dict[str, Any],
        *,
        request_id: str = "",
    ) -> Stored | None:
        """PUT. None: there is no such resource."""
        scim.bounded(body)

        def change(before: dict[str, Any]) -> dict[str, Any]:
            merged = scim.replaced(kind, body, before)
            return (
                scim.user_document(merged, before) if kind == USER else scim.group_document(merged)
            )

        return await self._write(
            target,
            kind,
            resource,
            change,
            said_active=scim.says_active(body),
            request_id=request_id,
        )

    async def patch(
        self,
        target: HookTarget,
        kind: str,
        resource: str,
        body: dict[str, Any],
        *,
        request_id: str = "",
    ) -> Stored | None:
        """PATCH. None: there is no such resource."""
        scim.bounded(body)
        wanted = scim_patch.parse_patch(body)

        def change(before: dict[str, Any]) -> dict[str, Any]:
            after = wanted.apply(before)
            return scim.user_document(after, before) if kind == USER else scim.group_document(after)

        removed = wanted.members_removed if kind == GROUP else frozenset[str]()
        return await self._write(
            target,
            kind,
            resource,
            change,
            said_active=wanted.speaks_of("active"),
            said_removed=removed,
            request_id=request_id,
        )

    async def _write(
        self,
        target: HookTarget,
        kind: str,
        resource: str,
        change: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        said_active: bool,
        request_id: str,
        said_removed: frozenset[str] = frozenset(),
    ) -> Stored | None:
        async def attempt(before: Stored) -> Stored | _Lost:
            document = change(before.document)
            now = self._clock()
            after = self._sized(
                replace(before, document=document, version=before.version + 1, updated_at=now)
            )
            elsewhere = (
                await self._elsewhere(target, before)
                if kind == GROUP and _name_digest(target, after) != _name_digest(target, before)
                else frozenset[str]()
            )
            events = self._events(
                after,
                before.document,
                document,
                said_active=said_active,
                said_removed=said_removed,
                elsewhere=elsewhere,
            )
            prepared = (
                self._inbox.prepare(
                    target, Delivery(Source.SCIM, events), received_at=now, request_id=request_id
                )
                if events
                else None
            )
            values = self._values(target, after)
            renamed = values["unique_digest"] != _unique_digest(target, before)
            is_active = kind == USER and document["active"]
            addresses = _addresses(after)

            async def work(connection: AsyncConnection) -> Stored | _Lost:
                if renamed and not await self._free(connection, target, after):
                    return _Lost.NAME
                same = scim_resources.c.id == before.id, scim_resources.c.version == before.version
                if (
                    await connection.execute(
                        select(scim_resources.c.id).where(*same).with_for_update()
                    )
                ).first() is None:
                    return _Lost.RACE
                # Who is inactive is out whatever it takes: "false" alone is longer than "true".
                if not await self._count(
                    connection,
                    target,
                    kind,
                    bytes_=after.bytes - before.bytes,
                    always=kind == USER and not document["active"],
                ):
                    return _Lost.FULL
                await connection.execute(update(scim_resources).where(*same).values(**values))
                if addresses != _addresses(before):
                    await connection.execute(
                        delete(scim_addresses).where(scim_addresses.c.resource == before.id)
                    )
                    await self._address(connection, target, after)
                if prepared is not None:
                    await self._inbox.write(connection, prepared)
                if is_active:
                    freed = await self._released(
                        connection, target, after, await self._former(connection, target, document)
                    )
                    freed += (
                        await self._contradicted(connection, target, after) if said_active else ()
                    )
                    await self._tell(connection, target, freed, now=now, request_id=request_id)
                return after

            outcome = await self._run(work)
            if (
                outcome is _Lost.NAME
                and is_active
                and (kept := await self._inactive(target, document)) is not None
                and kept.id != before.id
            ):
                # Nobody who is out holds a login against somebody who is in.
                await self._delete(target, kind, kept.id, request_id=request_id, inactive_only=True)
                outcome = await self._run(work)
            return outcome

        return await self._raced(target, kind, resource, attempt)

    async def delete(
        self, target: HookTarget, kind: str, resource: str, *, request_id: str = ""
    ) -> bool:
        """False: there is no such resource."""
        return await self._delete(
            target, kind, resource, request_id=request_id, inactive_only=False
        )

    async def _delete(
        self, target: HookTarget, kind: str, resource: str, *, request_id: str, inactive_only: bool
    ) -> bool:
        async def attempt(before: Stored) -> bool | _Lost:
            if inactive_only and before.document["active"]:
                return False
            now = self._clock()
            events = self._events(
                before,
                before.document,
                None,
                elsewhere=await self._elsewhere(target, before) if kind == GROUP else frozenset(),
            )
            prepared = (
                self._inbox.prepare(
                    target, Delivery(Source.SCIM, events), received_at=now, request_id=request_id
                )
                if events
                else None
            )

            async def work(connection: AsyncConnection) -> bool | _Lost:
                gone = delete(scim_resources).where(
                    scim_resources.c.id == before.id, scim_resources.c.version == before.version
                )
                if not (await connection.execute(gone)).rowcount:
                    return _Lost.RACE
                await connection.execute(
                    delete(scim_addresses).where(scim_addresses.c.resource == before.id)
                )
                kept = await self._remember(connection, target, before) if kind == USER else 0
                await self._count(
                    connection,
                    target,
                    kind,
                    bytes_=kept * FORMER_NAME_BYTES - before.bytes,
                    resources=-1,
                    always=True,
                )
                if prepared is not None:
                    await self._inbox.write(connection, prepared)
                if kind == USER:
                    for other in await self._named_alike(connection, target, before):
                        freed = await self._released(
                            connection,
                            target,
                            other,
                            await self._former(connection, target, other.document),
                        )
                        await self._tell(connection, target, freed, now=now, request_id=request_id)
                return True

            return await self._run(work)

        return bool(await self._raced(target, kind, resource, attempt))

    async def _raced(
        self,
        target: HookTarget,
        kind: str,
        resource: str,
        attempt: Callable[[Stored], Awaitable[T | _Lost]],
    ) -> T | None:
        """``attempt`` with the resource as it is, again while others change it. None: there is no
        such resource.
        """
        for _ in range(MAX_ATTEMPTS):
            before = await self.get(target, kind, resource)
            if before is None:
                return None
            outcome = await attempt(before)
            if outcome is not _Lost.RACE:
                return _settled(outcome)
        msg = "the resource is changed by others all the time"
        raise UnavailableError(msg)

    async def _run(self, work: Callable[[AsyncConnection], Awaitable[T | _Lost]]) -> T | _Lost:
        try:
            return await self._committer.run(work, high_priority=True)
        except IntegrityError:
            # Another process wrote the same name since it was looked up.
            return _Lost.NAME

    def _events(
        self,
        resource: Stored,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
        *,
        said_active: bool = False,
        said_removed: frozenset[str] = frozenset(),
        succeeds: bool = False,
        elsewhere: frozenset[str] = frozenset(),
    ) -> tuple[HookEvent, ...]:
        """``succeeds``: a new record that takes the place of a deleted one."""
        now = self._clock()
        if resource.kind == GROUP:
            return scim.group_events(
                resource.id, before, after, now=now, said_removed=said_removed, elsewhere=elsewhere
            )
        if succeeds and after is not None:
            return scim.succession_events(resource.person, after, now=now)
        return scim.user_events(resource.person, before, after, now=now, inactive_said=said_active)

    async def _tell(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        events: Sequence[HookEvent],
        *,
        now: float,
        request_id: str,
    ) -> None:
        if events:
            await self._inbox.store(
                connection,
                target,
                Delivery(Source.SCIM, tuple(events)),
                received_at=now,
                request_id=request_id,
            )

    # --- names of deleted records ---

    async def _remember(self, connection: AsyncConnection, target: HookTarget, gone: Stored) -> int:
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
        made = (
            insert_new(self._database, scim_former_names)
            .values(rows)
            .on_conflict_do_nothing()
            .returning(scim_former_names.c.name)
        )
        return len((await connection.execute(made)).all())

    async def _forget(
        self, connection: AsyncConnection, target: HookTarget, *which: ColumnElement[bool]
    ) -> None:
        gone = (
            await connection.execute(delete(scim_former_names).where(*_formerly(target), *which))
        ).rowcount
        if gone:
            await self._count(connection, target, USER, bytes_=-gone * FORMER_NAME_BYTES)

    async def _former(
        self, connection: AsyncConnection, target: HookTarget, document: dict[str, Any]
    ) -> tuple[_Former, ...]:
        """Deleted records that had one of the document's names; those of the same person first, the
        most alike of them before others.
        """
        table = scim_former_names.c
        digests = {digest(kind, value): (kind, value) for kind, value in _remembered(document)}
        rows = (
            await connection.execute(
                select(table.person, table.name).where(*_formerly(target), table.name.in_(digests))
            )
        ).all()
        if not rows:
            return ()
        shared: dict[str, list[tuple[str, str]]] = {}
        for row in rows:
            shared.setdefault(row.person, []).append(digests[row.name])
        query = select(table.person, table.name).where(
            *_formerly(target), table.person.in_(shared), table.external == 1
        )
        external = {(row.person, row.name) for row in await connection.execute(query)}
        known = {person for person, _ in external}
        own = digest("idp_subject", canonical_id(str(document.get("externalId") or "")))

        def same(person: str) -> bool:
            if document.get("externalId") and person in known:
                return (person, own) in external
            return any(kind == _LOGIN for kind, _ in shared[person])

        found = [
            _Former(person, tuple(sorted(names)), same(person))
            for person, names in sorted(shared.items())
        ]
        return tuple(
            sorted(
                found,
                key=lambda one: (not one.same, (one.person, own) not in external, -len(one.names)),
            )
        )

    async def _released(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        after: Stored,
        former: Iterable[_Former],
    ) -> list[HookEvent]:
        """An active record has its names to itself: what deleted records left standing against them
        goes.
        """
        if after.kind != USER or not after.document["active"]:
            return []
        events: list[HookEvent] = []
        for one in former:
            names = [digest(kind, value) for kind, value in one.names]
            await self._forget(
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

    async def _contradicted(
        self, connection: AsyncConnection, target: HookTarget, after: Stored
    ) -> list[HookEvent]:
        """What inactive records with the same ``externalId`` refuse, this record says to be
        active.
        """
        if (
            after.kind != USER
            or not after.document["active"]
            or not (own := _external_digest(target, after))
        ):
            return []
        table = scim_resources.c
        query = (
            select(scim_resources)
            .where(*_of(target, USER), table.external_digest == own, table.id != after.id)
            .limit(MAX_NAMESAKES)
        )
        others = [
            one
            for row in await connection.execute(query)
            if not (one := self._stored(row)).document["active"]
        ]
        return [
            HookEvent(
                Source.SCIM,
                "User.active=true",
                Effect.RELEASED,
                _shared(one, after),
                None,
                self._clock(),
                reference=ACCOUNT,
            )
            for one in others
        ]

    async def _named_alike(
        self, connection: AsyncConnection, target: HookTarget, gone: Stored
    ) -> list[Stored]:
        """Active records whose login or ``externalId`` is a name of a record that goes; those that
        have it as an address only follow with their next change.
        """
        table, logins = (
            scim_resources.c,
            {_called(target, USER, value) for _, value in scim.names(gone.document)},
        )
        same = (
            (table.name_digest.in_(logins),)
            if not (own := _external_digest(target, gone))
            else (table.name_digest.in_(logins), table.external_digest == own)
        )
        query = (
            select(scim_resources)
            .where(*_of(target, USER), table.id != gone.id, or_(*same))
            .limit(MAX_NAMESAKES)
        )
        return [
            one
            for row in await connection.execute(query)
            if (one := self._stored(row)).document["active"]
        ]

    # --- rows ---

    async def _address(
        self, connection: AsyncConnection, target: HookTarget, resource: Stored
    ) -> None:
        rows = [
            {
                "resource": resource.id,
                "address": one,
                "tenant": target.tenant,
                "provider": target.provider,
            }
            for one in sorted(_addresses(resource))
        ]
        if rows:
            await connection.execute(insert(scim_addresses), rows)

    async def _free(
        self, connection: AsyncConnection, target: HookTarget, resource: Stored
    ) -> bool:
        """Whether nothing else is called so. Two groups may be, if an ``externalId`` of each tells
        them apart.
        """
        table = scim_resources.c
        statement = select(table.id).where(
            *_of(target, resource.kind),
            table.name_digest == _name_digest(target, resource),
            table.id != resource.id,
        )
        if resource.kind == GROUP and (own := _external_digest(target, resource)):
            statement = statement.where(table.external_digest.in_(("", own)))
        return (await connection.execute(statement.limit(1))).first() is None

    async def _elsewhere(self, target: HookTarget, group: Stored) -> frozenset[str]:
        """Members of newer groups of this name."""
        if not (own := _external_digest(target, group)):
            return frozenset()
        table = scim_resources.c
        others = (
            table.name_digest == _name_digest(target, group),
            table.external_digest.not_in(("", own)),
            table.created_at > group.created_at,
        )
        async with self._database.read() as connection:
            query = (
                select(scim_resources)
                .where(*_of(target, GROUP), *others)
                .order_by(table.created_at.desc())
                .limit(MAX_SAME_NAME)
            )
            found = [self._stored(row) for row in await connection.execute(query)]
        return frozenset(member["value"] for one in found for member in one.document["members"])

    async def _count(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        kind: str,
        *,
        bytes_: int,
        resources: int = 0,
        always: bool = False,
    ) -> bool:
        """False where this would be more than the provider may have. What makes less is counted in
        any case, and with ``always`` what makes more.
        """
        usage, limits = scim_usage.c, self._limits
        new = insert_new(self._database, scim_usage).values(
            tenant=target.tenant, provider=target.provider, users=0, groups=0, bytes=0
        )
        await connection.execute(new.on_conflict_do_nothing())
        column, limit = (
            (usage.users, limits.users) if kind == USER else (usage.groups, limits.groups)
        )
        statement = update(scim_usage).where(
            usage.tenant == target.tenant, usage.provider == target.provider
        )
        if resources > 0:
            statement = statement.where(column + resources <= limit)
        if bytes_ > 0 and not always:
            statement = statement.where(usage.bytes + bytes_ <= limits.bytes)
        return (
            await connection.execute(
                statement.values({column: column + resources, usage.bytes: usage.bytes + bytes_})
            )
        ).rowcount == 1

    def _sized(self, resource: Stored) -> Stored:
        """With the length of its document; ``ScimTooLargeError`` beyond what one may have."""
        size, limit = (
            len(_json(resource.document)),
            MAX_USER_BYTES if resource.kind == USER else MAX_GROUP_BYTES,
        )
        if size > limit:
            raise scim.ScimTooLargeError(
                f"a {resource.kind} has at most {limit} bytes, this one would have {size}"
            )
        return replace(resource, bytes=size)

    def _stored(self, row: Any) -> Stored:
        text = self._database.crypt.open(
            row.document, table="scim_resources", row=row.id, column="document"
        ).reveal()
        return Stored(
            row.id,
            row.kind,
            row.person,
            json.loads(text),
            row.bytes,
            row.version,
            row.created_at,
            row.updated_at,
        )

    def _values(self, target: HookTarget, stored: Stored) -> dict[str, Any]:
        return {
            "person": stored.person,
            "name_digest": _name_digest(target, stored),
            "unique_digest": _unique_digest(target, stored),
            "external_digest": _external_digest(target, stored),
            "document": self._database.crypt.seal(
                _json(stored.document), table="scim_resources", row=stored.id, column="document"
            ),
            "bytes": stored.bytes,
            "version": stored.version,
            "updated_at": stored.updated_at,
        }


def _remembered(document: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The names of a User, and its login as logins compare: without case."""
    return (_LOGIN, canonical_address(document["userName"])), *scim.subject(document, "").names


def _of(target: HookTarget, kind: str) -> list[ColumnElement[bool]]:
    return [
        scim_resources.c.tenant == target.tenant,
        scim_resources.c.provider == target.provider,
        scim_resources.c.kind == kind,
    ]


@dataclass(frozen=True, slots=True)
class _Narrowed:
    """What SQL can say of a filter: None, or a condition that holds for everything that the filter
    holds for, and (``exact``) for nothing else.
    """

    condition: ColumnElement[bool] | None = None
    exact: bool = False


_All = _Narrowed(exact=True)
_NOWHERE = frozenset({"groups", "password", "schemas"})


def _narrowed(target: HookTarget, kind: str, expression: Expression) -> _Narrowed:
    """Raises ``ScimError`` (``invalidFilter``) for what is not kept here."""
    match expression:
        case AllOf(of):
            parts = [_narrowed(target, kind, one) for one in of]
            conditions = [one.condition for one in parts if one.condition is not None]
            return _Narrowed(
                and_(*conditions) if conditions else None,
                exact=len(conditions) == len(parts) and all(one.exact for one in parts),
            )
        case AnyOf(of):
            parts = [_narrowed(target, kind, one) for one in of]
            conditions = [one.condition for one in parts if one.condition is not None]
            whole = len(conditions) == len(parts)
            return _Narrowed(
                or_(*conditions) if whole else None, exact=whole and all(one.exact for one in parts)
            )
        case Not(inner):
            part = _narrowed(target, kind, inner)
            return (
                _Narrowed(not_(part.condition), exact=True)
                if part.exact and part.condition is not None
                else _Narrowed()
            )
        case Entry(("emails",), inner):
            # Who has an entry that holds has the address that it must have.
            of = inner.of if isinstance(inner, AllOf) else (inner,)
            address = next(
                (
                    one.value
                    for one in of
                    if isinstance(one, Term)
                    and (one.attribute, one.operator) == (("value",), "eq")
                    and isinstance(one.value, str)
                ),
                None,
            )
            return _Narrowed(_has_address(target, address)) if address is not None else _Narrowed()
        case Entry():
            return _Narrowed()
        case Term():
            return _term(target, kind, expression)


def _term(target: HookTarget, kind: str, term: Term) -> _Narrowed:
    name, value, columns = ".".join(term.attribute), term.value, scim_resources.c
    if term.attribute[0] in _NOWHERE or name in {"meta.location", "meta.version"}:
        msg = "invalidFilter"
        raise ScimError(msg, f"nothing is found by {name[:40]}")
    if term.operator == "eq" and isinstance(value, str):
        if name == "id":
            return _Narrowed(columns.id == value if _ID.fullmatch(value) else false(), exact=True)
        if name == "externalid":
            return _Narrowed(
                columns.external_digest
                == digest(target.tenant, target.provider, canonical_id(value)),
                exact=True,
            )
        if name == _NAME[kind].lower():
            return _Narrowed(columns.name_digest == _called(target, kind, value), exact=True)
        if kind == USER and name in {"emails", "emails.value"}:
            return _Narrowed(_has_address(target, value))
    if term.operator == "pr" and name in {
        "id",
        "meta.created",
        "meta.lastmodified",
        _NAME[kind].lower(),
    }:
        return _Narrowed(true(), exact=True)
    at = scim_filter.moment(value)
    if (
        name in {"meta.created", "meta.lastmodified"}
        and at is not None
        and term.operator in {"gt", "ge", "lt", "le"}
    ):
        # Shown in milliseconds, cut off.
        column, ms = columns.created_at if name == "meta.created" else columns.updated_at, 1000 * at
        below = term.operator in {"lt", "le"}
        limit = (math.ceil(ms) if term.operator in {"ge", "lt"} else math.floor(ms) + 1) / 1000
        return _Narrowed(column < limit if below else column >= limit, exact=True)
    return _Narrowed()


def _has_address(target: HookTarget, value: str) -> ColumnElement[bool]:
    table = scim_addresses.c
    mine = (
        table.tenant == target.tenant,
        table.provider == target.provider,
        table.address == _address_digest(value),
    )
    return scim_resources.c.id.in_(select(table.resource).where(*mine))


def _address_digest(value: str) -> str:
    return digest("address", value.casefold())


def _whole(stored: Stored) -> dict[str, Any]:
    """The document with what is not in it: what filters may name beside."""
    meta = {
        "resourceType": stored.kind,
        "created": scim.date_time(stored.created_at),
        "lastModified": scim.date_time(stored.updated_at),
    }
    return {**stored.document, "id": stored.id, "meta": meta}


def _formerly(target: HookTarget) -> list[ColumnElement[bool]]:
    return [
        scim_former_names.c.tenant == target.tenant,
        scim_former_names.c.provider == target.provider,
    ]


def _called(target: HookTarget, kind: str, name: str) -> str:
    return digest(
        target.tenant,
        target.provider,
        canonical_address(name) if kind == USER else canonical_id(name).casefold(),
    )


def _name_digest(target: HookTarget, stored: Stored) -> str:
    return _called(target, stored.kind, stored.document[_NAME[stored.kind]])


def _unique_digest(target: HookTarget, stored: Stored) -> str:
    return (
        _name_digest(target, stored)
        if stored.kind == USER
        else digest(_name_digest(target, stored), _external_digest(target, stored))
    )


def _external_digest(target: HookTarget, stored: Stored) -> str:
    external = stored.document.get("externalId")
    return (
        digest(target.tenant, target.provider, canonical_id(external))
        if isinstance(external, str) and external
        else ""
    )


def _may_be_one_person(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """The same ``externalId``, or one of the two has none."""
    return (
        len(
            {
                canonical_id(external)
                for d in (one, other)
                if isinstance(external := d.get("externalId"), str) and external
            }
        )
        < 2
    )


def _addresses(stored: Stored) -> frozenset[str]:
    """Digests of every e-mail address of a person."""
    return (
        frozenset(map(_address_digest, scim.addresses(stored.document)))
        if stored.kind == USER
        else frozenset()
    )


def _shared(record: Stored, other: Stored) -> Subject:
    """The person of ``record``, by the names that ``other`` has too."""
    theirs = set(scim.subject(other.document, "").names)
    return Subject.of_record(
        record.person, [name for name in scim.subject(record.document, "").names if name in theirs]
    )


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def _batches(
    sizes: Sequence[tuple[str, int]], *, at_most: int | None = None
) -> Iterable[list[str]]:
    """Ids in turn, ``BATCH_BYTES`` at once and ``at_most`` (else ``PAGE_BYTES``) in all; the first
    one whatever its size.
    """
    batch: list[str] = []
    held = total = 0
    for resource, size in sizes:
        total += size
        if total > (at_most or PAGE_BYTES) and total > size:
            break
        if batch and (held + size > BATCH_BYTES or len(batch) == BATCH):
            yield batch
            batch, held = [], 0
        batch.append(resource)
        held += size
    if batch:
        yield batch


def _settled(outcome: T | _Lost) -> T:
    if outcome is _Lost.NAME:
        raise ScimConflictError
    if outcome is _Lost.FULL:
        msg = "this provider has as many resources as the gateway keeps for it (hooks.scim)"
        raise scim.ScimTooLargeError(msg)
    if isinstance(outcome, _Lost):
        raise UnavailableError(outcome.value)
    return outcome
