"""Addresses of oauth2-proxy that pages and proxies name, for moving over: each leads to the
gateway's own.

``/oauth2/auth`` is not among them: it is the check listener's.
"""

from __future__ import annotations

from urllib.parse import quote

from aiohttp import web

WANTED = "X-Auth-Request-Redirect"
"""Where a proxy says the address that somebody wanted; ``rd`` comes first, as in oauth2-proxy."""


async def sign_in(request: web.Request) -> web.StreamResponse:
    """The login judges the address, as it does any other."""
    target_url = request.query.get("rd") or request.headers.get(WANTED, "")
    return _see(f"/_auth/login?rd={quote(target_url, safe='')}" if target_url else "/_auth/login")


async def sign_out(_: web.Request) -> web.StreamResponse:
    """oauth2-proxy signs out by a GET of any site's; here the person is asked first."""
    return _see("/_auth/logout")


async def userinfo(_: web.Request) -> web.StreamResponse:
    return _see("/_auth/userinfo")


def _see(location: str) -> web.Response:
    return web.Response(
        status=302, headers={"Location": location, "Cache-Control": "no-store"}, text=""
    )
