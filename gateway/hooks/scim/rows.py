"""A SCIM resource and its row: the document is sealed, names are found by digest."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from gateway.core.canonical import canonical_address, canonical_id
from gateway.database.schema import scim_resources
from gateway.hooks.event import Subject
from gateway.hooks.inbox import digest
from gateway.hooks.scim import resources as scim

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database

USER, GROUP = "User", "Group"
NAME = {USER: "userName", GROUP: "displayName"}
MAX_USER_BYTES = 64 * 1024
"""Of one document as JSON. What identity providers send of a person is 1 to 4 kB."""
MAX_GROUP_BYTES = 2 * 1024 * 1024
"""``scim.MAX_MEMBERS`` members at 50 bytes, and as much again."""
MAX_NAMESAKES = 20
"""Other records that are looked at because they share a name with the one that is written. A client
that makes more is not keeping people.
"""
ID = re.compile(r"[0-9a-f-]{36}")
"""Of a record. Other text is nobody's, and not every database takes all of it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One resource as SCIM clients see it. Times are UTC epoch seconds. ``person``: what a user's
    standing hangs on.
    """

    id: str
    kind: str
    person: str
    document: dict[str, Any]
    bytes: int
    version: int
    created_at: float
    updated_at: float


class ScimRows:
    """Opens and seals the rows of resources."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def get(self, target: HookTarget, kind: str, resource: str) -> Stored | None:
        if not ID.fullmatch(resource):
            return None
        async with self.database.read() as connection:
            row = (
                await connection.execute(
                    select(scim_resources).where(
                        scim_resources.c.id == resource, *of_kind(target, kind)
                    )
                )
            ).first()
        return self.stored(row) if row is not None else None

    def stored(self, row: Any) -> Stored:
        text = self.database.crypt.open(
            row.document, table="scim_resources", row=row.id, column="document"
        ).reveal()
        return Stored(
            row.id,
            row.kind,
            row.person,
            json.loads(text),
            row.bytes,
            row.version,
            row.created_at,
            row.updated_at,
        )

    def values(self, target: HookTarget, stored: Stored) -> dict[str, Any]:
        return {
            "person": stored.person,
            "name_digest": name_digest(target, stored),
            "unique_digest": unique_digest(target, stored),
            "external_digest": external_digest(target, stored),
            "document": self.database.crypt.seal(
                compact_json(stored.document),
                table="scim_resources",
                row=stored.id,
                column="document",
            ),
            "bytes": stored.bytes,
            "version": stored.version,
            "updated_at": stored.updated_at,
        }


def sized(resource: Stored) -> Stored:
    """With the length of its document; ``ScimTooLargeError`` beyond what one may have."""
    size, limit = (
        len(compact_json(resource.document)),
        MAX_USER_BYTES if resource.kind == USER else MAX_GROUP_BYTES,
    )
    if size > limit:
        raise scim.ScimTooLargeError(
            f"a {resource.kind} has at most {limit} bytes, this one would have {size}"
        )
    return replace(resource, bytes=size)


def members_of(stored: Stored) -> int:
    """How many a group has; 0 of a user."""
    return len(stored.document.get("members") or ()) if stored.kind == GROUP else 0


def of_kind(target: HookTarget, kind: str) -> list[ColumnElement[bool]]:
    return [
        scim_resources.c.tenant == target.tenant,
        scim_resources.c.provider == target.provider,
        scim_resources.c.kind == kind,
    ]


def called_digest(target: HookTarget, kind: str, name: str) -> str:
    return digest(
        target.tenant,
        target.provider,
        canonical_address(name) if kind == USER else canonical_id(name).casefold(),
    )


def name_digest(target: HookTarget, stored: Stored) -> str:
    return called_digest(target, stored.kind, stored.document[NAME[stored.kind]])


def unique_digest(target: HookTarget, stored: Stored) -> str:
    return (
        name_digest(target, stored)
        if stored.kind == USER
        else digest(name_digest(target, stored), external_digest(target, stored))
    )


def external_digest(target: HookTarget, stored: Stored) -> str:
    external = stored.document.get("externalId")
    return (
        digest(target.tenant, target.provider, canonical_id(external))
        if isinstance(external, str) and external
        else ""
    )


def address_digest(value: str) -> str:
    return digest("address", value.casefold())


def address_digests(stored: Stored) -> frozenset[str]:
    """Digests of every e-mail address of a person."""
    return (
        frozenset(map(address_digest, scim.addresses(stored.document)))
        if stored.kind == USER
        else frozenset()
    )


def shared_names(record: Stored, other: Stored) -> Subject:
    """The person of ``record``, by the names that ``other`` has too."""
    theirs = set(scim.subject(other.document, "").names)
    return Subject.of_record(
        record.person, [name for name in scim.subject(record.document, "").names if name in theirs]
    )


def compact_json(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))
