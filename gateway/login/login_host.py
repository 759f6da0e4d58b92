"""Signing in at ``login_host``, once for all hosts of a tenant.

    H/_auth/login → L/_auth/login?host=H&browser=… → Cognito → L/_auth/callback →
    H/_auth/complete?ticket=… → the application

The session at L is the parent; each application host gets a child of its own, so a cookie that
leaks from one application opens no other. The ticket works once, within 30 s, at H, in the browser
that began at H: ``browser`` is the public name of that browser's binding cookie, which only it
holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gateway.core.hosts import parse_host_header
from gateway.core.reason import Reason
from gateway.core.returns import safe_return
from gateway.core.tenants import HostKind
from gateway.login import email_prompt, person_change, reauthenticate
from gateway.login.authorize import (
    BROWSER_ID,
    Destination,
    bind,
    choices,
    choose_provider,
    is_prefetch,
    send_to_cognito,
)
from gateway.login.loop_guard import count_return
from gateway.login.middleware import page, redirect, set_cookie
from gateway.login.page_links import is_named, login_link
from gateway.login.request import BrowserError, parse
from gateway.login.retry import begin_again, give_up, remember_sender
from gateway.login.signed_values import sign, verify
from gateway.sessions.api import OtherBrowser, SessionRefused

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.model import Provider, Session, Tenant
    from gateway.login.request import Browser

MAX_TICKET = 128


def to_login_host(
    browser: Browser,
    tenant: Tenant,
    provider: Provider | None,
    *,
    return_to: str,
    hint: str,
    switch: bool,
    anew: bool,
) -> web.Response:
    """From an application host to L, leaving the binding cookie here."""
    services = browser.services
    binding = browser.binding or ""
    browser_id = services.sessions.binding_id(binding)
    if browser_id is None:
        binding = services.random_token()
        browser_id = services.sessions.binding_id(binding) or ""
    query = {
        "host": browser.host,
        "rd": return_to,
        "browser": browser_id,
        "provider": provider.name if provider else "",
        "login_hint": hint,
        "switch": "1" if switch else "",
        reauthenticate.PARAMETER: "1" if anew else "",
    }
    if browser.tenant is None:
        query["tenant"] = sign(services.signing_keys, tenant.id, "login", browser.host, browser_id)
    response = redirect(
        (
            f"{services.config.origin(services.config.login_host or '')}/_auth/"
            f"login?{urlencode({k: v for k, v in query.items() if v})}"
        ),
        status=302,
    )
    bind(response, browser, binding)
    return response


async def start(browser: Browser) -> web.StreamResponse:
    """``/_auth/login`` at L: a ticket for whoever is signed in here already, else the login. Opened
    by itself, it begins at an application's host.
    """
    if not browser.parameter("host"):
        redirection = await _anew(browser)
        if redirection is not None:
            return redirection
        link = await _elsewhere(browser)
        if link is not None:
            return redirect(link)
    tenant, destination = _asked_for(browser)
    browser.record.tenant = tenant.id
    provider_name, hint, switch, anew = (
        browser.parameter("provider"),
        browser.parameter("login_hint"),
        bool(browser.parameter("switch")),
        bool(browser.parameter(reauthenticate.PARAMETER)),
    )
    if not switch and not anew:
        present = await browser.session(tenant.id)
        if (
            present is not None
            and is_named(present[0].identity, hint)
            and tenant.provider(present[0].identity.provider) is not None
            and provider_name in ("", present[0].identity.provider)
        ):
            response = await hand_over(browser, present[0], present[1], destination)
            remember_sender(response, browser, destination.host)
            return response
    provider = choose_provider(tenant, wanted=provider_name, hint=hint, ask=switch)
    if provider is None:
        own = {
            k: browser.parameter(k)
            for k in (
                "host",
                "rd",
                "browser",
                "tenant",
                "login_hint",
                "switch",
                reauthenticate.PARAMETER,
            )
        }
        options = [
            (
                p.label,
                p.known_as,
                "/_auth/login?"
                + urlencode({k: v for k, v in {**own, "provider": p.name}.items() if v}),
            )
            for p in choices(tenant)
        ]
        return page(browser.request, "chooser", tenant, choices=options, change=None)
    if anew:
        response = reauthenticate.begin(
            browser, tenant, provider, host=destination.host, browser_id=destination.browser
        )
    else:
        response = await send_to_cognito(
            browser, tenant, provider, destination, hint=hint, prompt="login" if switch else ""
        )
    remember_sender(response, browser, destination.host)
    return response


async def _anew(browser: Browser) -> web.Response | None:
    """From the login host's own page of sessions, for whoever is signed in here."""
    present = await browser.session() if browser.parameter(reauthenticate.PARAMETER) else None
    tenant = browser.tenant_for(present[0].tenant) if present is not None else None
    if present is None or tenant is None or not tenant.active:
        return None
    provider = tenant.provider(present[0].identity.provider)
    if provider is None:
        return None
    browser.record.tenant = tenant.id
    return reauthenticate.begin(browser, tenant, provider, host=browser.host)


async def _elsewhere(browser: Browser) -> str | None:
    """A bookmark or a provider's tile that names the login host: the login begins at the host of
    its ``target_link_uri``, or where ``login_link`` says.
    """
    tile = {name: browser.parameter(name) for name in ("iss", "login_hint", "target_link_uri")}
    config, table = browser.services.config, browser.services.tenants.table

    def served(host: str) -> str | None:
        return (
            config.origin(host)
            if table.by_host(host) not in (HostKind.UNKNOWN, HostKind.LOGIN)
            else None
        )

    target = (
        safe_return(tile["target_link_uri"], origin=browser.origin, allowed=served)
        if not tile["target_link_uri"].startswith("/")
        else None
    )
    link = (
        f"{'/'.join(target.split('/', 3)[:3])}/_auth/login"
        if target is not None
        else await login_link(browser)
    )
    query = urlencode({name: value for name, value in tile.items() if value})
    return f"{link}?{query}" if link is not None and query else link


def _asked_for(browser: Browser) -> tuple[Tenant, Destination]:
    """Which host of which tenant wants a ticket, and for which of its browsers."""
    config, table = browser.services.config, browser.services.tenants.table
    host, browser_id = parse_host_header(browser.parameter("host")), browser.parameter("browser")
    owner = table.by_host(host) if host is not None else HostKind.UNKNOWN
    if owner is HostKind.SHARED:
        # What was not signed is looked up all the same, as nobody: known and unknown tenants get
        # one answer, in one time.
        tenant_id = verify(
            browser.services.signing_keys,
            browser.parameter("tenant"),
            "login",
            host or "",
            browser_id,
        )
        owner = table.by_id(tenant_id or "") or HostKind.UNKNOWN
    if (
        host is None
        or isinstance(owner, HostKind)
        or not owner.active
        or not BROWSER_ID.fullmatch(browser_id)
    ):
        raise BrowserError(
            Reason.UNKNOWN_HOST,
            421,
            cause="/_auth/login at login_host is for a protected host that sends a browser here",
        )
    origin = config.origin(host)
    return_to = (
        safe_return(
            browser.parameter("rd"),
            origin=origin,
            allowed=lambda name: return_origin(browser, owner, host, name),
        )
        or f"{origin}/"
    )
    return owner, Destination(return_to, host, browser_id)


def return_origin(browser: Browser, tenant: Tenant, host: str, name: str) -> str | None:
    """Origin of a host that a login of ``tenant``, begun at ``host``, may return to: that one, or
    another of its own.
    """
    owner = browser.services.tenants.table.by_host(name)
    own = (
        not isinstance(owner, HostKind)
        and owner.id == tenant.id
        and browser.services.tenants.table.by_host(host) is not HostKind.SHARED
    )
    return browser.services.config.origin(name) if name == host or own else None


async def hand_over(
    browser: Browser, parent: Session, cookie: str, destination: Destination
) -> web.Response:
    """Send the browser to its host with a ticket."""
    services = browser.services
    ticket = await services.sessions.issue_ticket(
        parent,
        cookie=cookie,
        host=destination.host,
        return_to=destination.return_to,
        binding_id=destination.browser,
    )
    if ticket is None:
        raise BrowserError(
            Reason.SESSION_REVOKED,
            403,
            retry=f"{services.config.origin(destination.host)}/_auth/login",
        )
    table = services.tenants.table
    tenant = table.by_id(parent.tenant)
    if tenant is None or not tenant.active or not table.owns(tenant, destination.host):
        raise BrowserError(
            Reason.UNKNOWN_HOST, 421, cause="the host was removed from the tenant in the meantime"
        )
    browser.record.user = parent.identity.sub
    return redirect(
        f"{services.config.origin(destination.host)}/_auth/"
        f"complete?{urlencode({'ticket': ticket.reveal()})}"
    )


async def complete(request: web.Request) -> web.StreamResponse:
    """``/_auth/complete`` at H: the ticket becomes the child session. It knows its tenant; the
    address names none.
    """
    browser = parse(request)
    ticket = browser.parameter("ticket")
    if is_prefetch(request) or not ticket or len(ticket) > MAX_TICKET:
        return await _no_ticket(browser, request, "no ticket for this host")
    before = await browser.session()
    redeemed = await browser.services.sessions.redeem_ticket(
        ticket, host=browser.host, bindings=browser.bindings, served=browser.serves
    )
    if isinstance(redeemed, OtherBrowser):
        detail = "the ticket is another browser's or another host's, and was cancelled"
        raise BrowserError(
            Reason.BROWSER_MISMATCH, 400, retry="/_auth/login", tenant=browser.tenant, cause=detail
        )
    if isinstance(redeemed, SessionRefused):
        raise BrowserError(
            redeemed.reason,
            403,
            retry="/_auth/login",
            tenant=browser.tenant,
            cause="ended since the ticket was issued",
        )
    if redeemed is None:
        return await _no_ticket(browser, request, "the ticket is spent or expired")
    new_session, return_to = redeemed
    tenant = browser.services.tenants.table.by_id(new_session.session.tenant)
    browser.record.tenant = new_session.session.tenant
    other_person = before is not None and before[0].identity.sub != new_session.session.identity.sub
    if before is not None and other_person:
        outcome = await browser.services.sessions.end_family(before[0], cookie=before[1])
        browser.services.token_revocation.revoke_soon(
            before[0].tenant, outcome.refresh_token, client_id=before[0].client_id
        )
    elif before is not None:
        browser.services.token_revocation.end_replaced_soon(*before)
    browser.record.user, browser.record.reason = new_session.session.identity.sub, Reason.OK
    if person_change.must_begin_clean(
        browser, tenant, new_session.session.identity.sub, replaces=other_person
    ):
        return await person_change.begin_clean(
            browser, new_session, return_to=return_to, replaces=other_person
        )
    response = redirect(return_to)
    set_cookie(
        response,
        browser.session_cookie(new_session.session.tenant),
        new_session.cookie.reveal(),
        max_age_s=max(1, new_session.session.expires_at - int(browser.services.clock())),
    )
    email_prompt.remember(response, browser, new_session.session.tenant)
    person_change.arrives(
        response, browser, tenant, new_session.session.identity.sub, replaces=other_person
    )
    if not count_return(browser, response, return_to):
        raise await give_up(browser, tenant)
    return response


async def _no_ticket(browser: Browser, request: web.Request, detail: str) -> web.StreamResponse:
    """Reload or back button, or too late: on for whoever is signed in here, else the login begins
    again.
    """
    response = None if is_prefetch(request) else await begin_again(browser)
    if response is None:
        raise BrowserError(
            Reason.LOGIN_STATE, 400, retry="/_auth/login", tenant=browser.tenant, cause=detail
        )
    browser.record.reason = Reason.LOGIN_STATE
    return response
