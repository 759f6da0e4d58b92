"""From one event to what is asked of the ``Revoker`` and told to the app. Pure: look-ups come as arguments.

Rules:
- What stays (a block, a group taken away) binds ids, never an address that may have a new owner tomorrow: the ids of the event,
  and whoever is signed in with its address while nobody is with its ids. Only where an event knows nothing but an address, and nobody is
  signed in with it, does the address itself stay refused, until the same source gives it back.
- Sessions and logins in flight end for the address too.
- A group matters if the tenant's policy names it, by name or id; what was taken is recorded in any case.
- What is given back is exactly what this source imposed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.hooks.event import Effect, Group, HookEvent, Subject
from gateway.hooks.reducer import REFUSES, Standing, Step, reduce
from gateway.ports import RevocationKind, RevocationRequest, Who

if TYPE_CHECKING:
    from gateway.ports_hooks import HookTarget, Person


@dataclass(frozen=True, slots=True)
class Found:
    """Who is signed in by the event's ids or, where nobody is, by its address."""

    people: tuple[Person, ...] = ()
    by_address: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """The standing as stored, with the event that made it and what was imposed because of it."""

    standing: Standing
    event: HookEvent
    imposed: tuple[RevocationRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class Around:
    """What else stands for the same person with the same source: blocked, and the spellings of groups lost."""

    blocked: bool = False
    lost: frozenset[str] = frozenset()

    def access(self, allowed: frozenset[str] | None) -> bool:
        """Whether this person may come in, as far as this source has said anything."""
        return not self.blocked and (allowed is None or not allowed <= self.lost)


@dataclass(frozen=True, slots=True)
class Notice:
    """What the tenant's app is told: ``user.deprovisioned``, ``user.restored``, ``user.group_removed``, ``user.group_added``."""

    type: str
    cause: str
    subject: Subject
    people: tuple[Person, ...]
    group: Group | None
    event_time: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """``kept`` None: nothing is remembered. ``ignored``: why nothing happens, for the operator."""

    kept: Kept | None
    revoke: tuple[RevocationRequest, ...] = ()
    lift: tuple[RevocationRequest, ...] = ()
    notice: Notice | None = None
    ignored: str = ""


def groups_that_count(target: HookTarget, group: Group) -> tuple[str, ...]:
    """The spellings of this group that the tenant's tokens and rules may contain."""
    spellings = tuple(dict.fromkeys(s for s in (group.id, group.name, *group.former) if s))
    return spellings if target.groups_used is None else tuple(s for s in spellings if s in target.groups_used)


def plan(event: HookEvent, *, target: HookTarget, kept: Kept | None, received_at: float, found: Found, around: Around = Around()) -> Plan:
    """``around``: before this event."""
    if event.effect is Effect.APP_REMOVED:
        return _app_removed(event, target, kept, found)
    standing, step = reduce(kept.standing if kept else None, event, received_at)
    imposed = kept.imposed if kept else ()
    if event.group is not None and step is not Step.GIVE_BACK and not groups_that_count(target, event.group):
        # Remembered all the same: the tenant's policy may name the group tomorrow, and Cognito will still report it then.
        return Plan(_keep(standing, kept, event, imposed), ignored="the tenant does not use this group")
    match step:
        case Step.NOTHING:
            return Plan(_keep(standing, kept, event, imposed), ignored="older than what is known, or nothing to give back")
        case Step.GIVE_BACK:
            return Plan(_keep(standing, kept, event, ()), lift=imposed, notice=_notice(event, target, found, around))
        case Step.END_SESSIONS:
            return Plan(_keep(standing, kept, event, imposed), revoke=_requests(event, target, found, lasting=False))
        case Step.REFUSE:
            requests = _requests(event, target, found, lasting=True)
            first = kept is None or not kept.standing.refused
            all_imposed = tuple(dict.fromkeys((*(() if first else imposed), *_staying(requests))))
            return Plan(_keep(standing, kept, event, all_imposed), revoke=requests, notice=_notice(event, target, found, around) if first else None)


def overdue(kept: Kept, *, target: HookTarget) -> HookEvent | None:
    """The refusal of a group that the tenant's policy names only now, to be applied again in its lane; None where nothing is missing."""
    if not kept.standing.refused or kept.imposed or kept.event.group is None or not groups_that_count(target, kept.event.group):
        return None
    # At the time that the standing has, so that it is the same event, and what came later still wins.
    return replace(kept.event, event_time=kept.standing.at, id=None)


def _keep(standing: Standing | None, kept: Kept | None, event: HookEvent, imposed: tuple[RevocationRequest, ...]) -> Kept | None:
    if standing is None:
        return None
    return Kept(standing, event if kept is None or kept.standing != standing else kept.event, imposed)


def _app_removed(event: HookEvent, target: HookTarget, kept: Kept | None, found: Found) -> Plan:
    if target.client_id is not None and event.group is not None and event.group.id != target.client_id:
        return Plan(kept, ignored="another application")
    return Plan(kept, revoke=_requests(event, target, found, lasting=False))


def whom(event: HookEvent, target: HookTarget, found: Found, *, lasting: bool) -> tuple[Who, ...]:
    """The aliases to act on, or (``lasting``) those that stay bound."""
    if event.subject is None:
        return tuple(Who(group=s, provider=target.provider) for s in groups_that_count(target, event.group or Group()))
    subject = event.subject
    named = [Who(idp_subject=subject.idp_subject, provider=target.provider)] if subject.idp_subject else []
    named += [Who(oid=subject.oid, provider=target.provider)] if subject.oid else []
    if found.by_address:
        named += [Who(user=p.user, provider=target.provider) for p in found.people]
    address_counts = found.by_address or not found.people
    if subject.email and address_counts and not (lasting and named):
        named.append(Who(email=subject.email, provider=target.provider))
    return tuple(dict.fromkeys(named))


def _requests(event: HookEvent, target: HookTarget, found: Found, *, lasting: bool) -> tuple[RevocationRequest, ...]:
    def request(who: Who, kind: RevocationKind, overlay: str | None = None) -> RevocationRequest:
        return RevocationRequest(target.tenant, who, kind, event.type, event.source.value, event.event_time, overlay)

    everybody = whom(event, target, found, lasting=False)
    if not lasting:
        return tuple(request(w, RevocationKind.END_SESSIONS) for w in everybody)
    bound = whom(event, target, found, lasting=True)
    only_now = tuple(request(w, RevocationKind.END_SESSIONS) for w in everybody if w not in bound)
    if event.effect is Effect.BLOCK:
        return (*(request(w, RevocationKind.BLOCK) for w in bound), *only_now)
    if event.subject is None:
        return tuple(request(w, RevocationKind.END_SESSIONS, w.group) for w in bound)
    spellings = groups_that_count(target, event.group or Group())
    return (*(request(w, RevocationKind.END_SESSIONS, spelling) for w in bound for spelling in spellings), *only_now)


def _staying(requests: tuple[RevocationRequest, ...]) -> tuple[RevocationRequest, ...]:
    """What is to be lifted one day; the event's time is not part of it."""
    return tuple(replace(r, event_time=None) for r in requests if r.kind is RevocationKind.BLOCK or r.group_overlay is not None)


def _notice(event: HookEvent, target: HookTarget, found: Found, around: Around) -> Notice | None:
    """What changed for the app: access as a whole where it changed, else the one group."""
    if event.subject is None:
        return None
    refuses = event.effect in REFUSES
    if event.group is None:
        after = replace(around, blocked=refuses)
    else:
        spellings = frozenset(groups_that_count(target, event.group))
        after = replace(around, lost=around.lost | spellings if refuses else around.lost - spellings)
    before_access, after_access = around.access(target.allowed_groups), after.access(target.allowed_groups)
    if before_access != after_access:
        kind = "user.restored" if after_access else "user.deprovisioned"
    elif event.group is not None:
        kind = "user.group_removed" if refuses else "user.group_added"
    else:
        return None
    return Notice(kind, "account" if event.group is None else "group", event.subject, found.people, event.group, event.event_time)
