"""The whole product on loopback: the stand-in cloud, applications, the gateway, and an ingress in
front.

Used by ``scripts/demo`` and by the tests, so that both run the files in ``config/`` and
``deploy/``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from demo.apps.legacy import LegacyApp
from demo.apps.webhooks import standard_webhook
from demo.cloud import DemoCloud, Ports
from demo.idp.console import Panel
from demo.ingress import LAUNCHERS, RunningIngress, start
from demo.jose import SigningKey
from demo.mailbox import Mailbox
from demo.net import bind, serve
from demo.processes import die_with_parent, free_port, launch, stop_process, wait_ready

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from demo.cloud import Customer
    from demo.jose import NewKey
    from demo.processes import Launch, Process
    from demo.timeline import TimeLine

ROOT = Path(__file__).parents[1]
"""Of the checkout, or of ``gateway_demo`` in an installed wheel: it holds ``demo`` and ``config``.
"""
CANONICAL_PORTS = {
    "ingress": 8000,
    "public": 8080,
    "check": 8081,
    "admin": 8082,
    "hooks": 8083,
    "pages": 8084,
    "cognito": 9000,
    "legacy": 9100,
}
"""Of what is no customer's identity provider."""
IDP_PORTS = {9001: "acme-okta", 9002: "globex-entra", 9003: "hooli-okta", 9004: "hooli-entra"}
"""As written in ``config/``. The demo replaces them by ports that are free."""
HOSTS = {
    "acme": "acme",
    "globex": "globex",
    "hooli": "hooli",
    "shared": "app",
    "login": "login",
    "calendar": "calendar.acme",
}
"""Name in ``--describe`` → first part of the host."""
ACME_OKTA_CLIENT, GLOBEX_ENTRA_CLIENT = (
    "0oaACMEDEMOCLIENT000",
    "11111111-2222-4333-8444-555555555555",
)
"""As written in ``config/tenants``; the stand-in identity providers make their own."""
HOOLI_DIRECTORY = "0c5d2f7e-3b1a-4d68-8f27-9a4b6c1e5d30"
MACHINE_CLIENT = "acmemachine0000000000000"
INITECH_HOST = "initech.localhost"
"""Of the tenant that the demo onboards by one call; the ingress passes it on from the start."""
CONSOLE_HOST = "console.localhost"
OPERATOR = "dana@example-cloud.test"
CONSOLE = """
console:                        # what operators work with in a browser, behind the check
  host: console.localhost
  tenant: operators             # whose people are operators, and nobody else's
  groups:                       # what the members of a group may do
    platform-admins: [operator]
    support: [tenants:read, sessions:read, sessions:revoke]
    auditors: [tenants:read, audit:read]
    acme-team: {scopes: [tenants:read, sessions:read, sessions:revoke], tenants: [acme]}
  contact: platform@example-cloud.test
"""
SETUP = """
setup:                          # links by which a customer's administrator connects themselves
  enabled: true
  approval: none                # in the demo the recipient goes live
  support: support@example-cloud.test
"""
SETUP_RECIPIENT = "it@initech.test"
SETUP_PARTS = ("sign_in", "access", "domains", "offboarding", "maintain")
INITECH_DIRECTORY = "5b0c9a4e-7d21-4f3a-9c68-1e2f3a4b5c6d"
MAIL = """
mail:                           # into the demo's mailbox; without this section links are copied
  host: 127.0.0.1
  port: MAIL_PORT
  tls: none                     # on this machine only
  sender: gateway@example-cloud.test
  operators: [dana@example-cloud.test]
"""
OPERATORS = """\
id: operators
name: Example Cloud operators
hosts: [console.localhost]
email_domains: [example-cloud.test]
allowed_groups: [platform-admins, support, auditors, acme-team]
client_id: operatorsdemo00000000000
client_secret: env:OPERATORS_CLIENT_SECRET
providers:
  - {name: operators-okta, kind: okta, issuer: "ISSUER"}
"""
OPERATORS_PEOPLE = {
    OPERATOR: ("Dana Diaz", "platform-admins"),
    "sam@example-cloud.test": ("Sam Stone", "support"),
    "audrey@example-cloud.test": ("Audrey Ames", "auditors"),
    "tom@example-cloud.test": ("Tom Tran", "acme-team"),
    "nora@example-cloud.test": ("Nora Nash", "sales"),
}
GLOBEX_GROUP = "2f0c1a57-6a1e-4c39-9d0b-5d8f2b7f4e11"
"""As written in ``config/tenants/globex.yaml``; the demo's directory makes its own."""


async def _application(customer: Customer) -> Panel:
    """What an administrator copies from their identity provider."""
    rows = [
        ("Issuer", customer.issuer),
        ("Client ID", customer.app.client_id),
        ("Client secret", customer.app.client_secret),
    ]
    if customer.saml is not None:
        rows.append(("Metadata URL", customer.saml.metadata_url))
    return Panel("application", "Application for single sign-on", tuple(rows))


@dataclass(slots=True)
class Replica:
    """One running gateway. ``ports`` by listener."""

    process: Process
    ports: Mapping[str, int]
    log: Path


@dataclass(slots=True)
class World:
    """Start with ``async with``. ``directory`` holds configuration, state and logs; it is the
    caller's to remove.
    """

    directory: Path
    ingress: str | None = None
    port: int = 0
    replicas: int = 1
    workers: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    """More ``GATEWAY_…`` settings."""
    central: bool = True
    """With ``login_host``, as the files say; False takes that line away: one callback for each
    host.
    """
    new_key: NewKey = SigningKey.generate
    launch: Launch = launch
    """Where the cloud's servers get their signing keys."""
    console: bool = False
    """With the operators' console, their tenant and its identity provider."""
    applications: Mapping[str, int] = field(default_factory=dict)
    """More protected hosts of acme, and the port of the application behind each."""
    cloud: DemoCloud = field(init=False)
    apps: dict[str, int] = field(init=False, default_factory=dict)
    """Port of each application."""
    gateways: list[Replica] = field(init=False, default_factory=list)
    ingress_key: str = field(init=False, default_factory=lambda: secrets.token_hex(32), repr=False)
    secrets: dict[str, str] = field(init=False, default_factory=dict, repr=False)
    admin_key: str = field(init=False, default="", repr=False)
    setup: dict[str, str] = field(init=False, default_factory=dict, repr=False)
    """Initech's setup link, once it was made."""
    console_link: str = field(init=False, default="", repr=False)
    """Opens the console once, within a quarter of an hour; "" until it was made."""
    machine_secret: str = field(init=False, default="", repr=False)
    """Of ``MACHINE_CLIENT``, an app client for client_credentials."""
    ports: dict[str, int] = field(init=False, default_factory=dict)
    """Of the first replica, by listener, as its configuration says; the others' are in their
    environment.
    """
    mailbox: Mailbox = field(init=False, default_factory=Mailbox)
    mail_port: int = field(init=False, default=0)
    mail_page: str = field(init=False, default="")
    """Address of the page that shows what is in ``mailbox``."""
    legacy: LegacyApp = field(init=False)
    _proxy: RunningIngress | None = field(init=False, default=None)
    _stack: AsyncExitStack = field(init=False, default_factory=AsyncExitStack)

    @property
    def config_path(self) -> Path:
        return self.directory / "config" / "gateway.yaml"

    @property
    def ingress_pid(self) -> int:
        """Process id of the ingress, which must be running."""
        if self._proxy is None:
            raise RuntimeError("no ingress is running")
        return self._proxy.pid

    def url(self, host: str) -> str:
        """Origin of a protected host, as a browser types it."""
        return f"http://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if not self.port:
                self.port = free_port()
            self.cloud = await self._stack.enter_async_context(
                DemoCloud(ports=Ports(), new_key=self.new_key)
            )
            self.legacy = LegacyApp()
            self.apps["legacy"] = (await self.cloud.add_app(self.legacy)).port
            await self._settle_hooli()
            await self._settle_initech()
            if self.console:
                await self._settle_operators()
                await self._open_mailbox()
            listeners = ("check", "public", "admin", "hooks", *(["pages"] if self.console else []))
            self.ports = {name: free_port() for name in listeners}
            if self.ingress is None:
                self.ports["public"] = self.port
            self._make_secrets()
            self._register_clients()
            self._write_secrets()
            self._write_config()
            await self._start_calendar()
            for number in range(self.replicas):
                await self._start_gateway(number)
            if self.ingress is not None:
                await self._start_ingress(self.ingress)
            await self._register_hooks()
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

    # --- configuration -----------------------------------------------------------------------

    async def _settle_hooli(self) -> None:
        """A customer with two identity providers."""
        okta = await self.cloud.add_idp("hooli-okta", kind="okta")
        okta.server.directory.add_person("erin@hooli.test", name="Erin Evans", groups=("staff",))
        entra = await self.cloud.add_idp("hooli-entra", kind="entra", tenant_id=HOOLI_DIRECTORY)
        entra.server.directory.add_person(
            "frank@hooli-labs.test", name="Frank Fox", groups=("labs",)
        )
        for customer in (okta, entra):
            self.cloud.connect(customer)

    async def _settle_initech(self) -> None:
        """A customer who is not onboarded yet: an identity provider with an application for
        Cognito, and nothing anywhere else.
        """
        okta = await self.cloud.add_idp("initech-okta", kind="okta", saml=True)
        entra = await self.cloud.add_idp("initech-entra", kind="entra", tenant_id=INITECH_DIRECTORY)
        for customer in (okta, entra):
            customer.server.directory.add_person(
                "peter@initech.test", name="Peter Parks", groups=("app-users",)
            )
            customer.console.panels.append(partial(_application, customer))

    async def _settle_operators(self) -> None:
        """Who runs the gateway, at an identity provider of their own."""
        okta = await self.cloud.add_idp("operators-okta", kind="okta")
        for email, (name, group) in OPERATORS_PEOPLE.items():
            okta.server.directory.add_person(email, name=name, groups=(group,))
        self.cloud.connect(okta)

    async def _open_mailbox(self) -> None:
        self.mail_port = await self._stack.enter_async_context(self.mailbox.serving())
        bound = bind()
        runner = await serve(self.mailbox.page(), bound)
        self._stack.push_async_callback(runner.cleanup)
        self.mail_page = f"{bound.url()}/"

    @property
    def onboarding(self) -> dict[str, Any]:
        """The one call that onboards Initech, as their administrator's few facts."""
        customer = self.cloud.customers["initech-okta"]
        provider = {
            "client_id": customer.app.client_id,
            "client_secret": customer.app.client_secret,
            "oidc_issuer": customer.issuer,
        }
        body = {
            "provider": provider,
            "group": "app-users",
            "allowed_domain": "initech.test",
            "hosts": [INITECH_HOST],
        }
        url = (
            f"http://127.0.0.1:{self.gateways[0].ports['admin']}/admin/v1/tenants/initech/provision"
        )
        return {
            "method": "POST",
            "url": url,
            "body": body,
            "then": self.url(INITECH_HOST),
            "email": "peter@initech.test",
        }

    @property
    def saml_onboarding(self) -> dict[str, Any]:
        """The same customer by SAML."""
        customer = self.cloud.customers["initech-okta"]
        if customer.saml is None:
            raise RuntimeError("the demo's Initech speaks SAML too")
        onboarding = self.onboarding
        provider = {"kind": "saml", "metadata_url": customer.saml.metadata_url}
        return {**onboarding, "body": {**onboarding["body"], "provider": provider}}

    def _make_secrets(self) -> None:
        okta, entra = self.cloud.customers["acme-okta"], self.cloud.customers["globex-entra"]
        if okta.okta is None or entra.graph is None:
            raise RuntimeError("the demo's customers are an Okta and an Entra directory")
        self.secrets |= {
            "ACME_HOOK_SECRET": secrets.token_urlsafe(24),
            "ACME_OKTA_API_TOKEN": okta.okta.log.api_token,
            "ACME_WEBHOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
            "GLOBEX_HOOK_SECRET": secrets.token_urlsafe(24),
            "GLOBEX_GRAPH_SECRET": entra.app.client_secret,
            "GLOBEX_WEBHOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
        }
        verifiers = [
            standard_webhook(self.secrets[f"{name}_WEBHOOK_SECRET"], clock=self.cloud.clock)
            for name in ("ACME", "GLOBEX")
        ]
        self.legacy.verify = lambda headers, body: any(
            verify(headers, body) for verify in verifiers
        )

    def hook_url(self, kind: str, tenant: str, provider: str) -> str:
        """Where an identity provider sends its events."""
        return (
            f"http://127.0.0.1:{self.gateways[0].ports['hooks']}/hooks/{kind}/{tenant}/{provider}"
        )

    async def _register_hooks(self) -> None:
        """What the customer's administrator ticks in Okta. Entra's subscriptions the gateway makes
        by itself.
        """
        okta = self.cloud.customers["acme-okta"]
        if okta.okta is not None:
            await okta.okta.register(
                self.hook_url("okta", "acme", "acme-okta"), secret=self.secrets["ACME_HOOK_SECRET"]
            )

    async def show_time_lines(self) -> list[TimeLine]:
        """Let the consoles show how long a click takes to reach the last replica."""
        return await self.cloud.show_time_lines(
            admin_url=f"http://127.0.0.1:{self.gateways[0].ports['admin']}",
            key=await self.make_admin_key(),
        )

    def _register_clients(self) -> None:
        """The app clients that a provisioned pool would have, under the ids that ``config/tenants``
        names.
        """
        for tenant, client_id, providers, hosts in (
            (
                "acme",
                "acmedemo0000000000000000",
                ["acme-okta"],
                ["acme.localhost", "calendar.acme.localhost", *self.applications],
            ),
            ("globex", "globexdemo00000000000000", ["globex-entra"], ["globex.localhost"]),
            (
                "hooli",
                "hoolidemo000000000000000",
                ["hooli-okta", "hooli-entra"],
                ["hooli.localhost"],
            ),
            ("inactive", "inactivedemo000000000000", ["acme-okta"], ["inactive.localhost"]),
            *(
                [("operators", "operatorsdemo00000000000", ["operators-okta"], [CONSOLE_HOST])]
                if self.console
                else []
            ),
        ):
            everywhere = [*hosts, "app.localhost", "login.localhost"]
            client = self.cloud.add_client(
                tenant,
                providers=providers,
                callback_urls=[f"{self.url(h)}/_auth/callback" for h in everywhere],
                logout_urls=[f"{self.url(h)}/_auth/signed-out" for h in everywhere],
                client_id=client_id,
            )
            self.secrets[f"{tenant.upper()}_CLIENT_SECRET"] = client.secret or ""
        self.cloud.cognito.pool.resource_scopes |= {"acme/read", "acme/write"}
        machine = self.cloud.add_client(
            "acme-machine",
            providers=[],
            callback_urls=[],
            logout_urls=[],
            client_id=MACHINE_CLIENT,
            AllowedOAuthFlows=["client_credentials"],
            AllowedOAuthScopes=["acme/read", "acme/write"],
        )
        self.machine_secret = machine.secret or ""

    @property
    def _cognito_port(self) -> int:
        port = urlsplit(self.cloud.cognito.url).port
        if port is None:
            raise ValueError(self.cloud.cognito.url)
        return port

    def _write_secrets(self) -> None:
        """One file for each, which the configuration names: so every command works beside the demo
        from any folder, without its environment.
        """
        folder = self.directory / "secrets"
        folder.mkdir(mode=0o700, exist_ok=True)
        for name, value in {**self.secrets, "GATEWAY_INGRESS_KEY": self.ingress_key}.items():
            value = self.environment.get(name, value)  # noqa: PLW2901 - a test may know better
            file = folder / name
            file.touch(mode=0o600)
            file.write_text(value, "utf-8")

    def _write_config(self) -> None:
        ports = {
            **{CANONICAL_PORTS[name]: port for name, port in self.ports.items()},
            CANONICAL_PORTS["ingress"]: self.port,
            CANONICAL_PORTS["cognito"]: self._cognito_port,
            CANONICAL_PORTS["legacy"]: self.apps["legacy"],
            **{port: self.cloud.customers[name].port for port, name in IDP_PORTS.items()},
        }
        group = next(iter(self.cloud.customers["globex-entra"].server.directory.groups.values())).id
        sources = {
            source.relative_to(ROOT): source.read_text("utf-8")
            for source in sorted((ROOT / "config").rglob("*.yaml"))
        }
        if self.console:
            issuer = self.cloud.customers["operators-okta"].issuer
            sources[Path("config/gateway.yaml")] += (
                SETUP + CONSOLE + MAIL.replace("MAIL_PORT", str(self.mail_port))
            )
            sources[Path("config/tenants/operators.yaml")] = OPERATORS.replace("ISSUER", issuer)
        for name, source in sources.items():
            text = re.sub(r"\b\d{4}\b", lambda m: str(ports.get(int(m[0]), m[0])), source)
            for written, made in {
                GLOBEX_GROUP: group,
                ACME_OKTA_CLIENT: self.cloud.customers["acme-okta"].app.client_id,
                GLOBEX_ENTRA_CLIENT: self.cloud.customers["globex-entra"].app.client_id,
            }.items():
                text = text.replace(written, made)
            text = re.sub(
                r"\benv:([A-Z_]+)",
                lambda m: (
                    json.dumps(f"file:{self.directory / 'secrets' / m[1]}")
                    if (self.directory / "secrets" / m[1]).is_file()
                    else m[0]
                ),
                text,
            )
            state, tenants = self.directory / "state", self.directory / "config" / "tenants"
            text = text.replace(
                "state_dir: ./state", f"state_dir: {json.dumps(str(state))}"
            ).replace("directory: config/tenants", f"directory: {json.dumps(str(tenants))}")
            if not self.central:
                text = re.sub(r"^login_host:.*$", "", text, flags=re.MULTILINE)
            target = self.directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")

    # --- processes ---------------------------------------------------------------------------

    def gateway_environment(self, ports: Mapping[str, int]) -> dict[str, str]:
        """The process environment: secrets travel here, never in arguments."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")},
            **self.secrets,
            **{
                f"GATEWAY_LISTEN__{name.upper()}": f"127.0.0.1:{port}"
                for name, port in ports.items()
            },
            "GATEWAY_HOOKS__URL": f"http://127.0.0.1:{ports['hooks']}",
            "PYTHONPATH": str(ROOT),
            **self.environment,
        }

    async def _start_gateway(self, number: int, *, role: str | None = None) -> None:
        ports = self.ports if number == 0 else {name: free_port() for name in self.ports}
        log = self.directory / f"gateway-{number}.log"
        role = role or ("all" if number == 0 else "auth")
        with log.open("wb") as output:
            process = await self.launch(
                *("serve", "-c", "config/gateway.yaml"),
                *("--role", role, "--workers", str(self.workers)),
                cwd=self.directory,
                environment=self.gateway_environment(ports),
                stdout=output.fileno(),
                stderr=output.fileno(),
            )
        replica = Replica(process, ports, log)
        self.gateways.append(replica)
        self._stack.push_async_callback(stop_process, process)
        await wait_ready(ports["admin"], process, log)

    async def _start_calendar(self) -> None:
        """Radicale, a calendar server from PyPI, unmodified: it takes its user from the header
        X-Remote-User.
        """
        if self.ingress is None:
            return
        port = free_port()
        with (self.directory / "calendar.log").open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "radicale",
                "--config",
                "",
                "--server-hosts",
                f"127.0.0.1:{port}",
                "--auth-type",
                "http_x_remote_user",
                "--storage-filesystem-folder",
                str(self.directory / "calendars"),
                "--web-type",
                "none",
                cwd=self.directory,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
            )
        self._stack.push_async_callback(stop_process, process)
        self.apps["calendar"] = port

    async def _start_ingress(self, kind: str) -> None:
        """Render the configuration as an operator would, with the command, and start the proxy with
        it.
        """
        folder = self.directory / kind
        upstreams = {"calendar.acme.localhost": self.apps["calendar"], **self.applications}
        await self.command(
            "ingress",
            "render",
            kind,
            "-c",
            "config/gateway.yaml",
            "--listen",
            f"127.0.0.1:{self.port}",
            "--upstream",
            f"127.0.0.1:{self.apps['legacy']}",
            *(
                word
                for host, port in upstreams.items()
                for word in ("--upstream", f"{host}=127.0.0.1:{port}")
            ),
            "--force",
            "-o",
            str(folder),
        )
        files = {path.name: path.read_text("utf-8") for path in folder.iterdir() if path.is_file()}
        running = await asyncio.to_thread(
            start, LAUNCHERS[kind], files, directory=folder, port=self.port, host="acme.localhost"
        )
        self._stack.callback(running.stop)
        self._proxy = running

    async def change_ingress(self, kind: str) -> None:
        """Another proxy at the same address, before the same gateway and applications."""
        if kind != self.ingress and self._proxy is not None:
            self._proxy.stop()
            self.ingress = kind
            await self._start_ingress(kind)

    async def stop_gateways(self, signum: int = signal.SIGTERM) -> None:
        """End all gateways now, as an operator or a crash would."""
        for replica in self.gateways:
            with contextlib.suppress(ProcessLookupError):
                replica.process.send_signal(signum)
        for replica in self.gateways:
            await replica.process.wait()
        self.gateways.clear()

    async def start_gateways(self) -> None:
        for number in range(self.replicas):
            await self._start_gateway(number)

    async def command(self, *arguments: str) -> str:
        """Run ``gateway …`` beside the running gateway, if one runs; its standard output. Raises
        ``RuntimeError`` with what it said if it fails.
        """
        ports = self.gateways[0].ports if self.gateways else self.ports
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = await self.launch(
                *arguments,
                cwd=self.directory,
                environment=self.gateway_environment(ports),
                stdout=out.fileno(),
                stderr=err.fileno(),
            )
            code = await process.wait()
            out.seek(0)
            err.seek(0)
            if code != 0:
                said = err.read().decode(errors="replace")
                msg = f"gateway {' '.join(arguments[:2])} failed:\n{said}"
                raise RuntimeError(msg)
            return out.read().decode()

    async def make_admin_key(self) -> str:
        """A bearer key for everything, made with the command; the same one when asked again."""
        if not self.admin_key:
            made = json.loads(
                await self.command("admin-keys", "create", "demo", "--scope", "operator", "--json")
            )
            self.admin_key = made["key"]
        return self.admin_key

    async def make_setup_link(self) -> dict[str, str]:
        """A link for Initech's administrator, made with the command: ``address``, ``phrase`` and
        ``recipient``.
        """
        arguments = [
            *("--name", "Initech", "--host", INITECH_HOST, "--email-domain", "initech.test"),
            *("--recipient", SETUP_RECIPIENT, "--confirm", "phrase", "--json"),
            *(part for name in SETUP_PARTS for part in ("--part", name)),
        ]
        made = json.loads(await self.command("setup-links", "create", "initech", *arguments))
        link = {name: str(made[name]) for name in ("address", "phrase")}
        self.setup = {**link, "recipient": SETUP_RECIPIENT}
        return self.setup

    async def make_console_link(self) -> str:
        """What opens the console once, made with the command."""
        made = json.loads(await self.command("console", "link", "--json"))
        self.console_link = str(made["url"])
        return self.console_link

    def describe(self) -> dict[str, Any]:
        """What a script needs to drive the demo (``--describe``)."""
        customers = self.cloud.customers
        return {
            "ingress": self.ingress,
            "hosts": {name: self.url(f"{host}.localhost") for name, host in HOSTS.items()},
            "replicas": [
                {
                    "check": f"http://127.0.0.1:{r.ports['check']}",
                    "public": f"http://127.0.0.1:{r.ports['public']}",
                }
                for r in self.gateways
            ],
            "ingress_key": self.ingress_key,
            "admin": {
                "url": f"http://127.0.0.1:{self.gateways[0].ports['admin']}",
                "key": self.admin_key,
            },
            "cognito": {
                "url": self.cloud.cognito.url,
                "user_pool_id": self.cloud.cognito.pool.pool_id,
            },
            "setup": self.setup,
            "idps": {
                name: {"url": c.issuer, "console": f"{c.server.origin}/console", "kind": c.kind}
                for name, c in customers.items()
            },
            "users": [
                {
                    "email": p.email,
                    "password": "demo",
                    "provider": name,
                    "groups": [g.name for g in c.server.directory.groups_of(p)],
                }
                for name, c in customers.items()
                for p in c.server.directory.people.values()
            ],
            "hooks": {
                "acme-okta": {
                    "url": self.hook_url("okta", "acme", "acme-okta"),
                    "header": "Authorization",
                    "secret": self.secrets["ACME_HOOK_SECRET"],
                },
                "globex-entra": {
                    "url": self.hook_url("entra", "globex", "globex-entra"),
                    "header": "clientState",
                    "secret": self.secrets["GLOBEX_HOOK_SECRET"],
                },
            },
            "console": {
                "url": f"{self.url(CONSOLE_HOST)}/",
                "operator": OPERATOR,
                "link": self.console_link,
            }
            if self.console
            else None,
            "mailbox": self.mail_page or None,
            "onboarding": self.onboarding,
            "config": str(self.config_path),
            "pids": {"gateway": [r.process.pid for r in self.gateways]},
        }


def dump(description: Mapping[str, Any], path: Path) -> None:
    """Written whole, then moved: a script that waits for the file never reads half of it."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)  # it holds the keys of everything
    temporary.write_text(json.dumps(description, indent=1), "utf-8")
    shutil.move(temporary, path)
