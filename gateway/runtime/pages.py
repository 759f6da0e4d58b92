"""The listener ``pages``: the console and the setup portal, each at its own host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.admin.application import in_process_api
from gateway.console.application import console_application
from gateway.console.moving import Script
from gateway.http.served import answered, served_request
from gateway.portal.application import Portal, PortalServices
from gateway.portal.visit import Rooms
from gateway.revocation.records import SqlRevocations
from gateway.setup.removals import RemovalTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp.typedefs import Handler, Middleware

    from gateway.admin.application import AdminServices
    from gateway.check.trusted_peer import Trust
    from gateway.config.model import Config
    from gateway.database.engine import Database
    from gateway.keys.file import KeyFile
    from gateway.sessions.console_links import ConsoleLinks
    from gateway.sessions.rate_limit import AttemptCounter


def pages_application(
    config: Config,
    services: AdminServices,
    database: Database,
    ring: KeyFile,
    sealing: Callable[[], tuple[bytes, ...]],
    links: ConsoleLinks,
    attempts: AttemptCounter,
    trust: Trust,
) -> web.Application | None:
    """None where there is neither of them."""
    if not config.has_pages:
        return None
    api, clock = in_process_api(services), database.clock
    application = console_application(config, api, ring, sealing, clock, services.audit, links)
    application = application or web.Application()
    if services.setup is not None and services.tenants is not None:
        portal = Portal(
            PortalServices(
                Rooms(
                    config,
                    services.setup.links,
                    services.setup.letters,
                    services.tenants,
                    RemovalTimes(SqlRevocations(database)).denied_after_ms,
                    clock,
                    attempts,
                    _nobody if services.onboarding is None else services.onboarding.makers,
                    services.setup.renewal,
                    None if services.onboarding is None else services.onboarding.publications,
                ),
                api,
                sealing,
                trust.proxy,
                Script(),
            )
        )
        application.router.add_routes(portal.routes())
    application.middlewares.insert(0, _traced(trust))
    return application


async def _nobody(_tenant: str) -> Mapping[str, str]:
    """Where no pool is administered, nothing was made in one."""
    return {}


def _traced(trust: Trust) -> Middleware:
    @web.middleware
    async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
        trusted = trust.proxy(request.remote or "127.0.0.1")
        with served_request(request, trusted=trusted) as span:
            response = await handler(request)
            answered(span, response.status)
            return response

    return traced
