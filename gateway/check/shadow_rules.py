"""``shadow_rules``: what a tenant's next rules would have said to a check. Never obeyed, and never
in the way of what is.

The same two functions decide. A credential that today's rule does not ask for is looked up, within
``PATIENCE_S`` and before today's are: nothing that is obeyed waits for it. Where that fails,
nothing is said about the next rules.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.core.decide import (
    decide,
    match,
    match_next,
    requires_app_password,
    requires_bearer,
    requires_pool_password,
)
from gateway.errors import UnavailableError
from gateway.sessions.api import Miss

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.core.decision import Decision
    from gateway.core.model import (
        AppPassword,
        AuthRequest,
        MachineToken,
        PoolPasswordResult,
        Session,
        Tenant,
    )
    from gateway.sessions.api import MachineAuthenticator

PATIENCE_S = 0.1
"""What the next rules may cost a check beyond what today's cost. More would let a slow store hold
up checks that do not need it.
"""


@dataclass(frozen=True, slots=True)
class NextCredentials:
    """What was looked up for the next rules alone."""

    session: Session | None = None
    machine: MachineToken | None = None
    password: AppPassword | None = None
    pool_password: PoolPasswordResult | None = None


async def look_up(
    tenant: Tenant,
    request: AuthRequest,
    *,
    machines: MachineAuthenticator,
    find: Callable[[AuthRequest], Awaitable[Session | None]],
    find_app_password: Callable[[AuthRequest], Awaitable[AppPassword | None]],
    cached_pool_password: Callable[[Tenant, AuthRequest], PoolPasswordResult | Miss],
) -> NextCredentials | None:
    """At a host of the tenant's own: the credential that the next rules judge and today's do not.
    None: it could not be asked for; Cognito is not asked for rules that are not obeyed.
    """
    if not tenant.shadow_rules:
        return NextCredentials()
    rule_match, today = match_next(tenant, request), match(tenant, request)
    password_today = requires_app_password(today, request)
    pool_password_today = requires_pool_password(today, request)
    machine_today = requires_bearer(today, request) and not (password_today or pool_password_today)
    try:
        async with asyncio.timeout(PATIENCE_S):
            if requires_app_password(rule_match, request):
                return (
                    NextCredentials()
                    if password_today
                    else NextCredentials(password=await find_app_password(request))
                )
            if requires_pool_password(rule_match, request):
                if pool_password_today:
                    return NextCredentials()
                result = cached_pool_password(tenant, request)
                return None if isinstance(result, Miss) else NextCredentials(pool_password=result)
            if rule_match.refused is None and requires_bearer(rule_match, request):
                if request.bearer and (today.refused is not None or not machine_today):
                    return NextCredentials(
                        machine=await machines.authenticate(tenant, request.bearer)
                    )
            elif (
                rule_match.refused is None
                and request.cookies
                and (
                    today.refused is not None
                    or machine_today
                    or password_today
                    or pool_password_today
                )
            ):
                return NextCredentials(session=await find(request))
    except (UnavailableError, TimeoutError):
        return None
    return NextCredentials()


def would_decide(
    tenant: Tenant,
    request: AuthRequest,
    found: NextCredentials | None,
    *,
    session: Session | None,
    machine: MachineToken | None,
    password: AppPassword | None,
    pool_password: PoolPasswordResult | None,
    now: float,
) -> Decision | None:
    """Credentials as found for today's rules. None: there are no next rules, or it is not known
    what they say.
    """
    if not tenant.shadow_rules or found is None:
        return None
    rule_match = match_next(tenant, request)
    next_session = None if requires_bearer(rule_match, request) else session or found.session
    return decide(
        tenant,
        request,
        rule_match,
        session=next_session,
        machine=machine or found.machine,
        password=password or found.password,
        pool_password=pool_password or found.pool_password,
        now=now,
    )
