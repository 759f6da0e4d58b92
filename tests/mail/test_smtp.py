"""One conversation with a server, over real sockets: as unkind as servers are."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from demo.mailbox import Mailbox
from gateway.config.model import Mail
from gateway.core.model import Secret
from gateway.errors import ConfigError
from gateway.mail.smtp import NO_STARTTLS, MailError, SmtpServer

if TYPE_CHECKING:
    from pathlib import Path

TO = "bob@acme.test"


def settings(port: int, certificate: tuple[Path, Path] | None = None, **more: Any) -> Mail:
    document: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "sender": "gateway@example.com",
        "timeout": "5s",
        **more,
    }
    if certificate is not None:
        document["ca_file"] = certificate[0]
    return Mail.model_validate(document)


def server_side(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def deliver(mail: Mail) -> None:
    await SmtpServer(mail).deliver("gateway@example.com", TO, b"Subject: x\r\n\r\nhello\r\n")


@pytest.mark.parametrize("tls", ["starttls", "tls", "none"])
async def test_a_letter_arrives(certificate: tuple[Path, Path], tls: str) -> None:
    box, context = (
        Mailbox(passwords={"us": "p"} if tls == "starttls" else {}),
        server_side(certificate),
    )
    how = {} if tls == "none" else {tls: context}
    user = {"user": "us", "password": Secret("p")} if tls == "starttls" else {}
    async with box.serving(**how) as port:  # type: ignore[arg-type]  # by name
        mail = settings(port, certificate, tls=tls, **user)
        await deliver(mail)
        assert "answers" in await SmtpServer(mail).probe()
    assert box.recipients == [TO]
    # The server library notes what STARTTLS encrypted; to a TLS port nobody speaks in clear.
    assert tls != "starttls" or all(each.endswith(" tls") for each in box.seen)


async def test_without_starttls_nothing_is_sent_in_clear() -> None:
    box = Mailbox(passwords={"us": "p"})
    async with box.serving() as port:
        mail = settings(port, user="us", password=Secret("p"))
        with pytest.raises(MailError, match="STARTTLS") as raised:
            await deliver(mail)
        with pytest.raises(MailError, match="STARTTLS"):
            await SmtpServer(mail).probe()
    assert raised.value.detail == NO_STARTTLS and not raised.value.final
    assert box.seen == [] and box.messages == []


async def test_a_certificate_of_nobody_we_trust_is_refused(certificate: tuple[Path, Path]) -> None:
    box = Mailbox()
    async with box.serving(starttls=server_side(certificate)) as port:
        with pytest.raises(MailError, match=r"mail\.ca_file") as raised:
            await deliver(settings(port))
    assert not raised.value.final and box.messages == []


async def test_a_certificate_of_another_name_is_refused(certificate: tuple[Path, Path]) -> None:
    box = Mailbox()
    async with box.serving(starttls=server_side(certificate)) as port:
        with pytest.raises(MailError, match="name"):
            await deliver(settings(port, certificate, host="localhost"))
    assert box.messages == []


@pytest.mark.parametrize(
    ("box", "said", "final"),
    [
        (Mailbox(greylist=1), "recipient (451 4.7.1)", False),
        (Mailbox(unknown={TO}), "recipient (550 5.1.1)", True),
        (Mailbox(refuse_data="554 5.7.1 <bob@acme.test> is spam"), "message (554 5.7.1)", True),
        (Mailbox(refuse_data="452 4.2.2 full"), "message (452 4.2.2)", False),
        (Mailbox(encrypted_only=True), "mail.sender (530 5.7.0)", False),
    ],
    ids=["greylist", "unknown", "spam", "full", "encrypted only"],
)
async def test_what_a_server_refuses_is_told_by_its_code_alone(
    box: Mailbox, said: str, final: bool
) -> None:
    async with box.serving() as port:
        with pytest.raises(MailError) as raised:
            await deliver(settings(port, tls="none"))
    assert said in raised.value.detail and raised.value.final is final
    assert "bob" not in raised.value.detail and "spam" not in raised.value.detail


async def test_a_wrong_password_is_told_and_tried_again_later(
    certificate: tuple[Path, Path],
) -> None:
    box = Mailbox(passwords={"us": "right-one"})
    async with box.serving(starttls=server_side(certificate)) as port:
        with pytest.raises(MailError, match=r"mail\.password \(535") as raised:
            await deliver(settings(port, certificate, user="us", password=Secret("wrong-one")))
    assert not raised.value.final and "wrong-one" not in raised.value.detail


@pytest.mark.parametrize("command", ["MAIL", "RCPT", "DATA"])
async def test_a_server_that_hangs_is_left(command: str) -> None:
    box = Mailbox(hang=frozenset({command}))
    async with box.serving() as port:
        with pytest.raises(MailError, match="no answer in time") as raised:
            async with asyncio.timeout(10):
                await deliver(settings(port, tls="none", timeout="1s"))
    assert not raised.value.final


async def test_a_server_that_speaks_without_end_is_left() -> None:
    async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"220-" + b"x" * 4000 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(MailError):
            async with asyncio.timeout(10):
                await deliver(settings(port, tls="none", timeout="1s"))


async def test_what_follows_the_word_starttls_in_clear_is_not_taken_for_the_servers(
    certificate: tuple[Path, Path],
) -> None:
    # CVE-2011-0411 and its kin, seen from the client: somebody in between adds answers in clear
    # behind the one to STARTTLS, to be read once the connection is encrypted.
    said: list[bytes] = []

    async def injects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"220 x ESMTP\r\n")
            while line := await reader.readline():
                said.append(line)
                if line.startswith(b"EHLO"):
                    writer.write(b"250-x\r\n250 STARTTLS\r\n")
                elif line.startswith(b"STARTTLS"):
                    writer.write(b"220 go\r\n250-x\r\n250 AUTH PLAIN\r\n")
                    break
            await reader.read()
        finally:  # the loop may end first
            writer.close()

    server = await asyncio.start_server(injects, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        mail = settings(port, certificate, timeout="1s", user="us", password=Secret("secret-one"))
        with pytest.raises(MailError):
            await deliver(mail)
    assert not any(b"AUTH" in line or b"MAIL" in line for line in said)


async def test_nobody_listening_is_told() -> None:
    with pytest.raises(MailError, match="refused"):
        await deliver(settings(1, tls="none"))


def test_a_ca_file_without_a_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mail\.ca_file"):
        SmtpServer(settings(25, ca_file=tmp_path / "empty.pem"))
