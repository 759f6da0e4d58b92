"""The whole stand-in cloud in one process: Cognito's pool and further ones, the customers' IdPs,
and the people of the demo.

    async with DemoCloud() as cloud:
        acme = cloud.add_client("acme", providers=["acme-okta"], callback_urls=[…], logout_urls=[…])

The names end in ``.localhost`` and carry the server's port; use ``demo.net.client_session`` to
reach them without a resolver that knows RFC 6761.

``python -m demo.cloud`` runs it alone (``demo/cloud_command.py``), with names and certificates of
your own if you like: to try a production set-up without an AWS account.
"""

from __future__ import annotations

import sys
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from demo.clock import Clock, system_clock
from demo.cognito.attributes import EMAIL_ATTRIBUTES, PROFILE_ATTRIBUTES
from demo.cognito.pool import AppClient, IdentityProvider, random_id
from demo.cognito.server import Cognito
from demo.idp.console import Console
from demo.idp.entra_like import entra_like
from demo.idp.google_directory import GoogleDirectory
from demo.idp.google_like import google_like
from demo.idp.graph import Graph
from demo.idp.okta_events import OktaEvents
from demo.idp.okta_like import okta_like
from demo.idp.saml import SamlFace
from demo.idp.scim_client import ScimClient
from demo.jose import NewKey, SigningKey
from demo.net import Bound, bind, bind_origin, client_session, serve
from demo.timeline import TimeLine

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from aiohttp import ClientSession

    from demo.apps.legacy import LegacyApp
    from demo.idp.face import RegisteredApp
    from demo.idp.provider import IdentityProviderServer

POOL_ID = "eu-north-1_Demo12345"
GLOBEX_TENANT_ID = "6f1c0a52-8a0e-4a6b-9b4e-2d1f3c5a7b90"
CUSTOM_ATTRIBUTES = (
    "custom:groups",
    "custom:roles",
    "custom:oid",
    "custom:idp_iat",
    "custom:hd",
)
READ_ATTRIBUTES = (*sorted(EMAIL_ATTRIBUTES | PROFILE_ATTRIBUTES), *CUSTOM_ATTRIBUTES)
WRITE_ATTRIBUTES = ("email", "name", "preferred_username", *CUSTOM_ATTRIBUTES)
MAPPINGS: Mapping[str, Mapping[str, str]] = {
    "okta": {
        "username": "sub",
        "email": "email",
        "email_verified": "email_verified",
        "name": "name",
        "preferred_username": "preferred_username",
        "custom:groups": "groups",
        "custom:idp_iat": "iat",
    },
    "entra": {
        "username": "sub",
        "email": "email",
        "name": "name",
        "preferred_username": "preferred_username",
        "custom:groups": "groups",
        "custom:roles": "roles",
        "custom:oid": "oid",
        "custom:idp_iat": "iat",
    },
    "google": {
        "username": "sub",
        "email": "email",
        "email_verified": "email_verified",
        "name": "name",
        "custom:hd": "hd",
        "custom:idp_iat": "iat",
    },
}
UPSTREAM_SCOPES = {
    "okta": "openid profile email groups",
    "entra": "openid profile email",
    "google": "openid profile email",
}

Kind = Literal["okta", "entra", "google"]


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer's IdP: the server, what kind it is, and the application registered there for
    Cognito.

    An Okta-like one sends event hooks and keeps a System Log (``okta``); an Entra-like one has a
    Graph (``graph``), a Google-like one a Directory API (``google``).
    """

    name: str
    kind: Kind
    server: IdentityProviderServer
    app: RegisteredApp
    port: int
    console: Console
    okta: OktaEvents | None = None
    graph: Graph | None = None
    google: GoogleDirectory | None = None
    saml: SamlFace | None = None
    """Where the IdP speaks SAML too; Cognito is registered there."""

    @property
    def issuer(self) -> str:
        return self.server.issuer


@dataclass(frozen=True, slots=True)
class Ports:
    """Where to listen; 0 takes a free port."""

    cognito: int = 0
    acme_okta: int = 0
    globex_entra: int = 0


@dataclass(frozen=True, slots=True)
class Origins:
    """Origins of one's own instead of ``http://*.localhost:PORT``: each is listened on where its
    name leads. ``issuer``: of Cognito's tokens, at the same address.
    """

    cognito: str
    issuer: str
    okta: str
    entra: str


class DemoCloud:
    """Starts on entry, stops on exit. With ``people=False`` it has a pool and no customers, with
    ``connected=False`` customers whom the pool does not know yet.
    """

    def __init__(
        self,
        *,
        clock: Clock = system_clock,
        ports: Ports | None = None,
        people: bool = True,
        connected: bool = True,
        origins: Origins | None = None,
        tls: ssl.SSLContext | None = None,
        new_key: NewKey = SigningKey.generate,
    ) -> None:
        self.clock = clock
        self._connected = connected
        self._origins = origins
        self._tls = tls
        self.customers: dict[str, Customer] = {}
        self.time_lines: list[TimeLine] = []
        self._ports = ports or Ports()
        self._people = people
        self._new_key = new_key
        self._stack = AsyncExitStack()
        self._http: ClientSession
        self.cognito: Cognito
        self.further_pools: dict[str, Cognito] = {}

    async def __aenter__(self) -> Self:
        try:
            self._http = await self._stack.enter_async_context(client_session(timeout_s=5))
            mine = self._origins
            bound = bind(self._ports.cognito) if mine is None else await bind_origin(mine.cognito)
            self.cognito = Cognito(
                pool_id=mine.issuer.rpartition("/")[2] if mine else POOL_ID,
                url=mine.cognito if mine else bound.url("cognito.localhost"),
                issuer=mine.issuer if mine else None,
                port=bound.port,
                clock=self.clock,
                http=self._http,
                new_key=self._new_key,
            )
            for name in CUSTOM_ATTRIBUTES:
                self.cognito.pool.add_attribute(name)
            await self._serve(self.cognito.app, bound)
            if self._people:
                await self._settle_people()
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

    async def _settle_people(self) -> None:
        okta = await self.add_idp(
            "acme-okta",
            kind="okta",
            host="okta.localhost",
            port=self._ports.acme_okta,
            origin=self._origins.okta if self._origins else None,
        )
        okta.server.directory.add_person(
            "alice@acme.test", name="Alice Adams", groups=("app-users", "admins")
        )
        okta.server.directory.add_person("bob@acme.test", name="Bob Brown", groups=("app-users",))
        okta.server.directory.add_person("mallory@acme.test", name="Mallory Moore")
        entra = await self.add_idp(
            "globex-entra",
            kind="entra",
            host="entra.localhost",
            port=self._ports.globex_entra,
            tenant_id=GLOBEX_TENANT_ID,
            origin=self._origins.entra if self._origins else None,
        )
        entra.server.directory.add_person(
            "carol@globex.test", name="Carol Clark", groups=("app-users",)
        )
        for customer in (okta, entra) if self._connected else ():
            self.connect(customer)

    async def add_pool(self, name: str, pool_id: str) -> Cognito:
        """A further user pool at ``NAME.cognito.localhost``, with keys, clients, providers and
        users of its own; applications that are registered from now on know its redirect URI too.
        """
        bound = bind()
        made = Cognito(
            pool_id=pool_id,
            url=bound.url(f"{name}.cognito.localhost"),
            port=bound.port,
            clock=self.clock,
            http=self._http,
            # Two pools never have a key in common; spare ones are handed out from the first.
            new_key=SigningKey.generate,
        )
        for attribute in CUSTOM_ATTRIBUTES:
            made.pool.add_attribute(attribute)
        await self._serve(made.app, bound)
        self.further_pools[name] = made
        return made

    # -- customers

    async def add_idp(
        self,
        name: str,
        *,
        kind: Kind,
        host: str | None = None,
        port: int = 0,
        tenant_id: str | None = None,
        issuer: str = "",
        saml: bool = False,
        origin: str | None = None,
    ) -> Customer:
        """Start a customer's IdP at ``{host}`` (``{name}.localhost`` unless given), or at an origin
        of one's own, and register Cognito there. ``issuer``: Okta's path, "/" for a slash at its
        end. ``saml``: it speaks SAML too.
        """
        bound = bind(port) if origin is None else await bind_origin(origin)
        origin = origin or bound.url(host or f"{name}.localhost")
        okta, graph, google = None, None, None
        if kind == "okta":
            server = okta_like(
                name,
                origin=origin,
                port=bound.port,
                clock=self.clock,
                new_key=self._new_key,
                issuer=issuer,
            )
            okta = OktaEvents(server, self._http, clock=self.clock)
            outbox, panel = okta.outbox, okta.panel
        elif kind == "google":
            server = google_like(
                name, origin=origin, port=bound.port, clock=self.clock, new_key=self._new_key
            )
            google = GoogleDirectory(server, self._http, clock=self.clock)
            outbox, panel = google.channels.outbox, google.channels.panel
        else:
            tenant_id = tenant_id or str(uuid.uuid4())
            server = entra_like(
                name,
                origin=origin,
                port=bound.port,
                clock=self.clock,
                tenant_id=tenant_id,
                new_key=self._new_key,
            )
            graph = Graph(server, self._http, tenant_id=tenant_id, clock=self.clock)
            outbox, panel = graph.subscriptions.outbox, graph.subscriptions.panel
        self._stack.push_async_callback(outbox.stop)
        console = Console(
            server,
            outbox,
            new_scim=lambda base, token: ScimClient(
                self._http, server.directory, base=base, token=token, entra=kind == "entra"
            ),
        )
        console.panels.append(panel)
        customer = Customer(
            name=name,
            kind=kind,
            server=server,
            app=server.register(
                *(pool.idp_callback for pool in (self.cognito, *self.further_pools.values()))
            ),
            port=bound.port,
            console=console,
            okta=okta,
            graph=graph,
            google=google,
            saml=self._saml_face(server) if saml else None,
        )
        self.customers[name] = customer
        await self._serve(server.app, bound)
        return customer

    def _saml_face(self, server: IdentityProviderServer) -> SamlFace:
        face = SamlFace(server, clock=self.clock, key=self._new_key().private)
        for pool in (self.cognito, *self.further_pools.values()):
            face.applications[pool.saml.entity_id] = pool.saml.acs
        return face

    def connect(self, customer: Customer, *, identifiers: Iterable[str] = ()) -> IdentityProvider:
        """Make the IdP known to the pool under its name, as the control plane would."""
        provider = IdentityProvider(
            customer.name,
            {
                "ProviderName": customer.name,
                "ProviderType": "OIDC",
                "ProviderDetails": {
                    "client_id": customer.app.client_id,
                    "client_secret": customer.app.client_secret,
                    "attributes_request_method": "GET",
                    "oidc_issuer": customer.issuer.removesuffix("/"),
                    "authorize_scopes": UPSTREAM_SCOPES[customer.kind],
                    "attributes_url_add_attributes": "false",
                },
                "AttributeMapping": dict(MAPPINGS[customer.kind]),
                "IdpIdentifiers": list(identifiers),
            },
            created=self.clock(),
            modified=self.clock(),
        )
        self.cognito.pool.providers[provider.name] = provider
        return provider

    def add_client(
        self,
        name: str,
        *,
        providers: Iterable[str],
        callback_urls: Iterable[str],
        logout_urls: Iterable[str],
        client_id: str | None = None,
        **settings: Any,
    ) -> AppClient:
        """An app client with a secret and the settings the gateway recommends; ``settings`` are
        AWS's own names.
        """
        client = AppClient(
            client_id=client_id or random_id(26),
            secret=random_id(51),
            settings={
                "ClientName": name,
                "SupportedIdentityProviders": list(providers),
                "CallbackURLs": list(callback_urls),
                "LogoutURLs": list(logout_urls),
                "AllowedOAuthFlowsUserPoolClient": True,
                "AllowedOAuthFlows": ["code"],
                "AllowedOAuthScopes": ["openid"],
                "ReadAttributes": list(READ_ATTRIBUTES),
                "WriteAttributes": list(WRITE_ATTRIBUTES),
                "ExplicitAuthFlows": ["ALLOW_USER_SRP_AUTH"],
                "PreventUserExistenceErrors": "ENABLED",
                "EnableTokenRevocation": True,
                "RefreshTokenRotation": {"Feature": "ENABLED", "RetryGracePeriodSeconds": 30},
                "AccessTokenValidity": 15,
                "IdTokenValidity": 15,
                "RefreshTokenValidity": 1,
                "TokenValidityUnits": {
                    "AccessToken": "minutes",
                    "IdToken": "minutes",
                    "RefreshToken": "days",
                },
                **settings,
            },
            created=self.clock(),
            modified=self.clock(),
        )
        self.cognito.pool.clients[client.client_id] = client
        return client

    # -- applications

    async def add_app(self, app: LegacyApp, *, port: int = 0) -> Bound:
        """Start an application to protect; it ends with the cloud."""
        bound = bind(port)
        await self._serve(app.app, bound)
        return bound

    async def show_time_lines(self, *, admin_url: str, key: str) -> list[TimeLine]:
        """Let each console show how long a click took to reach the last replica of the gateway
        behind this admin API.
        """
        for customer in self.customers.values() if not self.time_lines else ():
            line = TimeLine(customer.server.directory, self._http, admin_url=admin_url, key=key)
            customer.console.panels.append(line.panel)
            await self._stack.enter_async_context(line.running())
            self.time_lines.append(line)
        return self.time_lines

    async def _serve(self, app: Any, bound: Bound) -> None:
        runner = await serve(app, bound, tls=self._tls)
        self._stack.push_async_callback(runner.cleanup)


if __name__ == "__main__":
    # Here, so that nothing that imports the cloud imports its command.
    from demo.cloud_command import main

    sys.exit(main())
