"""``rules_next``: what a tenant's next rules would have said to a check. Never obeyed, and never in the way of what is.

The same two functions decide. A credential that today's rule did not ask for is asked for here, within ``PATIENCE_S``:
where that fails, nothing is said about the next rules, and the answer of today's stands as it was.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.core.decide import decide, match, match_next, wants_bearer
from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.core.decision import Decision
    from gateway.core.model import AuthRequest, MachineToken, Session, Tenant
    from gateway.web.services import Services

PATIENCE_S = 0.1
"""What the next rules may cost a check beyond what today's cost. More would let a slow store hold up checks that do not need it."""


async def would_decide(
    services: Services, tenant: Tenant, request: AuthRequest, *, session: Session | None, machine: MachineToken | None, find: Callable[[AuthRequest], Awaitable[Session | None]]
) -> Decision | None:
    """``session`` and ``machine`` as found for today's rules; ``find`` reads the session where they did not want it. None: not known."""
    matched = match_next(tenant, request)
    today = match(tenant, request)
    judged_alone = wants_bearer(today, request)
    own_host = services.tenants.table.by_host(request.host) is tenant
    if matched.refused is None:
        try:
            if wants_bearer(matched, request):
                session = None
                if own_host and request.bearer and (today.refused is not None or not judged_alone):
                    async with asyncio.timeout(PATIENCE_S):
                        machine = await services.machines.authenticate(tenant, request.bearer)
            elif session is None and own_host and request.cookies and (today.refused is not None or judged_alone):
                async with asyncio.timeout(PATIENCE_S):
                    session = await find(request)
        except (UnavailableError, TimeoutError):
            return None
    return decide(tenant, request, matched, session=session, machine=machine, now=services.clock())
