"""The provisioning journal in SQL. A run is held by one process at a time, for ``HOLD_S`` from its
last write on.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import desc, insert, or_, select, update

from gateway.core.paging import Page
from gateway.database.schema import provision_runs, provision_steps
from gateway.provisioning.runs import (
    ACTIVE,
    ASIDE,
    Action,
    Busy,
    DeposedError,
    JournalStep,
    Run,
    RunKind,
    RunState,
    StepState,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.json_types import Json
    from gateway.database.engine import Database

HOLD_S = 30.0
"""A process that has not written for this long is taken for dead. Its own calls time out sooner."""
_UNFINISHED = (RunState.RUNNING, RunState.UNDOING, RunState.SETTLING)
_ASIDE = tuple(str(kind) for kind in ASIDE)
_runs, _steps = provision_runs.c, provision_steps.c


class SqlJournal:
    """``holder`` is random per process; ``clock`` is UTC epoch seconds."""

    def __init__(
        self, database: Database, *, holder: str, clock: Callable[[], float], hold_s: float = HOLD_S
    ) -> None:
        self._database, self._holder, self._clock, self._hold_s = database, holder, clock, hold_s

    async def open(
        self,
        run: str,
        *,
        tenant: str,
        kind: RunKind,
        actor: str,
        request: Json,
        plan: Sequence[Json],
    ) -> Run | Busy:
        now = self._clock()
        async with self._database.write(f"provision:{tenant}") as connection:
            busy = await self._busy(connection, tenant)
            if busy is not None:
                return busy
            return await self._begin(
                connection,
                Run(
                    run,
                    tenant,
                    kind,
                    actor,
                    RunState.RUNNING,
                    request,
                    tuple(plan),
                    now,
                    None,
                    None,
                ),
            )

    async def _begin(self, connection: AsyncConnection, run: Run) -> Run:
        ciphertext = self._database.crypt.seal(
            json.dumps(run.request), table=provision_runs.name, row=run.id, column="request"
        )
        await connection.execute(
            insert(provision_runs).values(
                id=run.id,
                tenant=run.tenant,
                kind=str(run.kind),
                actor=run.actor,
                state=str(run.state),
                request=ciphertext,
                plan=list(run.plan),
                started_at=run.started_at,
                holder=self._holder,
                held_until=run.started_at + self._hold_s,
            )
        )
        return run

    async def busy(self, tenant: str) -> Busy | None:
        async with self._database.read() as connection:
            return await self._busy(connection, tenant)

    async def _busy(self, connection: AsyncConnection, tenant: str) -> Busy | None:
        active = (
            select(provision_runs)
            .where(_runs.tenant == tenant, _runs.state.in_([str(s) for s in ACTIVE]))
            .limit(1)
        )
        row = (await connection.execute(active)).mappings().first()
        return (
            None
            if row is None
            else Busy(row["id"], interrupted=(row["held_until"] or 0) <= self._clock())
        )

    async def intend(
        self,
        run: str,
        number: int,
        action: Action,
        resource: str,
        *,
        undo: Json,
        before: Json | None,
    ) -> None:
        ciphertext = None if before is None else self._seal_before(run, number, before)
        async with self._database.write() as connection:
            await self._held(connection, run)
            await connection.execute(
                insert(provision_steps).values(
                    run=run,
                    number=number,
                    action=str(action),
                    resource=resource,
                    state=str(StepState.INTENDED),
                    undo=undo,
                    before=ciphertext,
                    started_at=self._clock(),
                )
            )

    async def settle(
        self,
        run: str,
        number: int,
        state: StepState,
        *,
        undo: Json | None = None,
        error: Json | None = None,
    ) -> None:
        values: dict[str, object] = {"state": str(state), "finished_at": self._clock()}
        if undo is not None:
            values["undo"] = undo
        if error is not None:
            values["error"] = error
        async with self._database.write() as connection:
            await self._held(connection, run)
            await connection.execute(
                update(provision_steps)
                .where(_steps.run == run, _steps.number == number)
                .values(**values)
            )

    async def follow(self, run: str, *, by: str, kind: RunKind, request: Json) -> Run:
        async with self._database.write() as connection:
            row = (
                await connection.execute(select(_runs.tenant, _runs.actor).where(_runs.id == run))
            ).one()
            await self._move(connection, run, RunState.DONE, error=None)
            return await self._begin(
                connection,
                Run(
                    by,
                    row.tenant,
                    kind,
                    row.actor,
                    RunState.RUNNING,
                    request,
                    (),
                    self._clock(),
                    None,
                    None,
                ),
            )

    async def move(self, run: str, state: RunState, *, error: Json | None = None) -> None:
        async with self._database.write() as connection:
            await self._move(connection, run, state, error=error)

    async def _move(
        self, connection: AsyncConnection, run: str, state: RunState, *, error: Json | None
    ) -> None:
        values: dict[str, object] = {"state": str(state)}
        if state not in _UNFINISHED:
            values |= {"finished_at": self._clock(), "held_until": None, "holder": None}
        if state is RunState.SETTLING:
            # Nobody needs to hold it: whoever looks next goes on.
            values |= {"held_until": 0.0}
        if error is not None:
            values["error"] = error
        await self._held(connection, run)
        await connection.execute(update(provision_runs).where(_runs.id == run).values(**values))
        if state is RunState.DONE:
            await self._forget_secrets(connection, run)

    async def _forget_secrets(self, connection: AsyncConnection, run: str) -> None:
        """Secrets of identity providers are kept only while undoing could need them."""
        rows = (
            (
                await connection.execute(
                    select(provision_steps).where(_steps.run == run, _steps.before.is_not(None))
                )
            )
            .mappings()
            .all()
        )
        for row in rows:
            before = self._step(row).before or {}
            if before.pop("idp_secret", None) is not None:
                ciphertext = self._seal_before(run, row["number"], before)
                await connection.execute(
                    update(provision_steps)
                    .where(_steps.run == run, _steps.number == row["number"])
                    .values(before=ciphertext)
                )

    def _seal_before(self, run: str, number: int, before: Json) -> str:
        return self._database.crypt.seal(
            json.dumps(before, default=str),
            table=provision_steps.name,
            row=f"{run}/{number}",
            column="before",
        )

    async def hold(self, run: str) -> None:
        async with self._database.write() as connection:
            await self._held(connection, run)

    async def release(self, run: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(
                update(provision_runs)
                .where(_runs.id == run, _runs.holder == self._holder)
                .values(held_until=0.0)
            )

    async def _held(self, connection: AsyncConnection, run: str) -> None:
        mine = (
            update(provision_runs)
            .where(_runs.id == run, _runs.holder == self._holder)
            .values(held_until=self._clock() + self._hold_s)
        )
        if (await connection.execute(mine)).rowcount == 0:
            msg = f"run {run} was taken over by another process"
            raise DeposedError(msg)

    async def take_over(self, run: str) -> bool:
        now = self._clock()
        free = or_(_runs.held_until.is_(None), _runs.held_until <= now)
        unfinished = _runs.state.in_([str(s) for s in _UNFINISHED])
        async with self._database.write() as connection:
            result = await connection.execute(
                update(provision_runs)
                .where(_runs.id == run, free, unfinished)
                .values(holder=self._holder, held_until=now + self._hold_s)
            )
        return result.rowcount == 1

    async def reopen(self, run: str) -> bool:
        """Hold a finished run again, to undo it; False unless it is ``done``, no later one is, and
        the tenant is free.
        """
        now = self._clock()
        async with self._database.read() as connection:
            query = select(_runs.tenant, _runs.kind).where(_runs.id == run)
            row = (await connection.execute(query)).first()
        if row is None:
            return False
        tenant = row.tenant
        async with self._database.write(f"provision:{tenant}") as connection:
            busy = select(_runs.id).where(
                _runs.tenant == tenant, _runs.state.in_([str(s) for s in ACTIVE])
            )
            if (await connection.execute(busy)).first() is not None:
                return False
            latest = (
                select(_runs.id)
                .where(
                    _runs.tenant == tenant,
                    _runs.state == str(RunState.DONE),
                    _runs.kind.not_in(_ASIDE),
                )
                .order_by(desc(_runs.finished_at), desc(_runs.started_at))
                .limit(1)
            )
            is_trial = row.kind == str(RunKind.TRIAL)
            if not is_trial and (await connection.execute(latest)).scalar_one_or_none() != run:
                return False
            result = await connection.execute(
                update(provision_runs)
                .where(_runs.id == run, _runs.state == str(RunState.DONE))
                .values(
                    state=str(RunState.UNDOING),
                    holder=self._holder,
                    held_until=now + self._hold_s,
                    finished_at=None,
                )
            )
        return result.rowcount == 1

    async def abandoned(self) -> Sequence[str]:
        now = self._clock()
        query = (
            select(_runs.id)
            .where(
                _runs.state.in_([str(s) for s in _UNFINISHED]),
                or_(_runs.held_until.is_(None), _runs.held_until <= now),
            )
            .order_by(_runs.started_at)
        )
        async with self._database.read() as connection:
            return tuple((await connection.execute(query)).scalars().all())

    async def run(self, run: str) -> Run | None:
        async with self._database.read() as connection:
            row = (
                (await connection.execute(select(provision_runs).where(_runs.id == run)))
                .mappings()
                .first()
            )
            if row is None:
                return None
            steps = (
                (
                    await connection.execute(
                        select(provision_steps).where(_steps.run == run).order_by(_steps.number)
                    )
                )
                .mappings()
                .all()
            )
        return self._run(row, tuple(self._step(step) for step in steps))

    async def latest(self, tenant: str) -> Run | None:
        query = (
            select(_runs.id, _runs.kind)
            .where(
                _runs.tenant == tenant,
                _runs.state == str(RunState.DONE),
                _runs.kind.not_in(_ASIDE),
            )
            .order_by(desc(_runs.finished_at), desc(_runs.started_at))
            .limit(1)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        return (
            None
            if row is None or row["kind"] == str(RunKind.DESTROY)
            else await self.run(row["id"])
        )

    async def actors(self, runs: Collection[str]) -> Mapping[str, str]:
        query = select(_runs.id, _runs.actor).where(_runs.id.in_(runs))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return {row.id: row.actor for row in rows}

    async def moves(self, tenant: str) -> Sequence[Run]:
        query = select(provision_runs).where(
            _runs.tenant == tenant, _runs.kind == str(RunKind.MOVE)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [self._run(row, ()) for row in rows]

    async def trials(self, tenant: str | None = None) -> Sequence[Run]:
        query = select(provision_runs).where(
            _runs.kind == str(RunKind.TRIAL), _runs.state == str(RunState.DONE)
        )
        if tenant is not None:
            query = query.where(_runs.tenant == tenant)
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(_runs.started_at))).mappings().all()
        return [self._run(row, ()) for row in rows]

    async def page(
        self,
        tenant: str | None,
        *,
        state: RunState | None = None,
        position: str | None,
        limit: int,
    ) -> Page[Run]:
        """Newest first; ``position`` is the time and id of the last row seen."""
        query = (
            select(provision_runs).order_by(desc(_runs.started_at), desc(_runs.id)).limit(limit + 1)
        )
        if tenant is not None:
            query = query.where(_runs.tenant == tenant)
        if state is not None:
            query = query.where(_runs.state == state.value)
        if position is not None:
            at, _, last = position.partition("/")
            query = query.where(
                or_(
                    _runs.started_at < float(at),
                    (_runs.started_at == float(at)) & (_runs.id < last),
                )
            )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        runs = [self._run(row, ()) for row in rows[:limit]]
        return Page(runs, f"{runs[-1].started_at!r}/{runs[-1].id}" if len(rows) > limit else None)

    def _run(self, row: RowMapping, steps: Sequence[JournalStep]) -> Run:
        request = json.loads(
            self._database.crypt.open(
                row["request"], table=provision_runs.name, row=row["id"], column="request"
            ).reveal()
        )
        return Run(
            row["id"],
            row["tenant"],
            RunKind(row["kind"]),
            row["actor"],
            RunState(row["state"]),
            request,
            tuple(row["plan"] or ()),
            row["started_at"],
            row["finished_at"],
            row["error"],
            steps,
        )

    def _step(self, row: RowMapping) -> JournalStep:
        before = None
        if row["before"] is not None:
            cell = f"{row['run']}/{row['number']}"
            before = json.loads(
                self._database.crypt.open(
                    row["before"], table=provision_steps.name, row=cell, column="before"
                ).reveal()
            )
        state, undo = StepState(row["state"]), row["undo"] or {}
        return JournalStep(
            row["number"],
            Action(row["action"]),
            row["resource"],
            state,
            undo,
            before,
            row["started_at"],
            row["error"],
            row["finished_at"],
        )
