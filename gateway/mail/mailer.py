"""What other rooms send mail by."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Final

from gateway.core.mailbox import mailbox
from gateway.errors import UnavailableError
from gateway.mail.outbox import compose
from gateway.mail.render import draw
from gateway.mail.texts import LETTERS, MailTemplate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.config.model import Config
    from gateway.database.group_commit import GroupCommitter
    from gateway.mail.outbox import MailOutbox
    from gateway.mail.smtp import SmtpServer
    from gateway.mail.texts import Value

SECRET_S: Final = 600.0
"""For how long a letter that opens something is tried, where nobody says: as long as a code is
valid.
"""


class Mailer:
    """Sends letters, where ``mail`` is configured. ``clock``: UTC epoch seconds."""

    def __init__(
        self,
        config: Config,
        committer: GroupCommitter,
        outbox: MailOutbox | None,
        server: SmtpServer | None,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._config, self._committer, self._clock = config, committer, clock
        self._outbox, self._server = outbox, server

    @property
    def configured(self) -> bool:
        """Whether anything is sent. Else links and codes are shown to be copied."""
        return self._outbox is not None

    @property
    def operators(self) -> Sequence[str]:
        """Whom the gateway writes to of every tenant."""
        return self._config.mail.operators

    @property
    def language(self) -> str:
        """Of letters to somebody who has chosen none."""
        return self._config.mail.language

    @property
    def product(self) -> str:
        """What letters call the operator's product."""
        return self._config.product.name or self._config.mail.sender_domain

    @property
    def support(self) -> str:
        """Whom letters name for questions; "" for nobody."""
        return self._config.product.support

    async def send(
        self,
        template: MailTemplate,
        to: str,
        values: Mapping[str, Value],
        language: str,
        *,
        tenant: str = "",
        once: str = "",
        valid_s: float | None = None,
    ) -> str | None:
        """Put into the outbox; the letter's id, or None where no mail is configured. Returns before
        it is sent. ``once``: of what may be sent again, and is one letter then. ``valid_s``: how
        long it is of use; a letter with a secret has ``SECRET_S`` unless said. Raises
        ``ValueError`` for an address that is none, ``TypeError`` for values that are not the
        letter's, ``UnavailableError`` when it cannot be stored or too many wait.
        """
        if self._outbox is None:
            return None
        # What is wrong is said to the caller, not by a transaction that others share.
        mailbox(to), draw(template, values, language)

        async def work(connection: AsyncConnection) -> str | None:
            return await self.add(
                connection,
                template,
                to,
                values,
                language,
                tenant=tenant,
                once=once,
                valid_s=valid_s,
            )

        letter = await self._committer.run(work)
        if letter is None:
            msg = "too many letters wait to be sent"
            raise UnavailableError(msg)
        self.wake()
        return letter

    async def add(
        self,
        connection: AsyncConnection,
        template: MailTemplate,
        to: str,
        values: Mapping[str, Value],
        language: str,
        *,
        tenant: str = "",
        once: str = "",
        valid_s: float | None = None,
    ) -> str | None:
        """As ``send``, in the caller's transaction, which may run more than once; ``wake`` after
        its commit. None also where too many wait, which the log says: what the transaction is about
        is not undone for a letter.
        """
        if self._outbox is None:
            return None
        address = mailbox(to)
        letter = draw(template, values, language)
        if valid_s is None and LETTERS[template].secret:
            valid_s = SECRET_S
        id_ = (
            hashlib.sha256(chr(0).join((tenant, template, address, once)).encode()).hexdigest()[:32]
            if once
            else secrets.token_hex(16)
        )
        success = await self._outbox.add(
            connection,
            id=id_,
            tenant=tenant,
            template=template,
            to=address,
            drawn=letter,
            expires_at=None if valid_s is None else self._clock() + valid_s,
        )
        return id_ if success else None

    async def is_full(self, connection: AsyncConnection, tenant: str) -> bool:
        """Whether ``add`` takes no other letter of the tenant."""
        return self._outbox is not None and await self._outbox.is_full(connection, tenant)

    def wake(self) -> None:
        if self._outbox is not None:
            self._outbox.wake()

    async def test(self, to: str, language: str) -> None:
        """A test letter, now and past the outbox. Raises ``ValueError`` for an address that is
        none, ``MailError`` where it was not taken, ``LookupError`` where no mail is configured.
        """
        if self._server is None:
            raise LookupError
        address, sender = mailbox(to), self._config.mail.sender or ""
        letter = draw(MailTemplate.TEST, {"product": self.product}, language)
        await self._server.deliver(
            sender,
            address,
            compose(
                secrets.token_hex(16),
                sender,
                address,
                (letter.subject, letter.text, letter.html),
                self._clock(),
            ),
        )
