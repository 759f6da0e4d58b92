"""Readings of a Google directory: all users and the members of the groups that count, page by page.

Rules:
- Google tells no differences, so each reading is a full one. A page's events and the token that
  goes on after it are one transaction: a crash repeats a page and loses none, and another process
  goes on where this one stopped.
- Only an absent ``nextPageToken`` is the end of a list: a page that fails is none, and no answer
  means that nobody is there.
- Whoever was there before and is not in a full reading is looked up. Deleted users are told by a
  list of their own, with the time of it.
- Groups are read with those who are in them through other groups. A member that stands for the
  whole customer makes everybody one.
- A token that Google does not take any more means reading anew, once.
- Times are of the moment before asking. Being back is looked up once more by the applier.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from gateway.core.canonical import canonical_id
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
from gateway.hooks.reconcile.google_client import USER_FIELDS, GoogleUser, customer
from gateway.hooks.reconcile.known_members import EVERYBODY, KnownMembers, new_reading
from gateway.hooks.sources.google import MISSING
from gateway.log import fields
from gateway.metrics import RECONCILE_SKIPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.group_names import GroupNames
    from gateway.hooks.inbox import Inbox
    from gateway.hooks.reconcile.cursors import Cursors
    from gateway.hooks.reconcile.google_addresses import GoogleAddresses
    from gateway.hooks.reconcile.google_channels import GoogleChannels
    from gateway.hooks.reconcile.google_client import GoogleClient
    from gateway.hooks.reconcile.known_members import Member, Refused

USERS: Final = "users"
GROUPS: Final = "groups"
RESOURCES: Final = (USERS, GROUPS)
USERS_PAGE, GROUPS_PAGE = 500, 200
"""The most that Google gives."""
MAX_PAGES: Final = 10_000
MAX_GROUPS: Final = 1_000
"""Groups that count, of one provider: a policy names at most a few hundred."""
CUSTOMER: Final = "*"
"""The member that stands for everybody of the customer: Google gives it no address, and its id is
no user's.
"""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Place:
    """Where a reading stands. ``step`` of users: ``there``, then ``deleted``; of groups: ``list``,
    then ``members`` of ``groups[0]``, the first that is not read yet. ``token``: of the next page.
    """

    step: str
    name: str
    token: str = ""
    groups: list[tuple[str, str, str]] = field(default_factory=list)
    """Those that count and are not read yet: id, name, address."""
    listed: dict[str, str] = field(default_factory=dict)
    """Addresses of all groups that count, by id."""

    def text(self) -> str:
        return json.dumps([self.step, self.name, self.token, self.groups, self.listed])

    @classmethod
    def parse(cls, written: str) -> _Place:
        step, name, token, groups, listed_ids = json.loads(written)
        return cls(step, name, token, [(a, b, c) for a, b, c in groups], listed_ids)


@dataclass(slots=True)
class _Page:
    """What one page comes to."""

    events: list[HookEvent] = field(default_factory=list)
    missing: dict[HookEvent, Member] = field(default_factory=dict)
    """Of a full reading, at its end: whom it has not seen."""
    there: set[Member] = field(default_factory=set)
    gone: set[Member] = field(default_factory=set)
    users: list[GoogleUser] = field(default_factory=list)
    named: list[Group] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class GoogleReading:
    """Reads one directory at a time into the inbox. ``stored`` wakes the applier."""

    source = Source.GOOGLE

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        google: GoogleClient,
        cursors: Cursors,
        inbox: Inbox,
        names: GroupNames,
        addresses: GoogleAddresses,
        channels: GoogleChannels,
        *,
        stored: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._committer = committer
        self._google = google
        self._cursors = cursors
        self._inbox = inbox
        self._names = names
        self._addresses = addresses
        self._channels = channels
        self._members = KnownMembers(database)
        self._stored = stored
        self._clock = clock

    def resources(self, target: HookTarget) -> tuple[str, ...]:
        return RESOURCES if self._google.configured(target) else ()

    async def maintain(self, target: HookTarget) -> None:
        await self._channels.maintain(target)

    def rest(self, target: HookTarget, *, until: float) -> None:
        self._google.rest(target, until=until)

    async def read(self, target: HookTarget, *, until: float = math.inf) -> tuple[int, bool]:
        """Users, then groups; the number of events found, and whether it came to the end.

        After the first, no page is asked for after ``until`` (seconds of the event loop); the next
        call goes on from there. Raises ``UnavailableError``, ``PeerError``.
        """
        count = 0
        for resource in RESOURCES:
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
        cursor = await self._cursors.get(target, page_of(resource))
        place = _Place.parse(cursor.text) if cursor is not None else _begin(resource)
        count, loop, anew = 0, asyncio.get_running_loop(), False
        for number in range(MAX_PAGES):
            if number and loop.time() > until:
                return count, False
            if resource == GROUPS and target.groups_used is None:
                # Google's tokens name no groups; without a policy nobody asks for one.
                following: _Place | None = None
                page, asked_at = _Page(), self._clock()
            else:
                asked_at = self._clock()
                document = await self._ask(target, place)
                if document is None:
                    if anew:
                        raise PeerError("malformed_answer", "Google takes none of its page tokens")
                    anew, place = True, _begin(resource)
                    await self._cursors.keep(target, page_of(resource), place.text())
                    continue
                page, following = await self._page(target, place, document, asked_at)
            self._tell_skipped(target, resource, page)
            count += await self._write(
                target, resource, page, place=place, following=following, asked_at=asked_at
            )
            if following is None:
                return count, True
            if following == place:
                raise PeerError("malformed_answer", "a page that goes on at itself")
            place = following
        raise PeerError("malformed_answer", "a list without an end")

    async def _ask(self, target: HookTarget, place: _Place) -> dict[str, Any] | None:
        """The page; None: its token is not taken any more. Raises ``UnavailableError``,
        ``PeerError``.
        """
        query = {"pageToken": place.token} if place.token else {}
        if place.step == "members":
            group = place.groups[0][0]
            path = f"/groups/{quote(group, safe='')}/members"
            query |= {
                "maxResults": str(GROUPS_PAGE),
                "includeDerivedMembership": "true",
                "fields": "nextPageToken,members(id,type)",
            }
        elif place.step == "list":
            path = "/groups"
            query |= {
                "customer": customer(target),
                "maxResults": str(GROUPS_PAGE),
                "fields": "nextPageToken,groups(id,email,name)",
            }
        else:
            path = "/users"
            query |= {
                "customer": customer(target),
                "maxResults": str(USERS_PAGE),
                "projection": "basic",
                "fields": f"nextPageToken,users({USER_FIELDS})",
            }
            if place.step == "deleted":
                query["showDeleted"] = "true"
        reply = await self._google.get(target, path, query)
        if reply.status in {400, 410} and place.token:
            return None
        if reply.status == 404 and place.step == "members":
            # Deleted since it was listed: the next reading tells.
            return {}
        if reply.status != 200 or not isinstance(reply.document, dict):
            raise PeerError("malformed_answer", f"Google answered {reply.status}: {said(reply)}")
        return reply.document

    async def _page(
        self, target: HookTarget, place: _Place, document: Mapping[str, Any], asked_at: float
    ) -> tuple[_Page, _Place | None]:
        """With where the reading goes on; None at its end."""
        token = document.get("nextPageToken") or ""
        if not isinstance(token, str) or len(token) > 4096:
            raise PeerError("malformed_answer", "nextPageToken is not a token")
        onward = _Place(place.step, place.name, token, place.groups, place.listed)
        if place.step in {"there", "deleted"}:
            page = await self._users(target, place, _entries(document, "users"), asked_at)
            if token:
                return page, onward
            if place.step == "deleted":
                return page, None
            await self._vanished(target, page, place, EVERYBODY)
            return page, _Place("deleted", place.name)
        if place.step == "list":
            page, counting = await self._counting(target, _entries(document, "groups"))
            onward.groups = [*place.groups, *counting]
            onward.listed = place.listed | {one[0]: one[2] for one in counting}
            if len(onward.listed) > MAX_GROUPS:
                raise PeerError("malformed_answer", "more groups count than a policy can name")
            if token:
                return page, onward
            await self._deleted_groups(target, page, onward, asked_at)
            onward.step = "members"
            return page, onward if onward.groups else None
        page = _of_group(place.groups[0], _entries(document, "members"))
        if token:
            return page, onward
        await self._vanished(target, page, place, place.groups[0][0])
        rest = place.groups[1:]
        return page, _Place("members", place.name, "", rest, place.listed) if rest else None

    async def _users(
        self, target: HookTarget, place: _Place, entries: list[Any], asked_at: float
    ) -> _Page:
        page = _Page()
        for entry in entries:
            try:
                user = GoogleUser.parse(entry)
            except EntryError as error:
                page.skipped.append(str(error))
                identifier = entry.get("id") if isinstance(entry, dict) else None
                if isinstance(identifier, str) and place.step == "there":
                    # Listed is not gone, whatever else cannot be read.
                    page.there.add((EVERYBODY, identifier))
                continue
            if place.step == "deleted" and not user.deleted:
                continue
            page.users.append(user)
        if entries and place.step == "there":
            self._google.listed(target)
        deleted_ids = [user.id for user in page.users if user.deleted]
        names = await self._addresses.names(target, deleted_ids) if deleted_ids else {}
        for user in page.users:
            # A deleted user's addresses may be somebody else's by now; those that were theirs when
            # they were last seen, and nobody has had since, are known.
            who = Subject.of_record(user.id, names.get(user.id, user.names))
            effect = Effect.BLOCK if user.blocked else Effect.LOOK_UP_ACCOUNT
            state = "deleted" if user.deleted else "blocked" if user.blocked else "there"
            page.events.append(
                HookEvent(
                    Source.GOOGLE,
                    f"reading/{state}",
                    effect,
                    who,
                    event_time=asked_at if user.blocked else None,
                )
            )
            if user.deleted:
                page.gone.add((EVERYBODY, user.id))
            else:
                page.there.add((EVERYBODY, user.id))
        page.users = [user for user in page.users if not user.deleted]
        return page

    async def _counting(
        self, target: HookTarget, entries: list[Any]
    ) -> tuple[_Page, list[tuple[str, str, str]]]:
        """Groups that the policy names by their id, address, or by a name of now or before."""
        page, said_groups = _Page(), list[Group]()
        for entry in entries:
            try:
                document = mapping(entry, "group")
                said_groups.append(
                    _group(
                        text(document.get("id"), "group.id", limit=128),
                        optional(document.get("name"), "group.name", limit=MAX_NAME),
                        optional(document.get("email"), "group.email"),
                    )
                )
            except EntryError as error:
                page.skipped.append(str(error))
        names = await self._names.read(target, Source.GOOGLE, said_groups)
        counting = []
        for group in said_groups:
            former = names[group.id].complete(group).former if group.id in names else ()
            whole = Group(group.id, group.name, (*group.former, *former))
            if groups_that_count(target, whole):
                counting.append((group.id, group.name, group.former[0] if group.former else ""))
                page.named.append(Group(group.id, group.name))
        return page, counting

    async def _deleted_groups(
        self, target: HookTarget, page: _Page, place: _Place, asked_at: float
    ) -> None:
        """Groups with known members that are not listed: asked for one by one."""
        before = await self._cursors.get(target, GROUPS)
        addresses = json.loads(before.text) if before is not None and before.text else {}
        listed_ids = {canonical_id(group) for group in place.listed}
        for group in sorted(await self._members.groups(target) - listed_ids):
            if await self._google.group_exists(target, group):
                # Listed or not, it is there: it does not count any more, or will be listed later.
                continue
            # Its members stay known until the removal stands: how many they are is asked when it
            # is applied (``brake``).
            spellings = [addresses[group]] if addresses.get(group) else []
            for deleted_group in (Group(group), *(Group(group, spelling=one) for one in spellings)):
                event = HookEvent(
                    Source.GOOGLE,
                    "reading/group-deleted",
                    Effect.GROUP_DELETED,
                    None,
                    deleted_group,
                    asked_at,
                )
                page.missing[event] = (group, "")

    async def _vanished(self, target: HookTarget, page: _Page, place: _Place, group: str) -> None:
        """Adds whom the reading has not seen, to be looked up."""
        group = canonical_id(group) if group else EVERYBODY
        mine = directory_members.c.group_id == group
        unseen = await self._members.unseen(target, mine, reading=place.name) - page.there
        everybody = (group, CUSTOMER) in page.there or await self._members.saw(
            target, (group, CUSTOMER), reading=place.name
        )
        if group != EVERYBODY and everybody:
            # Everybody is in it, whoever is named besides.
            page.gone |= unseen
            return
        if (group, CUSTOMER) in unseen:
            # Everybody was in it: who is not named now has left it.
            page.gone.add((group, CUSTOMER))
            member_ids = await self._members.of(target, group) | {m for _, m in page.there}
            unseen |= {
                (group, user) for user in await self._members.of(target, EVERYBODY) - member_ids
            }
        unseen.discard((group, CUSTOMER))
        names = await self._addresses.names(target, sorted(member for _, member in unseen))
        named_group = _group(*place.groups[0]) if group != EVERYBODY else None
        for member in sorted(unseen):
            who = Subject.of_record(member[1], names[member[1]])
            event = HookEvent(
                Source.GOOGLE,
                MISSING,
                Effect.LOOK_UP_ACCOUNT if named_group is None else Effect.LOOK_UP_MEMBERSHIP,
                who,
                named_group,
            )
            page.missing[event] = member

    async def _write(
        self,
        target: HookTarget,
        resource: str,
        page: _Page,
        *,
        place: _Place,
        following: _Place | None,
        asked_at: float,
    ) -> int:
        # Sealed before others have to wait for it; what is refused or given back meanwhile is
        # looked at again within the transaction.
        async with self._database.read() as reading_first:
            first = await self._members.refused(reading_first, target, Source.GOOGLE)
        prepared = self._inbox.prepare(
            target,
            Delivery(Source.GOOGLE, tuple(_news(target, page, first))),
            received_at=self._clock(),
            channel="reading",
        )

        async def work(connection: AsyncConnection) -> int:
            refusals = await self._members.refused(connection, target, Source.GOOGLE)
            news = _news(target, page, refusals)
            news += await self._addresses.learn(
                connection,
                target,
                page.users,
                refused=frozenset(lane for lane, _ in refusals.states),
                at=asked_at,
            )
            for group in page.named:
                news += await self._names.learn(
                    connection, target, Source.GOOGLE, group, at=asked_at
                )
            if news:
                await self._inbox.write_those(connection, target, prepared, news)
            # Of those who are refused already, nothing more is to be found out.
            known_members = {m for e, m in page.missing.items() if _is_refused(target, e, refusals)}
            users = {member for member in known_members if member[1]}
            await self._members.remember(
                connection, target, page.there, page.gone | users, reading=place.name
            )
            for group_id, _ in known_members - users:
                await self._members.forget_group(connection, target, group_id)
            if following is None:
                end = json.dumps(place.listed) if place.listed else ""
                await self._cursors.put(connection, target, resource, end, read_at=asked_at)
                await self._cursors.drop(connection, target, page_of(resource))
            else:
                await self._cursors.put(
                    connection, target, page_of(resource), following.text(), read_at=None
                )
            return len(news)

        count = await self._committer.run(work)
        if count:
            self._stored()
        return count

    @staticmethod
    def _tell_skipped(target: HookTarget, resource: str, page: _Page) -> None:
        if page.skipped:
            RECONCILE_SKIPPED.labels(Source.GOOGLE.value).inc(len(page.skipped))
            log.warning(
                "reconcile_entries_skipped",
                extra=fields(
                    tenant=target.tenant,
                    provider=target.provider,
                    resource=resource,
                    entries=len(page.skipped),
                    error=page.skipped[0],
                ),
            )


def _begin(resource: str) -> _Place:
    return _Place("there" if resource == USERS else "list", new_reading())


def _entries(document: Mapping[str, Any], name: str) -> list[Any]:
    """Absent where there are none."""
    entries = document.get(name, [])
    if not isinstance(entries, list):
        raise PeerError("malformed_answer", f"{name} is not an array")
    return entries


def _group(identifier: str, name: str, email: str) -> Group:
    """Policies may name it by its address too, which is neither id nor name."""
    return Group(identifier, name, (email,) if email else ())


def _of_group(one: tuple[str, str, str], entries: list[Any]) -> _Page:
    page, group = _Page(), _group(*one)
    for entry in entries:
        try:
            member = mapping(entry, "member")
            kind = optional(member.get("type"), "member.type")
            if kind == "CUSTOMER":
                page.there.add((group.id, CUSTOMER))
                continue
            if kind == "GROUP" or not member.get("id"):
                # Its own members are listed too; who has no id here is nobody's user.
                continue
            user = text(member.get("id"), "member.id", limit=64)
        except EntryError as error:
            page.skipped.append(str(error))
            continue
        page.there.add((group.id, user))
        page.events.append(
            HookEvent(
                Source.GOOGLE,
                "reading/member",
                Effect.LOOK_UP_MEMBERSHIP,
                Subject.of_record(user, (("idp_subject", user),)),
                group,
            )
        )
    return page


def _is_refused(target: HookTarget, event: HookEvent, refused: Refused) -> bool:
    return refused.holds(target, event) or refused.holds_for_all(target, event)


def _news(target: HookTarget, page: _Page, refused: Refused) -> list[HookEvent]:
    """Without what this source's standing says already: whoever is there is looked up only where
    something stands against them.
    """

    def is_to_be_looked_up(event: HookEvent) -> bool:
        # A blocked user's groups are asked for when the user is back: a restored one need not be
        # a member again.
        is_blocked = event.group is not None and refused.holds(target, replace(event, group=None))
        return not is_blocked and not _is_refused(target, event, refused)

    news = [
        event
        for event in page.events
        if (
            refused.holds(target, event)
            if event.effect is Effect.LOOK_UP_ACCOUNT
            else refused.is_news(target, event)
        )
    ]
    return news + [event for event in page.missing if is_to_be_looked_up(event)]
