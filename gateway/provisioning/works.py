"""A proposal as the calls that carry it out, and the credentials that are stored in the end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.provisioning.client_secret_rows import with_kept_secrets
from gateway.provisioning.credentials import (
    SPARE_S,
    ClientCredentials,
    app_client,
    retired_ids,
)
from gateway.provisioning.plan_rows import Resource, Verb
from gateway.provisioning.pool_user_steps import PoolUserSteps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.cognito.desired import Actual, Wanted
    from gateway.core.json_types import Json
    from gateway.provisioning.proposal import Proposal
    from gateway.provisioning.steps import Steps, Work


async def works(steps: Steps, proposal: Proposal) -> AsyncIterator[Work]:
    """The order of dependence: what a client names must exist before it, and a tenant is served
    once its client does.
    """
    target, actual = proposal.wanted, proposal.actual
    if target is None or actual is None:
        return
    missing_attributes = tuple(n for n in target.custom_attributes if n not in actual.attributes)
    if missing_attributes:
        yield steps.add_attributes(missing_attributes)
    for work in _provider_works(steps, proposal, target, actual):
        yield work
    users = PoolUserSteps(steps.pool, steps.run)
    if target.users is not None and actual.group is None:
        yield users.create_group(target.users)
    if actual.client is None:
        yield steps.create_client(target.client, tenant=proposal.tenant)
    for step in proposal.plan.changes:
        if step.resource is Resource.STYLE:
            yield users.create_style(step.name or steps.credentials_made().client_id)
    for work in _password_client_works(steps, proposal, target, actual):
        yield work
    for step in proposal.plan.changes:
        if step.resource is Resource.LOGIN_REUSE:
            minutes = next((d.now for d in step.differences if isinstance(d.now, int)), None)
            name = step.name or steps.credentials_made().client_id
            yield steps.end_login_reuse(name, before=minutes)
    changed_ids = {
        s.name
        for s in proposal.plan.steps
        if s.resource is Resource.CLIENT and s.verb in {Verb.CHANGE, Verb.ADOPT} and s.differences
    }
    for client in (actual.client, *actual.retired):
        if client is not None and client.client_id in changed_ids:
            yield steps.update_client(target.client, client)
    credentials = proposal.credentials
    if actual.client is not None and actual.client.secret is not None and credentials is None:
        # Before the tenant's document stops naming it: there is no moment without a client.
        credentials = adopted = ClientCredentials.of(app_client(actual.client, pool=proposal.pool))
        yield steps.put_credentials(proposal.tenant, lambda: adopted, None)
    moved = with_kept_secrets(credentials, actual)
    if moved != credentials and moved is not None:
        now, before, credentials = moved, credentials, moved
        yield steps.put_credentials(proposal.tenant, lambda: now, before)
    passwords = _password_client_verb(proposal)
    if passwords is Verb.ADOPT and credentials is not None:
        # As above. A client that the run makes takes no password before the document says so.
        before, credentials = credentials, _credentials(steps, proposal, actual, credentials)
        taken_over = credentials
        yield steps.put_credentials(proposal.tenant, lambda: taken_over, before)
        passwords = Verb.KEEP
    if proposal.document is not None:
        yield _put_tenant(steps, proposal, proposal.document)
    if actual.client is None or _gone(proposal, actual) or passwords in _CHANGED:
        yield steps.put_credentials(
            proposal.tenant, lambda: _credentials(steps, proposal, actual, credentials), credentials
        )


def _put_tenant(steps: Steps, proposal: Proposal, document: Json) -> Work:
    before, domains = proposal.before, proposal.if_held
    return steps.put_tenant(proposal.tenant, document, before, if_held=domains)


def _provider_works(
    steps: Steps, proposal: Proposal, target: Wanted, actual: Actual
) -> Iterator[Work]:
    verbs = {s.name: s for s in proposal.plan.steps if s.resource is Resource.PROVIDER}
    for provider in (*target.shared, *target.providers):
        step, found = verbs[provider.name], actual.providers.get(provider.name)
        if step.verb is Verb.CREATE or found is None:
            yield steps.create_provider(provider)
        elif step.differences:
            yield steps.update_provider(provider, found)


_CHANGED = frozenset({Verb.CREATE, Verb.ADOPT, Verb.REMOVE})
"""Verbs after which another client is asked with, or none."""


def _password_client_verb(proposal: Proposal) -> Verb:
    return next(
        (s.verb for s in proposal.plan.steps if s.resource is Resource.PASSWORD_CLIENT), Verb.KEEP
    )


def _password_client_works(
    steps: Steps, proposal: Proposal, target: Wanted, actual: Actual
) -> Iterator[Work]:
    client, actual_client = target.password_client, actual.password_client
    for step in proposal.plan.steps:
        if step.resource is not Resource.PASSWORD_CLIENT or client is None:
            continue
        if step.verb is Verb.CREATE:
            yield steps.create_password_client(client, tenant=proposal.tenant)
        elif step.differences and actual_client is not None:
            yield steps.update_client(client, actual_client)


def _gone(proposal: Proposal, actual: Actual) -> frozenset[str]:
    """Replaced clients that somebody has deleted."""
    return frozenset(retired_ids(proposal.credentials)) - {c.client_id for c in actual.retired}


def _credentials(
    steps: Steps, proposal: Proposal, actual: Actual, held: ClientCredentials | None
) -> ClientCredentials:
    """What the registry has in the end. ``held``: what it has now."""
    remainder = None if held is None else held.without(_gone(proposal, actual))
    result = (
        replace(
            steps.credentials_made(),
            retired=() if remainder is None else remainder.retired,
            password_clients=() if remainder is None else remainder.password_clients,
        )
        if actual.client is None or remainder is None
        else remainder
    )
    actual_client, now = actual.password_client, steps.now()
    match _password_client_verb(proposal):
        case Verb.CREATE:
            new_client = steps.password_client_made()
            if actual_client is None and (old_client := result.password_client) is not None:
                result = result.without([old_client.client_id])
            return result.with_password_client(new_client, retires_at=now + SPARE_S)
        case Verb.ADOPT if actual_client is not None:
            client = app_client(actual_client, pool=proposal.pool)
            return result.with_password_client(client, retires_at=now)
        case Verb.REMOVE:
            return result.with_password_client(None, retires_at=now)
    return result
