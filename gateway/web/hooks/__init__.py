"""The ``hooks`` listener: what identity providers may call. One file per kind of sender;
``reception`` is what they share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.web.hooks import entra, okta, scim, signed
from gateway.web.hooks.reception import MAX_BODY_BYTES, Reception, answering

if TYPE_CHECKING:
    from gateway.web.hooks.services import HookServices


def routes(services: HookServices) -> list[web.RouteDef]:
    """Contract §5."""
    reception = Reception(services)
    return [
        *okta.routes(reception),
        *entra.routes(reception),
        *signed.routes(reception),
        *scim.routes(reception),
    ]


def application(services: HookServices) -> web.Application:
    """The listener's application; nothing else is reachable there."""
    app = web.Application(middlewares=[answering(scim.problem)], client_max_size=MAX_BODY_BYTES)
    app.add_routes(routes(services))
    return app


__all__ = ["application", "routes"]
