"""Setup links in SQL: made, opened, claimed, worked with, ended.

Rules:
- Of address, phrase and cookie only digests are stored. What names people is encrypted.
- Opening a link changes nothing: mail scanners open links. Claiming needs the recipient's address
  and the phrase, and gives the work to one browser: the one before has it no longer.
- Every change is decided in the transaction that makes it: two browsers, two processes and an
  operator who revokes at the same moment have an order.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, insert, select, update

from gateway.core.model import Secret
from gateway.core.paging import Page
from gateway.database.schema import provision_runs, setup_links
from gateway.provisioning.runs import RunKind, RunState
from gateway.setup.model import (
    ENDED,
    IDLE_S,
    LOCK_S,
    LOCKS,
    LONGEST_S,
    OPEN,
    TRIES,
    Approval,
    LinkState,
    NewTenant,
    Part,
    Phase,
    Request,
    SetupLink,
    SetupProvider,
    Stage,
    Work,
)
from gateway.setup.phrase import canonical_phrase, make_phrase

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement, RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database

ID: Final = re.compile(r"[0-9a-f]{16}")
_TABLE: Final = "setup_links"
_KEPT_S: Final = 90 * 86400
"""How long a link that has expired can still be read; the audit log stays."""
_TOUCH_S: Final = 60.0
"""How often a browser's work is written down as going on."""


class Refusal(StrEnum):
    """Why a claim was refused. ``DEAD``: there is no such link, or it is over."""

    WRONG = "wrong"
    LOCKED = "locked"
    REVOKED = "revoked"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link as it is shown, once. ``secret`` is the last part of its address."""

    link: SetupLink
    secret: Secret
    phrase: Secret


@dataclass(frozen=True, slots=True)
class Claimed:
    """``moved``: another browser had it. ``cookie``: what this one carries from now on."""

    link: SetupLink
    cookie: Secret
    moved: bool


class SetupLinks:
    """``clock`` is UTC epoch seconds; ``new_id``: 16 hexadecimal digits. Everything raises
    ``UnavailableError``.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._database, self._clock, self._new_id = database, clock, new_id

    # --- operators ------------------------------------------------------------------------------

    async def create(self, tenant: str, request: Request, *, by: str) -> NewLink:
        async with self._database.write() as connection:
            return await self._insert(connection, tenant, request, by, Work())

    async def _insert(
        self, connection: AsyncConnection, tenant: str, request: Request, by: str, work: Work
    ) -> NewLink:
        link_id, secret = self._new_id(), secrets.token_urlsafe(32)
        phrase, now = make_phrase(), self._clock()
        await connection.execute(
            delete(setup_links).where(setup_links.c.expires_at < now - _KEPT_S)
        )
        row = {
            "id": link_id,
            "tenant": tenant,
            "secret_digest": _digest("secret", link_id, secret),
            # With the secret in it: whoever reads the table cannot try phrases.
            "phrase_digest": _digest("phrase", link_id, secret + phrase),
            "request": self._seal(link_id, "request", _request_json(request)),
            "state": str(LinkState.ISSUED),
            "created_at": now,
            "created_by": by,
            "expires_at": now + request.lifetime_s,
            "attempts": 0,
            "locks": 0,
            "work": self._seal(link_id, "work", {"by": "", "work": work.as_json()}),
            "version": 0,
        }
        added = await connection.execute(insert(setup_links).values(row).returning(setup_links))
        return NewLink(self._link(added.mappings().one()), Secret(secret), Secret(phrase))

    async def get(self, tenant: str, link_id: str) -> SetupLink | None:
        async with self._database.read() as connection:
            row = await _row(connection, link_id)
        return self._link(row) if row is not None and row["tenant"] == tenant else None

    async def page(
        self,
        tenant: str | None,
        *,
        position: str | None,
        limit: int,
        stage: Stage | None = None,
    ) -> Page[SetupLink]:
        """Newest first; of all tenants with None. ``position``: time and id of the last row
        seen.
        """
        table = setup_links.c
        query = select(setup_links)
        if tenant is not None:
            query = query.where(table.tenant == tenant)
        if stage is not None:
            query = query.where(self._is_at(stage))
        if position is not None:
            at, _, last = position.partition("/")
            before = table.created_at < float(at)
            query = query.where(before | ((table.created_at == float(at)) & (table.id < last)))
        query = query.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        shown, more = rows[:limit], len(rows) > limit
        return Page(
            [self._link(row) for row in shown],
            f"{shown[-1]['created_at']!r}/{shown[-1]['id']}" if more else None,
        )

    def _is_at(self, stage: Stage) -> ColumnElement[bool]:
        table, now = setup_links.c, self._clock()
        over = table.state.in_(ENDED) | (table.expires_at <= now)
        match stage:
            case Stage.ENDED:
                return over
            case Stage.COMPLETED:
                return ~over & (table.state == LinkState.COMPLETED)
            case Stage.OPEN:
                return ~over & (table.state != LinkState.COMPLETED)

    async def revoke(self, tenant: str, link_id: str) -> SetupLink | None:
        """Ends it: the work of its browser with its next request. None: there is no such link."""
        async with self._database.write(f"{_TABLE}/{link_id}") as connection:
            row = await _row(connection, link_id)
            if row is None or row["tenant"] != tenant:
                return None
            if row["state"] in ENDED:
                return self._link(row)
            return await self._end(connection, link_id, LinkState.REVOKED)

    async def replace(self, tenant: str, link_id: str) -> NewLink | None:
        """Another address and phrase for the same request and work, of the same maker; the old one
        ends. None: there is no such link, or it cannot be replaced any more: it is over, or live.
        """
        async with self._database.write(f"{_TABLE}/{link_id}") as connection:
            row = await _row(connection, link_id)
            if row is None or row["tenant"] != tenant:
                return None
            if row["state"] in ENDED or row["state"] == LinkState.COMPLETED:
                return None
            link = self._link(row)
            await self._end(connection, link_id, LinkState.REPLACED)
            return await self._insert(connection, tenant, link.request, link.created_by, link.work)

    # --- recipients -----------------------------------------------------------------------------

    async def open(self, link_id: str, secret: str) -> SetupLink | None:
        """Changes nothing. None for whatever is no address of ours."""
        async with self._database.read() as connection:
            row = await _row(connection, link_id)
        is_address = self._is_address(row, link_id, secret)
        return self._link(row) if row is not None and is_address else None

    async def claim(
        self, link_id: str, secret: str, *, email: str, phrase: str
    ) -> Claimed | Refusal:
        """Gives the work to whoever knows all four. What is wrong is not said."""
        async with self._database.write(f"{_TABLE}/{link_id}") as connection:
            row = await _row(connection, link_id)
            if not self._is_address(row, link_id, secret) or row is None:
                return Refusal.DEAD
            link, now = self._link(row), self._clock()
            state = link.state(now)
            if state is LinkState.LOCKED:
                return Refusal.LOCKED
            if state not in OPEN:
                return Refusal.DEAD
            recipient = email.strip().casefold()
            typed = _digest("phrase", link_id, secret + canonical_phrase(phrase))
            right = hmac.compare_digest(typed, row["phrase_digest"])
            if not right or recipient not in link.request.recipients:
                return await self._wrong(connection, row)
            key = secrets.token_urlsafe(32)
            values = {
                "state": str(_claimed(link.stored_state)),
                "attempts": 0,
                "locked_until": None,
                "session_digest": _digest("session", link_id, key),
                "session_began_at": now,
                "session_seen_at": now,
                "work": self._seal(link_id, "work", {"by": recipient, "work": link.work.as_json()}),
            }
            moved = row["session_digest"] is not None and self._works(row)
            link = await self._write(connection, link_id, values)
            return Claimed(link, Secret(f"{link_id}.{key}"), moved)

    async def _wrong(self, connection: AsyncConnection, row: RowMapping) -> Refusal:
        attempts, locks, now = row["attempts"] + 1, row["locks"], self._clock()
        values: dict[str, Any] = {"attempts": attempts}
        refusal = Refusal.WRONG
        if attempts >= TRIES:
            locks += 1
            refusal = Refusal.LOCKED
            values = {"attempts": 0, "locks": locks, "locked_until": now + LOCK_S}
            if locks >= LOCKS:
                refusal = Refusal.REVOKED
                values |= {"state": str(LinkState.REVOKED), "session_digest": None}
        await self._write(connection, row["id"], values)
        return refusal

    async def visit(self, cookie: str) -> SetupLink | None:
        """The link that this browser works with."""
        link_id, _, key = cookie.partition(".")
        now = self._clock()
        async with self._database.read() as connection:
            row = await _row(connection, link_id)
        if row is None or not self._is_session(row, key):
            return None
        if now - row["session_seen_at"] > _TOUCH_S:
            async with self._database.write_together(urgent=True) as connection:
                await connection.execute(
                    update(setup_links)
                    .where(
                        setup_links.c.id == link_id,
                        setup_links.c.session_digest == row["session_digest"],
                    )
                    .values(session_seen_at=now)
                )
        return self._link(row)

    async def leave(self, link: SetupLink) -> None:
        """The work of its browser ends; the link can be opened again."""
        async with self._database.write(f"{_TABLE}/{link.id}") as connection:
            await connection.execute(
                update(setup_links).where(setup_links.c.id == link.id).values(session_digest=None)
            )

    async def save(self, link: SetupLink, work: Work, *, cookie: str) -> SetupLink | None:
        """None: it was changed since ``link`` was read, or this browser has it no longer."""
        _, _, key = cookie.partition(".")
        async with self._database.write(f"{_TABLE}/{link.id}") as connection:
            row = await _row(connection, link.id)
            if row is None or row["version"] != link.version or not self._is_session(row, key):
                return None
            return await self._store(connection, link, work)

    async def decide(self, link: SetupLink, work: Work) -> SetupLink | None:
        """An operator's word about submitted work, or going live. None: it was changed meanwhile,
        or the link is over.
        """
        async with self._database.write(f"{_TABLE}/{link.id}") as connection:
            row = await _row(connection, link.id)
            if row is None or row["version"] != link.version:
                return None
            if self._link(row).state(self._clock()) not in OPEN | {LinkState.LOCKED}:
                return None
            return await self._store(connection, link, work)

    async def last_provisioned(self, tenant: str) -> str | None:
        """The last run that changed the tenant's providers in the pool, or is about to."""
        runs = provision_runs.c
        query = (
            select(runs.id)
            .where(
                runs.tenant == tenant,
                runs.kind.in_([str(RunKind.APPLY), str(RunKind.MOVE)]),
                runs.state != str(RunState.ROLLED_BACK),
            )
            .order_by(runs.started_at.desc(), runs.id.desc())
            .limit(1)
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def reopen(self, link: SetupLink, work: Work) -> None:
        """Takes a completion back that came to nothing."""
        async with self._database.write(f"{_TABLE}/{link.id}") as connection:
            row = await _row(connection, link.id)
            if row is None or row["version"] != link.version:
                return
            await self._store(connection, link, work)
            if row["state"] == LinkState.COMPLETED:
                await self._write(connection, link.id, {"state": str(LinkState.CLAIMED)})

    async def _store(self, connection: AsyncConnection, link: SetupLink, work: Work) -> SetupLink:
        sealed = {"by": link.claimed_by, "work": work.as_json()}
        values: dict[str, Any] = {
            "work": self._seal(link.id, "work", sealed),
            "version": link.version + 1,
        }
        if work.phase is Phase.LIVE:
            values["state"] = str(LinkState.COMPLETED)
        return await self._write(connection, link.id, values)

    # --- rows -----------------------------------------------------------------------------------

    async def _end(self, connection: AsyncConnection, link_id: str, state: LinkState) -> SetupLink:
        return await self._write(connection, link_id, {"state": str(state), "session_digest": None})

    async def _write(
        self, connection: AsyncConnection, link_id: str, values: dict[str, Any]
    ) -> SetupLink:
        changed = await connection.execute(
            update(setup_links)
            .where(setup_links.c.id == link_id)
            .values(**values)
            .returning(setup_links)
        )
        return self._link(changed.mappings().one())

    def _is_address(self, row: RowMapping | None, link_id: str, secret: str) -> bool:
        """As much work for a link that there is as for one that there is not."""
        stored = row["secret_digest"] if row is not None else "0" * 64
        return hmac.compare_digest(_digest("secret", link_id, secret), stored)

    def _is_session(self, row: RowMapping, key: str) -> bool:
        stored = row["session_digest"]
        if stored is None or not hmac.compare_digest(_digest("session", row["id"], key), stored):
            return False
        state = self._link(row).state(self._clock())
        # A lock is for those who guess; whoever is at work goes on.
        return self._works(row) and state in OPEN | {LinkState.LOCKED}

    def _works(self, row: RowMapping) -> bool:
        now = self._clock()
        began, seen = row["session_began_at"], row["session_seen_at"]
        return bool(now - began < LONGEST_S and now - seen < IDLE_S)

    def _seal(self, link_id: str, column: str, value: object) -> str:
        return self._database.crypt.seal(
            json.dumps(value), table=_TABLE, row=link_id, column=column
        )

    def _open(self, row: RowMapping, column: str) -> Any:
        opened = self._database.crypt.open(row[column], table=_TABLE, row=row["id"], column=column)
        return json.loads(opened.reveal())

    def _link(self, row: RowMapping) -> SetupLink:
        work = self._open(row, "work")
        return SetupLink(
            id=row["id"],
            tenant=row["tenant"],
            request=_request_of(self._open(row, "request")),
            stored_state=LinkState(row["state"]),
            created_at=row["created_at"],
            created_by=row["created_by"],
            expires_at=row["expires_at"],
            locked_until=row["locked_until"],
            claimed_by=work["by"],
            work=Work.of_json(work["work"]),
            version=row["version"],
        )


async def _row(connection: AsyncConnection, link_id: str) -> RowMapping | None:
    if not ID.fullmatch(link_id):
        return None
    query = select(setup_links).where(setup_links.c.id == link_id)
    return (await connection.execute(query)).mappings().first()


def _claimed(state: LinkState) -> LinkState:
    return LinkState.COMPLETED if state is LinkState.COMPLETED else LinkState.CLAIMED


def _digest(purpose: str, link_id: str, secret: str) -> str:
    text = f"{purpose}\n{link_id}\n{secret}".encode("utf-8", "replace")
    return hashlib.sha256(text).hexdigest()


def _request_json(request: Request) -> dict[str, Any]:
    return {**asdict(request), "parts": sorted(request.parts)}


def _request_of(stored: dict[str, Any]) -> Request:
    tenant = stored["new_tenant"]
    if tenant is not None:
        lists = {
            name: None if tenant[name] is None else tuple(tenant[name])
            for name in ("hosts", "email_domains", "groups")
        }
        tenant = NewTenant(**{**tenant, **lists})
    return Request(
        parts=frozenset(map(Part, stored["parts"])),
        recipients=tuple(stored["recipients"]),
        providers=tuple(map(SetupProvider, stored["providers"])),
        language=stored["language"],
        approval=Approval(stored["approval"]),
        note=stored["note"],
        lifetime_s=stored["lifetime_s"],
        new_tenant=tenant,
    )


def edited(work: Work, **changes: Any) -> Work:
    """What was tested is not what it is now: it has to be tested again."""
    return replace(
        work, **changes, phase=Phase.SAVED, test="", tested_at=None, tester="", returned=""
    )
