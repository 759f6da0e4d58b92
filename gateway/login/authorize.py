"""Sending a browser to Cognito: which provider, and the pending login that waits for its return."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.core.hosts import client_key, email_domain
from gateway.core.login import PENDING_LIFETIME_S
from gateway.core.model import PendingLogin
from gateway.core.reason import Reason
from gateway.login.middleware import drop_cookie, redirect, set_cookie
from gateway.login.request import BrowserError
from gateway.tracing.spans import current

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.model import Provider, Tenant
    from gateway.login.request import Browser

LOGINS_AT_MOST = 500
LOGINS_WINDOW_S = 10
"""Begun per client address (IPv6: per /64). The largest companies behind one address stay far
below, and a delivery network's edge too. Short windows: whoever shares the address with a flood is
let in again within seconds of its end. What the store keeps is bounded elsewhere
(``sessions/fair_share.py``); this bounds the work.
"""
MAX_LOGIN_HINT = 254
BROWSER_ID = re.compile(r"[0-9a-f]{64}")
"""Public name of a browser: see ``SessionStore.binding_id``."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a login leads. ``host`` and ``browser`` only at ``login_host``: who waits for the
    ticket.
    """

    return_to: str
    host: str = ""
    browser: str = ""


def choose_provider(
    tenant: Tenant, *, wanted: str, hint: str, ask: bool = False
) -> Provider | None:
    """The named one, the only one whose domains hold the hint, the tenant's default, or the only
    one that is shown; None: the person chooses. ``ask``: the default is not taken.

    A named one that is not active is as if nobody had named it.
    """
    if wanted and tenant.configured_provider(wanted) is None:
        raise BrowserError(
            Reason.BAD_REQUEST,
            400,
            cause="provider is not one of this tenant's",
            tenant=tenant,
        )
    if not tenant.providers:
        raise BrowserError(
            Reason.PROVIDER_INACTIVE, 403, cause="no provider is active", tenant=tenant
        )
    provider = tenant.provider(wanted)
    if provider is not None:
        return provider
    domain = email_domain(hint) if hint else None
    fitting = [p for p in tenant.providers if domain is not None and domain in p.domains]
    if len(fitting) == 1:
        return fitting[0]
    default = tenant.provider(tenant.default_provider)
    if default is not None and not ask and (domain is None or default in fitting):
        return default
    options = choices(tenant)
    return options[0] if len(options) == 1 else None


def choices(tenant: Tenant) -> tuple[Provider, ...]:
    """Among which a person chooses: those that are not hidden, or all where every one is."""
    return tuple(p for p in tenant.providers if not p.hidden) or tenant.providers


def fallback(tenant: Tenant, failed: Provider, *, hint: str) -> tuple[Provider, ...]:
    """What is offered when ``failed`` is down: of the tenant's fallback providers those that vouch
    for the typed address.
    """
    domain = email_domain(hint) if hint else None
    others = map(tenant.provider, tenant.fallback_providers)
    return tuple(
        p
        for p in others
        if p is not None and p is not failed and (domain is None or domain in p.domains)
    )


async def send_to_cognito(
    browser: Browser,
    tenant: Tenant,
    provider: Provider,
    destination: Destination,
    *,
    hint: str = "",
    hopped: bool = False,
    prompt: str = "",
    test: str = "",
) -> web.Response:
    """Store the pending login, bind it to this browser at this host, and go. The callback comes
    back to this host.

    ``test``: name of the link that tests a connection; the login then makes no session.
    """
    services = browser.services
    client = client_key(browser.client)
    if browser.known_client and not await services.attempts.hit(
        client, at_most=LOGINS_AT_MOST, window_s=LOGINS_WINDOW_S, kind="login"
    ):
        detail = (
            f"more than {LOGINS_AT_MOST} logins begun in {LOGINS_WINDOW_S} s from {browser.client}"
        )
        raise BrowserError(Reason.LOGIN_LOOP, 429, cause=detail, tenant=tenant)
    hint = hint if len(hint) <= MAX_LOGIN_HINT and email_domain(hint) is not None else ""
    pending = PendingLogin(
        tenant=tenant.id,
        provider=provider.name,
        host=browser.host,
        return_to=destination.return_to,
        nonce=services.random_token(),
        code_verifier=services.random_token(),
        redirect_uri=f"{browser.origin}/_auth/callback",
        client_id=tenant.client_id,
        hopped=hopped,
        purpose="test" if test else "login",
        test=test,
        for_host=destination.host,
        for_browser=destination.browser,
        hint=hint.lower(),
        prompted=hopped and prompt == "login",
        pool=tenant.pool,
        trace=current().traceparent,
    )
    new_login = await services.sessions.start_login(pending, binding=browser.binding, client=client)
    browser.record.provider = provider.name
    response = redirect(
        services.relying_party.authorize_url(
            tenant,
            pending,
            state=new_login.state,
            login_hint=hint,
            lang=browser.language,
            prompt=prompt,
        ),
        status=302,
    )
    bind(response, browser, new_login.binding.reveal())
    return response


def bind(response: web.Response, browser: Browser, binding: str) -> None:
    """The browser keeps ``binding`` for as long as a login may take, and the cookies of our name
    that are of no use no longer.
    """
    for name in browser.surplus_bindings():
        drop_cookie(response, name)
    own = browser.binding_cookie(binding)
    if own is not None:
        set_cookie(response, own, binding, max_age_s=PENDING_LIFETIME_S)


def is_prefetch(request: web.Request) -> bool:
    return any(
        "prefetch" in value.lower()
        for name in ("Sec-Purpose", "Purpose")
        for value in request.headers.getall(name, ())
    )
