"""One conversation with the SMTP server.

Rules:
- With ``tls: starttls``, a server that does not offer it (or that somebody in between keeps from
  offering it) is told nothing: no password, no address, no letter.
- What a server says is never repeated: refusals quote the address. Its code is.
- A whole conversation ends within ``mail.timeout``.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from typing import TYPE_CHECKING, Final

import aiosmtplib

from gateway.errors import ConfigError
from gateway.http.connection_error import why

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.config.model import Mail

_ENHANCED: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")
"""RFC 3463."""
NO_STARTTLS: Final = (
    "the server does not offer STARTTLS, and nothing is sent in clear (mail.tls: starttls)"
)
NO_LOGIN: Final = "the server takes no user and password here (mail.user)"


class MailError(Exception):
    """Why a letter was not taken: holds no address and no text of the server. ``final``: trying
    again is of no use.
    """

    def __init__(self, detail: str, *, final: bool = False) -> None:
        super().__init__(detail)
        self.detail, self.final = detail, final


class SmtpServer:
    """The one that ``mail`` in gateway.yaml names. Raises ``ConfigError`` for a ``ca_file`` that
    holds no certificate.
    """

    def __init__(self, settings: Mail) -> None:
        if settings.host is None:
            msg = "mail.host is not set"
            raise ConfigError(msg)
        self._host, self._port = settings.host, settings.effective_port
        self._settings = settings
        self._timeout_s = settings.timeout.total_seconds()
        self._context = _context(settings)

    async def deliver(self, sender: str, recipient: str, message: bytes) -> None:
        """Returns when the server has taken the message. Raises ``MailError``."""
        async with self._conversation() as client:
            await client.sendmail(sender, [recipient], message)

    async def probe(self) -> str:
        """As far as a letter would go, without one: what was reached. Raises ``MailError``."""
        async with self._conversation() as client:
            await client.noop()
        encrypted = "not encrypted" if self._settings.tls == "none" else "encrypted"
        signed_in = ", signed in" if self._settings.user is not None else ""
        return f"{self._host}:{self._port} answers, {encrypted}{signed_in}"

    @contextlib.asynccontextmanager
    async def _conversation(self) -> AsyncIterator[aiosmtplib.SMTP]:
        """Connected, encrypted, signed in."""
        client = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            # Else the library asks DNS for our own name, and holds up everything meanwhile.
            local_hostname=self._settings.sender_domain,
            timeout=self._timeout_s,
            use_tls=self._settings.tls == "tls",
            start_tls=False,
            tls_context=self._context,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                await client.connect()
                await self._open(client)
                yield client
                with contextlib.suppress(aiosmtplib.SMTPException):
                    await client.quit()
        except (aiosmtplib.SMTPException, TimeoutError, OSError, ValueError) as error:
            raise _refusal(error) from error
        finally:
            client.close()

    async def _open(self, client: aiosmtplib.SMTP) -> None:
        await client.ehlo()
        if self._settings.tls == "starttls":
            if not client.supports_extension("starttls"):
                raise MailError(NO_STARTTLS)
            await client.starttls(tls_context=self._context)
            await client.ehlo()
        if self._settings.user is not None and self._settings.password is not None:
            if not client.supports_extension("auth"):
                raise MailError(NO_LOGIN)
            await client.login(self._settings.user, self._settings.password.reveal())


def _context(settings: Mail) -> ssl.SSLContext | None:
    if settings.tls == "none":
        return None
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cafile=str(settings.ca_file))
        except OSError as error:
            problem = (
                "holds no certificate (PEM)" if isinstance(error, ssl.SSLError) else error.strerror
            )
            msg = f"mail.ca_file: {settings.ca_file}: {problem}"
            raise ConfigError(msg) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _refusal(error: BaseException) -> MailError:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused) and error.recipients:
        error = error.recipients[0]
    if isinstance(error, aiosmtplib.SMTPResponseException):
        code = _code(error)
        final = 500 <= error.code < 600
        if isinstance(error, aiosmtplib.SMTPRecipientRefused):
            return MailError(f"the server refuses the recipient ({code})", final=final)
        if isinstance(error, aiosmtplib.SMTPDataError):
            return MailError(f"the server refuses the message ({code})", final=final)
        if isinstance(error, aiosmtplib.SMTPSenderRefused):
            # Somebody sets it right at the server, or in the configuration.
            return MailError(f"the server refuses mail.sender ({code})")
        if isinstance(error, aiosmtplib.SMTPAuthenticationError):
            return MailError(f"the server refuses mail.user and mail.password ({code})")
        return MailError(f"the server answers {code}")
    return MailError(why(error, trust="mail.ca_file"))


def _code(error: aiosmtplib.SMTPResponseException) -> str:
    enhanced = _ENHANCED.match(error.message or "")
    return f"{error.code} {enhanced[0]}" if enhanced else str(error.code)
