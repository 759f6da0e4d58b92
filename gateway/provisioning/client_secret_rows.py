"""Where the secret of an app client is kept, when that is another place than the gateway knows:
somebody has told Cognito to keep it in Secrets Manager, or to keep it itself again. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core.model import Secret
from gateway.provisioning.credentials import app_client
from gateway.provisioning.plan_rows import Difference, Resource, Step, Verb
from gateway.provisioning.preflight import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.cognito.desired import Actual, ActualClient
    from gateway.core.model import AppClient
    from gateway.provisioning.credentials import ClientCredentials
    from gateway.provisioning.plan_rows import Plan

IN_COGNITO = "Cognito"
IN_SECRETS_MANAGER = "Secrets Manager"


def with_client_secrets(plan: Plan, held: ClientCredentials | None, actual: Actual) -> Plan:
    """With a row for each client whose secret is kept in another place than is known, and with what
    cannot be read.
    """
    if held is None:
        return plan
    pairs = list(_pairs(held, actual))
    steps = (
        Step(
            Verb.CHANGE,
            Resource.CLIENT_SECRET,
            client.client_id,
            f"{_place(found.secret_arn)} keeps it now: it is read there from now on",
            (Difference("kept in", _place(_arn(client)), _place(found.secret_arn)),),
        )
        for client, found in pairs
        if _arn(client) != found.secret_arn and found.secret is not None
    )
    unreadable = (invalid("client", found.unreadable) for _, found in pairs if found.unreadable)
    return replace(plan, steps=(*plan.steps, *steps), problems=(*plan.problems, *unreadable))


def differing(held: ClientCredentials, actual: Actual) -> Iterator[str]:
    """Ids of clients whose secret Cognito keeps, and has another one than is known."""
    for client, found in _pairs(held, actual):
        is_in_cognito = not (found.secret_arn or client.rotated or found.unreadable)
        if is_in_cognito and (found.secret or Secret("")) != client.client_secret:
            yield client.client_id


def exchanged_notes(held: ClientCredentials | None, actual: Actual) -> Iterator[str]:
    """Of clients whose secret Secrets Manager has exchanged, and nobody here has read since."""
    if held is None:
        return
    for client, found in _pairs(held, actual):
        is_followed = bool(found.secret_arn) and found.secret_arn == _arn(client)
        if is_followed and found.secret not in {None, client.client_secret}:
            yield (
                f"client {client.client_id}: Secrets Manager has another secret than the gateway "
                "holds. It is read within 15 minutes, and at once when Cognito takes the one that "
                "is held no more; an admin process has to run"
            )


def with_kept_secrets(held: ClientCredentials | None, actual: Actual) -> ClientCredentials | None:
    """With what was read, where it is kept in another place than is known."""
    if held is None:
        return None
    found = {client.client_id: f for client, f in _pairs(held, actual)}

    def kept(client: AppClient) -> AppClient:
        there = found.get(client.client_id)
        if there is None or there.secret is None or there.secret_arn == _arn(client):
            return client
        return replace(app_client(there, pool=client.pool), retires_at=client.retires_at)

    login = kept(held.login_client)
    return replace(
        held,
        client_secret=login.client_secret,
        rotated=login.rotated,
        retired=tuple(map(kept, held.retired)),
        password_clients=tuple(map(kept, held.password_clients)),
    )


def _pairs(held: ClientCredentials, actual: Actual) -> Iterator[tuple[AppClient, ActualClient]]:
    ours = {client.client_id: client for client in held.clients}
    for found in (actual.client, *actual.retired, actual.password_client):
        if found is not None and found.client_id in ours:
            yield ours[found.client_id], found


def _arn(client: AppClient) -> str:
    return "" if client.rotated is None else client.rotated.arn


def _place(arn: str) -> str:
    return IN_SECRETS_MANAGER if arn else IN_COGNITO
