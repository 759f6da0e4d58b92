"""From one event to what is asked of the ``Revoker`` and told to the app. Pure: look-ups come as
arguments.

Rules:
- What stays (a block, a group taken away) binds ids, never an address that may have a new owner
  tomorrow: the ids of the event, and whoever is signed in with its address while nobody is with its
  ids. Only where an event knows nothing but an address, and nobody is signed in with it, does the
  address itself stay refused, until the same source gives it back.
- Sessions and logins in flight end for the address too.
- An address has owners, one after another: whoever is signed in with it and is known by a
  *different* id of the kind that the event brings is another person, whom nothing of the event
  touches. Only ids of one form are compared (``is_another``): for everybody else the address
  counts. Of a sender's own records, whoever is known by the id of another active record is that
  one's person; those who were bound by an address before that record came are given back with it.
- The names of a sender's own record (SCIM) are all bound, addresses too: nothing tells which of
  them tokens carry, and the record says whose an address is. What a record refuses has a source of
  its own, so that another record with the same address neither lifts it nor is lifted with it.
- A group matters if the tenant's policy names it, by name or id; what was taken is recorded in any
  case.
- What is given back is exactly what this source imposed; ids that a record does not have any more
  stay refused. Names that went to another record stay with it, whatever is applied again of what
  was said before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.core.canonical import canonical_address, canonical_id
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.hooks.event import BY_HAND, Effect, Group, HookEvent, Source, Subject
from gateway.hooks.ordering import REFUSES, AccountState, Transition, effective_time, reduce

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.core.expiry import ConnectionReport
    from gateway.core.hook_target import HookTarget
    from gateway.core.person import Person


NAMES = "names"
"""``about`` of the state that holds a record's newest names, beside "" (the account) and digests
of groups.
"""
WITH_USERS = "with_users"
"""``reference`` of a release: the pool's users who were bound by the names too, for the new record
is the same person's.
"""
ACCOUNT = "account"
"""``reference`` of a release that concerns the account alone, as one with a group concerns that
group: another record with the same ``externalId`` has said so, and what this record says later
holds again.
"""


@dataclass(frozen=True, slots=True)
class Found:
    """Who is signed in by the event's ids or, where nobody is, by its address."""

    people: tuple[Person, ...] = ()
    by_address: bool = False
    others: frozenset[str] = frozenset()
    """Addresses of the event that nobody is signed in with but another person."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The state as stored, with the event that made it and what was imposed because of it."""

    state: AccountState
    event: HookEvent
    imposed: tuple[RevocationRequest, ...] = ()
    by_address: tuple[Person, ...] = ()
    """Whom a record's event bound because of an address."""
    released: tuple[tuple[str, str], ...] = ()
    """Names of a record that are another's since the event."""


@dataclass(frozen=True, slots=True)
class Around:
    """What else stands for the same person with the same source: blocked, and the spellings of
    groups lost.
    """

    blocked: bool = False
    lost: frozenset[str] = frozenset()

    def access(self, target: HookTarget) -> bool:
        """Whether this person may come in, as far as this source has said anything."""
        return not self.blocked and all(
            groups is None or not groups <= self.lost
            for groups in (target.allowed_groups, target.provider_groups)
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """What a login says of a person besides their names. ``changed``: what differs from the one
    before, by the name of the API.
    """

    name: str
    preferred_username: str
    username: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """What the tenant's app is told: ``user.created``, ``user.updated``, ``user.signed_in``,
    ``user.deprovisioned``, ``user.restored``, ``user.group_removed``, ``user.group_added``, and of
    everybody at once ``group.deleted``, ``group.removed``, ``group.restored``, ``tenant.blocked``,
    ``tenant.unblocked``, ``tenant.deleted``; of no person ``connection.activated``,
    ``connection.failing``, ``connection.expiring``, ``domain.proven``, ``domain.lost``.

    ``cause``: account, group, operator, tenant, sign_in, connection, domain.
    """

    type: str
    cause: str
    subject: Subject
    people: tuple[Person, ...]
    group: Group | None
    event_time: float | None
    user: str = ""
    """Cognito's ``sub`` of the person, where that is all that was named."""
    profile: Profile | None = None
    """Of a login, or of a SCIM record."""
    connection: ConnectionReport | None = None
    """Of ``connection.*``."""
    domain: str = ""
    """Of ``domain.*``."""


@dataclass(frozen=True, slots=True)
class EffectPlan:
    """``kept`` None: nothing is remembered. ``ignored``: why nothing happens, for the operator."""

    kept: Kept | None
    revoke: tuple[RevocationRequest, ...] = ()
    lift: tuple[RevocationRequest, ...] = ()
    notice: Notice | None = None
    ignored: str = ""
    exempt: tuple[RevocationRequest, ...] = ()
    """Groups of this person, for the case that they were taken from everybody before."""


def groups_that_count(target: HookTarget, group: Group) -> tuple[str, ...]:
    """The spellings of this group that the tenant's tokens and rules may contain."""
    spellings = (
        (group.spelling,)
        if group.spelling
        else tuple(dict.fromkeys((*group.spellings, *group.former)))
    )
    return (
        spellings
        if target.groups_used is None
        else tuple(s for s in spellings if s in target.groups_used)
    )


def plan(
    event: HookEvent,
    *,
    target: HookTarget,
    kept: Kept | None,
    received_at: float,
    found: Found,
    around: Around = Around(),
) -> EffectPlan:
    """``around``: before this event."""
    if event.effect is Effect.APP_REMOVED:
        return _app_removed(event, target, kept, found)
    effect_plan = _plan(event, target, kept, received_at, found, around)
    if (
        event.effect is Effect.GROUP_ADDED
        and effect_plan.kept is not None
        and effect_plan.kept.state
        == AccountState(refused=False, at=effective_time(event.event_time, received_at))
    ):
        return replace(effect_plan, exempt=_exemptions(event, target))
    return effect_plan


def _plan(
    event: HookEvent,
    target: HookTarget,
    kept: Kept | None,
    received_at: float,
    found: Found,
    around: Around,
) -> EffectPlan:
    state, step = reduce(kept.state if kept else None, event, received_at)
    event = _without_released(event, kept, received_at)
    restrictions = kept.imposed if kept else ()
    if (
        step is Transition.END_SESSIONS
        and event.effect in REFUSES
        and kept is not None
        and kept.state.refused
        and event.subject is not None
        and event.subject.record
    ):
        # Late, and of a record that had other names when it was said.
        step = Transition.REFUSE
    if (
        event.group is not None
        and step is not Transition.GIVE_BACK
        and not groups_that_count(target, event.group)
    ):
        # Remembered all the same: the tenant's policy may name the group tomorrow, and Cognito will
        # still report it then.
        return EffectPlan(
            _keep(state, kept, event, restrictions), ignored="the tenant does not use this group"
        )
    match step:
        case Transition.NOTHING:
            return EffectPlan(
                _keep(state, kept, event, restrictions),
                ignored="older than what is known, or nothing to give back",
            )
        case Transition.GIVE_BACK:
            back = _asserted(restrictions, event.subject)
            return EffectPlan(
                _keep(state, kept, event, tuple(r for r in restrictions if r not in back)),
                lift=back,
                notice=_notice(event, target, found, around),
            )
        case Transition.END_SESSIONS:
            return EffectPlan(
                _keep(state, kept, event, restrictions),
                revoke=_requests(event, target, found, lasting=False),
            )
        case Transition.REFUSE:
            requests = _requests(event, target, found, lasting=True)
            first = kept is None or not kept.state.refused
            all_imposed = tuple(
                dict.fromkeys((*(() if first else restrictions), *_staying(requests)))
            )
            after = _keep(state, kept, event, all_imposed)
            if (
                after is not None
                and found.by_address
                and event.subject is not None
                and event.subject.record
            ):
                after = replace(
                    after, by_address=tuple(dict.fromkeys((*after.by_address, *found.people)))
                )
            return EffectPlan(
                after,
                revoke=requests,
                notice=_notice(event, target, found, around) if first else None,
            )


def overdue(kept: Kept, *, target: HookTarget) -> HookEvent | None:
    """The refusal of a group that the tenant's policy names only now, to be applied again in its
    lane; None where nothing is missing.
    """
    if (
        not kept.state.refused
        or kept.imposed
        or kept.event.group is None
        or not groups_that_count(target, kept.event.group)
    ):
        return None
    # At the time that the state has, so that it is the same event, and what came later still
    # wins.
    return replace(kept.event, event_time=kept.state.at, id=None)


def renamed(
    event: HookEvent, *, target: HookTarget, kept: Kept, found: Found, received_at: float
) -> EffectPlan | None:
    """What one state of a record comes to under the names that the record has now; None where
    nothing changes.
    """
    event = _without_released(event, kept, received_at)
    if event.subject is None or kept.event.subject is None:
        return None
    if not kept.state.refused:
        back = _asserted(kept.imposed, event.subject)
        return (
            EffectPlan(
                replace(kept, imposed=tuple(r for r in kept.imposed if r not in back)), lift=back
            )
            if back
            else None
        )
    requests = tuple(
        r
        for r in _requests(replace(kept.event, subject=event.subject), target, found, lasting=True)
        if _bare(r) not in kept.imposed
    )
    after = replace(
        kept,
        event=replace(kept.event, subject=kept.event.subject.joined(event.subject)),
        imposed=(*kept.imposed, *_staying(requests)),
    )
    return EffectPlan(after, revoke=requests) if after != kept else None


def released(event: HookEvent, kept: Kept) -> EffectPlan | None:
    """What is left of one state of a record when names of it are another record's; None where
    nothing changes.
    """
    if event.subject is None or kept.event.subject is None:
        return None
    names = set(event.subject.names)
    theirs = {one.user for one in kept.by_address if _ids(one) & names}
    back = tuple(
        r
        for r in kept.imposed
        if _name(r.who) in names
        or (r.who.user is not None and (event.reference == WITH_USERS or r.who.user in theirs))
    )
    new_event = _less(kept.event, names)
    after = replace(
        kept,
        event=new_event,
        imposed=tuple(r for r in kept.imposed if r not in back),
        by_address=tuple(one for one in kept.by_address if one.user not in theirs),
    )
    if after == kept:
        return None
    released_names = (*kept.released, *(n for n in kept.event.subject.names if n in names))
    return EffectPlan(replace(after, released=tuple(dict.fromkeys(released_names))), lift=back)


def _without_released(event: HookEvent, kept: Kept | None, received_at: float) -> HookEvent:
    """What is applied late or again says nothing of names that another record has had since."""
    if (
        kept is None
        or not kept.released
        or effective_time(event.event_time, received_at) > kept.state.at
    ):
        return event
    return _less(event, set(kept.released))


def _less(event: HookEvent, names: Collection[tuple[str, str]]) -> HookEvent:
    if event.subject is None or not event.subject.record:
        return event
    return replace(
        event,
        subject=Subject.of_record(
            event.subject.record, [n for n in event.subject.names if n not in names]
        ),
    )


def _ids(person: Person) -> set[tuple[str, str]]:
    return {
        (kind, canonical_id(value))
        for kind, value in (("idp_subject", person.idp_subject), ("oid", person.oid))
        if value
    }


def _name(who: Who) -> tuple[str, str]:
    return next(
        (
            (kind, value)
            for kind in ("idp_subject", "oid", "email")
            if (value := getattr(who, kind)) is not None
        ),
        ("", ""),
    )


def _asserted(
    imposed: tuple[RevocationRequest, ...], subject: Subject | None
) -> tuple[RevocationRequest, ...]:
    """What is given back to a person: of a record, not the ids that it had before and has no
    more.
    """
    if subject is None or not subject.record:
        return imposed
    addresses = {value for kind, value in subject.names if kind == "email"}

    def is_theirs(who: Who) -> bool:
        # A login that is an address may have come in other letters.
        return (
            (who.idp_subject is None and who.oid is None)
            or _name(who) in subject.names
            or (who.idp_subject is not None and canonical_address(who.idp_subject) in addresses)
        )

    return tuple(r for r in imposed if is_theirs(r.who))


def _keep(
    state: AccountState | None,
    kept: Kept | None,
    event: HookEvent,
    imposed: tuple[RevocationRequest, ...],
) -> Kept | None:
    if state is None:
        return None
    if kept is None or kept.state != state:
        return Kept(
            state,
            event,
            imposed,
            () if kept is None or not state.refused else kept.by_address,
        )
    return replace(kept, imposed=imposed)


def _app_removed(
    event: HookEvent, target: HookTarget, kept: Kept | None, found: Found
) -> EffectPlan:
    if (
        target.client_id is not None
        and event.group is not None
        and event.group.id != target.client_id
    ):
        return EffectPlan(kept, ignored="another application")
    return EffectPlan(kept, revoke=_requests(event, target, found, lasting=False))


def is_another(subject: Subject, person: Person) -> bool:
    """Whether ``person``, who is signed in with an address of ``subject``, is known by another id
    of the same kind and form.

    Okta's user ids are compared, and the object ids of Entra where its own events bring them. A
    SAML NameID, a pairwise subject or what a SCIM client was told to send as ``externalId`` may be
    the same person's under another form, and then the address is all there is.
    """
    okta = {
        value for kind, value in subject.names if kind == "idp_subject" and _is_okta_user(value)
    }
    if okta and _is_okta_user(person.idp_subject):
        return person.idp_subject not in okta
    oids, person_oid = (
        {value for kind, value in subject.names if kind == "oid" and _is_guid(value)},
        canonical_id(person.oid),
    )
    return not subject.record and bool(oids) and _is_guid(person_oid) and person_oid not in oids


def _is_okta_user(value: str) -> bool:
    """As in ``00u1a2b3c4d5e6f7g8h9``."""
    return len(value) == 20 and value.startswith("00u") and value.isascii() and value.isalnum()


def _is_guid(value: str) -> bool:
    return (
        len(value) == 36
        and [len(part) for part in value.split("-")] == [8, 4, 4, 4, 12]
        and value.isascii()
        and value.replace("-", "").isalnum()
    )


def whom(event: HookEvent, target: HookTarget, found: Found, *, lasting: bool) -> tuple[Who, ...]:
    """The aliases to act on, or (``lasting``) those that stay bound."""
    if event.subject is None:
        return tuple(
            Who(group=s, provider=target.provider)
            for s in groups_that_count(target, event.group or Group())
        )
    subject = event.subject
    if subject.record:
        every = [
            Who(provider=target.provider, **{kind: value})
            for kind, value in subject.names
            if kind != "email" or value not in found.others
        ]
        return tuple(
            dict.fromkeys(
                (
                    *every,
                    *(
                        Who(user=p.user, provider=target.provider)
                        for p in found.people
                        if found.by_address
                    ),
                )
            )
        )
    aliases = (
        [Who(idp_subject=subject.idp_subject, provider=target.provider)]
        if subject.idp_subject
        else []
    )
    aliases += [Who(oid=subject.oid, provider=target.provider)] if subject.oid else []
    if found.by_address:
        aliases += [Who(user=p.user, provider=target.provider) for p in found.people]
    address_counts = found.by_address or not found.people
    if (
        subject.email
        and subject.email not in found.others
        and address_counts
        and not (lasting and aliases)
    ):
        aliases.append(Who(email=subject.email, provider=target.provider))
    return tuple(dict.fromkeys(aliases))


def _requests(
    event: HookEvent, target: HookTarget, found: Found, *, lasting: bool
) -> tuple[RevocationRequest, ...]:
    source = event.source.value
    if event.subject is not None and event.subject.record:
        source = f"{source}:{event.subject.record.replace('-', '')}"

    def request(who: Who, kind: RevocationKind, overlay: str | None = None) -> RevocationRequest:
        group_id = event.group.id if overlay is not None and event.group is not None else ""
        return RevocationRequest(
            target.tenant, who, kind, event.type, source, event.event_time, overlay, group_id
        )

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
    return (
        *(
            request(w, RevocationKind.END_SESSIONS, spelling)
            for w in bound
            for spelling in spellings
        ),
        *only_now,
    )


def _exemptions(event: HookEvent, target: HookTarget) -> tuple[RevocationRequest, ...]:
    """For the ids that the event names: an address may be somebody else's tomorrow. Records' groups
    are taken from each member, never from everybody.
    """
    subject, group = event.subject, event.group
    if (
        subject is None
        or (subject.record and event.source is Source.SCIM)
        or group is None
        or not group.id
        or event.event_time is None
        or event.type == BY_HAND
    ):
        return ()
    ids = (
        [Who(idp_subject=subject.idp_subject, provider=target.provider)]
        if subject.idp_subject
        else []
    )
    ids += [Who(oid=subject.oid, provider=target.provider)] if subject.oid else []
    return tuple(
        RevocationRequest(
            target.tenant,
            who,
            RevocationKind.END_SESSIONS,
            event.type,
            event.source.value,
            event.event_time,
            spelling,
            group.id,
        )
        for who in ids
        for spelling in groups_that_count(target, replace(group, former=()))
    )


def _staying(requests: tuple[RevocationRequest, ...]) -> tuple[RevocationRequest, ...]:
    """What is to be lifted one day; the event's time is not part of it."""
    return tuple(
        _bare(r) for r in requests if r.kind is RevocationKind.BLOCK or r.group_overlay is not None
    )


def _bare(request: RevocationRequest) -> RevocationRequest:
    return replace(request, event_time=None)


def _notice(event: HookEvent, target: HookTarget, found: Found, around: Around) -> Notice | None:
    """What changed for the app: access as a whole where it changed, else the one group."""
    refuses = event.effect in REFUSES
    if event.subject is None:
        cause = "operator" if event.type == BY_HAND else "group"
        return (
            None
            if event.group is None
            else Notice(
                "group.removed" if refuses else "group.restored",
                cause,
                Subject(),
                (),
                event.group,
                event.event_time,
            )
        )
    if event.group is None:
        after = replace(around, blocked=refuses)
    else:
        spellings = frozenset(groups_that_count(target, event.group))
        after = replace(
            around, lost=around.lost | spellings if refuses else around.lost - spellings
        )
    before_access, after_access = around.access(target), after.access(target)
    if before_access != after_access:
        kind = "user.restored" if after_access else "user.deprovisioned"
    elif event.group is not None and (
        not event.group.spelling
        or event.group.spelling in groups_that_count(target, replace(event.group, spelling=""))[:1]
    ):
        # A group that counts by its id and by its name is one to the app.
        kind = "user.group_removed" if refuses else "user.group_added"
    else:
        return None
    return Notice(
        kind,
        "operator" if event.type == BY_HAND else "account" if event.group is None else "group",
        event.subject,
        found.people,
        event.group,
        event.event_time,
    )
