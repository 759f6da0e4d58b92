"""Microsoft Graph change and lifecycle notifications
(https://learn.microsoft.com/graph/change-notifications-overview).

Rules:
- ``clientState`` is compared before anything else of an item is read; a mismatch is skipped and
  counted, never stored.
- A batch mixes tenants: the directory must be ours too. Whether the subscription is ours is asked
  when the item is applied.
- A notification has no time and no id. A removal applies at once; everything else is looked up.
- A soft-deleted or disabled user arrives as ``updated`` without properties; ``deleted`` is
  permanent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.core.canonical import canonical_id
from gateway.hooks.event import (
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
    items,
    json_object,
    mapping,
    shown,
    text,
)
from gateway.hooks.sources import credential

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.core.model import Secret

    _Read = Callable[[dict[str, Any], list[str]], tuple[HookEvent, ...] | SkipReason]
    """One entry's events, or why it has none; what of it is malformed is added to the list."""

_RESOURCE = re.compile(r"(users|groups)/([^/?#\s]{1,128})", re.IGNORECASE)
_LIFECYCLE = frozenset({"reauthorizationRequired", "subscriptionRemoved", "missed"})
_MAX_TOKEN = 2048

MISSING = "delta/missing"
"""Type of an event about somebody whom a full reading does not name any more: to be looked up."""


def handshake(validation_token: str) -> str:
    """The decoded ``validationToken`` to send back as text/plain; ``DeliveryRejectedError`` unless
    it is printable and short.
    """
    if not 0 < len(validation_token) <= _MAX_TOKEN or not (
        validation_token.isascii() and validation_token.isprintable()
    ):
        raise DeliveryRejectedError(RejectionReason.MALFORMED, "validationToken is not a token")
    return validation_token


def parse_delivery(
    body: bytes, *, client_states: Iterable[Secret], directory_id: str | None
) -> Delivery:
    """Change notifications. ``client_states``: those of this provider, two during rotation."""
    return _parse(body, tuple(client_states), directory_id, _change)


def parse_lifecycle(
    body: bytes, *, client_states: Iterable[Secret], directory_id: str | None
) -> Delivery:
    """Lifecycle notifications: ``reauthorizationRequired``, ``subscriptionRemoved``, ``missed``."""
    return _parse(body, tuple(client_states), directory_id, _lifecycle)


def _parse(
    body: bytes, client_states: tuple[Secret, ...], directory_id: str | None, read: _Read
) -> Delivery:
    try:
        entries = items(json_object(body).get("value"), "value")
    except EntryError as error:
        raise DeliveryRejectedError(RejectionReason.MALFORMED, str(error)) from error
    events: list[HookEvent] = []
    skipped: list[Skipped] = []
    proven_by: set[int] = set()
    for index, entry in enumerate(entries):
        # What is no object has no clientState either.
        state = entry.get("clientState") if isinstance(entry, dict) else None
        proof = credential.matched(state if isinstance(state, str) else "", client_states)
        if proof is None:
            skipped.append(Skipped(index, "", SkipReason.CLIENT_STATE))
            continue
        proven_by.add(proof)
        kind = shown(entry.get("lifecycleEvent") or entry.get("changeType"))
        if not _same_directory(entry, directory_id):
            skipped.append(Skipped(index, kind, SkipReason.WRONG_DIRECTORY))
            continue
        malformed: list[str] = []
        try:
            result = read(entry, malformed)
        except EntryError as error:
            skipped.append(Skipped(index, kind, SkipReason.MALFORMED, str(error)))
            continue
        skipped += [Skipped(index, kind, SkipReason.MALFORMED, error) for error in malformed]
        if isinstance(result, SkipReason):
            skipped.append(Skipped(index, kind, result))
        else:
            events.extend(result)
    return Delivery(Source.ENTRA, tuple(events), tuple(skipped), proven_by=frozenset(proven_by))


def _same_directory(entry: dict[str, Any], directory_id: str | None) -> bool:
    tenant_id = entry.get("tenantId")
    return (
        directory_id is not None
        and isinstance(tenant_id, str)
        and tenant_id.lower() == directory_id.lower()
    )


def _change(entry: dict[str, Any], malformed: list[str]) -> tuple[HookEvent, ...] | SkipReason:
    subscription = text(entry.get("subscriptionId"), "subscriptionId")
    change = text(entry.get("changeType"), "changeType")
    if change not in {"created", "updated", "deleted"}:
        return SkipReason.UNKNOWN_TYPE
    match = _RESOURCE.fullmatch(text(entry.get("resource"), "resource"))
    if match is None:
        return SkipReason.UNKNOWN_RESOURCE
    kind, identifier = match[1].lower(), text(match[2], "resource")
    data = entry.get("resourceData")
    data = mapping(data, "resourceData") if data is not None else {}
    resource_id = data.get("id")
    if resource_id is not None and not (
        isinstance(resource_id, str) and canonical_id(resource_id) == canonical_id(identifier)
    ):
        msg = "resource and resourceData.id differ"
        raise EntryError(msg)
    if kind == "users":
        effect = Effect.BLOCK if change == "deleted" else Effect.LOOK_UP_ACCOUNT
        return (
            HookEvent(
                Source.ENTRA,
                f"users/{change}",
                effect,
                Subject(oid=identifier),
                reference=subscription,
            ),
        )
    group = Group(id=identifier)
    if change == "deleted":
        return (
            HookEvent(
                Source.ENTRA,
                "groups/deleted",
                Effect.GROUP_DELETED,
                None,
                group,
                reference=subscription,
            ),
        )
    members: list[HookEvent] = []
    for one in items(data.get("members@delta", []), "members@delta"):
        try:
            members.append(_member(group, mapping(one, "members@delta"), subscription))
        except EntryError as error:
            # The others of the group still count.
            malformed.append(str(error))
    # Without members it is a property that changed, and which one is never said: it may be the
    # name.
    return tuple(members) or (
        HookEvent(
            Source.ENTRA,
            "groups/updated",
            Effect.GROUP_RENAMED,
            None,
            group,
            reference=subscription,
        ),
    )


def _member(group: Group, member: dict[str, Any], subscription: str) -> HookEvent:
    subject = Subject(oid=text(member.get("id"), "members@delta.id"))
    if removed(member):
        return HookEvent(
            Source.ENTRA,
            "groups/member-removed",
            Effect.GROUP_REMOVED,
            subject,
            group,
            reference=subscription,
        )
    return HookEvent(
        Source.ENTRA,
        "groups/member-added",
        Effect.LOOK_UP_MEMBERSHIP,
        subject,
        group,
        reference=subscription,
    )


def removed(member: dict[str, Any]) -> bool:
    """Notifications write ``"@removed": "deleted"``, delta queries ``"@removed": {"reason":
    "deleted"}``; any presence counts.
    """
    return "@removed" in member


def _lifecycle(entry: dict[str, Any], _malformed: list[str]) -> tuple[HookEvent, ...] | SkipReason:
    subscription = text(entry.get("subscriptionId"), "subscriptionId")
    kind = text(entry.get("lifecycleEvent"), "lifecycleEvent")
    if kind not in _LIFECYCLE:
        return SkipReason.UNKNOWN_TYPE
    return (HookEvent(Source.ENTRA, kind, Effect.SUBSCRIPTION, None, reference=subscription),)
