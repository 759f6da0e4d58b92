"""``/_auth/logout`` and ``/_auth/signed-out``: end the family here, then at Cognito, and say what is left elsewhere."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from gateway.core.decision import Reason
from gateway.core.returns import safe_return
from gateway.errors import PeerError, UnavailableError
from gateway.log import fields
from gateway.web.browser.edge import drop_cookie, page, redirect, set_cookie
from gateway.web.browser.request import BrowserError, parse

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.model import Tenant
    from gateway.ports import Ended
    from gateway.web.browser.request import Browser

_LOG = logging.getLogger("gateway")
AGAIN_COOKIE = "__Host-gw-again"
"""Where "sign in as someone else" leads after Cognito's /logout, which passes nothing on (its own parameters are ignored)."""
AGAIN_LIFE_S = 120
MAX_AGAIN = 1500
"""Characters; a cookie holds 4,096 bytes and this one is written in hex."""


async def ask(request: web.Request) -> web.StreamResponse:
    """GET changes nothing: it asks. A link or an image on another site can sign nobody out."""
    browser = parse(request)
    present = await browser.session()
    email = present[0].identity.email if present is not None else ""
    return page(request, "logout", _tenant(browser, present[0].tenant if present else None), email=email, return_to=f"{browser.origin}/")


async def end(request: web.Request) -> web.StreamResponse:
    """POST from our own page: the family ends, the refresh token is revoked, Cognito's own session goes too."""
    browser = parse(request)
    require_own_origin(browser)
    form = await request.post()
    present = await browser.session()
    tenant = _tenant(browser, present[0].tenant if present else None)
    if present is not None:
        request["tenant"], request["user"] = present[0].tenant, present[0].identity.sub
        ended = await browser.services.sessions.end_family(present[0], cookie=present[1])
        if tenant is not None:
            await _revoke_at_cognito(browser, tenant, ended)
    signed_out = f"{browser.services.config.origin(browser.services.config.login_host or browser.host)}/_auth/signed-out"
    target = browser.services.relying_party.logout_url(tenant, logout_uri=signed_out) if tenant is not None else signed_out
    response = redirect(target)
    drop_cookie(response, browser.services.config.cookie.name)
    again = form.get("again")
    if isinstance(again, str) and again:
        back = safe_return(again, origin=browser.origin, allowed=browser.return_origin)
        if back is None or len(back) > MAX_AGAIN:
            back = f"{browser.origin}/"
        set_cookie(response, AGAIN_COOKIE, back.encode().hex(), max_age_s=AGAIN_LIFE_S)
    return response


async def signed_out(request: web.Request) -> web.StreamResponse:
    """Where Cognito's /logout comes back to. Says what has ended, and where the person may still be signed in."""
    browser = parse(request)
    tenant = browser.tenant
    for value in browser.cookies(AGAIN_COOKIE)[:1]:
        back = _decoded(value, browser)
        if back is not None:
            response = redirect("/_auth/login?" + urlencode({"rd": back, "switch": "1"}))
            drop_cookie(response, AGAIN_COOKIE)
            return response
    labels = [p.label for p in tenant.providers] if tenant is not None else []
    return page(request, "signed_out", tenant, providers=labels, login="/_auth/login" if tenant is not None else None)


def require_own_origin(browser: Browser) -> None:
    """Against cross-site requests (CSRF): our own Origin, or Fetch metadata that no page can forge; never against each other.

    Chromium sends ``Origin: null`` from a page without referrer, so "null" says nothing either way.
    """
    headers = browser.request.headers
    origins, sites = list(headers.getall("Origin", ())), list(headers.getall("Sec-Fetch-Site", ()))
    if (origins == [browser.origin] and sites in ([], ["same-origin"])) or (sites == ["same-origin"] and origins in ([], ["null"])):
        return
    raise BrowserError(Reason.BAD_REQUEST, 403, detail="the form was sent from another site", tenant=browser.tenant)


def _tenant(browser: Browser, tenant_id: str | None) -> Tenant | None:
    return browser.tenant or (browser.services.tenants.table.by_id(tenant_id) if tenant_id else None)


def _decoded(value: str, browser: Browser) -> str | None:
    try:
        return safe_return(bytes.fromhex(value).decode(), origin=browser.origin, allowed=browser.return_origin)
    except ValueError:
        return None


async def _revoke_at_cognito(browser: Browser, tenant: Tenant, ended: Ended) -> None:
    """Best effort: the session is gone here whatever Cognito says; the refresh token dies of age."""
    if ended.refresh_token is None:
        return
    try:
        await browser.services.relying_party.revoke(tenant, ended.refresh_token)
    except (PeerError, UnavailableError) as error:
        _LOG.warning("revoke_at_cognito_failed", extra=fields(tenant=tenant.id, error=str(error)))
