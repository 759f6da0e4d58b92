from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp import ClientResponse, web

from gateway.admin.application import PREFIX, AdminServices, admin_application
from gateway.admin.idempotency import IdempotencyRecords
from gateway.admin.keys import Scope
from gateway.admin.keys_store import AdminKeys
from gateway.admin.reads import Reads
from gateway.admin.routes.console import ConsoleRoutes
from gateway.admin.routes.doctor import DoctorRoutes
from gateway.admin.routes.health import HealthRoutes
from gateway.admin.routes.overview import OverviewRoutes
from gateway.admin.routes.pools import PoolRoutes
from gateway.database.attention import AttentionRecords
from gateway.database.audit import AuditLog
from gateway.database.audit_reads import ReadLog
from gateway.database.engine import Database, open_database
from gateway.database.tenant_states import TenantStates
from gateway.setup.letters import SetupLetters
from gateway.setup.links import SetupLinks
from gateway.setup.services import SetupServices
from tests.admin.rooms import (
    COMPONENTS,
    PROBE_KEY,
    USER_POOLS,
    Activity,
    Batches,
    Blocks,
    Claims,
    Connections,
    ConsoleLinks,
    Coverages,
    Deliveries,
    Desk,
    Explanations,
    Failovers,
    Letters,
    Links,
    Messages,
    Onboardings,
    PoolMembers,
    Probes,
    Register,
    Renewals,
    Revocations,
    Sessions,
    Tenants,
    processes,
)
from tests.database.fixtures import config_with, database_keys
from tests.database.template import embedded_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiohttp.test_utils import TestClient
    from pytest_aiohttp.plugin import AiohttpClient

    from gateway.domains.service import Domains
    from gateway.expiry.watch import ConnectionWatch
    from gateway.hooks.coverage_records import CoverageRecords
    from gateway.hooks.people_register import PeopleRegister
    from gateway.hooks.setup import HookSetup
    from gateway.mail.mailer import Mailer
    from gateway.provisioning.member_changes import Members
    from gateway.provisioning.renewal import Renewal
    from gateway.provisioning.service import Onboarding
    from gateway.sessions.activity_log import ActivityLog
    from gateway.sessions.console_links import ConsoleLinks as OneTimeLinks
    from gateway.sessions.pool_failover import PoolFailovers
    from gateway.tenants.batch import TenantBatches


class Clock:
    """Wall and monotonic seconds that move when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Api:
    """The admin API on a real socket, over SQLite, with keys of every sort."""

    client: TestClient[web.Request, web.Application]
    keys: AdminKeys
    clock: Clock
    services: AdminServices
    made: dict[str, str] = field(default_factory=dict)

    async def key(
        self, *scopes: Scope, tenant: str | None = None, lifetime_s: float | None = None
    ) -> str:
        name = f"{','.join(sorted(scopes))}/{tenant}/{lifetime_s}"
        if name not in self.made:
            new = await self.keys.create(
                name=name, scopes=scopes, tenant=tenant, lifetime_s=lifetime_s, made_by="test"
            )
            assert new is not None
            self.made[name] = new.presented.reveal()
        return self.made[name]

    async def operator(self) -> str:
        return await self.key(Scope.OPERATOR)

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        json: object = None,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
    ) -> ClientResponse:
        sent = {"Authorization": f"Bearer {key or await self.operator()}", **(headers or {})}
        return await self.client.request(method, PREFIX + path, json=json, data=data, headers=sent)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    embedded_database(tmp_path / "state")
    opened = open_database(config_with(tmp_path / "state"), database_keys())
    await opened.prepare()
    yield opened
    await opened.close()


def link_ids() -> Callable[[], str]:
    """0000000000000001 and on."""
    numbers = count(1)
    return lambda: f"{next(numbers):016}"


def key_ids() -> Callable[[], str]:
    """000000000001 and on."""
    numbers = count(1)
    return lambda: f"{next(numbers):012}"


@pytest.fixture
async def api(aiohttp_client: AiohttpClient, database: Database, clock: Clock) -> Api:
    admin_keys = AdminKeys(database, clock=clock, new_id=key_ids())
    tenants, letters = Tenants(), Letters()
    setup = SetupServices(
        SetupLinks(database, clock=clock, new_id=link_ids()),
        SetupLetters(cast("Mailer", letters), "https://login.example.com"),
        "https://login.example.com",
        renewal=cast("Renewal", Renewals()),
    )
    services = AdminServices(
        keys=admin_keys,
        audit=AuditLog(database, clock=clock),
        reads=Reads(ReadLog(database, clock=clock)),
        idempotency=IdempotencyRecords(database, clock=clock),
        tenants=tenants,
        tenant_states=TenantStates(database, clock=clock),
        onboarding=cast("Onboarding", Onboardings(tenants)),
        tenant_batches=cast("TenantBatches", Batches()),
        login_tests=Links(),
        revoker=Revocations(),
        sessions=Sessions(),
        blocks=Blocks(),
        explainer=Explanations(),
        deliveries=Deliveries(),
        messages=Messages(),
        people=cast("PeopleRegister", Register()),
        members=cast("Members", PoolMembers()),
        connections=cast("ConnectionWatch", Connections()),
        mailer=cast("Mailer", letters),
        domains=cast("Domains", Claims()),
        hook_setup=cast("HookSetup", Desk()),
        setup=setup,
        coverage=cast("CoverageRecords", Coverages()),
        clock=clock,
        more=(
            *PoolRoutes(USER_POOLS, cast("PoolFailovers", Failovers())).routes(),
            *DoctorRoutes(
                Probes(),
                keys=lambda: (PROBE_KEY,),
                managed=("X-Auth-Request-Email",),
                cookie_name="__Host-gw",
                clock=clock,
            ).routes(),
            *ConsoleRoutes(
                cast("OneTimeLinks", ConsoleLinks()), "https://console.example.com/console/link"
            ).routes(),
            *OverviewRoutes(
                cast("ActivityLog", Activity()),
                AttentionRecords(database, clock=clock),
                setup.links,
                clock,
            ).routes(),
            *HealthRoutes(
                lambda: COMPONENTS, processes, cast("ActivityLog", Activity()), "0.9.0", clock
            ).routes(),
        ),
        monotonic=clock,
    )
    application = web.Application()
    application.add_subapp(PREFIX, admin_application(services))
    return Api(await aiohttp_client(application), admin_keys, clock, services)
