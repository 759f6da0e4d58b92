"""The stand-in for Cognito and the customers' identity providers as a process of its own, with its
fault switches over HTTP.

``python -m tests.soak.chaos.host MACHINE tests.soak.chaos.cloud SETTINGS``: a JSON object
(``Settings``). The control listener is for the soak: it answers on loopback and asks for no key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from demo.cloud import DemoCloud, Origins
from demo.cognito.control.faults import drop_connection, hang, internal_error, throttle
from demo.faults import status, throttled
from demo.idp.scim_client import ScimClient, ScimRefusedError
from demo.jose import SigningKey, TokenDraft
from demo.net import bind, client_session, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.cloud import Customer
    from demo.faults import Answer, Faults

ENDPOINTS: Final = (
    "authorize",
    "discovery",
    "idpresponse",
    "jwks",
    "login",
    "logout",
    "revoke",
    "token",
    "userinfo",
    "graph",
    "groups",
    "logs",
)
LAG_S: Final = 1.5
MANY: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Origins end in ports of their own; ``people`` by provider: address and groups of each.
    ``hooli`` and ``initech`` are Okta-like, and Cognito does not know the second one.
    """

    cognito: str
    issuer: str
    okta: str
    entra: str
    hooli: str
    initech: str
    control: int
    valid: str
    expired: str
    people: dict[str, list[tuple[str, tuple[str, ...]]]]


def lie_about_audience(draft: TokenDraft) -> TokenDraft:
    return draft.with_claims(aud="somebody-elses-client", client_id="somebody-elses-client")


def lie_about_issuer(draft: TokenDraft) -> TokenDraft:
    return draft.with_claims(iss="https://evil.chaos.test/pool")


def lie_about_nonce(draft: TokenDraft) -> TokenDraft:
    return draft.with_claims(nonce="another-browsers-nonce")


def lie_about_signature(draft: TokenDraft) -> str:
    """A key of its own, under the id of the right one."""
    other = SigningKey(draft.key.kid, _OTHER.private)
    return TokenDraft(draft.use, draft.claims, other, draft.headers, draft.algorithm).sign()


def lie_without_signature(draft: TokenDraft) -> str:
    return TokenDraft(draft.use, draft.claims, draft.key, draft.headers, None).sign()


_OTHER = SigningKey.generate()
LIES: Final[dict[str, Callable[[TokenDraft], TokenDraft | str]]] = {
    "audience": lie_about_audience,
    "issuer": lie_about_issuer,
    "nonce": lie_about_nonce,
    "signature": lie_about_signature,
    "no signature": lie_without_signature,
}
"""What a token says that nobody may believe."""


async def _late(_: web.Request) -> None:
    await asyncio.sleep(LAG_S)


class Control:
    """The switches."""

    def __init__(self, cloud: DemoCloud, tls: ssl.SSLContext, settings: Settings) -> None:
        self._cloud, self._tls, self._settings = cloud, tls, settings
        self._silent = asyncio.Event()
        self._scim: dict[str, ScimClient] = {}
        self._http = client_session(timeout_s=5)
        self.app = web.Application()
        self.app.router.add_post("/fault", self.fault)
        self.app.router.add_post("/heal", self.heal)
        self.app.router.add_post("/certificate", self.certificate)
        self.app.router.add_post("/client", self.client)
        self.app.router.add_post("/hook", self.hook)
        self.app.router.add_post("/action", self.action)
        self.app.router.add_post("/scim", self.scim)
        self.app.router.add_get("/events", self.events)
        self.app.router.add_get("/pool", self.pool)
        self.app.router.add_get("/describe", self.describe)

    def _servers(self, name: str) -> list[Faults]:
        if name == "cognito":
            return [self._cloud.cognito.faults]
        if name == "idps":
            return [customer.server.faults for customer in self._cloud.customers.values()]
        raise web.HTTPNotFound(text=name)

    async def _hang(self, _: web.Request) -> None:
        await self._silent.wait()

    async def fault(self, request: web.Request) -> web.Response:
        """``server``: cognito, idps or control; ``fault``: throttle, lag, hang, fail, lose, or a
        lie.
        """
        asked = await request.json()
        server, fault = asked["server"], asked["fault"]
        if server == "control":
            faults = self._cloud.cognito.control.faults
            planned = {
                "throttle": throttle,
                "fail": internal_error,
                "lose": drop_connection,
                "hang": hang(self._silent),
                "lag": _late,
            }[fault]
            faults.plan("*", planned, after=fault == "lose", times=MANY)
        elif fault in LIES:
            for faults_of in self._servers(server):
                faults_of.spoil_token = LIES[fault]
        else:
            answer: Answer = {
                "throttle": throttled(retry_after_s=2),
                "fail": status(500, "the stand-in fails"),
                "hang": self._hang,
                "lag": _late,
            }[fault]
            for faults_of in self._servers(server):
                for endpoint in ENDPOINTS:
                    faults_of.always(endpoint, answer)
        return web.json_response({})

    async def heal(self, _: web.Request) -> web.Response:
        self._silent.set()
        self._silent = asyncio.Event()
        for name in ("cognito", "idps"):
            for faults in self._servers(name):
                faults.clear()
        self._cloud.cognito.control.faults.clear()
        self._tls.load_cert_chain(self._settings.valid)
        return web.json_response({})

    async def certificate(self, _: web.Request) -> web.Response:
        self._tls.load_cert_chain(self._settings.expired)
        return web.json_response({})

    async def client(self, request: web.Request) -> web.Response:
        """An app client, as somebody made it in the pool by hand."""
        asked = await request.json()
        made = self._cloud.add_client(
            asked["name"],
            providers=asked["providers"],
            callback_urls=asked["callbacks"],
            logout_urls=asked["logouts"],
        )
        return web.json_response({"id": made.client_id, "secret": made.secret})

    async def hook(self, request: web.Request) -> web.Response:
        """What the customer's administrator registers in Okta."""
        asked = await request.json()
        okta = self._customer(asked["provider"]).okta
        assert okta is not None
        hook = await okta.register(asked["url"], secret=asked["secret"])
        return web.json_response({"verified": hook.verified})

    def _customer(self, name: str) -> Customer:
        return self._cloud.customers[name]

    async def action(self, request: web.Request) -> web.Response:
        """A click in a provider's console; the id of the event where there is a log of them."""
        asked = await request.json()
        customer = self._customer(asked["provider"])
        directory = customer.server.directory
        person = directory.by_email(asked["email"])
        assert person is not None
        log = [] if customer.okta is None else customer.okta.log.events
        before = len(log)
        await {
            "suspend": directory.suspend,
            "unsuspend": directory.unsuspend,
            "deactivate": directory.deactivate,
            "activate": directory.activate,
        }[asked["action"]](person)
        return web.json_response({"event": log[before]["uuid"] if len(log) > before else ""})

    async def scim(self, request: web.Request) -> web.Response:
        """One provisioning cycle; 502 where the gateway did not take all of it."""
        asked = await request.json()
        customer = self._customer(asked["provider"])
        client = self._scim.get(customer.name)
        if client is None:
            client = self._scim[customer.name] = ScimClient(
                self._http,
                customer.server.directory,
                base=asked["base"],
                token=asked["token"],
                entra=customer.kind == "entra",
            )
        before = len(client.requests)
        try:
            await client.cycle()
        except (ScimRefusedError, OSError, TimeoutError) as error:
            return web.json_response({"error": str(error)}, status=502)
        return web.json_response({"requests": client.requests[before:]})

    async def events(self, _: web.Request) -> web.Response:
        """Every event of the System Log, and how each attempt to send one was answered."""
        okta = self._customer("acme-okta").okta
        assert okta is not None
        return web.json_response(
            {
                "log": [[e["uuid"], e["eventType"]] for e in okta.log.events],
                "sent": [[s.what, s.status] for s in okta.outbox.sent],
            }
        )

    async def pool(self, _: web.Request) -> web.Response:
        pool = self._cloud.cognito.pool
        return web.json_response(
            {"client": sorted(pool.clients), "provider": sorted(pool.providers)}
        )

    async def describe(self, _: web.Request) -> web.Response:
        """What tenants' documents name."""
        return web.json_response(
            {
                name: {
                    "client_id": customer.app.client_id,
                    "client_secret": customer.app.client_secret,
                    "issuer": customer.issuer,
                    "api_token": customer.okta.log.api_token if customer.okta else "",
                    "groups": {
                        group.name: group.id for group in customer.server.directory.groups.values()
                    },
                }
                for name, customer in self._cloud.customers.items()
            }
        )

    async def close(self) -> None:
        self._silent.set()
        await self._http.close()


async def run(settings: Settings) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(settings.valid)
    # A resumed session would show no certificate, and so none that has expired.
    tls.options |= ssl.OP_NO_TICKET
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    origins = Origins(settings.cognito, settings.issuer, settings.okta, settings.entra)
    async with DemoCloud(origins=origins, tls=tls) as cloud:
        cloud.connect(await cloud.add_idp("hooli-okta", kind="okta", origin=settings.hooli))
        await cloud.add_idp("initech-okta", kind="okta", origin=settings.initech)
        for provider, people in settings.people.items():
            for email, groups in people:
                cloud.customers[provider].server.directory.add_person(
                    email, name=email.partition("@")[0].title() + " Person", groups=tuple(groups)
                )
        control = Control(cloud, tls, settings)
        runner = await serve(control.app, bind(settings.control))
        try:
            print("ready", flush=True)
            await stop.wait()
        finally:
            await control.close()
            await runner.cleanup()


def main() -> int:
    settings: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(Settings(**settings)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
