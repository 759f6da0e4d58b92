"""The ``hooks`` listener: what identity providers may call. One file per kind of sender;
``delivery`` is what they share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.hooks.receive.delivery import MAX_BODY_BYTES, Reception, answering
from gateway.hooks.receive.entra import EntraRoutes
from gateway.hooks.receive.google import GoogleRoutes
from gateway.hooks.receive.okta import OktaRoutes
from gateway.hooks.receive.scim import ScimRoutes, problem
from gateway.hooks.receive.signed_token import SignedTokenRoutes

if TYPE_CHECKING:
    from gateway.hooks.receive.services import HookServices


def routes(services: HookServices) -> list[web.RouteDef]:
    """Each sender's addresses (docs/operator/endpoints.md)."""
    reception = Reception(services)
    return [
        *OktaRoutes(reception).routes(),
        *EntraRoutes(reception).routes(),
        *GoogleRoutes(reception).routes(),
        *SignedTokenRoutes(reception).routes(),
        *ScimRoutes(reception).routes(),
    ]


def application(services: HookServices) -> web.Application:
    """The listener's application; nothing else is reachable there."""
    app = web.Application(middlewares=[answering(problem)], client_max_size=MAX_BODY_BYTES)
    app.add_routes(routes(services))
    return app


__all__ = ["application", "routes"]
