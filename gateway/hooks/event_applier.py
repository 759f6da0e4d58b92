"""What one event comes to: planned from what is known, imposed or lifted, and noted for the lane's
transaction.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from gateway.background import doubling, fault
from gateway.errors import PeerError, UnavailableError
from gateway.hooks.effects import (
    ACCOUNT,
    NAMES,
    Around,
    EffectPlan,
    Found,
    Kept,
    Notice,
    Profile,
    groups_that_count,
    plan,
    released,
    renamed,
)
from gateway.hooks.event import TAKES_AWAY, Delivery, Effect, Group, HookEvent, Source, Subject
from gateway.hooks.inbox import CLOSED_S, UNREAD, Settled, about_key, digest
from gateway.hooks.lookups import ABSENT, Postponed
from gateway.hooks.ordering import LASTING, AccountState, effective_time
from gateway.hooks.scim import resources as scim
from gateway.log import fields
from gateway.metrics import HOOK_EVENTS, begin_at_zero
from gateway.tracing.spans import Kind, span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from gateway.core.hook_target import HookTarget
    from gateway.core.revocation import RevocationRequest, RevocationStatus
    from gateway.hooks.api import HookTargets
    from gateway.hooks.group_names import Names
    from gateway.hooks.inbox import Inbox, Pending
    from gateway.hooks.lookups import Lookups, NamedGroup
    from gateway.hooks.removal_limit import Brake
    from gateway.hooks.scim.people import ScimPeople
    from gateway.sessions.api import Revoker

MAX_ATTEMPTS = 12
MAX_PAUSE_S = 300.0
NOBODY = "applied_to_nobody"
"""State of an event that takes away and met nobody who is signed in, or gives back what was not in
force.
"""
OUTCOMES: Final = ("applied", NOBODY, "ignored", "retried", "failed", "held")
"""Of an event, as its metric counts them."""

log = logging.getLogger(__name__)


class _Held(Exception):  # noqa: N818 - not an error: an operator decides
    """With the reason."""


class _Unread(Exception):  # noqa: N818 - not an error: what was said before is looked at again later
    """It gives back, or may, and its state does not open."""


@dataclass(slots=True)
class LaneRun:
    """What is known of one lane, and what it comes to, to be written in one transaction.
    ``closed``: ids of groups whose names do not open.
    """

    kept: dict[str, Kept]
    unread: Mapping[str, AccountState]
    group_names: Mapping[str, Names] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)

    settled: list[Settled] = field(default_factory=list)
    states: dict[str, tuple[Kept, HookTarget]] = field(default_factory=dict)
    messages: list[tuple[HookTarget, str, EffectPlan, Pending]] = field(default_factory=list)
    names: list[NamedGroup] = field(default_factory=list)


class EventApplier:
    """``revoke`` waits for confirmations; ``wake`` is called when events were stored."""

    def __init__(
        self,
        inbox: Inbox,
        *,
        targets: HookTargets,
        revoker: Revoker,
        revoke: Callable[[Iterable[RevocationRequest]], Awaitable[list[RevocationStatus]]],
        lookups: Lookups,
        records: ScimPeople | None,
        brake: Brake,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        begin_at_zero(HOOK_EVENTS, [source.value for source in Source], OUTCOMES)
        self._inbox = inbox
        self._targets = targets
        self._revoker = revoker
        self._revoke = revoke
        self._lookups = lookups
        self._records = records
        self._brake = brake
        self._clock = clock
        self._wake = wake

    async def settle(self, pending: Pending, run: LaneRun) -> Settled:
        """Never raises anything but ``TimeoutError``: what failed is tried again."""
        with span("hook.apply", Kind.CONSUMER, parent=pending.trace) as trace_span:
            trace_span.set("gateway.tenant", pending.tenant)
            trace_span.set("gateway.provider", pending.provider)
            trace_span.set("gateway.hook.source", pending.event.source.value)
            trace_span.set("gateway.hook.effect", pending.event.effect.value)
            result = await self._settled(pending, run)
            trace_span.set("gateway.hook.outcome", result.state)
            return result

    async def _settled(self, pending: Pending, run: LaneRun) -> Settled:
        try:
            result = await self._applied(pending, run)
        except _Unread:
            return Settled(pending.id, "new", UNREAD, self._clock() + CLOSED_S, in_vain=False)
        except Postponed as postponed:
            return Settled(
                pending.id, "new", "waiting for the directory to settle", postponed.until
            )
        except _Held as held:
            result = Settled(pending.id, "held", str(held))
        except TimeoutError:
            raise
        except UnavailableError as error:
            result = self.again(pending, str(error), gives_up=False)
        except PeerError as error:
            result = self.again(pending, f"{error.code}: {error}", gives_up=True)
        except Exception as error:  # noqa: BLE001 - logged
            fault(
                "hook_event_fault",
                error,
                tenant=pending.tenant,
                provider=pending.provider,
                source=pending.event.source.value,
                event_type=pending.event.type,
            )
            result = self.again(pending, type(error).__name__, gives_up=True)
        return self.noted(pending, result)

    def noted(self, pending: Pending, settled: Settled) -> Settled:
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

    def again(self, pending: Pending, error: str, *, gives_up: bool) -> Settled:
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

    async def _applied(self, pending: Pending, run: LaneRun) -> Settled:
        target = self._targets.find(pending.tenant, pending.provider)
        if target is None:
            return Settled(pending.id, "ignored", "the tenant or provider is gone")
        result = await self._passed_on(target, pending, run)
        if result is not None:
            return result
        event, nameless = await self._named(target, pending, run)
        if event.effect is Effect.GROUP_RENAMED:
            # What it lost and gained follows in events of its own, stored with the name
            # (``group_names``).
            earlier = event.group is not None and (
                event.group.former or event.group.id in run.group_names
            )
            return (
                Settled(pending.id, "applied")
                if earlier
                else Settled(
                    pending.id, "ignored", "what the group was called before is not known here"
                )
            )
        if event.effect in LASTING and event.subject is not None and NAMES in run.kept:
            # It was said of the record, whatever the record was called when it was said.
            event = replace(
                event, subject=event.subject.joined(run.kept[NAMES].event.subject or event.subject)
            )
        return await self._planned(target, pending, event, run, nameless=nameless)

    async def _passed_on(
        self, target: HookTarget, pending: Pending, run: LaneRun
    ) -> Settled | None:
        """What is not about one state of one person: notices, subscriptions, members of a group,
        other names of a record. None for everything else.
        """
        event = pending.event
        if event.effect is Effect.NOTICE:
            return Settled(pending.id, "ignored", "a notice of the sender, without effect")
        if (
            event.source is Source.ENTRA
            and event.reference
            and not await self._lookups.ask().owns_subscription(target, event.reference)
        ):
            msg = "unknown_subscription"
            raise PeerError(msg, "came through a subscription that this gateway does not hold")
        if event.effect is Effect.TELL:
            run.messages.append((target, "", await self._told(target, event), pending))
            return Settled(pending.id, "applied")
        if event.effect is Effect.SUBSCRIPTION:
            await self._lookups.ask().lifecycle(target, event.reference, event.type)
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
            return await self._other_names(target, pending, run)
        return None

    async def _told(self, target: HookTarget, event: HookEvent) -> EffectPlan:
        """What the app is told of a record, with whoever is known by its names."""
        profile = None
        if event.subject is not None:
            document = json.loads(event.reference)
            profile = Profile(
                document["name"], "", document["username"], (), (), tuple(document["changed"])
            )
        notice = Notice(
            scim.TOLD[event.type],
            "account" if event.subject is not None else "group",
            event.subject or Subject(),
            (),
            event.group,
            event.event_time,
            profile=profile,
        )
        effect_plan = EffectPlan(None, notice=notice)
        return await self._lookups.addressed(target, effect_plan, notice)

    async def _named(
        self, target: HookTarget, pending: Pending, run: LaneRun
    ) -> tuple[HookEvent, bool]:
        """The event with its group's names; True: what is known of them does not open."""
        event = pending.event
        if event.group is None or event.group.id not in run.closed:
            event, named_group = await self._lookups.named(target, pending, run.group_names)
            run.names += [named_group] if named_group is not None else []
            return event, False
        if event.effect not in TAKES_AWAY or pending.in_effect:
            raise _Unread
        # What it is called here is taken away at once, what it was called before when that opens.
        return event, True

    async def _planned(
        self,
        target: HookTarget,
        pending: Pending,
        said: HookEvent,
        run: LaneRun,
        *,
        nameless: bool,
    ) -> Settled:
        kept, unread = run.kept, run.unread
        event = await self._lookups.looked_up(target, pending, said, kept)
        about = about_key(event.group if event.effect is not Effect.APP_REMOVED else None)
        received_at = pending.received_at if event is said else self._clock()
        if (unread or nameless) and not _is_newest(event, unread.get(about), received_at):
            raise _Unread
        signed_in = await self._lookups.who(target, event)
        effect_plan = plan(
            event,
            target=target,
            kept=kept.get(about),
            received_at=received_at,
            found=signed_in,
            around=_around(target, kept),
        )
        out = (
            kept[about].state.refused
            if about in kept
            else about in unread and unread[about].refused
        )
        is_counted = not pending.released and not out and _is_mass_removal(said, event, effect_plan)
        if is_counted:
            person = event.subject.key if event.subject is not None else ""
            await self._hold(
                target,
                person=person,
                people=1 if person else await self._brake.members(target, event.group),
            )
        statuses = await self._revoke(effect_plan.revoke)
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
                is_counted,
                in_vain=False,
            )
        nobody = bool(statuses) and not signed_in.people and not any(s.ended for s in statuses)
        effect_plan, lifts = await self._given_back(event, effect_plan, signed_in)
        statuses += lifts
        nothing_lifted = bool(lifts) and not any(s.lifted is None or s.lifted for s in lifts)
        if effect_plan.kept is not None and event.effect is not Effect.APP_REMOVED:
            kept[about] = effect_plan.kept
            run.states[about] = (effect_plan.kept, target)
        if event.effect is Effect.GROUP_DELETED and not out and _is_gone(event):
            # Beside what it means for access, and also where no policy names the group.
            deletion_notice = Notice(
                "group.deleted", "group", Subject(), (), event.group, event.event_time
            )
            run.messages.append((target, "", EffectPlan(None, notice=deletion_notice), pending))
        if effect_plan.notice is not None:
            addressed = await self._lookups.addressed(target, effect_plan, effect_plan.notice)
            run.messages.append((target, statuses[0].id if statuses else "", addressed, pending))
        if nobody:
            state, why = NOBODY, "nobody is signed in under these names"
        elif nothing_lifted:
            state, why = NOBODY, "nothing that this source imposed was in force any more"
        else:
            state, why = "applied", effect_plan.ignored
        if effect_plan.ignored and not statuses:
            state = "ignored"
        return Settled(
            pending.id, state, why, revocations=tuple(s.id for s in statuses), counted=is_counted
        )

    async def _given_back(
        self, event: HookEvent, effect_plan: EffectPlan, signed_in: Found
    ) -> tuple[EffectPlan, list[RevocationStatus]]:
        """Lifts and exempts. Whoever is exempt from what was taken from everybody is told of."""
        lifts = [await self._revoker.lift(request) for request in effect_plan.lift]
        exempt = [await self._revoker.exempt(request) for request in effect_plan.exempt]
        if any(exempt) and effect_plan.notice is None and event.subject is not None:
            notice = Notice(
                "user.group_added",
                "group",
                event.subject,
                signed_in.people,
                event.group,
                event.event_time,
            )
            effect_plan = replace(effect_plan, notice=notice, ignored="")
        return effect_plan, lifts

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
            self._wake()
        return Settled(
            pending.id, "applied" if each else "ignored", "" if each else "no member is known"
        )

    async def _other_names(self, target: HookTarget, pending: Pending, run: LaneRun) -> Settled:
        """A record has other names than before, or gives some up: every state of it follows."""
        event = pending.event
        signed_in = (
            await self._lookups.who(target, event)
            if event.effect is Effect.RENAMED and any(k.state.refused for k in run.kept.values())
            else Found()
        )
        at = effective_time(event.event_time, pending.received_at)
        whole = event.effect is Effect.RENAMED or (
            event.reference != ACCOUNT and event.group is None
        )
        statuses = []
        for about, one in list(run.kept.items()):
            if about == NAMES or (
                event.effect is Effect.RELEASED and not _concerns(event, about, one, at=at)
            ):
                continue
            effect_plan = (
                renamed(
                    event, target=target, kept=one, found=signed_in, received_at=pending.received_at
                )
                if event.effect is Effect.RENAMED
                else released(event, one)
            )
            if effect_plan is None or effect_plan.kept is None:
                continue
            statuses += await self._revoke(effect_plan.revoke)
            statuses += [await self._revoker.lift(request) for request in effect_plan.lift]
            run.kept[about] = effect_plan.kept
            run.states[about] = (effect_plan.kept, target)
        if event.effect is Effect.RENAMED and (
            NAMES not in run.kept or run.kept[NAMES].state.at <= at
        ):
            run.kept[NAMES] = Kept(AccountState(refused=False, at=at), event)
            run.states[NAMES] = (run.kept[NAMES], target)
        elif (
            whole
            and NAMES in run.kept
            and (names_plan := released(event, run.kept[NAMES])) is not None
            and names_plan.kept is not None
        ):
            run.kept[NAMES] = names_plan.kept
            run.states[NAMES] = (names_plan.kept, target)
        return Settled(pending.id, "applied", revocations=tuple(s.id for s in statuses))

    async def _hold(self, target: HookTarget, *, people: int, person: str = "") -> None:
        """Raises ``_Held`` where so many more people are too many at once."""
        if people and (
            reason := await self._brake.reason_to_hold(target, person=person, people=people)
        ):
            raise _Held(reason)


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


def _is_mass_removal(said: HookEvent, event: HookEvent, effect_plan: EffectPlan) -> bool:
    """Whether this may be one of many: somebody who is in loses a group, or is not known any more.
    What is said of one account is not.
    """
    if not effect_plan.revoke or effect_plan.kept is None or not effect_plan.kept.state.refused:
        return False
    return event.effect in {Effect.GROUP_REMOVED, Effect.GROUP_DELETED} or (
        event.effect is Effect.BLOCK
        and said.effect is Effect.LOOK_UP_ACCOUNT
        and event.type == ABSENT
    )


def _is_gone(event: HookEvent) -> bool:
    """Whether the group itself was deleted, and not one of its names: told once, by its id."""
    return event.group is not None and bool(event.group.id) and not event.group.spelling


def _concerns(event: HookEvent, about: str, kept: Kept, *, at: float) -> bool:
    """Whether a release is about this state; one of limited reach (the account, one group) only
    where it is newer.
    """
    if event.reference != ACCOUNT and event.group is None:
        return True
    return about == about_key(event.group) and kept.state.at < at


def _around(target: HookTarget, kept: dict[str, Kept]) -> Around:
    refusals = [k for k in kept.values() if k.state.refused]
    lost_groups = frozenset(
        s
        for k in refusals
        if k.event.group is not None
        for s in groups_that_count(target, k.event.group)
    )
    return Around(any(k.event.group is None for k in refusals), lost_groups)
