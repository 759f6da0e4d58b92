"""Has Cognito read the metadata of a SAML provider again, before its own six hours are over.

It is a run of the journal: no other run of the tenant is in progress meanwhile, and whoever looks
sees what the gateway did in the pool. It sends what the pool holds, so undoing it changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.model import DEFAULT_POOL
from gateway.provisioning.runner import Done
from gateway.provisioning.runs import RunKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.provisioning.runner import Provisioning
    from gateway.provisioning.steps import Steps, Work

ACTOR = "gateway"


async def reload_metadata(
    provisioning: Provisioning, tenant: str, name: str, *, pool: str = DEFAULT_POOL
) -> bool:
    """Whether Cognito took them. False where the provider is gone or has no address of metadata,
    where Cognito refused them, and where another run holds the tenant: the next look tries again.
    ``pool``: in which the tenant lives. Raises ``UnavailableError``.
    """
    taken = False

    async def works(steps: Steps) -> AsyncIterator[Work]:
        nonlocal taken
        # Read while the tenant is held: nobody's later change is written over.
        provider = await steps.pool.provider(name)
        if provider is not None and provider.details.get("MetadataURL"):
            yield steps.reload_provider(provider)
            taken = True

    outcome = await provisioning.run(
        tenant,
        works,
        run=provisioning.new_run(),
        kind=RunKind.RELOAD,
        actor=ACTOR,
        request={"provider": name},
        plan=[],
        pool=pool,
    )
    return taken and isinstance(outcome, Done)
