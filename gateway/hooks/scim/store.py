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
- What the resources of a tenant's providers and the names of deleted ones come to is counted with
  every write, and limited.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.core.canonical import canonical_id
from gateway.database.schema import scim_addresses, scim_former_names, scim_resources
from gateway.errors import UnavailableError
from gateway.hooks.event import (
    Delivery,
    DeliveryRejectedError,
    HookEvent,
    RejectionReason,
    Source,
)
from gateway.hooks.inbox import digest
from gateway.hooks.scim import patch as scim_patch
from gateway.hooks.scim import resources as scim
from gateway.hooks.scim.names import FORMER_NAME_BYTES, ScimNames
from gateway.hooks.scim.people import ScimPeople
from gateway.hooks.scim.rows import (
    GROUP,
    USER,
    ScimRows,
    Stored,
    address_digests,
    called_digest,
    compact_json,
    external_digest,
    name_digest,
    of_kind,
    sized,
    unique_digest,
)
from gateway.hooks.scim.search import ScimSearch
from gateway.hooks.scim.usage import Growth, ScimLimits, ScimUsage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.inbox import Inbox, Prepared

T = TypeVar("T")
MAX_UNANSWERED, UNANSWERED_S = 1000, 600.0
"""Creations that nobody was told of, and for how long the same one asked for again is answered with
what it made. Clients try again within minutes.
"""
MAX_SAME_NAME = 2
"""Newer groups with the name of one that goes whose members keep it. Their documents are large."""
MAX_ATTEMPTS = 10
"""How often a change is computed anew because another one came in between."""


class ScimConflictError(DeliveryRejectedError):
    """409 ``uniqueness``: the name is taken."""

    def __init__(self) -> None:
        super().__init__(RejectionReason.MALFORMED, "another resource has this name")


class _Lost(Enum):
    """Why a transaction wrote nothing."""

    RACE = "another request was faster"
    NAME = "the name is taken"
    FULL = "the tenant has as much as it may"


@dataclass(frozen=True, slots=True)
class _Update:
    """One change of one resource. ``values``: of its row; ``prepared``: its events, sealed."""

    before: Stored
    after: Stored
    values: dict[str, Any]
    prepared: Prepared | None
    said_active: bool
    request_id: str

    @property
    def is_active(self) -> bool:
        return self.after.kind == USER and bool(self.after.document["active"])


def _wants_nothing(_tenant: str, _type: str) -> bool:
    return False


class ScimStore:
    """Users and Groups of one provider at a time. ``clock``: UTC epoch seconds; ``wants``: whether
    the app of a tenant is sent messages of a type. Methods raise ``UnavailableError``.
    """

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        inbox: Inbox,
        *,
        clock: Callable[[], float],
        limits: ScimLimits | None = None,
        wants: Callable[[str, str], bool] = _wants_nothing,
    ) -> None:
        self.rows = ScimRows(database)
        self.search = ScimSearch(self.rows)
        self.people = ScimPeople(self.rows)
        self._usage = ScimUsage(database, limits or ScimLimits())
        self._names = ScimNames(self.rows, self._usage, clock=clock)
        self._committer = committer
        self._inbox = inbox
        self._clock = clock
        self._wants = wants
        self._unanswered: dict[str, tuple[tuple[str, ...], float]] = {}
        """By content: records and time of what is being made, or was begun and ended in an error,
        which may have come after the commit.
        """

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
        resource = sized(Stored(record, kind, record, document, 0, 1, now, now))
        says_active = scim.says_active(body)

        async def work(connection: AsyncConnection) -> Stored | _Lost:
            if not await self._free(connection, target, resource):
                return _Lost.NAME
            growth = Growth.between(None, resource)
            if not await self._usage.count(connection, target, kind, growth):
                return _Lost.FULL
            former = (
                await self._names.former(connection, target, resource.document)
                if kind == USER
                else ()
            )
            successor = next((one for one in former if one.same), None)
            after = resource
            if successor is not None:
                former = tuple(one for one in former if one is not successor)
                after = replace(
                    resource,
                    person=successor.person,
                    document={**document, "active": document["active"] and says_active},
                )
                await self._names.forget(
                    connection, target, scim_former_names.c.person == successor.person
                )
            await connection.execute(
                insert(scim_resources).values(
                    id=record,
                    tenant=target.tenant,
                    provider=target.provider,
                    kind=kind,
                    created_at=now,
                    **self.rows.values(target, after),
                )
            )
            await self._address(connection, target, after)
            events = self._events(
                target.tenant, after, None, after.document, succeeds=successor is not None
            )
            release_events = [
                *await self._names.released(connection, target, after, former),
                *(await self._names.contradicted(connection, target, after) if says_active else ()),
            ]
            await self._tell(
                connection, target, [*events, *release_events], now=now, request_id=request_id
            )
            return after

        outcome = await self._answered(target, resource, work, said_active=says_active)
        if (
            outcome is _Lost.NAME
            and kind == USER
            and says_active
            and document["active"]
            and (old_record := await self._inactive(target, document)) is not None
        ):
            if _may_be_one_person(document, old_record.document):
                restored = await self.replace(
                    target, kind, old_record.id, body, request_id=request_id
                )
                return _settled(restored if restored is not None else outcome)
            await self._delete(
                target, kind, old_record.id, request_id=request_id, inactive_only=True
            )
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
            target.tenant, target.provider, made.kind, str(said_active), compact_json(made.document)
        )
        attempt_ids, at = self._unanswered.pop(key, ((), 0.0))
        attempt_ids = attempt_ids[-MAX_ATTEMPTS:] if at > made.created_at - UNANSWERED_S else ()
        self._unanswered[key] = ((*attempt_ids, made.id), made.created_at)
        while len(self._unanswered) > MAX_UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]
        outcome = await self._run(work)
        self._unanswered.pop(key, None)
        for one in attempt_ids if outcome is _Lost.NAME else ():
            if (
                old_record := await self.rows.get(target, made.kind, one)
            ) is not None and old_record.version == made.version:
                return old_record
        return outcome

    async def _inactive(self, target: HookTarget, document: dict[str, Any]) -> Stored | None:
        """The inactive record with the document's login."""
        same = scim_resources.c.name_digest == called_digest(target, USER, document["userName"])
        async with self.rows.database.read() as connection:
            row = (
                await connection.execute(select(scim_resources).where(*of_kind(target, USER), same))
            ).first()
        resource = self.rows.stored(row) if row is not None else None
        return resource if resource is not None and not resource.document["active"] else None

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
            document = scim.replaced(kind, body, before)
            return (
                scim.user_document(document, before)
                if kind == USER
                else scim.group_document(document)
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
        patch = scim_patch.parse_patch(body)

        def change(before: dict[str, Any]) -> dict[str, Any]:
            after = patch.apply(before)
            return scim.user_document(after, before) if kind == USER else scim.group_document(after)

        removed_ids = patch.members_removed if kind == GROUP else frozenset[str]()
        return await self._write(
            target,
            kind,
            resource,
            change,
            said_active=patch.speaks_of("active"),
            said_removed=removed_ids,
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
            update_plan = await self._prepare(
                target,
                before,
                change(before.document),
                said_active=said_active,
                said_removed=said_removed,
                request_id=request_id,
            )
            work = partial(self._update, target=target, planned=update_plan)
            outcome = await self._run(work)
            if (
                outcome is _Lost.NAME
                and update_plan.is_active
                and (old_record := await self._inactive(target, update_plan.after.document))
                is not None
                and old_record.id != before.id
            ):
                # Nobody who is out holds a login against somebody who is in.
                await self._delete(
                    target, kind, old_record.id, request_id=request_id, inactive_only=True
                )
                outcome = await self._run(work)
            return outcome

        return await self._raced(target, kind, resource, attempt)

    async def _prepare(
        self,
        target: HookTarget,
        before: Stored,
        document: dict[str, Any],
        *,
        said_active: bool,
        said_removed: frozenset[str],
        request_id: str,
    ) -> _Update:
        """Everything that can be done before the transaction that others wait for."""
        now = self._clock()
        # A client that got no answer says the same again: that is no other version.
        version = before.version + (document != before.document)
        after = sized(replace(before, document=document, version=version, updated_at=now))
        elsewhere = (
            await self._elsewhere(target, before)
            if before.kind == GROUP and name_digest(target, after) != name_digest(target, before)
            else frozenset[str]()
        )
        events = self._events(
            target.tenant,
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
        return _Update(
            before,
            after,
            self.rows.values(target, after),
            prepared,
            said_active=said_active,
            request_id=request_id,
        )

    async def _update(
        self, connection: AsyncConnection, *, target: HookTarget, planned: _Update
    ) -> Stored | _Lost:
        before, after, now = planned.before, planned.after, planned.after.updated_at
        renamed = planned.values["unique_digest"] != unique_digest(target, before)
        if renamed and not await self._free(connection, target, after):
            return _Lost.NAME
        same = scim_resources.c.id == before.id, scim_resources.c.version == before.version
        if (
            await connection.execute(select(scim_resources.c.id).where(*same).with_for_update())
        ).first() is None:
            return _Lost.RACE
        # Who is inactive is out whatever it takes: "false" alone is longer than "true".
        if not await self._usage.count(
            connection,
            target,
            after.kind,
            Growth.between(before, after),
            always=after.kind == USER and not planned.is_active,
        ):
            return _Lost.FULL
        await connection.execute(update(scim_resources).where(*same).values(**planned.values))
        if address_digests(after) != address_digests(before):
            await connection.execute(
                delete(scim_addresses).where(scim_addresses.c.resource == before.id)
            )
            await self._address(connection, target, after)
        if planned.prepared is not None:
            await self._inbox.write(connection, planned.prepared)
        if planned.is_active:
            former = await self._names.former(connection, target, after.document)
            release_events = await self._names.released(connection, target, after, former)
            if planned.said_active:
                release_events += await self._names.contradicted(connection, target, after)
            await self._tell(
                connection, target, release_events, now=now, request_id=planned.request_id
            )
        return after

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
                target.tenant,
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
                statement = delete(scim_resources).where(
                    scim_resources.c.id == before.id, scim_resources.c.version == before.version
                )
                if not (await connection.execute(statement)).rowcount:
                    return _Lost.RACE
                await connection.execute(
                    delete(scim_addresses).where(scim_addresses.c.resource == before.id)
                )
                name_count = (
                    await self._names.remember(connection, target, before) if kind == USER else 0
                )
                growth = Growth.between(before, None)
                less = replace(growth, bytes=growth.bytes + name_count * FORMER_NAME_BYTES)
                await self._usage.count(connection, target, kind, less, always=True)
                if prepared is not None:
                    await self._inbox.write(connection, prepared)
                if kind == USER:
                    for other in await self._names.named_alike(connection, target, before):
                        release_events = await self._names.released(
                            connection,
                            target,
                            other,
                            await self._names.former(connection, target, other.document),
                        )
                        await self._tell(
                            connection, target, release_events, now=now, request_id=request_id
                        )
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
            before = await self.rows.get(target, kind, resource)
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
        tenant: str,
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
        about = resource.id if resource.kind == GROUP else resource.person
        app_event = scim.told(resource.kind, about, before, after, now=now)
        tell = (
            (app_event,)
            if app_event is not None and self._wants(tenant, scim.TOLD[app_event.type])
            else ()
        )
        if resource.kind == GROUP:
            return *tell, *scim.group_events(
                resource.id, before, after, now=now, said_removed=said_removed, elsewhere=elsewhere
            )
        if succeeds and after is not None:
            return *tell, *scim.succession_events(resource.person, after, now=now)
        return *tell, *scim.user_events(
            resource.person, before, after, now=now, inactive_said=said_active
        )

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
            for one in sorted(address_digests(resource))
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
            *of_kind(target, resource.kind),
            table.name_digest == name_digest(target, resource),
            table.id != resource.id,
        )
        if resource.kind == GROUP and (own := external_digest(target, resource)):
            statement = statement.where(table.external_digest.in_(("", own)))
        return (await connection.execute(statement.limit(1))).first() is None

    async def _elsewhere(self, target: HookTarget, group: Stored) -> frozenset[str]:
        """Members of newer groups of this name."""
        if not (own := external_digest(target, group)):
            return frozenset()
        table = scim_resources.c
        others = (
            table.name_digest == name_digest(target, group),
            table.external_digest.not_in(("", own)),
            table.created_at > group.created_at,
        )
        async with self.rows.database.read() as connection:
            query = (
                select(scim_resources)
                .where(*of_kind(target, GROUP), *others)
                .order_by(table.created_at.desc())
                .limit(MAX_SAME_NAME)
            )
            groups = [self.rows.stored(row) for row in await connection.execute(query)]
        return frozenset(member["value"] for one in groups for member in one.document["members"])


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


def _settled(outcome: T | _Lost) -> T:
    if outcome is _Lost.NAME:
        raise ScimConflictError
    if outcome is _Lost.FULL:
        msg = "this tenant has as much as the gateway keeps for it (hooks.scim)"
        raise scim.ScimTooLargeError(msg)
    if isinstance(outcome, _Lost):
        raise UnavailableError(outcome.value)
    return outcome
