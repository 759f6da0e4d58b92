"""SCIM 2.0 as a deprovisioning sink (RFC 7643, RFC 7644): what changed between two states of a resource becomes events.

Rules:
- Every way of writing (POST, PUT, PATCH, DELETE) is read as "before" and "after", so that no spelling has its own logic.
- ``active`` is coerced from what providers send (``false``, ``"False"``, ``0``); what cannot be coerced is refused, not ignored.
- Saying again that a person is inactive ends their sessions again; only the step from inactive to active gives back.
- The provider chooses ``externalId``: for Okta its user id, for Entra the object id where the customer maps it, elsewhere ``sub``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.core.model import ProviderKind
from gateway.hooks.event import MAX_NAME, Effect, EntryError, Group, HookEvent, Source, Subject, address, items, mapping, optional, text
from gateway.hooks.scim_patch import ScimError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
MAX_MEMBERS = 20_000
_OBJECT_ID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_READ_ONLY = frozenset({"id", "meta", "schemas", "password", "groups"})


def user_document(body: Mapping[str, Any]) -> dict[str, Any]:
    """The writable attributes of a User, validated as far as they mean something here; ``ScimError`` otherwise."""
    document = _writable(body)
    try:
        document["userName"] = text(document.get("userName"), "userName", limit=MAX_NAME)
        if optional(document.get("externalId"), "externalId"):
            document["externalId"] = str(document["externalId"])
        document["active"] = boolean(document.get("active", True))
    except EntryError as error:
        msg = "invalidValue"
        raise ScimError(msg, str(error)) from error
    return document


def group_document(body: Mapping[str, Any]) -> dict[str, Any]:
    """The writable attributes of a Group; members are kept once each, by ``value``."""
    document = _writable(body)
    try:
        document["displayName"] = text(document.get("displayName"), "displayName", limit=MAX_NAME)
        optional(document.get("externalId"), "externalId")
        members: dict[str, dict[str, Any]] = {}
        raw = document.get("members") or []
        if not isinstance(raw, list) or len(raw) > MAX_MEMBERS:
            msg = "invalidValue"
            raise ScimError(msg, f"members is an array of at most {MAX_MEMBERS}")
        for member in raw:
            value = text(mapping(member, "members").get("value"), "members.value")
            members[value] = {"value": value}
        document["members"] = list(members.values())
    except EntryError as error:
        msg = "invalidValue"
        raise ScimError(msg, str(error)) from error
    return document


def _writable(body: Mapping[str, Any]) -> dict[str, Any]:
    known = {"username": "userName", "externalid": "externalId", "active": "active", "displayname": "displayName", "members": "members", "emails": "emails"}
    return {known.get(k.lower(), k): v for k, v in body.items() if k.lower() not in _READ_ONLY}


def boolean(value: object) -> bool:
    """``false``, ``"False"``, ``"FALSE"``, ``0``, ``{"value": "false"}``: what a provider means by it; ``EntryError`` for anything else."""
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


def subject(document: Mapping[str, Any], kind: ProviderKind) -> Subject:
    """The person that a User document stands for."""
    external = document.get("externalId")
    external = external if isinstance(external, str) else ""
    email = address(document.get("userName")) or _primary_email(document)
    if kind is ProviderKind.ENTRA:
        return Subject(oid=external if _OBJECT_ID.fullmatch(external) else "", email=email)
    return Subject(idp_subject=external, email=email)


def _primary_email(document: Mapping[str, Any]) -> str:
    try:
        emails = [mapping(e, "emails") for e in items(document.get("emails") or [], "emails")]
    except EntryError:
        return ""
    ordered = sorted(emails, key=lambda e: e.get("primary") is not True)
    return next((found for e in ordered if (found := address(e.get("value")))), "")


def user_events(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, *, kind: ProviderKind, now: float, inactive_said: bool = False) -> tuple[HookEvent, ...]:
    """``after`` None: deleted. ``inactive_said``: the request itself said ``active: false``."""
    person = subject(after if after is not None else before or {}, kind)
    if not person:
        return ()

    def event(kind_name: str, effect: Effect, who: Subject) -> HookEvent:
        return HookEvent(Source.SCIM, kind_name, effect, who, None, now)

    if after is None:
        return (event("User.delete", Effect.BLOCK, person),)
    if not after["active"]:
        changed = before is None or before.get("active") is not False
        return (event("User.active=false", Effect.BLOCK, person),) if changed or inactive_said else ()
    events: list[HookEvent] = []
    if before is None or before.get("active") is False:
        # Created active counts too: the same name may have been deleted before.
        events.append(event("User.active=true", Effect.LIFT, person))
    previous = subject(before, kind) if before is not None else person
    if previous and previous.key != person.key:
        # Another id or login from now on: what was open under the old one ends.
        events.append(event("User.renamed", Effect.END_SESSIONS, previous))
    return tuple(events)


def group_events(
    group_id: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, *, people: Mapping[str, Subject], now: float, said_removed: Iterable[str] = ()
) -> tuple[HookEvent, ...]:  # fmt: skip
    """Members lost and gained. ``people``: subjects by SCIM id; ``said_removed``: ids that the request itself removed, known members or not."""
    was = _members(before)
    now_in = _members(after)
    document = after if after is not None else before or {}
    group = Group(_external(document), str(document.get("displayName") or ""))
    lost = (was | set(said_removed)) - now_in
    gained = now_in - was
    events = [HookEvent(Source.SCIM, "Group.members-", Effect.GROUP_REMOVED, people[m], group, now, reference=group_id) for m in sorted(lost) if people.get(m)]
    events += [HookEvent(Source.SCIM, "Group.members+", Effect.GROUP_ADDED, people[m], group, now, reference=group_id) for m in sorted(gained) if people.get(m)]
    return tuple(events)


def _external(document: Mapping[str, Any]) -> str:
    external = document.get("externalId")
    return external if isinstance(external, str) else ""


def _members(document: Mapping[str, Any] | None) -> set[str]:
    return {str(m["value"]) for m in (document or {}).get("members", [])}
