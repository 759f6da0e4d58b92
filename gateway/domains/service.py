"""What the admin API and the setup portal do with domains, and the watch over them.

A page asks the admin API in this process (``gateway.portal.reach``), as a key that is bound to the
tenant:

- ``add_domain`` begins: the row has the DNS record that proves the domain. Asked again for the same
  domain it answers the same record.
- ``list_domains`` and ``check_domain`` say how it stands: ``state``, ``detail`` (a sentence for
  operators), ``servers``, ``in_use``. ``check_domain`` looks now, and within ``AGAIN_S`` answers
  with the last result; it takes up to ``lookup.LOOK_S``.
- ``use_domain`` adds a domain to the tenant's ``email_domains`` once the tenant holds it
  (``state.HELD``); only then may a bound key do that, by this or by any other operation.
- ``remove_domain`` gives up the claim, not the name in the document.

The tenant exists, or a setup link is about to make it: the claim is the link's until then, and ends
with it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from gateway.background import background_task, fault, in_rounds
from gateway.database.audit import AuditRecord, say, write_within
from gateway.domains.name import LABEL, provable, record_value
from gateway.domains.records import Places
from gateway.domains.state import HELD, DomainState
from gateway.hooks.effects import Notice
from gateway.hooks.event import Subject
from gateway.hooks.inbox import digest
from gateway.hooks.webhooks.outbox import News, Origin
from gateway.log import fields
from gateway.mail.render import names_of
from gateway.mail.texts import LETTERS, Day, MailTemplate
from gateway.metrics import DOMAIN_CHECKS, DOMAINS, begin_at_zero
from gateway.tenants.snapshot_record import document_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.domains.lookup import Lookup
    from gateway.domains.records import Domain, DomainRecords
    from gateway.hooks.webhooks.outbox import Outbox
    from gateway.mail.mailer import Mailer
    from gateway.mail.texts import Value
    from gateway.tenants.snapshot_record import Record

ROUND_S: Final = 15.0
SHOW_EVERY_S: Final = 60.0
PLACES: Final = Places()
AGAIN_S: Final = 10.0
"""A look on request within so many seconds of the last is answered with that one's result."""
UNTIL_S: Final = 7 * 86_400.0
"""From the letter about a missing record to the loss of the domain."""
ACTOR: Final = "gateway:domains"
_LETTERS: Final = {
    DomainState.VERIFIED: MailTemplate.DOMAIN_VERIFIED,
    DomainState.MISSING: MailTemplate.DOMAIN_MISSING,
    DomainState.LOST: MailTemplate.DOMAIN_LOST,
}

log = logging.getLogger(__name__)


class Domains:
    """``records``: of the tenants that are served. ``keys``: of the key ring, the first writes.
    ``leads``: whether this process watches. ``clock``: UTC epoch seconds.
    """

    def __init__(
        self,
        store: DomainRecords,
        lookup: Lookup,
        mailer: Mailer,
        outbox: Outbox,
        *,
        records: Callable[[], Mapping[str, Record]],
        file_records: Callable[[], Mapping[str, Record]],
        keys: Callable[[], Sequence[bytes]],
        leads: Callable[[], Awaitable[bool]],
        clock: Callable[[], float],
    ) -> None:
        begin_at_zero(DOMAIN_CHECKS, ["found", "absent", "unknown"])
        self._store, self._lookup, self._mailer, self._outbox = store, lookup, mailer, outbox
        self._show_at = 0.0
        self._records, self._file_records = records, file_records
        self._keys, self._leads, self._clock = keys, leads, clock

    # --- what is asked for ----------------------------------------------------------------------

    async def of(self, tenant: str) -> Sequence[Domain]:
        """A tenant's domains, by name. Raises ``UnavailableError``."""
        return await self._store.of(tenant)

    async def proven(self, tenant: str) -> frozenset[str]:
        """Those that the tenant holds, by proof or by an operator's word."""
        return frozenset(
            each.domain for each in await self._store.of(tenant) if each.standing.state in HELD
        )

    async def add(self, tenant: str, text: str, *, link: str = "") -> tuple[Domain, bool]:
        """The claim with its record, and whether it is new. ``link``: see ``DomainRecords.add``.
        Raises ``DomainError``, ``TakenError``, ``FullError``, ``UnavailableError``.
        """
        domain = provable(text)
        value = record_value(self._keys()[0], tenant, domain)
        others = self._of_others(tenant)
        return await self._store.add(tenant, domain, value, of_others=others, link=link)

    async def check(self, tenant: str, domain: str) -> Domain | None:
        """Look now; None where the tenant has not claimed it."""
        claim = await self._store.find(tenant, domain)
        if claim is None or claim.standing.state is DomainState.VOUCHED:
            return claim
        if claim.checked_at is not None and self._clock() - claim.checked_at < AGAIN_S:
            return claim
        return await self._look(claim)

    async def vouch(self, tenant: str, domain: str, *, by: str, reason: str) -> Domain | None:
        """An operator's word in place of a record. Raises ``TakenError``."""
        return await self._store.vouch(
            tenant, domain, by=by, reason=reason, of_others=self._of_others(tenant)
        )

    async def remove(self, tenant: str, domain: str, *, bound: bool) -> bool:
        """Whether there was one. The tenant's document stays as it is. ``bound``: by the tenant
        itself. Raises ``InUseError``, ``VouchedError``.
        """
        file = self._file_records().get(tenant)
        of_file = file is not None and domain in file.email_domains
        return await self._store.remove(tenant, domain, of_file=of_file, bound=bound)

    def _of_others(self, tenant: str) -> Callable[[str], bool]:
        def is_of_others(domain: str) -> bool:
            return any(
                record.id != tenant and domain in record.email_domains
                for record in self._file_records().values()
            )

        return is_of_others

    # --- the watch ------------------------------------------------------------------------------

    def running(self) -> AbstractAsyncContextManager[None]:
        return background_task(
            in_rounds(
                self.round,
                pause_s=ROUND_S,
                unavailable="domains_unavailable",
                failed="domains_fault",
            )
        )

    async def round(self) -> int:
        """Look at what is due; how many that was. Raises ``UnavailableError``."""
        if self._clock() >= self._show_at:
            states = await self._store.states()
            for state in DomainState:
                DOMAINS.labels(str(state)).set(states.get(state, 0))
            self._show_at = self._clock() + SHOW_EVERY_S
        if not await self._leads():
            return 0
        claims = await self._store.due(PLACES)
        await asyncio.gather(*map(self._guarded, claims))
        return len(claims)

    async def _guarded(self, domain: Domain) -> None:
        """What fails here keeps no other domain from being looked at."""
        try:
            await self._look(domain)
        except Exception as error:  # noqa: BLE001 - logged
            fault("domain_fault", error, tenant=domain.tenant)

    async def _look(self, known: Domain) -> Domain | None:
        look = await self._lookup.look(known.domain, known.value)
        DOMAIN_CHECKS.labels(str(look.outcome)).inc()
        records: list[AuditRecord] = []

        async def tell(connection: AsyncConnection, now: Domain, before: DomainState) -> None:
            records.append(await self._tell(connection, now, before))

        claim = await self._store.settle(known, look, tell, of_others=self._of_others(known.tenant))
        for record in records:
            say(record)
            self._mailer.wake()
            self._outbox.wake()
        return claim

    async def _tell(
        self, connection: AsyncConnection, now: Domain, before: DomainState
    ) -> AuditRecord:
        """Of a change: the audit log, the log, letters."""
        state = now.standing.state
        level = logging.INFO if state is DomainState.VERIFIED else logging.WARNING
        log.log(
            level,
            "domain",
            extra=fields(tenant=now.tenant, domain=now.domain, state=str(state), was=str(before)),
        )
        record = AuditRecord(
            at=self._clock(),
            actor=ACTOR,
            action=f"domain.{state}",
            tenant=now.tenant,
            target=now.domain,
            before={"state": str(before)},
            after={"state": str(state)},
        )
        await write_within(connection, record)
        await self._write(connection, now)
        await self._send(connection, now, before)
        return record

    async def _send(self, connection: AsyncConnection, now: Domain, before: DomainState) -> None:
        """The tenant's app hears who proves the domain, and that nobody does any more."""
        if now.standing.state is DomainState.LOST:
            type_ = "domain.lost"
        elif now.standing.state is DomainState.VERIFIED and before not in HELD:
            type_ = "domain.proven"
        else:
            return
        at = self._clock()
        notice = Notice(type_, "domain", Subject(), (), None, at, domain=now.domain)
        await self._outbox.add(
            connection,
            News(
                notice,
                Origin(now.tenant, "", "domain", "domain"),
                lane=digest(now.tenant, "domain", now.domain),
                now=at,
            ),
        )

    async def _write(self, connection: AsyncConnection, now: Domain) -> None:
        template = _LETTERS.get(now.standing.state)
        record = self._records().get(now.tenant)
        if template is None or record is None:
            return
        try:
            document, _ = document_of(record)
        except ValueError:  # of another release, which tells the same
            return
        since = now.standing.missing_since
        words: dict[str, Value] = {
            "domain": now.domain,
            "tenant": document.name,
            "until": Day(self._clock() + UNTIL_S),
            "record": f"{LABEL}.{now.domain}",
            "expected": now.value,
            "support": document.branding.support or self._mailer.support,
        }
        for address in dict.fromkeys((*document.contacts, *self._mailer.operators)):
            await self._mailer.add(
                connection,
                template,
                address,
                {name: words[name] for name in names_of(LETTERS[template])},
                self._mailer.language,
                tenant=now.tenant,
                once=f"{now.domain}/{now.standing.state}/{since or now.standing.verified_at}",
            )


__all__ = ["Domains"]
