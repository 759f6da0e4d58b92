"""Okta Event Hooks (https://developer.okta.com/docs/concepts/event-hooks/), and System Log entries,
which have the same shape.

Rules:
- The header secret is compared verbatim; Okta signs nothing.
- Deliveries repeat, mix and overtake one another: an event is its ``uuid``, its time is
  ``published``.
- Only ``outcome.result`` SUCCESS means that it happened.
- The person is the User target's id; ``alternateId`` is their login, used as an e-mail only where
  the id was never seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.hooks.event import (
    GIVES_BACK,
    MAX_NAME,
    Delivery,
    DeliveryRejectedError,
    Effect,
    EntryError,
    Group,
    HookEvent,
    RejectionReason,
    Skipped,
    SkipReason,
    Source,
    Subject,
    address,
    is_clean,
    items,
    json_object,
    mapping,
    optional,
    rfc3339,
    shown,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EFFECTS: Mapping[str, Effect] = {
    "group.user_membership.remove": Effect.GROUP_REMOVED,
    "group.user_membership.add": Effect.GROUP_ADDED,
    "group.lifecycle.delete": Effect.GROUP_DELETED,
    "group.profile.update": Effect.GROUP_RENAMED,
    "user.lifecycle.deactivate": Effect.BLOCK,
    "user.lifecycle.suspend": Effect.BLOCK,
    "user.lifecycle.delete.initiated": Effect.BLOCK,
    "user.lifecycle.activate": Effect.LIFT,
    "user.lifecycle.reactivate": Effect.LIFT,
    "user.lifecycle.unsuspend": Effect.LIFT,
    "user.session.end": Effect.END_SESSIONS,
    "user.session.clear": Effect.END_SESSIONS,
    # Okta refuses further logins itself while the account is locked, and unlocking is not reported.
    "user.account.lock": Effect.END_SESSIONS,
    "application.user_membership.remove": Effect.APP_REMOVED,
}
"""Event types to tick in Okta, and what each asks for."""

_NEEDS_GROUP = frozenset(
    {
        Effect.GROUP_REMOVED,
        Effect.GROUP_ADDED,
        Effect.GROUP_DELETED,
        Effect.GROUP_RENAMED,
        Effect.APP_REMOVED,
    }
)
_NAMES_NOBODY = frozenset({Effect.GROUP_DELETED, Effect.GROUP_RENAMED})


def verification(challenge: str) -> dict[str, str]:
    """Answer to the one-time verification request; ``DeliveryRejectedError`` unless it is a plain
    token.
    """
    if not 0 < len(challenge) <= 512 or not (challenge.isascii() and challenge.isprintable()):
        raise DeliveryRejectedError(
            RejectionReason.MALFORMED, "x-okta-verification-challenge is not a token"
        )
    return {"verification": challenge}


def parse_delivery(body: bytes) -> Delivery:
    """One delivery. The caller has compared the secret already."""
    envelope = json_object(body)
    if envelope.get("eventType") != "com.okta.event_hook":
        raise DeliveryRejectedError(
            RejectionReason.MALFORMED, "eventType is not com.okta.event_hook"
        )
    try:
        delivery_id = text(envelope.get("eventId"), "eventId")
        entries = items(mapping(envelope.get("data"), "data").get("events"), "data.events")
    except EntryError as error:
        raise DeliveryRejectedError(RejectionReason.MALFORMED, str(error)) from error
    return log_entries(entries, delivery_id=delivery_id)


def log_entries(entries: Iterable[object], *, delivery_id: str | None = None) -> Delivery:
    """Events of a hook's ``data.events`` or of ``GET /api/v1/logs``."""
    events: list[HookEvent] = []
    skipped: list[Skipped] = []
    for index, entry in enumerate(entries):
        kind = shown(entry.get("eventType")) if isinstance(entry, dict) else ""
        try:
            result = _entry(mapping(entry, "event"))
        except EntryError as error:
            skipped.append(Skipped(index, kind, SkipReason.MALFORMED, str(error)))
            continue
        if isinstance(result, SkipReason):
            skipped.append(Skipped(index, kind, result))
        else:
            events.extend(result)
    return Delivery(Source.OKTA, tuple(events), tuple(skipped), delivery_id)


def _entry(entry: dict[str, Any]) -> tuple[HookEvent, ...] | SkipReason:
    kind = text(entry.get("eventType"), "eventType")
    effect = EFFECTS.get(kind)
    if effect is None:
        return SkipReason.UNKNOWN_TYPE
    if mapping(entry.get("outcome"), "outcome").get("result") != "SUCCESS":
        return SkipReason.NOT_SUCCESSFUL
    event_id = text(entry.get("uuid"), "uuid")
    published = rfc3339(entry.get("published"), "published")
    targets = [mapping(t, "target") for t in items(entry.get("target") or [], "target")]
    people = [_person(t) for t in targets if t.get("type") == "User"]
    if not people and kind == "user.session.end":
        # Signing oneself out names nobody but the actor.
        actor = mapping(entry.get("actor"), "actor")
        people = [_person(actor)] if actor.get("type") == "User" else []
    groups: list[Group | None] = [
        _group(t)
        for t in targets
        if t.get("type") == ("AppInstance" if effect is Effect.APP_REMOVED else "UserGroup")
    ]
    if effect not in _NEEDS_GROUP:
        groups = [None]
    subjects: list[Subject | None] = [None] if effect in _NAMES_NOBODY else list(people)
    pairs = [(s, g) for s in subjects for g in groups]
    if not pairs:
        msg = "target does not name whom or what this is about"
        raise EntryError(msg)
    if len(pairs) > 1 and effect in GIVES_BACK:
        msg = "target names several; giving back must be unambiguous"
        raise EntryError(msg)
    return tuple(
        HookEvent(
            Source.OKTA,
            kind,
            effect,
            subject,
            group,
            published,
            event_id if position == 0 else f"{event_id}#{position}",
        )
        for position, (subject, group) in enumerate(pairs)
    )


def _person(target: dict[str, Any]) -> Subject:
    return Subject(
        idp_subject=text(target.get("id"), "target.id"), email=address(target.get("alternateId"))
    )


def _group(target: dict[str, Any]) -> Group:
    return Group(
        text(target.get("id"), "target.id"),
        optional(target.get("displayName"), "target.displayName", limit=MAX_NAME),
        _former(target.get("changeDetails")),
    )


def _former(details: object) -> tuple[str, ...]:
    """The name before the change, where Okta says it (System Log API,
    ``target[].changeDetails``).
    """
    before = details.get("from") if isinstance(details, dict) else None
    before = before.get("profile", before) if isinstance(before, dict) else None
    name = (before.get("name") or before.get("displayName")) if isinstance(before, dict) else None
    return (name,) if isinstance(name, str) and 0 < len(name) <= MAX_NAME and is_clean(name) else ()
