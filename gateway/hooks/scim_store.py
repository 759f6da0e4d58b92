"""SCIM resources in SQL. A write and the events that follow from it are one transaction.

Persons' data is sealed; names are found by digest.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from gateway.hooks import scim, scim_patch
from gateway.hooks.event import Delivery, HookEvent, HookRefusedError, Refusal, Source
from gateway.hooks.inbox import digest
from gateway.sql.tables import scim_resources

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.hooks.commit import Committer
    from gateway.hooks.event import Subject
    from gateway.hooks.inbox import Inbox
    from gateway.ports_hooks import HookTarget
    from gateway.sql.database import Database

USER, GROUP = "User", "Group"
_NAME = {USER: "userName", GROUP: "displayName"}


class ScimConflictError(HookRefusedError):
    """409 ``uniqueness``: the name is taken."""

    def __init__(self) -> None:
        super().__init__(Refusal.MALFORMED, "another resource has this name")


@dataclass(frozen=True, slots=True)
class Stored:
    """One resource as SCIM clients see it. Times are UTC epoch seconds."""

    id: str
    kind: str
    document: dict[str, Any]
    version: int
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a list."""

    total: int
    resources: tuple[Stored, ...]


class ScimStore:
    """Users and Groups of one provider at a time. ``clock``: UTC epoch seconds. Methods raise ``UnavailableError``."""

    def __init__(self, database: Database, committer: Committer, inbox: Inbox, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._committer = committer
        self._inbox = inbox
        self._clock = clock

    async def get(self, target: HookTarget, kind: str, resource: str) -> Stored | None:
        async with self._database.read() as connection:
            return await self._load(connection, target, kind, resource)

    async def find(self, target: HookTarget, kind: str, *, wanted: scim_patch.Filter | None, start: int, count: int) -> Found:
        """``wanted``: userName, displayName, externalId or id; ``ScimError`` for other attributes. ``start`` counts from 1."""
        where = [scim_resources.c.tenant == target.tenant, scim_resources.c.provider == target.provider, scim_resources.c.kind == kind]
        for name, value in wanted.terms if wanted is not None else ():
            if not isinstance(value, str) or name not in {_NAME[kind].lower(), "externalid", "id"}:
                msg = "invalidFilter"
                raise scim_patch.ScimError(msg, f"filter by {_NAME[kind]}, externalId or id")
            if name == "id":
                where.append(scim_resources.c.id == value[:36])
            elif name == "externalid":
                where.append(scim_resources.c.external_digest == self._digest(target, value, fold=False))
            else:
                where.append(scim_resources.c.name_digest == self._digest(target, value))
        async with self._database.read() as connection:
            total = (await connection.execute(select(func.count()).select_from(scim_resources).where(*where))).scalar_one()
            rows = await connection.execute(select(scim_resources).where(*where).order_by(scim_resources.c.created_at, scim_resources.c.id).offset(max(0, start - 1)).limit(count))
            return Found(total, tuple(self._stored(row) for row in rows))

    async def create(self, target: HookTarget, kind: str, body: dict[str, Any], *, request_id: str = "") -> Stored:
        """Raises ``ScimConflictError``, ``ScimError``."""
        document = _document(kind, body)

        async def work(connection: AsyncConnection) -> Stored:
            await self._free(connection, target, kind, document, but="")
            now = self._clock()
            made = Stored(str(uuid.uuid4()), kind, document, 1, now, now)
            await connection.execute(
                insert(scim_resources).values(id=made.id, tenant=target.tenant, provider=target.provider, kind=kind, created_at=now, **self._values(target, made))
            )
            await self._tell(connection, target, made, before=None, after=document, body=body, request_id=request_id)
            return made

        return await self._committer.run(work, urgent=True)

    async def replace(self, target: HookTarget, kind: str, resource: str, body: dict[str, Any], *, request_id: str = "") -> Stored | None:
        """PUT. None: there is no such resource."""
        document = _document(kind, body)
        return await self._write(target, kind, resource, lambda _: document, body, request_id=request_id)

    async def patch(self, target: HookTarget, kind: str, resource: str, body: dict[str, Any], *, request_id: str = "") -> Stored | None:
        """PATCH. None: there is no such resource."""
        return await self._write(target, kind, resource, lambda before: _document(kind, scim_patch.apply(before, body)), body, request_id=request_id)

    async def _write(
        self, target: HookTarget, kind: str, resource: str, change: Callable[[dict[str, Any]], dict[str, Any]], body: dict[str, Any], *, request_id: str
    ) -> Stored | None:
        async def work(connection: AsyncConnection) -> Stored | None:
            before = await self._load(connection, target, kind, resource, lock=True)
            if before is None:
                return None
            document = change(before.document)
            await self._free(connection, target, kind, document, but=before.id)
            after = Stored(before.id, kind, document, before.version + 1, before.created_at, self._clock())
            await connection.execute(update(scim_resources).where(scim_resources.c.id == before.id).values(**self._values(target, after)))
            await self._tell(connection, target, after, before=before.document, after=document, body=body, request_id=request_id)
            return after

        return await self._committer.run(work, urgent=True)

    async def delete(self, target: HookTarget, kind: str, resource: str, *, request_id: str = "") -> bool:
        """False: there is no such resource."""

        async def work(connection: AsyncConnection) -> bool:
            before = await self._load(connection, target, kind, resource, lock=True)
            if before is None:
                return False
            await self._tell(connection, target, before, before=before.document, after=None, body={}, request_id=request_id)
            await connection.execute(delete(scim_resources).where(scim_resources.c.id == before.id))
            return True

        return await self._committer.run(work, urgent=True)

    async def _tell(
        self, connection: AsyncConnection, target: HookTarget, resource: Stored, *, before: dict[str, Any] | None, after: dict[str, Any] | None, body: dict[str, Any], request_id: str
    ) -> None:  # fmt: skip
        now = self._clock()
        events: tuple[HookEvent, ...]
        if resource.kind == USER:
            events = scim.user_events(before, after, kind=target.kind, now=now, inactive_said=_says_inactive(body))
        else:
            removed = _said_removed(body)
            named = {str(m["value"]) for d in (before, after) if d for m in d["members"]} | removed
            people = {m: s for m in sorted(named) if (s := await self._subject(connection, target, m)) is not None}
            events = scim.group_events(resource.id, before, after, people=people, now=now, said_removed=removed)
        if events:
            await self._inbox.store(connection, target, Delivery(Source.SCIM, events), received_at=now, request_id=request_id)

    async def _subject(self, connection: AsyncConnection, target: HookTarget, member: str) -> Subject | None:
        user = await self._load(connection, target, USER, member)
        return scim.subject(user.document, target.kind) if user is not None else None

    async def _free(self, connection: AsyncConnection, target: HookTarget, kind: str, document: dict[str, Any], *, but: str) -> None:
        statement = select(scim_resources.c.id).where(
            scim_resources.c.tenant == target.tenant, scim_resources.c.provider == target.provider, scim_resources.c.kind == kind,
            scim_resources.c.name_digest == self._digest(target, document[_NAME[kind]]), scim_resources.c.id != but,
        )  # fmt: skip
        if (await connection.execute(statement)).first() is not None:
            raise ScimConflictError

    async def _load(self, connection: AsyncConnection, target: HookTarget, kind: str, resource: str, *, lock: bool = False) -> Stored | None:
        statement = select(scim_resources).where(
            scim_resources.c.id == resource[:36], scim_resources.c.tenant == target.tenant, scim_resources.c.provider == target.provider, scim_resources.c.kind == kind
        )  # fmt: skip
        row = (await connection.execute(statement.with_for_update() if lock else statement)).first()
        return self._stored(row) if row is not None else None

    def _stored(self, row: Any) -> Stored:
        text = self._database.crypt.open(row.document, table="scim_resources", row=row.id, column="document").reveal()
        return Stored(row.id, row.kind, json.loads(text), row.version, row.created_at, row.updated_at)

    def _values(self, target: HookTarget, stored: Stored) -> dict[str, Any]:
        external = stored.document.get("externalId")
        return {
            "name_digest": self._digest(target, stored.document[_NAME[stored.kind]]),
            "external_digest": self._digest(target, external, fold=False) if isinstance(external, str) and external else "",
            "document": self._database.crypt.seal(json.dumps(stored.document), table="scim_resources", row=stored.id, column="document"),
            "version": stored.version,
            "updated_at": stored.updated_at,
        }

    def _digest(self, target: HookTarget, name: str, *, fold: bool = True) -> str:
        return digest(target.tenant, target.provider, name.casefold() if fold else name)


def _document(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return scim.user_document(body) if kind == USER else scim.group_document(body)


_MEMBER = re.compile(r'(?:urn:[^\[]*:)?members\[\s*value\s+eq\s+"(?P<id>[^"\\]{1,256})"\s*\]', re.IGNORECASE)


def _says_inactive(body: dict[str, Any]) -> bool:
    """Whether the request itself speaks of ``active``; what the resource then holds decides what it said."""
    return "active" in json.dumps(body).lower()


def _said_removed(body: dict[str, Any]) -> set[str]:
    """Ids in the ``remove`` operations of a PATCH, members here or not: beside the path (Entra), or in its filter (RFC 7644 §3.5.2.2)."""
    found: set[str] = set()
    operations: object = next((v for k, v in body.items() if k.lower() == "operations"), [])
    for operation in operations if isinstance(operations, list) else []:
        one = {k.lower(): v for k, v in operation.items()} if isinstance(operation, dict) else {}
        if str(one.get("op")).lower() != "remove":
            continue
        path, value = str(one.get("path")), one.get("value")
        if path.lower().endswith("members") and isinstance(value, list):
            found |= {m["value"] for m in value if isinstance(m, dict) and isinstance(m.get("value"), str)}
        elif (named := _MEMBER.fullmatch(path.strip())) is not None:
            found.add(named["id"])
    return found
