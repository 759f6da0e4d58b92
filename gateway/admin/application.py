"""The sub-application of all routes. ``runtime.admin_role`` mounts it on the admin listener."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.admin.callers import KeyCallers
from gateway.admin.dispatch import dispatcher
from gateway.admin.in_process import InProcessApi
from gateway.admin.openapi import openapi_document
from gateway.admin.problem import problems_for_everything
from gateway.admin.recording import Edge
from gateway.admin.routes.connections import ConnectionRoutes
from gateway.admin.routes.coverage import CoverageRoutes
from gateway.admin.routes.deliveries import DeliveryRoutes, MessageRoutes
from gateway.admin.routes.domains import DomainRoutes
from gateway.admin.routes.hooks import HookRoutes
from gateway.admin.routes.keys import KeyRoutes
from gateway.admin.routes.login_tests import LoginTestRoutes
from gateway.admin.routes.mail import MailRoutes
from gateway.admin.routes.people import PeopleRoutes
from gateway.admin.routes.pool_users import PoolUserRoutes
from gateway.admin.routes.provisioning import ProvisioningRoutes
from gateway.admin.routes.records import AuditRoutes, ExplainRoutes
from gateway.admin.routes.revocations import RevocationRoutes
from gateway.admin.routes.rotation import RotationRoutes
from gateway.admin.routes.sessions import BlockRoutes, SessionRoutes
from gateway.admin.routes.setup_links import SetupLinkRoutes
from gateway.admin.routes.tenant_batch import TenantBatchRoutes
from gateway.admin.routes.tenants import TenantRoutes
from gateway.http.rate_limit import RateLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.admin.callers import Callers, LocalCallers
    from gateway.admin.idempotency import IdempotencyRecords
    from gateway.admin.keys_store import AdminKeys
    from gateway.admin.reads import Reads
    from gateway.admin.route import Call, Route
    from gateway.admin.routes.revocations import IsTenant
    from gateway.core.hook_target import HookTarget
    from gateway.database.audit import AuditLog
    from gateway.database.tenant_states import TenantStates
    from gateway.domains.service import Domains
    from gateway.expiry.watch import ConnectionWatch
    from gateway.hooks.coverage_records import CoverageRecords
    from gateway.hooks.people_register import PeopleRegister
    from gateway.hooks.setup import HookSetup
    from gateway.hooks.views import DeliveryRecords, MessageRecords
    from gateway.mail.mailer import Mailer
    from gateway.provisioning.member_changes import Members
    from gateway.provisioning.service import Onboarding
    from gateway.revocation.blocks import BlockDirectory
    from gateway.sessions.api import Revoker, SessionDirectory
    from gateway.setup.services import SetupServices
    from gateway.tenants.api import Explainer, LoginTests, TenantRecords, TenantRehearsals
    from gateway.tenants.batch import TenantBatches

PREFIX = "/admin/v1"
REQUESTS_PER_S = 50.0
BURST = 200
"""Per key. An onboarding script makes a few requests a second; a list of 10,000 tenants is 50
pages.
"""
FAILURES_PER_S = 0.5
FAILURES_BURST = 20
"""Per address, of keys that open nothing. Keys hold 256 random bits: this bounds the work and the
log, not a guess.
"""


async def _whoever(tenant: str) -> bool:  # noqa: ARG001 - where no registry says which there are
    return True


def _no_targets(tenant: str) -> Sequence[HookTarget]:  # noqa: ARG001 - as above
    return ()


@dataclass(frozen=True, slots=True)
class AdminServices:
    """What the routes stand on. A room that is None has no routes, in the served description
    neither.
    """

    keys: AdminKeys
    audit: AuditLog
    idempotency: IdempotencyRecords
    reads: Reads | None = None
    tenants: TenantRecords | None = None
    tenant_states: TenantStates | None = None
    rehearsals: TenantRehearsals | None = None
    tenant_batches: TenantBatches | None = None
    login_tests: LoginTests | None = None
    onboarding: Onboarding | None = None
    revoker: Revoker | None = None
    sessions: SessionDirectory | None = None
    blocks: BlockDirectory | None = None
    explainer: Explainer | None = None
    hook_setup: HookSetup | None = None
    coverage: CoverageRecords | None = None
    deliveries: DeliveryRecords | None = None
    messages: MessageRecords | None = None
    people: PeopleRegister | None = None
    members: Members | None = None
    connections: ConnectionWatch | None = None
    mailer: Mailer | None = None
    setup: SetupServices | None = None
    domains: Domains | None = None
    hook_targets: Callable[[str], Sequence[HookTarget]] = _no_targets
    """Of a tenant, one for each provider: what can still lift its blocks."""
    is_tenant: IsTenant = _whoever
    """Whether there is a tenant of that id; asked before anything is ended or kept out in its
    name.
    """
    more: Sequence[Route] = ()
    """Routes of other rooms (the doctor's records, for one)."""
    operators_tenant: str | None = None
    """Whose people are operators of the console: only operators change it."""
    exposed: bool = False
    """Whether other machines reach the listener: then nothing is served while no key exists."""
    clock: Callable[[], float] = time.time
    """UTC epoch seconds."""
    monotonic: Callable[[], float] = time.monotonic
    new_hook_secret: Callable[[], str] = field(default=lambda: secrets.token_urlsafe(32))
    new_request_id: Callable[[], str] = field(default=lambda: secrets.token_hex(8))


def admin_routes(
    services: AdminServices, *, closing: asyncio.Event, callers: Callers | None = None
) -> tuple[Route, ...]:
    """Every route there is with these services. Without ``callers``: for keys."""
    asked_by, onboarding = callers or key_callers(services), services.onboarding

    async def still_allowed(call: Call) -> bool:
        request = call.request.over_http
        return request is not None and await asked_by.still_allowed(request)

    routes: list[Route] = [
        *AuditRoutes(services.audit).routes(),
        *KeyRoutes(services.keys, services.is_tenant, services.clock).routes(),
    ]
    if services.tenants is not None:
        routes += _tenant_routes(services, services.tenants)
    if services.tenant_batches is not None:
        batches, operators = services.tenant_batches, services.operators_tenant
        routes += TenantBatchRoutes(batches, operators, onboarding).routes()
    if onboarding is not None:
        routes += ProvisioningRoutes(onboarding).routes()
        routes += RotationRoutes(onboarding, services.sessions, services.login_tests).routes()
    if services.revoker is not None:
        routes += RevocationRoutes(
            services.revoker, services.is_tenant, still_allowed=still_allowed, closing=closing
        ).routes()
        if services.sessions is not None:
            sessions = services.sessions
            routes += SessionRoutes(sessions, services.revoker, services.is_tenant).routes()
        if services.blocks is not None:
            routes += BlockRoutes(
                services.blocks, services.revoker, services.is_tenant, services.hook_targets
            ).routes()
    if services.explainer is not None:
        routes += ExplainRoutes(services.explainer).routes()
    if services.hook_setup is not None and services.tenants is not None:
        routes += HookRoutes(
            services.hook_setup, services.tenants, new_secret=services.new_hook_secret
        ).routes()
    if services.coverage is not None:
        routes += CoverageRoutes(services.coverage, services.is_tenant).routes()
    if services.deliveries is not None:
        routes += DeliveryRoutes(services.deliveries).routes()
    if services.messages is not None:
        routes += MessageRoutes(services.messages).routes()
    if services.people is not None:
        routes += PeopleRoutes(services.people, services.is_tenant).routes()
    if services.members is not None:
        routes += PoolUserRoutes(services.members).routes()
    if services.connections is not None:
        routes += ConnectionRoutes(services.connections, services.is_tenant).routes()
    if services.domains is not None and services.tenants is not None:
        routes += DomainRoutes(services.domains, services.tenants, services.is_tenant).routes()
    if services.mailer is not None:
        routes += MailRoutes(services.mailer).routes()
    if services.setup is not None and services.tenants is not None:
        routes += SetupLinkRoutes(services.setup, services.tenants, services.clock).routes()
    return (*routes, *services.more)


def _tenant_routes(services: AdminServices, tenants: TenantRecords) -> Sequence[Route]:
    routes = TenantRoutes(
        tenants, services.rehearsals, services.onboarding, services.tenant_states
    ).routes()
    tests = services.login_tests
    return routes if tests is None else (*routes, *LoginTestRoutes(tests).routes())


def key_callers(services: AdminServices) -> Callers:
    """Whoever holds a key."""
    return KeyCallers(
        services.keys,
        exposed=services.exposed,
        rate=RateLimit(rate=REQUESTS_PER_S, burst=BURST, clock=services.monotonic),
        failures=RateLimit(rate=FAILURES_PER_S, burst=FAILURES_BURST, clock=services.monotonic),
    )


def _edge(services: AdminServices, callers: Callers) -> Edge:
    return Edge(
        callers=callers,
        audit=services.audit,
        idempotency=services.idempotency,
        new_request_id=services.new_request_id,
        reads=services.reads,
        operators_tenant=services.operators_tenant,
    )


def in_process_api(services: AdminServices) -> InProcessApi:
    """The same operations, for callers in this process that are authenticated already."""
    callers = key_callers(services)
    routes = admin_routes(services, closing=asyncio.Event(), callers=callers)
    return InProcessApi(routes, _edge(services, callers))


def local_application(services: AdminServices, callers: LocalCallers) -> web.Application:
    """All of what the socket of the gateway's own machine serves."""
    application = web.Application(middlewares=[callers.guard])
    application.add_subapp(PREFIX, admin_application(services, callers))
    return application


def admin_application(services: AdminServices, callers: Callers | None = None) -> web.Application:
    """Mount with ``app.add_subapp(PREFIX, …)``. Without ``callers``: for keys."""
    callers = callers or key_callers(services)
    closing = asyncio.Event()
    routes = admin_routes(services, callers=callers, closing=closing)
    edge = _edge(services, callers)
    application = web.Application(middlewares=[problems_for_everything])
    for route in routes:
        application.router.add_route(route.method, route.pattern, dispatcher(route, edge))
    description: list[bytes] = []

    async def openapi(_request: web.Request) -> web.Response:
        if not description:  # a tenth of a second of work, which few processes are ever asked for
            document = await asyncio.to_thread(openapi_document, routes, prefix=PREFIX)
            description.append(json.dumps(document).encode())
        return web.Response(
            body=description[0],
            content_type="application/json",
            headers={"X-Content-Type-Options": "nosniff"},
        )

    application.router.add_route("GET", "/openapi.json", openapi)

    async def close_streams(_application: web.Application) -> None:
        closing.set()

    application.on_shutdown.append(close_streams)
    return application
