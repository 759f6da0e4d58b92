"""What looks found, in SQL: the state of each connection, when its secrets and certificates end,
and what the application and people were told of it.

Rules:
- What is told is written in the transaction that remembers it, and the message's id follows from
  what it says: restarts and two processes at once tell nothing twice.
- A connection is failing after ``FAILURES_TOLD`` looks in a row, not after one.
- Another end of the same credential begins to count anew: it was exchanged.
- Of a tenant that is gone nothing stays.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, select

from gateway.core.expiry import (
    DAY_S,
    ConnectionReport,
    ConnectionState,
    Credential,
    days_to_tell,
)
from gateway.core.paging import Page
from gateway.database.engine import insert_new
from gateway.database.schema import connections, credential_expiries
from gateway.hooks.effects import Notice
from gateway.hooks.event import Subject
from gateway.hooks.inbox import digest
from gateway.hooks.webhooks.outbox import News, Origin, message_id_of
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter
    from gateway.expiry.letters import ExpiryLetters
    from gateway.expiry.look import Certificates, Look
    from gateway.hooks.webhooks.outbox import Outbox

FAILURES_TOLD: Final = 3
"""Looks in a row that fail before the application hears of it: with ten minutes between them, a
provider that is restarted alarms nobody, and Cognito's own copy of the metadata still serves.
"""
LOG_DETAIL: Final = 400

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CredentialView:
    """``days_left``: whole days from now; negative where it has ended."""

    credential: str
    expires_at: float
    days_left: int


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """One provider of a tenant. Times are UTC epoch seconds."""

    provider: str
    state: str
    checked_at: float
    failing_since: float | None
    detail: str
    certificates: Certificates
    credentials: tuple[CredentialView, ...]


class ConnectionRecords:
    """The rows of all tenants. ``clock``: UTC epoch seconds."""

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        outbox: Outbox,
        *,
        letters: ExpiryLetters | None = None,
        clock: Callable[[], float],
    ) -> None:
        self._database, self._committer, self._outbox = database, committer, outbox
        self._letters, self._clock = letters, clock

    # --- what is written ---

    async def record(self, tenant: str, looks: Mapping[str, Look]) -> None:
        """``looks``: at every provider that is looked after; others of the tenant are forgotten.
        Raises ``UnavailableError``.
        """

        async def work(connection: AsyncConnection) -> None:
            for table in (connections, credential_expiries):
                await connection.execute(
                    delete(table).where(
                        table.c.tenant == tenant, table.c.provider.not_in(sorted(looks))
                    )
                )
            for provider, look in sorted(looks.items()):
                await self._state(connection, tenant, provider, look)
                await self._expiries(connection, tenant, provider, look)

        await self._committer.run(work)
        self._outbox.wake()
        if self._letters is not None:
            self._letters.wake()

    async def _state(
        self, connection: AsyncConnection, tenant: str, provider: str, look: Look
    ) -> None:
        now = self._clock()
        mine = (connections.c.tenant == tenant, connections.c.provider == provider)
        row = (await connection.execute(select(connections).where(*mine).with_for_update())).first()
        last_state = "" if row is None else row.told
        failures = (0 if row is None else row.failures) + 1 if look.problem else 0
        since = (row.failing_since if row is not None else None) or now if look.problem else None
        if failures >= FAILURES_TOLD:
            state = ConnectionState.FAILING
        elif look.problem:
            state = ConnectionState.UNCHECKED if row is None else ConnectionState(row.state)
        else:
            state = ConnectionState.ACTIVE if look.asked else ConnectionState.UNCHECKED
        news = state is not ConnectionState.UNCHECKED and state != last_state
        values = {
            "state": str(state),
            "told": str(state) if news else last_state,
            "failures": failures,
            "failing_since": since,
            "detail": look.problem[:LOG_DETAIL],
            "certificates": None if look.certificates is None else list(look.certificates),
            "checked_at": now,
        }
        insertion = insert_new(self._database, connections).values(
            tenant=tenant, provider=provider, **values
        )
        await connection.execute(
            insertion.on_conflict_do_update(index_elements=["tenant", "provider"], set_=values)
        )
        if look.exchanged:
            log.info("saml_certificates_exchanged", extra=fields(tenant=tenant, provider=provider))
        if not news:
            return
        is_failing = state is ConnectionState.FAILING
        if is_failing:
            log.warning(
                "connection_failing",
                extra=fields(tenant=tenant, provider=provider, detail=values["detail"]),
            )
        else:
            log.info("connection_active", extra=fields(tenant=tenant, provider=provider))
        await self._tell(
            connection,
            "connection.failing" if is_failing else "connection.activated",
            tenant,
            provider,
            ConnectionReport(str(state), str(values["detail"])),
            now=now,
            once=(str(since or now),),
        )

    async def _expiries(
        self, connection: AsyncConnection, tenant: str, provider: str, look: Look
    ) -> None:
        now = self._clock()
        mine = (
            credential_expiries.c.tenant == tenant,
            credential_expiries.c.provider == provider,
        )
        rows = {
            row.credential: row
            for row in await connection.execute(
                select(credential_expiries).where(*mine).with_for_update()
            )
        }
        ends = {
            **look.expiries,
            **{c: rows[c].expires_at for c in look.unknown if c in rows},
        }
        old_credentials = rows.keys() - ends.keys()
        await connection.execute(
            delete(credential_expiries).where(
                *mine, credential_expiries.c.credential.in_(sorted(old_credentials))
            )
        )
        for credential, expires_at in sorted(ends.items()):
            row = rows.get(credential)
            last_days = row.told_days if row is not None and row.expires_at == expires_at else None
            days = days_to_tell(expires_at, now=now, told=last_days)
            values = {"expires_at": expires_at, "told_days": last_days if days is None else days}
            insertion = insert_new(self._database, credential_expiries).values(
                tenant=tenant, provider=provider, credential=str(credential), **values
            )
            await connection.execute(
                insertion.on_conflict_do_update(
                    index_elements=["tenant", "provider", "credential"], set_=values
                )
            )
            if days is not None:
                await self._expiring(connection, tenant, provider, credential, expires_at, days)

    async def _expiring(
        self,
        connection: AsyncConnection,
        tenant: str,
        provider: str,
        credential: Credential,
        expires_at: float,
        days: int,
    ) -> None:
        log.warning(
            "connection_expiring",
            extra=fields(
                tenant=tenant,
                provider=provider,
                credential=str(credential),
                expires_at=expires_at,
                days=days,
            ),
        )
        await self._tell(
            connection,
            "connection.expiring",
            tenant,
            provider,
            ConnectionReport("expiring", "", str(credential), expires_at, days),
            now=self._clock(),
            once=(str(credential), str(expires_at), str(days)),
        )
        if self._letters is not None:
            await self._letters.add(connection, tenant, provider, credential, expires_at, days)

    async def _tell(
        self,
        connection: AsyncConnection,
        type_: str,
        tenant: str,
        provider: str,
        report: ConnectionReport,
        *,
        now: float,
        once: Sequence[str],
    ) -> None:
        await self._outbox.add(
            connection,
            News(
                Notice(type_, "connection", Subject(), (), None, now, connection=report),
                Origin(tenant, provider, "connection", "connection"),
                lane=digest(tenant, "connection", provider),
                now=now,
                message_id=message_id_of(tenant, provider, type_, *once),
            ),
        )

    async def forget(self, served: Collection[str]) -> None:
        """Everything of tenants that are not among them."""

        async def work(connection: AsyncConnection) -> None:
            for table in (connections, credential_expiries):
                there = await connection.execute(select(table.c.tenant).distinct())
                for tenant in {row.tenant for row in there} - set(served):
                    await connection.execute(delete(table).where(table.c.tenant == tenant))

        await self._committer.run(work)

    # --- what is read ---

    async def of(self, tenant: str) -> tuple[ConnectionView, ...]:
        """By provider. Raises ``UnavailableError``."""
        async with self._database.read() as connection:
            rows = (
                await connection.execute(
                    select(connections)
                    .where(connections.c.tenant == tenant)
                    .order_by(connections.c.provider)
                )
            ).all()
            ends = await _ends(connection, {tenant})
        return tuple(self._view(row, ends) for row in rows)

    async def page(
        self,
        tenant: str | None,
        state: ConnectionState | None,
        *,
        position: str | None,
        limit: int,
    ) -> Page[tuple[str, ConnectionView]]:
        """With their tenants, by tenant and provider; of all tenants with None. ``position``: both
        of the last row seen. Raises ``UnavailableError``.
        """
        table = connections.c
        query = select(connections)
        if tenant is not None:
            query = query.where(table.tenant == tenant)
        if state is not None:
            query = query.where(table.state == state)
        if position is not None:
            last, _, provider = position.partition(" ")
            after = (table.tenant == last) & (table.provider > provider)
            query = query.where((table.tenant > last) | after)
        query = query.order_by(table.tenant, table.provider).limit(limit + 1)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
            page_rows, more = rows[:limit], len(rows) > limit
            ends = await _ends(connection, {row.tenant for row in page_rows})
        return Page(
            [(row.tenant, self._view(row, ends)) for row in page_rows],
            f"{page_rows[-1].tenant} {page_rows[-1].provider}" if more else None,
        )

    def _view(self, row: Any, ends: Mapping[tuple[str, str], Sequence[Any]]) -> ConnectionView:
        now = self._clock()
        return ConnectionView(
            row.provider,
            row.state,
            row.checked_at,
            row.failing_since,
            row.detail,
            _certificates(row),
            tuple(
                CredentialView(end.credential, end.expires_at, int((end.expires_at - now) // DAY_S))
                for end in ends.get((row.tenant, row.provider), ())
            ),
        )

    async def due(self, *, every_s: float, failing_s: float) -> Mapping[str, float]:
        """Tenant → when its providers are to be looked at again (UTC epoch seconds)."""
        async with self._database.read() as connection:
            rows = (
                await connection.execute(
                    select(connections.c.tenant, connections.c.failures, connections.c.checked_at)
                )
            ).all()
        times: dict[str, float] = {}
        for row in rows:
            at = row.checked_at + (failing_s if row.failures else every_s)
            times[row.tenant] = min(at, times.get(row.tenant, at))
        return times

    async def shown(
        self,
    ) -> tuple[Sequence[tuple[str, str, bool]], Sequence[tuple[str, str, str, float]]]:
        """For metrics: tenant, provider and whether it fails; tenant, provider, credential, end."""
        async with self._database.read() as connection:
            states = (await connection.execute(select(connections))).all()
            ends = (await connection.execute(select(credential_expiries))).all()
        return (
            [(r.tenant, r.provider, r.state == ConnectionState.FAILING) for r in states],
            [(r.tenant, r.provider, r.credential, r.expires_at) for r in ends],
        )


async def _ends(
    connection: AsyncConnection, tenants: Collection[str]
) -> Mapping[tuple[str, str], Sequence[Any]]:
    """Of these tenants, by tenant and provider."""
    rows = (
        await connection.execute(
            select(credential_expiries)
            .where(credential_expiries.c.tenant.in_(tenants))
            .order_by(credential_expiries.c.credential)
        )
    ).all()
    by_provider: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in rows:
        by_provider[row.tenant, row.provider].append(row)
    return by_provider


def _certificates(row: Any) -> Certificates:
    return tuple((str(fingerprint), float(ends)) for fingerprint, ends in row.certificates or ())
