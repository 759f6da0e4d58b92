"""Takes waiting events out of the inbox and makes them true.

Rules:
- Per lane: claim (commit) → look up and revoke → settle, state and outgoing message (one
  commit). A crash in between repeats the middle part, which only ever says "end" or "refuse" again,
  and writes one message.
- Whatever fails is tried again with growing pauses; an outage never uses up the attempts, a refusal
  by the provider does.
- Where a state does not open, what takes away is done, for all that is known newest; it is
  neither settled nor told before the state opens.
- What hits nobody who is signed in is told as such: it holds for later logins, but somebody may
  have been meant who has another name here.
- Giving back on a look-up waits until a refusal has settled: a directory may still answer with what
  was true before.
- A directory that does not know somebody, or does not know yet that a member was added, is asked
  again later: Graph answers so for a while about what was just made. It counts where two answers
  agree: the second one, or one about whom a full reading does not name any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.background import background_task, doubling, fault
from gateway.errors import PeerError, UnavailableError
from gateway.hooks.effects import (
    ACCOUNT,
    NAMES,
    Around,
    Found,
    Kept,
    Notice,
    groups_that_count,
    is_another,
    overdue,
    plan,
    released,
    renamed,
)
from gateway.hooks.event import MAX_EVENTS, TAKES_AWAY, Delivery, Effect, Group, HookEvent, Source
from gateway.hooks.inbox import CLOSED_S, LEASE_S, UNREAD, Settled, about_key, digest, lane_key
from gateway.hooks.ordering import LASTING, AccountState, effective_time
from gateway.hooks.sources.entra import MISSING
from gateway.hooks.webhooks.outbox import Origin
from gateway.log import fields
from gateway.metrics import HOOK_EVENTS, HOOK_HELD, HOOK_QUEUE_DEPTH, HOOK_QUEUE_OLDEST_AGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.core.person import Person
    from gateway.core.revocation import RevocationRequest, RevocationStatus
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.api import Directory, HookTargets, People
    from gateway.hooks.effects import EffectPlan
    from gateway.hooks.event import Subject
    from gateway.hooks.group_names import GroupNames, Names
    from gateway.hooks.inbox import Inbox, Lane, Pending
    from gateway.hooks.removal_limit import Brake
    from gateway.hooks.scim.people import ScimPeople
    from gateway.hooks.webhooks.outbox import Outbox
    from gateway.sessions.api import Revoker

LANES = 128
"""Lanes worked on at once."""
PER_TENANT = 32
"""Of them, one tenant's: its directory may take its time over each, and others must not wait for
it. Lanes whose revocations are written, or being written, do not count: what they wait for is the
confirmation of replicas, and nobody's removal waits for another's.
"""
CONFIRMING = 1024
"""Lanes in all, with those that only wait for confirmations. Bounds memory."""
CONFIRMING_PER_TENANT = 256
"""Of them, one tenant's; what it has beyond counts as being worked on."""
APPLY_S = 20.0
"""Longest time for one lane. Shorter than ``inbox.LEASE_S``."""
POLL_S = 1.0
"""How often to look for what another replica left behind; what arrives here wakes the loop at
once.
"""
MAX_ATTEMPTS = 12
MAX_PAUSE_S = 300.0
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
NOBODY = "applied_to_nobody"
"""State of an event that takes away and met nobody who is signed in, or gives back what was not in
force.
"""

log = logging.getLogger(__name__)


class _Held(Exception):  # noqa: N818 - not an error: an operator decides
    """With the reason."""


class _Postponed(Exception):  # noqa: N818 - not an error: a directory is asked again at ``until``
    def __init__(self, until: float) -> None:
        super().__init__()
        self.until = until


class _Unread(Exception):  # noqa: N818 - not an error: what was said before is looked at again later
    """It gives back, or may, and its state does not open."""


@dataclass(frozen=True, slots=True)
class _Named:
    """A group as an event, or the provider when asked, named it at ``at``."""

    target: HookTarget
    source: Source
    group: Group
    at: float
    gone: bool = False


@dataclass(slots=True)
class _Outcome:
    """What one lane came to, to be written in one transaction."""

    settled: list[Settled]
    states: dict[str, tuple[Kept, HookTarget]]
    messages: list[tuple[HookTarget, str, EffectPlan, Pending]]
    names: list[_Named]


@dataclass(frozen=True, slots=True)
class _Rest:
    failures: int
    until: float
    """Seconds of the loop's clock."""


class Applier:
    """The loop of one admin replica. ``directory`` None: nothing can be looked up, and such events
    wait.
    """

    def __init__(
        self,
        inbox: Inbox,
        committer: GroupCommitter,
        *,
        names: GroupNames,
        targets: HookTargets,
        revoker: Revoker,
        people: People | None,
        directory: Directory | None,
        outbox: Outbox,
        clock: Callable[[], float],
        brake: Brake,
        records: ScimPeople | None = None,
        apply_s: float = APPLY_S,
    ) -> None:
        self._inbox = inbox
        self._committer = committer
        self._names = names
        self._targets = targets
        self._revoker = revoker
        self._people = people
        self._records = records
        self._brake = brake
        self._directory = directory
        self._outbox = outbox
        self._clock = clock
        self._apply_s = apply_s
        self._wake = asyncio.Event()
        self._active: dict[asyncio.Task[None], Lane] = {}
        self._confirming: set[asyncio.Task[None] | None] = set()
        self._resting: dict[str, _Rest] = {}
        """Lanes that could not be settled."""

    def wake(self) -> None:
        """Something was stored."""
        self._wake.set()

    def running(self) -> AbstractAsyncContextManager[None]:
        return background_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            active = self._active
            measured_at = 0.0
            while True:
                self._wake.clear()
                lanes: tuple[Lane, ...] = ()
                try:
                    working = self._working()
                    resting = [
                        key
                        for key, rest in self._resting.items()
                        if asyncio.get_running_loop().time() < rest.until
                    ]
                    room = min(LANES - len(working), CONFIRMING - len(active))
                    if room > 0:
                        lanes = await self._inbox.claim(
                            now=self._clock(),
                            limit=room,
                            busy=[lane.key for lane in active.values()],
                            working=working,
                            resting=resting,
                            per_tenant=PER_TENANT,
                        )
                    if self._clock() - measured_at >= POLL_S:
                        measured_at = self._clock()
                        await self._measure()
                except UnavailableError as error:
                    log.warning("hook_inbox_unavailable", extra=fields(error=str(error)))
                except Exception as error:  # noqa: BLE001 - logged
                    # Whatever it was: who was removed must not stay inside because the loop has
                    # ended.
                    fault("hook_inbox_fault", error)
                for lane in lanes:
                    task = group.create_task(self._guarded(lane))
                    active[task] = lane
                    task.add_done_callback(self._ended)
                if not lanes:
                    await self._pause()

    def _working(self) -> list[str]:
        """The tenant of each lane that counts against ``LANES`` and ``PER_TENANT``."""
        free = dict.fromkeys((lane.tenant for lane in self._active.values()), CONFIRMING_PER_TENANT)
        working = []
        for task, lane in self._active.items():
            if task in self._confirming and free[lane.tenant]:
                free[lane.tenant] -= 1
            else:
                working.append(lane.tenant)
        return working

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._active.pop(task, None)
        self._wake.set()

    async def _pause(self) -> None:
        """Until something was stored, a lane has ended or made room, or ``POLL_S`` have passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()

    async def _revoke(self, requests: Iterable[RevocationRequest]) -> list[RevocationStatus]:
        """One after the other. Meanwhile the lane takes no other's place."""
        task = asyncio.current_task()
        self._confirming.add(task)
        if len(self._active) >= PER_TENANT:
            self._wake.set()
        try:
            return [await self._revoker.revoke(request) for request in requests]
        finally:
            self._confirming.discard(task)

    async def _measure(self) -> None:
        waiting, oldest = await self._inbox.backlog()
        HOOK_QUEUE_DEPTH.set(waiting)
        HOOK_HELD.set(await self._inbox.held())
        HOOK_QUEUE_OLDEST_AGE.set(max(0.0, self._clock() - oldest) if oldest is not None else 0.0)

    async def _guarded(self, lane: Lane) -> None:
        try:
            await self.apply(lane)
        except UnavailableError as error:
            log.warning("hook_worker_commit_failed", extra=fields(error=str(error)))
            self._rest(lane)
        except Exception as error:  # noqa: BLE001 - logged
            fault("hook_worker_crashed", error, tenant=lane.tenant)
            self._rest(lane)
        else:
            self._resting.pop(lane.key, None)

    def _rest(self, lane: Lane) -> None:
        """The lane is still this process's: it is taken again after a pause that grows to what
        another process would wait.
        """
        failures = self._resting[lane.key].failures + 1 if lane.key in self._resting else 0
        now = asyncio.get_running_loop().time()
        self._resting[lane.key] = _Rest(
            failures, now + doubling(POLL_S / 2, failures, longest_s=LEASE_S)
        )
        if len(self._resting) > 2 * LANES:
            # Of those that another process has taken meanwhile nobody tells.
            self._resting = {key: rest for key, rest in self._resting.items() if rest.until > now}

    async def apply(self, lane: Lane) -> None:
        """One lane, from claim to settled. Raises ``UnavailableError`` if settling could not be
        written.
        """
        outcome = _Outcome([], {}, [], [])
        kept = dict(lane.states)
        try:
            async with asyncio.timeout(self._apply_s):
                closed: set[str] = set()
                names = await self._known_names(lane, closed)
                for pending in lane.pending:
                    outcome.settled.append(
                        await self._one(pending, kept, lane.unread, names, closed, outcome)
                    )
        except TimeoutError:
            # What came after it in the lane goes first the next time.
            late = lane.pending[len(outcome.settled)]
            outcome.settled.append(
                self._noted(late, self._again(late, "it was not done in time", gives_up=False))
            )

        sealed = {
            about: self._inbox.sealed(lane.key, about, one)
            for about, (one, _) in outcome.states.items()
        }

        async def settle(connection: AsyncConnection) -> bool:
            now = self._clock()
            if not await self._inbox.release(connection, lane.key, now=now):
                return False
            for about, (one, target) in outcome.states.items():
                await self._inbox.keep(
                    connection, lane.key, about, one, sealed=sealed[about], target=target, now=now
                )
            for target, revocation, planned, pending in outcome.messages:
                if planned.notice is not None:
                    event = pending.event
                    origin = Origin(target.tenant, target.provider, event.source.value, event.type)
                    await self._outbox.add(
                        connection,
                        planned.notice,
                        origin,
                        lane=lane.key,
                        revocation=revocation,
                        now=now,
                    )
            for named in outcome.names:
                news = await self._names.learn(
                    connection, named.target, named.source, named.group, at=named.at
                )
                if news:
                    await self._inbox.store(
                        connection,
                        named.target,
                        Delivery(named.source, news),
                        received_at=now,
                        channel="renamed",
                    )
                if named.gone:
                    await self._names.forget(connection, named.target, named.source, named.group)
            await self._inbox.settle(connection, outcome.settled, now=now)
            return True

        if not await self._committer.run(settle):
            log.warning("hook_worker_lease_lost", extra=fields(events=len(outcome.settled)))
        elif outcome.messages:
            self._outbox.wake()

    async def _known_names(self, lane: Lane, closed: set[str]) -> Mapping[str, Names]:
        """Of the groups that the lane's events are about, by id; ``closed``: gets those whose names
        do not open.
        """
        target = (
            self._targets.find(lane.pending[0].tenant, lane.pending[0].provider)
            if lane.pending
            else None
        )
        return (
            {}
            if target is None
            else await self._names.read(
                target,
                lane.pending[0].event.source,
                [p.event.group for p in lane.pending],
                closed=closed,
            )
        )

    async def _one(
        self,
        pending: Pending,
        kept: dict[str, Kept],
        unread: Mapping[str, AccountState],
        names: Mapping[str, Names],
        closed: set[str],
        outcome: _Outcome,
    ) -> Settled:
        try:
            settled = await self._applied(pending, kept, unread, names, closed, outcome)
        except _Unread:
            return Settled(pending.id, "new", UNREAD, self._clock() + CLOSED_S, in_vain=False)
        except _Postponed as postponed:
            return Settled(
                pending.id, "new", "waiting for the directory to settle", postponed.until
            )
        except _Held as held:
            settled = Settled(pending.id, "held", str(held))
        except TimeoutError:
            raise
        except UnavailableError as error:
            settled = self._again(pending, str(error), gives_up=False)
        except PeerError as error:
            settled = self._again(pending, f"{error.code}: {error}", gives_up=True)
        except Exception as error:  # noqa: BLE001 - logged
            fault(
                "hook_event_fault",
                error,
                tenant=pending.tenant,
                provider=pending.provider,
                source=pending.event.source.value,
                event_type=pending.event.type,
            )
            settled = self._again(pending, type(error).__name__, gives_up=True)
        return self._noted(pending, settled)

    def _noted(self, pending: Pending, settled: Settled) -> Settled:
        """Counted and logged."""
        source = pending.event.source.value
        HOOK_EVENTS.labels(source, "retried" if settled.state == "new" else settled.state).inc()
        level = logging.WARNING if settled.state in {"new", "failed", "held"} else logging.INFO
        log.log(
            level,
            "hook_event",
            extra=fields(
                tenant=pending.tenant,
                provider=pending.provider,
                source=source,
                event_type=pending.event.type,
                effect=pending.event.effect.value,
                outcome=settled.state,
                error=settled.error or None,
                id=pending.id,
                revocations=list(settled.revocations) or None,
                duration_ms=round((self._clock() - pending.received_at) * 1000, 1),
            ),
        )
        return settled

    def _again(self, pending: Pending, error: str, *, gives_up: bool) -> Settled:
        if gives_up and pending.attempts + 1 >= MAX_ATTEMPTS:
            return Settled(pending.id, "failed", error)
        return Settled(
            pending.id,
            "new",
            error,
            self._clock()
            + doubling(
                1.0, pending.attempts, longest_s=MAX_PAUSE_S if gives_up else MAX_PAUSE_S / 5
            ),
        )

    async def _applied(
        self,
        pending: Pending,
        kept: dict[str, Kept],
        unread: Mapping[str, AccountState],
        names: Mapping[str, Names],
        closed: set[str],
        outcome: _Outcome,
    ) -> Settled:
        target = self._targets.find(pending.tenant, pending.provider)
        if target is None:
            return Settled(pending.id, "ignored", "the tenant or provider is gone")
        event = pending.event
        if event.effect is Effect.NOTICE:
            return Settled(pending.id, "ignored", "a notice of the sender, without effect")
        if (
            event.source is Source.ENTRA
            and event.reference
            and not await self._ask().owns_subscription(target, event.reference)
        ):
            msg = "unknown_subscription"
            raise PeerError(msg, "came through a subscription that this gateway does not hold")
        if event.effect is Effect.SUBSCRIPTION:
            await self._ask().lifecycle(target, event.reference, event.type)
            return Settled(pending.id, "applied")
        if event.members:
            if (
                event.effect is Effect.MEMBERS_REMOVED
                and not pending.released
                and groups_that_count(target, event.group or Group())
            ):
                await self._hold(target, people=len(event.members))
            return await self._members(target, pending)
        if event.effect in {Effect.RENAMED, Effect.RELEASED}:
            return await self._other_names(target, pending, kept, outcome)
        nameless = event.group is not None and event.group.id in closed
        if nameless and (event.effect not in TAKES_AWAY or pending.in_effect):
            raise _Unread
        # What it is called here is taken away at once, what it was called before when that opens.
        event = event if nameless else await self._named(target, pending, names, outcome)
        if event.effect is Effect.GROUP_RENAMED:
            # What it lost and gained follows in events of its own, stored with the name
            # (``group_names``).
            earlier = event.group is not None and (event.group.former or event.group.id in names)
            return (
                Settled(pending.id, "applied")
                if earlier
                else Settled(
                    pending.id, "ignored", "what the group was called before is not known here"
                )
            )
        if event.effect in LASTING and event.subject is not None and NAMES in kept:
            # It was said of the record, whatever the record was called when it was said.
            event = replace(
                event, subject=event.subject.joined(kept[NAMES].event.subject or event.subject)
            )
        said = event
        event = await self._looked_up(target, pending, event, kept)
        about = about_key(event.group if event.effect is not Effect.APP_REMOVED else None)
        received_at = pending.received_at if event is said else self._clock()
        if (unread or nameless) and not _is_newest(event, unread.get(about), received_at):
            raise _Unread
        found = await self._who(target, event)
        planned = plan(
            event,
            target=target,
            kept=kept.get(about),
            received_at=received_at,
            found=found,
            around=_around(target, kept),
        )
        out = (
            kept[about].state.refused
            if about in kept
            else about in unread and unread[about].refused
        )
        counted = not pending.released and not out and _is_mass_removal(said, event, planned)
        if counted:
            person = event.subject.key if event.subject is not None else ""
            await self._hold(
                target,
                person=person,
                people=1 if person else await self._brake.members(target, event.group),
            )
        statuses = await self._revoke(planned.revoke)
        if (unread or nameless) and (
            event.effect in LASTING or (event.subject is not None and event.subject.record)
        ):
            # What was imposed before is part of the state, and names that a record had: it is
            # applied again, and told, when they are known.
            return Settled(
                pending.id,
                "new",
                UNREAD,
                self._clock() + CLOSED_S,
                tuple(s.id for s in statuses),
                counted,
                in_vain=False,
            )
        nobody = bool(statuses) and not found.people and not any(s.ended for s in statuses)
        lifts = [await self._revoker.lift(request) for request in planned.lift]
        statuses += lifts
        exempt = [await self._revoker.exempt(request) for request in planned.exempt]
        if any(exempt) and planned.notice is None and event.subject is not None:
            planned = replace(
                planned,
                notice=Notice(
                    "user.group_added",
                    "group",
                    event.subject,
                    found.people,
                    event.group,
                    event.event_time,
                ),
                ignored="",
            )
        found_nothing = bool(lifts) and not any(s.lifted is None or s.lifted for s in lifts)
        if planned.kept is not None and event.effect is not Effect.APP_REMOVED:
            kept[about] = planned.kept
            outcome.states[about] = (planned.kept, target)
        if planned.notice is not None:
            outcome.messages.append(
                (
                    target,
                    statuses[0].id if statuses else "",
                    await self._addressed(target, planned, planned.notice),
                    pending,
                )
            )
        state = (
            "ignored"
            if planned.ignored and not statuses
            else NOBODY
            if nobody or found_nothing
            else "applied"
        )
        why = (
            "nobody is signed in under these names"
            if nobody
            else "nothing that this source imposed was in force any more"
            if found_nothing
            else planned.ignored
        )
        return Settled(
            pending.id, state, why, revocations=tuple(s.id for s in statuses), counted=counted
        )

    async def _hold(self, target: HookTarget, *, people: int, person: str = "") -> None:
        """Raises ``_Held`` where so many more people are too many at once."""
        if people and (
            reason := await self._brake.reason_to_hold(target, person=person, people=people)
        ):
            raise _Held(reason)

    async def _members(self, target: HookTarget, pending: Pending) -> Settled:
        """One event of its own for each person, in the person's lane: looked up and stored at once,
        and as old as what it comes from.
        """
        event = pending.event
        if self._records is None:
            msg = "members' records cannot be read here"
            raise UnavailableError(msg)
        people = await self._records.people(target, event.members)
        effect = (
            Effect.GROUP_REMOVED if event.effect is Effect.MEMBERS_REMOVED else Effect.GROUP_ADDED
        )
        each = tuple(
            HookEvent(
                event.source,
                event.type,
                effect,
                person,
                event.group,
                event.event_time,
                f"member:{digest(pending.id, record)}",
                event.reference,
            )
            for record, person in sorted(people.items())
        )
        if event.effect is Effect.MEMBERS_ADDED:
            namesakes = await self._records.namesakes(target, event.members)
            each += tuple(
                HookEvent(
                    event.source,
                    event.type,
                    Effect.RELEASED,
                    one,
                    event.group,
                    event.event_time,
                    f"namesake:{digest(pending.id, one.record)}",
                    event.reference,
                )
                for one in namesakes
            )
        if each:
            await self._inbox.accept(
                target,
                Delivery(event.source, each),
                received_at=pending.received_at,
                channel="members",
                released=pending.released,
            )
            self._wake.set()
        return Settled(
            pending.id, "applied" if each else "ignored", "" if each else "no member is known"
        )

    async def _other_names(
        self, target: HookTarget, pending: Pending, kept: dict[str, Kept], outcome: _Outcome
    ) -> Settled:
        """A record has other names than before, or gives some up: every state of it follows."""
        event = pending.event
        found = (
            await self._who(target, event)
            if event.effect is Effect.RENAMED and any(k.state.refused for k in kept.values())
            else Found()
        )
        at = effective_time(event.event_time, pending.received_at)
        whole = event.effect is Effect.RENAMED or (
            event.reference != ACCOUNT and event.group is None
        )
        statuses = []
        for about, one in list(kept.items()):
            if about == NAMES or (
                event.effect is Effect.RELEASED and not _concerns(event, about, one, at=at)
            ):
                continue
            planned = (
                renamed(
                    event, target=target, kept=one, found=found, received_at=pending.received_at
                )
                if event.effect is Effect.RENAMED
                else released(event, one)
            )
            if planned is None or planned.kept is None:
                continue
            statuses += await self._revoke(planned.revoke)
            statuses += [await self._revoker.lift(request) for request in planned.lift]
            kept[about] = planned.kept
            outcome.states[about] = (planned.kept, target)
        if event.effect is Effect.RENAMED and (NAMES not in kept or kept[NAMES].state.at <= at):
            kept[NAMES] = Kept(AccountState(refused=False, at=at), event)
            outcome.states[NAMES] = (kept[NAMES], target)
        elif (
            whole
            and NAMES in kept
            and (left := released(event, kept[NAMES])) is not None
            and left.kept is not None
        ):
            kept[NAMES] = left.kept
            outcome.states[NAMES] = (left.kept, target)
        return Settled(pending.id, "applied", revocations=tuple(s.id for s in statuses))

    async def _named(
        self, target: HookTarget, pending: Pending, names: Mapping[str, Names], outcome: _Outcome
    ) -> HookEvent:
        """The event with every name that its group has and had: tokens and policies may carry names
        where events carry ids, or another name.
        """
        event, group = pending.event, pending.event.group
        if group is None or not group.id or group.spelling or event.effect is Effect.APP_REMOVED:
            return event
        at = effective_time(event.event_time, pending.received_at)
        known = names.get(group.id)
        complete = group if known is None else known.complete(group)
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
                complete if not group.name else group if known is None else known.complete(group)
            )
        gone = event.effect is Effect.GROUP_DELETED
        if group.name or gone:
            outcome.names.append(_Named(target, event.source, group, at, gone))
        # What a deleted group was called before may be another group's name by now; whoever lost it
        # then has lost it already.
        return replace(event, group=replace(complete, former=()) if gone else complete)

    async def _looked_up(
        self, target: HookTarget, pending: Pending, event: HookEvent, kept: dict[str, Kept]
    ) -> HookEvent:
        """The event with what the directory says now in place of "something changed"."""
        if (
            event.effect not in {Effect.LOOK_UP_ACCOUNT, Effect.LOOK_UP_MEMBERSHIP}
            or event.subject is None
        ):
            return event
        known = kept.get(about_key(event.group))
        asked_at = self._clock()
        if known is not None and known.state.refused and asked_at < known.state.at + SETTLE_S:
            raise _Postponed(known.state.at + SETTLE_S)
        if event.group is None:
            account = await self._ask().account(target, event.subject.oid)
            if account is None:
                _wait_for_second_answer(pending, asked_at)
                return replace(event, type=ABSENT, effect=Effect.BLOCK, event_time=asked_at)
            return replace(
                event, effect=Effect.LIFT if account.enabled else Effect.BLOCK, event_time=asked_at
            )
        member = await self._ask().is_member(target, event.subject.oid, event.group.id)
        if not member:
            # Somebody said that there is a change; where it was an addition, this is the answer
            # from before it.
            _wait_for_second_answer(pending, asked_at)
        if member and event.group is not None:
            await self._settled_deletion(target, event, asked_at)
        return replace(
            event,
            effect=Effect.GROUP_ADDED if member else Effect.GROUP_REMOVED,
            event_time=asked_at,
        )

    async def _settled_deletion(
        self, target: HookTarget, event: HookEvent, asked_at: float
    ) -> None:
        """Raises ``_Postponed`` where the group was deleted so shortly before that the directory
        may not know it yet.
        """
        deleted = await self._inbox.state(
            lane_key(target, replace(event, subject=None)), about_key(event.group)
        )
        if deleted is not None and deleted.refused and asked_at < deleted.at + SETTLE_S:
            raise _Postponed(deleted.at + SETTLE_S)

    def _ask(self) -> Directory:
        if self._directory is None:
            msg = "no directory can be asked here"
            raise UnavailableError(msg)
        return self._directory

    async def _who(self, target: HookTarget, event: HookEvent) -> Found:
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
                        is_another(subject, one) or await self._has_a_record(target, subject, one)
                    ):
                        others.add(value)
                    else:
                        people[one.user] = one
            if people:
                return Found(tuple(people.values()), by_address=kinds == ("email",))
        return Found(by_address=bool(subject.email), others=frozenset(others))

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

    async def _addressed(
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

    async def apply_overdue(self, target: HookTarget) -> int:
        """Refusals of groups that count only now (the policy, or a name that was learned later) go
        through their lanes once more; the number of them.
        """
        count = 0
        async for page in self._inbox.states_without_effect(target.tenant, target.provider):
            again: dict[Source, list[HookEvent]] = {}
            for source in {kept.event.source for _, _, kept in page}:
                names = await self._names.read(
                    target,
                    source,
                    [kept.event.group for _, _, kept in page if kept.event.source is source],
                )
                for lane, about, kept in page:
                    group = kept.event.group
                    if kept.event.source is not source or group is None:
                        continue
                    known = names.get(group.id)
                    event = overdue(
                        replace(kept, event=replace(kept.event, group=known.complete(group)))
                        if known is not None
                        else kept,
                        target=target,
                    )
                    if event is not None and event.group is not None:
                        # Until it was applied, once for the same names.
                        once = digest(
                            lane,
                            about,
                            repr(kept.state.at),
                            *groups_that_count(target, event.group),
                        )
                        again.setdefault(source, []).append(replace(event, id=once))
            for source, events in again.items():
                for start in range(0, len(events), MAX_EVENTS):
                    accepted = await self._inbox.accept(
                        target,
                        Delivery(source, tuple(events[start : start + MAX_EVENTS])),
                        received_at=self._clock(),
                        channel="policy",
                    )
                    count += accepted.stored
        if count:
            self.wake()
        return count


def _is_newest(event: HookEvent, known: AccountState | None, received_at: float) -> bool:
    """Whether the event takes something away and is newer than what is ``known`` of a state that
    does not open: what names are meant by an older one is not known.
    """
    if event.effect not in TAKES_AWAY:
        return False
    bare = event.effect not in LASTING and not (event.subject is not None and event.subject.record)
    return (
        known is None
        or bare
        or (effective_time(event.event_time, received_at), True) > (known.at, known.refused)
    )


def _is_mass_removal(said: HookEvent, event: HookEvent, planned: EffectPlan) -> bool:
    """Whether this may be one of many: somebody who is in loses a group, or is not known any more.
    What is said of one account is not.
    """
    if not planned.revoke or planned.kept is None or not planned.kept.state.refused:
        return False
    return event.effect in {Effect.GROUP_REMOVED, Effect.GROUP_DELETED} or (
        event.effect is Effect.BLOCK
        and said.effect is Effect.LOOK_UP_ACCOUNT
        and event.type == ABSENT
    )


def _wait_for_second_answer(pending: Pending, asked_at: float) -> None:
    """Raises ``_Postponed`` unless the event says the same as the answer, or is old enough for it
    to be a second one.
    """
    if pending.event.type != MISSING and asked_at < pending.received_at + ABSENT_S:
        raise _Postponed(pending.received_at + ABSENT_S)


def _concerns(event: HookEvent, about: str, kept: Kept, *, at: float) -> bool:
    """Whether a release is about this state; one of limited reach (the account, one group) only
    where it is newer.
    """
    if event.reference != ACCOUNT and event.group is None:
        return True
    return about == about_key(event.group) and kept.state.at < at


def _around(target: HookTarget, kept: dict[str, Kept]) -> Around:
    refused = [k for k in kept.values() if k.state.refused]
    lost = frozenset(
        s
        for k in refused
        if k.event.group is not None
        for s in groups_that_count(target, k.event.group)
    )
    return Around(any(k.event.group is None for k in refused), lost)


__all__ = ["Applier", "lane_key"]
