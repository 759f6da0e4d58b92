"""``/_auth/userinfo`` and ``/_auth/jwks.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.assertion import JWKS_MAX_AGE_S
from gateway.web.browser.request import parse

if TYPE_CHECKING:
    from gateway.core.model import Session
    from gateway.web.browser.request import Browser


async def userinfo(request: web.Request) -> web.StreamResponse:
    """Who is signed in here, for a single-page application. No tokens (peers leaked them on such pages)."""
    browser = parse(request)
    present = await browser.session()
    session = _here(browser, present[0] if present is not None else None)
    if session is None:
        response = web.json_response({"code": "no_session"}, status=401, headers={"WWW-Authenticate": "Bearer"})
    else:
        identity = session.identity
        response = web.json_response(
            {
                "tenant": session.tenant, "user": identity.sub, "email": identity.email, "name": identity.name, "groups": list(identity.groups), "roles": list(identity.roles),
                "provider": identity.provider, "expires_at": session.expires_at,
            }
        )  # fmt: skip
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _here(browser: Browser, session: Session | None) -> Session | None:
    """None where a check would send this session to the login, whoever it was: as tenants are now."""
    tenant = browser.tenant_for(session.tenant) if session is not None else None
    if session is None or tenant is None or not browser.serves(session.tenant) or tenant.provider(session.identity.provider) is None:
        return None
    return session


async def jwks(request: web.Request) -> web.StreamResponse:
    """Public keys of the assertion header. The same on every host."""
    browser = parse(request)
    return web.json_response(browser.services.assertions.jwks(), headers={"Cache-Control": f"public, max-age={JWKS_MAX_AGE_S}", "X-Content-Type-Options": "nosniff"})
