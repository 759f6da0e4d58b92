"""The outbox: at least once, bounded, sealed, and nobody waits for SMTP."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, func, insert, select, update

from demo.mailbox import Mailbox, text_of
from gateway.core.model import Secret
from gateway.database.group_commit import GroupCommitter
from gateway.database.schema import mail_outbox
from gateway.database.tenant_deletion import FORGOTTEN_WITH_A_TENANT
from gateway.errors import UnavailableError
from gateway.mail import outbox as rules
from gateway.mail.mailer import SECRET_S, Mailer
from gateway.mail.outbox import FAILED_KEPT_S, PAUSES_S, SENT_KEPT_S, MailOutbox
from gateway.mail.smtp import SmtpServer
from gateway.mail.texts import CONFIRMATIONS, MailTemplate, Moment, Phrase, Value
from gateway.metrics import MAIL_MESSAGES
from tests.database.fixtures import config_with
from tests.mail.test_smtp import TO, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.config.model import Config
    from gateway.database.engine import Database

pytestmark = pytest.mark.every_database

LINK = "https://login.example.com/setup/l/link-id/link-secret"
INVITED: dict[str, Value] = {
    "product": "Example",
    "operator": "Dana",
    "tenant": "Acme",
    "link": LINK,
    "confirmation": Phrase(CONFIRMATIONS["mail"]),
    "expires": Moment(1_800_000_000),
    "support": "",
}
CODE: dict[str, Value] = {"code": "123456", "support": ""}


@dataclass
class World:
    config: Config
    database: Database
    committer: GroupCommitter
    port: int
    box: Mailbox = field(default_factory=Mailbox)
    now: float = 1_800_000_000.0

    def outbox(self, port: int | None = None) -> MailOutbox:
        mail = settings(self.port if port is None else port, tls="none", timeout="2s")
        return MailOutbox(
            self.database,
            self.committer,
            SmtpServer(mail),
            sender="gateway@example.com",
            timeout_s=2.0,
            clock=lambda: self.now,
        )

    def mailer(self, outbox: MailOutbox | None) -> Mailer:
        return Mailer(self.config, self.committer, outbox, None, clock=lambda: self.now)

    async def rows(self) -> list[Any]:
        async with self.database.read() as connection:
            return list(
                (await connection.execute(select(mail_outbox).order_by(mail_outbox.c.number))).all()
            )

    async def until(self, *states: str, attempts: int = 0) -> list[Any]:
        async with asyncio.timeout(20):
            while True:
                rows = await self.rows()
                if [row.state for row in rows] == list(states) and all(
                    row.attempts >= attempts for row in rows
                ):
                    return rows
                await asyncio.sleep(0.02)


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    committer = GroupCommitter(database)
    box = Mailbox()
    async with committer.running(), box.serving() as port:
        yield World(config_with(tmp_path / "state"), database, committer, port, box)


async def test_a_letter_goes_out_and_its_content_is_erased(world: World) -> None:
    before = MAIL_MESSAGES.labels("invited", "sent")._value.get()
    outbox = world.outbox()
    async with outbox.running():
        letter = await world.mailer(outbox).send(MailTemplate.INVITED, TO, INVITED, "en")
        (row,) = await world.until("sent")
    assert row.id == letter and row.content is None and row.attempts == 1 and row.error == ""
    (message,) = world.box.messages
    assert message["Message-ID"] == f"<{letter}@example.com>" and LINK in text_of(message)
    assert MAIL_MESSAGES.labels("invited", "sent")._value.get() == before + 1


async def test_nobody_waits_for_a_server_that_hangs(world: World) -> None:
    world.box.hang = frozenset({"MAIL"})
    outbox = world.outbox()
    async with outbox.running():
        async with asyncio.timeout(1.5):  # less than the conversation's own time
            assert await world.mailer(outbox).send(MailTemplate.CODE, TO, CODE, "en")


async def test_what_waits_is_sealed(world: World) -> None:
    await world.mailer(world.outbox()).send(MailTemplate.INVITED, TO, INVITED, "en")
    (row,) = await world.rows()
    shown = repr(tuple(row))
    assert "link-secret" not in shown and TO not in shown and "Acme" not in shown


async def test_a_letter_put_off_is_sent_again_as_the_same_message(world: World) -> None:
    world.box.greylist = 2
    outbox = world.outbox()
    async with outbox.running():
        letter = await world.mailer(outbox).send(MailTemplate.TEST, TO, {"product": "x"}, "en")
        for attempt, pause_s in enumerate(PAUSES_S[:2], 1):
            (row,) = await world.until("new", attempts=attempt)
            assert row.next_at == world.now + pause_s
            assert "451" in row.error and TO not in row.error
            world.now += pause_s
            outbox.wake()
        await world.until("sent")
    assert [m["Message-ID"] for m in world.box.messages] == [f"<{letter}@example.com>"]


async def test_a_refusal_for_good_is_not_tried_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.box.unknown = {TO}
    outbox = world.outbox()
    with caplog.at_level(logging.INFO, logger="gateway"):
        async with outbox.running():
            await world.mailer(outbox).send(MailTemplate.INVITED, TO, INVITED, "en", tenant="acme")
            (row,) = await world.until("failed")
    assert row.content is None and row.attempts == 1 and "550 5.1.1" in row.error
    said = " ".join(f"{r.getMessage()} {vars(r)}" for r in caplog.records)
    assert "550 5.1.1" in said and "bob" not in said and "link-secret" not in said


async def test_a_letter_is_given_up_after_its_last_pause(world: World) -> None:
    outbox = world.outbox(port=1)
    await world.mailer(outbox).send(MailTemplate.TEST, TO, {"product": "x"}, "en")
    async with world.database.write() as connection:
        await connection.execute(update(mail_outbox).values(attempts=len(PAUSES_S)))
    async with outbox.running():
        (row,) = await world.until("failed")
    assert row.content is None and "refused" in row.error


async def test_a_code_that_has_run_out_is_not_sent(world: World) -> None:
    outbox = world.outbox()
    await world.mailer(outbox).send(MailTemplate.CODE, TO, CODE, "en")
    world.now += SECRET_S
    async with outbox.running():
        (row,) = await world.until("failed")
    assert row.error == "not sent in time" and world.box.seen == []


async def test_the_same_thing_is_one_letter(world: World) -> None:
    mailer = world.mailer(world.outbox())
    first = await mailer.send(MailTemplate.TEST, TO, {"product": "x"}, "en", once="1")
    assert first == await mailer.send(MailTemplate.TEST, TO, {"product": "x"}, "en", once="1")
    await mailer.send(MailTemplate.TEST, TO, {"product": "x"}, "en", once="2")
    assert len(await world.rows()) == 2


async def test_two_processes_send_a_letter_once(world: World) -> None:
    first, second = world.outbox(), world.outbox()
    for number in range(12):
        await world.mailer(first).send(
            MailTemplate.TEST, TO, {"product": "x"}, "en", once=str(number)
        )
    async with first.running(), second.running():
        await world.until(*["sent"] * 12)
    assert len(world.box.messages) == 12


async def test_a_letter_of_a_process_that_died_goes_out_after_its_time(world: World) -> None:
    await world.mailer(world.outbox()).send(MailTemplate.TEST, TO, {"product": "x"}, "en")
    (held,) = await world.outbox()._claim(4)
    assert held.to == TO and await world.outbox()._claim(4) == []
    world.now += 2.0 * rules.HELD_FACTOR + 1
    async with world.outbox().running():
        await world.until("sent")


async def test_too_many_letters_are_refused_for_one_tenant_and_for_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_WAITING", 4)
    monkeypatch.setattr(rules, "MAX_WAITING_TENANT", 2)
    mailer = world.mailer(world.outbox())
    values = {"product": "x"}
    for _ in range(2):
        await mailer.send(MailTemplate.TEST, TO, values, "en", tenant="acme")
    with pytest.raises(UnavailableError, match="too many"):
        await mailer.send(MailTemplate.TEST, TO, values, "en", tenant="acme")
    for _ in range(2):
        await mailer.send(MailTemplate.TEST, TO, values, "en", tenant="globex")
    with pytest.raises(UnavailableError, match="too many"):
        await mailer.send(MailTemplate.TEST, TO, values, "en")
    assert len(await world.rows()) == 4


async def test_what_is_wrong_with_a_letter_is_said_to_whoever_sends_it(world: World) -> None:
    mailer = world.mailer(world.outbox())
    with pytest.raises(ValueError, match="address"):
        await mailer.send(MailTemplate.CODE, f"{TO}\r\nBcc: x@example.com", CODE, "en")
    with pytest.raises(TypeError):
        await mailer.send(MailTemplate.CODE, TO, {}, "en")
    assert await world.rows() == []


async def test_without_a_server_nothing_is_stored(world: World) -> None:
    mailer = world.mailer(None)
    assert await mailer.send(MailTemplate.CODE, TO, CODE, "en") is None
    assert not mailer.configured and await world.rows() == []
    with pytest.raises(LookupError):
        await mailer.test(TO, "en")


async def test_old_letters_are_forgotten_and_those_of_a_deleted_tenant_too(world: World) -> None:
    kept = {"sent": SENT_KEPT_S, "failed": FAILED_KEPT_S}
    async with world.database.write() as connection:
        for state, kept_s in kept.items():
            for age_s in (kept_s - 1, kept_s + 1):
                await connection.execute(
                    insert(mail_outbox).values(
                        id=f"{state}{age_s}"[:32],
                        tenant="acme",
                        template="test",
                        created_at=world.now - age_s,
                        state=state,
                        attempts=1,
                        next_at=0.0,
                        held_until=0.0,
                        error="",
                    )
                )
    await world.outbox()._forget()
    assert len(await world.rows()) == 2
    assert mail_outbox in FORGOTTEN_WITH_A_TENANT
    async with world.database.write() as connection:
        await connection.execute(delete(mail_outbox))
        count = (
            await connection.execute(select(func.count()).select_from(mail_outbox))
        ).scalar_one()
    assert count == 0


async def test_a_letter_that_another_key_ring_sealed_keeps_no_other_from_being_sent(
    world: World,
) -> None:
    mailer = world.mailer(world.outbox())
    await mailer.send(MailTemplate.TEST, TO, {"product": "x"}, "en")
    async with world.database.write() as connection:
        await connection.execute(update(mail_outbox).values(content="other.AAAA"))
    await mailer.send(MailTemplate.TEST, TO, {"product": "x"}, "en")
    async with world.outbox().running():
        first, _ = await world.until("new", "sent")
    assert first.attempts == 1 and first.error == rules.CLOSED


async def test_a_test_letter_goes_past_the_outbox(world: World, tmp_path: Path) -> None:
    config = config_with(
        tmp_path / "state",
        mail={
            "host": "127.0.0.1",
            "port": world.port,
            "tls": "none",
            "sender": "gateway@example.com",
            "user": None,
        },
    )
    mailer = Mailer(config, world.committer, None, SmtpServer(config.mail), clock=lambda: world.now)
    await mailer.test("it@bücher.example", "de")
    assert world.box.recipients == ["it@xn--bcher-kva.example"]
    assert "Test" in text_of(world.box.messages[0]) and await world.rows() == []


def test_a_password_is_never_sent_in_clear_to_another_machine() -> None:
    with pytest.raises(ValueError, match="in clear"):
        settings(25, host="mail.example.com", tls="none", user="u", password=Secret("p"))
