"""Does it work? What arrived from a provider: handshakes, what was taken, what was refused and why,
the last event, and by which secrets senders proved themselves.

Rules:
- Whoever is refused has proved nothing, so a refusal costs one row a minute at most: they are
  counted in memory and written together.
- Only tenants and providers that exist are counted: a stranger cannot make rows by inventing names.
- No word of a sender is kept, only ours about it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from gateway.background import background_task, in_rounds
from gateway.database.engine import insert_new
from gateway.database.schema import hook_arrivals, hook_deliveries, hook_inbox
from gateway.database.tenant_deletion import begun_at
from gateway.errors import UnavailableError
from gateway.hooks.secret_uses import SecretUses, forget_old_uses, read_uses, write_uses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.secret_uses import SecretUse

HANDSHAKE = "handshake"
REQUEST = "request"
"""Authentic, and nothing to store: what a SCIM client asks."""
FLUSH_S = 1.0
KEPT_S = 30 * 86_400.0
"""An administrator tests what was set up this week; the log and the metrics know what was
before.
"""
_SKIPS = 500
"""Deliveries whose skipped entries are added up; more than anybody reads."""


@dataclass(slots=True)
class _Count:
    count: int
    last_at: float
    detail: str


class ActivityCounter:
    """Counts of one process on their way to SQL. ``clock``: UTC epoch seconds."""

    def __init__(
        self, database: Database, committer: GroupCommitter, *, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._committer = committer
        self._clock = clock
        self._counts: dict[tuple[str, str, str, str, int], _Count] = {}
        self._uses = SecretUses()
        self._pruned_at = 0.0

    def note(self, target: HookTarget, source: str, outcome: str, detail: str = "") -> None:
        """One more of these; on record within ``FLUSH_S``."""
        now = self._clock()
        key = (target.tenant, target.provider, source, outcome, int(now // 60))
        entry = self._counts.setdefault(key, _Count(0, now, ""))
        entry.count, entry.last_at, entry.detail = entry.count + 1, now, detail[:200]

    def proved(self, target: HookTarget, source: str, secret: int) -> None:
        """A sender proved itself by this one of the target's secrets, by its place."""
        self._uses.note(target, source, secret, self._clock())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            async with background_task(
                in_rounds(
                    self.flush,
                    pause_s=FLUSH_S,
                    unavailable="hook_stats_write_failed",
                    failed="hook_stats_fault",
                )
            ):
                yield
        finally:
            with contextlib.suppress(UnavailableError):
                await self.flush()

    async def flush(self) -> None:
        """Write what was counted. Raises ``UnavailableError``; nothing is forgotten then."""
        if not self._counts and not self._uses:
            return
        counts, self._counts = self._counts, {}
        uses = self._uses.take()
        now = self._clock()

        async def work(connection: AsyncConnection) -> None:
            for (tenant, provider, source, outcome, minute), one in sorted(
                counts.items(), key=lambda item: item[0]
            ):
                values = {
                    "tenant": tenant,
                    "provider": provider,
                    "source": source,
                    "outcome": outcome,
                    "minute": minute,
                    "times": one.count,
                    "last_at": one.last_at,
                    "detail": one.detail,
                }
                new_values = {
                    "times": hook_arrivals.c.times + one.count,
                    "last_at": one.last_at,
                    "detail": one.detail,
                }
                key = ["tenant", "provider", "source", "outcome", "minute"]
                await connection.execute(
                    insert_new(self._database, hook_arrivals)
                    .values(**values)
                    .on_conflict_do_update(index_elements=key, set_=new_values)
                )
            await write_uses(connection, self._database, uses)
            if now - self._pruned_at >= 3600:
                await forget_old_uses(connection, now)
                await connection.execute(
                    delete(hook_arrivals).where(hook_arrivals.c.minute < int((now - KEPT_S) // 60))
                )

        try:
            await self._committer.run(work)
        except UnavailableError:
            self._uses.put_back(uses)
            for key, one in counts.items():
                later = self._counts.get(key)
                self._counts[key] = (
                    one
                    if later is None
                    else _Count(one.count + later.count, later.last_at, later.detail)
                )
            raise
        self._uses.wrote(uses, now)
        self._pruned_at = now


@dataclass(frozen=True, slots=True)
class Arrival:
    """Deliveries of one sender and way of arriving that came to the same. ``outcome``: accepted,
    duplicate, ignored, handshake, or why refused.
    """

    source: str
    channel: str
    outcome: str
    count: int
    last_at: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The newest event that was stored, and what came of it."""

    id: str
    source: str
    type: str
    received_at: float
    state: str
    error: str


@dataclass(frozen=True, slots=True)
class HookActivity:
    """What arrived since ``since`` (UTC epoch seconds; refusals and handshakes to the minute)."""

    tenant: str
    provider: str
    since: float
    taken: tuple[Arrival, ...]
    """Authentic deliveries, and requests of a SCIM client."""
    handshakes: tuple[Arrival, ...]
    refused: tuple[Arrival, ...]
    skipped: tuple[tuple[str, int], ...]
    """Entries of accepted deliveries that had no effect, by reason."""
    last_event: LastEvent | None
    secrets: tuple[SecretUse, ...] = ()
    """Of those that are accepted, the newest first: whenever they were used last."""

    @property
    def verdict(self) -> str:
        """``works``, ``no_known_user`` (the last event named nobody who is signed in), ``refused``
        (the newest was), ``handshake`` (and nothing else yet), ``nothing``.
        """
        accepted_at = max((a.last_at for a in self.taken if a.channel == "push"), default=None)
        refused_at = max((a.last_at for a in self.refused), default=None)
        if refused_at is not None and (accepted_at is None or refused_at > accepted_at):
            return "refused"
        if self.last_event is not None and self.last_event.state == "applied_to_nobody":
            return "no_known_user"
        return "works" if accepted_at is not None else "handshake" if self.handshakes else "nothing"


async def read_activity(
    database: Database,
    tenant: str,
    provider: str,
    *,
    since: float,
    target: HookTarget | None = None,
) -> HookActivity:
    """One consistent look. What a tenant that had this id before was sent is not this one's.
    ``target``: the provider, as it is served.
    """
    async with database.read() as connection:
        since = max(since, await begun_at(connection, tenant))
        deliveries, skipped = await _stored(connection, tenant, provider, since)
        arrivals = await _counted(connection, tenant, provider, since)
        last_event = await _last_event(connection, tenant, provider, since)
        secrets = await read_uses(connection, target) if target is not None else ()
    newest = sorted((*deliveries, *arrivals), key=lambda a: -a.last_at)
    keys = {(a.source, a.channel, a.outcome) for a in deliveries}
    return HookActivity(
        tenant,
        provider,
        since,
        taken=tuple(
            a for a in newest if a.outcome == REQUEST or (a.source, a.channel, a.outcome) in keys
        ),
        handshakes=tuple(a for a in newest if a.outcome == HANDSHAKE),
        refused=tuple(
            a
            for a in newest
            if a.outcome not in {REQUEST, HANDSHAKE}
            and (a.source, a.channel, a.outcome) not in keys
        ),
        skipped=tuple(sorted(skipped.items())),
        last_event=last_event,
        secrets=secrets,
    )


async def _stored(
    connection: AsyncConnection, tenant: str, provider: str, since: float
) -> tuple[list[Arrival], dict[str, int]]:
    """Deliveries, and how many of their entries were skipped, by reason."""
    where = (
        hook_deliveries.c.tenant == tenant,
        hook_deliveries.c.provider == provider,
        hook_deliveries.c.received_at >= since,
    )
    by = (hook_deliveries.c.source, hook_deliveries.c.channel, hook_deliveries.c.outcome)
    rows = await connection.execute(
        select(
            *by,
            func.count().label("n"),
            func.max(hook_deliveries.c.received_at).label("last_at"),
        )
        .where(*where)
        .group_by(*by)
    )
    arrivals = [Arrival(row.source, row.channel, row.outcome, row.n, row.last_at) for row in rows]
    skipped: dict[str, int] = {}
    for entries in (
        await connection.execute(
            select(hook_deliveries.c.skipped)
            .where(*where)
            .order_by(hook_deliveries.c.number.desc())
            .limit(_SKIPS)
        )
    ).scalars():
        for entry in entries or ():
            skipped[entry[2]] = skipped.get(entry[2], 0) + 1
    return arrivals, skipped


async def _counted(
    connection: AsyncConnection, tenant: str, provider: str, since: float
) -> list[Arrival]:
    """What is only counted: handshakes, requests, refusals."""
    rows = await connection.execute(
        select(hook_arrivals)
        .where(
            hook_arrivals.c.tenant == tenant,
            hook_arrivals.c.provider == provider,
            hook_arrivals.c.minute >= int(since // 60),
            hook_arrivals.c.last_at >= since,
        )
        .order_by(hook_arrivals.c.last_at)
    )
    arrivals: dict[tuple[str, str], Arrival] = {}
    for row in rows:
        earlier = arrivals.get((row.source, row.outcome))
        arrivals[row.source, row.outcome] = Arrival(
            row.source,
            "push",
            row.outcome,
            row.times + (earlier.count if earlier else 0),
            row.last_at,
            row.detail,
        )
    return list(arrivals.values())


async def _last_event(
    connection: AsyncConnection, tenant: str, provider: str, since: float
) -> LastEvent | None:
    event = hook_inbox.c
    row = (
        await connection.execute(
            select(event.id, event.source, event.type, event.received_at, event.state, event.error)
            .where(event.tenant == tenant, event.provider == provider, event.received_at >= since)
            .order_by(event.number.desc())
            .limit(1)
        )
    ).first()
    return LastEvent(*row) if row is not None else None
