"""Bearer tokens: of machine clients, and of people by what their last login left. Which clients and
scopes may pass is the rule's business.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.cognito.relying_party import RelyingParty
    from gateway.core.model import MachineToken, Tenant
    from gateway.sessions.api import SessionStore


class Machines:
    """Implements ``sessions.api.MachineAuthenticator``. Nothing is remembered between two checks:
    each token is judged for the tenant that is asked.
    """

    def __init__(self, relying_party: RelyingParty, sessions: SessionStore) -> None:
        self._relying_party = relying_party
        self._sessions = sessions

    async def authenticate(self, tenant: Tenant, token: str) -> MachineToken | None:
        machine = await self._relying_party.verify_access_token(tenant, token)
        if machine is None or not machine.is_persons:
            return machine
        if not machine.sub:
            return None
        link = await self._sessions.bearer_link(
            tenant.id, user=machine.sub, auth_time=machine.auth_time
        )
        if link is None or link.identity.sub != machine.sub:
            return None
        provider, domain = tenant.provider(link.identity.provider), link.identity.email_domain
        if provider is None or domain not in provider.domains or domain not in tenant.email_domains:
            return None
        return replace(machine, person=link.identity)
