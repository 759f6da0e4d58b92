"""An SMTP server that keeps what it is sent, and a page that shows it. As unkind as real ones:
greylists, refuses recipients, hangs, offers no STARTTLS, asks for a password.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import html
import socket
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from email.message import EmailMessage

    from aiosmtpd.smtp import Envelope, LoginPassword, Session


@dataclass
class Mailbox:
    """``greylist``: how often each recipient is put off before one letter is taken. ``unknown``:
    recipients who are refused for good. ``hang``: the commands that are never answered.
    ``passwords``: users with their passwords; none: nobody signs in. ``encrypted_only``: whether
    mail is refused before STARTTLS.
    """

    greylist: int = 0
    unknown: set[str] = field(default_factory=set)
    refuse_data: str = ""
    hang: frozenset[str] = frozenset()
    passwords: dict[str, str] = field(default_factory=dict)
    encrypted_only: bool = False
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    """Every command that arrived, and whether over TLS: ``MAIL tls``."""
    _tried: Counter[str] = field(default_factory=Counter)

    async def _pause(self, command: str, session: Session) -> None:
        self.seen.append(f"{command} {'tls' if session.ssl else 'clear'}")
        if command in self.hang:
            await asyncio.Event().wait()

    # Hooks of aiosmtpd, by their names.

    async def handle_MAIL(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        await self._pause("MAIL", session)
        if self.encrypted_only and not session.ssl:
            return "530 5.7.0 Must issue a STARTTLS command first"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        await self._pause("RCPT", session)
        if address in self.unknown:
            return f"550 5.1.1 <{address}>: Recipient address rejected: User unknown"
        self._tried[address] += 1
        if self._tried[address] <= self.greylist:
            return f"451 4.7.1 <{address}>: Greylisted, please try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        await self._pause("DATA", session)
        if self.refuse_data:
            return self.refuse_data
        content = envelope.content
        assert isinstance(content, bytes)
        self.messages.append(email.message_from_bytes(content, policy=email.policy.default))
        self.recipients.extend(envelope.rcpt_tos)
        return "250 2.0.0 Ok: queued"

    async def handle_NOOP(  # noqa: N802
        self, _server: SMTP, session: Session, _envelope: Envelope, _argument: str
    ) -> str:
        await self._pause("NOOP", session)
        return "250 2.0.0 Ok"

    def _sign_in(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _how: str, data: Any
    ) -> AuthResult:
        given: LoginPassword = data
        known = self.passwords.get(given.login.decode())
        right = known is not None and given.password.decode() == known
        return AuthResult(success=right, handled=False)

    @asynccontextmanager
    async def serving(
        self,
        *,
        starttls: ssl.SSLContext | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> AsyncIterator[int]:
        """The port, on loopback. ``starttls``: offered; ``tls``: spoken from the first byte."""
        loop = asyncio.get_running_loop()
        spoken: list[SMTP] = []

        def protocol() -> SMTP:
            made = SMTP(
                self,
                hostname="mail.demo",
                ident="demo",
                tls_context=starttls,
                timeout=60,
                authenticator=self._sign_in if self.passwords else None,
                auth_require_tls=starttls is not None,
                loop=loop,
            )
            spoken.append(made)
            return made

        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        server = await loop.create_server(protocol, sock=bound, ssl=tls)
        try:
            yield bound.getsockname()[1]
        finally:
            server.close()
            # Who was left speaking, or had not yet read that nobody is: the loop may end now.
            for each in spoken:
                if isinstance(each.transport, asyncio.WriteTransport):
                    # Python before 3.11.4 cannot abort TLS that has ended.
                    with suppress(AttributeError):
                        each.transport.abort()
            await asyncio.sleep(0)

    def page(self) -> web.Application:
        """What arrived, newest first."""
        app = web.Application()
        app.add_routes([web.get("/", self._show)])
        return app

    async def _show(self, _request: web.Request) -> web.Response:
        rows = "".join(
            f"<article><h2>{html.escape(str(message['Subject']))}</h2>"
            f"<p>to {html.escape(str(message['To']))}, {html.escape(str(message['Date']))}</p>"
            f"<pre>{html.escape(text_of(message))}</pre></article>"
            for message in reversed(self.messages)
        )
        return web.Response(
            text=(
                '<!doctype html><html lang="en"><title>Mailbox</title><h1>Mailbox</h1>'
                f"{rows or '<p>No mail yet.</p>'}</html>"
            ),
            content_type="text/html",
            headers={"Cache-Control": "no-store"},
        )


def text_of(message: EmailMessage) -> str:
    """The plain part."""
    part = message.get_body(("plain",))
    return "" if part is None else str(part.get_content())
