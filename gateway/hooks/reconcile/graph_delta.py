"""Delta queries of users and groups: what changed since the last reading, else everything.

Rules:
- A page's events and the cursor that continues after it are one transaction: a crash repeats a page
  and loses none. A full reading, too, goes on after a restart, and in another process: where it is
  stands in a row of its own, whom it has seen with them (``reading``).
- A token that is too old (410) means reading everything. Who was there before and is not in it is
  looked up: one short answer of Graph must not take a group from everybody. The row stays until the
  look-up has refused, so that a later reading asks again.
- A member or entry that cannot be read is skipped alone, logged and counted.
- What is already so is not said again: giving back only to whom this source refused, refusing only
  whom it did not.
- Times are of the moment before asking. Being back is looked up once more by the applier.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway.core.canonical import canonical_id
from gateway.core.model import ProviderKind
from gateway.database.schema import directory_members
from gateway.errors import PeerError
from gateway.hooks.effects import groups_that_count
from gateway.hooks.event import (
    MAX_NAME,
    Delivery,
    Effect,
    EntryError,
    Group,
    HookEvent,
    Source,
    Subject,
    mapping,
    optional,
    text,
)
from gateway.hooks.reconcile.cursors import page_of
from gateway.hooks.reconcile.fetch import said
from gateway.hooks.reconcile.known_members import EVERYBODY, KnownMembers, new_reading
from gateway.hooks.sources.entra import MISSING, removed
from gateway.log import fields
from gateway.metrics import RECONCILE_SKIPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.group_names import GroupNames
    from gateway.hooks.inbox import Inbox
    from gateway.hooks.reconcile.cursors import Cursors
    from gateway.hooks.reconcile.graph_client import GraphClient
    from gateway.hooks.reconcile.known_members import Refused
    from gateway.hooks.reconcile.subscriptions import Subscriptions

QUERIES = {
    "users": "/users/delta?$select=id,accountEnabled",
    "groups": "/groups/delta?$select=displayName,members",
}
MAX_PAGES = 10_000

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Reading:
    """Where a reading goes on. ``name``: of a full one; who was last seen by another one at its end
    has left. "": only what changed.
    """

    url: str
    name: str = ""

    @property
    def full(self) -> bool:
        return bool(self.name)

    def text(self) -> str:
        return json.dumps([self.name, self.url])


@dataclass(slots=True)
class _Seen:
    """Of one page: whom it names as there and as gone, by group (``EVERYBODY`` for users)."""

    there: set[tuple[str, str]]
    gone: set[tuple[str, str]]
    named: list[Group]
    """Groups that count, by what they are called now."""
    vanished: set[tuple[str, str]] = field(default_factory=set)
    """Of a full reading, at its end: who was there before and is not in it."""
    skipped: list[str] = field(default_factory=list)
    """What could not be read, without its values."""


class GraphDelta:
    """Reads one directory at a time into the inbox. ``stored`` wakes the applier."""

    source = Source.ENTRA

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        graph: GraphClient,
        cursors: Cursors,
        inbox: Inbox,
        names: GroupNames,
        subscriptions: Subscriptions,
        *,
        stored: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._committer = committer
        self._graph = graph
        self._cursors = cursors
        self._inbox = inbox
        self._names = names
        self._members = KnownMembers(database)
        self._subscriptions = subscriptions
        self._stored = stored
        self._clock = clock

    def resources(self, target: HookTarget) -> tuple[str, ...]:
        graph = target.kind is ProviderKind.ENTRA and self._graph.configured(target)
        return tuple(QUERIES) if graph else ()

    async def maintain(self, target: HookTarget) -> None:
        await self._subscriptions.maintain(target)

    def rest(self, target: HookTarget, *, until: float) -> None:
        self._graph.rest(target, until=until)

    async def read(self, target: HookTarget, *, until: float = math.inf) -> tuple[int, bool]:
        """Users, then groups; the number of events found, and whether it came to the end.

        After the first, no page is asked for after ``until`` (seconds of the event loop); the next
        call goes on from there. Raises ``UnavailableError``, ``PeerError``.
        """
        count = 0
        for resource in QUERIES:
            try:
                more, is_finished = await self._read(target, resource, until=until)
            except PeerError:
                # What cannot be read is not asked for again and again: the next reading begins
                # anew.
                await self._cursors.forget(target, page_of(resource))
                raise
            count += more
            if not is_finished:
                return count, False
        return count, True

    async def _read(self, target: HookTarget, resource: str, *, until: float) -> tuple[int, bool]:
        start = self._graph.url(target, QUERIES[resource])
        reading = await self._reading(target, resource, start)
        count, loop = 0, asyncio.get_running_loop()
        for number in range(MAX_PAGES):
            if number and loop.time() > until:
                return count, False
            asked_at = self._clock()
            reply = await self._graph.call(target, "GET", reading.url)
            if reply.status == 410 or (reply.status == 400 and not reading.full):
                if reading.full and reading.url == start:
                    raise PeerError(
                        "malformed_answer", f"Graph refuses a full reading: {said(reply)}"
                    )
                reading = _Reading(start, new_reading())
                await self._cursors.keep(target, page_of(resource), reading.text())
                continue
            document = reply.document if isinstance(reply.document, dict) else {}
            page = document.get("value")
            if reply.status != 200 or not isinstance(page, list):
                raise PeerError("malformed_answer", f"Graph answered {reply.status}: {said(reply)}")
            onward, end = document.get("@odata.nextLink"), document.get("@odata.deltaLink")
            if not isinstance(onward, str) and not isinstance(end, str):
                raise PeerError("malformed_answer", "a page of a delta without a link onward")
            groups = await self._groups(target, page) if resource == "groups" else {}
            events, seen = _page(target, page, asked_at, groups=groups, users=resource == "users")
            last = not isinstance(onward, str)
            if seen.skipped:
                RECONCILE_SKIPPED.labels(Source.ENTRA.value).inc(len(seen.skipped))
                log.warning(
                    "reconcile_entries_skipped",
                    extra=fields(
                        tenant=target.tenant,
                        provider=target.provider,
                        resource=resource,
                        entries=len(seen.skipped),
                        error=seen.skipped[0],
                    ),
                )
            if reading.full and last:
                users = directory_members.c.group_id == EVERYBODY
                vanished = await self._members.unseen(
                    target, users if resource == "users" else ~users, reading=reading.name
                )
                seen.vanished = vanished - seen.there
            following = None if last else _Reading(str(onward), reading.name)
            count += await self._write(
                target,
                resource,
                events,
                seen,
                reading=reading,
                following=following,
                end=str(end),
                asked_at=asked_at,
            )
            if following is None:
                return count, True
            reading = following
        raise PeerError("malformed_answer", "a delta without an end")

    async def _groups(self, target: HookTarget, page: list[Any]) -> dict[str, Group]:
        """The page's groups by id, complete: what changed comes, and a name that did not change
        need not come with it.
        """
        by_id: dict[str, Group] = {}
        for entry in page:
            try:
                group = _said_group(entry)
            except EntryError:
                continue
            by_id[group.id] = group
        known_names = await self._names.read(target, Source.ENTRA, by_id.values())
        complete = {
            key: known_names[key].complete(group) if key in known_names else group
            for key, group in by_id.items()
        }
        removed_ids = {
            canonical_id(str(entry.get("id")))
            for entry in page
            if isinstance(entry, dict) and removed(entry)
        }
        for key, group in complete.items():
            if (
                key not in removed_ids
                and not by_id[key].name
                and not groups_that_count(target, group)
            ):
                complete[key] = replace(
                    group,
                    name=await self._graph.group_name(target, key),
                    former=tuple(dict.fromkeys(n for n in (group.name, *group.former) if n)),
                )
        return complete

    async def _reading(self, target: HookTarget, resource: str, start: str) -> _Reading:
        """Where the last turn stopped, of whichever process it was; else what changed since the
        last reading; else everything.
        """
        page = await self._cursors.get(target, page_of(resource))
        if page is not None:
            name, url = json.loads(page.text)
            if url.startswith(start.partition("?")[0]):
                return _Reading(url, name)
        cursor = await self._cursors.get(target, resource)
        return (
            _Reading(cursor.text)
            if cursor is not None and cursor.text
            else _Reading(start, new_reading())
        )

    async def _write(
        self,
        target: HookTarget,
        resource: str,
        events: list[HookEvent],
        seen: _Seen,
        *,
        reading: _Reading,
        following: _Reading | None,
        end: str,
        asked_at: float,
    ) -> int:
        member_by_event = {
            _missing(group, member): (group, member) for group, member in sorted(seen.vanished)
        }

        async def news_of(connection: AsyncConnection) -> tuple[list[HookEvent], list[HookEvent]]:
            refusals = await self._members.refused(connection, target, Source.ENTRA)
            unknown = [
                event
                for event in member_by_event
                if not (refusals.holds(target, event) or refusals.holds_for_all(target, event))
            ]
            return _news(target, events, refusals), unknown

        async with self._database.read() as reading_first:
            changes, unknown = await news_of(reading_first)
        # Sealed before others have to wait for it; what is refused or given back meanwhile is
        # looked at again within the transaction.
        prepared = self._inbox.prepare(
            target,
            Delivery(Source.ENTRA, (*changes, *unknown)),
            received_at=self._clock(),
            channel="delta",
        )

        async def work(connection: AsyncConnection) -> int:
            changes, unknown = await news_of(connection)
            news = [*changes, *unknown]
            for group in seen.named:
                news += await self._names.learn(
                    connection, target, Source.ENTRA, group, at=asked_at
                )
            if news:
                await self._inbox.write_those(connection, target, prepared, news)
            # Of those who are refused already, nothing more is to be found out.
            departures = seen.gone | (seen.vanished - {member_by_event[event] for event in unknown})
            await self._members.remember(
                connection, target, seen.there, departures, reading=reading.name
            )
            if following is None:
                await self._cursors.put(connection, target, resource, end, read_at=asked_at)
                await self._cursors.drop(connection, target, page_of(resource))
            else:
                # A full reading leaves nothing that could be gone on with from before it.
                await self._cursors.put(
                    connection,
                    target,
                    resource,
                    "" if reading.full else following.url,
                    read_at=None,
                )
                if reading.full:
                    await self._cursors.put(
                        connection, target, page_of(resource), following.text(), read_at=None
                    )
            return len(news)

        count = await self._committer.run(work)
        if count:
            self._stored()
        return count


def _news(target: HookTarget, events: Iterable[HookEvent], refused: Refused) -> list[HookEvent]:
    """Without what this source's standing says already."""
    # A delta, too, may still say what was true before the notification that refused: the applier
    # asks again, later.
    return [
        replace(e, effect=Effect.LOOK_UP_ACCOUNT, event_time=None) if e.effect is Effect.LIFT else e
        for e in events
        if e.effect is Effect.LOOK_UP_ACCOUNT or refused.is_news(target, e)
    ]


def _page(
    target: HookTarget, page: list[Any], asked_at: float, *, groups: dict[str, Group], users: bool
) -> tuple[list[HookEvent], _Seen]:
    events: list[HookEvent] = []
    seen = _Seen(set(), set(), [])
    for entry in page:
        try:
            document = mapping(entry, "value")
            identifier = canonical_id(text(document.get("id"), "id"))
        except EntryError as error:
            seen.skipped.append(str(error))
            continue
        if users:
            events.append(_user(document, identifier, seen, asked_at))
        elif identifier in groups:
            events += _group(target, document, groups[identifier], seen, asked_at)
    return events, seen


def _user(entry: dict[str, Any], oid: str, seen: _Seen, asked_at: float) -> HookEvent:
    enabled = entry.get("accountEnabled")
    if removed(entry):
        seen.gone.add((EVERYBODY, oid))
        effect = Effect.BLOCK
    else:
        seen.there.add((EVERYBODY, oid))
        effect = (
            Effect.LOOK_UP_ACCOUNT
            if not isinstance(enabled, bool)
            else Effect.LIFT
            if enabled
            else Effect.BLOCK
        )
    return HookEvent(Source.ENTRA, "delta/user", effect, Subject(oid=oid), event_time=asked_at)


def _said_group(entry: object) -> Group:
    """As the entry names it. A name that cannot be read is none: the members are the group's all
    the same.
    """
    document = mapping(entry, "group")
    identifier = text(document.get("id"), "id")
    try:
        return Group(
            identifier, optional(document.get("displayName"), "displayName", limit=MAX_NAME)
        )
    except EntryError:
        return Group(identifier)


def _group(
    target: HookTarget, entry: dict[str, Any], group: Group, seen: _Seen, asked_at: float
) -> list[HookEvent]:
    if removed(entry):
        # Its members stay known until the next full reading: how many they are is asked when this
        # is applied (``brake``).
        return [
            HookEvent(
                Source.ENTRA,
                "delta/group-deleted",
                Effect.GROUP_DELETED,
                None,
                replace(group, former=()),
                asked_at,
            )
        ]
    if not groups_that_count(target, group):
        return []
    if group.name:
        seen.named.append(replace(group, former=()))
    events = []
    members = entry.get("members@delta", [])
    if not isinstance(members, list):
        seen.skipped.append("members@delta is not an array")
        return []
    for one in members:
        try:
            member = mapping(one, "members@delta")
            oid = canonical_id(text(member.get("id"), "members@delta.id"))
        except EntryError as error:
            seen.skipped.append(str(error))
            continue
        out = removed(member)
        (seen.gone if out else seen.there).add((group.id, oid))
        effect = Effect.GROUP_REMOVED if out else Effect.LOOK_UP_MEMBERSHIP
        events.append(
            HookEvent(
                Source.ENTRA,
                "delta/member",
                effect,
                Subject(oid=oid),
                group,
                asked_at if out else None,
            )
        )
    return events


def _missing(group: str, member: str) -> HookEvent:
    """To be looked up."""
    if group == EVERYBODY:
        return HookEvent(Source.ENTRA, MISSING, Effect.LOOK_UP_ACCOUNT, Subject(oid=member))
    return HookEvent(
        Source.ENTRA, MISSING, Effect.LOOK_UP_MEMBERSHIP, Subject(oid=member), Group(group)
    )
