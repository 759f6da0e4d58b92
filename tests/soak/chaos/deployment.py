"""The deployment under test: three auth replicas of two workers, two admin roles, the stores, the
stand-in cloud, and the network between them. Every process ends with this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
from aiohttp import web

from demo.cloud import GLOBEX_TENANT_ID, POOL_ID
from demo.net import bind, serve
from demo.processes import die_with_parent, free_port
from gateway.admin.keys import Scope
from gateway.admin.keys_store import AdminKeys
from gateway.cli.local import configured_database
from gateway.keys import ring
from tests.soak.chaos.certificates import LOCAL
from tests.soak.chaos.cloud import Settings
from tests.soak.chaos.history import History, Webhook, now
from tests.soak.chaos.host import DOMAIN, Machine
from tests.soak.chaos.links import Network, descendants
from tests.soak.chaos.stores import Postgres, Valkey
from tests.support.fork_server import close_fork_servers, fork_server
from tests.support.small_disk import may_mount

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from tests.soak.chaos.certificates import Certificates
    from tests.support.fork_server import Forked

ROOT: Final = Path(__file__).parents[3]
AUTHS: Final = ("auth-0", "auth-1", "auth-2")
ADMINS: Final = ("admin-0", "admin-1")
CLOUD: Final = ("cognito", "okta", "entra", "hooli-idp")
"""Behind a front each."""
STALENESS_S: Final = 2.0
STARTS_S: Final = 120.0
RESTART_S: Final = 1.0
HOOK_SECRET: Final = secrets.token_urlsafe(24)
CONFIG: Final = """
development: true
ingress: {{trusted_proxies: [127.0.0.1/32]}}
public_scheme: https
public_port: {public}
state_dir: {folder}/unused
key_ring: {{file: {folder}/keys.json}}
redis: {{url: "{redis}", min_replicas: 1}}
database: {{url: "{database}"}}
cognito:
  region: eu-north-1
  user_pool_id: {pool}
  domain: {cognito}
  issuer: {cognito}/{pool}
  endpoint_url: {cognito}
session: {{idle_timeout: 10h, max_lifetime: 12h, max_per_user: 100, max_revocation_delay: {staleness:g}s}}
hooks:
  url: "http://127.0.0.1:{hooks}"
  reconcile_interval: 10s
  private_networks: [127.0.0.0/8]
  mass_removal: {{unknown: 1000000, people: 1000000}}
tenants: {{directory: {folder}/tenants}}
log: {{level: info, format: json}}
"""  # noqa: E501 - one text, as it is


class Gateway:
    """One ``gateway serve`` on a machine of its own."""

    def __init__(
        self, name: str, folder: Path, environment: Mapping[str, str], *, mutant: str = ""
    ) -> None:
        self.name, self.role = name, name.partition("-")[0]
        self.folder = folder / name
        self.folder.mkdir(mode=0o700)
        self.machine = Machine(self.folder / "machine")
        self.ring = self.folder / "keys.json"
        self.ports = {listener: free_port() for listener in ("check", "public", "admin", "hooks")}
        self.process: Forked | None = None
        self.wanted = False
        """Whether a supervisor would start it again."""
        self.restarts = 0
        self._config = folder / "gateway.yaml"
        self._mutant = ["--mutant", mutant] if mutant else []
        self._environment = {
            **environment,
            **{
                f"GATEWAY_LISTEN__{listener.upper()}": f"127.0.0.1:{port}"
                for listener, port in self.ports.items()
            },
            "GATEWAY_STATE_DIR": str(self.folder),
            "GATEWAY_KEY_RING__FILE": str(self.ring),
        }

    def start(self) -> None:
        self.wanted = True
        workers = ["--workers", "2"] if self.role == "auth" else []
        command = ["serve", "-c", str(self._config), "--role", self.role, *workers]
        with (self.folder / "log").open("ab") as log:
            # What it has imported has no clock and no resolver of its own.
            self.process = fork_server(workers=True).start(
                *(str(self.machine.path), *self._mutant, "gateway", *command),
                cwd=ROOT,
                environment=self._environment,
                stdout=log.fileno(),
                stderr=log.fileno(),
                module="tests.soak.chaos.host",
            )

    def pids(self) -> list[int]:
        return [] if self.process is None else descendants(self.process.pid)

    def workers(self) -> list[int]:
        """The processes that serve: the process itself where it forked none."""
        return self.pids()[1:] or self.pids()

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, signum: int) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    async def kill(self) -> None:
        """The machine is lost: all processes at once."""
        self.wanted = False
        self.send(signal.SIGKILL)
        if self.process is not None:
            await asyncio.to_thread(self.process.wait)

    async def terminate(self, *, within_s: float = 40.0) -> bool:
        """As an operator does; whether it ended in time."""
        assert self.process is not None
        self.wanted = False
        self.process.terminate()
        try:
            await asyncio.to_thread(self.process.wait, within_s)
        except subprocess.TimeoutExpired:
            await self.kill()
            return False
        return True


class Deployment:
    """``async with Deployment(...)``: everything runs, and clients may begin."""

    def __init__(
        self,
        folder: Path,
        certificates: Certificates,
        history: History,
        people: Mapping[str, list[tuple[str, tuple[str, ...]]]],
        *,
        mutant: str = "",
    ) -> None:
        self.folder, self.certificates, self.history = folder, certificates, history
        self.small_disks = may_mount()
        self.network = Network(self.pids)
        self.valkey = Valkey(folder, self.network, small_disks=self.small_disks)
        self.gateways: dict[str, Gateway] = {}
        self.admin_key = ""
        self.control = free_port()
        self.described: dict[str, Any] = {}
        self.clients: dict[str, str] = {}
        """App clients that somebody made by hand: id → tenant."""
        self.http: aiohttp.ClientSession
        self.postgres: Postgres
        self._people, self._mutant = people, mutant
        self._stack = AsyncExitStack()
        self._cloud: subprocess.Popen[bytes] | None = None
        self._ports = {name: free_port() for name in (*CLOUD, "initech-idp")}
        self._public, self._hooks = free_port(), free_port()
        self._webhooks = 0

    def pids(self) -> dict[str, list[int]]:
        """Machine → its processes."""
        found = {name: gateway.pids() for name, gateway in self.gateways.items()}
        found |= self.valkey.pids()
        if hasattr(self, "postgres"):
            for server in (self.postgres.primary, self.postgres.standby):
                found[server.name] = server.pids()
        if self._cloud is not None:
            found["cloud"] = [self._cloud.pid]
        return found

    def origin(self, host: str) -> str:
        """Of a protected host, as a browser types it."""
        return f"https://{host}{DOMAIN}:{self._public}"

    def cloud_origin(self, name: str) -> str:
        if name == "initech-idp":
            return f"https://{LOCAL}:{self._ports[name]}"
        return f"https://{name}{DOMAIN}:{self._ports[name]}"

    @property
    def hooks_url(self) -> str:
        return f"http://127.0.0.1:{self._hooks}"

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        stack = self._stack
        await stack.enter_async_context(self.network)
        self.http = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        )
        await self._start_cloud()
        stack.callback(self.valkey.stop)
        await self.valkey.start()
        self.postgres = Postgres(self.folder, self.network, small_disks=self.small_disks)
        stack.callback(self.postgres.remove)
        await self.postgres.start()
        self._webhooks = await self._start_webhooks()
        await self._configure()
        stack.callback(close_fork_servers)
        stack.push_async_callback(self._stop_gateways)
        for name in (*ADMINS, *AUTHS):
            self._add_gateway(name)
        for gateway in self.gateways.values():
            gateway.start()
        supervising = asyncio.create_task(self._supervise())
        stack.push_async_callback(_cancel, supervising)
        for name in self.gateways:
            await self.ready(name)
        await self._start_fronts()
        await self.ask_cloud("hook", provider="acme-okta", url=self.hook("okta", "acme/acme-okta"))
        await self._put_hooli()

    def hook(self, kind: str, path: str) -> str:
        return f"{self.hooks_url}/hooks/{kind}/{path}"

    async def _start_cloud(self) -> None:
        for name in CLOUD:
            port = self._ports[name]
            await self.network.front(name, [port], port=port, address="127.0.0.2")
        settings = Settings(
            **{name.removesuffix("-idp"): self.cloud_origin(name) for name in self._ports},
            issuer=f"{self.cloud_origin('cognito')}/{POOL_ID}",
            control=self.control,
            valid=str(self.certificates.valid),
            expired=str(self.certificates.expired),
            people=dict(self._people),
        )
        (self.folder / "cloud").mkdir()
        Machine(self.folder / "cloud" / "machine")
        (self.folder / "cloud" / "settings.json").write_text(
            json.dumps(dataclasses.asdict(settings))
        )
        command = ["-m", "tests.soak.chaos.host", str(self.folder / "cloud" / "machine")]
        command += ["--address", "127.0.0.2", "tests.soak.chaos.cloud"]
        with (self.folder / "cloud" / "log").open("wb") as log:
            self._cloud = subprocess.Popen(  # noqa: ASYNC220 - it is not waited for here
                [sys.executable, *command, str(self.folder / "cloud" / "settings.json")],
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
            )
        self._stack.push_async_callback(_end, self._cloud)
        async with asyncio.timeout(STARTS_S):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    self.described = await self.ask_cloud("describe", method="GET")
                    return
                assert self._cloud.poll() is None, (self.folder / "cloud" / "log").read_text()
                await asyncio.sleep(0.1)

    def environment(self) -> dict[str, str]:
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "AWS_"))},
            "SSL_CERT_FILE": str(self.certificates.authority),
            "AWS_CA_BUNDLE": str(self.certificates.authority),
            "AWS_ACCESS_KEY_ID": "AKIACHAOS",
            "AWS_SECRET_ACCESS_KEY": "chaos",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    async def ask_cloud(self, what: str, *, method: str = "POST", **body: Any) -> Any:
        """Raises ``aiohttp.ClientError``, also for an answer that is no 2xx."""
        if what == "hook":
            body["secret"] = HOOK_SECRET
        async with self.http.request(
            method,
            f"http://127.0.0.1:{self.control}/{what}",
            json=body if method == "POST" else None,
            timeout=aiohttp.ClientTimeout(total=60),
        ) as response:
            response.raise_for_status()
            return await response.json()

    async def _start_webhooks(self) -> int:
        async def receive(request: web.Request) -> web.Response:
            body = await request.read()
            told = json.loads(body)
            about = json.dumps(told.get("data", told), sort_keys=True)
            self.history.add(Webhook(request.headers["webhook-id"], str(hash(body)), about, now()))
            return web.Response(status=204)

        app, bound = web.Application(), bind()
        app.router.add_post("/{tenant}", receive)
        runner = await serve(app, bound)
        self._stack.push_async_callback(runner.cleanup)
        return bound.port

    # --- configuration ---------------------------------------------------------------------------

    async def _configure(self) -> None:
        (self.folder / "tenants").mkdir()
        for tenant, provider in (("acme", "acme-okta"), ("globex", "globex-entra")):
            document = await self.document(tenant, provider)
            path = self.folder / "tenants" / f"{tenant}.yaml"
            path.write_text(json.dumps(document), "utf-8")  # JSON is YAML
        (self.folder / "gateway.yaml").write_text(
            CONFIG.format(
                folder=self.folder,
                public=self._public,
                hooks=self._hooks,
                redis=self.valkey.url,
                database=self.postgres.url,
                cognito=self.cloud_origin("cognito"),
                pool=POOL_ID,
                staleness=STALENESS_S,
            )
        )
        ring.load(self.folder / "keys.json", create=True)
        async with configured_database(str(self.folder / "gateway.yaml")) as (_, database):
            made = await AdminKeys(database, clock=time.time).create(
                name="chaos", scopes=(Scope.OPERATOR,), tenant=None, lifetime_s=None, made_by="test"
            )
        assert made is not None
        self.admin_key = made.presented.reveal()

    async def document(self, tenant: str, provider: str) -> dict[str, Any]:
        """Of a tenant whose app client somebody made by hand."""
        made = await self.ask_cloud(
            "client",
            name=tenant,
            providers=[provider],
            callbacks=[f"{self.origin(tenant)}/_auth/callback"],
            logouts=[f"{self.origin(tenant)}/_auth/signed-out"],
        )
        self.clients[made["id"]] = tenant
        told = self.described[provider]
        kind = provider.partition("-")[2]
        hooks: dict[str, Any] = {"secrets": [HOOK_SECRET], "client_id": told["client_id"]}
        if kind == "okta":
            hooks["api_token"] = told["api_token"]
        else:
            hooks |= {
                "directory_id": GLOBEX_TENANT_ID,
                "client_secret": told["client_secret"],
                "api_url": self.cloud_origin("entra"),
            }
        return {
            "id": tenant,
            "name": tenant.title(),
            "hosts": [f"{tenant}{DOMAIN}"],
            "email_domains": [f"{tenant}.test"],
            "allowed_groups": "any",
            "client_id": made["id"],
            "client_secret": made["secret"],
            "providers": [
                {
                    "name": provider,
                    "kind": kind,
                    "label": provider,
                    "issuer": told["issuer"],
                    "domains": [f"{tenant}.test"],
                    **({} if tenant == "hooli" else {"hooks": hooks}),
                }
            ],
            **(
                {}
                if tenant == "hooli"
                else {
                    "webhook": {
                        "url": f"http://127.0.0.1:{self._webhooks}/{tenant}",
                        "secret": "whsec_Y2hhb3MtY2hhb3MtY2hhb3MtY2hhb3M=",
                    }
                }
            ),
        }

    async def _put_hooli(self) -> None:
        document = await self.document("hooli", "hooli-okta")
        async with self.http.put(
            f"{self.admin_url()}/admin/v1/tenants/hooli", json=document, headers=self.authorized
        ) as response:
            assert response.status == 201, (response.status, await response.text())

    @property
    def authorized(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.admin_key}"}

    def admin_url(self, number: int = 0) -> str:
        return f"http://127.0.0.1:{self.gateways[ADMINS[number]].ports['admin']}"

    # --- processes -------------------------------------------------------------------------------

    def _add_gateway(self, name: str) -> None:
        gateway = Gateway(name, self.folder, self.environment(), mutant=self._mutant)
        shutil.copy(self.folder / "keys.json", gateway.ring)
        self.gateways[name] = gateway

    async def _start_fronts(self) -> None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self.certificates.valid)
        publics = [self.gateways[name].ports["public"] for name in AUTHS]
        await self.network.front("public", publics, port=self._public, tls=tls, told_apart=False)
        hooks = [self.gateways[name].ports["hooks"] for name in ADMINS]
        await self.network.front("hooks", hooks, port=self._hooks, told_apart=False)

    async def ready(self, name: str, *, within_s: float = STARTS_S) -> None:
        """Until /readyz answers 200. Raises ``TimeoutError``."""
        async with asyncio.timeout(within_s):
            while not await self.is_ready(name):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.1)

    async def _supervise(self) -> None:
        """As systemd: a gateway that ended by itself is started again."""
        while True:
            for gateway in self.gateways.values():
                if gateway.wanted and not gateway.alive():
                    gateway.restarts += 1
                    gateway.start()
            await asyncio.sleep(RESTART_S)

    async def is_ready(self, name: str) -> bool:
        url = f"http://127.0.0.1:{self.gateways[name].ports['admin']}/readyz"
        try:
            async with self.http.get(url, timeout=aiohttp.ClientTimeout(total=3)) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _stop_gateways(self) -> None:
        for gateway in self.gateways.values():
            gateway.wanted = False
            gateway.send(signal.SIGCONT)
            if gateway.alive():
                assert gateway.process is not None
                gateway.process.terminate()
        for gateway in self.gateways.values():
            if gateway.process is not None:
                await _end(gateway.process)
            gateway.send(signal.SIGKILL)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _end(process: subprocess.Popen[bytes] | Forked) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.to_thread(process.wait, 20)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)
