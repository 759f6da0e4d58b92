"""Lists of SCIM resources: what SQL can say of a filter, and the documents that it has to open for
the rest.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, false, func, not_, or_, select, true

from gateway.core.canonical import canonical_id
from gateway.database.schema import scim_addresses, scim_resources
from gateway.hooks.inbox import digest
from gateway.hooks.scim import filter as scim_filter
from gateway.hooks.scim import resources as scim
from gateway.hooks.scim.filter import AllOf, AnyOf, Budget, Entry, Expression, Not, ScimError, Term
from gateway.hooks.scim.rows import (
    ID,
    NAME,
    USER,
    Stored,
    address_digest,
    called_digest,
    of_kind,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.hooks.scim.rows import ScimRows

PAGE_BYTES = 4 * 1024 * 1024
"""Of the documents in one page of a list; one resource is always shown."""
BATCH, BATCH_BYTES = 250, 1024 * 1024
"""Documents read by one statement, and their length, where many are read."""
MAX_SCANNED, MAX_SCANNED_BYTES = 2_000, 16 * 1024 * 1024
"""Documents that one filter may have opened, where it names nothing that an index has: a quarter of
a second of one processor. More is ``tooMany``.
"""
MAX_LOOKS = 1_000_000
"""Names and values that such a filter may compare in them: one term in sixteen megabytes of
members.
"""
MAX_SCANS = 2
"""Such filters at once; others wait."""


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a list."""

    total: int
    resources: tuple[Stored, ...]


class ScimSearch:
    """Methods raise ``UnavailableError``."""

    def __init__(self, rows: ScimRows) -> None:
        self._rows = rows
        self._scans = asyncio.Semaphore(MAX_SCANS)

    async def find(
        self,
        target: HookTarget,
        kind: str,
        *,
        wanted: scim_filter.Filter | None,
        start: int,
        count: int,
    ) -> Found:
        """``start`` counts from 1. ``ScimError`` (``tooMany``) for a filter that would have to open
        more than ``MAX_SCANNED`` documents.

        A page ends before ``count`` where its documents would be more than ``PAGE_BYTES``.
        """
        where, narrowed = (
            of_kind(target, kind),
            _narrowed(target, kind, wanted.expression) if wanted is not None else _All,
        )
        if narrowed.condition is not None:
            where.append(narrowed.condition)
        page = (
            select(scim_resources.c.id, scim_resources.c.bytes)
            .where(*where)
            .order_by(scim_resources.c.created_at, scim_resources.c.id)
        )
        if wanted is not None and not narrowed.exact:
            async with self._scans:
                return await self._scanned(page, wanted, start=start, count=count)
        async with self._rows.database.read() as connection:
            total = (
                await connection.execute(
                    select(func.count()).select_from(scim_resources).where(*where)
                )
            ).scalar_one()
            sizes = [
                (row.id, row.bytes)
                for row in await connection.execute(page.offset(max(0, start - 1)).limit(count))
            ]
            resources = [
                one for batch in _batches(sizes) for one in await self._opened(connection, batch)
            ]
        return Found(total, tuple(resources))

    async def _scanned(
        self, page: Select[Any], wanted: scim_filter.Filter, *, start: int, count: int
    ) -> Found:
        """Documents are opened beside the loop, a batch at a time."""
        async with self._rows.database.read() as connection:
            sizes = [
                (row.id, row.bytes) for row in await connection.execute(page.limit(MAX_SCANNED + 1))
            ]
            if len(sizes) > MAX_SCANNED or sum(size for _, size in sizes) > MAX_SCANNED_BYTES:
                msg = "tooMany"
                raise ScimError(
                    msg,
                    (
                        "too many resources would have to be looked through: filter by "
                        "userName, displayName of a group, externalId, id or emails.value"
                    ),
                )
            total, page_bytes, resources, full, budget = (
                0,
                0,
                list[Stored](),
                False,
                Budget(MAX_LOOKS),
            )
            for batch in _batches(sizes, at_most=MAX_SCANNED_BYTES):
                rows = (
                    await connection.execute(
                        select(scim_resources).where(scim_resources.c.id.in_(batch))
                    )
                ).all()
                for one in await asyncio.to_thread(self._matching, rows, wanted, batch, budget):
                    total += 1
                    full = full or (bool(resources) and page_bytes + one.bytes > PAGE_BYTES)
                    if total >= start and len(resources) < count and not full:
                        resources.append(one)
                        page_bytes += one.bytes
        return Found(total, tuple(resources))

    def _matching(
        self, rows: Iterable[Any], wanted: scim_filter.Filter, order: Sequence[str], budget: Budget
    ) -> list[Stored]:
        by_id = {row.id: self._rows.stored(row) for row in rows}
        return [
            one
            for id_ in order
            if (one := by_id.get(id_)) is not None and wanted.holds(_whole(one), budget)
        ]

    async def _opened(self, connection: AsyncConnection, ids: Sequence[str]) -> list[Stored]:
        rows = {
            row.id: row
            for row in await connection.execute(
                select(scim_resources).where(scim_resources.c.id.in_(ids))
            )
        }
        return [self._rows.stored(rows[one]) for one in ids]


@dataclass(frozen=True, slots=True)
class _Narrowed:
    """What SQL can say of a filter: None, or a condition that holds for everything that the filter
    holds for, and (``exact``) for nothing else.
    """

    condition: ColumnElement[bool] | None = None
    exact: bool = False


_All = _Narrowed(exact=True)
_NOWHERE = frozenset({"groups", "password", "schemas"})


def _narrowed(target: HookTarget, kind: str, expression: Expression) -> _Narrowed:
    """Raises ``ScimError`` (``invalidFilter``) for what is not kept here."""
    match expression:
        case AllOf(of):
            parts = [_narrowed(target, kind, one) for one in of]
            conditions = [one.condition for one in parts if one.condition is not None]
            return _Narrowed(
                and_(*conditions) if conditions else None,
                exact=len(conditions) == len(parts) and all(one.exact for one in parts),
            )
        case AnyOf(of):
            parts = [_narrowed(target, kind, one) for one in of]
            conditions = [one.condition for one in parts if one.condition is not None]
            whole = len(conditions) == len(parts)
            return _Narrowed(
                or_(*conditions) if whole else None, exact=whole and all(one.exact for one in parts)
            )
        case Not(inner):
            part = _narrowed(target, kind, inner)
            return (
                _Narrowed(not_(part.condition), exact=True)
                if part.exact and part.condition is not None
                else _Narrowed()
            )
        case Entry(("emails",), inner):
            # Who has an entry that holds has the address that it must have.
            of = inner.of if isinstance(inner, AllOf) else (inner,)
            address = next(
                (
                    one.value
                    for one in of
                    if isinstance(one, Term)
                    and (one.attribute, one.operator) == (("value",), "eq")
                    and isinstance(one.value, str)
                ),
                None,
            )
            return _Narrowed(_has_address(target, address)) if address is not None else _Narrowed()
        case Entry():
            return _Narrowed()
        case Term():
            return _term(target, kind, expression)


def _term(target: HookTarget, kind: str, term: Term) -> _Narrowed:
    name, value, columns = ".".join(term.attribute), term.value, scim_resources.c
    if term.attribute[0] in _NOWHERE or name in {"meta.location", "meta.version"}:
        msg = "invalidFilter"
        raise ScimError(msg, f"nothing is found by {name[:40]}")
    if term.operator == "eq" and isinstance(value, str):
        if name == "id":
            return _Narrowed(columns.id == value if ID.fullmatch(value) else false(), exact=True)
        if name == "externalid":
            return _Narrowed(
                columns.external_digest
                == digest(target.tenant, target.provider, canonical_id(value)),
                exact=True,
            )
        if name == NAME[kind].lower():
            return _Narrowed(columns.name_digest == called_digest(target, kind, value), exact=True)
        if kind == USER and name in {"emails", "emails.value"}:
            return _Narrowed(_has_address(target, value))
    if term.operator == "pr" and name in {
        "id",
        "meta.created",
        "meta.lastmodified",
        NAME[kind].lower(),
    }:
        return _Narrowed(true(), exact=True)
    at = scim_filter.moment(value)
    if (
        name in {"meta.created", "meta.lastmodified"}
        and at is not None
        and term.operator in {"gt", "ge", "lt", "le"}
    ):
        # Shown in milliseconds, cut off.
        column, ms = columns.created_at if name == "meta.created" else columns.updated_at, 1000 * at
        below = term.operator in {"lt", "le"}
        limit = (math.ceil(ms) if term.operator in {"ge", "lt"} else math.floor(ms) + 1) / 1000
        return _Narrowed(column < limit if below else column >= limit, exact=True)
    return _Narrowed()


def _has_address(target: HookTarget, value: str) -> ColumnElement[bool]:
    table = scim_addresses.c
    mine = (
        table.tenant == target.tenant,
        table.provider == target.provider,
        table.address == address_digest(value),
    )
    return scim_resources.c.id.in_(select(table.resource).where(*mine))


def _whole(stored: Stored) -> dict[str, Any]:
    """The document with what is not in it: what filters may name beside."""
    meta = {
        "resourceType": stored.kind,
        "created": scim.date_time(stored.created_at),
        "lastModified": scim.date_time(stored.updated_at),
    }
    return {**stored.document, "id": stored.id, "meta": meta}


def _batches(
    sizes: Sequence[tuple[str, int]], *, at_most: int | None = None
) -> Iterable[list[str]]:
    """Ids in turn, ``BATCH_BYTES`` at once and ``at_most`` (else ``PAGE_BYTES``) in all; the first
    one whatever its size.
    """
    batch: list[str] = []
    batch_bytes = total = 0
    for resource, size in sizes:
        total += size
        if total > (at_most or PAGE_BYTES) and total > size:
            break
        if batch and (batch_bytes + size > BATCH_BYTES or len(batch) == BATCH):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(resource)
        batch_bytes += size
    if batch:
        yield batch
