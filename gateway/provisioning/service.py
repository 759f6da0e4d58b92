"""Onboarding: propose, apply, verify, roll back, destroy. The admin API and ``gateway provision``
are both thin over this.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.cognito.desired import OidcConnection, marker, run_of
from gateway.core.model import DEFAULT_POOL, Secret
from gateway.errors import UnavailableError
from gateway.provisioning.client_secret_rows import exchanged_notes, with_client_secrets
from gateway.provisioning.credentials import RegistryRejectedError, retired_ids
from gateway.provisioning.deletion import destroying
from gateway.provisioning.desired import (
    describe,
)
from gateway.provisioning.former_pools import FormerPools, all_steps, other_secrets
from gateway.provisioning.move import PoolMove
from gateway.provisioning.move_trial import MoveTrials
from gateway.provisioning.plan import plan
from gateway.provisioning.plan_rows import Resource, Step, Verb
from gateway.provisioning.pool_users import has_pool_users, recalled_users
from gateway.provisioning.preflight import PreflightProblem, invalid
from gateway.provisioning.proposal import BasisReader, Proposal, Proposer
from gateway.provisioning.publications import Publications
from gateway.provisioning.renewal import Renewal
from gateway.provisioning.rollback import refused_rollback
from gateway.provisioning.rotation import Rotation
from gateway.provisioning.runner import Done
from gateway.provisioning.runs import RunKind, RunState, carried
from gateway.provisioning.standing import read_standing
from gateway.provisioning.works import works
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from gateway.cognito.desired import Actual, WantedProvider
    from gateway.config.model import Config
    from gateway.provisioning.creations import Creation
    from gateway.provisioning.credentials import ClientCredentials
    from gateway.provisioning.discovery import DiscoveryFetcher
    from gateway.provisioning.move import StandingRestrictions
    from gateway.provisioning.request import ProvisionBody
    from gateway.provisioning.runner import Outcome, Provisioning
    from gateway.provisioning.runs import Run
    from gateway.tenants.api import TenantRecords
    from gateway.tenants.document import TenantDocument

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Drift:
    """What differs between what was provisioned and what is there now."""

    tenant: str
    run: str | None
    steps: tuple[Step, ...]
    problems: tuple[PreflightProblem, ...]
    fixed: Outcome | None = None
    notes: tuple[str, ...] = ()
    half_made: tuple[Creation, ...] = ()
    """Users of the pool whose creation was interrupted."""

    @property
    def clean(self) -> bool:
        return not self.problems and not any(s.does for s in self.steps)


@dataclass(frozen=True, slots=True)
class Onboarding:
    """``name_conflict``: which name of a document another tenant holds. ``restrictions``: what
    keeps people out. ``interrupted``: users of the pool whose creation for a tenant was.
    """

    config: Config
    records: TenantRecords
    provisioning: Provisioning
    discovery: DiscoveryFetcher
    name_conflict: Callable[[TenantDocument], Awaitable[str | None]]
    restrictions: StandingRestrictions
    interrupted: Callable[[str], Awaitable[Sequence[Creation]]]

    @property
    def bases(self) -> BasisReader:
        return BasisReader(self.records, self.provisioning.registrar, self.provisioning.journal)

    @property
    def rotation(self) -> Rotation:
        return Rotation(self.config, self.provisioning, self.bases)

    @property
    def former_pools(self) -> FormerPools:
        return FormerPools(self.config, self.provisioning, self.bases)

    @property
    def publications(self) -> Publications:
        return Publications(self.discovery, time.time, self.config.development)

    @property
    def renewal(self) -> Renewal:
        return Renewal(self.config, self.provisioning, self.bases, self.discovery)

    @property
    def pool_move(self) -> PoolMove:
        return PoolMove(self.config, self.provisioning, self.bases, self.restrictions)

    @property
    def move_trials(self) -> MoveTrials:
        return MoveTrials(self.provisioning, self.pool_move)

    async def propose(
        self, tenant: str, body: ProvisionBody, *, update: bool, bound: bool = False
    ) -> Proposal:
        """See ``Proposer.propose``."""
        proposer = Proposer(
            self.config, self.bases, self.provisioning.pools, self.discovery, self.name_conflict
        )
        return await proposer.propose(tenant, body, update=update, bound=bound)

    async def apply(
        self,
        proposal: Proposal,
        *,
        actor: str,
    ) -> Outcome:
        """Everything of the proposal, or nothing; nothing too where its basis has changed. The
        proposal must have no problems. What follows from it in pools that the tenant has left is
        done after it: what fails there is in the log, and ``verify`` shows it.
        """
        outcome = await self._apply(proposal, actor=actor)
        held = None if proposal.basis is None else proposal.basis.credentials
        if isinstance(outcome, Done) and held is not None and len(held.pools) > 1:
            await self.former_pools.follow(proposal.tenant, held.pools[1:], actor=actor)
        return outcome

    async def _apply(self, proposal: Proposal, *, actor: str) -> Outcome:
        basis = proposal.basis
        if proposal.problems or proposal.wanted is None or proposal.actual is None or basis is None:
            msg = "a proposal with problems is not applied"
            raise ValueError(msg)
        run = self.provisioning.new_run()
        new_names = {
            s.name
            for s in proposal.plan.steps
            if s.resource in {Resource.PROVIDER, Resource.GROUP} and s.verb is Verb.CREATE
        }
        request = {
            **carried(basis.latest),
            "providers": [
                {**e, "marker": marker(run, e["name"])}
                if e["name"] in new_names or e.get("group") in new_names
                else e
                for e in proposal.request["providers"]
            ],
            "custom_attributes": proposal.request.get("custom_attributes", []),
        }
        kinds = {e["name"]: e["kind"] for e in basis.known}
        ours = [
            {"name": name, "marker": mark, "kind": kinds.get(name)}
            for name, mark in proposal.leaving.items()
            if mark is not None
        ]
        return await self.provisioning.run(
            proposal.tenant,
            lambda steps: works(steps, proposal),
            run=run,
            kind=RunKind.APPLY,
            actor=actor,
            request=request,
            plan=[describe(s) for s in proposal.plan.steps],
            pool=proposal.pool,
            stands=lambda: self.bases.unchanged(proposal.tenant, basis),
            follow_up={**request, "retire": {"clients": [], "providers": ours}} if ours else None,
        )

    async def verify(self, tenant: str, *, fix: bool, actor: str) -> Drift | None:
        """None where the tenant is not provisioned. ``fix`` applies the way back to what was
        provisioned.
        """
        basis = await self.bases.read(tenant)
        standing = await read_standing(basis, self.config, self.provisioning.pools)
        if standing is None:
            return None
        latest, credentials = standing.latest, basis.credentials
        target, actual, lives_in = standing.wanted, standing.actual, standing.pool
        entries = latest.request.get("providers", ())
        repair_plan = plan(
            target,
            actual,
            quotas=self.provisioning.pools.named(lives_in).quotas,
            pool=lives_in,
            known=frozenset(e["name"] for e in entries),
            retired=retired_ids(credentials),
            password_client=None if credentials is None else credentials.password_client_id,
        )
        repair_plan = with_client_secrets(repair_plan, credentials, actual)
        drift = (*repair_plan.problems, *_irreparable(target.providers, actual, credentials))
        formers = await self.former_pools.look(basis, target, actual)
        report = Drift(
            tenant,
            latest.id,
            (*repair_plan.steps, *all_steps(formers)),
            (
                *drift,
                *other_secrets(lives_in, credentials, actual),
                *(problem for former in formers for problem in former.problems),
            ),
            None,
            (*repair_plan.notes, *exchanged_notes(credentials, actual)),
            tuple(await self.interrupted(tenant)),
        )
        if not fix or drift:
            return report
        aim = (None, None, target, actual, credentials, latest.request)
        proposal = Proposal(tenant, repair_plan, *aim, basis=basis, pool=lives_in)
        outcome: Outcome | None = None
        if repair_plan.changes:
            outcome = await self._apply(proposal, actor=actor)
        if isinstance(outcome, Done | None):
            names = [former.pool for former in formers if former.steps]
            outcome = (
                await self.former_pools.mend_all(names, basis, standing, actor=actor) or outcome
            )
        return replace(report, fixed=outcome)

    async def rotate(
        self,
        tenant: str,
        *,
        actor: str,
    ) -> Outcome | PreflightProblem:
        """Another app client for new logins; the present one is accepted until its last session has
        ended.
        """
        return await self.rotation.rotate(tenant, actor=actor)

    async def retire(
        self,
        tenant: str,
        *,
        actor: str,
    ) -> Outcome | PreflightProblem:
        """The end of the clients that were replaced, now."""
        return await self.rotation.retire(tenant, actor=actor)

    async def roll_back(
        self, tenant: str, run: str, *, bound: bool = False
    ) -> RunState | PreflightProblem:
        """Undo the latest finished run, as if it had failed. ``bound``: for a key of the tenant's
        own, which changes no domain that the tenant does not hold.
        """
        journal = self.provisioning.journal
        record = await journal.run(run)
        if record is None or record.tenant != tenant:
            return PreflightProblem("not_found", "run", f"tenant {tenant} has no run {run}")
        latest = await journal.latest(tenant)
        is_last = latest is not None and latest.id == run
        if record.state is not RunState.DONE or not (is_last or record.kind is RunKind.TRIAL):
            return PreflightProblem(
                "conflict",
                "run",
                f"run {run} is {record.state}; only the latest run that is done can be rolled back",
            )
        try:
            # What is reopened keeps the tenant for itself until it is undone.
            self.provisioning.pools.named(record.pool)
            self.provisioning.pools.expect_changes(record.pool)
        except UnavailableError as error:
            return PreflightProblem("conflict", "pool", str(error))
        refusal = await refused_rollback(self.provisioning.registrar, record, bound=bound)
        if refusal is not None:
            return refusal
        if not await journal.reopen(run):
            return PreflightProblem("busy", "run", "another run of this tenant is in progress")
        try:
            return await self.provisioning.undo(run)
        except RegistryRejectedError:
            # Changed at this very moment: recovery goes on with it.
            await journal.release(run)
            return RunState.UNDOING

    async def destroy(
        self,
        tenant: str,
        *,
        actor: str,
    ) -> Outcome | PreflightProblem:
        """The tenant, its client and the providers that the gateway made; adopted ones stay."""
        for problem in await self.move_trials.end(tenant):
            return problem
        basis = await self.bases.read(tenant)
        latest, credentials = basis.latest, basis.credentials
        if latest is None and credentials is None:
            return PreflightProblem("not_found", "tenant", f"{tenant} is not provisioned")
        if credentials is not None and len(credentials.pools) > 1:
            # In the pools that it moved out of first: the run that ends it is in one alone.
            retired = await self.retire(tenant, actor=actor)
            if not isinstance(retired, Done):
                return retired
            basis = await self.bases.read(tenant)
            latest, credentials = basis.latest, basis.credentials
        lives_in = credentials.pool if credentials else latest.pool if latest else DEFAULT_POOL
        ours = [
            {"name": p["name"], "marker": p["marker"], "kind": p["kind"]}
            for p in (latest.request.get("providers", ()) if latest else ())
            if p.get("marker")
        ]
        request: Json = {
            "tenant": basis.before is not None,
            "clients": list(credentials.client_ids) if credentials else [],
            "providers": ours,
        }
        return await self.provisioning.run(
            tenant,
            lambda steps: destroying(steps, tenant, request),
            run=self.provisioning.new_run(),
            kind=RunKind.DESTROY,
            actor=actor,
            request=request,
            plan=[],
            pool=lives_in,
            stands=lambda: self.bases.unchanged(tenant, basis),
        )

    async def keeps(self, tenant: str, document: Json) -> Rejected | None:
        """Why the tenant is not to be deleted without what it has in the pool: whoever is in its
        group would be a user of the next tenant of its id.
        """
        latest = await self.provisioning.journal.latest(tenant)
        users = recalled_users(latest.request.get("providers", ())) if latest else None
        if users is None or not has_pool_users(document):
            return None
        return Rejected(
            "conflict",
            f"tenant {tenant} has users of the pool, and its group {users.group} would stay there "
            f"with them: gateway provision destroy {tenant} ends both",
        )

    async def makers(self, tenant: str) -> Mapping[str, str]:
        """By the name of each provider that the gateway made for the tenant: the actor of the run
        that did. Another one of the same name is another run's.
        """
        latest = await self.provisioning.journal.latest(tenant)
        entries = latest.request.get("providers", ()) if latest is not None else ()
        runs = {e["name"]: run_of(e["marker"]) for e in entries if e.get("marker")}
        actors = await self.provisioning.journal.actors({*runs.values()})
        return {name: actors[run] for name, run in runs.items() if run in actors}

    async def runs(self, tenant: str, *, position: str | None, limit: int) -> Sequence[Run]:
        return (await self.provisioning.journal.page(tenant, position=position, limit=limit)).items


def _irreparable(
    providers: Sequence[WantedProvider], actual: Actual, credentials: ClientCredentials | None
) -> Iterable[PreflightProblem]:
    for provider in providers:
        if (
            isinstance(provider.connection, OidcConnection)
            and provider.name not in actual.providers
            and provider.client_secret is None
        ):
            yield invalid(
                f"providers.{provider.name}",
                (
                    "was deleted from the pool, and its client secret was not kept: provision "
                    "the tenant again with it"
                ),
            )
    if (
        actual.client is not None
        and credentials is not None
        and not (actual.client.secret_arn or credentials.rotated)
        and actual.client.secret != credentials.client_secret
    ):
        yield invalid(
            "client", "its secret in Cognito is not the one that the gateway holds: rotate it"
        )
    password_client = None if credentials is None else credentials.password_client
    if (
        password_client is not None
        and actual.password_client is not None
        and not (actual.password_client.secret_arn or password_client.rotated)
        and (actual.password_client.secret or Secret("")) != password_client.client_secret
    ):
        yield invalid(
            "password_client",
            "its secret in Cognito is not the one that the gateway holds: rotate it",
        )
