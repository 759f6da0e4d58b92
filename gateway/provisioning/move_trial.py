"""A move, tried before it is made: a client in the other pool that one test link knows.

Rules:
- A trial makes what the move would make, and switches nothing: the tenant's credentials and
  document stay, so no login but the test's goes to the other pool.
- It is undone by its journal, as a run that failed: before the move, with another trial, when the
  tenant is destroyed, or when its link can be of no use any more.
- No move is made beside one: what it deletes at its end would be the move's.
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
        if not await self.end(tenant):
            return (_BUSY,)
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

    async def end(self, tenant: str) -> bool:
        """Whether there is none any more, or what is left of it is being deleted. False: another
        run of the tenant is in progress.
        """
        trials = await self.provisioning.journal.trials(tenant)
        return all([await self._undone(trial) for trial in trials])

    async def end_due(self) -> int:
        """Once: how many were ended whose link can be of no use any more."""
        due = self.provisioning.clock() - ENDS_S
        trials = await self.provisioning.journal.trials()
        return sum([await self._undone(t) for t in trials if (t.finished_at or 0.0) <= due])

    async def end_forever(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.end_due()
            except GatewayError as error:
                _log.warning("provision_trial_later", extra=fields(detail=str(error)))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _undone(self, trial: Run) -> bool:
        journal = self.provisioning.journal
        try:
            self.provisioning.pools.expect_changes(trial.pool)
        except UnavailableError as error:
            detail = str(error)
            _log.warning("provision_trial_later", extra=fields(tenant=trial.tenant, detail=detail))
            return False
        if not await journal.reopen(trial.id):
            return False
        try:
            await self.provisioning.undo(trial.id)
        except GatewayError as error:
            # Recovery goes on with it.
            detail = str(error)
            _log.warning("provision_undo_later", extra=fields(run=trial.id, detail=detail))
            await journal.release(trial.id)
            return False
        return True
