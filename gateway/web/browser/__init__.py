"""``/_auth/…``: what browsers see, on every protected host and on ``login_host``. One file per
concern, one table of routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.web.browser import callback, central, denied, info, login, logout, own_sessions, trial

if TYPE_CHECKING:
    from gateway.web.services import Services

ROUTES = (
    ("GET", "/_auth/login", login.start),
    ("POST", "/_auth/login", login.initiate),
    ("GET", "/_auth/callback", callback.callback),
    ("GET", "/_auth/complete", central.complete),
    ("GET", "/_auth/logout", logout.ask),
    ("POST", "/_auth/logout", logout.end),
    ("GET", "/_auth/leave", logout.leave),
    ("GET", "/_auth/signed-out", logout.signed_out),
    ("GET", own_sessions.PATH, own_sessions.show),
    ("POST", own_sessions.PATH, own_sessions.end),
    ("GET", "/_auth/userinfo", info.userinfo),
    ("GET", "/_auth/denied", denied.explain),
    ("GET", "/_auth/test", trial.start),
    ("GET", "/_auth/jwks.json", info.jwks),
    ("GET", "/_auth/watch.js", info.watch),
)
"""Method, path, handler. GET routes answer HEAD too only where nothing is consumed; see
``allow_head``.
"""
HEAD_CONSUMES = frozenset({"/_auth/login", "/_auth/callback", "/_auth/complete", "/_auth/test"})
"""A link preview sends HEAD: it must neither start a login nor use up a code or a ticket."""


def routes() -> list[web.RouteDef]:
    """For the public listener's application."""
    return [
        web.get(path, handler, allow_head=path not in HEAD_CONSUMES)
        if method == "GET"
        else web.route(method, path, handler)
        for method, path, handler in ROUTES
    ]


def application(services: Services) -> web.Application:
    """The public listener."""
    from gateway.web.browser.edge import edge  # noqa: PLC0415 - the middleware needs the pages of this package
    from gateway.web.services import SERVICES  # noqa: PLC0415

    app = web.Application(middlewares=[edge], client_max_size=16 * 1024)
    app[SERVICES] = services
    app.add_routes(routes())
    return app
