"""``/_auth/login``: from a host (and, where needed, an e-mail) to Cognito.

Only a GET navigation gets here with a redirect from the check; nothing but this starts a login, so
a page full of blocked images leaves no pending logins behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiohttp import web

from gateway.check.page_links import change_address
from gateway.core.reason import Reason
from gateway.core.returns import MAX_RETURN_CHARACTERS, is_too_long, safe_return
from gateway.core.tenants import HostKind
from gateway.login import email_prompt, login_host, reauthenticate
from gateway.login.authorize import (
    Destination,
    choices,
    choose_provider,
    is_prefetch,
    send_to_cognito,
)
from gateway.login.loop_guard import count_return
from gateway.login.middleware import page, redirect
from gateway.login.page_links import is_named
from gateway.login.request import BrowserError, parse
from gateway.login.retry import give_up

if TYPE_CHECKING:
    from gateway.core.model import Session, Tenant
    from gateway.login.request import Browser


async def start(request: web.Request) -> web.StreamResponse:
    browser = parse(request)
    if is_prefetch(request):
        raise BrowserError(Reason.BAD_REQUEST, 400, cause="prefetch", tenant=browser.tenant)
    if browser.found is HostKind.LOGIN:
        return await login_host.start(browser)
    if browser.parameter("too_long") or is_too_long(
        browser.parameter("rd") or browser.parameter("target_link_uri")
    ):
        return page(request, "too_long", browser.tenant, login="/_auth/login")
    return_to = return_target(browser)
    provider_name, hint, switch, anew = (
        browser.parameter("provider"),
        browser.parameter("login_hint"),
        bool(browser.parameter("switch")),
        bool(browser.parameter(reauthenticate.PARAMETER)),
    )
    issuer = browser.parameter("iss")
    asks = bool(provider_name) or switch or anew or (bool(hint) and not issuer)
    if not asks and not browser.parameter("change"):
        present = await browser.session()
        if (
            present is not None
            and _still_good(browser, present[0].tenant, present[0].identity.provider)
            and _is_meant(browser, present[0], issuer=issuer, hint=hint)
        ):
            # A parallel tab signed in meanwhile; the count ends the loop of an ingress that never
            # forwards the cookie.
            response = redirect(return_to)
            if count_return(browser, response, return_to):
                return response
            raise await give_up(browser, browser.tenant)
    choice = browser.tenant or await email_prompt.choose(browser, return_to=return_to, hint=hint)
    if isinstance(choice, web.Response):
        return choice
    browser.record.tenant = choice.id
    # On a shared host a provider is chosen within the organization that was found, never instead of
    # finding it.
    return await _go(
        browser,
        choice,
        return_to=return_to,
        wanted=provider_name or _issued_by(choice, issuer),
        hint=hint,
        switch=switch,
        anew=anew,
    )


async def initiate(request: web.Request) -> web.StreamResponse:
    """POST: an identity provider's tile begins the login (OpenID Connect Core §4). Whoever sends
    the form, it does what a link does, as a GET.
    """
    browser = parse(request)
    fields = {name: await browser.field(name) for name in ("iss", "login_hint", "target_link_uri")}
    if is_too_long(fields["target_link_uri"]):
        fields = {"too_long": "1"}
    query = urlencode(
        {
            name: value
            for name, value in fields.items()
            if value and len(value) <= MAX_RETURN_CHARACTERS
        }
    )
    return redirect(f"/_auth/login?{query}" if query else "/_auth/login")


def _issued_by(tenant: Tenant, issuer: str) -> str:
    """Name of the tenant's provider with this issuer; "" where it has none: ``iss`` chooses, and
    anybody may write it.
    """
    fitting = [
        p.name
        for p in tenant.providers
        if issuer and p.issuer is not None and p.issuer.rstrip("/") == issuer.rstrip("/")
    ]
    return fitting[0] if len(fitting) == 1 else ""


async def _go(
    browser: Browser,
    tenant: Tenant,
    *,
    return_to: str,
    wanted: str,
    hint: str,
    switch: bool,
    anew: bool,
) -> web.Response:
    if browser.services.config.login_host is not None:
        is_named = wanted or (hint and len(tenant.providers) > 1)
        return login_host.to_login_host(
            browser,
            tenant,
            choose_provider(tenant, wanted=wanted, hint=hint, ask=switch) if is_named else None,
            return_to=return_to,
            hint=hint,
            switch=switch,
            anew=anew,
        )
    provider = choose_provider(tenant, wanted=wanted, hint=hint, ask=switch)
    if provider is None:
        more = {
            "rd": return_to,
            "login_hint": hint,
            "switch": "1" if switch else "",
            reauthenticate.PARAMETER: "1" if anew else "",
        }
        options = [
            (
                p.label,
                p.known_as,
                "/_auth/login?"
                + urlencode({k: v for k, v in {"provider": p.name, **more}.items() if v}),
            )
            for p in choices(tenant)
        ]
        return page(
            browser.request,
            "chooser",
            tenant,
            choices=options,
            change=change_address(browser.origin, return_to) if browser.tenant is None else None,
        )
    if anew:
        return reauthenticate.begin(browser, tenant, provider, host=browser.host)
    # Somebody else: the identity provider must ask again, or it silently signs in the one who was
    # just refused.
    return await send_to_cognito(
        browser,
        tenant,
        provider,
        Destination(return_to),
        hint=hint,
        prompt="login" if switch else "",
    )


def _still_good(browser: Browser, tenant_id: str, provider: str) -> bool:
    tenant = browser.tenant_for(tenant_id)
    return (
        tenant is not None
        and tenant.active
        and tenant.id == tenant_id
        and tenant.provider(provider) is not None
    )


def _is_meant(browser: Browser, session: Session, *, issuer: str, hint: str) -> bool:
    """Whether a tile means whoever is signed in: the same provider, and the same person where it
    names one.
    """
    tenant = browser.tenant_for(session.tenant)
    provider_name = _issued_by(tenant, issuer) if tenant is not None else ""
    return provider_name in ("", session.identity.provider) and is_named(session.identity, hint)


def return_target(browser: Browser) -> str:
    """``rd`` (or a tile's ``target_link_uri``) if it is safe, else the start page: never an error,
    since a stale bookmark is no attack.
    """
    return (
        safe_return(
            browser.parameter("rd") or browser.parameter("target_link_uri"),
            origin=browser.origin,
            allowed=browser.return_origin,
        )
        or f"{browser.origin}/"
    )
