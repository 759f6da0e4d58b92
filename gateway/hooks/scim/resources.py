"""SCIM 2.0 as a deprovisioning sink (RFC 7643, RFC 7644): what changed between two states of a
resource becomes events.

Rules:
- Every way of writing (POST, PUT, PATCH, DELETE) is read as "before" and "after", so that no
  spelling has its own logic.
- What decides about access (``active``, ``externalId``, ``emails``, ``members``) and is omitted
  from a PUT is unchanged (RFC 7644 §3.5.1 leaves that to the service provider). Giving back is
  said: ``active: true``, a member added.
- ``active`` is coerced from what providers send (``false``, ``"False"``, ``0``); what cannot be
  coerced is refused, not ignored.
- A person is refused by every name that the document asserts, for nothing tells which of them
  tokens carry: the login, every e-mail address, and ``externalId`` as ``sub`` and, where it has the
  shape of one, as object id. What stands hangs on the record: a new name changes nothing.
- Saying again that a person is inactive ends their sessions again; only the step from inactive to
  active gives back.
- A removal speaks of the group as it was before, an addition of the group as it is now: a group
  that gets another name (or ``externalId``) is taken from its members under the old one and given
  under the new one.
- Directories have two groups of one name. Who is removed by name loses the name whatever other
  group has it too; a group that goes, or gets another name, takes its name from those only whom no
  newer group of that name lists.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.hooks.event import (
    MAX_NAME,
    MAX_NAMED,
    DeliveryRejectedError,
    Effect,
    EntryError,
    Group,
    HookEvent,
    RejectionReason,
    Source,
    Subject,
    address,
    mapping,
    optional,
    text,
)
from gateway.hooks.scim.filter import ScimError
from gateway.hooks.scim.patch import MAX_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
MAX_MEMBERS = 20_000
MAX_VALUES = 250
"""Entries of one array, ``members`` apart: nobody has more addresses, telephones or roles."""
MAX_ADDRESSES = 20
"""E-mail addresses of one person: each is refused by itself, in a revocation of its own."""
MAX_DEPTH = 8
"""Arrays and objects inside one another; RFC 7643 has four."""
MAX_CHANGED = 64
"""Attributes that a message names."""
_GUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_READ_ONLY = frozenset({"id", "meta", "schemas", "password", "groups"})
_KEPT = {"User": ("externalId", "emails"), "Group": ("members", "externalId")}


class ScimTooLargeError(DeliveryRejectedError):
    """413: a resource, or all of a provider's together, would be larger than this gateway keeps."""

    def __init__(self, message: str) -> None:
        super().__init__(RejectionReason.TOO_LARGE, message)


def bounded(body: Mapping[str, Any]) -> None:
    """``ScimError`` for a body that is nested or wide beyond what any resource needs. Linear, and
    without recursion.
    """
    level: list[tuple[str, object]] = [("", body)]
    for _ in range(MAX_DEPTH):
        inner: list[tuple[str, object]] = []
        for name, one in level:
            if isinstance(one, dict):
                _at_most(len(one), MAX_ATTRIBUTES, "an object")
                inner += (
                    (str(key).lower().rpartition(":")[2], value)
                    for key, value in one.items()
                    if isinstance(value, dict | list)
                )
            elif isinstance(one, list):
                # The value of a PATCH operation may be a list of members; what the document then
                # holds is looked at again.
                _at_most(
                    len(one),
                    MAX_MEMBERS if name in {"members", "value", "operations"} else MAX_VALUES,
                    "an array",
                )
                inner += (("", value) for value in one if isinstance(value, dict | list))
        level = inner
    if level:
        msg = "invalidValue"
        raise ScimError(msg, f"more than {MAX_DEPTH} arrays and objects inside one another")


def _at_most(count: int, limit: int, what: str) -> None:
    if count > limit:
        msg = "invalidValue"
        raise ScimError(msg, f"{what} has more than {limit} entries")


def replaced(kind: str, body: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """What a PUT of ``body`` makes of ``before`` (``kind``: User, Group): what decides about access
    and was not said is as it was.

    ``active`` is ``user_document``'s, for a PATCH may leave it out too.
    """
    body_names = {name.lower() for name in body}
    return {
        **{
            name: before[name]
            for name in _KEPT[kind]
            if name in before and name.lower() not in body_names
        },
        **body,
    }


def user_document(
    body: Mapping[str, Any], before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The writable attributes of a User, validated as far as they mean something here;
    ``ScimError`` otherwise.

    Without ``active`` (omitted, or removed by a PATCH) it is as it was ``before``; true for
    somebody new.
    """
    bounded(body)
    document = _writable(body)
    try:
        document["userName"] = text(document.get("userName"), "userName", limit=MAX_NAME)
        if not optional(document.get("externalId"), "externalId"):
            document.pop("externalId", None)
        document["active"] = (
            boolean(document["active"])
            if "active" in document
            else before is None or before["active"]
        )
        _at_most(len(addresses(document)), MAX_ADDRESSES, "emails")
    except EntryError as error:
        msg = "invalidValue"
        raise ScimError(msg, str(error)) from error
    return document


def group_document(body: Mapping[str, Any]) -> dict[str, Any]:
    """The writable attributes of a Group; members are kept once each, by ``value``. Some clients
    send the value itself.
    """
    bounded(body)
    document = _writable(body)
    try:
        document["displayName"] = text(document.get("displayName"), "displayName", limit=MAX_NAME)
        if not optional(document.get("externalId"), "externalId"):
            document.pop("externalId", None)
        members: dict[str, dict[str, Any]] = {}
        raw = document.get("members") or []
        if not isinstance(raw, list) or len(raw) > MAX_MEMBERS:
            msg = "invalidValue"
            raise ScimError(msg, f"members is an array of at most {MAX_MEMBERS}")
        for member in raw:
            entry = (
                {"value": member}
                if isinstance(member, str)
                else {key.lower(): one for key, one in mapping(member, "members").items()}
            )
            value = text(entry.get("value"), "members.value")
            members[value] = {"value": value}
        document["members"] = list(members.values())
    except EntryError as error:
        msg = "invalidValue"
        raise ScimError(msg, str(error)) from error
    return document


def _writable(body: Mapping[str, Any]) -> dict[str, Any]:
    canonical_names = {
        "username": "userName",
        "externalid": "externalId",
        "active": "active",
        "displayname": "displayName",
        "members": "members",
        "emails": "emails",
    }
    document = {
        canonical_names.get(k.lower(), k): v for k, v in body.items() if k.lower() not in _READ_ONLY
    }
    if len({k.lower() for k in body}) < len(body):
        # Names compare without case (RFC 7643 §2.1): two readers may take different ones.
        msg = "invalidSyntax"
        raise ScimError(msg, "an attribute occurs twice")
    return document


def says_active(body: Mapping[str, Any]) -> bool:
    """Whether a resource that was sent names ``active``."""
    return any(name.lower() == "active" for name in body)


def boolean(value: object) -> bool:
    """``false``, ``"False"``, ``"FALSE"``, ``0``, ``{"value": "false"}``: what a provider means by
    it; ``EntryError`` for anything else.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return value == 1
    if isinstance(value, str) and value.strip().lower() in {"true", "false", "1", "0"}:
        return value.strip().lower() in {"true", "1"}
    if isinstance(value, dict) and set(value) == {"value"} and not isinstance(value["value"], dict):
        return boolean(value["value"])
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], list):
        return boolean(value[0])
    msg = "active is true or false"
    raise EntryError(msg)


def names(document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Every name that a User document asserts: (kind of ``Subject``, value), the strongest of each
    kind first.
    """
    external = document.get("externalId")
    external = external if isinstance(external, str) else ""
    ids = [value for value in (external, str(document.get("userName") or "")) if value]
    mails = [one for value in (*reversed(ids), *addresses(document)) if (one := address(value))]
    pairs = [
        *(("idp_subject", value) for value in ids),
        *(("oid", value) for value in ids if _GUID.fullmatch(value)),
        *(("email", value) for value in mails),
    ]
    return tuple(dict.fromkeys(pairs))


def addresses(document: Mapping[str, Any]) -> list[str]:
    """As sent, the primary one first; entries that are no objects (some clients send the address
    itself) count too.
    """
    raw = document.get("emails")
    entries = [
        {key.lower(): value for key, value in e.items()} if isinstance(e, dict) else {"value": e}
        for e in (raw if isinstance(raw, list) else [raw])
    ]
    return [
        value
        for e in sorted(entries, key=lambda e: e.get("primary") is not True)
        if isinstance(value := e.get("value"), str)
    ]


def date_time(seconds: float) -> str:
    """As answers show it; milliseconds are cut off."""
    return (
        datetime.fromtimestamp(math.floor(seconds * 1000) / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )


def subject(document: Mapping[str, Any], record: str) -> Subject:
    """The person that a User document stands for. ``record``: what the person's standing hangs
    on.
    """
    return Subject.of_record(record, names(document))


def user_events(
    record: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    *,
    now: float,
    inactive_said: bool = False,
) -> tuple[HookEvent, ...]:
    """``before`` None: the record is new here, or takes up one that was deleted; ``after`` None:
    deleted. ``inactive_said``: the request itself spoke of ``active``.
    """
    was = subject(before, record) if before is not None else Subject(record=record)
    person = subject(after, record) if after is not None else was

    def event(kind: str, effect: Effect, who: Subject) -> HookEvent:
        return HookEvent(Source.SCIM, kind, effect, who, None, now)

    if after is None:
        # With its names, so that what waits to be applied for this record still finds them.
        return event("User.delete", Effect.RENAMED, person), event(
            "User.delete", Effect.BLOCK, person
        )
    events: list[HookEvent] = []
    if before is not None and set(was.names) != set(person.names):
        events.append(event("User.renamed", Effect.RENAMED, person))
    if not after["active"]:
        if before is None or before["active"] or inactive_said:
            events.append(event("User.active=false", Effect.BLOCK, person))
        return tuple(events)
    if before is not None and not before["active"]:
        events.append(event("User.active=true", Effect.LIFT, person))
    lost_names = [name for name in was.names if name not in person.names]
    if lost_names:
        # Another id or login from now on: what was open under the old one ends.
        events.append(
            event("User.renamed", Effect.END_SESSIONS, Subject.of_record(record, lost_names))
        )
    return tuple(events)


TOLD: Mapping[str, str] = {
    "User.created": "user.created",
    "User.updated": "user.updated",
    "Group.deleted": "group.deleted",
}
"""What the app is told, by the type of an event with the effect ``TELL``."""


def told(
    kind: str,
    record: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    *,
    now: float,
) -> HookEvent | None:
    """What an app that keeps users and groups of its own wants to hear of one change: a new user,
    another profile, a group that is gone. ``record``: the person's, or the group's.
    """
    if kind == "Group":
        return (
            HookEvent(
                Source.SCIM, "Group.deleted", Effect.TELL, None, _group(before), now, None, record
            )
            if after is None
            else None
        )
    if after is None:
        return None
    changed_names = sorted(
        name
        for name in {*(before or {}), *after} - {"active"}
        if (before or {}).get(name) != after.get(name)
    )
    if before is not None and not changed_names:
        return None
    reference = json.dumps(
        {
            "name": _display_name(after),
            "username": str(after["userName"]),
            "changed": changed_names[:MAX_CHANGED] if before is not None else [],
        }
    )
    return HookEvent(
        Source.SCIM,
        "User.created" if before is None else "User.updated",
        Effect.TELL,
        subject(after, record),
        None,
        now,
        None,
        reference,
    )


def _display_name(document: Mapping[str, Any]) -> str:
    """``displayName``, else the parts of ``name``; "" where the record has neither."""
    display_name = document.get("displayName")
    if isinstance(display_name, str) and display_name:
        return display_name[:MAX_NAME]
    parts = document.get("name")
    parts = parts if isinstance(parts, dict) else {}
    whole = parts.get("formatted") or " ".join(
        str(parts[key]) for key in ("givenName", "familyName") if parts.get(key)
    )
    return str(whole)[:MAX_NAME]


def succession_events(
    record: str, after: Mapping[str, Any], *, now: float
) -> tuple[HookEvent, ...]:
    """Somebody who was deleted is here again: what stands against the person holds for the names of
    today, and is given back where ``active`` was said.
    """
    person = subject(after, record)
    kind, effect = (
        ("User.active=true", Effect.LIFT)
        if after["active"]
        else ("User.active=false", Effect.BLOCK)
    )
    return HookEvent(Source.SCIM, "User.created", Effect.RENAMED, person, None, now), HookEvent(
        Source.SCIM, kind, effect, person, None, now
    )


def group_events(
    record: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    *,
    now: float,
    said_removed: Collection[str] = (),
    elsewhere: Collection[str] = (),
) -> tuple[HookEvent, ...]:
    """Members lost and gained, by the ids of their records. ``said_removed``: ids that the request
    itself removed, members or not; ``elsewhere``: members of newer groups with the name that this
    one loses.
    """
    was, now_in = _members(before), _members(after)
    old, new = _group(before), _group(after)
    events: list[HookEvent] = []
    for spelling in old.spellings:
        lost_members = (
            was - now_in
            if spelling in new.spellings
            else was.difference(elsewhere)
            if spelling == old.name
            else was
        )
        lost_members = lost_members.union(said_removed) - (
            now_in if spelling in new.spellings else set()
        )
        events += _named(
            record,
            "Group.members-",
            Effect.MEMBERS_REMOVED,
            lost_members,
            Group(old.id, old.name, spelling=spelling),
            now,
        )
    for spelling in new.spellings:
        gained = now_in - was if spelling in old.spellings else now_in
        events += _named(
            record,
            "Group.members+",
            Effect.MEMBERS_ADDED,
            gained,
            Group(new.id, new.name, spelling=spelling),
            now,
        )
    return tuple(events)


def _named(
    record: str, kind: str, effect: Effect, members: Iterable[str], group: Group, now: float
) -> list[HookEvent]:
    """In events of a bounded size: each is applied, and answered for, by itself."""
    every = sorted(members)
    return [
        HookEvent(
            Source.SCIM,
            kind,
            effect,
            None,
            group,
            now,
            reference=record,
            members=tuple(every[start : start + MAX_NAMED]),
        )
        for start in range(0, len(every), MAX_NAMED)
    ]


def _group(document: Mapping[str, Any] | None) -> Group:
    external = (document or {}).get("externalId")
    return Group(
        external if isinstance(external, str) else "",
        str((document or {}).get("displayName") or ""),
    )


def _members(document: Mapping[str, Any] | None) -> set[str]:
    return {str(m["value"]) for m in (document or {}).get("members", [])}
