"""The record of revocations, blocks and overlays: what Redis must be brought back to after a
fail-over. See ``ports_revocation``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, insert, or_, select, union, update

from gateway.background import fault
from gateway.core.paging import Page
from gateway.core.person import Person
from gateway.core.revocation import RevocationKind, RevocationRequest, RevocationStatus, Who
from gateway.database.schema import (
    blocks,
    disabled_users,
    hook_standing,
    overlay_exemptions,
    overlays,
    revocations,
)
from gateway.errors import ConfigError
from gateway.revocation.api import (
    MOVED,
    OPERATORS,
    Closed,
    Exemption,
    Lifted,
    Recorded,
    Standing,
)
from gateway.revocation.blocks import BlockView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence

    from sqlalchemy import Column, ColumnElement, RowMapping, Select, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.crypt import Crypt
    from gateway.database.engine import Database

_FOLLOWS = "follows"
"""Beside the fields of ``Who``, sealed with them."""
_EVERYBODYS = (
    overlays.c.everybody == 1,
    overlays.c.lifted_at.is_(None),
    overlays.c.cleared_at.is_(None),
)
"""Groups that are taken from everybody, and not believed again."""


class SqlRevocations:
    """Implements ``revocation.api.RevocationRecord``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._acknowledged: dict[str, dict[str, Any]] = {}
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def change(self, tenant: str, aliases: Sequence[str]) -> AsyncIterator[SqlChange]:
        """Alone with this person: PostgreSQL by an advisory lock on the tenant and alias, SQLite
        because it has one writer; those who wait for it share a commit.
        """
        async with self._database.write_together(
            f"revoke:{tenant}:{aliases[0]}", urgent=True
        ) as connection:
            yield SqlChange(connection, self._database.crypt, tenant, aliases)

    async def acknowledged(
        self, revocation: str, *, at: float, replicas: Sequence[tuple[str, float | None]]
    ) -> None:
        """Those that come while a transaction is being written share the next one: under a stream
        of events this would else be every second commit.
        """
        self._acknowledged[revocation] = {
            "b_id": revocation,
            "b_at": at,
            "b_replicas": [list(r) for r in replicas],
        }
        async with self._writing:
            if revocation not in self._acknowledged:
                return
            batch, self._acknowledged = self._acknowledged, {}
            values: dict[str, Any] = {
                "acknowledged_at": bindparam("b_at"),
                "replicas": bindparam("b_replicas"),
            }
            try:
                async with self._database.write_together() as connection:
                    await connection.execute(
                        update(revocations)
                        .where(revocations.c.id == bindparam("b_id"))
                        .values(**values),
                        list(batch.values()),
                    )
            except BaseException:
                # Whoever else waits for it tries for themselves.
                self._acknowledged = {**batch, **self._acknowledged}
                raise

    async def find(self, revocation: str) -> Recorded | None:
        entries = await self._recorded(revocations.c.id == revocation)
        return entries[0] if entries else None

    async def users_of(self, revocation: str) -> Sequence[str]:
        async with self._database.read() as connection:
            ciphertext = (
                await connection.execute(
                    select(revocations.c.users).where(revocations.c.id == revocation)
                )
            ).scalar()
        return (
            ()
            if ciphertext is None
            else tuple(
                json.loads(
                    self._database.crypt.open(
                        ciphertext, table="revocations", row=revocation, column="users"
                    ).reveal()
                )
            )
        )

    async def since(
        self,
        durable_at: float,
        *,
        after: str,
        limit: int,
        closed: Callable[[Closed], None] | None = None,
    ) -> Sequence[Recorded]:
        # The first condition is what the index answers.
        later = (revocations.c.durable_at >= durable_at) & or_(
            revocations.c.durable_at > durable_at, revocations.c.id > after
        )
        return await self._recorded(later, limit=limit, closed=closed)

    async def of_tenant(
        self,
        tenant: str,
        *,
        durable_after: float,
        limit: int | None = None,
        closed: Callable[[Closed], None] | None = None,
    ) -> Sequence[Recorded]:
        return await self._recorded(
            (revocations.c.tenant == tenant) & (revocations.c.durable_at > durable_after),
            limit=limit,
            closed=closed,
        )

    async def these(
        self, ids: Sequence[str], *, closed: Callable[[Closed], None] | None = None
    ) -> Sequence[Recorded]:
        return await self._recorded(revocations.c.id.in_(ids), closed=closed)

    async def to_tell(
        self, *, limit: int, resting: Collection[str] = (), failed: Callable[[str], None]
    ) -> AsyncIterator[Sequence[tuple[Recorded, Sequence[Person]]]]:
        """Done by hand, oldest first, with as whom the person was signed in; in pages. One that
        does not open is left out; it is logged, and ``failed`` is told its id, unless it is
        ``resting``.
        """
        at, identifier = revocations.c.durable_at, revocations.c.id
        last: tuple[float, str] | None = None
        while True:
            query = (
                select(revocations)
                .where(revocations.c.to_tell == 1)
                .order_by(at, identifier)
                .limit(limit)
            )
            async with self._database.read() as connection:
                rows = (
                    (
                        await connection.execute(
                            query
                            if last is None
                            else query.where(
                                or_(at > last[0], (at == last[0]) & (identifier > last[1]))
                            )
                        )
                    )
                    .mappings()
                    .all()
                )
            page = []
            for row in rows:
                try:
                    page.append(
                        (_recorded(row, self._database.crypt), _people(row, self._database.crypt))
                    )
                except Exception as error:  # noqa: BLE001 - no key for it, or another version wrote it: logged
                    if row["id"] not in resting:
                        fault("by_hand_fault", error, tenant=row["tenant"], revocation=row["id"])
                        failed(row["id"])
            yield page
            if len(rows) < limit:
                return
            last = (rows[-1]["durable_at"], rows[-1]["id"])

    async def told(self, connection: AsyncConnection, revocation: str) -> bool:
        """In the transaction that writes what is told: whether nobody else has told it."""
        statement = (
            update(revocations)
            .where(revocations.c.id == revocation, revocations.c.to_tell == 1)
            .values(to_tell=0)
        )
        return (await connection.execute(statement)).rowcount == 1

    async def unacknowledged(
        self, *, closed: Callable[[Closed], None] | None = None
    ) -> Sequence[Recorded]:
        return await self._recorded(revocations.c.acknowledged_at.is_(None), closed=closed)

    async def _recorded(
        self,
        condition: ColumnElement[bool],
        *,
        limit: int | None = None,
        closed: Callable[[Closed], None] | None = None,
    ) -> list[Recorded]:
        at, identifier = revocations.c.durable_at, revocations.c.id
        query = select(revocations).where(condition).order_by(at, identifier).limit(limit)
        entries: list[Recorded] = []
        last: tuple[float, str] | None = None
        while True:
            beyond = (
                query
                if last is None
                else query.where(at >= last[0], or_(at > last[0], identifier > last[1]))
            )
            async with self._database.read() as connection:
                rows = (await connection.execute(beyond)).mappings().all()
            for row in rows:
                try:
                    entries.append(_recorded(row, self._database.crypt))
                except Exception as error:
                    if closed is None:
                        raise
                    closed(Closed(row["id"], row["tenant"], row["durable_at"], error))
            if limit is None or len(rows) < limit or len(entries) >= limit:
                return entries
            last = (rows[-1]["durable_at"], rows[-1]["id"])

    async def tenants(self) -> Sequence[str]:
        query = union(*(select(table.c.tenant) for table in (revocations, blocks, overlays)))
        async with self._database.read() as connection:
            return sorted((await connection.execute(query)).scalars())

    async def standing(self, tenant: str) -> Sequence[Standing]:
        return await self._in_force(tenant)

    async def standing_of(self, tenant: str, aliases: Sequence[str]) -> Sequence[Standing]:
        return await self._in_force(tenant, aliases)

    async def _in_force(
        self, tenant: str, aliases: Sequence[str] | None = None
    ) -> Sequence[Standing]:
        items: list[Standing] = []
        async with self._database.read() as connection:
            for table in (blocks, overlays):
                query = select(table).where(table.c.tenant == tenant, table.c.lifted_at.is_(None))
                rows = (
                    (
                        await connection.execute(
                            query if aliases is None else query.where(table.c.alias.in_(aliases))
                        )
                    )
                    .mappings()
                    .all()
                )
                items += [_standing(table, row, self._database.crypt) for row in rows]
            exempt = await _exempt(
                connection, [standing.id for standing in items if standing.group is not None]
            )
        return [replace(standing, exempt=exempt.get(standing.id, 0)) for standing in items]

    async def orphans(self, tenant: str) -> Sequence[Standing]:
        """See ``across_pools.RecordAcrossPools``. One that does not open is left out, and logged:
        it stands.
        """
        items: list[Standing] = []
        async with self._database.read() as connection:
            for table in (blocks, overlays):
                query = select(table).where(
                    table.c.tenant == tenant,
                    table.c.lifted_at.is_(None),
                    table.c.source.startswith(MOVED),
                )
                for row in (await connection.execute(query)).mappings().all():
                    try:
                        items.append(_standing(table, row, self._database.crypt))
                    except ConfigError as error:
                        fault("block_does_not_open", error, tenant=tenant, id=row["id"])
            return await _orphans(connection, items)

    async def is_taken_from_everybody(self, tenant: str, group: str, *, source: str) -> bool:
        query = (
            select(overlays.c.id)
            .where(
                overlays.c.tenant == tenant,
                overlays.c.group_name == group,
                overlays.c.source == source,
                *_EVERYBODYS,
            )
            .limit(1)
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).first() is not None

    async def exemptions(self, tenant: str) -> Sequence[Exemption]:
        async with self._database.read() as connection:
            rows = (
                (
                    await connection.execute(
                        select(overlay_exemptions).where(overlay_exemptions.c.tenant == tenant)
                    )
                )
                .mappings()
                .all()
            )
        return [
            Exemption(
                _who(row, "overlay_exemptions", self._database.crypt)[0],
                row["group_name"],
                int(row["watermark_us"]),
            )
            for row in rows
        ]

    async def clear(self, standing: Standing, *, at: float) -> None:
        this = (overlays.c.id == standing.id, overlays.c.removed_us == standing.watermark)
        async with self._database.write() as connection:
            if (
                await connection.execute(update(overlays).where(*this).values(cleared_at=at))
            ).rowcount:
                await connection.execute(
                    delete(overlay_exemptions).where(overlay_exemptions.c.overlay == standing.id)
                )

    async def rename(self, standing: Standing, alias: str) -> None:
        table = blocks if standing.group is None else overlays
        async with self._database.write() as connection:
            await connection.execute(
                update(table)
                .where(table.c.id == standing.id, table.c.alias != alias)
                .values(alias=alias)
            )

    async def highest_watermark(self, tenant: str) -> int:
        columns = (revocations.c.watermark_us, blocks.c.watermark_us, overlays.c.removed_us)
        async with self._database.read() as connection:
            watermarks = [
                (
                    await connection.execute(
                        select(func.max(column)).where(column.table.c.tenant == tenant)
                    )
                ).scalar()
                for column in columns
            ]
        return max((int(value) for value in watermarks if value is not None), default=0)

    async def forget(self, *, before: float) -> int:
        async with self._database.write() as connection:
            result = await connection.execute(
                delete(revocations).where(
                    revocations.c.received_at < before, revocations.c.acknowledged_at.is_not(None)
                )
            )
        return result.rowcount


_PAGE = 500


class SqlBlocks:
    """``BlockDirectory`` of the admin API: blocks and overlays in one list."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, *, tenant: str | None, position: str | None, limit: int
    ) -> Page[BlockView]:
        """Oldest first; ``position`` is the time and id of the last row seen. One that does not
        open is left out, and logged; it stands all the same.
        """
        after = None
        if position is not None:
            at, _, last = position.partition(" ")
            after = (float(at), last)
        views: list[BlockView] = []
        async with self._database.read() as connection:
            # As many of each as one page can show: the two are merged here.
            for table, since in ((blocks, blocks.c.created_at), (overlays, overlays.c.removed_at)):
                query = (
                    select(table)
                    .where(table.c.lifted_at.is_(None))
                    .order_by(since, table.c.id)
                    .limit(limit + 1)
                )
                if tenant is not None:
                    query = query.where(table.c.tenant == tenant)
                views += await self._views(connection, table, since, query, after, more_than=limit)
            exempt = await _exempt(connection, [view.id for view in views])
        views = [replace(view, exempt=exempt.get(view.id, 0)) for view in views]
        views.sort(key=lambda view: (view.since, view.id))
        items = views[:limit]
        return Page(items, f"{items[-1].since!r} {items[-1].id}" if len(views) > limit else None)

    async def _views(
        self,
        connection: AsyncConnection,
        table: Table,
        since: Column[Any],
        query: Select[Any],
        after: tuple[float, str] | None,
        *,
        more_than: int,
    ) -> list[BlockView]:
        """``query`` beyond ``after``, until there are more than so many or there is nothing
        more.
        """
        views: list[BlockView] = []
        closed_count = 0
        while True:
            beyond = (
                query
                if after is None
                else query.where(
                    or_(since > after[0], (since == after[0]) & (table.c.id > after[1]))
                )
            )
            rows = (await connection.execute(beyond)).mappings().all()
            for row in rows:
                try:
                    views.append(_view(table, row, self._database.crypt))
                except ConfigError as error:
                    closed_count += 1
                    if closed_count == 1:
                        # One of them says it: where a key is missing there may be many.
                        fault("block_does_not_open", error, tenant=row["tenant"], id=row["id"])
            if len(rows) <= more_than or len(views) > more_than:
                return views
            after = (rows[-1][since.name], rows[-1]["id"])

    async def all_of(self, tenant: str | None) -> list[BlockView]:
        """However many there are, oldest first."""
        views: list[BlockView] = []
        position: str | None = None
        while True:
            page = await self.page(tenant=tenant, position=position, limit=_PAGE)
            views += page.items
            position = page.position
            if position is None:
                return views

    async def find(self, block: str) -> BlockView | None:
        async with self._database.read() as connection:
            for table in (blocks, overlays):
                row = (
                    (
                        await connection.execute(
                            select(table).where(table.c.id == block, table.c.lifted_at.is_(None))
                        )
                    )
                    .mappings()
                    .first()
                )
                if row is not None:
                    return _view(table, row, self._database.crypt)
        return None


class SqlChange:
    """Implements ``revocation.api.Change`` on one open transaction."""

    def __init__(
        self, connection: AsyncConnection, crypt: Crypt, tenant: str, aliases: Sequence[str]
    ) -> None:
        self._connection, self._crypt = connection, crypt
        self._tenant, self._aliases = tenant, tuple(aliases)

    def _mine(self, table: Table, request: RevocationRequest) -> list[ColumnElement[bool]]:
        conditions = [
            table.c.tenant == self._tenant,
            table.c.alias.in_(self._aliases),
            table.c.lifted_at.is_(None),
        ]
        return (
            [*conditions, table.c.group_name == request.group_overlay]
            if table is overlays
            else conditions
        )

    async def block(self, request: RevocationRequest, *, watermark: int, at: float) -> bool:
        this = (*self._mine(blocks, request), blocks.c.source == request.source)
        stands = (
            (await self._connection.execute(select(blocks).where(*this).limit(1)))
            .mappings()
            .first()
        )
        if stands is not None:
            await self._follow(blocks, stands, request)
            return False
        row = secrets.token_hex(16)
        await self._connection.execute(
            insert(blocks).values(
                id=row,
                tenant=self._tenant,
                alias=self._aliases[0],
                who=self._who("blocks", row, request.who, request.follows),
                source=request.source,
                reason=request.reason[:400],
                watermark_us=watermark,
                created_at=at,
                event_time=request.event_time,
            )
        )
        return True

    async def overlay(self, request: RevocationRequest, *, watermark: int, at: float) -> None:
        mine = (
            overlays.c.tenant == self._tenant,
            overlays.c.alias.in_(self._aliases),
            overlays.c.group_name == request.group_overlay,
            overlays.c.source == request.source,
        )
        removed_at = request.event_time or at
        if _is_everybody(request.who):
            # Deletions may be told in any order, of several groups of the name: whoever was added
            # before the last of them is not exempt.
            times = (
                await self._connection.execute(
                    select(func.max(overlays.c.removed_at), func.max(overlays.c.said_at)).where(
                        *mine
                    )
                )
            ).one()
            removed_at = max([removed_at, *(time for time in times if time is not None)])
        values = {
            "removed_at": removed_at,
            "removed_us": watermark,
            "cleared_at": None,
            "lifted_at": None,
            "group_id": _group_digest(request.group_id) if request.group_id else "",
            "said_at": removed_at,
        }
        rows = (
            (
                await self._connection.execute(
                    update(overlays).where(*mine).values(values).returning(overlays)
                )
            )
            .mappings()
            .all()
        )
        if rows:
            # Whoever was added before this removal lost the group with it.
            await self._connection.execute(
                delete(overlay_exemptions).where(
                    overlay_exemptions.c.overlay.in_([one["id"] for one in rows])
                )
            )
            for one in rows:
                await self._follow(overlays, one, request)
            return
        row = secrets.token_hex(16)
        await self._connection.execute(
            insert(overlays).values(
                id=row,
                tenant=self._tenant,
                alias=self._aliases[0],
                who=self._who("overlays", row, request.who, request.follows),
                group_name=request.group_overlay,
                source=request.source,
                everybody=int(_is_everybody(request.who)),
                **values,
            )
        )

    async def said_already(self, request: RevocationRequest, *, at: float) -> int | None:
        if not _is_everybody(request.who) or not request.group_id:
            return None
        this = (
            *self._mine(overlays, request),
            overlays.c.source == request.source,
            overlays.c.group_id == _group_digest(request.group_id),
            *_EVERYBODYS,
        )
        # Locked, as by ``exempt``: of the two, the later one sees what the other did.
        row = (
            (
                await self._connection.execute(
                    select(overlays).where(*this).limit(1).with_for_update()
                )
            )
            .mappings()
            .first()
        )
        if row is None:
            return None
        conditions = (
            overlay_exemptions.c.overlay == row["id"],
            overlay_exemptions.c.group_id == row["group_id"],
        )
        if (
            await self._connection.execute(
                select(overlay_exemptions.c.id).where(*conditions).limit(1)
            )
        ).first() is not None:
            return None
        await self._connection.execute(
            update(overlays)
            .where(overlays.c.id == row["id"])
            .values(said_at=max(row["said_at"], request.event_time or at))
        )
        return int(row["removed_us"])

    async def exempt(self, request: RevocationRequest, everybody: Sequence[str]) -> int | None:
        if request.event_time is None:
            return None
        this = (
            overlays.c.tenant == self._tenant,
            overlays.c.alias.in_(everybody),
            overlays.c.group_name == request.group_overlay,
            overlays.c.source == request.source,
        )
        group_id = _group_digest(request.group_id)
        earlier = (
            *_EVERYBODYS,
            overlays.c.removed_at < request.event_time,
            or_(overlays.c.group_id != group_id, overlays.c.said_at < request.event_time),
        )
        row = (
            (
                await self._connection.execute(
                    select(overlays).where(*this, *earlier).limit(1).with_for_update()
                )
            )
            .mappings()
            .first()
        )
        if row is None:
            return None
        exemption = {
            "group_id": group_id,
            "overlay": row["id"],
            "watermark_us": row["removed_us"],
            "given_at": request.event_time,
        }
        table = overlay_exemptions
        mine = (
            table.c.tenant == self._tenant,
            table.c.alias.in_(self._aliases),
            table.c.group_name == request.group_overlay,
            table.c.source == request.source,
        )
        if not (
            await self._connection.execute(update(table).where(*mine).values(exemption))
        ).rowcount:
            new = secrets.token_hex(16)
            values = {
                "tenant": self._tenant,
                "alias": self._aliases[0],
                "who": self._who(table.name, new, request.who),
                "group_name": request.group_overlay,
                "source": request.source,
            }
            await self._connection.execute(insert(table).values(id=new, **values, **exemption))
        return int(row["removed_us"])

    async def lift(self, request: RevocationRequest, *, at: float) -> Lifted:
        if request.standing:
            this = (
                hook_standing.c.id == request.standing,
                hook_standing.c.tenant == self._tenant,
                hook_standing.c.refused == 1,
            )
            hook_row = (
                await self._connection.execute(select(hook_standing.c.id).where(*this))
            ).first()
            return Lifted(int(hook_row is not None), 0, others_stand=True)
        table = blocks if request.group_overlay is None else overlays
        mine = self._mine(table, request)
        by = [] if request.source in OPERATORS else [table.c.source == request.source]
        if request.follows:
            query = select(table).where(*mine, *by)
            rows = (await self._connection.execute(query)).mappings().all()
            items = [_standing(table, row, self._crypt) for row in rows]
            orphans = await _orphans(self._connection, items)
            by = [table.c.id.in_([orphan.id for orphan in orphans])]
        ended_ids = (
            (
                await self._connection.execute(
                    update(table).where(*mine, *by).values(lifted_at=at).returning(table.c.id)
                )
            )
            .scalars()
            .all()
        )
        users = 0
        if ended_ids and table is overlays:
            await self._connection.execute(
                delete(overlay_exemptions).where(overlay_exemptions.c.overlay.in_(ended_ids))
            )
        if ended_ids and table is blocks:
            users = (
                await self._connection.execute(
                    select(func.count(func.distinct(disabled_users.c.user))).where(
                        disabled_users.c.block.in_(ended_ids)
                    )
                )
            ).scalar() or 0
        others_stand = (
            await self._connection.execute(select(table.c.id).where(*mine).limit(1))
        ).first() is not None
        return Lifted(len(ended_ids), users, others_stand)

    async def is_open(self, revocation: str) -> bool:
        query = (
            select(revocations.c.id)
            .where(revocations.c.id == revocation, revocations.c.acknowledged_at.is_(None))
            .with_for_update()
        )
        return (await self._connection.execute(query)).first() is not None

    async def repeated(self, recorded: Recorded) -> None:
        again = update(revocations).where(revocations.c.id == recorded.status.id)
        total = revocations.c.ended + recorded.status.ended
        await self._connection.execute(again.values(watermark_us=recorded.watermark, ended=total))

    async def revocation(
        self,
        recorded: Recorded,
        *,
        users: Sequence[str] = (),
        to_tell: bool = False,
        people: Sequence[Person] = (),
    ) -> None:
        status = recorded.status
        document = json.dumps(
            {
                **asdict(status.request),
                "durable_ms": status.durable_ms,
                "lifted": status.lifted,
                "users_to_enable": status.users_to_enable,
            },
            default=str,
        )
        await self._connection.execute(
            insert(revocations).values(
                id=status.id,
                tenant=self._tenant,
                kind=recorded.kind,
                source=status.request.source,
                request=self._crypt.seal(
                    document, table="revocations", row=status.id, column="request"
                ),
                users=self._crypt.seal(
                    json.dumps(users), table="revocations", row=status.id, column="users"
                )
                if users
                else None,
                watermark_us=recorded.watermark,
                received_at=status.received_at,
                event_time=status.request.event_time,
                durable_at=recorded.durable_at,
                ended=status.ended,
                to_tell=int(to_tell),
                people=self._crypt.seal(
                    json.dumps([asdict(p) for p in people]),
                    table="revocations",
                    row=status.id,
                    column="people",
                )
                if people
                else None,
            )
        )

    async def _follow(self, table: Table, row: RowMapping, request: RevocationRequest) -> None:
        """It stands because of one more."""
        if not request.follows:
            return
        item = _standing(table, row, self._crypt)
        origin_ids = await _in_force(self._connection, item.follows)
        who = self._who(table.name, item.id, item.who, *sorted({*origin_ids, request.follows}))
        await self._connection.execute(update(table).where(table.c.id == item.id).values(who=who))

    def _who(self, table: str, row: str, who: Who, *follows: str) -> str:
        document = {**asdict(who), _FOLLOWS: [one for one in follows if one]}
        return self._crypt.seal(json.dumps(document), table=table, row=row, column="who")


def _people(row: RowMapping, crypt: Crypt) -> Sequence[Person]:
    if row["people"] is None:
        return ()
    return [
        Person(**one)
        for one in json.loads(
            crypt.open(row["people"], table="revocations", row=row["id"], column="people").reveal()
        )
    ]


def _recorded(row: RowMapping, crypt: Crypt) -> Recorded:
    document: dict[str, Any] = json.loads(
        crypt.open(row["request"], table="revocations", row=row["id"], column="request").reveal()
    )
    durable_ms, lifted, users_to_enable = (
        document.pop(name) for name in ("durable_ms", "lifted", "users_to_enable")
    )
    request = RevocationRequest(
        **{**document, "who": Who(**document["who"]), "kind": RevocationKind(document["kind"])}
    )
    acknowledged = (
        None
        if row["acknowledged_at"] is None
        else max(durable_ms, round((row["acknowledged_at"] - row["received_at"]) * 1000, 3))
    )
    replicas = tuple((str(name), at) for name, at in row["replicas"] or ())
    status = RevocationStatus(
        row["id"],
        request,
        row["received_at"],
        durable_ms,
        replicas,
        acknowledged,
        row["ended"],
        lifted,
        users_to_enable,
    )
    return Recorded(status, row["kind"], int(row["watermark_us"]), row["durable_at"])


async def _exempt(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, int]:
    """People who are exempt, by overlay."""
    counts: dict[str, int] = {}
    for start in range(0, len(ids), 500):
        this = overlay_exemptions.c.overlay.in_(ids[start : start + 500])
        rows = await connection.execute(
            select(overlay_exemptions.c.overlay, func.count())
            .where(this)
            .group_by(overlay_exemptions.c.overlay)
        )
        counts |= {row[0]: row[1] for row in rows}
    return counts


async def _in_force(connection: AsyncConnection, ids: Collection[str]) -> set[str]:
    """Those of these ids of blocks and overlays."""
    active_ids: set[str] = set()
    sorted_ids = sorted(ids)
    for start in range(0, len(sorted_ids), 500):
        for table in (blocks, overlays):
            query = select(table.c.id).where(
                table.c.id.in_(sorted_ids[start : start + 500]), table.c.lifted_at.is_(None)
            )
            active_ids |= set((await connection.execute(query)).scalars())
    return active_ids


async def _orphans(connection: AsyncConnection, found: Sequence[Standing]) -> list[Standing]:
    """Those that stood because of others, none of which is in force any more."""
    in_force = await _in_force(connection, {one for standing in found for one in standing.follows})
    return [each for each in found if each.follows and in_force.isdisjoint(each.follows)]


def _is_everybody(who: Who) -> bool:
    return who.group is not None


def _group_digest(group_id: str) -> str:
    return hashlib.sha256(group_id.encode("utf-8", "surrogatepass")).hexdigest()


def _who(row: RowMapping, table: str, crypt: Crypt) -> tuple[Who, tuple[str, ...]]:
    """And what it follows."""
    document = json.loads(crypt.open(row["who"], table=table, row=row["id"], column="who").reveal())
    follows = tuple(document.pop(_FOLLOWS, ()))
    return Who(**document), follows


def _standing(table: Table, row: RowMapping, crypt: Crypt) -> Standing:
    who, follows = _who(row, table.name, crypt)
    if table is blocks:
        return Standing(
            row["id"],
            row["tenant"],
            who,
            row["source"],
            row["reason"],
            row["created_at"],
            int(row["watermark_us"]),
            follows=follows,
        )
    return Standing(
        row["id"],
        row["tenant"],
        who,
        row["source"],
        "",
        row["removed_at"],
        int(row["removed_us"]),
        row["group_name"],
        row["cleared_at"] is not None,
        follows=follows,
    )


def _view(table: Table, row: RowMapping, crypt: Crypt) -> BlockView:
    standing = _standing(table, row, crypt)
    return BlockView(
        standing.id,
        standing.tenant,
        standing.who,
        standing.reason,
        standing.source,
        standing.since,
        standing.group,
    )
