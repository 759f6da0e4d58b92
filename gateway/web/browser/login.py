"""``/_auth/login``: from a host (and, where needed, an e-mail) to Cognito.

Only a GET navigation gets here with a redirect from the check; nothing but this starts a login, so a page full of
blocked images leaves no pending logins behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gateway.core.decision import Reason
from gateway.core.hosts import email_domain
from gateway.core.model import PendingLogin
from gateway.core.returns import safe_return
from gateway.web.browser.edge import page, redirect, set_cookie
from gateway.web.browser.loop import count_return, give_up
from gateway.web.browser.request import BINDING_COOKIE, BrowserError, parse

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.model import Provider, Tenant
    from gateway.web.browser.request import Browser

PENDING_LIFETIME_S = 600
"""Long enough to find a second factor; Cognito itself gives up after five minutes at each step."""
MAX_LOGIN_HINT = 254


async def start(request: web.Request) -> web.StreamResponse:
    browser = parse(request)
    if is_prefetch(request):
        raise BrowserError(Reason.BAD_REQUEST, 400, detail="prefetch", tenant=browser.tenant)
    return_to = return_target(browser)
    tenant = browser.tenant
    if tenant is None:
        raise BrowserError(Reason.UNKNOWN_HOST, 421)
    request["tenant"] = tenant.id
    wanted, hint, switch = browser.parameter("provider"), browser.parameter("login_hint"), bool(browser.parameter("switch"))
    if not wanted and not switch:
        present = await browser.session()
        if present is not None and present[0].tenant == tenant.id and tenant.provider(present[0].identity.provider) is not None:
            # A parallel tab signed in meanwhile; the count ends the loop of an ingress that never forwards the cookie.
            response = redirect(return_to)
            if count_return(browser, response, return_to):
                return response
            raise give_up(tenant)
    provider = choose_provider(tenant, wanted=wanted, hint=hint)
    if provider is None:
        choices = [
            (p.label, "/_auth/login?" + urlencode({"provider": p.name, "rd": return_to, **({"login_hint": hint} if hint else {}), **({"switch": "1"} if switch else {})}))
            for p in tenant.providers
        ]
        return page(request, "chooser", tenant, choices=choices, change=None)
    # Somebody else: the identity provider must ask again, or it silently signs in the one who was just refused.
    return await send_to_cognito(browser, tenant, provider, return_to=return_to, hint=hint, prompt="login" if switch else "")


def return_target(browser: Browser) -> str:
    """``rd`` if it is safe, else the start page: never an error, since a stale bookmark is no attack."""
    return safe_return(browser.parameter("rd"), origin=browser.origin, allowed=browser.return_origin) or f"{browser.origin}/"


def choose_provider(tenant: Tenant, *, wanted: str, hint: str) -> Provider | None:
    """The named one, the only one, or the only one whose domains hold the hint; None: the person chooses."""
    if wanted:
        provider = tenant.provider(wanted)
        if provider is None:
            raise BrowserError(Reason.BAD_REQUEST, 400, detail="provider is not one of this tenant's", tenant=tenant)
        return provider
    if len(tenant.providers) == 1:
        return tenant.providers[0]
    domain = email_domain(hint) if hint else None
    fitting = [p for p in tenant.providers if domain is not None and domain in p.domains]
    return fitting[0] if len(fitting) == 1 else None


async def send_to_cognito(browser: Browser, tenant: Tenant, provider: Provider, *, return_to: str, hint: str = "", hopped: bool = False, prompt: str = "") -> web.Response:
    """Store the pending login, bind it to this browser, and go."""
    services = browser.services
    callback_host = services.config.login_host or browser.host
    pending = PendingLogin(
        tenant=tenant.id,
        provider=provider.name,
        host=callback_host,
        return_to=return_to,
        nonce=services.random_token(),
        code_verifier=services.random_token(),
        redirect_uri=f"{services.config.origin(callback_host)}/_auth/callback",
        client_id=tenant.client_id,
        created_at=int(services.clock()),
        hopped=hopped,
    )
    begun = await services.sessions.begin(pending, binding=browser.binding)
    hint = hint if len(hint) <= MAX_LOGIN_HINT and email_domain(hint) is not None else ""
    browser.request["provider"] = provider.name
    response = redirect(services.relying_party.authorize_url(tenant, pending, state=begun.state, login_hint=hint, lang=browser.language, prompt=prompt), status=302)
    set_cookie(response, BINDING_COOKIE, begun.binding.reveal(), max_age_s=PENDING_LIFETIME_S)
    return response


def is_prefetch(request: web.Request) -> bool:
    return any("prefetch" in value.lower() for name in ("Sec-Purpose", "Purpose") for value in request.headers.getall(name, ()))
