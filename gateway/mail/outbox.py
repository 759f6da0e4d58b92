"""Letters on their way, in SQL.

Rules:
- A letter is written in the transaction of whoever sends it, sealed: it may hold a link or a code.
  Its content is erased as soon as it was taken, or given up.
- At least once: a letter whose server answered into the void goes out again, with the same
  Message-ID.
- Tried again with growing pauses for a day and a half. What the server refuses for good is not, and
  neither is a code that has run out.
- Bounded, as a whole and for each tenant: what does not fit is refused, and nobody waits for SMTP.
- No address, subject or link is ever in a log line, a metric or ``error``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, func, select, update

from gateway.background import background_task, fault
from gateway.database.engine import insert_new
from gateway.database.schema import mail_outbox
from gateway.errors import ConfigError, UnavailableError
from gateway.log import fields
from gateway.mail.smtp import MailError
from gateway.mail.texts import MailTemplate
from gateway.metrics import MAIL_MESSAGES, begin_at_zero

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter
    from gateway.mail.render import Drawn
    from gateway.mail.smtp import SmtpServer

PAUSES_S: Final = (15.0, 60.0, 300.0, 900.0, 3600.0, 7200.0, 14400.0, 28800.0, 43200.0, 28800.0)
"""After each failure; together about a day and a half. A server that greylists takes the same
letter after some minutes.
"""
POLL_S: Final = 2.0
PARALLEL: Final = 4
HELD_FACTOR: Final = 3.0
"""A letter is held for so many timeouts while it is sent, so that two processes never send one at
once.
"""
MAX_WAITING: Final = 5000
MAX_WAITING_TENANT: Final = 100
SENT_KEPT_S: Final = 30 * 86_400.0
FAILED_KEPT_S: Final = 90 * 86_400.0
FORGET_EVERY_S: Final = 3600.0
EXPIRED: Final = "not sent in time"
CLOSED: Final = "the stored letter does not open with this key ring"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One letter that this process sends now."""

    id: str
    tenant: str
    template: str
    attempts: int
    to: str
    drawn: tuple[str, str, str]
    created_at: float
    expires_at: float | None


class MailOutbox:
    """Letters of all tenants. ``clock``: UTC epoch seconds of the database."""

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        server: SmtpServer,
        *,
        sender: str,
        timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        begin_at_zero(
            MAIL_MESSAGES,
            [str(template) for template in MailTemplate],
            ["sent", "retried", "failed"],
        )
        self._database, self._committer, self._server = database, committer, server
        self._sender, self._clock = sender, clock
        self._held_s = HELD_FACTOR * timeout_s
        self._wake = asyncio.Event()
        self._forget_at = 0.0

    def wake(self) -> None:
        self._wake.set()

    async def add(
        self,
        connection: AsyncConnection,
        *,
        id: str,  # noqa: A002 - what it is called in SQL
        tenant: str,
        template: MailTemplate,
        to: str,
        drawn: Drawn,
        expires_at: float | None,
    ) -> bool:
        """In the caller's transaction; the same id again is the same letter. False: too many
        wait.
        """
        now = self._clock()
        if await self.is_full(connection, tenant):
            log.warning("mail_dropped", extra=fields(tenant=tenant or None, template=template))
            return False
        content = json.dumps([to, drawn.subject, drawn.text, drawn.html])
        await connection.execute(
            insert_new(self._database, mail_outbox)
            .values(
                id=id,
                tenant=tenant,
                template=str(template),
                content=self._database.crypt.seal(
                    content, table="mail_outbox", row=id, column="content"
                ),
                created_at=now,
                state="new",
                attempts=0,
                next_at=now,
                held_until=0.0,
                expires_at=expires_at,
                error="",
            )
            .on_conflict_do_nothing(index_elements=["id"])
        )
        return True

    async def is_full(self, connection: AsyncConnection, tenant: str) -> bool:
        """Whether so many letters wait, of all tenants or of this one, that no other is taken."""
        waiting = select(func.count()).select_from(mail_outbox).where(mail_outbox.c.state == "new")
        if (await connection.execute(waiting)).scalar_one() >= MAX_WAITING:
            return True
        own = waiting.where(mail_outbox.c.tenant == tenant)
        return bool(tenant) and (await connection.execute(own)).scalar_one() >= MAX_WAITING_TENANT

    def running(self) -> AbstractAsyncContextManager[None]:
        return background_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            active: set[asyncio.Task[None]] = set()
            while True:
                self._wake.clear()
                letters: Sequence[Waiting] = ()
                try:
                    await self._forget()
                    if len(active) < PARALLEL:
                        letters = await self._claim(PARALLEL - len(active))
                except UnavailableError as error:
                    log.warning("mail_outbox_unavailable", extra=fields(error=str(error)))
                except Exception as error:  # noqa: BLE001 - logged
                    fault("mail_outbox_fault", error)
                for letter in letters:
                    task = group.create_task(self._guarded(letter))
                    active.add(task)
                    task.add_done_callback(active.discard)
                if not letters:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(POLL_S):
                            await self._wake.wait()

    async def _claim(self, limit: int) -> list[Waiting]:
        now = self._clock()
        query = (
            select(mail_outbox)
            .where(
                mail_outbox.c.state == "new",
                mail_outbox.c.next_at <= now,
                mail_outbox.c.held_until < now,
            )
            .order_by(mail_outbox.c.next_at, mail_outbox.c.number)
            .limit(limit)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            return []

        async def work(connection: AsyncConnection) -> list[Any]:
            claims = []
            for row in rows:
                statement = (
                    update(mail_outbox)
                    .where(
                        mail_outbox.c.number == row.number,
                        mail_outbox.c.state == "new",
                        mail_outbox.c.held_until == row.held_until,
                        mail_outbox.c.attempts == row.attempts,
                    )
                    .values(held_until=now + self._held_s)
                )
                if (await connection.execute(statement)).rowcount == 1:
                    claims.append(row)
            return claims

        letters = []
        for row in await self._committer.run(work):
            try:
                letters.append(self._opened(row))
            except ConfigError:
                # Another key ring's; it may come back, and is tried as a letter is.
                await self._settle(
                    Waiting(
                        row.id, row.tenant, row.template, row.attempts, "", ("", "", ""), 0, None
                    ),
                    MailError(CLOSED),
                )
        return letters

    def _opened(self, row: Any) -> Waiting:
        content = self._database.crypt.open(
            row.content, table="mail_outbox", row=row.id, column="content"
        )
        to, subject, text, html = json.loads(content.reveal())
        return Waiting(
            row.id,
            row.tenant,
            row.template,
            row.attempts,
            to,
            (subject, text, html),
            row.created_at,
            row.expires_at,
        )

    async def _guarded(self, letter: Waiting) -> None:
        try:
            await self.send(letter)
        except UnavailableError as error:
            # Sent perhaps, recorded not: after its time it goes out again, as the same message.
            log.warning("mail_unsettled", extra=fields(id=letter.id, error=str(error)))
        except Exception as error:  # noqa: BLE001 - logged
            fault("mail_fault", error, id=letter.id)
        self._wake.set()

    async def send(self, letter: Waiting) -> None:
        """One attempt, and what it came to. Raises ``UnavailableError`` if that could not be
        written.
        """
        if letter.expires_at is not None and letter.expires_at <= self._clock():
            await self._settle(letter, MailError(EXPIRED, final=True))
            return
        failure = None
        try:
            await self._server.deliver(
                self._sender,
                letter.to,
                compose(letter.id, self._sender, letter.to, letter.drawn, letter.created_at),
            )
        except MailError as error:
            failure = error
        await self._settle(letter, failure)

    async def _settle(self, letter: Waiting, refused: MailError | None) -> None:
        now = self._clock()
        error = "" if refused is None else refused.detail
        values: dict[str, Any] = {
            "attempts": letter.attempts + 1,
            "held_until": 0.0,
            "error": error[:400],
        }
        if refused is None:
            values |= {"state": "sent", "sent_at": now, "content": None}
        elif refused.final or letter.attempts >= len(PAUSES_S):
            values |= {"state": "failed", "content": None}
        else:
            values |= {"next_at": now + PAUSES_S[letter.attempts]}
        outcome = str(values.get("state", "retried"))

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                update(mail_outbox)
                .where(mail_outbox.c.id == letter.id, mail_outbox.c.state == "new")
                .values(**values)
            )

        await self._committer.run(work)
        MAIL_MESSAGES.labels(letter.template, outcome).inc()
        log.log(
            logging.WARNING if error else logging.INFO,
            "mail",
            extra=fields(
                tenant=letter.tenant or None,
                id=letter.id,
                template=letter.template,
                outcome=outcome,
                error=error or None,
                attempts=letter.attempts + 1,
            ),
        )

    async def _forget(self) -> None:
        now = self._clock()
        if now < self._forget_at:
            return
        self._forget_at = now + FORGET_EVERY_S

        async def work(connection: AsyncConnection) -> None:
            for state, kept_s in (("sent", SENT_KEPT_S), ("failed", FAILED_KEPT_S)):
                await connection.execute(
                    delete(mail_outbox).where(
                        mail_outbox.c.state == state, mail_outbox.c.created_at < now - kept_s
                    )
                )

        await self._committer.run(work)


def compose(
    id: str,  # noqa: A002 - as above
    sender: str,
    to: str,
    drawn: tuple[str, str, str],
    created_at: float,
) -> bytes:
    """The message, all ASCII. ``Auto-Submitted`` (RFC 3834): absence notices are not sent back."""
    subject, text, html = drawn
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"] = format_datetime(datetime.fromtimestamp(created_at, UTC))
    message["Message-ID"] = f"<{id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    return message.as_bytes()
