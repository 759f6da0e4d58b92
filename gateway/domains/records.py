"""The claims of all tenants on domains, in SQL.

Rules:
- Two tenants may wait for the same domain; one holds it. That is a unique column, so two proofs at
  once end with one holder, whatever processes see.
- Whose a domain is that cannot be added is never said.
- What is told of a change is written in the transaction that makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from gateway.database.schema import domains, tenant_names
from gateway.domains.lookup import Look, Outcome
from gateway.domains.state import HELD, DomainState, Standing, after, begun
from gateway.tenants.database import LOCK as TENANTS
from gateway.tenants.database import look_again

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database

MAX_OF_TENANT = 100
LOCK = "domains"
_LOOKED_THROUGH = 2000
"""Domains that are due, a few of each tenant, among which those of a round are chosen."""


@dataclass(frozen=True, slots=True)
class Places:
    """How many domains are looked at in one round: those that were answered the last time (or never
    asked for), those whose name servers were slow, and of each tenant. Whoever owns domains with
    silent name servers delays nobody else.
    """

    quick: int = 32
    slow: int = 4
    tenant: int = 4


@dataclass(frozen=True, slots=True)
class Domain:
    """One claim. ``servers``: what each DNS server said at the last look; ``problem``: ``taken``
    where another tenant was first.
    """

    tenant: str
    domain: str
    value: str
    standing: Standing
    checked_at: float | None
    servers: tuple[tuple[str, str], ...]
    others: tuple[str, ...]
    doubled: bool
    taken: bool
    vouched_by: str
    reason: str
    slow: bool = False
    """The last look took long: name servers were silent."""


class TakenError(Exception):
    """Another tenant has it. Says nothing of whose."""


class VouchedError(Exception):
    """An operator vouched for it, and only an operator takes that back."""


class InUseError(Exception):
    """The tenant's document names it: without its claim, nobody would notice that it is lost."""


class FullError(Exception):
    """The tenant claims as many domains as it may."""


class DomainRecords:
    """``clock``: UTC epoch seconds of the database."""

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock

    async def of(self, tenant: str) -> Sequence[Domain]:
        """By name."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(domains).where(domains.c.tenant == tenant).order_by(domains.c.domain)
            )
            return [_domain(row) for row in rows]

    async def find(self, tenant: str, domain: str) -> Domain | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(domains).where(*_one(tenant, domain)))).first()
        return None if row is None else _domain(row)

    async def due(self, places: Places) -> Sequence[Domain]:
        """Whose time has come, the longest first, and no more than there are places for."""
        turn = func.row_number().over(
            partition_by=domains.c.tenant, order_by=(domains.c.next_at, domains.c.domain)
        )
        queue = (
            select(domains, turn.label("turn"))
            .where(domains.c.next_at <= self._clock())
            .subquery("waiting")
        )
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(queue)
                .where(queue.c.turn <= places.tenant)
                .order_by(queue.c.next_at)
                .limit(_LOOKED_THROUGH)
            )
            claims = [_domain(row) for row in rows]
        quick = [each for each in claims if not each.slow][: places.quick]
        return quick + [each for each in claims if each.slow][: places.slow]

    async def states(self) -> Mapping[str, int]:
        """How many claims are in each state that one is in."""
        query = select(domains.c.state, func.count().label("number")).group_by(domains.c.state)
        async with self._database.read() as connection:
            return {row.state: row.number for row in await connection.execute(query)}

    async def add(
        self,
        tenant: str,
        domain: str,
        value: str,
        *,
        of_others: Callable[[str], bool],
        link: str = "",
    ) -> tuple[Domain, bool]:
        """The claim, and whether it is new. ``of_others``: whether a tenant of a file has it.
        ``link``: the setup link that will make the tenant, and with which the claim ends until
        then. Raises ``TakenError``, ``FullError``.
        """
        now = self._clock()
        async with self._database.write(LOCK) as connection:
            row = (await connection.execute(select(domains).where(*_one(tenant, domain)))).first()
            if row is not None:
                return _domain(row), False
            await self._expect_free(connection, tenant, domain, of_others)
            own = select(func.count()).select_from(domains).where(domains.c.tenant == tenant)
            if (await connection.execute(own)).scalar_one() >= MAX_OF_TENANT:
                raise FullError
            standing = begun(now)
            await connection.execute(
                insert(domains).values(
                    tenant=tenant,
                    domain=domain,
                    value=value,
                    result={},
                    vouched_by="",
                    reason="",
                    link=link or None,
                    **_columns(standing, domain),
                )
            )
        return Domain(tenant, domain, value, standing, None, (), (), False, False, "", ""), True

    async def vouch(
        self,
        tenant: str,
        domain: str,
        *,
        by: str,
        reason: str,
        of_others: Callable[[str], bool],
    ) -> Domain | None:
        """None where the tenant has not claimed it. Raises ``TakenError``."""
        async with self._database.write(LOCK) as connection:
            await self._expect_free(connection, tenant, domain, of_others)
            row = (await connection.execute(select(domains).where(*_one(tenant, domain)))).first()
            if row is None:
                return None
            await look_again(connection)
            await connection.execute(
                update(domains)
                .where(*_one(tenant, domain))
                .values(
                    state=str(DomainState.VOUCHED),
                    holder=domain,
                    next_at=None,
                    missing_since=None,
                    vouched_by=by,
                    reason=reason,
                )
            )
        return await self.find(tenant, domain)

    async def remove(self, tenant: str, domain: str, *, of_file: bool, bound: bool) -> bool:
        """Whether there was one. ``of_file``: whether a file names the domain for the tenant;
        ``bound``: by the tenant itself. Raises ``InUseError``, ``VouchedError``.
        """
        # A document that names the domain is written before or after, never meanwhile.
        async with self._database.write(LOCK, TENANTS) as connection:
            if bound:
                await self._expect_unused(connection, tenant, domain, of_file=of_file)
            result = await connection.execute(delete(domains).where(*_one(tenant, domain)))
            await look_again(connection)
        return result.rowcount == 1

    async def _expect_unused(
        self, connection: AsyncConnection, tenant: str, domain: str, *, of_file: bool
    ) -> None:
        row = (await connection.execute(select(domains).where(*_one(tenant, domain)))).first()
        if row is None:
            return
        standing = _domain(row).standing
        if standing.state is DomainState.VOUCHED:
            raise VouchedError
        was_proven = standing.state in HELD or standing.is_lost
        query = select(tenant_names.c.tenant).where(
            tenant_names.c.kind == "domain",
            tenant_names.c.name == domain,
            tenant_names.c.tenant == tenant,
        )
        if was_proven and (of_file or (await connection.execute(query)).first() is not None):
            raise InUseError

    async def settle(
        self,
        seen: Domain,
        look: Look,
        tell: Callable[[AsyncConnection, Domain, DomainState], Awaitable[None]],
        *,
        of_others: Callable[[str], bool],
    ) -> Domain | None:
        """What a look makes of a claim; None where it is gone. ``tell``: of a change of state, in
        the same transaction, with the state before.
        """
        now = self._clock()
        async with self._database.write(LOCK) as connection:
            row = (
                await connection.execute(select(domains).where(*_one(seen.tenant, seen.domain)))
            ).first()
            if row is None:
                return None
            before = _domain(row)
            if before.standing.state is DomainState.VOUCHED:
                return before
            standing, is_taken = after(before.standing, look, now), False
            if standing.state in HELD and before.standing.state not in HELD:
                try:
                    await self._expect_free(connection, seen.tenant, seen.domain, of_others)
                except TakenError:
                    # First proof wins; whoever comes second waits for the first to lose it.
                    absence = Look(Outcome.ABSENT, look.servers)
                    standing, is_taken = after(before.standing, absence, now), True
            result = {
                "servers": [[server, str(answer)] for server, answer in look.servers],
                "others": list(look.others),
                "doubled": look.doubled,
                "slow": look.slow,
                "taken": is_taken,
            }
            await connection.execute(
                update(domains)
                .where(*_one(seen.tenant, seen.domain))
                .values(checked_at=now, result=result, **_columns(standing, seen.domain))
            )
            new_row = (
                await connection.execute(select(domains).where(*_one(seen.tenant, seen.domain)))
            ).one()
            claim = _domain(new_row)
            if standing.state is not before.standing.state:
                await look_again(connection)
                await tell(connection, claim, before.standing.state)
        return claim

    async def _expect_free(
        self,
        connection: AsyncConnection,
        tenant: str,
        domain: str,
        of_others: Callable[[str], bool],
    ) -> None:
        """All three are asked whatever the first says: the answer takes the same time."""
        claim_row = (
            await connection.execute(
                select(domains.c.tenant).where(
                    domains.c.holder == domain, domains.c.tenant != tenant
                )
            )
        ).first()
        name_row = (
            await connection.execute(
                select(tenant_names.c.tenant).where(
                    tenant_names.c.kind == "domain",
                    tenant_names.c.name == domain,
                    tenant_names.c.tenant != tenant,
                )
            )
        ).first()
        if [claim_row is not None, name_row is not None, of_others(domain)] != [False] * 3:
            raise TakenError


def _one(tenant: str, domain: str) -> tuple[Any, ...]:
    return (domains.c.tenant == tenant, domains.c.domain == domain)


def _columns(standing: Standing, domain: str) -> dict[str, Any]:
    return {
        "state": str(standing.state),
        "holder": domain if standing.state in HELD else None,
        "added_at": standing.added_at,
        "next_at": standing.next_at,
        "verified_at": standing.verified_at,
        "missing_since": standing.missing_since,
    }


def _domain(row: Any) -> Domain:
    result = row.result or {}
    return Domain(
        row.tenant,
        row.domain,
        row.value,
        Standing(
            DomainState(row.state), row.added_at, row.next_at, row.verified_at, row.missing_since
        ),
        row.checked_at,
        tuple((str(server), str(answer)) for server, answer in result.get("servers", ())),
        tuple(map(str, result.get("others", ()))),
        bool(result.get("doubled", False)),
        bool(result.get("taken", False)),
        row.vouched_by,
        row.reason,
        bool(result.get("slow", False)),
    )
