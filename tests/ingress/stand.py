"""The stand: real proxies in front of a legacy app, a check listener and a public listener, all on
loopback.

The servers run in one background thread, so that tests are plain blocking code over raw sockets.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import defaultdict
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aiohttp import web

from demo import net
from demo.apps.legacy import LegacyApp
from gateway.admin.application import PREFIX, AdminServices, admin_application
from gateway.admin.routes.doctor import DoctorRoutes
from gateway.check.handler import Checks
from gateway.check.probe_recorder import ProbedChecks, location_handler
from gateway.check.server import CheckConnection, CheckServer
from gateway.check.services import Services
from gateway.check.trusted_peer import Trust
from gateway.config.model import Config, Ingress
from gateway.core.model import AppPassword, Identity, MachineToken, Secret, Session
from gateway.core.probe import LOCATION
from gateway.core.reason import Reason
from gateway.core.tenants import TenantTable
from gateway.errors import UnavailableError
from gateway.http.listener import MAX_CONNECTIONS, Listener, accepting, listening
from gateway.ingress_config import Site, site_of
from gateway.keys import ring as keys
from gateway.keys.assertion import Assertions
from gateway.login import application as browser_application
from gateway.pages.render import Pages
from gateway.runtime.app import LISTENER
from gateway.sessions.api import MISS
from gateway.tenants.compilation import compile_tenant
from gateway.tenants.document import TenantDocument
from tests.ingress.h2c import H2cApplication

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping

    from gateway.admin.idempotency import IdempotencyRecords
    from gateway.admin.keys_store import AdminKeys
    from gateway.cognito.relying_party import RelyingParty
    from gateway.core.model import Tenant
    from gateway.database.audit import AuditLog
    from gateway.sessions.api import (
        MachineAuthenticator,
        Miss,
        PoolPasswordAuthenticator,
        SessionStore,
        TenantSource,
    )
    from gateway.sessions.rate_limit import AttemptCounter
    from gateway.sessions.tested_connections import TestedConnections
    from gateway.sessions.token_revocation import TokenRevocation

KEY = "the-ingress-key-of-the-tests-0123456789"
ACME, GLOBEX, LOOSE, SHARED, LOGIN = (
    "acme.localhost",
    "globex.localhost",
    "loose.localhost",
    "app.localhost",
    "login.localhost",
)
BELOW = "sub.acme.localhost"
"""A host of acme whose application speaks HTTP/2 to whoever asks for it."""
MACHINES = "machines.acme.localhost"
"""A host of acme that takes access tokens."""
PROGRAMS = "programs.acme.localhost"
"""A host of acme that takes app passwords."""
APP_PASSWORD = "gwap_" + "a" * 69
"""Bob's, at that host."""
CASE = "X-Case"
PROBE_KEY = b"the sealing key of the stand"
COOKIE = "__Host-gw"
T = TypeVar("T")
NOW = 1_800_000_000.0

TENANTS: tuple[dict[str, Any], ...] = (
    {
        "id": "acme",
        "name": "Acme",
        "hosts": [ACME, BELOW, "*.acme.localhost"],
        "email_domains": ["acme.test"],
        "allowed_groups": ["app-users"],
        "client_id": "acme1",
        "client_secret": "s",
        "providers": [{"name": "acme-okta", "kind": "okta", "issuer": "https://acme.okta.test"}],
        "session": {"idle_counts": {"exclude": ["/polled", "/_auth/userinfo"], "websocket": "30m"}},
        "headers": {"X-Department": {"source": "claim:custom:department", "encode": "utf8"}},
        "rules": [
            {"path": "/public/**", "allow": "public"},
            {"path": "/**/*.css", "allow": "public"},
            {"path": "/gets", "methods": ["GET"], "allow": "public"},
            {"path": "/admin/**", "groups": ["admins"]},
            {
                "path": "/**",
                "hosts": [MACHINES],
                "bearer": {"clients": ["m1"]},
                "browser_sessions": False,
                "identity": {"Remote-User": "deploy-bot"},
            },
            {"path": "/**", "hosts": [PROGRAMS], "app_passwords": True},
        ],
    },
    {
        "id": "loose",
        "name": "Loose",
        "hosts": [LOOSE],
        "email_domains": ["loose.test"],
        "allowed_groups": ["app-users"],
        "client_id": "loose1",
        "client_secret": "s",
        "providers": [{"name": "loose-okta", "kind": "okta", "issuer": "https://loose.okta.test"}],
        "paths": {"windows": True, "unicode": True, "suffixes": True},
        "rules": [
            {"path": "/public/**", "allow": "public"},
            {"path": "/admin/**", "groups": ["admins"]},
        ],
    },
    {
        "id": "globex",
        "name": "Globex",
        "hosts": [GLOBEX],
        "email_domains": ["globex.test"],
        "allowed_groups": "any",
        "client_id": "globex1",
        "client_secret": "s",
        "providers": [
            {"name": "globex-entra", "kind": "entra", "issuer": "https://login.test/globex"}
        ],
    },
)


def identity(
    email: str,
    *,
    provider: str = "acme-okta",
    groups: tuple[str, ...] = ("app-users",),
    **more: Any,
) -> Identity:
    values: dict[str, Any] = {
        "sub": f"sub-{email}",
        "email": email,
        "email_domain": email.partition("@")[2],
        "username": f"{provider}_{email}",
        "preferred_username": email.partition("@")[0],
        "name": email.partition("@")[0].title(),
        "groups": groups,
        "roles": (),
        "provider": provider,
        "idp_subject": f"idp-{email}",
        **more,
    }
    return Identity(**values)


def session(cookie: str, who: Identity, *, tenant: str = "acme", host: str = ACME) -> Session:
    return Session(
        digest=f"digest-{cookie}",
        tenant=tenant,
        host=host,
        family=f"family-{cookie}",
        identity=who,
        began=0,
        auth_time=int(NOW),
        created_at=int(NOW),
        expires_at=int(NOW) + 3600,
        client_id=f"{tenant}1",
    )


MOVED = "/moved"
"""Where the application answers with a redirect to ``?to=``."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as a server behind the ingress received it."""

    server: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class MemoryProbes:
    """``sessions.api.ProbeRecords`` without a Redis."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], Mapping[str, Any]] = {}

    async def write(self, nonce: str, place: str, record: Mapping[str, Any]) -> None:
        self.records.setdefault((nonce, place), record)

    async def read(self, nonce: str, place: str) -> Mapping[str, Any] | None:
        return self.records.get((nonce, place))


class Stand:
    """Servers with their ports, and what each has seen under the ``X-Case`` of a test."""

    def __init__(self) -> None:
        self.config = Config(
            development=True,
            public_scheme="http",
            login_host=LOGIN,
            shared_hosts=(SHARED,),
            tenant_headers={"X-Department": ""},
            ingress=Ingress(keys=(Secret(KEY),), client_headers=(CASE, "X-Foo")),
            cognito={
                "region": "eu-north-1",
                "user_pool_id": "eu-north-1_Test",
                "domain": "http://cognito.localhost",
            },
        )
        documents = [TenantDocument.model_validate(document) for document in TENANTS]
        self.tenants = tuple(
            compile_tenant(d, self.config, client_id=d.client_id or "", client_secret=Secret("s"))
            for d in documents
        )
        self.trust = Trust(self.config.ingress)
        self._served = SimpleNamespace(table=self.table_for(self.tenants))
        self.sessions: dict[str, Session] = {}
        self.used_for: list[tuple[str, float | None]] = []
        """Digest of each session that was shown, and for how long that keeps it active
        (seconds).
        """
        self.seen: defaultdict[str, list[Seen]] = defaultdict(list)
        self.check_connections: set[int] = set()
        """Ports from which the check listener was asked: how many connections a proxy used."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stand", daemon=True)
        self._runners: list[web.BaseRunner] = []
        self._listeners = AsyncExitStack()
        self.store_is_down = False
        self.probes = MemoryProbes()
        self.h2c = H2cApplication()
        self.check_port = self.public_port = self.app_port = 0

    @property
    def table(self) -> TenantTable:
        """The tenants as they are now; a test may put others in their place."""
        table: TenantTable = self._served.table
        return table

    @table.setter
    def table(self, table: TenantTable) -> None:
        self._served.table = table

    def table_for(self, tenants: Iterable[Tenant]) -> TenantTable:
        return TenantTable.of(tenants, shared_hosts=self.config.shared_hosts, login_host=LOGIN)

    def start(self) -> None:
        self._thread.start()
        legacy = LegacyApp("legacy").app
        public = web.Application()
        public.router.add_route(
            "*",
            LOCATION,
            location_handler(
                self.probes, keys=lambda: (PROBE_KEY,), cookie_name=COOKIE, clock=lambda: NOW
            ),
        )
        public.add_subapp("/_auth/unknown-host", browser_application(self._services()))
        public.router.add_route("*", "/{path:.*}", _page_of_the_gateway)
        self.app_port = self._call(self._serve(legacy, "app"))
        self.public_port = self._call(self._serve(public, "public"))
        self.check_port = self._call(self._serve_checks())

    def stop(self) -> None:
        self.h2c.stop()
        self._call(self._listeners.aclose())
        for runner in self._runners:
            self._call(runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def site(
        self, port: int, *, check_port: int | None = None, hosts: tuple[str, ...] | None = None
    ) -> Site:
        """What a proxy on ``port`` has to know about this stand; with ``hosts`` it guards those and
        no others.
        """
        return site_of(
            self.config,
            listen=f"127.0.0.1:{port}",
            upstream=f"127.0.0.1:{self.app_port}",
            upstreams={BELOW: f"127.0.0.1:{self.h2c.port}"},
            hosts=hosts,
            checks=(f"127.0.0.1:{check_port or self.check_port}",),
            publics=(f"127.0.0.1:{self.public_port}",),
            nginx_version=(1, 25, 1),
        )

    async def serve_admin(
        self, keys: AdminKeys, audit: AuditLog, idempotency: IdempotencyRecords
    ) -> web.AppRunner:
        """The admin listener with the doctor's routes, on the caller's loop; returns its runner."""
        routes = DoctorRoutes(
            self.probes,
            keys=lambda: (PROBE_KEY,),
            managed=self.config.managed_headers,
            cookie_name=COOKIE,
            clock=lambda: NOW,
        ).routes()
        app = web.Application()
        app.add_subapp(
            PREFIX,
            admin_application(
                AdminServices(keys=keys, audit=audit, idempotency=idempotency, more=routes)
            ),
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    def sign_in(self, cookie: str, who: Identity, *, tenant: str = "acme", host: str = ACME) -> str:
        """A live session; returns the Cookie header line."""
        self.sessions[cookie] = session(cookie, who, tenant=tenant, host=host)
        return f"Cookie: {COOKIE}={cookie}"

    def at(self, server: str, case: str) -> list[Seen]:
        return [seen for seen in self.seen[case] if seen.server == server]

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    @contextmanager
    def replica(self, at: str | int, *, public: bool = False) -> Iterator[None]:
        """One more check listener (or public one), on a port or at the path of a socket; at the end
        it is taken down as a gateway is that was told to stop.
        """
        stack = AsyncExitStack()
        bound = socket.socket(socket.AF_UNIX if isinstance(at, str) else socket.AF_INET)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if isinstance(at, str):
            Path(at).unlink(missing_ok=True)
        bound.bind(at if isinstance(at, str) else ("127.0.0.1", at))
        bound.listen(128)

        async def serve() -> None:
            stack.callback(bound.close)
            if not public:
                await self._checks(stack, bound)
                return
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", _page_of_the_gateway)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await stack.enter_async_context(listening(runner, bound, **LISTENER))

        self._call(serve())
        try:
            yield
        finally:
            self._call(stack.aclose())

    async def _serve_checks(self) -> int:
        bound = net.bind()
        self._listeners.callback(bound.socket.close)
        await self._checks(self._listeners, bound.socket)
        return bound.port

    async def _checks(self, stack: AsyncExitStack, bound: socket.socket) -> None:
        """Answered until ``stack`` is left."""
        services = self._services()
        checks = ProbedChecks(
            Checks(services),
            self.probes,
            trust=services.trust,
            keys=lambda: (PROBE_KEY,),
            managed=self.config.managed_headers,
            cookie_name=COOKIE,
            clock=lambda: NOW,
        )

        server = CheckServer(checks)

        def make(listener: Listener, starting: asyncio.Task[None] | None) -> asyncio.Protocol:
            return NotedConnection(self.check_connections, server, listener, starting=starting)

        stack.push_async_callback(server.close)
        await stack.enter_async_context(
            accepting(Listener(make, bound, name="check", limit=MAX_CONNECTIONS))
        )

    def _services(self) -> Services:
        return Services(
            config=self.config,
            trust=self.trust,
            tenants=cast("TenantSource", self._served),
            sessions=cast("SessionStore", self),
            relying_party=cast("RelyingParty", None),
            machines=cast("MachineAuthenticator", self),
            pool_passwords=cast(
                "PoolPasswordAuthenticator",
                SimpleNamespace(cached=lambda _tenant, _request: Reason.POOL_PASSWORD_INVALID),
            ),
            attempts=cast("AttemptCounter", None),
            trials=cast("TestedConnections", None),
            token_revocation=cast("TokenRevocation", None),
            assertions=Assertions(keys.generate(), issuer=None),
            pages=Pages(),
            clock=lambda: NOW,
            random_token=lambda: "unused",
            signing_keys=lambda: (b"unused",),
        )

    def cached(self, cookie: str, *, host: str) -> Miss:
        """The session store of the stand has no memory."""
        return MISS

    def why_not(self, cookie: str, *, tenant: str | None) -> Reason:
        return Reason.NO_SESSION

    def is_suspended(self, tenant: str) -> bool:
        return False

    async def authenticate(self, tenant: Tenant, token: str) -> MachineToken | None:
        """The tokens of the stand: one, of a machine."""
        return (
            MachineToken("m1", frozenset(), "", "", 0, expires_at=int(NOW) + 3600)
            if token == "machine"
            else None
        )

    def cached_app_password(self, text: str) -> Miss:
        return MISS

    async def app_password(self, text: str, *, host: str) -> AppPassword | None:
        bob = session("app-password", identity("bob@acme.test"), host="")
        return (
            AppPassword(bob, frozenset({PROGRAMS}), ("/",), int(NOW))
            if text == APP_PASSWORD
            else None
        )

    async def wait_for_snapshot(self, tenant: str) -> bool:
        return True

    def used(self, session: Session, *, active_s: float | None) -> None:
        self.used_for.append((session.digest, active_s))

    async def find(self, cookie: str, *, host: str) -> Session | None:
        """The session store of the stand."""
        if self.store_is_down:
            msg = "the store of the stand is down"
            raise UnavailableError(msg)
        found = self.sessions.get(cookie)
        return found if found is not None and found.host == host else None

    async def _serve(self, app: web.Application, name: str) -> int:
        @web.middleware
        async def record(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            self.seen[request.headers.get(CASE, "")].append(
                Seen(name, request.method, request.raw_path, tuple(request.headers.items()))
            )
            if request.path == MOVED:
                headers = {
                    "Location": request.query["to"],
                    "Strict-Transport-Security": "max-age=1",
                }
                return web.Response(status=302, headers=headers)
            return await handler(request)

        app.middlewares.append(record)
        bound = net.bind()
        if name == "public":
            self._listeners.callback(bound.socket.close)
            await self._listeners.enter_async_context(
                listening(
                    web.AppRunner(app, access_log=None, shutdown_timeout=0.1),
                    bound.socket,
                    **LISTENER,
                )
            )
            return bound.port
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=0.1,
            max_field_size=128 * 1024,
            max_line_size=128 * 1024,
        )
        await runner.setup()
        await web.SockSite(runner, bound.socket).start()
        self._runners.append(runner)
        return bound.port


class NotedConnection(CheckConnection):
    """Notes from which port it was asked."""

    def __init__(self, noted: set[int], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._noted = noted
        self._port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._port = peer[1] if isinstance(peer, tuple) else 0
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._port:
            self._noted.add(self._port)
        super().data_received(data)


async def _page_of_the_gateway(request: web.Request) -> web.StreamResponse:
    return web.json_response({"gateway": request.raw_path})


__all__ = [
    "ACME",
    "APP_PASSWORD",
    "BELOW",
    "CASE",
    "COOKIE",
    "GLOBEX",
    "KEY",
    "LOGIN",
    "MACHINES",
    "MOVED",
    "PROGRAMS",
    "SHARED",
    "Seen",
    "Stand",
    "identity",
]
