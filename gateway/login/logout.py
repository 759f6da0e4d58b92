"""``/_auth/logout`` and ``/_auth/signed-out``: end the family here, then at Cognito, and say what
is left elsewhere.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gateway.core.hosts import parse_host_header
from gateway.core.reason import Reason
from gateway.core.returns import safe_return
from gateway.core.tenants import HostKind
from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.login import person_change, reauthenticate
from gateway.login.authorize import BROWSER_ID, Destination, is_prefetch, send_to_cognito
from gateway.login.login_host import return_origin
from gateway.login.middleware import drop_cookie, page, redirect
from gateway.login.page_links import change_link, login_link, start_page
from gateway.login.request import BrowserError, parse
from gateway.login.resume import RESUME_COOKIE, Resume, recall, remember
from gateway.login.signed_values import sign, verify

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.model import Session, Tenant
    from gateway.login.request import Browser


_LOG = logging.getLogger(__name__)


async def ask(request: web.Request) -> web.StreamResponse:
    """GET changes nothing: it asks. A link or an image on another site can sign nobody out."""
    browser = parse(request)
    present = await browser.session()
    email = present[0].identity.email if present is not None else ""
    return page(
        request,
        "logout",
        _tenant(browser, present[0].tenant if present else None),
        email=email,
        return_to=start_page(browser),
    )


async def end(request: web.Request) -> web.StreamResponse:
    """POST from our own page: the family ends, the refresh token is revoked, Cognito's own session
    goes too.
    """
    browser = parse(request)
    require_own_origin(browser)
    again = await browser.field("again")
    return await sign_out(browser, await browser.session(), again=again)


async def sign_out(
    browser: Browser, present: tuple[Session, str] | None, *, again: str = ""
) -> web.Response:
    """End ``present``, a session and its cookie, and go through Cognito: back to ``again`` as
    somebody else, or to the signed-out page.
    """
    tenant = _tenant(browser, present[0].tenant if present else None)
    if present is not None:
        browser.record.tenant, browser.record.user = present[0].tenant, present[0].identity.sub
        outcome = await browser.services.sessions.end_family(present[0], cookie=present[1])
        browser.services.token_revocation.revoke_soon(
            present[0].tenant, outcome.refresh_token, client_id=present[0].client_id
        )
        _LOG.info(
            "logout",
            extra=fields(
                request_id=browser.request_id,
                tenant=present[0].tenant,
                host=browser.host,
                user=present[0].identity.sub,
                provider=present[0].identity.provider,
            ),
        )
    back = (
        safe_return(again, origin=browser.origin, allowed=browser.return_origin) if again else None
    )
    resume = Resume(
        "login" if again else "signed_out",
        tenant.id if tenant else "",
        browser.host,
        (back or f"{browser.origin}/") if again else "",
    )
    apart = browser.services.config.login_host is None and person_change.clears(browser)
    client_id = present[0].client_id if present else ""
    response = (
        _by_leave(browser, resume, browser.host, client_id=client_id)
        if apart
        else _through_cognito(browser, tenant, resume, client_id=client_id)
    )
    drop_cookie(
        response,
        browser.session_cookie(present[0].tenant)
        if present is not None
        else browser.services.config.cookie.name,
    )
    person_change.leaves(response, browser, tenant)
    return response


def _through_cognito(
    browser: Browser, tenant: Tenant | None, resume: Resume, *, client_id: str
) -> web.Response:
    """Cognito's /logout comes back to one registered address: of this host, or of the login host,
    which is told first what to go on with. ``client_id``: of the session that ended, "" where
    there was none.
    """
    login_host = browser.services.config.login_host
    if tenant is None:
        response = redirect(f"{browser.origin}/_auth/signed-out")
        drop_cookie(response, RESUME_COOKIE)
        return response
    if login_host is not None and browser.host != login_host:
        return _by_leave(browser, resume, login_host, client_id=client_id)
    signed_out = f"{browser.origin}/_auth/signed-out"
    try:
        address = browser.services.relying_party.logout_url(
            tenant, logout_uri=signed_out, client_id=client_id
        )
    except UnavailableError as error:
        # A pool that is not configured any more. What has ended here has ended all the same.
        _LOG.warning(
            "logout_without_cognito",
            extra=fields(request_id=browser.request_id, tenant=tenant.id, error=str(error)),
        )
        address = signed_out
    response = redirect(address)
    remember(response, browser, resume)
    return response


def _by_leave(browser: Browser, resume: Resume, host: str, *, client_id: str) -> web.Response:
    signed_tenant = sign(browser.services.signing_keys, resume.tenant, "leave", resume.host)
    query = {
        "tenant": signed_tenant,
        "host": resume.host,
        "what": resume.what,
        "rd": resume.return_to,
        "client": client_id,
    }
    return redirect(
        f"{browser.services.config.origin(host)}/_auth/"
        f"leave?{urlencode({k: v for k, v in query.items() if v})}"
    )


async def leave(request: web.Request) -> web.StreamResponse:
    """At the login host, on the way out: its own cookie goes, then Cognito's session. Without one,
    at a host that had the browser delete its cookies, for the one that says what to go on with must
    come in a later answer.

    A forged link here costs a person one login at Cognito, which Cognito's own /logout lets anybody
    do; no family ends by it.
    """
    browser = parse(request)
    host = browser.parameter("host")
    tenant_id = verify(browser.services.signing_keys, browser.parameter("tenant"), "leave", host)
    tenant = browser.services.tenants.table.by_id(tenant_id or "")
    here = browser.found is HostKind.LOGIN or (
        browser.services.config.login_host is None
        and browser.host == host
        and browser.tenant is tenant
    )
    if not here or tenant is None or is_prefetch(request):
        raise BrowserError(Reason.BAD_REQUEST, 400)
    what = "login" if browser.parameter("what") == "login" else "signed_out"
    response = _through_cognito(
        browser,
        tenant,
        Resume(what, tenant.id, host, browser.parameter("rd")),
        # Only a choice among the tenant's own clients.
        client_id=browser.parameter("client"),
    )
    if browser.found is HostKind.LOGIN:
        drop_cookie(response, browser.session_cookie(tenant.id))
    return response


async def signed_out(request: web.Request) -> web.StreamResponse:
    """Where Cognito's /logout comes back to: goes on with what was begun, or says what has ended
    and what may still be signed in.
    """
    browser = parse(request)
    resume = recall(browser)
    if resume is not None:
        response = await _go_on(browser, resume)
        if response is not None:
            # Of several tabs that came through Cognito's /logout together each goes on with a
            # login; only a sign-out is over now.
            if resume.what == "signed_out":
                drop_cookie(response, RESUME_COOKIE)
            return response
    tenant = browser.tenant_for(resume.tenant if resume is not None else "")
    names = dict.fromkeys(p.known_as for p in tenant.providers) if tenant is not None else ()
    signed_out_page = page(
        request,
        "signed_out",
        tenant,
        providers=tuple(names),
        login=await login_link(browser, tenant=tenant),
        change=change_link(browser),
    )
    drop_cookie(signed_out_page, RESUME_COOKIE)
    return signed_out_page


async def _go_on(browser: Browser, resume: Resume) -> web.Response | None:
    """The next step, or None where the page is. Everything in ``resume`` is checked: it comes from
    the browser.
    """
    services, table = browser.services, browser.services.tenants.table
    tenant = table.by_id(resume.tenant)
    host = parse_host_header(resume.host)
    if tenant is None or not tenant.active or host is None:
        return None
    if resume.what == reauthenticate.WHAT:
        return await reauthenticate.go_on(browser, tenant, resume, host=host)
    if not table.owns(tenant, host):
        return None
    origin = services.config.origin(host)
    return_to = (
        safe_return(
            resume.return_to,
            origin=origin,
            allowed=lambda name: return_origin(browser, tenant, host, name),
        )
        or f"{origin}/"
    )
    if resume.what == "login":
        return redirect(f"{origin}/_auth/login?{urlencode({'rd': return_to, 'switch': '1'})}")
    if resume.what == "fresh":
        provider = tenant.provider(resume.provider)
        if provider is None:
            return None
        central = browser.found is HostKind.LOGIN
        if central and not BROWSER_ID.fullmatch(resume.browser):
            return None
        return await send_to_cognito(
            browser,
            tenant,
            provider,
            Destination(return_to, host if central else "", resume.browser if central else ""),
            hopped=True,
        )
    return redirect(f"{origin}/_auth/signed-out") if browser.found is HostKind.LOGIN else None


def require_own_origin(browser: Browser) -> None:
    """Against cross-site requests (CSRF): our own Origin, or Fetch metadata that no page can forge;
    never against each other.

    Chromium sends ``Origin: null`` from a page without referrer, so "null" says nothing either way.
    """
    headers = browser.request.headers
    origins, sites = list(headers.getall("Origin", ())), list(headers.getall("Sec-Fetch-Site", ()))
    if (origins == [browser.origin] and sites in ([], ["same-origin"])) or (
        sites == ["same-origin"] and origins in ([], ["null"])
    ):
        return
    raise BrowserError(
        Reason.BAD_REQUEST, 403, cause="the form was sent from another site", tenant=browser.tenant
    )


def _tenant(browser: Browser, tenant_id: str | None) -> Tenant | None:
    return browser.tenant_for(tenant_id or "")
