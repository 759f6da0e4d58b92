"""Whether a run can be taken back. Asked before the run is opened again: what is refused only then
holds the tenant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.provisioning.credentials import ClientCredentials
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.runs import FINISHED, Action, RunKind, StepState

if TYPE_CHECKING:
    from gateway.provisioning.credentials import Registrar
    from gateway.provisioning.runs import Run

_KINDS = frozenset({"taken", "read_only"})


async def refused_rollback(
    registrar: Registrar, run: Run, *, bound: bool
) -> PreflightProblem | None:
    """Of the latest finished run of its tenant."""
    if run.kind is RunKind.RENEW:
        return PreflightProblem(
            "conflict",
            "run",
            f"run {run.id} renewed a secret or metadata, and the former are not kept with it: its "
            "setup link puts them back, or provision the provider again",
        )
    if run.kind in FINISHED:
        return PreflightProblem(
            "conflict",
            "run",
            f"run {run.id} deleted what was not used any more, and what was before it cannot be "
            "brought back",
        )
    for step in run.steps:
        if step.action is Action.PUT_CREDENTIALS and step.before is not None:
            before = ClientCredentials.unsealed(step.before)
            taken = sorted(await registrar.taken_clients(run.tenant, before.client_ids))
            if taken:
                return PreflightProblem(
                    "taken", "client", f"{', '.join(taken)}: another tenant has it by now"
                )
        if step.action is not Action.PUT_TENANT or step.state is not StepState.DONE:
            continue
        refusal = await registrar.refused_restore(
            run.tenant,
            (step.before or {}).get("tenant"),
            written=step.undo.get("written"),
            bound=bound,
        )
        if refusal is not None:
            kind = refusal.code if refusal.code in _KINDS else "conflict"
            return PreflightProblem(kind, "tenant", str(refusal))
    return None
