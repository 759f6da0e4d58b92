"""Apply a plan with a journal, or leave nothing behind.

Rules:
- The journal is written before each call and after it. Whoever finds a run that nobody holds undoes
  it from the journal.
- Whatever goes wrong, the run is undone in reverse order; only ``done`` means that anything of it
  stays.
- One run at a time per tenant, over all processes. What a run deletes at its end is a run of its
  own that begins in the same transaction: what cannot be made again goes only when everything else
  is done.
- A process that was taken for dead and wakes up again finds itself deposed, and takes back its last
  call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gateway.background import background_task
from gateway.cognito.api import CognitoRejectedError
from gateway.core.model import DEFAULT_POOL
from gateway.errors import GatewayError, UnavailableError
from gateway.log import fields
from gateway.metrics import PROVISIONING_RUNS, begin_at_zero
from gateway.provisioning.credentials import RegistryRejectedError
from gateway.provisioning.deletion import deleting
from gateway.provisioning.failure_setting import setting_of
from gateway.provisioning.runs import (
    ACTIVE,
    ASIDE,
    FINISHED,
    Busy,
    DeposedError,
    JournalStep,
    RunKind,
    RunState,
    StepState,
)
from gateway.provisioning.steps import VISIBLE_S, Steps
from gateway.provisioning.undo import Undoing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from gateway.cognito.pools import Pools
    from gateway.core.json_types import Json
    from gateway.provisioning.credentials import Registrar
    from gateway.provisioning.runs import Action, Journal, Run
    from gateway.provisioning.steps import Work

log = logging.getLogger(__name__)
begin_at_zero(PROVISIONING_RUNS, ["busy", "recovered", *(state.value for state in RunState)])

NO_ROOM = "LimitExceededException"
BEAT_S = 8.0
"""How often a running run renews its hold of 30 s."""
RECOVER_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Done:
    """All of it is there. ``in_force`` False: stored, and not yet published or confirmed; see
    ``Registrar.in_force``.
    """

    run: str
    in_force: bool = True
    deleting: str | None = None
    """The run that deletes what this one left, where it has not ended: recovery finishes it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing of it is there (``state`` rolled_back), or what is left is being taken back (undoing,
    settling).

    ``code`` is Cognito's exception, the registry's refusal, or ``unavailable``; ``message`` is
    their own.
    """

    run: str
    code: str
    message: str
    state: RunState
    refused_by: str
    """``cognito``, ``registry``, ``nobody``, or ``deposed``: another process took the run over."""


Outcome = Done | Failed | Busy


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why the works of a run ended early; fields as of ``Failed``."""

    code: str
    message: str
    by: str
    action: Action | None = None
    """Of the step that failed."""


def _deposed(error: DeposedError) -> _Failure:
    return _Failure("interrupted", str(error), "deposed")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; see the constants. Tests shorten them."""

    visible_s: float = VISIBLE_S
    beat_s: float = BEAT_S
    recover_every_s: float = RECOVER_EVERY_S


@dataclass(frozen=True, slots=True)
class Provisioning:
    """``clock`` is UTC epoch seconds."""

    pools: Pools
    journal: Journal
    registrar: Registrar
    new_run: Callable[[], str]
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    timing: Timing = field(default_factory=Timing)

    async def run(
        self,
        tenant: str,
        works: Callable[[Steps], AsyncIterator[Work]],
        *,
        run: str,
        kind: RunKind,
        actor: str,
        request: Json,
        plan: Sequence[Json],
        pool: str = DEFAULT_POOL,
        stands: Callable[[], Awaitable[bool]] | None = None,
        follow_up: Json | None = None,
    ) -> Outcome:
        """Every work in order, in ``pool``. ``works`` refuses by ``RegistryRejectedError``. Raises
        ``UnavailableError`` where that takes no changes, or the journal itself is lost; recovery
        then undoes the run.

        ``stands`` is asked once no other run of the tenant can begin: whether what the works were
        planned from is still so. ``follow_up``: of the ``RETIRE`` run that deletes what is left.
        """
        self.pools.expect_changes(pool)
        where: Json = {} if pool == DEFAULT_POOL else {"pool": pool}
        request, follow_up = {**request, **where}, follow_up and {**follow_up, **where}
        result = await self.journal.open(
            run, tenant=tenant, kind=kind, actor=actor, request=request, plan=plan
        )
        if isinstance(result, Busy):
            PROVISIONING_RUNS.labels("busy").inc()
            return result
        log.info(
            "provision_started", extra=fields(tenant=tenant, run=run, kind=str(kind), actor=actor)
        )
        try:
            async with self._held(run):
                if stands is not None and not await stands():
                    return await self._outdated(run, tenant)
                failure = await self._attempted(run, tenant, works, pool=pool)
                if failure is not None:
                    return await self._failed(run, tenant, kind, failure)
                following = await self._concluded(run, follow_up)
                outcome = Done(run, in_force=await self._in_force(tenant, run))
        except DeposedError as deposed:
            # Whoever has the run now finishes or undoes it by the journal, in which everything
            # stands that was done here.
            return await self._failed(run, tenant, kind, _deposed(deposed))
        try:
            return outcome if following is None else await self._delete(outcome, following)
        except DeposedError:
            # Done, and another process deletes what is left over.
            return replace(outcome, deleting=following.id if following is not None else None)

    async def _outdated(self, run: str, tenant: str) -> Failed:
        message = f"tenant {tenant} was changed at the same moment: look at it, and ask again"
        await self.journal.move(
            run, RunState.ROLLED_BACK, error={"code": "conflict", "message": message}
        )
        PROVISIONING_RUNS.labels(str(RunState.ROLLED_BACK)).inc()
        return Failed(run, "conflict", message, RunState.ROLLED_BACK, "registry")

    async def _concluded(self, run: str, follow_up: Json | None) -> Run | None:
        if follow_up is None:
            await self.journal.move(run, RunState.DONE)
            return None
        return await self.journal.follow(
            run, by=self.new_run(), kind=RunKind.RETIRE, request=follow_up
        )

    async def _delete(self, done: Done, following: Run) -> Done:
        async with self._held(following.id):
            failure = await self._forward(
                following.id,
                following.tenant,
                lambda steps: deleting(steps, following.kind, following.tenant, following.request),
                pool=following.pool,
            )
            if failure is None:
                await self.journal.move(following.id, RunState.DONE)
                return done
            await self._failed(following.id, following.tenant, following.kind, failure)
            return replace(done, deleting=following.id)

    async def _failed(self, run: str, tenant: str, kind: RunKind, failure: _Failure) -> Failed:
        code, message, by = failure.code, failure.message, failure.by
        log.warning(
            "provision_failed",
            extra=fields(
                tenant=tenant,
                run=run,
                code=code,
                cause=message,
                setting=setting_of(code, failure.action),
            ),
        )
        if by == "deposed":
            state = RunState.RUNNING if kind in FINISHED else RunState.UNDOING
        elif kind in FINISHED:
            # Half-deleted is finished, never restored: recovery goes on with it.
            state = RunState.RUNNING
            await self.journal.move(run, state, error={"code": code, "message": message})
        else:
            await self.journal.move(run, RunState.UNDOING, error={"code": code, "message": message})
            state = await self._undo_quietly(run)
        if by != "deposed" and state in ACTIVE:
            await self.journal.release(run)
        PROVISIONING_RUNS.labels(str(state)).inc()
        return Failed(run, code, message, state, by)

    async def _attempted(
        self,
        run: str,
        tenant: str,
        works: Callable[[Steps], AsyncIterator[Work]],
        pool: str,
    ) -> _Failure | None:
        """As ``_forward``; what the works find between two calls may refuse the run too."""
        try:
            return await self._forward(run, tenant, works, pool)
        except RegistryRejectedError as refused:
            return _Failure(refused.code, str(refused), "registry")
        except CognitoRejectedError as refused:
            return _Failure(refused.code, str(refused), "cognito")

    async def _forward(
        self,
        run: str,
        tenant: str,
        works: Callable[[Steps], AsyncIterator[Work]],
        pool: str,
    ) -> _Failure | None:
        """None when all is done."""
        steps = self._steps(run, pool)
        number = 0
        async for work in works(steps):
            number += 1
            try:
                await self.journal.intend(
                    run, number, work.action, work.resource, undo=work.undo, before=work.before
                )
            except DeposedError as deposed:
                return _deposed(deposed)
            try:
                undo_details = await work.traced(run, number)
            except (CognitoRejectedError, RegistryRejectedError) as refused:
                if refused.code == NO_ROOM:
                    steps.pool.forget_counts()
                error = {"code": refused.code, "message": str(refused)}
                # Stays ``intended`` if an attempt before may have happened.
                if not (isinstance(refused, CognitoRejectedError) and refused.uncertain):
                    await self.journal.settle(run, number, StepState.REFUSED, error=error)
                return _Failure(
                    refused.code,
                    str(refused),
                    "cognito" if isinstance(refused, CognitoRejectedError) else "registry",
                    work.action,
                )
            except UnavailableError as unanswered:
                # Stays ``intended``: it may have happened.
                return _Failure("unavailable", str(unanswered), "nobody", work.action)
            try:
                await self.journal.settle(
                    run, number, StepState.DONE, undo={**work.undo, **undo_details}
                )
            except DeposedError as deposed:
                # Whoever undoes this run may have looked before our call took effect.
                step = JournalStep(
                    number,
                    work.action,
                    work.resource,
                    StepState.DONE,
                    {**work.undo, **undo_details},
                    work.before,
                    self.clock(),
                )
                await self._undoing(pool).undo(tenant, step)
                return _deposed(deposed)
        return None

    async def _in_force(self, tenant: str, run: str) -> bool:
        PROVISIONING_RUNS.labels("done").inc()
        log.info("provision_done", extra=fields(tenant=tenant, run=run))
        try:
            await self.registrar.in_force(tenant)
        except UnavailableError as error:
            log.warning(
                "provision_publish_pending", extra=fields(tenant=tenant, run=run, detail=str(error))
            )
            return False
        return True

    def _steps(self, run: str, pool: str) -> Steps:
        where, visible_s = self.pools.named(pool), self.timing.visible_s
        return Steps(
            where, self.registrar, run=run, clock=self.clock, sleep=self.sleep, visible_s=visible_s
        )

    def _undoing(self, pool: str) -> Undoing:
        where, visible_s = self.pools.named(pool), self.timing.visible_s
        return Undoing(where, self.registrar, clock=self.clock, visible_s=visible_s)

    @contextlib.asynccontextmanager
    async def _held(self, run: str) -> AsyncIterator[None]:
        """Renew the hold while working: a call may wait for a quota longer than the hold lasts."""

        async def beat() -> None:
            while True:
                await self.sleep(self.timing.beat_s)
                with contextlib.suppress(UnavailableError, DeposedError):
                    await self.journal.hold(run)

        async with background_task(beat()):
            yield

    # --- undoing and recovery ---------------------------------------------------------------------

    async def undo(self, run: str) -> RunState:
        """Take back what the journal says, as far as that is possible now. The caller holds the
        run.
        """
        record = await self.journal.run(run)
        if record is None:
            return RunState.ROLLED_BACK
        undoing, is_settled = self._undoing(record.pool), True
        for step in reversed(record.steps):
            if step.state in {StepState.REFUSED, StepState.UNDONE}:
                continue
            if step.finished_at is None:
                # Whoever was making this call is gone, or has given up.
                step = replace(step, finished_at=self.clock())  # noqa: PLW2901 - the same step, better known
                await self.journal.settle(run, step.number, step.state)
            if await undoing.undo(record.tenant, step, aside=record.kind in ASIDE):
                await self.journal.settle(run, step.number, StepState.UNDONE)
            else:
                is_settled = False
        state = RunState.ROLLED_BACK if is_settled else RunState.SETTLING
        await self.journal.move(run, state)
        log.info("provision_undone", extra=fields(tenant=record.tenant, run=run, state=str(state)))
        return state

    async def _undo_quietly(self, run: str) -> RunState:
        try:
            return await self.undo(run)
        except GatewayError as error:
            log.warning("provision_undo_later", extra=fields(run=run, detail=str(error)))
            return RunState.UNDOING

    async def recover(self) -> int:
        """Once: every run that nobody holds is undone or, where it only deletes, finished. The
        number that came to an end.
        """
        count = 0
        for run in await self.journal.abandoned():
            if not await self.journal.take_over(run):
                continue
            async with self._held(run):
                record = await self.journal.run(run)
                if record is None:
                    continue
                state = await (
                    self._finish(record) if record.kind in FINISHED else self._undo_quietly(run)
                )
            PROVISIONING_RUNS.labels("recovered").inc()
            count += state in {RunState.ROLLED_BACK, RunState.DONE}
        return count

    async def recover_forever(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.recover()
            except GatewayError as error:
                log.warning("provision_recovery", extra=fields(detail=str(error)))
            await self.sleep(self.timing.recover_every_s)

    async def _finish(self, run: Run) -> RunState:
        try:
            steps = self._steps(run.id, run.pool)
            async for work in deleting(steps, run.kind, run.tenant, run.request):
                await work.perform()
            await self.journal.move(run.id, RunState.DONE)
        except GatewayError as error:
            log.warning("provision_delete_later", extra=fields(run=run.id, detail=str(error)))
            return RunState.RUNNING
        return RunState.DONE
