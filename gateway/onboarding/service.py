"""Onboarding: propose, apply, verify, roll back, destroy. The admin API and ``gateway provision`` are both thin over this."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway.cognito.deleting import destroying
from gateway.cognito.desired import kind_of_issuer, marker
from gateway.cognito.plan import Plan, Resource, Step, Verb, plan
from gateway.cognito.preflight import Finding, check_discovery, check_issuer, check_provider, invalid
from gateway.errors import PeerError
from gateway.onboarding import rotation
from gateway.onboarding.proposal import describe, leaving, recalled, recognise, remembered, required_attributes, tenant_document, tenant_step, wanted, wanted_providers
from gateway.onboarding.works import retired, works
from gateway.ports_provisioning import FINISHED, ClientCredentials, RunKind, RunState
from gateway.registry.admission import problems
from gateway.registry.document import TenantDocument
from gateway.yaml_file import explain_validation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from gateway.cognito.desired import Actual, Wanted, WantedProvider
    from gateway.cognito.discovery import Discovered, DiscoveryFetcher
    from gateway.cognito.provision import Outcome, Provisioning
    from gateway.cognito.steps import Work
    from gateway.config import Config
    from gateway.onboarding.body import ProvisionBody
    from gateway.ports_admin import TenantRecord, TenantRecords
    from gateway.ports_provisioning import Run

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be done, or the findings that keep it from being done. ``document`` None: the tenant comes from a file."""

    tenant: str
    plan: Plan
    document: Json | None = None
    before: Json | None = field(default=None, repr=False)
    wanted: Wanted | None = field(default=None, repr=False)
    actual: Actual | None = field(default=None, repr=False)
    credentials: ClientCredentials | None = None
    request: Json = field(default_factory=dict, repr=False)
    leaving: Mapping[str, str | None] = field(default_factory=dict)
    """Providers that the tenant will not have any more → our mark, None for those that stay in the pool."""

    @property
    def problems(self) -> tuple[Finding, ...]:
        return self.plan.problems


@dataclass(frozen=True, slots=True)
class Drift:
    """What differs between what was provisioned and what is there now."""

    tenant: str
    run: str | None
    steps: tuple[Step, ...]
    problems: tuple[Finding, ...]
    fixed: Outcome | None = None

    @property
    def clean(self) -> bool:
        return not self.problems and not any(s.does for s in self.steps)


@dataclass(frozen=True, slots=True)
class Onboarding:
    """``taken``: which name of a document another tenant holds."""

    config: Config
    records: TenantRecords
    provisioning: Provisioning
    discovery: DiscoveryFetcher
    taken: Callable[[TenantDocument], Awaitable[str | None]]

    # --- proposing ----------------------------------------------------------------------------------

    async def propose(self, tenant: str, body: ProvisionBody, *, update: bool) -> Proposal:
        """``update`` False: a tenant that is provisioned already is a finding. Reads the pool and the providers' discovery, changes nothing."""
        busy = await self.provisioning.journal.busy(tenant)
        if busy is not None:
            state = "was interrupted and is being taken back" if busy.interrupted else "is going on"
            return _refused(tenant, Finding("busy", "tenant", f"run {busy.run} of this tenant {state}"))
        record, credentials = await self.records.get(tenant), await self.provisioning.registrar.credentials(tenant)
        if credentials is not None and not update:
            return _refused(tenant, Finding("exists", "tenant", f"{tenant} is provisioned already (client {credentials.client_id}); PUT changes it"))
        adopted = body.adopt_client if credentials is None else None
        if credentials is not None and body.adopt_client not in {None, credentials.client_id}:
            return _refused(tenant, Finding("exists", "adopt_client", f"{tenant} has client {credentials.client_id}: rotate or destroy it first"))
        if record is not None and record.document.get("client_id") not in {None, adopted}:
            return _refused(
                tenant,
                Finding("exists", "tenant", f"{tenant} has an app client of its own ({record.document['client_id']}): say client: provisioned first, or adopt it (adopt_client)"),
            )
        discovered, unreachable = await self._discover(body)
        recognised = recognise(body, tenant, [d.document if d else None for d in discovered])
        findings = [*unreachable, *itertools.chain.from_iterable(_checks(p.name, p.body.oidc_issuer, d) for p, d in zip(recognised, discovered, strict=True))]
        if len({p.name for p in recognised}) != len(recognised):
            findings.append(invalid("providers", "two have the same name"))
        shape = wanted_providers(recognised, required=frozenset())
        findings += itertools.chain.from_iterable(check_provider(p, development=self.config.development) for p in shape)
        document, missing = tenant_document(tenant, body, recognised, record.document if record else None, shared_hosts=bool(self.config.shared_hosts))
        findings += missing
        # A message about a field that is wrong in itself says more than the registry's about the whole document.
        findings += [] if findings else await self._admissible(tenant, document, record)
        if adopted is not None and not findings:
            findings += await self._admissible(tenant, {**document, "client": None, "client_id": adopted, "client_secret": "of no matter"}, None)
        if findings:
            return _refused(tenant, *findings)
        known = await self._remembered(tenant)
        actual = await self.provisioning.pool.actual(providers=[p.name for p in shape], clients=credentials.client_ids if credentials else [adopted] if adopted else ())
        if adopted is not None and (actual.client is None or actual.client.secret is None):
            return _refused(
                tenant, invalid("adopt_client", f"{adopted} is not an app client of the pool" if actual.client is None else f"{adopted} has no secret: the gateway needs one")
            )
        required = required_attributes(actual.attributes.values())
        target = wanted(tenant, document, wanted_providers(recognised, required=required), self.config, required=required)
        leave = leaving(recognised, record.document if record else None, known)
        names = frozenset(e["name"] for e in known)
        proposed = plan(
            target, actual, quotas=self.config.cognito.quotas, known=names, adopt=body.adopt, retired=retired(credentials), leaving=leave, adopt_client=adopted is not None
        )
        filed = record is not None and record.origin == "file"
        if not filed:
            proposed = replace(proposed, steps=(*proposed.steps, tenant_step(tenant, record.document if record else None, document)))
        marks = {e["name"]: e.get("marker") for e in known}
        request: Json = {"providers": [{"marker": marks.get(e["name"]), **e} for e in remembered(target.providers, keep_secrets=body.keep_secrets)]}
        return Proposal(
            tenant, proposed, None if filed else document, None if filed else await self.provisioning.registrar.before(tenant), target, actual, credentials, request, leave
        )

    async def _discover(self, body: ProvisionBody) -> tuple[list[Discovered | None], list[Finding]]:
        """At most four at once; an issuer that is wrong in itself is not asked."""
        limit = asyncio.Semaphore(4)
        findings: list[Finding] = []

        async def one(number: int, issuer: str) -> Discovered | None:
            if check_issuer(issuer, kind_of_issuer(issuer), development=self.config.development):
                return None
            try:
                async with limit:
                    return await self.discovery.fetch(issuer)
            except PeerError as error:
                findings.append(invalid(f"providers.{number}.oidc_issuer", str(error)))
                return None

        return list(await asyncio.gather(*(one(n, p.oidc_issuer) for n, p in enumerate(body.all_providers)))), findings

    async def _admissible(self, tenant: str, document: Json, record: TenantRecord | None) -> list[Finding]:
        try:
            parsed = TenantDocument.model_validate(document)
        except ValidationError as error:
            return [invalid("tenant", explain_validation(tenant, error))]
        if record is not None and record.origin == "file" and _compared(parsed) != _compared(TenantDocument.model_validate(record.document)):
            return [Finding("read_only", "tenant", f"{tenant} is a file of tenants.files: write these providers, domains, groups and hosts there first")]
        findings = [invalid(p.key, f"{p.value}: {p.allowed}" if p.value else p.allowed) for p in problems(parsed, self.config)]
        if (taken := await self.taken(parsed)) is not None:
            findings.append(Finding("taken", "tenant", taken))
        return findings

    async def _remembered(self, tenant: str) -> Sequence[Json]:
        """The providers that were provisioned for the tenant, each with our mark if we made it."""
        latest = await self.provisioning.journal.latest(tenant)
        return tuple(latest.request.get("providers", ())) if latest is not None else ()

    # --- applying -----------------------------------------------------------------------------------

    async def apply(self, proposal: Proposal, *, actor: str, progress: Callable[[Work, str], None] = lambda _work, _state: None) -> Outcome:
        """Everything of the proposal, or nothing. The proposal must have no problems."""
        if proposal.problems or proposal.wanted is None or proposal.actual is None:
            msg = "a proposal with problems is not applied"
            raise ValueError(msg)
        run = self.provisioning.new_run()
        created = {s.name for s in proposal.plan.steps if s.resource is Resource.PROVIDER and s.verb is Verb.CREATE}
        request = {"providers": [{**e, "marker": marker(run, e["name"])} if e["name"] in created else e for e in proposal.request["providers"]]}
        ours = [{"name": name, "marker": mark} for name, mark in proposal.leaving.items() if mark is not None]
        return await self.provisioning.carry_out(
            proposal.tenant,
            lambda steps: works(steps, proposal),
            run=run,
            kind=RunKind.APPLY,
            actor=actor,
            request=request,
            plan=[describe(s) for s in proposal.plan.steps],
            then={**request, "retire": {"clients": [], "providers": ours}} if ours else None,
            progress=progress,
        )

    # --- looking after ------------------------------------------------------------------------------

    async def verify(self, tenant: str, *, fix: bool, actor: str, progress: Callable[[Work, str], None] = lambda _work, _state: None) -> Drift | None:
        """None where the tenant is not provisioned. ``fix`` applies the way back to what was provisioned."""
        journal, registrar = self.provisioning.journal, self.provisioning.registrar
        latest, record, credentials = await journal.latest(tenant), await self.records.get(tenant), await registrar.credentials(tenant)
        if latest is None or record is None:
            return None
        providers = recalled(latest.request.get("providers", ()))
        actual = await self.provisioning.pool.actual(providers=[p.name for p in providers], clients=credentials.client_ids if credentials else ())
        target = wanted(tenant, record.document, providers, self.config, required=required_attributes(actual.attributes.values()))
        found = plan(target, actual, quotas=self.config.cognito.quotas, known=frozenset(p.name for p in providers), retired=retired(credentials))
        drift = [*found.problems, *_irreparable(providers, actual, credentials)]
        steps = found.steps
        if not fix or drift or not found.changes:
            return Drift(tenant, latest.id, steps, tuple(drift))
        proposal = Proposal(tenant, found, None, None, target, actual, credentials, latest.request)
        return Drift(tenant, latest.id, steps, (), await self.apply(proposal, actor=actor, progress=progress))

    async def rotate(self, tenant: str, *, actor: str, progress: Callable[[Work, str], None] = lambda _work, _state: None) -> Outcome | Finding:
        """Another app client for new logins; the present one is accepted until its last session has ended."""
        return await rotation.rotate(self, tenant, actor=actor, progress=progress)

    async def retire(self, tenant: str, *, actor: str, progress: Callable[[Work, str], None] = lambda _work, _state: None) -> Outcome | Finding:
        """The end of the clients that were replaced, now."""
        return await rotation.retire(self, tenant, actor=actor, progress=progress)

    async def roll_back(self, tenant: str, run: str) -> RunState | Finding:
        """Undo the latest finished run, as if it had failed."""
        journal = self.provisioning.journal
        found = await journal.run(run)
        if found is None or found.tenant != tenant:
            return Finding("not_found", "run", f"tenant {tenant} has no run {run}")
        latest = await journal.latest(tenant)
        if found.state is not RunState.DONE or latest is None or latest.id != run:
            return Finding("conflict", "run", f"run {run} is {found.state}; only the latest run that is done can be rolled back")
        if found.kind in FINISHED:
            return Finding("conflict", "run", f"run {run} deleted what was not used any more, and what was before it cannot be brought back")
        if not await journal.reopen(run):
            return Finding("busy", "run", "another run of this tenant is going on")
        return await self.provisioning.undo(run)

    async def destroy(self, tenant: str, *, actor: str, progress: Callable[[Work, str], None] = lambda _work, _state: None) -> Outcome | Finding:
        """The tenant, its client and the providers that the gateway made; adopted ones stay."""
        latest, record, credentials = (
            await self.provisioning.journal.latest(tenant), await self.records.get(tenant), await self.provisioning.registrar.credentials(tenant),
        )  # fmt: skip
        if latest is None and credentials is None:
            return Finding("not_found", "tenant", f"{tenant} is not provisioned")
        ours = [{"name": p["name"], "marker": p["marker"]} for p in (latest.request.get("providers", ()) if latest else ()) if p.get("marker")]
        request: Json = {"tenant": record is not None and record.origin == "sql", "clients": list(credentials.client_ids) if credentials else [], "providers": ours}
        return await self.provisioning.carry_out(
            tenant,
            lambda steps: destroying(steps, tenant, request),
            run=self.provisioning.new_run(),
            kind=RunKind.DESTROY,
            actor=actor,
            request=request,
            plan=[],
            progress=progress,
        )

    async def runs(self, tenant: str, *, position: str | None, limit: int) -> Sequence[Run]:
        return (await self.provisioning.journal.page(tenant, position=position, limit=limit)).items


def _checks(name: str, issuer: str, discovered: Discovered | None) -> Iterable[Finding]:
    if discovered is not None:
        yield from check_discovery(discovered.document, discovered.keys, issuer=issuer, where=f"providers.{name}.oidc_issuer")


def _irreparable(providers: Sequence[WantedProvider], actual: Actual, credentials: ClientCredentials | None) -> Iterable[Finding]:
    for provider in providers:
        if provider.name not in actual.providers and provider.client_secret is None:
            yield invalid(f"providers.{provider.name}", "was deleted from the pool, and its client secret was not kept: provision the tenant again with it")
    if actual.client is not None and credentials is not None and actual.client.secret != credentials.client_secret:
        yield invalid("client", "its secret in Cognito is not the one that the gateway holds: rotate it")


def _compared(document: TenantDocument) -> Mapping[str, Any]:
    shown: dict[str, Any] = document.model_dump(mode="json", include={"hosts", "email_domains", "allowed_groups", "providers"})
    return {n: sorted(map(str, v)) if isinstance(v, list) else v for n, v in shown.items()}


def _refused(tenant: str, *findings: Finding) -> Proposal:
    return Proposal(tenant, Plan((), findings))
