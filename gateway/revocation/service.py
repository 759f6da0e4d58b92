"""``Revoker``: the one operation behind admin API, commands, hooks and reconciliation.

Rules:
- Durable means: in the tenant's slot and committed to the record, in this order and in one
  transaction of the record, so that both stores see changes about one person in the same order. A
  slot that loses it is brought up to the record. The transaction is held for scripts alone, never
  while replicas confirm or a store is silent: others wait for it.
- Acknowledged means: durable, confirmed by the primary's replicas (by a fence that comes after the
  record, at the server that ended the sessions), and no worker can still answer from memory what
  was ended. Nothing is acknowledged before that.
- That it was acknowledged is put on record beside: nobody waits for that commit, and what was lost
  of it is acknowledged once more.
- Whoever gets an error repeats; repeating is harmless. What is on record and was not acknowledged
  is carried on without a caller, too.
- A caller that goes away does not stop a revocation that has begun.
- What follows elsewhere (Cognito) reads the record, with the usernames of those whose sessions
  ended, and holds nothing up.
- A lift says how many blocks or overlays it ended; one that finds none is logged as a warning.
- A tenant that ends takes along what keeps its people out: whoever has its id next is another
  tenant, whose providers know nothing of it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.background import fault
from gateway.core.person import Person
from gateway.core.revocation import RevocationKind, RevocationRequest, RevocationStatus, Who
from gateway.errors import UnavailableError
from gateway.log import Throttled, fields
from gateway.metrics import (
    REVOCATION_DURATION,
    REVOCATIONS,
    TASK_FAILURES,
    begin_at_zero,
    observe,
    source_label,
    tenant_label,
)
from gateway.revocation.api import LIFT, OPERATORS, SOURCES, Recorded
from gateway.revocation.feed import RevocationFeed
from gateway.sessions.watermarks import WATERMARK_LIFE_S, revocation_keys
from gateway.tracing.spans import exemplar, span

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Sequence,
    )

    from gateway.revocation.api import Change, Closed, Confirmations, RevocationRecord, Standing
    from gateway.sessions.watermarks import EndedFamily, RevocationKeys, RevokeBatch, Watermarks

T = TypeVar("T")
RESTORED_AT_ONCE: Final = 16
_TEND_S: Final = 3600.0
_TEND_AGAIN_S: Final = 5.0
MAX_OPEN: Final = 1000
"""Requests on record and not acknowledged that a repetition is known by. Beyond, a repetition is a
revocation of its own.
"""
TENANT_DELETED: Final = "the tenant was deleted"
PROVIDER_LEFT: Final = "the provider was removed or is not active"
MAX_USERS: Final = 20_000
"""Usernames recorded with one revocation (about a megabyte). Those beyond, of a whole tenant, are
not signed out of Cognito; here they are.
"""

MAX_PEOPLE: Final = 20
"""Named to the application with a block by hand. One person has one account, or a few; of a group
or a tenant nobody needs to be named.
"""

_log = logging.getLogger(__name__)


class Uncached:
    """``Confirmations`` where no replica holds anything in memory: every check asks the store, so
    durable is acknowledged.
    """

    async def confirm(
        self, tenant: str, report: Callable[[str, float | None], None], *, server: str
    ) -> None:
        """Nobody to wait for."""


@dataclass(slots=True)
class _Timeline:
    """One revocation on its way."""

    id: str
    request: RevocationRequest
    received_at: float
    started: float
    """This process's monotonic seconds at receipt."""
    durable_ms: float | None = None
    acknowledged_ms: float | None = None
    ended: int = 0
    lifted: int | None = None
    users_to_enable: int = 0
    to_tell: bool = False
    replicas: dict[str, float | None] = field(default_factory=dict)
    earlier: _Timeline | None = field(default=None, repr=False)
    """An attempt that is on record and was not acknowledged."""

    def status(self) -> RevocationStatus:
        replicas = tuple(sorted(self.replicas.items()))
        return RevocationStatus(
            self.id,
            self.request,
            self.received_at,
            self.durable_ms,
            replicas,
            self.acknowledged_ms,
            self.ended,
            self.lifted,
            self.users_to_enable,
        )


def _people(families: Sequence[EndedFamily]) -> Sequence[Person]:
    people = {
        f.display.user: Person(
            f.display.user, f.display.email, f.display.idp_subject, f.display.oid
        )
        for f in families
        if f.display is not None
    }
    return list(people.values())[:MAX_PEOPLE]


class StoreRevoker:
    """Implements ``sessions.api.Revoker`` on the store and the record."""

    def __init__(
        self,
        marks: Watermarks,
        record: RevocationRecord,
        confirmations: Confirmations,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        begin_at_zero(REVOCATION_DURATION, SOURCES)
        self._watermarks = marks
        self._record = record
        self._confirmations = confirmations
        self._clock = clock
        self._monotonic = monotonic
        self._new_id = new_id
        self._under_way: dict[str, _Timeline] = {}
        self._tasks: set[asyncio.Task[RevocationStatus]] = set()
        self._open: dict[tuple[bool, RevocationRequest], _Timeline] = {}
        """What is on record and was not acknowledged, by whether it lifts and by request; who
        repeats the request goes on with it.
        """
        self._left_open = asyncio.Event()
        self._unnoted: dict[str, _Timeline] = {}
        """Acknowledged, and not yet so on record."""
        self._notes: set[asyncio.Task[None]] = set()
        self._silences = 0
        """How often the store failed within a transaction of the record."""
        self._feed = RevocationFeed(record, clock=clock)
        self._unavailable = Throttled(_log, logging.WARNING, "revocation_unavailable")
        self._unopened: set[str] = set()
        """What is on record, was not acknowledged and does not open, as the log has said."""
        self._not_carried_on = Throttled(_log, logging.ERROR, "revocation_not_carried_on")

    # --- the operation ---------------------------------------------------------------------------

    async def revoke(self, request: RevocationRequest) -> RevocationStatus:
        return await self._unstoppable(self._revoke, request)

    async def lift(self, request: RevocationRequest) -> RevocationStatus:
        return await self._unstoppable(self._lift, request)

    async def _unstoppable(
        self, work: Callable[[_Timeline], Coroutine[None, None, None]], request: RevocationRequest
    ) -> RevocationStatus:
        """In a task of its own, so that a caller's cancellation is the caller's alone."""
        received_at = self._clock()
        if request.event_time is not None:
            request = replace(request, event_time=min(request.event_time, received_at))
        earlier = self._open.pop((work == self._lift, request), None)
        line = _Timeline(
            self._new_id() if earlier is None else earlier.id,
            request,
            received_at,
            self._monotonic(),
            earlier=earlier,
        )
        task = asyncio.get_running_loop().create_task(self._run(work, line))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _run(
        self, work: Callable[[_Timeline], Coroutine[None, None, None]], line: _Timeline
    ) -> RevocationStatus:
        self._under_way[line.id] = line
        try:
            await self._traced(work, line)
        except UnavailableError as error:
            self._unavailable(
                tenant=line.request.tenant,
                revocation=line.id,
                source=line.request.source,
                error=str(error),
            )
            if line.durable_ms is not None:
                if len(self._open) < MAX_OPEN:
                    self._open[work == self._lift, line.request] = line
                self._left_open.set()
            raise
        finally:
            self._under_way.pop(line.id, None)
        return line.status()

    async def _traced(
        self, work: Callable[[_Timeline], Coroutine[None, None, None]], line: _Timeline
    ) -> None:
        request = line.request
        with span("lift" if work == self._lift else "revocation") as trace_span:
            trace_span.set("gateway.revocation.id", line.id)
            trace_span.set("gateway.tenant", request.tenant)
            trace_span.set("gateway.revocation.source", source_label(request.source))
            trace_span.set("gateway.revocation.kind", str(request.kind))
            await work(line)
            trace_span.set("gateway.revocation.ended", line.ended)

    @asynccontextmanager
    async def _change(self, tenant: str, aliases: Sequence[str]) -> AsyncIterator[Change]:
        """Alone with this person in the record, as soon as the store has answered: SQLite has one
        writer, and who holds it while the store is silent holds up everybody. Who waited for the
        writer meanwhile does not try what has just failed. Raises ``UnavailableError``.
        """
        silences = self._silences
        await self._watermarks.answers(tenant)
        async with self._record.change(tenant, aliases) as change:
            if self._silences != silences:
                msg = "Redis: does not answer"
                raise UnavailableError(msg)
            yield change

    async def _stored(self, step: Awaitable[T]) -> T:
        """A step in the store, within a transaction of the record."""
        try:
            return await step
        except UnavailableError:
            self._silences += 1
            raise

    async def _revoke(self, line: _Timeline) -> None:
        request = line.request
        where = self.revocation_keys(request)
        families: list[EndedFamily] = []
        entry: Recorded | None = None

        def count(batch: RevokeBatch) -> RevokeBatch:
            families.extend(batch.families)
            line.ended += batch.sessions
            return batch

        async with self._change(request.tenant, where.marks) as change:
            overlay_watermark = (
                await change.said_already(request, at=line.received_at)
                if request.group_overlay is not None
                else None
            )
            block_source = request.source if request.kind is RevocationKind.BLOCK else ""
            batch = count(
                await self._stored(
                    self._watermarks.revoke(
                        request.tenant,
                        where,
                        block_source=block_source,
                        overlay_watermark=overlay_watermark,
                    )
                )
            )
            if request.kind is RevocationKind.BLOCK:
                line.to_tell = (
                    await change.block(request, watermark=batch.watermark, at=line.received_at)
                    and request.by_hand
                )
            if request.group_overlay is not None and overlay_watermark is None:
                await change.overlay(request, watermark=batch.watermark, at=line.received_at)
            if not batch.cursors:
                entry = await self._durable(
                    line, change, batch.watermark, str(request.kind), families
                )
        if batch.cursors:
            # A large tenant: page by page, outside the transaction that others wait for, and
            # durable when the last session is gone.
            server = batch.server
            while batch.cursors:
                batch = count(await self._watermarks.sweep(request.tenant, where, batch))
                if batch.server != server:
                    msg = "Redis: another primary took over in the middle of a revocation"
                    raise UnavailableError(msg)
            async with self._record.change(request.tenant, where.marks) as change:
                entry = await self._durable(
                    line, change, batch.watermark, str(request.kind), families
                )
        REVOCATIONS.labels(
            tenant_label(request.tenant), source_label(request.source), str(request.kind)
        ).inc()
        if entry is not None:
            self._feed.tell(entry)
        await self._acknowledge(line, server=batch.server)
        self._note_beside(line)
        _log.info(
            "revocation",
            extra=fields(
                tenant=request.tenant,
                revocation=line.id,
                source=request.source,
                kind=str(request.kind),
                ended=line.ended,
                durable_ms=line.durable_ms,
                acknowledged_ms=line.acknowledged_ms,
            ),
        )

    async def _durable(
        self,
        line: _Timeline,
        change: Change,
        watermark: int,
        kind: str,
        families: Sequence[EndedFamily] = (),
    ) -> Recorded:
        on_record = line.earlier is not None and await change.is_open(line.id)
        if line.earlier is not None and not on_record:
            # Another process has carried it on meanwhile: what is said now is a revocation of its
            # own.
            self._under_way.pop(line.id, None)
            line.id = self._new_id()
            self._under_way[line.id] = line
        line.durable_ms = self._since(line)
        entry = Recorded(line.status(), kind, watermark, self._clock())
        if on_record:
            await change.repeated(entry)
            return entry
        await change.revocation(
            entry,
            users=self._users(line, families),
            to_tell=line.to_tell,
            people=_people(families) if line.to_tell else (),
        )
        return entry

    def _users(self, line: _Timeline, families: Sequence[EndedFamily]) -> Sequence[str]:
        names = list(
            dict.fromkeys(
                f.display.username for f in families if f.display is not None and f.display.username
            )
        )
        if len(names) > MAX_USERS:
            _log.warning(
                "revocation_users_left_out",
                extra=fields(
                    tenant=line.request.tenant,
                    revocation=line.id,
                    users=len(names),
                    recorded=MAX_USERS,
                ),
            )
        return names[:MAX_USERS]

    async def _lift(self, line: _Timeline) -> None:
        request = line.request
        where = self.revocation_keys(request)
        async with self._change(request.tenant, where.marks) as change:
            lifted = await change.lift(request, at=line.received_at)
            line.lifted, line.users_to_enable = lifted.count, lifted.disabled_users
            if line.earlier is not None:
                line.lifted += line.earlier.lifted or 0
                line.users_to_enable += line.earlier.users_to_enable
            line.to_tell = bool(lifted.count) and request.by_hand
            if request.standing or (request.follows and not lifted.count):
                where = replace(where, marks=(), overlays=(), fields=())
            if request.group_overlay is not None:
                where = replace(
                    where,
                    marks=(),
                    overlays=() if lifted.others_stand else where.overlays,
                    fields=() if lifted.others_stand else where.fields,
                )
            sources = "*" if request.source in OPERATORS else request.source
            result = await self._stored(
                self._watermarks.lift(request.tenant, where, sources=sources)
            )
            await self._durable(line, change, result.clock, LIFT)
        _log.log(
            logging.INFO if line.lifted else logging.WARNING,
            "lift" if line.lifted else "lift_found_nothing",
            extra=fields(
                tenant=request.tenant,
                revocation=line.id,
                source=request.source,
                group=request.group_overlay,
                lifted=line.lifted,
                users_to_enable=line.users_to_enable,
                others_stand=lifted.others_stand,
            ),
        )
        # Nothing answered from memory becomes wrong by a lift: it only lets later logins in. But
        # what was lifted at a primary that was deposed stands at the other one.
        await self._watermarks.confirm(request.tenant, server=result.server)
        line.acknowledged_ms = self._since(line)
        self._note_beside(line)

    async def end_provider(self, tenant: str, provider: str) -> None:
        """Everything that those have who signed in with it, acknowledged. Repeats harmlessly;
        raises ``UnavailableError``.
        """
        await self.revoke(
            RevocationRequest(
                tenant,
                Who(provider=provider),
                RevocationKind.END_SESSIONS,
                PROVIDER_LEFT,
                "registry",
            )
        )

    async def end_tenant(self, tenant: str, *, lift_until: float) -> None:
        """Everything that a tenant's people have, acknowledged; then blocks and overlays imposed
        until then (UTC epoch seconds) are lifted.

        Those of an id that is served again later are of another tenant. Repeats harmlessly; raises
        ``UnavailableError``.
        """
        await self.revoke(
            RevocationRequest(
                tenant, Who(), RevocationKind.END_SESSIONS, TENANT_DELETED, "registry"
            )
        )
        for one in await self._record.standing(tenant):
            if one.since <= lift_until:
                kind = RevocationKind.BLOCK if one.group is None else RevocationKind.END_SESSIONS
                await self.lift(
                    RevocationRequest(
                        tenant, one.who, kind, TENANT_DELETED, one.source, group_overlay=one.group
                    )
                )

    async def stand_for(self, standing: Standing, request: RevocationRequest) -> None:
        """What stands against one name of a person stands against another one too, since the same
        moment; nothing is ended. ``request`` says the other name and the source.
        """
        where = self.revocation_keys(request)
        async with self._change(request.tenant, where.marks) as change:
            if request.group_overlay is None:
                await change.block(request, watermark=standing.watermark, at=standing.since)
            else:
                await change.overlay(request, watermark=standing.watermark, at=standing.since)
            _, batch = await self._stored(
                self._write_standing(replace(standing, who=request.who, source=request.source))
            )
        await self._watermarks.confirm(request.tenant, server=batch.server)

    async def exempt(self, request: RevocationRequest) -> bool:
        group, source = request.group_overlay, request.source
        if group is None or not await self._record.is_taken_from_everybody(
            request.tenant, group, source=source
        ):
            return False
        where = self.revocation_keys(request)
        everybody = revocation_keys(
            self._watermarks.alias_index(request.tenant),
            Who(group=group, provider=request.who.provider),
        ).marks
        server = ""
        async with self._change(request.tenant, where.marks) as change:
            watermark = await change.exempt(request, everybody)
            if watermark is not None:
                server = await self._stored(
                    self._watermarks.exempt(request.tenant, where, watermark=watermark)
                )
        if watermark is not None:
            await self._watermarks.confirm(request.tenant, server=server)
            _log.info(
                "group_exemption", extra=fields(tenant=request.tenant, source=source, group=group)
            )
        return watermark is not None

    def revocation_keys(self, request: RevocationRequest) -> RevocationKeys:
        return revocation_keys(
            self._watermarks.alias_index(request.tenant), request.who, group=request.group_overlay
        )

    async def _acknowledge(self, line: _Timeline, *, server: str) -> None:
        def report(replica: str, at: float | None) -> None:
            line.replicas[replica] = None if at is None else round((at - line.started) * 1000, 3)

        with span("revocation.acknowledge") as trace_span:
            await self._confirmations.confirm(line.request.tenant, report, server=server)
            trace_span.set("gateway.revocation.replicas", len(line.replicas))
        line.acknowledged_ms = self._since(line)
        duration = REVOCATION_DURATION.labels(source_label(line.request.source))
        observe(duration, line.acknowledged_ms / 1000, exemplar())

    def _note_beside(self, line: _Timeline) -> None:
        self._unnoted[line.id] = line
        task = asyncio.get_running_loop().create_task(self._note_or_leave(line))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _note_or_leave(self, line: _Timeline) -> None:
        try:
            await self._note_acknowledged(line)
        except UnavailableError as error:
            self._unavailable(
                tenant=line.request.tenant,
                revocation=line.id,
                source=line.request.source,
                error=str(error),
            )
            self._left_open.set()
        except Exception as error:  # noqa: BLE001 - logged; on record it is open, and is carried on
            fault("revocation_not_carried_on", error, tenant=line.request.tenant)
            self._left_open.set()
        finally:
            del self._unnoted[line.id]

    async def _note_acknowledged(self, line: _Timeline) -> None:
        at = line.received_at + (line.acknowledged_ms or 0) / 1000
        await self._record.acknowledged(
            line.id, at=at, replicas=tuple(sorted(line.replicas.items()))
        )

    def _since(self, line: _Timeline) -> float:
        return round((self._monotonic() - line.started) * 1000, 3)

    # --- the time line ---------------------------------------------------------------------------

    async def status(self, revocation_id: str) -> RevocationStatus | None:
        line = self._under_way.get(revocation_id) or self._unnoted.get(revocation_id)
        if line is not None:
            return line.status()
        entry = await self._record.find(revocation_id)
        return None if entry is None else entry.status

    def stream(self, *, after: str | None = None) -> AsyncGenerator[RevocationStatus, None]:
        """Every revocation (not lifts) once, when it is durable: whoever follows it can cut what
        forward-auth cannot.

        From ``after`` on if it is known, else from now on.
        """
        return self._feed.follow(after=after)

    # --- after a restart, a fail-over, a new key -------------------------------------------------

    async def acknowledge_open(self) -> int:
        """Finish what a crash left durable and not acknowledged; the number of them. For start-up.

        One that cannot be finished keeps none of the others waiting; raises ``UnavailableError``
        after the last.
        """
        before = dict(self._open)
        closed_entries: list[Closed] = []
        unacknowledged = await self._record.unacknowledged(closed=closed_entries.append)
        ids = {*(entry.status.id for entry in unacknowledged), *(one.id for one in closed_entries)}
        for key, line in before.items():
            if line.id not in ids and self._open.get(key) is line:
                del self._open[key]  # by another process, whose acknowledgement holds for all
        open_entries = [
            entry
            for entry in unacknowledged
            if entry.status.id not in self._under_way and entry.status.id not in self._unnoted
        ]
        failure = self._unopenable(closed_entries)
        for entry in open_entries:
            try:
                await self._carry_on(entry)
            except UnavailableError as error:
                failure = error
            except Exception as error:  # noqa: BLE001 - a mistake of ours with one of them must not keep the others open for ever
                failure = UnavailableError(
                    f"a revocation on record cannot be carried on: {type(error).__name__}"
                )
                self._not_carried_on(
                    error, tenant=entry.status.request.tenant, revocation=entry.status.id
                )
                TASK_FAILURES.labels("revocation_not_carried_on").inc()
        if failure is not None:
            raise failure
        return len(open_entries)

    def _unopenable(self, closed: Sequence[Closed]) -> UnavailableError | None:
        """What does not open stays open on record: looked at again, counted, and logged once."""
        fresh = [one for one in closed if one.id not in self._unopened]
        self._unopened = {one.id for one in closed}
        if fresh:
            TASK_FAILURES.labels("revocation_not_carried_on").inc(len(fresh))
            _log.error(
                "revocation_not_carried_on",
                exc_info=fresh[0].error,
                extra=fields(
                    tenant=fresh[0].tenant, revocation=fresh[0].id, others=len(fresh) - 1 or None
                ),
            )
        return (
            UnavailableError(f"{len(closed)} revocations on record do not open") if closed else None
        )

    async def _carry_on(self, entry: Recorded) -> None:
        """Again, with its first watermark: the primary may have been restored between its end and
        its entry in the record.
        """
        request = entry.status.request
        line = _Timeline(
            entry.status.id,
            request,
            entry.status.received_at,
            self._monotonic(),
            entry.status.durable_ms,
            ended=entry.status.ended,
        )
        if entry.kind == LIFT:
            await self._lift_again(request)
            line.acknowledged_ms = self._since(line)
            await self._note_acknowledged(line)
        else:
            batch = await self._apply(entry)
            await self._stand_again(request)
            await self._acknowledge(line, server=batch.server)
            await self._note_acknowledged(line)
        self._open = {key: one for key, one in self._open.items() if one.id != line.id}

    async def run_maintenance(
        self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """Until cancelled: finish what a crash left open, and forget what no session can be old
        enough for (the audit log keeps who did it).
        """
        while True:
            try:
                # First: one that cannot be carried on for days keeps nothing from being forgotten.
                await self._record.forget(before=self._clock() - WATERMARK_LIFE_S)
                await self.acknowledge_open()
            except UnavailableError as error:
                _log.warning("revocation_maintenance_failed", extra=fields(error=str(error)))
                await sleep(_TEND_AGAIN_S)
            else:
                await self._rest(sleep)

    async def _rest(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Until there is something to carry on, and its caller had a moment to do that."""
        waits = [
            asyncio.ensure_future(sleep(_TEND_S)),
            asyncio.ensure_future(self._left_open.wait()),
        ]
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                await wait
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if self._left_open.is_set():
            self._left_open.clear()
            await sleep(_TEND_AGAIN_S)

    async def restore(self, tenant: str) -> None:
        """Bring a slot that may hold older data up to the record: clock first, then blocks and
        overlays, then what was lifted, then revocations as they were.

        Until this has returned for every tenant of a primary, that primary must not be believed.
        """
        highest = await self._record.highest_watermark(tenant)
        if highest:
            await self._watermarks.advance(tenant, past=highest)
        await self.reapply_standing(tenant)
        history = await self._record.of_tenant(
            tenant, durable_after=self._clock() - WATERMARK_LIFE_S
        )
        lifted = {
            (r.status.request.who, r.status.request.group_overlay): r.status.request
            for r in history
            if r.kind == LIFT
        }
        for request in lifted.values():
            await self._lift_again(request)
        # Several at once: their order means nothing, since each keeps its first watermark, and
        # checks wait for the last.
        entries = [entry for entry in history if entry.kind != LIFT]
        for first in range(0, len(entries), RESTORED_AT_ONCE):
            for result in await asyncio.gather(
                *(self._apply(entry) for entry in entries[first : first + RESTORED_AT_ONCE]),
                return_exceptions=True,
            ):
                if isinstance(result, BaseException):
                    raise result

    async def _apply(self, entry: Recorded) -> RevokeBatch:
        """A revocation as it was. Idempotent."""
        tenant = entry.status.request.tenant
        where = revocation_keys(self._watermarks.alias_index(tenant), entry.status.request.who)
        batch = await self._watermarks.revoke(tenant, where, watermark=entry.watermark)
        while batch.cursors:
            batch = await self._watermarks.sweep(tenant, where, batch)
        return batch

    async def _lift_again(self, request: RevocationRequest) -> None:
        """What an older copy still holds of a block or overlay that nobody imposes any more would
        stand for good: the record knows nothing of it.
        """
        where = self.revocation_keys(request)
        where = where if request.group_overlay is None else replace(where, marks=())
        if not await self._watermarks.stands(request.tenant, where):
            return
        marks = self.revocation_keys(request).marks
        async with self._change(request.tenant, marks):
            if any(
                one.group == request.group_overlay
                for one in await self._record.standing_of(request.tenant, marks)
            ):
                return
            result = await self._stored(self._watermarks.lift(request.tenant, where, sources="*"))
        await self._watermarks.confirm(request.tenant, server=result.server)

    async def _stand_again(self, request: RevocationRequest) -> None:
        """What a revocation imposed and nobody has lifted since: the server on which it was written
        may not be the one that is asked now.
        """
        if request.kind is not RevocationKind.BLOCK and request.group_overlay is None:
            return
        marks = self.revocation_keys(request).marks
        async with self._change(request.tenant, marks):
            for standing in await self._record.standing_of(request.tenant, marks):
                if standing.group == request.group_overlay:
                    await self._stored(self._write_standing(standing))

    async def _write_standing(self, standing: Standing) -> tuple[RevocationKeys, RevokeBatch]:
        where = revocation_keys(
            self._watermarks.alias_index(standing.tenant), standing.who, group=standing.group
        )
        source = standing.source if standing.group is None else ""
        # The sessions of then are the revocations' business; here only the marks count.
        return where, await self._watermarks.revoke(
            standing.tenant,
            replace(where, indexes=(), family=""),
            block_source=source,
            watermark=standing.watermark,
        )

    async def reapply_standing(self, tenant: str) -> None:
        """Write the blocks and overlays in force again, with their first watermarks, under every
        key of the ring.
        """
        server = ""
        for standing in await self._record.standing(tenant):
            where, batch = await self._write_standing(standing)
            server = batch.server
            if standing.cleared:
                await self._watermarks.cleared(tenant, where, watermark=standing.watermark)
            await self._record.rename(standing, where.marks[0])
        for one in await self._record.exemptions(tenant):
            server = await self._watermarks.exempt(
                tenant,
                revocation_keys(self._watermarks.alias_index(tenant), one.who, group=one.group),
                watermark=one.watermark,
            )
        if server:
            await self._watermarks.confirm(tenant, server=server)

    async def close(self) -> None:
        """Let what has begun become durable, and what was acknowledged be put on record."""
        for under_way in (self._tasks, self._notes):
            if under_way:
                await asyncio.wait(under_way, timeout=5)
