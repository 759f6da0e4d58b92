"""A move, tried before it is made: a client in the other pool that one test link knows.

Rules:
- A trial makes what the move would make, and switches nothing: the tenant's credentials and
  document stay, so no login but the test's goes to the other pool.
- It is undone by its journal, as a run that failed: before the move, with another trial, when the
  tenant is destroyed, or when its link can be of no use any more.
- No move goes to the pool of one: what it deletes at its end would be the move's.
- One in a pool that takes no changes now, or that is not configured any more, waits for it. It is
  in the way of what goes to that pool, and of nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.core.login import PENDING_LIFETIME_S
from gateway.core.signed_link import LIFETIME_S
from gateway.errors import GatewayError, UnavailableError
from gateway.log import fields
from gateway.provisioning.desired import describe
from gateway.provisioning.move import making
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.rotation import LOOK_EVERY_S
from gateway.provisioning.runner import Done
from gateway.provisioning.runs import RunKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.core.model import AppClient
    from gateway.provisioning.move import MoveProposal, PoolMove
    from gateway.provisioning.runner import Outcome, Provisioning
    from gateway.provisioning.runs import Run
    from gateway.provisioning.steps import Steps, Work

ENDS_S: Final = LIFETIME_S + PENDING_LIFETIME_S + 60.0
"""After which nobody is on the way of its link any more."""
_log = logging.getLogger(__name__)
_BUSY: Final = PreflightProblem("busy", "tenant", "another run of this tenant is in progress")


@dataclass(frozen=True, slots=True)
class Tried:
    """What a test link is made with."""

    client: AppClient
    proposal: MoveProposal
    run: str


@dataclass(frozen=True, slots=True)
class MoveTrials:
    """Begins trials, and ends them."""

    provisioning: Provisioning
    moves: PoolMove

    async def begin(
        self, tenant: str, to: str, *, actor: str
    ) -> Tried | Sequence[PreflightProblem] | Outcome:
        """In place of another trial of the tenant. Raises ``UnavailableError`` and
        ``CognitoRejectedError``.
        """
        remaining = await self.end(tenant, to=to)
        if remaining:
            return remaining
        proposal = await self.moves.propose(tenant, to)
        goal = proposal.goal
        if proposal.plan.problems or goal is None:
            return proposal.plan.problems
        client: AppClient | None = None

        async def works(steps: Steps) -> AsyncIterator[Work]:
            nonlocal client
            for work in making(steps, proposal, goal):
                yield work
            client = steps.credentials_made().login_client

        outcome = await self.provisioning.run(
            tenant,
            works,
            run=self.provisioning.new_run(),
            kind=RunKind.TRIAL,
            actor=actor,
            request={},
            plan=[describe(step) for step in proposal.plan.steps],
            pool=to,
            stands=lambda: self.moves.bases.unchanged(tenant, goal.basis),
        )
        if not isinstance(outcome, Done) or client is None:
            return outcome
        return Tried(client, proposal, outcome.run)

    async def end(self, tenant: str, *, to: str | None = None) -> tuple[PreflightProblem, ...]:
        """Every one that can be ended. Why one that cannot keeps the tenant from going to the pool
        ``to``, or from ending.
        """
        trials = await self.provisioning.journal.trials(tenant)
        problems = [(trial.pool, await self._undone(trial)) for trial in trials]
        return tuple(
            problem
            for pool, problem in problems
            if problem is not None and (problem is _BUSY or pool == to)
        )

    async def end_due(self) -> int:
        """Once: how many were ended whose link can be of no use any more."""
        due = self.provisioning.clock() - ENDS_S
        trials = await self.provisioning.journal.trials()
        ended = [await self._undone(t) for t in trials if (t.finished_at or 0.0) <= due]
        return ended.count(None)

    async def end_forever(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.end_due()
            except GatewayError as error:
                _log.warning("provision_trial_later", extra=fields(detail=str(error)))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _undone(self, trial: Run) -> PreflightProblem | None:
        """Why it is not. What is reopened keeps the tenant for itself until it is undone, so the
        pool is asked for first.
        """
        journal, pools = self.provisioning.journal, self.provisioning.pools
        try:
            pools.named(trial.pool)
            pools.expect_changes(trial.pool)
        except UnavailableError as error:
            detail = str(error)
            _log.warning("provision_trial_later", extra=fields(tenant=trial.tenant, detail=detail))
            return PreflightProblem("conflict", "pool", f"{detail}; a move there was tested")
        if not await journal.reopen(trial.id):
            return _BUSY
        try:
            await self.provisioning.undo(trial.id)
        except GatewayError as error:
            # Recovery goes on with it.
            detail = str(error)
            _log.warning("provision_undo_later", extra=fields(run=trial.id, detail=detail))
            await journal.release(trial.id)
            return _BUSY
        return None
