"""Who is written to about a secret or certificate that ends: the tenant's contacts, and the
operators that ``mail.operators`` names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.mail.texts import CREDENTIALS, EFFECTS, Day, MailTemplate, Phrase
from gateway.tenants.snapshot_record import document_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.expiry import Credential
    from gateway.mail.mailer import Mailer
    from gateway.tenants.snapshot_record import Record


class ExpiryLetters:
    """``records``: of the tenants that are served, by id."""

    def __init__(self, mailer: Mailer, records: Callable[[], Mapping[str, Record]]) -> None:
        self._mailer, self._records = mailer, records

    async def add(
        self,
        connection: AsyncConnection,
        tenant: str,
        provider: str,
        credential: Credential,
        expires_at: float,
        days: int,
    ) -> None:
        """In the transaction that remembers what was told. ``days``: of ``core.expiry.TOLD_DAYS``;
        ``expires_at``: UTC epoch seconds.
        """
        record = self._records().get(tenant)
        if record is None:
            return
        try:
            document, _ = document_of(record)
        except ValueError:  # of another release, which tells the same
            return
        for address in dict.fromkeys((*document.contacts, *self._mailer.operators)):
            await self._mailer.add(
                connection,
                MailTemplate.EXPIRING if days else MailTemplate.EXPIRED,
                address,
                {
                    "tenant": document.name,
                    "provider": provider,
                    "credential": Phrase(CREDENTIALS[credential]),
                    "effect": Phrase(EFFECTS[credential]),
                    "date": Day(expires_at),
                    "product": self._mailer.product,
                    "support": document.branding.support or self._mailer.support,
                },
                self._mailer.language,
                tenant=tenant,
                once=f"{provider}/{credential}/{expires_at}/{days}",
            )

    def wake(self) -> None:
        """After the commit."""
        self._mailer.wake()
