"""Everybody whom a tenant's application may know: who signed in, with which groups, and whether
access was taken away since.

Rules:
- A row for each user of Cognito's, made by the first login. What a login says replaces what an
  earlier one said, by the tenant's clock; one that is recorded late, or again, changes nothing.
- The application hears of it in the transaction that writes the row: ``user.created`` once,
  ``user.updated`` where something differs, ``user.signed_in`` for each login. Ids of messages
  follow from the login's, so that what is recorded again is no second message.
- Access is what the application was last told of this person (``user.deprovisioned``,
  ``user.restored``); a login that began clearly later proves that it is back.
- Personal data are sealed. People are found by digests of the tenant and a name or group.
- Whoever has not been seen for ``KEPT_S`` is forgotten; the next login is a first one.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, bindparam, delete, exists, or_, select, update

from gateway.core.paging import Page
from gateway.core.person import Person
from gateway.database.engine import insert_new
from gateway.database.schema import people, people_names
from gateway.errors import ConfigError
from gateway.hooks.effects import Notice, Profile
from gateway.hooks.event import Subject
from gateway.hooks.inbox import digest
from gateway.hooks.webhooks.outbox import News, Origin, identifiers, message_id_of
from gateway.sessions.aliases import normal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database
    from gateway.hooks.webhooks.outbox import Outbox
    from gateway.sessions.sign_ins import SignIn

KEPT_S: Final = 400 * 86_400.0
FORGOTTEN_AT_ONCE: Final = 500
CLOCKS_S: Final = 60.0
"""How far the clocks of two machines may differ: a login within that time of the end of access
proves nothing.
"""
STATUSES: Final = ("active", "blocked", "deprovisioned")
_PROFILE: Final = (
    "email",
    "username",
    "preferred_username",
    "name",
    "provider",
    "groups",
    "roles",
    "idp_subject",
    "oid",
)
_COLUMNS: Final = (
    people.c.id,
    people.c.tenant,
    people.c.document,
    people.c.status,
    people.c.first_seen_at,
    people.c.last_sign_in_at,
)


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """One row. Times are UTC epoch seconds."""

    id: str
    tenant: str
    user: str
    email: str
    username: str
    preferred_username: str
    name: str
    provider: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    idp_subject: str
    oid: str
    status: str
    first_seen_at: float
    last_sign_in_at: float


@dataclass(frozen=True, slots=True)
class PeopleFilter:
    """Whom a list is about; None: everybody."""

    email: str | None = None
    group: str | None = None
    status: str | None = None


class PeopleRegister:
    """The rows of all tenants. Methods with a connection are part of the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- what is recorded ---

    async def signed_in(
        self,
        connection: AsyncConnection,
        sign_ins: Sequence[SignIn],
        *,
        outbox: Outbox,
        now: float,
    ) -> None:
        """Record logins in their order, whether they were recorded before or not."""
        returning, news = await self._returning(connection, sign_ins), []
        for one in sign_ins:
            first, changes = (
                (False, ()) if one.id in returning else await self._put(connection, one)
            )
            types = ["user.created"] if first else ["user.updated"] if changes else []
            news += [
                News(
                    _notice(type_, one, changes if type_ == "user.updated" else ()),
                    Origin(one.tenant, one.provider, "sign_in", "sign_in"),
                    lane=digest(one.tenant, "person", one.user),
                    now=now,
                    message_id=message_id_of(one.id, type_),
                )
                for type_ in (*types, "user.signed_in")
            ]
        await outbox.add(connection, *news)

    async def _returning(
        self, connection: AsyncConnection, sign_ins: Sequence[SignIn]
    ) -> frozenset[str]:
        """Ids of the logins that are recorded by this: those of people who were seen before and
        have not changed, which are nearly all. Two statements for all of them.
        """
        if not sign_ins:
            return frozenset()
        by_key: dict[str, list[SignIn]] = {}
        for one in sign_ins:
            by_key.setdefault(_key(one), []).append(one)
        there = select(people).where(
            people.c.tenant.in_({one.tenant for one in sign_ins}), people.c.key.in_(by_key)
        )
        rows = await connection.execute(there.order_by(people.c.id).with_for_update())
        sign_in_ids, updates = set[str](), []
        for row in rows.all():
            one, *later = by_key[row.key]
            if later or (row.last_began < one.began and self._changed(row, one)):
                continue
            sign_in_ids.add(one.id)
            if row.last_began < one.began:
                updates.append({"b_id": row.id, **_seen(row, one)})
        if updates:
            this = update(people).where(people.c.id == bindparam("b_id"))
            names = (name for name in updates[0] if name != "b_id")
            await connection.execute(
                this.values({name: bindparam(name) for name in names}), updates
            )
        return frozenset(sign_in_ids)

    async def _put(
        self, connection: AsyncConnection, sign_in: SignIn
    ) -> tuple[bool, tuple[str, ...]]:
        """Whether it is the first, and what it changed."""
        key, fresh = _key(sign_in), secrets.token_hex(16)
        result = await connection.execute(
            insert_new(self._database, people)
            .values(
                id=fresh,
                tenant=sign_in.tenant,
                key=key,
                document=self._sealed(fresh, sign_in),
                status="active",
                deprovisioned=0,
                blocked=0,
                status_at=0.0,
                last_began=sign_in.began,
                first_seen_at=float(sign_in.at),
                last_sign_in_at=float(sign_in.at),
            )
            .on_conflict_do_nothing(index_elements=["tenant", "key"])
            .returning(people.c.id)
        )
        if result.first() is None:
            return False, await self._seen_again(connection, key, sign_in)
        await self._name(connection, fresh, sign_in)
        return True, ()

    async def _seen_again(
        self, connection: AsyncConnection, key: str, sign_in: SignIn
    ) -> tuple[str, ...]:
        """What differs from before; nothing where a later login is on record, or this one."""
        mine = (people.c.tenant == sign_in.tenant, people.c.key == key)
        row = (await connection.execute(select(people).where(*mine).with_for_update())).first()
        if row is None or row.last_began >= sign_in.began:
            return ()
        values, changes = _seen(row, sign_in), self._changed(row, sign_in)
        if changes:
            values["document"] = self._sealed(row.id, sign_in)
        await connection.execute(update(people).where(people.c.id == row.id).values(**values))
        if changes:
            await self._name(connection, row.id, sign_in)
        return changes

    def _changed(self, row: Any, sign_in: SignIn) -> tuple[str, ...]:
        before, after = self._opened(row), asdict(sign_in)
        return tuple(
            name for name in _PROFILE if before is None or _plain(before[name]) != after[name]
        )

    async def _name(self, connection: AsyncConnection, person: str, sign_in: SignIn) -> None:
        """By what this person is found from now on."""
        await connection.execute(delete(people_names).where(people_names.c.person == person))
        names = {
            name_digest(sign_in.tenant, kind, value)
            for kind, value in (
                ("user", sign_in.user),
                ("email", sign_in.email),
                ("idp_subject", sign_in.idp_subject),
                ("oid", sign_in.oid),
                *(("group", group) for group in sign_in.groups),
            )
            if value
        }
        await connection.execute(
            people_names.insert(),
            [
                {
                    "person": person,
                    "name": name,
                    "tenant": sign_in.tenant,
                    "provider": sign_in.provider,
                }
                for name in sorted(names)
            ],
        )

    async def told(
        self, connection: AsyncConnection, notice: Notice, origin: Origin, *, now: float
    ) -> None:
        """What the application is told of somebody's access, whether it listens or not."""
        if notice.type not in {"user.deprovisioned", "user.restored"}:
            return
        names = _names_of(notice, origin.tenant)
        if not names:
            return
        is_removed = int(notice.type == "user.deprovisioned")
        person_query = select(people_names.c.person).where(
            people_names.c.tenant == origin.tenant, people_names.c.name.in_(names)
        )
        if origin.provider:
            person_query = person_query.where(people_names.c.provider == origin.provider)
        rows = (
            await connection.execute(
                select(people.c.id, people.c.deprovisioned, people.c.blocked)
                .where(people.c.id.in_(person_query))
                .order_by(people.c.id)
                .with_for_update()
            )
        ).all()
        for row in rows:
            by_operator = notice.cause == "operator"
            is_blocked = is_removed if by_operator else row.blocked
            deprovisioned = row.deprovisioned if by_operator else is_removed
            await connection.execute(
                update(people)
                .where(people.c.id == row.id)
                .values(
                    blocked=is_blocked,
                    deprovisioned=deprovisioned,
                    status="blocked"
                    if is_blocked
                    else "deprovisioned"
                    if deprovisioned
                    else "active",
                    status_at=now,
                )
            )

    async def forget(self, connection: AsyncConnection, *, now: float) -> int:
        """Who has not been seen for ``KEPT_S``, some at once; how many that were."""
        old = (
            select(people.c.id)
            .where(people.c.last_sign_in_at < now - KEPT_S)
            .limit(FORGOTTEN_AT_ONCE)
        )
        ids = (await connection.execute(old)).scalars().all()
        await connection.execute(delete(people).where(people.c.id.in_(ids)))
        return len(ids)

    # --- what is read ---

    async def page(
        self, *, tenant: str, wanted: PeopleFilter, position: str | None, limit: int
    ) -> Page[KnownPerson]:
        """By id. ``position``: the id of the last row seen. Raises ``UnavailableError``."""
        query = _wanted(tenant, wanted).order_by(people.c.id).limit(limit + 1)
        if position is not None:
            query = query.where(people.c.id > position)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return Page(
            [self._view(row) for row in rows[:limit]],
            str(rows[limit - 1].id) if len(rows) > limit else None,
        )

    async def find(self, tenant: str, person: str) -> KnownPerson | None:
        """By the row's id, or by ``X-Auth-Request-User``. Raises ``UnavailableError``."""
        key = digest(tenant, "user", person)
        query = select(*_COLUMNS).where(
            people.c.tenant == tenant, or_(people.c.id == person, people.c.key == key)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else self._view(row)

    def _view(self, row: Any) -> KnownPerson:
        """One that does not open with the keys that are here is shown without what is sealed."""
        fields = self._opened(row) or {
            "user": "",
            **dict.fromkeys(_PROFILE, ""),
            "groups": (),
            "roles": (),
        }
        return KnownPerson(
            id=row.id,
            tenant=row.tenant,
            status=row.status,
            first_seen_at=row.first_seen_at,
            last_sign_in_at=row.last_sign_in_at,
            **{name: _plain(value) for name, value in fields.items()},
        )

    def _sealed(self, person: str, sign_in: SignIn) -> str:
        fields = asdict(sign_in)
        text = json.dumps({name: fields[name] for name in ("user", *_PROFILE)})
        return self._database.crypt.seal(text, table="people", row=person, column="document")

    def _opened(self, row: Any) -> dict[str, Any] | None:
        try:
            text = self._database.crypt.open(
                row.document, table="people", row=row.id, column="document"
            ).reveal()
        except ConfigError:
            return None
        document: dict[str, Any] = json.loads(text)
        return document


def _key(sign_in: SignIn) -> str:
    return digest(sign_in.tenant, "user", sign_in.user)


def _seen(row: Any, sign_in: SignIn) -> dict[str, Any]:
    """What a later login makes of a row, the profile apart."""
    back = sign_in.at > row.status_at + CLOCKS_S
    return {
        "last_began": sign_in.began,
        "last_sign_in_at": float(sign_in.at),
        "status": "active" if back else row.status,
        "deprovisioned": 0 if back else row.deprovisioned,
        "blocked": 0 if back else row.blocked,
    }


def name_digest(tenant: str, kind: str, value: str) -> str:
    """By which a person is found: ``user``, ``email``, ``idp_subject``, ``oid`` or ``group``."""
    return digest(tenant, "person", kind, normal(kind, value))


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _wanted(tenant: str, wanted: PeopleFilter) -> Select[Any]:
    query = select(*_COLUMNS).where(people.c.tenant == tenant)
    if wanted.status is not None:
        query = query.where(people.c.status == wanted.status)
    for kind, value in (("email", wanted.email), ("group", wanted.group)):
        if value is not None:
            query = query.where(_has(tenant, name_digest(tenant, kind, value)))
    return query


def _has(tenant: str, name: str) -> ColumnElement[bool]:
    return exists().where(
        and_(
            people_names.c.tenant == tenant,
            people_names.c.name == name,
            people_names.c.person == people.c.id,
        )
    )


def _names_of(notice: Notice, tenant: str) -> list[str]:
    """Accounts where they are known; else ids; an address only where there is nothing else, since
    it has owners one after another.
    """
    if notice.people:
        return [name_digest(tenant, "user", person.user) for person in notice.people]
    by_kind = identifiers(notice)
    ids = [(kind, value) for kind in ("user", "idp_subject", "oid") for value in by_kind[kind]]
    return [
        name_digest(tenant, kind, value)
        for kind, value in ids or [("email", value) for value in by_kind["email"]]
    ]


def _notice(type_: str, sign_in: SignIn, changed: Sequence[str]) -> Notice:
    who = sign_in
    return Notice(
        type_,
        "sign_in",
        Subject(idp_subject=who.idp_subject, oid=who.oid, email=who.email),
        (Person(who.user, who.email, who.idp_subject, who.oid),),
        None,
        float(who.at),
        user=who.user,
        profile=Profile(
            who.name,
            who.preferred_username,
            who.username,
            who.groups,
            who.roles,
            tuple(changed),
        ),
    )
