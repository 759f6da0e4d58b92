"""A proposal, step by step, in the order of its steps' dependence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.cognito.desired import CUSTOM_ATTRIBUTES
from gateway.provisioning.credentials import ClientCredentials
from gateway.provisioning.plan import Resource, Verb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.provisioning.service import Proposal
    from gateway.provisioning.steps import Steps, Work


def retired(credentials: ClientCredentials | None) -> tuple[str, ...]:
    """Ids of the clients that a rotation replaced and that are accepted still."""
    return credentials.client_ids[1:] if credentials is not None else ()


async def works(steps: Steps, proposal: Proposal) -> AsyncIterator[Work]:
    """The order of dependence: what a client names must exist before it, and a tenant is served
    once its client does.
    """
    target, actual = proposal.wanted, proposal.actual
    if target is None or actual is None:
        return
    missing = tuple(n for n in CUSTOM_ATTRIBUTES if n not in actual.attributes)
    if missing:
        yield steps.add_attributes(missing)
    verbs = {s.name: s for s in proposal.plan.steps if s.resource is Resource.PROVIDER}
    for provider in target.providers:
        step, found = verbs[provider.name], actual.providers.get(provider.name)
        if step.verb is Verb.CREATE or found is None:
            yield steps.create_provider(provider)
        elif step.differences:
            yield steps.update_provider(provider, found)
    if actual.client is None:
        yield steps.create_client(target.client, tenant=proposal.tenant)
    changed = {
        s.name
        for s in proposal.plan.steps
        if s.resource is Resource.CLIENT and s.verb in {Verb.CHANGE, Verb.ADOPT} and s.differences
    }
    for client in (actual.client, *actual.retired):
        if client is not None and client.client_id in changed:
            yield steps.update_client(target.client, client)
    if (
        actual.client is not None
        and actual.client.secret is not None
        and proposal.credentials is None
    ):
        # Before the tenant's document stops naming it: there is no moment without a client.
        adopted = ClientCredentials(actual.client.client_id, actual.client.secret)
        yield steps.put_credentials(proposal.tenant, lambda: adopted, None)
    if proposal.document is not None:
        yield steps.put_tenant(proposal.tenant, proposal.document, proposal.before)
    held, gone = (
        proposal.credentials,
        frozenset(retired(proposal.credentials)) - {c.client_id for c in actual.retired},
    )
    if actual.client is None:
        yield steps.put_credentials(
            proposal.tenant,
            lambda: replace(
                steps.credentials_made(), retired=held.without(gone).retired if held else ()
            ),
            held,
        )
    elif gone and held is not None:
        yield steps.put_credentials(proposal.tenant, lambda: held.without(gone), held)
