"""Pools that a tenant has moved out of, while sessions that began there are left: whether its
clients and providers there are as they should be, and what makes them so.

Rules:
- What is wanted there is what is wanted in the tenant's pool, as far as the other pool can have it:
  providers that came later, and attributes that it does not declare, are no difference.
- Where the secret of a client there is kept is followed, as in the tenant's pool.
- A client that is gone is not made again: nothing that was made with it could use another one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gateway.cognito.desired import OidcConnection, marker
from gateway.cognito.shapes import provider_type
from gateway.core.model import POOLS_OWN, Secret
from gateway.errors import GatewayError
from gateway.log import fields
from gateway.provisioning.client_rows import client_differences
from gateway.provisioning.client_secret_rows import (
    differing,
    with_client_secrets,
    with_kept_secrets,
)
from gateway.provisioning.desired import describe, required_attributes, wanted
from gateway.provisioning.plan import provider_differences
from gateway.provisioning.plan_rows import Plan, Resource, Step, Verb
from gateway.provisioning.preflight import PreflightProblem, invalid
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import Busy, RunKind, carried
from gateway.provisioning.standing import read_standing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from gateway.cognito.desired import (
        Actual,
        ActualClient,
        ActualProvider,
        Wanted,
        WantedClient,
        WantedProvider,
    )
    from gateway.config.model import Config
    from gateway.provisioning.credentials import ClientCredentials
    from gateway.provisioning.proposal import Basis, BasisReader
    from gateway.provisioning.runner import Outcome, Provisioning
    from gateway.provisioning.standing import Standing
    from gateway.provisioning.steps import Steps, Work

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FormerPool:
    """What differs in one pool that the tenant has left. ``problems``: what is not mended."""

    tenant: str
    pool: str
    steps: tuple[Step, ...]
    problems: tuple[PreflightProblem, ...]
    providers: tuple[tuple[WantedProvider, ActualProvider | None], ...] = field(repr=False)
    clients: tuple[tuple[WantedClient, ActualClient], ...] = field(repr=False)
    credentials: ClientCredentials | None = field(default=None, repr=False)
    """The tenant's, with each secret of a client there as it is kept now."""


@dataclass(frozen=True, slots=True)
class FormerPools:
    """Looks there, and mends."""

    config: Config
    provisioning: Provisioning
    bases: BasisReader

    async def look(self, basis: Basis, target: Wanted, here: Actual) -> tuple[FormerPool, ...]:
        """``target``: what is wanted in the tenant's pool, which is as ``here``. Changes nothing.
        Raises ``UnavailableError`` and ``CognitoRejectedError``.
        """
        credentials, document = basis.credentials, basis.document
        if credentials is None or document is None:
            return ()
        former_pools, by_pool = [], carried(basis.latest)["former"]
        for name in credentials.pools[1:]:
            names = [entry["name"] for entry in by_pool.get(name, ())]
            clients = credentials.ids_in(name)
            if clients:
                actual = await self.provisioning.pools.named(name).actual(
                    providers=names, clients=clients
                )
                former = self._compared(name, names, clients, actual, basis, target, here)
                former_pools.append(_with_secrets(former, credentials, actual))
        return tuple(former_pools)

    def _compared(
        self,
        pool: str,
        names: Sequence[str],
        client_ids: Sequence[str],
        actual: Actual,
        basis: Basis,
        target: Wanted,
        here: Actual,
    ) -> FormerPool:
        required = required_attributes(actual.attributes.values())
        ours = {p.name: p for p in target.providers}
        providers, problems, steps = [], [], []
        for name in names:
            if name not in ours:
                continue  # the tenant has it no more
            there = actual.providers.get(name)
            provider = _for_pool(ours[name], here.providers.get(name), there, actual, required)
            problem, step = _provider(pool, provider, there)
            problems += [problem] if problem is not None else []
            if step is not None:
                steps.append(step)
                providers.append((provider, there))
        present = {*actual.providers, *(provider.name for provider, _ in providers)}
        custom = [n for n in basis.custom_attributes if n in actual.attributes]
        client = wanted(
            target.tenant,
            basis.document or {},
            [replace(p, mapping=_declared(p.mapping, actual)) for p in target.providers],
            self.config,
            required=required,
            users=None,
            custom_attributes=custom,
        ).client
        clients = []
        by_id = {c.client_id: c for c in (actual.client, *actual.retired) if c is not None}
        for client_id in client_ids:
            there_is = by_id.get(client_id)
            if there_is is None:
                problems.append(_retired_client(client_id, f"was deleted from pool {pool}"))
                continue
            fitting = replace(client, providers=_usable(client, there_is, present))
            differences = client_differences(fitting, there_is)
            if differences:
                clients.append((fitting, there_is))
                settings = ", ".join(d.setting for d in differences)
                why = f"in pool {pool}, for sessions from before the move: {settings} differ"
                steps.append(Step(Verb.CHANGE, Resource.CLIENT, client_id, why, differences))
        return FormerPool(
            target.tenant, pool, tuple(steps), tuple(problems), tuple(providers), tuple(clients)
        )

    async def follow(self, tenant: str, pools: Sequence[str], *, actor: str) -> None:
        """These pools, left by the tenant, after a run in its own: what fails is logged, and found
        again by whoever looks.
        """
        detail: str | None = None
        try:
            basis = await self.bases.read(tenant)
            standing = await read_standing(basis, self.config, self.provisioning.pools)
            if standing is None:
                return
            outcome = await self.mend_all(pools, basis, standing, actor=actor)
            if isinstance(outcome, Failed):
                detail = outcome.message
            elif isinstance(outcome, Busy):
                detail = f"run {outcome.run} of the tenant is in progress"
        except GatewayError as error:
            detail = str(error)
        if detail is not None:
            _log.warning("provision_former_pool_later", extra=fields(tenant=tenant, detail=detail))

    async def mend_all(
        self, pools: Sequence[str], basis: Basis, standing: Standing, *, actor: str
    ) -> Outcome | None:
        """A run in each of these pools that differs, until one is not done: its outcome, or the
        last.
        """
        outcome: Outcome | None = None
        for name in pools:
            now = await self.bases.read(standing.wanted.tenant)
            if now.document != basis.document or not isinstance(outcome, Done | None):
                break
            # The run before this one is the latest now, and may have made the tenant's client anew.
            for former in await self.look(now, standing.wanted, standing.actual):
                if former.pool == name and former.steps:
                    outcome = await self.mend(former, now, actor=actor)
        return outcome

    async def mend(self, former: FormerPool, basis: Basis, *, actor: str) -> Outcome:
        """One run in that pool; nothing where ``basis`` does not stand any more."""
        run, request = self.provisioning.new_run(), carried(basis.latest)
        new_names = {provider.name for provider, there in former.providers if there is None}
        request["former"][former.pool] = [
            {**entry, "marker": marker(run, entry["name"])} if entry["name"] in new_names else entry
            for entry in request["former"].get(former.pool, ())
        ]
        return await self.provisioning.run(
            former.tenant,
            lambda steps: _works(steps, former, basis.credentials),
            run=run,
            kind=RunKind.APPLY,
            actor=actor,
            request=request,
            plan=[describe(step) for step in former.steps],
            pool=former.pool,
            stands=lambda: self.bases.unchanged(former.tenant, basis),
        )


def _with_secrets(former: FormerPool, held: ClientCredentials, actual: Actual) -> FormerPool:
    """With what differs in where the secrets of its clients are kept, and in the secrets."""
    problems = (*former.problems, *other_secrets(former.pool, held, actual))
    plan = with_client_secrets(Plan(former.steps, problems), held, actual)
    credentials = with_kept_secrets(held, actual)
    return replace(former, steps=plan.steps, problems=plan.problems, credentials=credentials)


def other_secrets(
    pool: str, held: ClientCredentials | None, actual: Actual
) -> Iterator[PreflightProblem]:
    """Of replaced clients whose secret Cognito has changed: what was made with them ends."""
    if held is None:
        return
    retired_ids = {client.client_id for client in held.retired}
    for client_id in differing(held, actual):
        if client_id in retired_ids:
            yield _retired_client(client_id, f"has another secret in pool {pool} than is known")


async def _works(
    steps: Steps, former: FormerPool, held: ClientCredentials | None
) -> AsyncIterator[Work]:
    for provider, there in former.providers:
        yield (
            steps.create_provider(provider)
            if there is None
            else steps.update_provider(provider, there)
        )
    for client, there_is in former.clients:
        yield steps.update_client(client, there_is)
    credentials = former.credentials
    if credentials is not None and credentials != held:
        yield steps.put_credentials(former.tenant, lambda: credentials, held)


def _for_pool(
    provider: WantedProvider,
    here: ActualProvider | None,
    there: ActualProvider | None,
    actual: Actual,
    required: frozenset[str],
) -> WantedProvider:
    """With the secret that Cognito has in the tenant's pool, and the attributes that the other pool
    declares; what that one requires of everybody stays mapped.
    """
    demanded = {
        name: there.mapping[name]
        for name in sorted(required)
        if there is not None and name in there.mapping
    }
    mapping = {**demanded, **_declared(provider.mapping, actual)}
    return with_secret(replace(provider, mapping=mapping), here)


def with_secret(provider: WantedProvider, found: ActualProvider | None) -> WantedProvider:
    """As Cognito has it: what was provisioned may not be known any more."""
    connection = provider.connection
    secret = None if found is None else found.details.get("client_secret")
    if not isinstance(connection, OidcConnection) or secret is None:
        return provider
    return replace(provider, connection=replace(connection, client_secret=Secret(secret)))


def _declared(mapping: Mapping[str, str], actual: Actual) -> dict[str, str]:
    return {
        name: claim
        for name, claim in mapping.items()
        if name in actual.attributes or not name.startswith("custom:")
    }


def _usable(client: WantedClient, there: ActualClient, present: set[str]) -> tuple[str, ...]:
    """Of the tenant's providers those that the pool has; of the pool's own, those that the client
    has.
    """
    own = {*POOLS_OWN.values()}
    provider_names = there.strings("SupportedIdentityProviders")
    return tuple(
        name for name in client.providers if name in (provider_names if name in own else present)
    )


def _retired_client(client_id: str, what: str) -> PreflightProblem:
    return invalid(
        "client",
        f"{client_id}, which is accepted until its last session has ended, {what}: retire it",
    )


def _provider(
    pool: str, provider: WantedProvider, there: ActualProvider | None
) -> tuple[PreflightProblem | None, Step | None]:
    where = f"providers.{provider.name}"
    if there is None:
        if isinstance(provider.connection, OidcConnection) and provider.client_secret is None:
            problem = invalid(
                where, f"was deleted from pool {pool}, and its client secret is not known any more"
            )
            return problem, None
        why = f"was deleted from pool {pool}, and sessions from before the move need it there"
        return None, Step(Verb.CREATE, Resource.PROVIDER, provider.name, why)
    if there.type != provider_type(provider):
        return invalid(where, f"is of type {there.type} in pool {pool}"), None
    differences = provider_differences(provider, there)
    if not differences:
        return None, None
    settings = ", ".join(d.setting for d in differences)
    why = f"in pool {pool}, for sessions from before the move: {settings} differ"
    return None, Step(Verb.CHANGE, Resource.PROVIDER, provider.name, why, differences)


def all_steps(found: Sequence[FormerPool]) -> Iterator[Step]:
    for former in found:
        yield from former.steps
