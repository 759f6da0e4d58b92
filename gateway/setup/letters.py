"""Mail about a setup link: its address, the code that confirms who opened it, and what became of
it.

Rules:
- What a recipient gets holds no secret but its own: the link's address, a code, or the address that
  stops the setup. Operators get none.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.core.mailbox import mailbox
from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.mail.texts import (
    CONFIRMATIONS,
    EVERYONE,
    UNKNOWN_BROWSER,
    MailTemplate,
    Moment,
    Phrase,
)
from gateway.pages.user_agent import parse_user_agent
from gateway.setup.model import LONGEST_S, Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.model import Secret
    from gateway.mail.mailer import Mailer
    from gateway.mail.texts import Value
    from gateway.setup.links import NewLink
    from gateway.setup.model import SetupLink
    from gateway.tenants.api import TenantRecord

LANDING: Final = "/setup/l"
log = logging.getLogger(__name__)


def address_of(origin: str, made: NewLink) -> str:
    """Where the link is opened: with its secret."""
    return f"{origin}{LANDING}/{made.link.id}/{made.secret.reveal()}"


def name_of(link: SetupLink, record: TenantRecord | None) -> str:
    """What the link's tenant is called, or will be."""
    new = link.request.new_tenant
    name = record.document["name"] if record is not None else new.name if new is not None else ""
    return str(name or link.tenant)


@dataclass(frozen=True, slots=True)
class Moved:
    """A link that another browser has now. ``stop``: the address of the page that ends it;
    ``user_agent``: of the browser, as it says.
    """

    link: SetupLink
    tenant_name: str
    stop: str
    user_agent: str
    at: float


@dataclass(frozen=True, slots=True)
class SetupLetters:
    """``origin``: of the login host. ``support``: whom letters name for questions; "" as the
    mailer's. ``console``: address of the console's pages; "" without.
    """

    mailer: Mailer
    origin: str
    support: str = ""
    console: str = ""

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
        addressees = [
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
        return tuple(addressees)

    async def colleague(
        self, connection: AsyncConnection, made: NewLink, *, name: str, tenant_name: str
    ) -> bool:
        """The address, to whom a recipient asked for help; nothing where no mail is sent. False:
        too many letters wait.
        """
        link = made.link
        if not self.configured:
            return True
        letter = await self.mailer.add(
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
        return letter is not None

    async def are_full(self, connection: AsyncConnection, tenant: str) -> bool:
        """Whether so many letters wait that another one of the tenant is not sent."""
        return await self.mailer.is_full(connection, tenant)

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

    async def moved(
        self, connection: AsyncConnection, moved: Moved, recipients: Iterable[str]
    ) -> None:
        """To whoever had it and whoever has it."""
        agent = parse_user_agent(moved.user_agent)
        browser = ", ".join(filter(None, (agent.browser, agent.system)))
        link = moved.link
        for recipient in dict.fromkeys(recipients):
            await self.mailer.add(
                connection,
                MailTemplate.MOVED,
                recipient,
                {
                    "tenant": moved.tenant_name,
                    "browser": browser or Phrase(UNKNOWN_BROWSER),
                    "at": Moment(moved.at),
                    "link": moved.stop,
                    "support": self._support,
                },
                link.request.language,
                tenant=link.tenant,
                valid_s=LONGEST_S,
            )

    async def submitted(
        self, connection: AsyncConnection, link: SetupLink, tenant_name: str, domains: Iterable[str]
    ) -> None:
        """To operators. The link leads to the console, and opens nothing."""
        template = MailTemplate.SUBMITTED
        about = {"groups": _groups(link), "domains": ", ".join(domains)}
        if link.offers(Part.RENEW):
            template, about = MailTemplate.RENEWAL_SUBMITTED, {"provider": link.work.renews}
        address = f"{self.console}/setup-links/{link.tenant}/{link.id}" if self.console else ""
        for operator in self.mailer.operators:
            await self.mailer.add(
                connection,
                template,
                operator,
                {
                    **about,
                    "tenant": tenant_name,
                    "name": link.claimed_by,
                    "tested_by": link.work.tester,
                    "command": f"gateway setup-links approve {link.tenant} {link.id}",
                    "link": address,
                },
                self.mailer.language,
                tenant=link.tenant,
            )

    async def returned(
        self, connection: AsyncConnection, link: SetupLink, tenant_name: str
    ) -> None:
        """To whoever submitted it. The address holds no secret: it goes on in their browser."""
        await self.mailer.add(
            connection,
            MailTemplate.RETURNED,
            link.claimed_by,
            {
                "tenant": tenant_name,
                "note": link.work.returned,
                "link": f"{self.origin}/setup",
                "support": self._support,
            },
            link.request.language,
            tenant=link.tenant,
        )

    async def live(self, link: SetupLink, tenant_name: str) -> None:
        """To whoever set it up, and to operators. What is live stays so where this is not sent."""
        told = dict.fromkeys(self.mailer.operators, self.mailer.language)
        template, about = MailTemplate.LIVE, _about({"groups": _groups(link)})
        if link.offers(Part.RENEW):
            until = Moment(link.work.put_back_until or link.expires_at)
            about = _about({"provider": link.work.renews, "until": until})
            template = MailTemplate.RENEWED
        told |= {link.claimed_by: link.request.language} if link.claimed_by else {}
        for address, language in told.items():
            try:
                await self.mailer.send(
                    template,
                    address,
                    {"tenant": tenant_name, "support": self._support, **about},
                    language,
                    tenant=link.tenant,
                    once=f"live/{link.id}",
                )
            except UnavailableError as error:
                log.warning(
                    "setup_letter_not_sent",
                    extra=fields(tenant=link.tenant, link=link.id, error=str(error)),
                )

    @property
    def _support(self) -> str:
        return self.support or self.mailer.support


def _about(words: Mapping[str, Value]) -> Mapping[str, Value]:
    return words


def _groups(link: SetupLink) -> Value:
    """Who gets in; "" where the link did not choose."""
    return Phrase(EVERYONE) if link.work.everyone else ", ".join(link.work.chosen)


__all__ = ["Moved", "SetupLetters", "address_of", "name_of"]
