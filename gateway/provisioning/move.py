"""A tenant into another user pool. Nobody is signed out by it.

Rules:
- One run in the target pool makes providers and a client there. The tenant is served from there by
  one write of its credentials, after everything else; whatever fails before leaves nothing.
- What was begun in the former pool is finished there, with the client of then. That client is
  deleted when no session made with it can be left, and the gateway's providers there with it.
- A SAML identity provider sends nobody to an entity ID that it does not know: the move waits until
  somebody says that it knows the target pool's. Until then nothing is made and nothing changes.
- Whoever is kept out by a name of the former pool is kept out by what stays of a person, before
  anybody can sign in through the target pool.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from gateway.cognito.desired import SamlConnection, marker
from gateway.cognito.social import POOL_SOCIAL
from gateway.core.model import ProviderKind
from gateway.errors import GatewayError, UnavailableError
from gateway.log import fields
from gateway.provisioning.credentials import SPARE_S
from gateway.provisioning.desired import (
    describe,
    recalled,
    required_attributes,
    shared_providers,
    tenant_step,
    wanted,
)
from gateway.provisioning.former_pools import with_secret
from gateway.provisioning.plan import plan
from gateway.provisioning.plan_rows import Plan, Resource, Verb
from gateway.provisioning.preflight import PreflightProblem, invalid
from gateway.provisioning.renewal import trials
from gateway.provisioning.rotation import (
    LOOK_EVERY_S,
    longest_session_s,
    replaced,
    without_place,
)
from gateway.provisioning.runs import Action, RunKind, carried
from gateway.provisioning.steps import Work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Sequence

    from gateway.cognito.desired import Actual, Wanted
    from gateway.config.model import Config
    from gateway.core.json_types import Json
    from gateway.provisioning.credentials import ClientCredentials, Registrar
    from gateway.provisioning.proposal import Basis, BasisReader
    from gateway.provisioning.runner import Outcome, Provisioning
    from gateway.provisioning.runs import Journal
    from gateway.provisioning.steps import Steps

_log = logging.getLogger(__name__)
EVER_S: Final = 10 * 366 * 86_400.0


class StandingRestrictions(Protocol):
    """See ``revocation.across_pools.RevokerAcrossPools``."""

    async def carry(self, tenant: str, *, moved: bool) -> int:
        """What keeps people out by a name that another pool may not know, by their further names
        too. Repeats harmlessly. Raises ``UnavailableError``.
        """


@dataclass(frozen=True, slots=True)
class JournaledPools:
    """Implements ``revocation.across_pools.TenantPools``: by the credentials, and by every move
    that was begun. What was taken back may have left sessions.
    """

    journal: Journal
    registrar: Registrar

    async def pools_of(self, tenant: str) -> tuple[str, ...]:
        # In this order: a move that begins after the first look finds what was on record before.
        moves = await self.journal.moves(tenant)
        held = await self.registrar.credentials(tenant)
        names = [pool for run in moves for pool in (run.pool, *run.request["former"])]
        return tuple(dict.fromkeys((*(held.pools if held is not None else ()), *names)))


@dataclass(frozen=True, slots=True)
class MoveProposal:
    """What would be done in the pool ``to``, or the findings that keep it from being done.

    ``register``: what the customer has to add at their identity provider before, in sentences;
    ``waits_for``: names of SAML providers of which nobody has said that it is done. Not applied
    while there is one.
    """

    tenant: str
    to: str
    plan: Plan
    register: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    goal: MoveGoal | None = field(default=None, repr=False)
    takes_app_passwords: bool = False
    """Whether a rule of the tenant does: those that there are end with the move."""


@dataclass(frozen=True, slots=True)
class MoveGoal:
    """Of a move that can be done."""

    wanted: Wanted
    actual: Actual
    held: ClientCredentials
    document: Json
    basis: Basis = field(repr=False)
    marks: Json = field(default_factory=dict)
    """Of the providers that the gateway made in the target pool before, by name."""

    @property
    def puts_document(self) -> bool:
        """Whether the tenant's document names a pool, and has to name the other one."""
        return not self.basis.filed and self.document.get("pool") is not None


@dataclass(frozen=True, slots=True)
class PoolMove:
    """Takes tenants from pool to pool."""

    config: Config
    provisioning: Provisioning
    bases: BasisReader
    restrictions: StandingRestrictions

    async def propose(
        self, tenant: str, to: str, *, registered: Collection[str] = ()
    ) -> MoveProposal:
        """``registered``: names of SAML providers that accept the pool ``to`` beside this one.
        Changes nothing. Raises ``UnavailableError`` and ``CognitoRejectedError``.
        """
        basis = await self.bases.read(tenant)
        held, document = basis.credentials, basis.document
        findings = (*self._gate(tenant, to, basis), *_misnamed(basis, registered))
        if findings or held is None or document is None:
            return MoveProposal(tenant, to, Plan((), findings))
        source, target = (self.provisioning.pools.named(name) for name in (held.pool, to))
        names = [entry["name"] for entry in basis.known]
        here = await source.actual(providers=names, clients=[held.client_id])
        pool_providers = shared_providers(document, required=frozenset())
        actual = await target.actual(
            providers=[*names, *(provider.name for provider in pool_providers)],
            clients=(),
            sessions=True,
        )
        findings = tuple(_differences(held.pool, to, names, here, actual))
        if findings:
            return MoveProposal(tenant, to, Plan((), findings))
        required = required_attributes(actual.attributes.values())
        goal = wanted(
            tenant,
            document,
            [with_secret(p, here.providers[p.name]) for p in recalled(basis.known)],
            self.config,
            required=required,
            users=None,
            custom_attributes=basis.custom_attributes,
            shared=shared_providers(document, required=required),
        )
        marks = {e["name"]: e["marker"] for e in carried(basis.latest)["former"].get(to, ())}
        for trial in await self.provisioning.journal.trials(tenant):
            marks |= {
                name: marker(trial.id, name)
                for name, found in actual.providers.items()
                if marker(trial.id, name) in found.identifiers
            }
        proposed = plan(goal, actual, quotas=target.quotas, pool=to, known=frozenset(marks))
        aim = MoveGoal(goal, actual, held, document, basis, marks)
        if aim.puts_document:
            step = tenant_step(tenant, document, {**document, "pool": to})
            proposed = replace(proposed, steps=(*proposed.steps, step))
        proposed = replace(proposed, notes=(*proposed.notes, *_notes(goal)))
        waits_for = tuple(name for name in _saml(goal) if name not in registered)
        return MoveProposal(
            tenant,
            to,
            proposed,
            tuple(self._register(goal, to)),
            waits_for,
            aim,
            any(rule.get("app_passwords") for rule in document.get("rules", ())),
        )

    def _gate(self, tenant: str, to: str, basis: Basis) -> Iterator[PreflightProblem]:
        held, document = basis.credentials, basis.document
        if held is None or document is None or basis.latest is None:
            yield PreflightProblem("not_found", "tenant", f"{tenant} is not provisioned")
            return
        pools = self.provisioning.pools.by_name
        if to not in pools:
            yield invalid("pool", f"{to} is none of {', '.join(pools)}")
        elif to == held.pool:
            yield PreflightProblem("conflict", "pool", f"{tenant} lives in pool {to} already")
        full = without_place(tenant, held)
        if full is not None:
            yield full
        for name in trials(basis.known):
            yield PreflightProblem(
                "conflict",
                f"providers.{name}",
                "a renewal is tested with it, or can be put back: revoke its setup link first, or "
                "provision the tenant again",
            )
        names = {entry["name"] for entry in basis.known}
        for provider in document["providers"]:
            where = f"providers.{provider['name']}"
            if provider["kind"] == ProviderKind.COGNITO:
                yield invalid(
                    where, "users of the pool itself cannot be moved with their passwords"
                )
            elif provider["name"] not in names and provider["kind"] not in POOL_SOCIAL:
                yield invalid(
                    where, "was not provisioned: provision the tenant with it first (adopt)"
                )
        if (document.get("password_client") or {}).get("client_id") is not None:
            yield invalid(
                "password_client",
                f"is an app client of pool {held.pool}: say client: managed, and the move makes "
                "another one",
            )
        if basis.filed and document.get("pool") not in {None, to}:
            yield PreflightProblem(
                "read_only",
                "pool",
                f"{tenant} is a file of tenants.directory: write pool: {to} there first",
            )

    def _register(self, goal: Wanted, to: str) -> Iterator[str]:
        pool = self.config.cognito.all_pools[to]
        domain = pool.domain.rstrip("/")
        for provider in goal.providers:
            if isinstance(provider.connection, SamlConnection):
                yield (
                    f"{provider.name}: entity ID urn:amazon:cognito:sp:{pool.user_pool_id}, "
                    f"assertion consumer service {domain}/saml2/idpresponse"
                )
            else:
                yield f"{provider.name}: redirect URI {domain}/oauth2/idpresponse"

    async def apply(self, proposal: MoveProposal, *, actor: str) -> Outcome:
        """All of it, or nothing; nothing too where its basis has changed. The proposal must have no
        problems, and wait for nobody.
        """
        goal = proposal.goal
        if proposal.plan.problems or proposal.waits_for or goal is None:
            msg = "a proposal with problems, or that waits for somebody, is not applied"
            raise ValueError(msg)
        tenant = proposal.tenant
        retires_at = (
            self.provisioning.clock() + longest_session_s(goal.document, self.config) + SPARE_S
        )
        run = self.provisioning.new_run()

        async def stands() -> bool:
            # What a trial has made is deleted with it.
            trials = await self.provisioning.journal.trials(tenant)
            return await self.bases.unchanged(tenant, goal.basis) and proposal.to not in {
                trial.pool for trial in trials
            }

        outcome = await self.provisioning.run(
            tenant,
            lambda steps: self._works(steps, proposal, goal, retires_at),
            run=run,
            kind=RunKind.MOVE,
            actor=actor,
            request=_request(proposal, goal, run),
            plan=[describe(step) for step in proposal.plan.steps],
            pool=proposal.to,
            stands=stands,
        )
        await self._carry_quietly(tenant)
        return outcome

    async def _works(
        self, steps: Steps, proposal: MoveProposal, goal: MoveGoal, retires_at: float
    ) -> AsyncIterator[Work]:
        tenant, target = proposal.tenant, goal.wanted
        for work in making(steps, proposal, goal):
            yield work
        if target.password_client is not None:
            yield steps.create_password_client(target.password_client, tenant=tenant)
        yield self._carry(tenant)
        if goal.puts_document:
            # Before the switch: until then the document's word counts for nothing.
            document = {**goal.document, "pool": proposal.to}
            yield steps.put_tenant(tenant, document, goal.basis.before)
        yield steps.put_credentials(
            tenant, lambda: replaced(steps, goal.held, retires_at), goal.held
        )

    def _carry(self, tenant: str) -> Work:
        """The journal names this run already: what is imposed from now on goes by every name."""

        async def perform() -> Json:
            return {"carried": await self.restrictions.carry(tenant, moved=False)}

        return Work(Action.CARRY_BLOCKS, tenant, perform)

    async def carry_forever(self) -> None:
        """What a process that ended in between may have left by one name only. Until cancelled."""
        while True:
            try:
                for tenant in await self._between_pools():
                    await self._carry_quietly(tenant)
            except GatewayError as error:
                _log.warning("provision_carry_later", extra=fields(detail=str(error)))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _between_pools(self) -> Sequence[str]:
        registrar = self.provisioning.registrar
        with_retired = await registrar.clients_due_for_deletion(self.provisioning.clock() + EVER_S)
        held = {tenant: await registrar.credentials(tenant) for tenant in with_retired}
        return [tenant for tenant, each in held.items() if each is not None and len(each.pools) > 1]

    async def _carry_quietly(self, tenant: str) -> None:
        try:
            await self.restrictions.carry(tenant, moved=True)
        except UnavailableError as error:
            _log.warning("provision_carry_later", extra=fields(tenant=tenant, detail=str(error)))


def making(steps: Steps, proposal: MoveProposal, goal: MoveGoal) -> Iterator[Work]:
    """What logins need in the target pool, and nothing by which one would go there."""
    target, actual = goal.wanted, goal.actual
    missing = tuple(name for name in target.custom_attributes if name not in actual.attributes)
    if missing:
        yield steps.add_attributes(missing)
    differing = {step.name for step in proposal.plan.steps if step.differences}
    for provider in target.providers:
        actual_provider = actual.providers.get(provider.name)
        if actual_provider is None:
            yield steps.create_provider(provider)
        elif provider.name in differing:
            yield steps.update_provider(provider, actual_provider)
    yield steps.create_client(target.client, tenant=proposal.tenant)
    if actual.login_reuse is not None and actual.login_reuse.tracked:
        yield steps.end_login_reuse(steps.credentials_made().client_id, before=None)


def _differences(
    source: str, to: str, names: Sequence[str], here: Actual, there: Actual
) -> Iterator[PreflightProblem]:
    for name in names:
        if name not in here.providers:
            yield invalid(
                f"providers.{name}", f"is not in pool {source} any more: provision it again"
            )
    if here.case_sensitive != there.case_sensitive:
        yield invalid(
            "pool",
            f"{source} and {to} do not agree on whether case counts in user names: whoever is "
            "blocked in one could not be told in the other",
        )


def _saml(goal: Wanted) -> Iterator[str]:
    for provider in goal.providers:
        if isinstance(provider.connection, SamlConnection):
            yield provider.name


def _misnamed(basis: Basis, registered: Collection[str]) -> Iterator[PreflightProblem]:
    names = {entry["name"] for entry in basis.known if "saml" in entry}
    for name in sorted({*registered} - names):
        yield invalid("registered", f"{name} is no SAML provider of the tenant")


def waiting(proposal: MoveProposal) -> tuple[PreflightProblem, ...]:
    """Why it is not applied yet, and what to do."""
    hints = {line.partition(":")[0]: line.partition(": ")[2] for line in proposal.register}
    return tuple(
        PreflightProblem(
            "conflict",
            f"providers.{name}",
            "its identity provider has to accept the other pool first, beside this one: "
            f"{hints.get(name, '')}. Then say so (registered: {name}). Until then nothing changes",
        )
        for name in proposal.waits_for
    )


def _notes(goal: Wanted) -> Iterator[str]:
    for provider in goal.providers:
        if isinstance(provider.connection, SamlConnection):
            yield (
                f"{provider.name}: another entity ID may give everybody another NameID; who is "
                "blocked is then known by the e-mail address alone"
            )


def _request(proposal: MoveProposal, goal: MoveGoal, run: str) -> Json:
    """For the journal: as of an ``apply``, and the providers that stay in the other pools."""
    basis, held = goal.basis, goal.held
    request = carried(basis.latest)
    new_providers = {
        step.name
        for step in proposal.plan.steps
        if step.resource is Resource.PROVIDER and step.verb is Verb.CREATE
    }
    former = {pool: entries for pool, entries in request["former"].items() if pool != proposal.to}
    old_entries = [{name: e.get(name) for name in ("name", "marker", "kind")} for e in basis.known]
    return {
        **request,
        "providers": [
            {
                **entry,
                "marker": marker(run, entry["name"])
                if entry["name"] in new_providers
                else goal.marks.get(entry["name"]),
            }
            for entry in basis.known
        ],
        "former": {**former, held.pool: old_entries},
    }
