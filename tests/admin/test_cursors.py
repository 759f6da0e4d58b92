"""A cursor comes back through the caller: whatever is sent in its place is a 400 that says so, on
every list, before any store sees it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import string
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.admin.application import PREFIX, admin_application, admin_routes
from gateway.admin.parsing import write_cursor
from gateway.database.group_commit import GroupCommitter
from gateway.expiry.records import ConnectionRecords
from gateway.hooks.active_restrictions import Restrictions
from gateway.hooks.deliveries import InboxRecords
from gateway.hooks.people_register import PeopleRegister
from gateway.hooks.webhooks.messages import OutboxRecords
from gateway.provisioning.journal import SqlJournal
from gateway.sessions.directory import StoreDirectory
from gateway.tenants.admin_records import RegistryRecords
from gateway.tenants.database import TenantDatabase
from tests.database.fixtures import config_with
from tests.sessions.conftest import redis, ring

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.admin.application import AdminServices
    from gateway.database.engine import Database
    from gateway.expiry.watch import ConnectionWatch
    from gateway.hooks.webhooks.outbox import Outbox
    from gateway.keys import ring as keys
    from gateway.provisioning.service import Onboarding
    from gateway.sessions.connection import RedisClient
    from tests.admin.conftest import Api, Clock

__all__ = ["redis", "ring"]
PARAMETERS = {"list_sessions": "&tenant=acme", "list_app_passwords": "&tenant=acme"}
"""What a list asks for besides its cursor."""
POSITIONS = (
    "",
    " ",
    "0",
    "-1",
    "1e3",
    "1e999",
    "nan",
    "inf",
    "-inf",
    "nan x",
    "inf x",
    "nan/x",
    "1_0",
    "١",
    "1" * 19,
    "9" * 19,
    "9" * 200,
    "0:0",
    "-1:0",
    "0:-1",
    "1:9223372036854775808",
    "0:0:0",
    ":",
    "a:b",
    "1.0/x",
    "1.0 x",
    "/",
    " ",
    "1.0/",
    "1.0 ",
    "1e400/x",
    "1e400 x",
    "0x1p3 x",
    "x" * 384,
    "\x00",
    "a\x00",
    "\ud800",
    "1.0 \ud800",
    "1.0/\x00",
    "1.0 \x00",
    "é",
    "' OR 1=1 --",
    "%s",
    "[]",
    "null",
)
hostile_positions = st.one_of(
    st.sampled_from(POSITIONS),
    st.text(max_size=40),
    st.from_regex(r"-?[0-9.e_]{0,25}[ /:]?[^x]{0,10}", fullmatch=True),
)
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
raw_cursors = st.one_of(
    st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=60),
    st.binary(min_size=1, max_size=60).map(
        lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("=")
    ),
    documents.map(
        lambda document: (
            base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")
        )
    ),
    st.just(base64.urlsafe_b64encode(b"[" * 300).decode().rstrip("=")),
)


@pytest.fixture
async def services(
    api: Api,
    database: Database,
    clock: Clock,
    redis: RedisClient,
    ring: keys.KeyRing,
    tmp_path: Path,
) -> AdminServices:
    """Every list by what lists it in production."""
    committer = GroupCommitter(database)

    def nothing() -> None: ...

    async def in_force(_tenant: str) -> None: ...

    connections = ConnectionRecords(
        database, committer, cast("Outbox", SimpleNamespace()), clock=clock
    )
    provisioning = SimpleNamespace(journal=SqlJournal(database, holder="us", clock=clock))
    return replace(
        api.services,
        tenants=RegistryRecords(
            TenantDatabase(database, config_with(tmp_path / "tenants"), clock=clock),
            files=dict,
            in_force=in_force,
        ),
        onboarding=cast("Onboarding", SimpleNamespace(provisioning=provisioning)),
        sessions=StoreDirectory(redis, lambda: ring),
        blocks=Restrictions(database),
        deliveries=InboxRecords(database, committer, clock=clock, wake=nothing),
        messages=OutboxRecords(database, committer, clock=clock, wake=nothing),
        people=PeopleRegister(database),
        connections=cast("ConnectionWatch", connections),
    )


async def test_no_cursor_is_a_fault_or_an_outage(
    services: AdminServices, api: Api, clock: Clock
) -> None:
    lists = {
        r.operation: r.path
        for r in admin_routes(services, closing=asyncio.Event())
        if "cursor" in r.query.model_fields
    }
    assert set(lists) == {
        "list_tenants",
        "list_runs",
        "list_all_runs",
        "list_sessions",
        "list_app_passwords",
        "list_blocks",
        "list_audit",
        "list_deliveries",
        "list_messages",
        "list_people",
        "list_pool_users",
        "list_setup_links",
        "list_all_setup_links",
        "list_admin_keys",
        "list_all_connections",
    }
    application = web.Application()
    application.add_subapp(PREFIX, admin_application(services))
    headers = {"Authorization": f"Bearer {await api.operator()}"}
    loop = asyncio.get_running_loop()
    async with TestClient(TestServer(application)) as client:

        async def ask(operation: str, cursor: str) -> None:
            clock.now += 1  # nobody is asked to wait
            path = lists[operation].replace("{tenant}", "acme")
            response = await client.get(
                f"{PREFIX}{path}?cursor={cursor}{PARAMETERS.get(operation, '')}", headers=headers
            )
            body = await response.json()
            assert response.status in {200, 400}, (operation, cursor, body)
            assert response.status == 200 or body["code"] in {"invalid_cursor", "invalid_query"}, (
                operation,
                cursor,
                body,
            )

        @settings(max_examples=50, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(sorted(lists)), raw_cursors)
        def any_text(operation: str, cursor: str) -> None:
            asyncio.run_coroutine_threadsafe(ask(operation, cursor), loop).result(60)

        @settings(max_examples=50, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(sorted(lists)), hostile_positions)
        def well_formed(operation: str, position: str) -> None:
            asyncio.run_coroutine_threadsafe(
                ask(operation, write_cursor(operation, position) or ""), loop
            ).result(60)

        for operation in lists:
            for position in POSITIONS:
                await ask(operation, write_cursor(operation, position) or "")
        await asyncio.to_thread(any_text)
        await asyncio.to_thread(well_formed)
