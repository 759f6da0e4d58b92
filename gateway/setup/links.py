"""Setup links in SQL: made, opened, claimed, worked with, ended.

Rules:
- Of address, phrase and cookie only digests are stored. What names people is encrypted.
- Opening a link changes nothing: mail scanners open links. Claiming needs the recipient's address
  and the phrase, and gives the work to one browser: the one before has it no longer.
- A code by mail opens for the browser that asked for it, the recipient it was sent to, and once.
  Each browser has its own: what others ask for or get wrong takes away nobody's.
- Every change is decided in the transaction that makes it, and is on record in the same one: two
  browsers, two processes and an operator who revokes at the same moment have an order.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy import case, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.core.model import Secret
from gateway.core.paging import Page
from gateway.database.audit import AuditRecord, say, write_within
from gateway.database.schema import audit, domains, provision_runs, setup_links, tenants
from gateway.provisioning.runs import RunKind, RunState
from gateway.setup.model import (
    CODE_DIGITS,
    CODE_S,
    CODES,
    CODES_WINDOW_S,
    COLLEAGUES,
    COLLEAGUES_ASKED,
    COLLEAGUES_WINDOW_S,
    ENDED,
    IDLE_S,
    LOCK_S,
    LOCKS,
    LONG_CODE_DIGITS,
    LONGEST_S,
    OPEN,
    SHORT_TRIES,
    TRIES,
    Approval,
    Confirm,
    LinkState,
    NewConnection,
    NewTenant,
    Part,
    Phase,
    Request,
    SetupLink,
    SetupProvider,
    Stage,
    Work,
    handed_on,
)
from gateway.setup.phrase import canonical_phrase, make_phrase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy import ColumnElement, RowMapping

    from gateway.database.engine import Database

ID: Final = re.compile(r"[0-9a-f]{16}")
_TABLE: Final = "setup_links"
_KEPT_S: Final = 90 * 86400
"""How long a link that has expired can still be read; the audit log stays."""
_OVER: Final = [str(state) for state in (*sorted(ENDED), LinkState.COMPLETED)]
_LOOKED_THROUGH: Final = 100
"""Links that may have been submitted: after an upgrade, what was claimed before it may or may
not.
"""
_SHOWN: Final = 20
"""Links of colleagues, those that are over included."""
_CODE_NOT_SENT: Final = "setup.link.code_not_sent"
_TOUCH_S: Final = 60.0
"""How often a browser's work is written down as going on."""


class Refusal(StrEnum):
    """Why a claim was refused. ``DEAD``: there is no such link, or it is over. ``WAIT``: too many
    codes or colleagues were asked for. ``FULL``: too many letters wait to be sent. ``GUESSED``:
    wrong, as so many codes were before it that somebody guesses.
    """

    WRONG = "wrong"
    GUESSED = "guessed"
    LOCKED = "locked"
    REVOKED = "revoked"
    DEAD = "dead"
    WAIT = "wait"
    MANY = "many"
    """There are ``COLLEAGUES`` already."""
    FULL = "full"


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link as it is shown, once. ``secret`` is the last part of its address. ``phrase`` None: a
    code is mailed in its place.
    """

    link: SetupLink
    secret: Secret
    phrase: Secret | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """``moved``: another browser had it. ``cookie``: what this one carries from now on."""

    link: SetupLink
    cookie: Secret
    moved: bool


Tell = Callable[[AsyncConnection, NewLink], Awaitable[None]]
TellColleague = Callable[[AsyncConnection, NewLink], Awaitable[bool]]
"""Whether the link goes to them: too many letters may wait."""
TellWork = Callable[[AsyncConnection, SetupLink], Awaitable[None]]
"""Of what was done with a link."""
TellMoved = Callable[[AsyncConnection, SetupLink, str], Awaitable[None]]
"""Of a link that another browser has now, and who had it before."""


class CodeLetters(Protocol):
    """Mails codes."""

    async def are_full(self, connection: AsyncConnection, tenant: str) -> bool:
        """Whether so many letters wait that another one is not sent."""

    async def code(
        self, connection: AsyncConnection, link: SetupLink, to: str, code: Secret
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class _OpenCode:
    """A code that was mailed and opens until then. ``browser``, ``digest``: of whoever asked, and
    of the code; ``tries``: wrong ones.
    """

    browser: str
    digest: str
    until: float
    tries: int = 0

    def is_of(self, link_id: str, browser: str) -> bool:
        return hmac.compare_digest(self.browser, _digest("browser", link_id, browser))


class _FullError(Exception):
    """Nothing of the transaction is kept."""


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

    def now(self) -> float:
        """UTC epoch seconds."""
        return self._clock()

    # --- operators ------------------------------------------------------------------------------

    async def create(
        self, tenant: str, request: Request, *, by: str, tell: Tell | None = None
    ) -> NewLink:
        """``tell``: in the same transaction."""
        async with self._database.write() as connection:
            new_link = await self._insert(connection, tenant, request, by, Work())
            if tell is not None:
                await tell(connection, new_link)
        return new_link

    async def _insert(
        self,
        connection: AsyncConnection,
        tenant: str,
        request: Request,
        by: str,
        work: Work,
        *,
        parent: str | None = None,
    ) -> NewLink:
        link_id, secret = self._new_id(), secrets.token_urlsafe(32)
        phrase = make_phrase() if request.confirm is Confirm.PHRASE else None
        now = self._clock()
        await connection.execute(
            delete(setup_links).where(setup_links.c.expires_at < now - _KEPT_S)
        )
        row = {
            "id": link_id,
            "tenant": tenant,
            "secret_digest": _digest("secret", link_id, secret),
            # With the secret in it: whoever reads the table cannot try phrases.
            "phrase_digest": _digest("phrase", link_id, secret + phrase) if phrase else "",
            "request": self._seal(link_id, "request", _request_json(request)),
            "state": str(LinkState.ISSUED),
            "created_at": now,
            "created_by": by,
            "expires_at": now + request.lifetime_s,
            "attempts": 0,
            "locks": 0,
            "work": self._seal(link_id, "work", {"by": "", "work": work.as_json(), "times": {}}),
            "version": 0,
            "parent": parent,
            "submitted_at": now if work.phase is Phase.SUBMITTED else None,
            "trial_until": now + request.lifetime_s if work.owner else None,
        }
        added = await connection.execute(insert(setup_links).values(row).returning(setup_links))
        link = self._link(added.mappings().one())
        return NewLink(link, Secret(secret), Secret(phrase) if phrase else None)

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
        page_rows, more = rows[:limit], len(rows) > limit
        return Page(
            [self._link(row) for row in page_rows],
            f"{page_rows[-1]['created_at']!r}/{page_rows[-1]['id']}" if more else None,
        )

    async def submitted(self, tenant: str | None, *, limit: int) -> Sequence[SetupLink]:
        """Those that wait for approval, the longest first; of all tenants with None."""
        table, now = setup_links.c, self._clock()
        query = select(setup_links).where(
            table.submitted_at.is_not(None), table.state.not_in(_OVER), table.expires_at > now
        )
        if tenant is not None:
            query = query.where(table.tenant == tenant)
        query = query.order_by(table.submitted_at, table.id).limit(_LOOKED_THROUGH)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        found = map(self._link, rows)
        return [link for link in found if link.work.phase is Phase.SUBMITTED][:limit]

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
        async with self._database.write(_lock(tenant)) as connection:
            row = await _row(connection, link_id)
            if row is None or row["tenant"] != tenant:
                return None
            if row["state"] in ENDED:
                return self._link(row)
            return await self._end(connection, link_id, LinkState.REVOKED)

    async def replace(
        self, tenant: str, link_id: str, *, by: str, confirm: Confirm, tell: Tell | None = None
    ) -> NewLink | None:
        """Another address and phrase for the same request and work, of the same maker; the old one
        ends. ``by``: who holds the new one, as the maker held the old one. None: there is no such
        link, or it cannot be replaced any more: it is over, or live. ``tell``: in the same
        transaction.
        """
        async with self._database.write(_lock(tenant)) as connection:
            row = await _row(connection, link_id)
            if row is None or row["tenant"] != tenant or await _is_orphan(connection, row):
                return None
            if row["state"] in ENDED or row["state"] == LinkState.COMPLETED:
                return None
            link = self._link(row)
            await self._end(connection, link_id, LinkState.REPLACED)
            holders = dict.fromkeys((*link.request.replaced_by, by))
            request = replace(link.request, confirm=confirm, replaced_by=tuple(holders))
            work = replace(link.work, replaces=(*link.work.replaces, link_id))
            new_link = await self._insert(
                connection,
                tenant,
                request,
                link.created_by,
                work,
                parent=link.parent or None,
            )
            await connection.execute(
                update(domains).where(domains.c.link == link_id).values(link=new_link.link.id)
            )
            # Colleagues of the old one go on, and end with the new one.
            await connection.execute(
                update(setup_links)
                .where(setup_links.c.parent == link_id, setup_links.c.tenant == tenant)
                .values(parent=new_link.link.id)
            )
            if tell is not None:
                await tell(connection, new_link)
        return new_link

    async def find(self, link_id: str) -> SetupLink | None:
        """Whosever it is: for whoever has shown that they know it."""
        async with self._database.read() as connection:
            row = await _row(connection, link_id)
        return None if row is None else self._link(row)

    # --- recipients -----------------------------------------------------------------------------

    async def open(self, link_id: str, secret: str) -> SetupLink | None:
        """Changes nothing. None for whatever is no address of ours."""
        async with self._database.read() as connection:
            row = await _addressed(connection, link_id, secret)
        return None if row is None else self._link(row)

    async def send_code(
        self, link_id: str, secret: str, *, email: str, browser: str, letters: CodeLetters
    ) -> Refusal | None:
        """Another code, which ends the one before of this browser; ``letters`` puts it into the
        mail. Whether ``email`` is a recipient, and a code was made, is not said: nor by ``FULL``
        and ``WAIT``, which are the same for whomever. ``browser``: what the browser that asks for
        it carries.
        """
        async with self._changing(link_id) as (connection, records):
            row = await _addressed(connection, link_id, secret)
            if row is None:
                return Refusal.DEAD
            link, now = self._link(row), self._clock()
            refusal = _refusal(link.state(now))
            if refusal is not None or link.request.confirm is not Confirm.MAIL:
                return refusal or Refusal.DEAD
            since, count = row["codes_since"] or 0.0, row["codes"] or 0
            if now - since >= CODES_WINDOW_S:
                since, count = now, 0
            if count >= CODES:
                return Refusal.WAIT
            if await letters.are_full(connection, link.tenant):
                # The code before stays, and this one is not counted.
                reason = {"reason": "too many letters wait"}
                records.append(self._record(link, _CODE_NOT_SENT, reason, actor=link_id))
                return Refusal.FULL
            recipient = email.strip().casefold()
            is_recipient = recipient in link.request.recipients
            if is_recipient:
                codes = [each for each in self._open_codes(row) if not each.is_of(link_id, browser)]
                code = _make_code(row["attempts"], codes)
                digest = _code_digest(link_id, secret, recipient, code)
                mine = _OpenCode(_digest("browser", link_id, browser), digest, now + CODE_S)
                values = {"codes": count + 1, "codes_since": since}
                await letters.code(connection, link, recipient, Secret(code))
                await self._write(connection, link_id, {**values, **_codes([*codes, mine])})
            action = "setup.link.code_sent" if is_recipient else _CODE_NOT_SENT
            records.append(self._record(link, action, actor=link_id))
        return None

    async def claim(
        self,
        link_id: str,
        secret: str,
        *,
        email: str,
        answer: str,
        browser: str = "",
        tell: TellMoved | None = None,
    ) -> Claimed | Refusal:
        """Gives the work to whoever knows all of it. What is wrong is not said. ``answer``: phrase
        or code; ``browser``: what the browser that asked for the code carries. ``tell``: where
        another browser had it, in the same transaction.
        """
        async with self._changing(link_id) as (connection, records):
            row = await _addressed(connection, link_id, secret)
            if row is None:
                return Refusal.DEAD
            link, now = self._link(row), self._clock()
            refusal = _refusal(link.state(now))
            if refusal is not None:
                return refusal
            if await _is_orphan(connection, row):
                return Refusal.DEAD
            recipient = email.strip().casefold()
            if link.request.confirm is Confirm.PHRASE:
                values = await self._phrase(connection, row, secret, recipient, answer, records)
            else:
                typed = _code_digest(link_id, secret, recipient, answer)
                values = await self._code(connection, row, browser, typed, records)
            if isinstance(values, Refusal):
                return values
            key = secrets.token_urlsafe(32)
            before = link.claimed_by
            claimed = replace(link, claimed_by=recipient, times={"opened": now, **link.times})
            values |= {
                "state": str(_claimed(link.stored_state)),
                "session_digest": _digest("session", link_id, key),
                "session_began_at": now,
                "session_seen_at": now,
                "work": self._sealed_work(claimed),
            }
            is_move = row["session_digest"] is not None and self._works(row)
            link = await self._write(connection, link_id, values)
            records.append(self._record(link, "setup.link.claimed"))
            if is_move:
                records.append(self._record(link, "setup.link.moved"))
                if tell is not None:
                    await tell(connection, link, before)
            return Claimed(link, Secret(f"{link_id}.{key}"), is_move)

    async def _phrase(
        self,
        connection: AsyncConnection,
        row: RowMapping,
        secret: str,
        recipient: str,
        answer: str,
        records: list[AuditRecord],
    ) -> dict[str, Any] | Refusal:
        """What a right one writes."""
        typed = _digest("phrase", row["id"], secret + canonical_phrase(answer))
        right = hmac.compare_digest(typed, row["phrase_digest"] or "0" * 64)
        if not right or recipient not in self._link(row).request.recipients:
            return await self._wrong(connection, row, records)
        return {"attempts": 0, "locked_until": None}

    async def _code(
        self,
        connection: AsyncConnection,
        row: RowMapping,
        browser: str,
        typed: str,
        records: list[AuditRecord],
    ) -> dict[str, Any] | Refusal:
        """As ``_phrase``. Of a browser that has no code none is right, and nothing is counted:
        nobody is kept from theirs.
        """
        codes = self._open_codes(row)
        mine = next((each for each in codes if each.is_of(row["id"], browser)), None)
        if mine is None:
            return Refusal.WRONG
        if not hmac.compare_digest(typed, mine.digest):
            return await self._wrong_code(connection, row, codes, mine, records)
        return _codes([each for each in codes if each is not mine])

    async def _wrong(
        self, connection: AsyncConnection, row: RowMapping, records: list[AuditRecord]
    ) -> Refusal:
        attempts, locks, now = row["attempts"] + 1, row["locks"], self._clock()
        values: dict[str, Any] = {"attempts": attempts}
        refusal = Refusal.WRONG
        if attempts >= TRIES:
            locks += 1
            refusal = Refusal.LOCKED
            values = {
                "attempts": 0,
                "locks": locks,
                "locked_until": now + LOCK_S,
            }
            if locks >= LOCKS:
                refusal = Refusal.REVOKED
                await self._end(connection, row["id"], LinkState.REVOKED)
        link = await self._write(connection, row["id"], values)
        action = {Refusal.WRONG: "code_failed", Refusal.LOCKED: "locked"}.get(refusal, "revoked")
        records.append(self._record(link, f"setup.link.{action}", actor=link.id))
        return refusal

    async def _wrong_code(
        self,
        connection: AsyncConnection,
        row: RowMapping,
        codes: Sequence[_OpenCode],
        mine: _OpenCode,
        records: list[AuditRecord],
    ) -> Refusal:
        """Counts for the code of this browser, which ends with the last try."""
        others = [each for each in codes if each is not mine]
        rest = [replace(mine, tries=mine.tries + 1)] if mine.tries + 1 < TRIES else []
        attempts = row["attempts"] + 1
        values = {"attempts": attempts, **_codes([*others, *rest])}
        link = await self._write(connection, row["id"], values)
        records.append(self._record(link, "setup.link.code_failed", actor=link.id))
        return Refusal.GUESSED if attempts == SHORT_TRIES else Refusal.WRONG

    def _open_codes(self, row: RowMapping) -> list[_OpenCode]:
        """As many at most as are mailed within an hour."""
        codes = [_OpenCode(**each) for each in row["open_codes"] or ()]
        return [each for each in codes if self._clock() < each.until]

    async def visit(self, cookie: str) -> SetupLink | None:
        """The link that this browser works with."""
        link_id, _, key = cookie.partition(".")
        now = self._clock()
        async with self._database.read() as connection:
            row = await _row(connection, link_id)
            if row is not None and await _is_orphan(connection, row):
                return None
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

    async def stop(self, link_id: str, *, email: str) -> SetupLink | None:
        """Ends the link on a recipient's word, who has shown that they had its letter. None: it is
        over, or no link of theirs.
        """
        async with self._changing(link_id) as (connection, records):
            row = await _row(connection, link_id)
            if row is None or self._link(row).state(self._clock()) in ENDED:
                return None
            link, recipient = self._link(row), email.strip().casefold()
            if recipient not in link.request.recipients:
                return None
            ended = await self._end(connection, link_id, LinkState.REVOKED)
            by = replace(link, claimed_by=recipient)
            records.append(self._record(by, "setup.link.stopped"))
            return ended

    async def leave(self, link: SetupLink) -> None:
        """The work of its browser ends; the link can be opened again."""
        async with self._changing(link.id) as (connection, records):
            await self._write(connection, link.id, {"session_digest": None})
            records.append(self._record(link, "setup.link.left"))

    async def save(
        self,
        link: SetupLink,
        work: Work,
        *,
        cookie: str,
        action: str = "",
        after: object = None,
        tell: TellWork | None = None,
    ) -> SetupLink | None:
        """None: it was changed since ``link`` was read, or this browser has it no longer.
        ``action``: as which it is on record, with ``after``; without, it is not. ``tell``: in the
        same transaction.
        """
        _, _, key = cookie.partition(".")
        async with self._changing(link.id) as (connection, records):
            row = await _row(connection, link.id)
            if row is None or row["version"] != link.version or not self._is_session(row, key):
                return None
            if action:
                records.append(self._record(link, action, after))
            stored = await self._store(connection, link, work)
            if tell is not None:
                await tell(connection, stored)
            return stored

    async def of_parent(self, link: SetupLink) -> Sequence[SetupLink]:
        """Links for its recipient's colleagues, newest first."""
        query = (
            select(setup_links)
            .where(setup_links.c.tenant == link.tenant, setup_links.c.parent == link.id)
            .order_by(setup_links.c.created_at.desc(), setup_links.c.id.desc())
            .limit(_SHOWN)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [self._link(row) for row in rows]

    async def delegate(
        self,
        link: SetupLink,
        parts: frozenset[Part],
        email: str,
        *,
        cookie: str,
        by_mail: bool,
        tell: TellColleague,
    ) -> NewLink | Refusal:
        """A link for a colleague: some of its parts, and no longer than it. ``MANY``: there are
        ``COLLEAGUES`` already; ``WAIT``: ``COLLEAGUES_ASKED`` were asked within an hour; ``DEAD``:
        this browser has it no longer, or it cannot be handed on; ``FULL``: nothing was made.
        """
        if link.parent or not parts or not parts <= handed_on(link.request):
            return Refusal.DEAD
        try:
            async with self._changing(link.id) as (connection, records):
                refusal = await self._may_ask(connection, link, cookie)
                if refusal is not None:
                    return refusal
                request = replace(
                    link.request,
                    parts=parts,
                    recipients=(email,),
                    note="",
                    lifetime_s=link.expires_at - self._clock(),
                    new_tenant=None,
                    confirm=Confirm.MAIL if by_mail else Confirm.PHRASE,
                )
                by = f"setup:{link.actor}"
                new_link = await self._insert(
                    connection, link.tenant, request, by, Work(), parent=link.id
                )
                await _expect_told(tell, connection, new_link)
                after = {"link": new_link.link.id, "recipient": email, "parts": sorted(parts)}
                records.append(self._record(link, "setup.link.delegated", after))
                return new_link
        except _FullError:
            return Refusal.FULL

    async def _may_ask(
        self, connection: AsyncConnection, link: SetupLink, cookie: str
    ) -> Refusal | None:
        """Why no colleague is asked by this browser now."""
        _, _, key = cookie.partition(".")
        row = await _row(connection, link.id)
        if row is None or not self._is_session(row, key):
            return Refusal.DEAD
        theirs = (
            select(func.count())
            .select_from(setup_links)
            .where(setup_links.c.tenant == link.tenant, setup_links.c.parent == link.id)
        )
        open_ones = theirs.where(setup_links.c.state.not_in([str(state) for state in ENDED]))
        if (await connection.execute(open_ones)).scalar_one() >= COLLEAGUES:
            return Refusal.MANY
        # Those that were ended too: each was a letter.
        lately = theirs.where(setup_links.c.created_at > self._clock() - COLLEAGUES_WINDOW_S)
        asked = (await connection.execute(lately)).scalar_one()
        return Refusal.WAIT if asked >= COLLEAGUES_ASKED else None

    async def end_colleague(self, link: SetupLink, child: str, *, cookie: str) -> bool:
        """Whether there was such a link of a colleague, and this browser may end it."""
        _, _, key = cookie.partition(".")
        async with self._changing(link.id) as (connection, records):
            row, other = await _row(connection, link.id), await _row(connection, child)
            if row is None or not self._is_session(row, key):
                return False
            if other is None or other["parent"] != link.id or other["state"] in ENDED:
                return False
            await self._end(connection, child, LinkState.REVOKED)
            records.append(self._record(link, "setup.link.colleague_ended", {"link": child}))
            return True

    async def note(self, link: SetupLink, action: str, after: object = None) -> None:
        """What its holder did that changes nothing of it, on record."""
        async with self._changing(link.id) as (_, records):
            records.append(self._record(link, action, after))

    async def decide(
        self,
        link: SetupLink,
        work: Work,
        *,
        action: str = "",
        after: object = None,
        tell: TellWork | None = None,
    ) -> SetupLink | None:
        """An operator's word about submitted work, or going live. None: it was changed meanwhile,
        or the link is over. ``action``: of its holder, on record. ``tell``: in the same
        transaction.
        """
        async with self._changing(link.id) as (connection, records):
            row = await _row(connection, link.id)
            if row is None or row["version"] != link.version:
                return None
            if self._link(row).state(self._clock()) not in OPEN | {LinkState.LOCKED}:
                return None
            if action:
                records.append(self._record(link, action, after))
            stored = await self._store(connection, link, work)
            if tell is not None:
                await tell(connection, stored)
            return stored

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

    async def secret_made_at(self, tenant: str, provider: str) -> float | None:
        """When a hook secret was last made for a provider, by whomever; UTC epoch seconds."""
        query = select(func.max(audit.c.at)).where(
            audit.c.tenant == tenant,
            audit.c.action == "add_hook_secret",
            audit.c.target == f"{tenant}/{provider}",
            audit.c.outcome == "done",
        )
        async with self._database.read() as connection:
            made_at: float | None = (await connection.execute(query)).scalar_one_or_none()
        return made_at

    async def reopen(self, link: SetupLink, work: Work, *, action: str = "") -> None:
        """Takes a completion back that came to nothing. ``action``: as for ``decide``."""
        async with self._changing(link.id) as (connection, records):
            row = await _row(connection, link.id)
            if row is None or row["version"] != link.version:
                return
            if action:
                records.append(self._record(link, action))
            await self._store(connection, link, work)
            if row["state"] == LinkState.COMPLETED:
                values = {
                    "state": str(LinkState.CLAIMED),
                    "expires_at": link.created_at + link.request.lifetime_s,
                }
                await self._write(connection, link.id, values)

    async def _store(self, connection: AsyncConnection, link: SetupLink, work: Work) -> SetupLink:
        result = replace(link, work=work)
        result = replace(result, times=result.timed(self._clock()))
        values: dict[str, Any] = {
            "work": self._sealed_work(result),
            "version": link.version + 1,
        }
        values["trial_until"] = result.trial_until
        if work.phase is not Phase.SUBMITTED:
            values["submitted_at"] = None
        elif link.work.phase is not Phase.SUBMITTED:
            values["submitted_at"] = self._clock()
        if work.phase is Phase.LIVE:
            values["state"] = str(LinkState.COMPLETED)
            # Else nobody could put back what is kept.
            values["expires_at"] = max(link.expires_at, work.put_back_until or 0.0)
        return await self._write(connection, link.id, values)

    # --- rows -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _changing(
        self, link_id: str
    ) -> AsyncIterator[tuple[AsyncConnection, list[AuditRecord]]]:
        """One transaction, and what is on record of it."""
        records: list[AuditRecord] = []
        async with self._database.read() as connection:
            query = select(setup_links.c.tenant).where(setup_links.c.id == link_id)
            tenant = (await connection.execute(query)).scalar_one_or_none()
        async with self._database.write(_lock(tenant or link_id)) as connection:
            yield connection, records
            await write_within(connection, *records)
        for record in records:
            say(record)

    def _record(
        self, link: SetupLink, action: str, after: object = None, *, actor: str = ""
    ) -> AuditRecord:
        """``actor``: of whom is not known who they are; else its holder."""
        return AuditRecord(
            at=self._clock(),
            actor=f"setup:{actor or link.actor}",
            action=action,
            tenant=link.tenant,
            target=f"{link.tenant}/{link.id}",
            after=after,
        )

    async def _end(self, connection: AsyncConnection, link_id: str, state: LinkState) -> SetupLink:
        """With those of colleagues, but where another one takes its place."""
        if state is LinkState.REVOKED:
            await connection.execute(
                update(setup_links)
                .where(
                    setup_links.c.parent == link_id,
                    setup_links.c.state.not_in([str(final_state) for final_state in ENDED]),
                )
                .values(state=str(state), session_digest=None)
            )
        final_state: dict[str, Any] = {"state": str(state), "session_digest": None}
        if state is LinkState.REPLACED:
            final_state["trial_until"] = None  # it is the other one's
        else:
            made = select(tenants.c.id).where(tenants.c.id == domains.c.tenant).exists()
            await connection.execute(delete(domains).where(domains.c.link == link_id, ~made))
            final_state["trial_until"] = case(
                (setup_links.c.trial_until.is_not(None), self._clock()), else_=None
            )
        return await self._write(connection, link_id, final_state)

    async def take_over_domains(self, link: SetupLink) -> None:
        """The tenant is made: what the link held for it is the tenant's."""
        async with self._database.write(_lock(link.tenant)) as connection:
            await connection.execute(
                update(domains).where(domains.c.link == link.id).values(link=None)
            )

    async def forget_drafts(self) -> None:
        """Domains that a link held for a tenant which was not made, where the link has expired. Of
        one that was made, whose page had not come to its end, they are the tenant's.
        """
        async with self._database.write_together() as connection:
            made = select(tenants.c.id).where(tenants.c.id == domains.c.tenant).exists()
            held = domains.c.link.is_not(None)
            await connection.execute(update(domains).where(held, made).values(link=None))
            open_ones = select(setup_links.c.id).where(
                setup_links.c.id == domains.c.link,
                setup_links.c.state.not_in([str(state) for state in ENDED]),
                setup_links.c.expires_at > self._clock(),
            )
            await connection.execute(delete(domains).where(held, ~open_ones.exists()))

    async def trials_due(self, *, limit: int) -> Sequence[SetupLink]:
        """Whose provider for tests is of no use any more."""
        until = setup_links.c.trial_until
        query = select(setup_links).where(until <= self._clock()).order_by(until).limit(limit)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [self._link(row) for row in rows]

    async def put_off_trial(self, link: SetupLink, *, until: float | None) -> None:
        """``until``: when it is tried again to delete its provider for tests; None: it is gone."""
        async with self._changing(link.id) as (connection, _):
            await connection.execute(
                update(setup_links)
                .where(setup_links.c.id == link.id, setup_links.c.version == link.version)
                .values(trial_until=until)
            )

    async def _write(
        self, connection: AsyncConnection, link_id: str, values: dict[str, Any]
    ) -> SetupLink:
        result = await connection.execute(
            update(setup_links)
            .where(setup_links.c.id == link_id)
            .values(**values)
            .returning(setup_links)
        )
        return self._link(result.mappings().one())

    def _is_session(self, row: RowMapping, key: str) -> bool:
        digest = row["session_digest"]
        if digest is None or not hmac.compare_digest(_digest("session", row["id"], key), digest):
            return False
        state = self._link(row).state(self._clock())
        # A lock is for those who guess; whoever is at work goes on.
        return self._works(row) and state in OPEN | {LinkState.LOCKED}

    def _works(self, row: RowMapping) -> bool:
        now = self._clock()
        began, seen_at = row["session_began_at"], row["session_seen_at"]
        return bool(now - began < LONGEST_S and now - seen_at < IDLE_S)

    def _sealed_work(self, link: SetupLink) -> str:
        content = {
            "by": link.claimed_by,
            "work": link.work.as_json(),
            "times": dict(link.times),
        }
        return self._seal(link.id, "work", content)

    def _seal(self, link_id: str, column: str, value: object) -> str:
        return self._database.crypt.seal(
            json.dumps(value), table=_TABLE, row=link_id, column=column
        )

    def _open(self, row: RowMapping, column: str) -> Any:
        plaintext = self._database.crypt.open(
            row[column], table=_TABLE, row=row["id"], column=column
        )
        return json.loads(plaintext.reveal())

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
            times=work.get("times", {}),
            parent=row["parent"] or "",
        )


async def _expect_told(tell: TellColleague, connection: AsyncConnection, made: NewLink) -> None:
    if not await tell(connection, made):
        raise _FullError


async def _row(connection: AsyncConnection, link_id: str) -> RowMapping | None:
    if not ID.fullmatch(link_id):
        return None
    query = select(setup_links).where(setup_links.c.id == link_id)
    return (await connection.execute(query)).mappings().first()


async def _is_orphan(connection: AsyncConnection, row: RowMapping) -> bool:
    """Whether it is a colleague's link, and the one that it ends with is over."""
    if not row["parent"]:
        return False
    parent = await _row(connection, row["parent"])
    return parent is None or parent["state"] in ENDED


async def _addressed(connection: AsyncConnection, link_id: str, secret: str) -> RowMapping | None:
    """The row whose address this is. As much is done for a link that there is as for one that there
    is not: nothing else of it is read before its secret was right.
    """
    query = select(setup_links.c.secret_digest).where(setup_links.c.id == link_id)
    digest = (await connection.execute(query)).scalar_one_or_none()
    if not hmac.compare_digest(_digest("secret", link_id, secret), digest or "0" * 64):
        return None
    return await _row(connection, link_id)


def _lock(tenant: str) -> str:
    """One writer at a time of all links of a tenant: a colleague's ends with its parent, and moves
    to the one that replaces it.
    """
    return f"{_TABLE}/{tenant}"


def _refusal(state: LinkState) -> Refusal | None:
    if state is LinkState.LOCKED:
        return Refusal.LOCKED
    return None if state in OPEN else Refusal.DEAD


def _claimed(state: LinkState) -> LinkState:
    return LinkState.COMPLETED if state is LinkState.COMPLETED else LinkState.CLAIMED


def _digest(purpose: str, link_id: str, secret: str) -> str:
    text = f"{purpose}\n{link_id}\n{secret}".encode("utf-8", "replace")
    return hashlib.sha256(text).hexdigest()


def _codes(codes: Sequence[_OpenCode]) -> dict[str, Any]:
    return {"open_codes": [asdict(each) for each in codes]}


def _make_code(attempts: int, codes: Sequence[_OpenCode]) -> str:
    """A long one where the tries so far, and those at the codes of other browsers, leave too few
    for a short one.
    """
    possible = attempts + sum(TRIES - each.tries for each in codes) + TRIES
    digits = CODE_DIGITS if possible <= SHORT_TRIES else LONG_CODE_DIGITS
    return f"{secrets.randbelow(10**digits):0{digits}}"


def _code_digest(link_id: str, secret: str, recipient: str, code: str) -> str:
    """Whoever reads the table does not have the secret."""
    digits = re.sub(r"[^0-9]", "", code[:40])
    return _digest("code", link_id, f"{secret}\n{recipient}\n{digits}")


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
        confirm=Confirm(stored.get("confirm", Confirm.PHRASE)),
        replaced_by=tuple(stored.get("replaced_by", ())),
        connection=_connection_of(stored.get("connection")),
    )


def _connection_of(stored: dict[str, Any] | None) -> NewConnection | None:
    if stored is None:
        return None
    groups = stored["groups"]
    return NewConnection(tuple(stored["email_domains"]), None if groups is None else tuple(groups))


def edited(work: Work, **changes: Any) -> Work:
    """What was tested is not what it is now: it has to be tested again."""
    return replace(
        work, **changes, phase=Phase.SAVED, test="", tested_at=None, tester="", returned=""
    )
