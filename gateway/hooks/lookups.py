"""What has to be asked before an event can be applied: the names of its group, what the directory
says now, who is signed in.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.errors import PeerError, UnavailableError
from gateway.hooks.effects import Found, groups_that_count, is_another
from gateway.hooks.event import Effect, HookEvent, Source, Subject
from gateway.hooks.inbox import about_key, lane_key
from gateway.hooks.ordering import effective_time
from gateway.hooks.sources import entra, google

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.core.hook_target import HookTarget
    from gateway.core.person import Person
    from gateway.hooks.api import Directory, People
    from gateway.hooks.effects import EffectPlan, Kept, Notice
    from gateway.hooks.event import Group
    from gateway.hooks.group_names import Names
    from gateway.hooks.inbox import Inbox, Pending
    from gateway.hooks.scim.people import ScimPeople
    from gateway.hooks.webhooks.outbox import Outbox

SETTLE_S = 5.0
"""How long a Graph look-up may lag behind its own notifications. Longer delays a re-add, shorter
risks giving back too early (until the next delta).
"""
ABSENT_S = 300.0
"""How old an event must be for "not known" to count. Shorter risks refusing somebody who was just
created; longer keeps in who was deleted for good where no notification and no reading said so.
"""

ABSENT = "users/not-found"
"""Type of an event that the look-up of an unknown person makes."""
AGREED = frozenset({entra.MISSING, google.MISSING, google.DELETED})
"""Types of events that say themselves what a look-up then says again."""


class Postponed(Exception):  # noqa: N818 - not an error: a directory is asked again at ``until``
    def __init__(self, until: float) -> None:
        super().__init__()
        self.until = until


@dataclass(frozen=True, slots=True)
class NamedGroup:
    """A group as an event, or the provider when asked, named it at ``at``."""

    target: HookTarget
    source: Source
    group: Group
    at: float
    gone: bool = False


class Lookups:
    """``directory`` None: nothing can be looked up, and such events wait. ``clock``: UTC epoch
    seconds. Methods raise ``UnavailableError``, ``PeerError``, ``Postponed``.
    """

    def __init__(
        self,
        inbox: Inbox,
        *,
        people: People | None,
        records: ScimPeople | None,
        directory: Directory | None,
        outbox: Outbox,
        clock: Callable[[], float],
    ) -> None:
        self._inbox = inbox
        self._people = people
        self._records = records
        self._directory = directory
        self._outbox = outbox
        self._clock = clock

    def ask(self) -> Directory:
        if self._directory is None:
            msg = "no directory can be asked here"
            raise UnavailableError(msg)
        return self._directory

    async def named(
        self, target: HookTarget, pending: Pending, names: Mapping[str, Names]
    ) -> tuple[HookEvent, NamedGroup | None]:
        """The event with every name that its group has and had: tokens and policies may carry names
        where events carry ids, or another name; and what the group is called, where that was said.
        """
        event, group = pending.event, pending.event.group
        if group is None or not group.id or group.spelling or event.effect is Effect.APP_REMOVED:
            return event, None
        at = effective_time(event.event_time, pending.received_at)
        entry = names.get(group.id)
        complete = group if entry is None else entry.complete(group)
        renamed = event.effect is Effect.GROUP_RENAMED
        if (
            not group.name
            and self._directory is not None
            and event.source is Source.ENTRA
            and (
                renamed
                or (target.groups_used is not None and not groups_that_count(target, complete))
            )
        ):
            at = self._clock()
            group = replace(
                group, name=await self._directory.group_name(target, group.id, again=renamed)
            )
            complete = (
                complete if not group.name else group if entry is None else entry.complete(group)
            )
        is_deleted = event.effect is Effect.GROUP_DELETED
        named_group = (
            NamedGroup(target, event.source, group, at, is_deleted)
            if group.name or is_deleted
            else None
        )
        # What a deleted group was called before may be another group's name by now; whoever lost it
        # then has lost it already.
        return replace(
            event, group=replace(complete, former=()) if is_deleted else complete
        ), named_group

    async def looked_up(
        self, target: HookTarget, pending: Pending, event: HookEvent, kept: dict[str, Kept]
    ) -> HookEvent:
        """The event with what the directory says now in place of "something changed"."""
        if (
            event.effect not in {Effect.LOOK_UP_ACCOUNT, Effect.LOOK_UP_MEMBERSHIP}
            or event.subject is None
        ):
            return event
        entry = kept.get(about_key(event.group))
        asked_at = self._clock()
        if entry is not None and entry.state.refused and asked_at < entry.state.at + SETTLE_S:
            raise Postponed(entry.state.at + SETTLE_S)
        if event.group is None:
            return await self._account(target, pending, event, event.subject, asked_at)
        user = event.subject.oid or event.subject.record
        member = await self.ask().is_member(target, user, event.group.id)
        if not member:
            # Somebody said that there is a change; where it was an addition, this is the answer
            # from before it.
            _wait_for_second_answer(pending, asked_at)
        if member and event.group is not None:
            await self._settled_deletion(target, event, asked_at)
        if event.subject.record:
            names = await self.ask().known_names(target, user)
            event = replace(event, subject=event.subject.joined(Subject.of_record(user, names)))
        return replace(
            event,
            effect=Effect.GROUP_ADDED if member else Effect.GROUP_REMOVED,
            event_time=asked_at,
        )

    async def _account(
        self,
        target: HookTarget,
        pending: Pending,
        event: HookEvent,
        subject: Subject,
        asked_at: float,
    ) -> HookEvent:
        user = subject.oid or subject.record
        account = await self.ask().account(target, user)
        if account is None:
            _wait_for_second_answer(pending, asked_at)
            names = await self.ask().known_names(target, user) if subject.record else ()
            return replace(
                event,
                type=ABSENT,
                effect=Effect.BLOCK,
                subject=subject.joined(Subject.of_record(subject.record, names)),
                event_time=asked_at,
            )
        if account.enabled and subject.record and asked_at < pending.received_at + SETTLE_S:
            # The answer may be from before the change that was told.
            raise Postponed(pending.received_at + SETTLE_S)
        return replace(
            event,
            effect=Effect.LIFT if account.enabled else Effect.BLOCK,
            # As the directory names the user now: what was given up is nobody's to give back.
            subject=Subject.of_record(subject.record, account.names) if account.names else subject,
            event_time=asked_at,
        )

    async def _settled_deletion(
        self, target: HookTarget, event: HookEvent, asked_at: float
    ) -> None:
        """Raises ``Postponed`` where the group was deleted so shortly before that the directory
        may not know it yet.
        """
        state = await self._inbox.state(
            lane_key(target, replace(event, subject=None)), about_key(event.group)
        )
        if state is not None and state.refused and asked_at < state.at + SETTLE_S:
            raise Postponed(state.at + SETTLE_S)

    async def who(self, target: HookTarget, event: HookEvent) -> Found:
        """Who is signed in by one of the ids; where nobody is, by one of the addresses."""
        subject = event.subject
        if subject is None or self._people is None:
            return Found()
        others: set[str] = set()
        for kinds in (("idp_subject", "oid"), ("email",)):
            people: dict[str, Person] = {}
            for kind, value in subject.names:
                for one in (
                    await self._people.find(
                        target.tenant, provider=target.provider, **{kind: value}
                    )
                    if kind in kinds
                    else ()
                ):
                    if kind == "email" and (
                        is_another(subject, one)
                        or await self._is_anothers(target, event, one, value)
                    ):
                        others.add(value)
                    else:
                        people[one.user] = one
            if people:
                return Found(tuple(people.values()), by_address=kinds == ("email",))
        return Found(by_address=bool(subject.email), others=frozenset(others))

    async def _is_anothers(
        self, target: HookTarget, event: HookEvent, person: Person, email: str
    ) -> bool:
        """Whether the source itself says that the address is another one's."""
        subject = event.subject or Subject()
        if event.source is Source.SCIM:
            return await self._has_a_record(target, subject, person)
        return bool(
            subject.record
            and event.source is Source.GOOGLE
            and await self.ask().has_another_owner(target, email, subject.record)
        )

    async def _has_a_record(self, target: HookTarget, subject: Subject, person: Person) -> bool:
        """Whether the sender keeps another, active record of somebody who is signed in with an
        address of this one.
        """
        ids = [one for one in (person.idp_subject, person.oid) if one]
        return bool(
            subject.record
            and ids
            and self._records is not None
            and await self._records.is_another(target, ids, record=subject.record)
        )

    async def addressed(
        self, target: HookTarget, planned: EffectPlan, notice: Notice
    ) -> EffectPlan:
        """For the app, which knows people by address: Graph's events name ids only. Nobody else
        acts on this address.
        """
        if self._outbox.silent(target.tenant):
            return planned
        if self._people is not None and not notice.people and notice.subject:
            # Whoever is away now was here before, perhaps.
            notice = replace(
                notice,
                people=tuple(
                    await self._people.known(
                        target.tenant, provider=target.provider, names=notice.subject.names
                    )
                ),
            )
            planned = replace(planned, notice=notice)
        if self._directory is None or not notice.subject.oid or notice.subject.email:
            return planned
        with contextlib.suppress(UnavailableError, PeerError):
            account = await self._directory.account(target, notice.subject.oid)
            return replace(
                planned,
                notice=replace(
                    notice,
                    subject=replace(
                        notice.subject, email=account.email if account is not None else ""
                    ),
                ),
            )
        return planned


def _wait_for_second_answer(pending: Pending, asked_at: float) -> None:
    """Raises ``Postponed`` unless the event says the same as the answer, or is old enough for it
    to be a second one.
    """
    if pending.event.type not in AGREED and asked_at < pending.received_at + ABSENT_S:
        raise Postponed(pending.received_at + ABSENT_S)
