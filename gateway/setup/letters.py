"""Mail about a setup link: its address, and the code that confirms who opened it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.core.mailbox import mailbox
from gateway.mail.texts import CONFIRMATIONS, MailTemplate, Moment, Phrase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.model import Secret
    from gateway.mail.mailer import Mailer
    from gateway.mail.texts import Value
    from gateway.setup.links import NewLink
    from gateway.setup.model import SetupLink

LANDING: Final = "/setup/l"


def address_of(origin: str, made: NewLink) -> str:
    """Where the link is opened: with its secret."""
    return f"{origin}{LANDING}/{made.link.id}/{made.secret.reveal()}"


@dataclass(frozen=True, slots=True)
class SetupLetters:
    """``origin``: of the login host. ``support``: whom letters name for questions; "" as the
    mailer's.
    """

    mailer: Mailer
    origin: str
    support: str = ""

    @property
    def configured(self) -> bool:
        """Whether anything is sent."""
        return self.mailer.configured

    def unsendable(self, recipients: Sequence[str]) -> Mapping[str, str]:
        """Recipient → why no mail is sent there."""
        problems: dict[str, str] = {}
        for recipient in recipients:
            try:
                mailbox(recipient)
            except ValueError as error:
                problems[recipient] = str(error)
        return problems

    async def invited(
        self, connection: AsyncConnection, made: NewLink, tenant_name: str
    ) -> tuple[str, ...]:
        """The address, to every recipient; those to whom it was put into the mail."""
        link = made.link
        values: dict[str, Value] = {
            "operator": self.mailer.product,
            "product": self.mailer.product,
            "tenant": tenant_name,
            "link": address_of(self.origin, made),
            "confirmation": Phrase(CONFIRMATIONS[link.request.confirm]),
            "expires": Moment(link.expires_at),
            "support": self._support,
        }
        sent = [
            recipient
            for recipient in link.request.recipients
            if await self.mailer.add(
                connection,
                MailTemplate.INVITED,
                recipient,
                values,
                link.request.language,
                tenant=link.tenant,
                valid_s=link.request.lifetime_s,
            )
        ]
        return tuple(sent)

    async def colleague(
        self, connection: AsyncConnection, made: NewLink, *, name: str, tenant_name: str
    ) -> None:
        """The address, to whom a recipient asked for help; nothing where no mail is sent."""
        link = made.link
        await self.mailer.add(
            connection,
            MailTemplate.COLLEAGUE,
            link.request.recipients[0],
            {
                "name": name,
                "tenant": tenant_name,
                "link": address_of(self.origin, made),
                "confirmation": Phrase(CONFIRMATIONS[link.request.confirm]),
                "expires": Moment(link.expires_at),
                "support": self._support,
            },
            link.request.language,
            tenant=link.tenant,
            valid_s=link.request.lifetime_s,
        )

    async def code(
        self, connection: AsyncConnection, link: SetupLink, to: str, code: Secret
    ) -> None:
        await self.mailer.add(
            connection,
            MailTemplate.CODE,
            to,
            {"code": code.reveal(), "support": self._support},
            link.request.language,
            tenant=link.tenant,
        )

    @property
    def _support(self) -> str:
        return self.support or self.mailer.support


__all__ = ["SetupLetters", "address_of"]
