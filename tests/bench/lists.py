"""The console's lists beside the admin API's own answers, at 10,000 tenants and 100,000 sessions.

    scripts/bench lists [--rounds 3]

Tenants and audit records are in SQLite, sessions in Valkey. Console and admin API are the shipped
applications in one process; a client asks one after the other over a connection each, a page of the
console and the same list of the API in turn.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import secrets
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from demo.processes import free_port
from gateway.admin.application import (
    PREFIX,
    AdminServices,
    admin_application,
    in_process_api,
)
from gateway.admin.idempotency import IdempotencyRecords
from gateway.admin.keys import Scope
from gateway.admin.keys_store import AdminKeys
from gateway.admin.reads import Reads
from gateway.console.application import Console, ConsoleServices
from gateway.core.model import Identity, Session
from gateway.database.audit import AuditLog
from gateway.database.audit_reads import ReadLog
from gateway.database.engine import open_database
from gateway.database.tenant_states import TenantStates
from gateway.keys import ring as keys
from gateway.keys.assertion import Assertions
from gateway.sessions.connection import Target, client_to
from gateway.sessions.console_links import ConsoleLinks
from gateway.sessions.directory import StoreDirectory
from gateway.sessions.store import RedisSessions
from gateway.tenants.admin_records import RegistryRecords
from gateway.tenants.api import Rejected
from gateway.tenants.database import TenantDatabase
from gateway.tenants.document import TenantDocument
from gateway.tenants.folder_plan import Change
from gateway.tenants.snapshot_record import record_of
from gateway.tenants.stored import Actor
from tests.admin.rooms import Revocations
from tests.bench.load import Load, Row
from tests.bench.sessions import Crowd
from tests.database.fixtures import config_with, database_keys
from tests.database.template import embedded_database
from tests.sessions import servers

if TYPE_CHECKING:
    from collections.abc import Sequence

TENANTS, SESSIONS = 10_000, 100_000
LISTED: Final = 2_000
"""Sessions of the tenant that is listed, by the shipped login: a copy's record does not open."""
SAMPLES: Final = 40
"""Of each list in a round."""
GOAL: Final = "≤ 1.5, page ≤ 200 ms"
HOST: Final = "console.bench.example.com"
HEADER: Final = "X-Auth-Request-Jwt"
BUSY: Final = "t00000"
"""The tenant whose sessions are listed."""


@dataclass(frozen=True, slots=True)
class List:
    """A page of the console, and the operation that it shows."""

    name: str
    page: str
    operation: str


def lists_of(cursor: str) -> tuple[List, ...]:
    """``cursor``: into the middle of the tenants."""
    return (
        List("tenants, first page", "/tenants", "/tenants?health=true"),
        List(
            "tenants, in the middle",
            f"/tenants?after={cursor}",
            f"/tenants?health=true&cursor={cursor}",
        ),
        List("tenants, search", "/tenants?search=t000", "/tenants?health=true&search=t000"),
        List("sessions of a tenant", f"/sessions?tenant={BUSY}", f"/sessions?tenant={BUSY}"),
        List("audit log", "/audit", "/audit"),
        List("audit log, no documents", "/audit", "/audit?documents=false"),
    )


def document(number: int) -> TenantDocument:
    name = f"t{number:05}"
    return TenantDocument.model_validate(
        {
            "id": name,
            "name": f"Customer {number}",
            "hosts": [f"{name}.example.com", f"www.{name}.example.com"],
            "email_domains": [f"{name}.test"],
            "allowed_groups": ["app-users", f"{name}-admins"],
            "client": "managed",
            "providers": [
                {"name": f"{name}-okta", "kind": "okta", "issuer": f"https://{name}.okta.com"}
            ],
            "rules": [
                {"path": f"/part{n}/**", "groups": ["app-users", f"group-{n}"]} for n in range(10)
            ],
        }
    )


class Bench:
    """Console and admin API on two ports."""

    def __init__(self, stack: AsyncExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self.ports = (free_port(), free_port())
        self.key = ""
        self._ring = keys.generate()

    async def start(self) -> None:
        folder, stack = self._folder, self._stack
        embedded_database(folder / "state")
        groups = {"admins": ["operator"]}
        config = config_with(
            folder / "state", console={"host": HOST, "tenant": "operators", "groups": groups}
        )
        database = open_database(config, database_keys())
        await database.prepare()
        stack.push_async_callback(database.close)
        server = stack.enter_context(servers.running(folder / "valkey"))
        where = Target("single", (("127.0.0.1", server.port),))
        redis = client_to(where, ca_file=None, replicas=0, command_timeout_s=30)
        ring = self._ring
        crowd = Crowd(redis, ring, RedisSessions(redis, lambda: ring))
        stack.push_async_callback(crowd.sessions.close)
        await crowd.empty()
        for number in range(LISTED):
            await crowd.log_in(BUSY, f"person-{number}")
        await crowd.grow(SESSIONS - LISTED)
        tenants = TenantDatabase(database, config)

        async def in_force(_tenant: str) -> None: ...

        documents = [document(number) for number in range(TENANTS)]
        changes = [Change("create", one.id, None, one, ()) for one in documents]
        refused = await tenants.apply(changes, by=Actor("bench"))
        if isinstance(refused, Rejected):
            raise RuntimeError(refused.message)  # noqa: TRY004 - a refusal is an outcome, no wrong type
        published = {one.id: record_of(one, None) for one in documents}
        records = RegistryRecords(tenants, files=dict, in_force=in_force, records=lambda: published)
        services = AdminServices(
            keys=AdminKeys(database, clock=time.time, new_id=partial(secrets.token_hex, 6)),
            audit=AuditLog(database, clock=time.time),
            idempotency=IdempotencyRecords(database, clock=time.time),
            reads=Reads(ReadLog(database, clock=time.time)),
            tenants=records,
            tenant_states=TenantStates(database, clock=time.time),
            is_tenant=records.has,
            revoker=Revocations(),
            sessions=StoreDirectory(redis, lambda: ring),
        )
        new = await services.keys.create(
            name="bench",
            scopes=[Scope.OPERATOR],
            tenant=None,
            lifetime_s=None,
            made_by="bench",
        )
        if new is None:
            raise RuntimeError
        self.key = new.presented.reveal()
        api = web.Application()
        api.add_subapp(PREFIX, admin_application(services))
        links = ConsoleLinks(redis, clock=time.time, random_token=secrets.token_urlsafe)
        console = Console(
            ConsoleServices(
                config,
                in_process_api(services),
                lambda: ring,
                lambda: (b"forms",),
                time.time,
                services.audit,
                links,
            )
        )
        for application, port in zip((console.application(), api), self.ports, strict=True):
            runner = web.AppRunner(application)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", port).start()

    def ask(self, wanted: Sequence[List], rounds: int) -> list[Row]:
        """In a thread: what is asked runs in the loop."""
        console, api = (http.client.HTTPConnection("127.0.0.1", port) for port in self.ports)
        rows = []
        for one in wanted:
            # An assertion is good for five minutes.
            ways = (
                (console, {HEADER: _assertion(self._ring)}),
                (api, {"Authorization": f"Bearer {self.key}"}),
            )
            paths = (f"/console{one.page}", PREFIX + one.operation)
            loads: tuple[list[Load], list[Load]] = ([], [])
            for _ in range(rounds):
                took: tuple[list[float], list[float]] = ([], [])
                for number in range(SAMPLES + 2):
                    for way, path, times in zip(ways, paths, took, strict=True):
                        spent = _get(*way, path)
                        if number > 1:
                            times.append(spent)
                for times, load in zip(took, loads, strict=True):
                    load.append(_load(times))
            ratios = tuple(a.p50 / b.p50 for a, b in zip(*loads, strict=True))
            name = f"{one.name}: console / admin API"
            rows.append(Row(name, GOAL, tuple(loads[0]), tuple(loads[1]), ratios))
            rows[-1].show()
        return rows

    def middle(self) -> str:
        """A cursor behind half of the tenants."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[1])
        cursor = ""
        for _ in range(TENANTS // 400):
            query = f"&cursor={cursor}" if cursor else ""
            connection.request(
                "GET",
                f"{PREFIX}/tenants?limit=200{query}",
                headers={"Authorization": f"Bearer {self.key}"},
            )
            cursor = json.loads(connection.getresponse().read())["next"]
        return cursor


def _get(connection: http.client.HTTPConnection, headers: dict[str, str], path: str) -> float:
    """Seconds."""
    began = time.perf_counter()
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    text = answer.read()
    took = time.perf_counter() - began
    if answer.status != 200 or not re.search(rb"t\d{5}", text):
        raise RuntimeError(path, answer.status)
    return took


def _load(times: Sequence[float]) -> Load:
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    return Load(1 / p50, p50 * 1e3, p99 * 1e3, 0, 0)


def _assertion(ring: keys.KeyRing) -> str:
    now = time.time()
    identity = Identity(
        sub="s",
        email="o@bench.test",
        email_domain="bench.test",
        username="o",
        preferred_username="o",
        name="O",
        groups=("admins",),
        roles=(),
        provider="p",
        idp_subject="1",
        oid="",
    )
    session = Session(
        digest="a" * 64,
        tenant="operators",
        host=HOST,
        family="f",
        began=1,
        auth_time=int(now),
        created_at=int(now),
        expires_at=int(now) + 36_000,
        client_id="c",
        identity=identity,
    )
    return Assertions(ring, issuer=None).sign(session, origin=f"https://{HOST}", now=now)


async def measure(rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="gateway-lists-") as folder:
        async with AsyncExitStack() as stack:
            bench = Bench(stack, Path(folder))
            await bench.start()
            wanted = lists_of(await asyncio.to_thread(bench.middle))
            return await asyncio.to_thread(bench.ask, wanted, rounds)
