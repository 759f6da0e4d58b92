"""Bearer tokens of machine clients. A person's token needs the link record of their last login; without one there is no entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.model import MachineToken, Tenant
    from gateway.ports import RelyingParty


class Machines:
    """Validates access tokens of the pool; which clients and scopes may pass is the rule's business."""

    def __init__(self, relying_party: RelyingParty) -> None:
        self._relying_party = relying_party

    async def authenticate(self, tenant: Tenant, token: str) -> MachineToken | None:  # noqa: ARG002 - the tenant's link records decide about people
        machine = await self._relying_party.verify_access_token(token)
        return machine if machine is not None and not machine.username else None
