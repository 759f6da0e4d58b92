"""The durable inbox: a delivery is acknowledged after its commit, and every event in it is applied
once.

Rules (invariant 11):
- ``accept`` returns after the commit or raises; the caller answers 503 in time, and the sender or
  the backfill brings it again.
- The sender's id makes an event: what is here already is a duplicate, whatever the envelope around
  it.
- Events of one person (a lane) are applied by one holder at a time. A holder that lost its lease
  cannot settle. A lane may be taken in the transaction that stores its event.
- What cannot be applied stays, counts its attempts and can be replayed.
- Where what was said before does not open, a removal takes effect all the same, and is applied once
  it opens; all else waits for that.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, case, delete, func, or_, select, text, tuple_, update

from gateway.background import fault
from gateway.database.engine import insert_new
from gateway.database.schema import hook_deliveries, hook_inbox, hook_lanes, hook_standing
from gateway.hooks.event import TAKES_AWAY
from gateway.hooks.ordering import AccountState
from gateway.hooks.payload import dump_event, dump_kept, load_event, load_kept
from gateway.revocation.api import OPERATORS
from gateway.tracing.spans import current

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.core.revocation import RevocationRequest, Who
    from gateway.database.engine import Database
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.effects import Kept
    from gateway.hooks.event import Delivery, Group, HookEvent

_MAX_REQUEST_ID = 64
"""What its column holds."""
LEASE_S = 30.0
"""How long a lane is held without settling. Longer than ``applier.APPLY_S``, so that a holder has
stopped before another begins.
"""
CLOSED_S = 60.0
"""When what did not open is looked at again: a key is missing, and may be given back."""
UNREAD = "what was said before does not open with the keys that are here"
"""The error of an event that waits for it."""
_AT_ONCE = 2000
"""Waiting events read in one claim, over all its lanes: what is beyond is for the next one."""
_ROWS = 500
"""Standings read at once."""
_TRY_LANES = text(
    "SELECT lane FROM unnest(CAST(:lanes AS text[]), CAST(:numbers AS bigint[])) AS "
    "wanted(lane, number) WHERE pg_try_advisory_xact_lock(number)"
)
"""Two processes that make a lane's row at once: the second goes without, where an insert would wait
for the first.
"""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a delivery came to: stored, known already, without effect."""

    delivery: str
    stored: int
    duplicates: int
    skipped: int
    lanes: tuple[Lane, ...] = ()
    """Held by this process as of the same commit."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A delivery as rows, sealed and ready to be written."""

    envelope: Mapping[str, Any]
    events: tuple[HookEvent, ...]
    rows: tuple[dict[str, Any], ...]
    """One for each event."""
    skipped: int


@dataclass(frozen=True, slots=True)
class Pending:
    """An event that waits to be applied."""

    id: str
    tenant: str
    provider: str
    event: HookEvent
    received_at: float
    attempts: int
    released: bool = False
    """By an operator: not to be held (again)."""
    in_effect: bool = False
    """It took away what it says, and is to be applied once what was said before opens."""
    trace: str = ""
    """``traceparent`` of the delivery; "" where that was not traced."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One person's waiting events, held by this process, in order of receipt."""

    key: str
    pending: tuple[Pending, ...]
    states: dict[str, Kept]
    """By group (``about``), "" for the account."""
    unread: Mapping[str, AccountState] = field(default_factory=dict)
    """What is known of those that do not open. Where there are any, only what takes away is
    ``pending``.
    """

    @property
    def tenant(self) -> str:
        return self.pending[0].tenant if self.pending else ""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one event. ``state``: applied, applied_to_nobody, ignored, failed, held, or
    new to be tried again at ``next_at``; new with ``revocations`` is in effect.
    """

    id: str
    state: str
    error: str = ""
    next_at: float = 0.0
    revocations: tuple[str, ...] = ()
    counted: bool = False
    """As a removal of one of many people."""
    in_vain: bool = True
    """Of one to be tried again: it counts as an attempt."""


def lane_key(target: HookTarget, event: HookEvent) -> str:
    """Names nobody: a digest of tenant, provider, source and the strongest id."""
    if event.subject is not None:
        about = event.subject.key
    elif event.members:
        about = f"members:{event.reference}"
    else:
        about = (
            f"group:{event.group.key}"
            if event.group is not None
            else f"reference:{event.reference}"
        )
    return digest(target.tenant, target.provider, event.source.value, about)


def state_id(lane: str, about: str) -> str:
    return digest(lane, about)[:32]


def about_key(group: Group | None) -> str:
    return digest(group.key) if group is not None else ""


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


@contextlib.contextmanager
def _noting(closed: set[str], name: str, tenant: str) -> Iterator[None]:
    """A row that does not open is logged and counted, the first of several, and ``name`` noted: it
    must not keep what else there is from being taken.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - no key for it, or another version wrote it: logged
        if not closed:
            # One of them says it: where a key is missing there are thousands.
            fault("hook_row_does_not_open", error, tenant=tenant)
        closed.add(name)


def _bound(settled: Settled, now: float) -> dict[str, Any]:
    return {
        "b_id": settled.id,
        "b_state": settled.state,
        "b_error": settled.error[:400],
        "b_next_at": settled.next_at or now,
    }


class Inbox:
    """The tables behind the hooks. ``holder`` names this process; ``lease_s`` is how long another
    waits for it after its death.
    """

    def __init__(
        self,
        database: Database,
        committer: GroupCommitter,
        *,
        holder: str,
        lease_s: float = LEASE_S,
    ) -> None:
        self._lease_s = lease_s
        self._database = database
        self._committer = committer
        self._holder = holder

    # --- receiving ---

    async def accept(
        self,
        target: HookTarget,
        delivery: Delivery,
        *,
        received_at: float,
        request_id: str = "",
        channel: str = "push",
        released: bool = False,
        claim: Collection[str] = (),
    ) -> Accepted:
        """Store; returns after the commit. Raises ``UnavailableError``.

        ``claim``: lanes that this process takes where nobody holds them, itself included; the rest
        waits for ``claim()``.
        """
        prepared = self.prepare(
            target, delivery, received_at=received_at, request_id=request_id, channel=channel
        )
        for row in prepared.rows:
            row["released"] = int(released)

        async def work(connection: AsyncConnection) -> Accepted:
            accepted = await self.write(connection, prepared)
            if not claim or not accepted.stored:
                return accepted
            lanes = await self._hold(connection, sorted(claim), received_at, again=False)
            return replace(accepted, lanes=lanes)

        return await self._committer.run(work, high_priority=channel == "push")

    async def store(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        delivery: Delivery,
        *,
        received_at: float,
        request_id: str = "",
        channel: str = "push",
    ) -> Accepted:
        """The same within a transaction of the caller's."""
        return await self.write(
            connection,
            self.prepare(
                target, delivery, received_at=received_at, request_id=request_id, channel=channel
            ),
        )

    def prepare(
        self,
        target: HookTarget,
        delivery: Delivery,
        *,
        received_at: float,
        request_id: str = "",
        channel: str = "push",
    ) -> Prepared:
        """Everything that can be done before others have to wait: the payloads are sealed here."""
        delivery_id = str(uuid.uuid4())
        rows = tuple(
            self._row(target, event, delivery_id, received_at) for event in delivery.events
        )
        envelope = {
            "id": delivery_id,
            "source": delivery.source.value,
            "tenant": target.tenant,
            "provider": target.provider,
            "channel": channel,
            "received_at": received_at,
            "skipped": [
                [s.index, s.type, s.reason.value, s.detail] for s in delivery.skipped[:100]
            ],
            "request_id": request_id[:_MAX_REQUEST_ID],
        }
        return Prepared(envelope, delivery.events, rows, len(delivery.skipped))

    async def write_those(
        self,
        connection: AsyncConnection,
        target: HookTarget,
        prepared: Prepared,
        events: Sequence[HookEvent],
    ) -> Accepted:
        """``events`` turned out to be what is to be stored: those that were prepared are sealed
        already.
        """
        drafts = dict(zip(prepared.events, prepared.rows, strict=True))
        delivery, received_at = prepared.envelope["id"], prepared.envelope["received_at"]
        rows = tuple(
            drafts.get(event) or self._row(target, event, delivery, received_at) for event in events
        )
        return await self.write(connection, replace(prepared, events=tuple(events), rows=rows))

    async def write(self, connection: AsyncConnection, prepared: Prepared) -> Accepted:
        """The rest, within a transaction of the caller's."""
        rows, stored_count = prepared.rows, 0
        if rows:
            # Parameters apart from the statement: SQLAlchemy then compiles it once, whatever the
            # number of rows, and cuts it up for the driver.
            statement = (
                insert_new(self._database, hook_inbox)
                .on_conflict_do_nothing()
                .returning(hook_inbox.c.id)
            )
            stored_count = len((await connection.execute(statement, list(rows))).all())
        outcome = "accepted" if stored_count else "duplicate" if rows else "ignored"
        await connection.execute(
            hook_deliveries.insert().values(
                **prepared.envelope,
                outcome=outcome,
                events=stored_count,
                duplicates=len(rows) - stored_count,
            )
        )
        return Accepted(
            prepared.envelope["id"], stored_count, len(rows) - stored_count, prepared.skipped
        )

    def _row(
        self, target: HookTarget, event: HookEvent, delivery: str, received_at: float
    ) -> dict[str, Any]:
        row_id = str(uuid.uuid4())
        return {
            "id": row_id,
            "delivery": delivery,
            "source": event.source.value,
            "tenant": target.tenant,
            "provider": target.provider,
            "event": event.id or f"none:{row_id}",
            "type": event.type[:120],
            "lane": lane_key(target, event),
            "received_at": received_at,
            "event_time": event.event_time,
            "payload": self._database.crypt.seal(
                dump_event(event, trace=current().traceparent),
                table="hook_inbox",
                row=row_id,
                column="payload",
            ),
            "state": "new",
            "released": 0,
            "attempts": 0,
            "next_at": received_at,
            "error": "",
        }

    # --- applying ---

    async def claim(
        self,
        *,
        now: float,
        limit: int,
        busy: Callable[[], Collection[str]] = tuple,
        working: Collection[str] = (),
        resting: Collection[str] = (),
        per_tenant: int = 1000,
    ) -> tuple[Lane, ...]:
        """Up to ``limit`` lanes that wait and that nobody else holds; each is held by this process
        until settled or ``LEASE_S``.

        Tenants take turns, so that one with a flood of events does not keep the others waiting;
        ``busy``: the lanes that this process works on, asked again when they are taken;
        ``working``: the tenant of each that counts against ``per_tenant``. Another lane of this
        process's is one that it could not settle, and is taken again unless it is ``resting``.
        """
        free = or_(
            hook_lanes.c.lane.is_(None),
            hook_lanes.c.held_until < now,
            and_(
                hook_lanes.c.holder == self._holder,
                hook_lanes.c.lane.not_in([*busy(), *resting]),
            ),
        )
        lane_query = (
            select(
                hook_inbox.c.lane, hook_inbox.c.tenant, func.min(hook_inbox.c.number).label("first")
            )
            .outerjoin(hook_lanes, hook_lanes.c.lane == hook_inbox.c.lane)
            .where(hook_inbox.c.state == "new", hook_inbox.c.next_at <= now, free)
            .group_by(hook_inbox.c.lane, hook_inbox.c.tenant)
            .subquery()
        )
        turn = (
            func.row_number()
            .over(partition_by=lane_query.c.tenant, order_by=lane_query.c.first)
            .label("turn")
        )
        ranked = select(lane_query.c.lane, lane_query.c.tenant, lane_query.c.first, turn).subquery()
        room = (
            case(
                {tenant: per_tenant - lanes for tenant, lanes in Counter(working).items()},
                value=ranked.c.tenant,
                else_=per_tenant,
            )
            if working
            else per_tenant
        )
        query = (
            select(ranked.c.lane)
            .where(ranked.c.turn <= room)
            .order_by(ranked.c.turn, ranked.c.first)
            .limit(limit)
        )
        async with self._database.read() as reader:
            keys = (await reader.execute(query)).scalars().all()
        if not keys:
            return ()
        async with self._database.write_together(urgent=True) as connection:
            idle = sorted(set(keys) - set(busy()))
            return await self._hold(connection, idle, now, again=True) if idle else ()

    async def _hold(
        self, connection: AsyncConnection, keys: Sequence[str], now: float, *, again: bool
    ) -> tuple[Lane, ...]:
        """Those of ``keys`` that nobody holds. Sorted, so that two processes that claim at once
        take rows in one order and cannot deadlock. ``again``: this process's own too.
        """
        if self._database.is_postgresql:
            keys = await self._not_locked(connection, keys)
            if not keys:
                return ()
        # One statement, so that two processes that see a lane free cannot both take it.
        until = now + self._lease_s
        ours = insert_new(self._database, hook_lanes).values(
            [{"lane": key, "holder": self._holder, "held_until": until} for key in keys]
        )
        claim = ours.on_conflict_do_update(
            index_elements=["lane"],
            set_={"holder": self._holder, "held_until": until},
            where=or_(hook_lanes.c.held_until < now, hook_lanes.c.holder == self._holder)
            if again
            else hook_lanes.c.held_until < now,
        ).returning(hook_lanes.c.lane)
        held_keys = (await connection.execute(claim)).scalars().all()
        if not held_keys:
            return ()
        pending, unopened = await self._pending(connection, held_keys, now)
        states, unread = await self._states(connection, held_keys)
        for key in unread:
            pending[key] = [
                one for one in pending[key] if one.event.effect in TAKES_AWAY and not one.in_effect
            ]
        empty = [key for key in held_keys if not pending[key] and (unopened or key in unread)]
        if unread:
            # Nothing is given back without the state that it rests on; it is looked at again
            # when others had their turn.
            pending_ids = [one.id for key in unread for one in pending[key]]
            later = update(hook_inbox).where(
                hook_inbox.c.lane.in_(unread),
                hook_inbox.c.state == "new",
                hook_inbox.c.next_at <= now,
                hook_inbox.c.id.not_in(pending_ids),
            )
            await connection.execute(later.values(next_at=now + CLOSED_S, error=UNREAD))
        if empty:
            await connection.execute(
                delete(hook_lanes).where(
                    hook_lanes.c.lane.in_(empty), hook_lanes.c.holder == self._holder
                )
            )
        return tuple(
            Lane(key, tuple(pending[key]), states[key], unread.get(key, {}))
            for key in held_keys
            if key not in empty
        )

    async def _pending(
        self, connection: AsyncConnection, held: Sequence[str], now: float
    ) -> tuple[dict[str, list[Pending]], set[str]]:
        """The lanes' events, and the ids of those that do not open."""
        pending: dict[str, list[Pending]] = {key: [] for key in held}
        unopened: set[str] = set()
        rows = await connection.execute(
            select(hook_inbox)
            .where(
                hook_inbox.c.lane.in_(held),
                hook_inbox.c.state == "new",
                hook_inbox.c.next_at <= now,
            )
            .order_by(hook_inbox.c.number)
            .limit(_AT_ONCE)
        )
        for row in rows:
            with _noting(unopened, row.id, row.tenant):
                payload = self._database.crypt.open(
                    row.payload, table="hook_inbox", row=row.id, column="payload"
                ).reveal()
                event, trace = load_event(payload)
                pending[row.lane].append(
                    Pending(
                        row.id,
                        row.tenant,
                        row.provider,
                        event,
                        row.received_at,
                        row.attempts,
                        bool(row.released),
                        bool(row.revocations),
                        trace,
                    )
                )
        if unopened:
            # As if it came later: the order of events means nothing to what they come to.
            await connection.execute(
                update(hook_inbox)
                .where(hook_inbox.c.id.in_(unopened))
                .values(
                    next_at=now + CLOSED_S, error="it does not open with the keys that are here"
                )
            )
        return pending, unopened

    async def _states(
        self, connection: AsyncConnection, held: Sequence[str]
    ) -> tuple[dict[str, dict[str, Kept]], dict[str, dict[str, AccountState]]]:
        """What is kept of the lanes, and what little is known of states that do not open."""
        states: dict[str, dict[str, Kept]] = {key: {} for key in held}
        closed_keys: set[str] = set()
        unread: dict[str, dict[str, AccountState]] = {}
        for row in await connection.execute(
            select(hook_standing).where(hook_standing.c.lane.in_(held))
        ):
            with _noting(closed_keys, row.lane, row.tenant):
                states[row.lane][row.about] = self._kept(row)
            if row.about not in states[row.lane]:
                unread.setdefault(row.lane, {})[row.about] = AccountState(bool(row.refused), row.at)
        return states, unread

    async def _not_locked(self, connection: AsyncConnection, keys: Sequence[str]) -> list[str]:
        """Those of ``keys`` that no open transaction has its hands on: of a process that is taking
        the lane, settling it, or frozen while it did. Waits for none.
        """
        numbers = {key: int.from_bytes(bytes.fromhex(key[:16]), "big", signed=True) for key in keys}
        mine = set(
            (
                await connection.execute(
                    _TRY_LANES, {"lanes": list(numbers), "numbers": list(numbers.values())}
                )
            ).scalars()
        )
        known_keys = set(
            (
                await connection.execute(
                    select(hook_lanes.c.lane).where(hook_lanes.c.lane.in_(mine))
                )
            ).scalars()
        )
        unlocked = (
            await connection.execute(
                select(hook_lanes.c.lane)
                .where(hook_lanes.c.lane.in_(mine))
                .with_for_update(skip_locked=True)
            )
        ).scalars()
        locked_keys = known_keys - set(unlocked)
        return [key for key in keys if key in mine and key not in locked_keys]

    def _kept(self, row: Any) -> Kept:
        payload = self._database.crypt.open(
            row.imposed, table="hook_standing", row=f"{row.lane}/{row.about}", column="imposed"
        ).reveal()
        return load_kept(payload, AccountState(bool(row.refused), row.at))

    async def release(self, connection: AsyncConnection, lane: str, *, now: float) -> bool:
        """Give the lane up; False where this process did not hold it any more, and then nothing it
        did may be settled. To be asked inside the transaction that settles.
        """
        statement = delete(hook_lanes).where(
            hook_lanes.c.lane == lane,
            hook_lanes.c.holder == self._holder,
            hook_lanes.c.held_until >= now,
        )
        return (await connection.execute(statement)).rowcount == 1

    def sealed(self, lane: str, about: str, kept: Kept) -> str:
        """A state for ``keep``: made before others have to wait."""
        return self._database.crypt.seal(
            dump_kept(kept), table="hook_standing", row=f"{lane}/{about}", column="imposed"
        )

    async def keep(
        self,
        connection: AsyncConnection,
        lane: str,
        about: str,
        kept: Kept,
        *,
        sealed: str,
        target: HookTarget,
        now: float,
    ) -> None:
        """Write one state."""
        values = {
            "refused": int(kept.state.refused),
            "at": kept.state.at,
            "in_force": int(bool(kept.imposed)),
            "imposed": sealed,
            "updated_at": now,
        }
        statement = insert_new(self._database, hook_standing).values(
            lane=lane,
            about=about,
            id=state_id(lane, about),
            tenant=target.tenant,
            provider=target.provider,
            source=kept.event.source.value,
            **values,
        )
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["lane", "about"], set_=values)
        )

    async def settle(
        self, connection: AsyncConnection, settled: Sequence[Settled], *, now: float
    ) -> None:
        """Write what became of events; in the transaction that also writes states and
        messages.
        """
        if not settled:
            return
        open_states = {"new", "failed", "held"}
        done_items = [s for s in settled if s.state not in open_states or s.revocations]
        open_items = [s for s in settled if s.state in open_states and not s.revocations]
        # Many rows, one trip: a busy sender's events come a hundred to a lane.
        columns: dict[str, Any] = {
            "state": bindparam("b_state"),
            "error": bindparam("b_error"),
            "next_at": bindparam("b_next_at"),
        }
        statement = update(hook_inbox).where(hook_inbox.c.id == bindparam("b_id"))
        if done_items:
            values = {
                **columns,
                "applied_at": bindparam("b_applied_at"),
                "revocations": bindparam("b_revocations"),
                "counted": bindparam("b_counted"),
            }
            await connection.execute(
                statement.values(**values),
                [
                    {
                        **_bound(s, now),
                        "b_applied_at": now,
                        "b_revocations": list(s.revocations),
                        "b_counted": int(s.counted),
                    }
                    for s in done_items
                ],
            )
        if open_items:
            values = {**columns, "attempts": hook_inbox.c.attempts + bindparam("b_more")}
            await connection.execute(
                statement.values(**values),
                [
                    {**_bound(s, now), "b_more": int(s.state == "new" and s.in_vain)}
                    for s in open_items
                ],
            )

    # --- states of a policy that changed ---

    async def states_without_effect(
        self, tenant: str, provider: str
    ) -> AsyncIterator[list[tuple[str, str, Kept]]]:
        """Refusals of groups that were of no consequence when they came, in pages: lane, about,
        kept. What does not open is left out until it is asked for again.
        """
        last = ("", "")
        closed_keys: set[str] = set()
        mine = (
            hook_standing.c.tenant == tenant,
            hook_standing.c.provider == provider,
            hook_standing.c.refused == 1,
            hook_standing.c.in_force == 0,
            hook_standing.c.about != "",
        )
        while True:
            async with self._database.read() as connection:
                after = tuple_(hook_standing.c.lane, hook_standing.c.about) > last
                rows = (
                    await connection.execute(
                        select(hook_standing)
                        .where(*mine, after)
                        .order_by(hook_standing.c.lane, hook_standing.c.about)
                        .limit(_ROWS)
                    )
                ).all()
            page = []
            for row in rows:
                with _noting(closed_keys, row.lane, row.tenant):
                    page.append((row.lane, row.about, self._kept(row)))
            if page:
                yield page
            if len(rows) < _ROWS:
                return
            last = (rows[-1].lane, rows[-1].about)

    async def state(self, lane: str, about: str) -> AccountState | None:
        """What the newest event said there."""
        query = select(hook_standing.c.refused, hook_standing.c.at).where(
            hook_standing.c.lane == lane, hook_standing.c.about == about
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else AccountState(bool(row.refused), row.at)

    async def imposed(
        self, tenant: str, lifts: Sequence[tuple[RevocationRequest, float]]
    ) -> list[list[tuple[str, Kept]]]:
        """For each lift and when it was: what a provider had said by then and because of which that
        block or overlay stood, with the provider.

        All sources for an operator's. One look at what is refused of the tenant, for all of them.
        """
        by_place: dict[tuple[Who, str | None], list[int]] = {}
        by_id: dict[str, list[int]] = {}
        for number, (request, _) in enumerate(lifts):
            (
                by_id.setdefault(request.standing, [])
                if request.standing
                else by_place.setdefault((request.who, request.group_overlay), [])
            ).append(number)
        this = [hook_standing.c.tenant == tenant, hook_standing.c.refused == 1]
        this.append(
            or_(hook_standing.c.id.in_(sorted(by_id)), hook_standing.c.in_force == 1)
            if by_place
            else hook_standing.c.id.in_(sorted(by_id))
        )
        results: list[list[tuple[str, Kept]]] = [[] for _ in lifts]
        last = ""
        while True:
            async with self._database.read() as connection:
                rows = (
                    await connection.execute(
                        select(hook_standing)
                        .where(*this, hook_standing.c.id > last)
                        .order_by(hook_standing.c.id)
                        .limit(_ROWS)
                    )
                ).all()
            for row in rows:
                kept = self._kept(row)
                numbers = set(by_id.get(row.id, ()))
                for restriction in kept.imposed:
                    numbers |= {
                        n
                        for n in by_place.get((restriction.who, restriction.group_overlay), ())
                        if lifts[n][0].source in {*OPERATORS, restriction.source}
                    }
                for number in numbers:
                    if row.at <= lifts[number][1]:
                        results[number].append((str(row.provider), kept))
            if len(rows) < _ROWS:
                return results
            last = rows[-1].id

    # --- watching ---

    async def held(self) -> int:
        """How many events wait for an operator (``brake``)."""
        async with self._database.read() as connection:
            return (
                await connection.execute(select(func.count()).where(hook_inbox.c.state == "held"))
            ).scalar_one()

    async def backlog(self) -> tuple[int, float | None]:
        """How many events wait, and since when the oldest does."""
        async with self._database.read() as connection:
            row = (
                await connection.execute(
                    select(func.count(), func.min(hook_inbox.c.received_at)).where(
                        hook_inbox.c.state == "new"
                    )
                )
            ).one()
        return row[0], row[1]
