"""Bearer keys of the admin API. A key is ``gwk_ID_SECRET``; only its digest is stored.

SHA-256 without salt or stretching is right here: the secret is 256 random bits, so there is nothing
to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from gateway.admin.keys import AdminKey, KeyRejection, Scope
from gateway.core.model import Secret
from gateway.core.paging import Page
from gateway.database.schema import admin_keys, tenant_removals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import RowMapping

    from gateway.database.engine import Database

_SHAPE = re.compile(r"gwk_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
LAST_USED_RESOLUTION_S = 60.0
"""How often ``last_used_at`` is written: often enough to see an idle key, seldom enough not to
write per request.
"""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as it is shown, once."""

    key: AdminKey
    presented: Secret


class AdminKeys:
    """Bearer keys, of which only digests are stored. Nothing is cached: a revoked key stops at the
    next request. ``clock`` is UTC epoch seconds; ``new_id``: 12 hexadecimal digits.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str] = lambda: secrets.token_hex(6),
    ) -> None:
        self._database, self._clock, self._new_id = database, clock, new_id

    async def create(
        self,
        *,
        name: str,
        scopes: Iterable[Scope],
        tenant: str | None,
        lifetime_s: float | None,
        made_by: str,
    ) -> NewKey | None:
        """None if the name is that of another key of the tenant, or of another one of no tenant.
        ``made_by``: as in audit records.
        """
        key_id = self._new_id()
        presented = f"gwk_{key_id}_{secrets.token_urlsafe(32)}"
        now = self._clock()
        scope_set = frozenset(scopes)
        expires = None if lifetime_s is None else now + lifetime_s
        row = {
            "id": key_id,
            "name": name,
            "hash": _digest(presented),
            "scopes": sorted(scope_set),
            "tenant": tenant,
            "created_at": now,
            "expires_at": expires,
            "made_by": made_by,
        }
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(admin_keys).values(row))
        except IntegrityError:
            return None
        return NewKey(
            AdminKey(
                key_id,
                name,
                scope_set,
                tenant,
                int(now),
                None if expires is None else int(expires),
                made_by=made_by,
            ),
            Secret(presented),
        )

    async def list(self) -> tuple[AdminKey, ...]:
        """All of them, revoked and expired too; oldest first."""
        async with self._database.read() as connection:
            rows = (
                (
                    await connection.execute(
                        select(admin_keys).order_by(admin_keys.c.created_at, admin_keys.c.id)
                    )
                )
                .mappings()
                .all()
            )
        return tuple(_key(row) for row in rows)

    async def page(self, *, tenant: str | None, position: str | None, limit: int) -> Page[AdminKey]:
        """Newest first; with ``tenant``, those that are bound to it, and not to one before that had
        its id.
        """
        order = (admin_keys.c.created_at.desc(), admin_keys.c.id.desc())
        rows_of = select(admin_keys).order_by(*order).limit(limit + 1)
        if tenant is not None:
            removed_at = select(tenant_removals.c.removed_at).where(
                tenant_removals.c.tenant == tenant
            )
            rows_of = rows_of.where(
                admin_keys.c.tenant == tenant,
                admin_keys.c.created_at > func.coalesce(removed_at.scalar_subquery(), 0.0),
            )
        if position is not None:
            at, _, last = position.partition("/")
            same = (admin_keys.c.created_at == float(at)) & (admin_keys.c.id < last)
            rows_of = rows_of.where((admin_keys.c.created_at < float(at)) | same)
        async with self._database.read() as connection:
            rows = (await connection.execute(rows_of)).mappings().all()
        page_rows = rows[:limit]
        position = (
            f"{page_rows[-1]['created_at']!r}/{page_rows[-1]['id']}" if len(rows) > limit else None
        )
        return Page([_key(row) for row in page_rows], position)

    async def find(self, key_id: str) -> AdminKey | None:
        async with self._database.read() as connection:
            result = await connection.execute(select(admin_keys).where(admin_keys.c.id == key_id))
            row = result.mappings().first()
        return None if row is None else _key(row)

    async def named(self, name_or_id: str) -> tuple[AdminKey, ...]:
        """The key of this id, else those of this name that are not revoked: one of each tenant, and
        one of none, at most.
        """
        if (key := await self.find(name_or_id)) is not None:
            return (key,)
        query = select(admin_keys).where(
            admin_keys.c.name == name_or_id, admin_keys.c.revoked_at.is_(None)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(admin_keys.c.tenant))).mappings().all()
        return tuple(_key(row) for row in rows)

    async def revoke(self, key_id: str) -> bool:
        """Whether there was one to revoke."""
        async with self._database.write() as connection:
            result = await connection.execute(
                update(admin_keys)
                .where(admin_keys.c.id == key_id, admin_keys.c.revoked_at.is_(None))
                .values(revoked_at=self._clock())
            )
        return result.rowcount > 0

    async def exist(self) -> bool:
        """Whether any key could be used now."""
        now = self._clock()
        usable = (
            admin_keys.c.revoked_at.is_(None),
            or_(admin_keys.c.expires_at.is_(None), admin_keys.c.expires_at > now),
        )
        async with self._database.read() as connection:
            return (
                await connection.execute(select(admin_keys.c.id).where(*usable).limit(1))
            ).first() is not None

    async def authenticate(self, presented: str) -> AdminKey | KeyRejection:
        match = _SHAPE.fullmatch(presented)
        if match is None:
            return KeyRejection.UNKNOWN
        async with self._database.read() as connection:
            row = (
                (await connection.execute(select(admin_keys).where(admin_keys.c.id == match[1])))
                .mappings()
                .first()
            )
        if row is None or not hmac.compare_digest(str(row["hash"]), _digest(presented)):
            return KeyRejection.UNKNOWN
        now = self._clock()
        if row["revoked_at"] is not None:
            return KeyRejection.REVOKED
        if row["expires_at"] is not None and row["expires_at"] <= now:
            return KeyRejection.EXPIRED
        if row["last_used_at"] is None or now - row["last_used_at"] > LAST_USED_RESOLUTION_S:
            async with self._database.write_together(urgent=True) as connection:
                await connection.execute(
                    update(admin_keys).where(admin_keys.c.id == match[1]).values(last_used_at=now)
                )
        return _key(row)


def _digest(presented: str) -> str:
    return hashlib.sha256(presented.encode("ascii")).hexdigest()


def _key(row: RowMapping) -> AdminKey:
    def whole(name: str) -> int | None:
        return None if row[name] is None else int(row[name])

    scopes = frozenset(Scope(s) for s in row["scopes"] if s in set(Scope))
    return AdminKey(
        row["id"],
        row["name"],
        scopes,
        row["tenant"],
        int(row["created_at"]),
        whole("expires_at"),
        whole("revoked_at"),
        whole("last_used_at"),
        row["made_by"],
    )
