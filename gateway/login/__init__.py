"""``/_auth/…``: what browsers see, on every protected host and on ``login_host``. One file per
concern, one table of routes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.login import (
    callback,
    connection_test,
    denied,
    login_host,
    logout,
    my_sessions,
    oauth2_proxy,
    start,
    userinfo,
)

if TYPE_CHECKING:
    from gateway.check.services import Services

ROUTES = (
    ("GET", "/_auth/login", start.start),
    ("POST", "/_auth/login", start.initiate),
    ("GET", "/_auth/callback", callback.callback),
    ("GET", "/_auth/complete", login_host.complete),
    ("GET", "/_auth/logout", logout.ask),
    ("POST", "/_auth/logout", logout.end),
    ("GET", "/_auth/leave", logout.leave),
    ("GET", "/_auth/signed-out", logout.signed_out),
    ("GET", my_sessions.PATH, my_sessions.show),
    ("POST", my_sessions.PATH, my_sessions.end),
    ("GET", "/_auth/userinfo", userinfo.userinfo),
    ("GET", "/_auth/denied", denied.explain),
    ("GET", "/_auth/test", connection_test.start),
    ("GET", "/_auth/jwks.json", userinfo.jwks),
    ("GET", "/_auth/watch.js", userinfo.watch),
    ("GET", "/oauth2/start", oauth2_proxy.sign_in),
    ("GET", "/oauth2/sign_in", oauth2_proxy.sign_in),
    ("GET", "/oauth2/sign_out", oauth2_proxy.sign_out),
    ("GET", "/oauth2/userinfo", oauth2_proxy.userinfo),
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
    from gateway.check.services import SERVICES  # noqa: PLC0415
    from gateway.login.middleware import edge  # noqa: PLC0415 - the middleware needs the pages of this package

    app = web.Application(middlewares=[edge], client_max_size=16 * 1024)
    app[SERVICES] = services
    app.add_routes(routes())
    return app
