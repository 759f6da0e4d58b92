"""What runs that only delete do, in order: first nobody uses a thing any more, then it goes. Each
step repeats harmlessly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.model import ProviderKind
from gateway.provisioning.pool_user_steps import PoolUserSteps
from gateway.provisioning.runs import RunKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.core.json_types import Json
    from gateway.provisioning.steps import Steps, Work


def deleting(steps: Steps, kind: RunKind, tenant: str, request: Json) -> AsyncIterator[Work]:
    """For a kind in ``FINISHED``; the request is the run's."""
    return (
        destroying(steps, tenant, request)
        if kind is RunKind.DESTROY
        else retiring(steps, tenant, request["retire"])
    )


async def destroying(steps: Steps, tenant: str, request: Json) -> AsyncIterator[Work]:
    """What ends a tenant: first nobody can come in, then what they came through goes."""
    if request.get("tenant"):
        yield steps.delete_tenant(tenant)
    yield steps.delete_credentials(tenant)
    for client_id in request.get("clients", ()):
        yield steps.delete_client(tenant, str(client_id))
    for provider in request.get("providers", ()):
        yield _delete_provider(steps, tenant, provider)


def _delete_provider(steps: Steps, tenant: str, provider: Json) -> Work:
    if provider.get("kind") == ProviderKind.COGNITO:
        return PoolUserSteps(steps.pool, steps.run).delete_groups(tenant)
    return steps.delete_provider(tenant, str(provider["name"]), mark=str(provider["marker"]))


async def retiring(steps: Steps, tenant: str, retire: Json) -> AsyncIterator[Work]:
    """``clients`` that were replaced, and ``providers`` that the tenant does not have any more."""
    yield steps.detach_clients(tenant, [str(client_id) for client_id in retire["clients"]])
    for client_id in retire["clients"]:
        yield steps.delete_client(tenant, str(client_id))
    for provider in retire["providers"]:
        yield _delete_provider(steps, tenant, provider)
