"""Onboarding: propose, apply, verify, roll back, destroy. The admin API and ``gateway provision``
are both thin over this.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway.cognito.desired import kind_of_issuer, marker
from gateway.config.yaml import explain_validation
from gateway.errors import PeerError
from gateway.provisioning import rotation
from gateway.provisioning.bound_keys import bound_changes, bound_findings
from gateway.provisioning.deletion import destroying
from gateway.provisioning.execution import retired, works
from gateway.provisioning.plan import Plan, Resource, Step, Verb, plan
from gateway.provisioning.preflight import (
    PreflightProblem,
    check_discovery,
    check_issuer,
    check_provider,
    invalid,
)
from gateway.provisioning.proposal import (
    describe,
    leaving,
    recalled,
    recognise,
    remembered,
    required_attributes,
    tenant_document,
    tenant_step,
    wanted,
    wanted_providers,
)
from gateway.provisioning.runs import FINISHED, RunKind, RunState
from gateway.tenants.document import TenantDocument
from gateway.tenants.validation import problems

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from gateway.cognito.desired import Actual, Wanted, WantedProvider
    from gateway.config.model import Config
    from gateway.provisioning.credentials import ClientCredentials
    from gateway.provisioning.discovery import Discovered, DiscoveryFetcher
    from gateway.provisioning.request import ProvisionBody
    from gateway.provisioning.runner import Outcome, Provisioning
    from gateway.provisioning.runs import Run
    from gateway.provisioning.steps import Work
    from gateway.tenants.api import TenantRecords

Json = dict[str, Any]
CHANGED_MEANWHILE = "it was changed at the same moment: look at it, and ask again"


@dataclass(frozen=True, slots=True)
class Basis:
    """What is known of a tenant at one moment, before anything slow: what is built from it may be
    written only while it stands.
    """

    filed: bool
    document: Json | None
    """As it is shown."""
    version: str | None
    before: Json | None = field(repr=False)
    """What SQL holds, with its version and secrets."""
    credentials: ClientCredentials | None
    latest: Run | None = field(repr=False)

    def same(self, now: Basis) -> bool:
        """Whether nobody has changed the document, its app clients or what is provisioned."""
        ran, runs = (None if basis.latest is None else basis.latest.id for basis in (self, now))
        return (self.filed, self.version, self.credentials, ran) == (
            now.filed,
            now.version,
            now.credentials,
            runs,
        )

    @property
    def known(self) -> Sequence[Json]:
        """The providers that were provisioned for the tenant, each with our mark if we made it."""
        return tuple(self.latest.request.get("providers", ())) if self.latest is not None else ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be done, or the findings that keep it from being done. ``document`` None: the
    tenant comes from a file.
    """

    tenant: str
    plan: Plan
    document: Json | None = None
    before: Json | None = field(default=None, repr=False)
    wanted: Wanted | None = field(default=None, repr=False)
    actual: Actual | None = field(default=None, repr=False)
    credentials: ClientCredentials | None = None
    request: Json = field(default_factory=dict, repr=False)
    leaving: Mapping[str, str | None] = field(default_factory=dict)
    """Providers that the tenant will not have any more → our mark, None for those that stay in the
    pool.
    """
    basis: Basis | None = field(default=None, repr=False)
    """What it was made from: if that has changed, it is not applied."""

    @property
    def problems(self) -> tuple[PreflightProblem, ...]:
        return self.plan.problems


@dataclass(frozen=True, slots=True)
class Drift:
    """What differs between what was provisioned and what is there now."""

    tenant: str
    run: str | None
    steps: tuple[Step, ...]
    problems: tuple[PreflightProblem, ...]
    fixed: Outcome | None = None

    @property
    def clean(self) -> bool:
        return not self.problems and not any(s.does for s in self.steps)


@dataclass(frozen=True, slots=True)
class Onboarding:
    """``name_conflict``: which name of a document another tenant holds."""

    config: Config
    records: TenantRecords
    provisioning: Provisioning
    discovery: DiscoveryFetcher
    name_conflict: Callable[[TenantDocument], Awaitable[str | None]]

    # --- proposing
    # ----------------------------------------------------------------------------------

    async def basis(self, tenant: str) -> Basis:
        """What stands now: a file as it is served, else what SQL holds in one version."""
        record = await self.records.get(tenant)
        filed = record if record is not None and record.origin == "file" else None
        before = None if filed is not None else await self.provisioning.registrar.snapshot(tenant)
        document = (
            filed.document
            if filed is not None
            else before["document"]
            if before is not None
            else None
        )
        version = (
            filed.etag
            if filed is not None
            else str(before["version"])
            if before is not None
            else None
        )
        return Basis(
            filed is not None,
            document,
            version,
            before,
            await self.provisioning.registrar.credentials(tenant),
            await self.provisioning.journal.latest(tenant),
        )

    async def stands(self, tenant: str, basis: Basis) -> bool:
        return basis.same(await self.basis(tenant))

    async def propose(
        self, tenant: str, body: ProvisionBody, *, update: bool, bound: bool = False
    ) -> Proposal:
        """``update`` False: a tenant that is provisioned already is a finding. Reads the pool and
        the providers' discovery, changes nothing.

        ``bound``: for a key of the tenant's own, which changes nothing that is an operator's.
        """
        busy = await self.provisioning.journal.busy(tenant)
        if busy is not None:
            state = "was interrupted and is being taken back" if busy.interrupted else "is going on"
            return _refused(
                tenant, PreflightProblem("busy", "tenant", f"run {busy.run} of this tenant {state}")
            )
        basis = await self.basis(tenant)
        existing, credentials = basis.document, basis.credentials
        if bound and (refused := bound_findings(body, existing, basis.known)):
            return _refused(tenant, *refused)
        if credentials is not None and not update:
            return _refused(
                tenant,
                PreflightProblem(
                    "exists",
                    "tenant",
                    (
                        f"{tenant} is provisioned already (client {credentials.client_id}); "
                        "PUT changes it"
                    ),
                ),
            )
        adopted = body.adopt_client if credentials is None else None
        if credentials is not None and body.adopt_client not in {None, credentials.client_id}:
            return _refused(
                tenant,
                PreflightProblem(
                    "exists",
                    "adopt_client",
                    f"{tenant} has client {credentials.client_id}: rotate or destroy it first",
                ),
            )
        if existing is not None and existing.get("client_id") not in {None, adopted}:
            return _refused(
                tenant,
                PreflightProblem(
                    "exists",
                    "tenant",
                    (
                        f"{tenant} has an app client of its own ({existing['client_id']}): say "
                        "client: provisioned first, or adopt it (adopt_client)"
                    ),
                ),
            )
        discovered, unreachable = await self._discover(body)
        recognised = recognise(body, tenant, [d.document if d else None for d in discovered])
        findings = [
            *unreachable,
            *itertools.chain.from_iterable(
                _checks(p.name, p.body.oidc_issuer, d)
                for p, d in zip(recognised, discovered, strict=True)
            ),
        ]
        if len({p.name for p in recognised}) != len(recognised):
            findings.append(invalid("providers", "two have the same name"))
        shape = wanted_providers(recognised, required=frozenset())
        findings += itertools.chain.from_iterable(
            check_provider(p, development=self.config.development) for p in shape
        )
        document, missing = tenant_document(
            tenant, body, recognised, existing, shared_hosts=bool(self.config.shared_hosts)
        )
        findings += missing
        # A message about a field that is wrong in itself says more than the registry's about the
        # whole document.
        findings += [] if findings else await self._admissible(tenant, document, basis)
        if bound and existing is not None and not findings:
            findings += bound_changes(existing, document)
        if adopted is not None and not findings:
            findings += await self._admissible(
                tenant,
                {**document, "client": None, "client_id": adopted, "client_secret": "of no matter"},
                None,
            )
        if findings:
            return _refused(tenant, *findings)
        actual = await self.provisioning.pool.actual(
            providers=[p.name for p in shape],
            clients=credentials.client_ids if credentials else [adopted] if adopted else (),
        )
        if adopted is not None and (actual.client is None or actual.client.secret is None):
            return _refused(
                tenant,
                invalid(
                    "adopt_client",
                    f"{adopted} is not an app client of the pool"
                    if actual.client is None
                    else f"{adopted} has no secret: the gateway needs one",
                ),
            )
        required = required_attributes(actual.attributes.values())
        target = wanted(
            tenant,
            document,
            wanted_providers(recognised, required=required),
            self.config,
            required=required,
        )
        leave = leaving(recognised, existing, basis.known)
        names = frozenset(e["name"] for e in basis.known)
        proposed = plan(
            target,
            actual,
            quotas=self.config.cognito.quotas,
            known=names,
            adopt=body.adopt,
            retired=retired(credentials),
            leaving=leave,
            adopt_client=adopted is not None,
        )
        if not basis.filed:
            proposed = replace(
                proposed, steps=(*proposed.steps, tenant_step(tenant, existing, document))
            )
        marks = {e["name"]: e.get("marker") for e in basis.known}
        request: Json = {
            "providers": [
                {"marker": marks.get(e["name"]), **e}
                for e in remembered(target.providers, keep_secrets=body.keep_secrets)
            ]
        }
        if not await self.stands(tenant, basis):
            # The customer's server and the pool set the pace of all this.
            return _refused(tenant, PreflightProblem("conflict", "tenant", CHANGED_MEANWHILE))
        return Proposal(
            tenant,
            proposed,
            None if basis.filed else document,
            basis.before,
            target,
            actual,
            credentials,
            request,
            leave,
            basis,
        )

    async def _discover(
        self, body: ProvisionBody
    ) -> tuple[list[Discovered | None], list[PreflightProblem]]:
        """At most four at once; an issuer that is wrong in itself is not asked."""
        limit = asyncio.Semaphore(4)
        findings: list[PreflightProblem] = []

        async def one(number: int, issuer: str) -> Discovered | None:
            if check_issuer(issuer, kind_of_issuer(issuer), development=self.config.development):
                return None
            try:
                async with limit:
                    return await self.discovery.fetch(issuer)
            except PeerError as error:
                findings.append(invalid(f"providers.{number}.oidc_issuer", str(error)))
                return None

        return list(
            await asyncio.gather(*(one(n, p.oidc_issuer) for n, p in enumerate(body.all_providers)))
        ), findings

    async def _admissible(
        self, tenant: str, document: Json, basis: Basis | None
    ) -> list[PreflightProblem]:
        try:
            parsed = TenantDocument.model_validate(document)
        except ValidationError as error:
            return [invalid("tenant", explain_validation(tenant, error))]
        if (
            basis is not None
            and basis.filed
            and _compared(parsed) != _compared(TenantDocument.model_validate(basis.document))
        ):
            return [
                PreflightProblem(
                    "read_only",
                    "tenant",
                    (
                        f"{tenant} is a file of tenants.files: write these providers, domains, "
                        "groups and hosts there first"
                    ),
                )
            ]
        findings = [
            invalid(p.key, f"{p.value}: {p.allowed}" if p.value else p.allowed)
            for p in problems(parsed, self.config)
        ]
        if (taken := await self.name_conflict(parsed)) is not None:
            findings.append(PreflightProblem("taken", "tenant", taken))
        return findings

    # --- applying
    # -----------------------------------------------------------------------------------

    async def apply(
        self,
        proposal: Proposal,
        *,
        actor: str,
        progress: Callable[[Work, str], None] = lambda _work, _state: None,
    ) -> Outcome:
        """Everything of the proposal, or nothing; nothing too where its basis has changed. The
        proposal must have no problems.
        """
        basis = proposal.basis
        if proposal.problems or proposal.wanted is None or proposal.actual is None or basis is None:
            msg = "a proposal with problems is not applied"
            raise ValueError(msg)
        run = self.provisioning.new_run()
        created = {
            s.name
            for s in proposal.plan.steps
            if s.resource is Resource.PROVIDER and s.verb is Verb.CREATE
        }
        request = {
            "providers": [
                {**e, "marker": marker(run, e["name"])} if e["name"] in created else e
                for e in proposal.request["providers"]
            ]
        }
        ours = [
            {"name": name, "marker": mark}
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
            stands=lambda: self.stands(proposal.tenant, basis),
            follow_up={**request, "retire": {"clients": [], "providers": ours}} if ours else None,
            progress=progress,
        )

    # --- looking after
    # ------------------------------------------------------------------------------

    async def verify(
        self,
        tenant: str,
        *,
        fix: bool,
        actor: str,
        progress: Callable[[Work, str], None] = lambda _work, _state: None,
    ) -> Drift | None:
        """None where the tenant is not provisioned. ``fix`` applies the way back to what was
        provisioned.
        """
        basis = await self.basis(tenant)
        latest, document, credentials = basis.latest, basis.document, basis.credentials
        if latest is None or document is None:
            return None
        providers = recalled(latest.request.get("providers", ()))
        actual = await self.provisioning.pool.actual(
            providers=[p.name for p in providers],
            clients=credentials.client_ids if credentials else (),
        )
        target = wanted(
            tenant,
            document,
            providers,
            self.config,
            required=required_attributes(actual.attributes.values()),
        )
        found = plan(
            target,
            actual,
            quotas=self.config.cognito.quotas,
            known=frozenset(p.name for p in providers),
            retired=retired(credentials),
        )
        drift = [*found.problems, *_irreparable(providers, actual, credentials)]
        steps = found.steps
        if not fix or drift or not found.changes:
            return Drift(tenant, latest.id, steps, tuple(drift))
        proposal = Proposal(
            tenant, found, None, None, target, actual, credentials, latest.request, basis=basis
        )
        return Drift(
            tenant, latest.id, steps, (), await self.apply(proposal, actor=actor, progress=progress)
        )

    async def rotate(
        self,
        tenant: str,
        *,
        actor: str,
        progress: Callable[[Work, str], None] = lambda _work, _state: None,
    ) -> Outcome | PreflightProblem:
        """Another app client for new logins; the present one is accepted until its last session has
        ended.
        """
        return await rotation.rotate(self, tenant, actor=actor, progress=progress)

    async def retire(
        self,
        tenant: str,
        *,
        actor: str,
        progress: Callable[[Work, str], None] = lambda _work, _state: None,
    ) -> Outcome | PreflightProblem:
        """The end of the clients that were replaced, now."""
        return await rotation.retire(self, tenant, actor=actor, progress=progress)

    async def roll_back(self, tenant: str, run: str) -> RunState | PreflightProblem:
        """Undo the latest finished run, as if it had failed."""
        journal = self.provisioning.journal
        found = await journal.run(run)
        if found is None or found.tenant != tenant:
            return PreflightProblem("not_found", "run", f"tenant {tenant} has no run {run}")
        latest = await journal.latest(tenant)
        if found.state is not RunState.DONE or latest is None or latest.id != run:
            return PreflightProblem(
                "conflict",
                "run",
                f"run {run} is {found.state}; only the latest run that is done can be rolled back",
            )
        if found.kind in FINISHED:
            return PreflightProblem(
                "conflict",
                "run",
                (
                    f"run {run} deleted what was not used any more, and what was before it "
                    "cannot be brought back"
                ),
            )
        if not await journal.reopen(run):
            return PreflightProblem("busy", "run", "another run of this tenant is going on")
        return await self.provisioning.undo(run)

    async def destroy(
        self,
        tenant: str,
        *,
        actor: str,
        progress: Callable[[Work, str], None] = lambda _work, _state: None,
    ) -> Outcome | PreflightProblem:
        """The tenant, its client and the providers that the gateway made; adopted ones stay."""
        basis = await self.basis(tenant)
        latest, credentials = basis.latest, basis.credentials
        if latest is None and credentials is None:
            return PreflightProblem("not_found", "tenant", f"{tenant} is not provisioned")
        ours = [
            {"name": p["name"], "marker": p["marker"]}
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
            stands=lambda: self.stands(tenant, basis),
            progress=progress,
        )

    async def runs(self, tenant: str, *, position: str | None, limit: int) -> Sequence[Run]:
        return (await self.provisioning.journal.page(tenant, position=position, limit=limit)).items


def _checks(name: str, issuer: str, discovered: Discovered | None) -> Iterable[PreflightProblem]:
    if discovered is not None:
        yield from check_discovery(
            discovered.document,
            discovered.keys,
            issuer=issuer,
            where=f"providers.{name}.oidc_issuer",
        )


def _irreparable(
    providers: Sequence[WantedProvider], actual: Actual, credentials: ClientCredentials | None
) -> Iterable[PreflightProblem]:
    for provider in providers:
        if provider.name not in actual.providers and provider.client_secret is None:
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
        and actual.client.secret != credentials.client_secret
    ):
        yield invalid(
            "client", "its secret in Cognito is not the one that the gateway holds: rotate it"
        )


def _compared(document: TenantDocument) -> Mapping[str, Any]:
    shown: dict[str, Any] = document.model_dump(
        mode="json", include={"hosts", "email_domains", "allowed_groups", "providers"}
    )
    # A file may spell an issuer with or without the slash at its end.
    shown["providers"] = [
        {**p, "issuer": (p["issuer"] or "").removesuffix("/")} for p in shown["providers"]
    ]
    return {n: sorted(map(str, v)) if isinstance(v, list) else v for n, v in shown.items()}


def _refused(tenant: str, *findings: PreflightProblem) -> Proposal:
    return Proposal(tenant, Plan((), findings))
