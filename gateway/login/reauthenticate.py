"""A login that asks the person anew, and comes back to the page of their sessions: what a person
makes there outlives the session.

Cognito's own session ends first, since its classic pages ignore ``prompt``; then the login says
``prompt=login``, which the managed ones hand on to the identity provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gateway.login.authorize import BROWSER_ID, Destination, send_to_cognito
from gateway.login.middleware import redirect
from gateway.login.resume import Resume, remember

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.model import Provider, Session, Tenant
    from gateway.login.request import Browser

PARAMETER = WHAT = "reauthenticate"
"""Of ``/_auth/login``; and of what goes on after Cognito's /logout."""
RETURN_PATH = "/_auth/sessions"
"""The one page of the gateway that a login leads to, and by no address that anybody writes down."""


def link(tenant: Tenant | None, session: Session) -> str:
    """Begins one for whoever has the session, at the host where it is shown."""
    provider = session.identity.provider
    has_provider = tenant is not None and tenant.provider(provider) is not None
    query = {PARAMETER: "1", **({"provider": provider} if has_provider else {})}
    return f"/_auth/login?{urlencode(query)}"


def begin(
    browser: Browser, tenant: Tenant, provider: Provider, *, host: str, browser_id: str = ""
) -> web.Response:
    """Through Cognito's /logout. ``host``: of the page to come back to; ``browser_id``: who waits
    there for the ticket, at the login host for another.
    """
    response = redirect(
        browser.services.relying_party.logout_url(
            tenant, logout_uri=f"{browser.origin}/_auth/signed-out"
        )
    )
    remember(
        response,
        browser,
        Resume(WHAT, tenant.id, host, provider=provider.name, browser=browser_id),
    )
    return response


async def go_on(
    browser: Browser, tenant: Tenant, resume: Resume, *, host: str
) -> web.Response | None:
    """To Cognito; None where what the browser brought does not fit this host."""
    provider = tenant.provider(resume.provider)
    elsewhere = host != browser.host
    fits = (
        browser.services.tenants.table.owns(tenant, host)
        if elsewhere or browser.services.config.login_host is None
        else host == browser.services.config.login_host
    )
    if provider is None or not fits or (elsewhere and not BROWSER_ID.fullmatch(resume.browser)):
        return None
    return_to = f"{browser.services.config.origin(host)}{RETURN_PATH}"
    return await send_to_cognito(
        browser,
        tenant,
        provider,
        Destination(return_to, host, resume.browser) if elsewhere else Destination(return_to),
        hopped=True,
        prompt="login",
    )
