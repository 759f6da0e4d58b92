"""Bearer tokens: of machine clients, and of people by what their last login left. Which clients and scopes may pass is the rule's business."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.model import MachineToken, Tenant
    from gateway.ports import RelyingParty, SessionStore


class Machines:
    """Implements ``ports.MachineAuthenticator``. Nothing is remembered between two checks: each token is judged for the tenant that is asked."""

    def __init__(self, relying_party: RelyingParty, sessions: SessionStore) -> None:
        self._relying_party = relying_party
        self._sessions = sessions

    async def authenticate(self, tenant: Tenant, token: str) -> MachineToken | None:
        machine = await self._relying_party.verify_access_token(token)
        if machine is None or not (machine.username or machine.sub):
            return machine
        if not machine.sub:
            return None
        link = await self._sessions.linked(tenant.id, user=machine.sub, auth_time=machine.auth_time)
        provider = tenant.provider(link.provider) if link is not None else None
        if link is None or provider is None or link.email_domain not in provider.domains or link.email_domain not in tenant.email_domains:
            return None
        return machine
