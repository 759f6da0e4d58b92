"""``/_auth/userinfo``, ``/_auth/jwks.json`` and ``/_auth/watch.js``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.keys.assertion import JWKS_MAX_AGE_S
from gateway.login.request import parse
from gateway.pages.render import HERE

if TYPE_CHECKING:
    from gateway.core.model import Session
    from gateway.login.request import Browser

WATCH: Final = (HERE / "static" / "watch.js").read_bytes()
WATCH_TAG: Final = f'"{hashlib.sha256(WATCH).hexdigest()[:32]}"'
"""Strong: the same bytes have the same tag in every process (RFC 9110 §8.8.3)."""
WATCH_MAX_AGE_S: Final = 3600
"""A new version of the gateway brings a new script; a page that runs yesterday's for an hour is
none the worse.
"""


async def userinfo(request: web.Request) -> web.StreamResponse:
    """Who is signed in here, for a single-page application. No tokens (peers leaked them on such
    pages).
    """
    browser = parse(request)
    present = await browser.session()
    session = _here(browser, present[0] if present is not None else None)
    if session is None:
        response = web.json_response(
            {"code": "no_session"}, status=401, headers={"WWW-Authenticate": "Bearer"}
        )
    else:
        identity = session.identity
        response = web.json_response(
            {
                "tenant": session.tenant,
                "user": identity.sub,
                "email": identity.email,
                "name": identity.name,
                "groups": list(identity.groups),
                "roles": list(identity.roles),
                "provider": identity.provider,
                "expires_at": session.expires_at,
            }
        )
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _here(browser: Browser, session: Session | None) -> Session | None:
    """None where a check would send this session to the login, whoever it was: as tenants are
    now.
    """
    tenant = browser.tenant_for(session.tenant) if session is not None else None
    if (
        session is None
        or tenant is None
        or not browser.serves(session.tenant)
        or tenant.provider(session.identity.provider) is None
    ):
        return None
    return session


async def jwks(request: web.Request) -> web.StreamResponse:
    """Public keys of the assertion header. The same on every host."""
    browser = parse(request)
    return web.json_response(
        browser.services.assertions.jwks(),
        headers={
            "Cache-Control": f"public, max-age={JWKS_MAX_AGE_S}",
            "X-Content-Type-Options": "nosniff",
        },
    )


async def watch(request: web.Request) -> web.StreamResponse:
    """A script that an application may include: it says on an open page that the session has ended.
    The same for everybody.
    """
    parse(request)
    headers = {
        "ETag": WATCH_TAG,
        "Cache-Control": f"public, max-age={WATCH_MAX_AGE_S}",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if WATCH_TAG in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    return web.Response(
        body=WATCH, content_type="text/javascript", charset="utf-8", headers=headers
    )
