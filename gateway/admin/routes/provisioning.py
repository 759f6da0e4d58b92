"""``/tenants/{tenant}/provision``: propose, apply, look after, take back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, RootModel

from gateway.admin.keys import Scope
from gateway.admin.listing import list_page
from gateway.admin.problem import Code, Mistake, Problem
from gateway.admin.redaction import SecretFree
from gateway.admin.route import PARAMETERS, Answer, AnswerModel, ApiModel, Call, PageQuery, Route
from gateway.provisioning.desired import describe
from gateway.provisioning.request import ProvisionBody
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import Busy, RunState
from gateway.tenants.document import TenantDocument
from gateway.tenants.secrets import show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.core.json_types import Json
    from gateway.provisioning.plan_rows import Plan
    from gateway.provisioning.preflight import PreflightProblem
    from gateway.provisioning.proposal import Proposal
    from gateway.provisioning.runner import Outcome
    from gateway.provisioning.runs import Journal, JournalStep, Run
    from gateway.provisioning.service import Drift, Onboarding

_CODES = {
    "bound": Code.TENANT_BOUND,
    "exists": Code.EXISTS,
    "taken": Code.TAKEN,
    "read_only": Code.READ_ONLY,
    "busy": Code.BUSY,
    "conflict": Code.CONFLICT,
    "not_found": Code.NOT_FOUND,
    "quota": Code.QUOTA_REACHED,
    "invalid": Code.PREFLIGHT_FAILED,
}
"""Kinds of findings, the telling ones first → problem codes."""
_REGISTRY_CODES = {
    "taken": Code.TAKEN,
    "exists": Code.EXISTS,
    "conflict": Code.CONFLICT,
    "read_only": Code.READ_ONLY,
    "not_found": Code.NOT_FOUND,
}


class ProvisionQuery(ApiModel):
    """``dry_run`` answers the plan and changes nothing."""

    dry_run: bool = False


class VerifyQuery(ApiModel):
    """``fix`` applies the way back to what was provisioned."""

    fix: bool = False


class RunsQuery(PageQuery):
    """Each narrows."""

    tenant: Annotated[str, Field(pattern=f"^{PARAMETERS['tenant']}$")] | None = None
    state: RunState | None = None


class ChangeAnswer(AnswerModel):
    """One setting; secrets are ``***``."""

    setting: str
    now: Any
    wanted: Any


class StepAnswer(AnswerModel):
    """One row of a plan."""

    verb: Literal["add", "create", "change", "adopt", "keep", "remove"]
    resource: Literal[
        "attributes",
        "provider",
        "client",
        "client_secret",
        "password_client",
        "login_reuse",
        "tenant",
        "group",
        "style",
    ]
    name: str
    why: str
    changes: list[ChangeAnswer]


class PlanAnswer(AnswerModel):
    """What would be done, and why."""

    tenant: str
    dry_run: Literal[True] = True
    steps: list[StepAnswer]
    notes: list[str]


class ProvisionedAnswer(AnswerModel):
    """What was done. ``in_force``: published, and what it removes ends everywhere; what it adds,
    replicas hear of within milliseconds. The client's secret is not shown: the gateway keeps it.
    """

    tenant: str
    run: str
    client_id: str
    password_client_id: str | None
    providers: list[str]
    hosts: list[str]
    hooks: Annotated[
        dict[str, str],
        Field(description="by provider: where its hook address, secret, events and test are"),
    ]
    steps: list[StepAnswer]
    notes: list[str]
    in_force: bool


class ReprovisionAnswer(RootModel[ProvisionedAnswer | PlanAnswer]):
    """The plan on a dry run, else what was done."""

    model_config = ConfigDict(frozen=True)


class DriftAnswer(AnswerModel):
    """``clean``: the pool is as it was provisioned. ``run``: the run that repaired it, if asked
    to.
    """

    tenant: str
    clean: bool
    steps: list[StepAnswer]
    problems: list[str]
    notes: list[str]
    run: str | None


class JournalAnswer(AnswerModel):
    """One step of a run."""

    number: int
    action: str
    resource: str
    state: Literal["intended", "done", "refused", "undone"]
    error: dict[str, Any] | None


class RunAnswer(AnswerModel):
    """One run. ``settling``: taken back, and watched for the late effect of a call that nobody
    answered.
    """

    id: str
    tenant: str
    kind: Literal["apply", "rotate", "move", "retire", "destroy", "renew", "reload", "trial"]
    actor: str
    state: Literal["running", "undoing", "settling", "done", "rolled_back"]
    started_at: float
    finished_at: float | None
    error: dict[str, Any] | None
    plan: list[dict[str, Any]]
    steps: Annotated[list[JournalAnswer], Field(description="empty in lists")]


class RunList(AnswerModel):
    items: list[RunAnswer]
    next: str | None


@dataclass(frozen=True, slots=True)
class ProvisioningRoutes:
    """Everything that a tenant needs in the pool, and its runs."""

    onboarding: Onboarding

    @property
    def journal(self) -> Journal:
        return self.onboarding.provisioning.journal

    async def provision(self, call: Call) -> Answer:
        return await self._provision(call, update=False)

    async def reprovision(self, call: Call) -> Answer:
        return await self._provision(call, update=True)

    async def _provision(self, call: Call, *, update: bool) -> Answer:
        tenant, body = call.path["tenant"], call.body(ProvisionBody)
        proposal = await self.onboarding.propose(
            tenant, body, update=update, bound=call.key.tenant is not None
        )
        if proposal.problems:
            raise problem(proposal.problems)
        if call.query(ProvisionQuery).dry_run:
            call.note.dry_run = True
            return Answer(
                PlanAnswer(
                    tenant=tenant, steps=plan_steps(proposal.plan), notes=list(proposal.plan.notes)
                )
            )
        outcome = await self.onboarding.apply(proposal, actor=call.actor)
        run = done(outcome)
        call.note.before, call.note.after = (
            None if proposal.basis is None else _version(proposal.basis.document),
            {
                "run": run.run,
                "steps": [describe(s) for s in proposal.plan.steps],
                "tenant": _version(proposal.document),
            },
        )
        return Answer(
            await self._provisioned(proposal, run),
            status=200 if update else 201,
            headers={"Location": f"/admin/v1/tenants/{tenant}/provision/{run.run}"},
        )

    async def _provisioned(self, proposal: Proposal, run: Done) -> ProvisionedAnswer:
        credentials = await self.onboarding.provisioning.registrar.credentials(proposal.tenant)
        passwords = credentials.password_client if credentials else None
        record = await self.onboarding.records.get(proposal.tenant)
        connected = [str(p["name"]) for p in record.document.get("providers", ())] if record else []
        return ProvisionedAnswer(
            tenant=proposal.tenant,
            hooks={name: f"/admin/v1/tenants/{proposal.tenant}/hooks/{name}" for name in connected},
            run=run.run,
            client_id=credentials.client_id if credentials else "",
            password_client_id=passwords.client_id if passwords else None,
            providers=[p.name for p in proposal.wanted.providers] if proposal.wanted else [],
            hosts=list(record.document.get("hosts", ())) if record else [],
            steps=plan_steps(proposal.plan),
            notes=[*proposal.plan.notes, *_unfinished(run)],
            in_force=run.in_force,
        )

    async def list_runs(self, call: Call) -> Answer:
        return await list_page(
            "list_runs",
            call.query(PageQuery),
            partial(self.journal.page, call.path["tenant"]),
            row=lambda run: _run(run, call),
            model=RunList,
        )

    async def list_all_runs(self, call: Call) -> Answer:
        query = call.query(RunsQuery)
        return await list_page(
            "list_all_runs",
            query,
            partial(self.journal.page, query.tenant, state=query.state),
            row=lambda run: _run(run, call),
            model=RunList,
        )

    async def get_run(self, call: Call) -> Answer:
        return Answer(_run(await self._own_run(call), call))

    async def rollback_run(self, call: Call) -> Answer:
        run = await self._own_run(call)
        if call.key.tenant is not None and run.actor != call.actor:
            # It could bring back hosts and domains that an operator has taken away.
            raise Problem(Code.TENANT_BOUND, "a tenant's own key takes back its own runs only")
        call.note.before = {"run": run.id, "state": str(run.state)}
        state = await self.onboarding.roll_back(
            run.tenant, run.id, bound=call.key.tenant is not None
        )
        if not isinstance(state, RunState):
            raise problem([state])
        call.note.after = {"run": run.id, "state": str(state)}
        return Answer(_run(await self._own_run(call), call))

    async def _own_run(self, call: Call) -> Run:
        run = await self.journal.run(call.path["run"])
        if run is None or run.tenant != call.path["tenant"]:
            raise Problem(Code.NOT_FOUND)
        return run

    async def verify(self, call: Call) -> Answer:
        fix = call.query(VerifyQuery).fix
        if fix and call.key.tenant is not None:
            # It could bring back what an operator has taken away in the pool.
            raise Problem(
                Code.TENANT_BOUND,
                "fix: only an operator mends what differs; provision again to change it",
            )
        drift = await self.onboarding.verify(call.path["tenant"], fix=fix, actor=call.actor)
        if drift is None:
            raise Problem(Code.NOT_FOUND, "the tenant is not provisioned")
        call.note.after = {
            "clean": drift.clean,
            "changes": [str(d) for s in drift.steps for d in s.differences],
        }
        run = None if drift.fixed is None else done(drift.fixed).run
        steps = [_step(s) for s in map(describe, drift.steps)]
        return Answer(
            DriftAnswer(
                tenant=drift.tenant,
                clean=drift.clean,
                steps=steps,
                problems=[str(p) for p in drift.problems],
                notes=[*drift.notes, *_half_made(drift, names=call.key.may(Scope.USERS_READ))],
                run=run,
            )
        )

    async def destroy(self, call: Call) -> Answer:
        record = await self.onboarding.records.get(call.path["tenant"])
        call.note.before = None if record is None else _version(record.document)
        outcome = await self.onboarding.destroy(call.path["tenant"], actor=call.actor)
        if not isinstance(outcome, Done | Failed | Busy):
            raise problem([outcome])
        call.note.after = {"run": done(outcome).run}
        return Answer(status=204)

    def routes(self) -> tuple[Route, ...]:
        failures = (
            Code.PREFLIGHT_FAILED,
            Code.COGNITO_REFUSED,
            Code.QUOTA_REACHED,
            Code.TAKEN,
            Code.READ_ONLY,
            Code.BUSY,
            Code.CONFLICT,
            Code.TENANT_BOUND,
        )
        base = "/tenants/{tenant}/provision"
        return (
            Route(
                "provision",
                "POST",
                base,
                "Make everything a tenant needs, or nothing",
                self.provision,
                {200: PlanAnswer, 201: ProvisionedAnswer},
                query=ProvisionQuery,
                body=ProvisionBody,
                problems=(*failures, Code.EXISTS),
                creates=True,
            ),
            Route(
                "reprovision",
                "PUT",
                base,
                "Make it what the body says, changing only what differs",
                self.reprovision,
                {200: ReprovisionAnswer},
                query=ProvisionQuery,
                body=ProvisionBody,
                problems=(*failures, Code.EXISTS),
                creates=True,
            ),
            Route(
                "list_runs",
                "GET",
                base,
                "Runs of a tenant, newest first",
                self.list_runs,
                {200: RunList},
                query=PageQuery,
            ),
            Route(
                "list_all_runs",
                "GET",
                "/provision-runs",
                "Runs of all tenants, newest first",
                self.list_all_runs,
                {200: RunList},
                query=RunsQuery,
            ),
            Route(
                "destroy",
                "DELETE",
                base,
                "End a tenant: its sessions, client and the providers that the gateway made",
                self.destroy,
                {204: None},
                problems=(Code.BUSY, Code.COGNITO_REFUSED),
            ),
            Route(
                "verify",
                "POST",
                f"{base}/verify",
                "Differences from what was provisioned; repaired if asked",
                self.verify,
                {200: DriftAnswer},
                query=VerifyQuery,
                problems=(Code.BUSY, Code.COGNITO_REFUSED, Code.TENANT_BOUND, Code.CONFLICT),
            ),
            Route(
                "get_run",
                "GET",
                f"{base}/{{run}}",
                "One run with its journal",
                self.get_run,
                {200: RunAnswer},
            ),
            Route(
                "rollback_run",
                "POST",
                f"{base}/{{run}}/rollback",
                "Take back the latest finished run",
                self.rollback_run,
                {200: RunAnswer},
                problems=(
                    Code.CONFLICT,
                    Code.TAKEN,
                    Code.READ_ONLY,
                    Code.BUSY,
                    Code.TENANT_BOUND,
                ),
            ),
        )


def _half_made(drift: Drift, *, names: bool) -> Iterator[str]:
    """``names``: whether the caller may read who the users are."""
    for creation in drift.half_made:
        who = creation.address if names else "a user (their address is for users:read)"
        at = datetime.fromtimestamp(creation.begun_at, UTC).isoformat(timespec="seconds")
        yield (
            f"{who}: their creation in the pool was interrupted at {at}, and they are in no group "
            f"yet: create them again (gateway users create {drift.tenant} ADDRESS), which finishes "
            "it"
        )


def problem(findings: Sequence[PreflightProblem]) -> Problem:
    """The first of the telling kind gives the code; every one is in ``errors``."""
    kind = next(k for k in _CODES if any(f.kind == k for f in findings))
    detail = "; ".join(str(f) for f in findings[:3]) + (
        f" (and {len(findings) - 3} more)" if len(findings) > 3 else ""
    )
    return Problem(_CODES[kind], detail, mistakes=[Mistake(f.where, f.message) for f in findings])


def done(outcome: Outcome) -> Done:
    """What is done; anything else is a problem."""
    if isinstance(outcome, Done):
        return outcome
    if isinstance(outcome, Busy):
        state = "was interrupted and is being rolled back" if outcome.interrupted else "is going on"
        raise Problem(
            Code.BUSY, f"run {outcome.run} of this tenant {state}", extra={"run": outcome.run}
        )
    remainder = {
        "rolled_back": "nothing of it is left",
        "settling": "nothing of it is to be seen; watched for a late effect",
    }.get(str(outcome.state), "it is being rolled back")
    if outcome.refused_by == "deposed":
        remainder = "another process goes on with it"
    extra: dict[str, object] = {"run": outcome.run, "state": str(outcome.state), "left": remainder}
    if outcome.refused_by == "registry":
        raise Problem(
            _REGISTRY_CODES.get(outcome.code, Code.INVALID_BODY), outcome.message, extra=extra
        )
    if outcome.refused_by == "cognito":
        code = {
            "LimitExceededException": Code.QUOTA_REACHED,
            "DuplicateProviderException": Code.EXISTS,
            "GroupExistsException": Code.EXISTS,
        }.get(outcome.code, Code.COGNITO_REFUSED)
        raise Problem(code, outcome.message, extra={**extra, "cognito_error": outcome.code})
    raise Problem(Code.UNAVAILABLE, outcome.message, extra=extra)


def _unfinished(run: Done) -> list[str]:
    return (
        [f"what was taken out is being deleted by run {run.deleting}"]
        if run.deleting is not None
        else []
    )


def plan_steps(plan: Plan) -> list[StepAnswer]:
    return [_step(describe(s)) for s in plan.steps]


def _step(described: dict[str, Any]) -> StepAnswer:
    return StepAnswer.model_validate(described)


def _run(run: Run, call: Call) -> RunAnswer:
    return RunAnswer(
        id=run.id,
        tenant=run.tenant,
        kind=run.kind.value,
        actor=run.actor,
        state=run.state.value,
        started_at=run.started_at,
        finished_at=run.finished_at,
        error=_error(run.error, call),
        plan=list(run.plan),
        steps=[_journal(s, call) for s in run.steps],
    )


def _journal(step: JournalStep, call: Call) -> JournalAnswer:
    return JournalAnswer(
        number=step.number,
        action=str(step.action),
        resource=step.resource,
        state=step.state.value,
        error=_error(step.error, call),
    )


def _error(error: dict[str, Any] | None, call: Call) -> dict[str, Any] | None:
    """What a run was refused with; without who holds a name, for a bound key."""
    if error is None or call.key.tenant is None or error.get("code") != Code.TAKEN:
        return error
    return {"code": error["code"], "message": "a name in it is already in use"}


def _version(document: Json | None) -> SecretFree | None:
    """As it is recorded, and restored. Its model says which of its values are secrets, whoever made
    it.
    """
    return None if document is None else SecretFree(show(TenantDocument.model_validate(document)))
