"""The console over the admin API's rooms in memory, and assertions as the gateway signs them."""

from __future__ import annotations

import dataclasses
import html
import re
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import lxml.html
import pytest

from gateway.admin.application import in_process_api
from gateway.console.application import Console, ConsoleServices
from gateway.console.moving import Script
from gateway.core.model import Identity, Session
from gateway.database.audit_entries import AuditFilter
from gateway.keys.assertion import Assertions
from gateway.keys.ring import KeyRing, generate
from gateway.sessions.console_links import ConsoleLinks
from gateway.tenants.api import TenantRecord
from tests.admin.conftest import Api, Clock, api, clock, database
from tests.admin.rooms import Tenants
from tests.admin.test_dispatch import TENANT
from tests.admin.test_dry_run import Directory, directory, registry
from tests.database.template import config_with
from tests.sessions.conftest import redis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from aiohttp import ClientResponse, web
    from aiohttp.test_utils import TestClient
    from pytest_aiohttp.plugin import AiohttpClient

    from gateway.sessions.connection import RedisClient

__all__ = ["api", "clock", "database", "directory", "redis", "registry"]

HOST = "console.example.com"
ORIGIN = f"https://{HOST}"
HEADER = "X-Auth-Request-Jwt"
GROUPS: dict[str, Any] = {
    "admins": ["operator"],
    "support": ["tenants:read", "sessions:read", "sessions:revoke"],
    "auditors": ["tenants:read", "audit:read"],
    "onboarding": ["tenants:read", "tenants:write", "provision", "sessions:read", "audit:read"],
    "writers": ["tenants:read", "tenants:write"],
    "acme-writers": {"scopes": ["tenants:read", "tenants:write"], "tenants": ["acme"]},
    "setup": ["tenants:read", "setup:write", "hooks"],
    "acme-hooks": {"scopes": ["hooks", "tenants:read"], "tenants": ["acme"]},
    "acme-keys": {"scopes": ["keys", "tenants:read"], "tenants": ["acme"]},
    "acme-team": {
        "scopes": ["tenants:read", "sessions:read", "sessions:revoke", "audit:read"],
        "tenants": ["acme"],
    },
}
RING = generate()
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
"""What a tenant or an identity provider may put into a text."""


def document(tenant: str, **more: object) -> TenantRecord:
    whole = {**TENANT, "id": tenant, "hosts": [f"{tenant}.example.com"], **more}
    shown = {
        "active": True,
        "rules": [],
        "shadow_rules": [],
        "allowed_roles": "any",
        "client": None,
        **whole,
        "client_secret": "***",
        "providers": [
            {
                "label": "",
                "active": True,
                "entity_id": None,
                "domains": None,
                "groups": "any",
                **provider,
            }
            for provider in whole["providers"]
        ],
    }
    return TenantRecord(tenant, shown, "1", "sql")


@dataclass(slots=True)
class Desk:
    """The console on a real socket."""

    client: TestClient[web.Request, web.Application]
    api: Api
    clock: Clock
    tenants: Tenants
    links: ConsoleLinks

    @property
    def script(self) -> str:
        return Script().path

    def assertion(self, *groups: str, ring: KeyRing = RING, **changes: Any) -> str:
        """Of dana, who signed in a minute ago; ``changes``: of session or identity; ``origin``
        and ``issuer``: of the assertion.
        """
        now = self.clock()
        origin = changes.pop("origin", ORIGIN)
        issuer = changes.pop("issuer", None)
        identity = Identity(
            sub="dana-sub",
            email="dana@ops.test",
            email_domain="ops.test",
            username="ops_1",
            preferred_username="dana",
            name="Dana",
            groups=groups,
            roles=(),
            provider="ops-okta",
            idp_subject="1",
            oid="o",
        )
        names = {field.name for field in dataclasses.fields(Identity)}
        of_identity = {n: v for n, v in changes.items() if n in names}
        session = Session(
            digest="a" * 64,
            tenant="ops",
            host=HOST,
            family="f",
            began=1,
            auth_time=int(now) - 60,
            created_at=int(now) - 60,
            expires_at=int(now) + 3600,
            client_id="c",
            identity=replace(identity, **of_identity),
        )
        rest = {n: v for n, v in changes.items() if n not in names}
        return Assertions(ring, issuer=issuer).sign(
            replace(session, **rest), origin=origin, now=now
        )

    async def get(self, path: str, *groups: str, **headers: str) -> ClientResponse:
        sent = {HEADER: self.assertion(*groups), **headers}
        return await self.client.get(path, headers=sent, allow_redirects=False)

    async def text(self, path: str, *groups: str, status: int = 200) -> str:
        response = await self.get(path, *groups)
        text = await response.text()
        assert response.status == status, text
        return text

    async def post(
        self, path: str, form: dict[str, str], *groups: str, **headers: str
    ) -> ClientResponse:
        sent = {HEADER: self.assertion(*groups), "Origin": ORIGIN, **headers}
        return await self.client.post(path, data=form, headers=sent, allow_redirects=False)


async def changes(desk: Desk) -> list[tuple[str, str, str]]:
    """On record, newest first: who, what, outcome; without what the console itself records."""
    page = await desk.api.services.audit.page(AuditFilter(), position=None, limit=50)
    return [
        (one.actor, one.action, one.outcome)
        for one in page.items
        if not one.action.startswith("console.")
    ]


def token_for(page: str, action: str) -> str:
    """The token of the form on ``page`` that is sent to ``action``."""
    form = re.search(
        rf'<form[^>]*action="{re.escape(html.escape(action))}".*?</form>', page, re.DOTALL
    )
    assert form is not None, f"no form for {action}"
    token = re.search(r'name="token" value="([^"]+)"', form[0])
    assert token is not None
    return token[1]


@pytest.fixture
def links(redis: RedisClient, clock: Clock) -> ConsoleLinks:
    return ConsoleLinks(redis, clock=clock, random_token=lambda: secrets.token_urlsafe(32))


def console_of(api: Api, clock: Clock, links: ConsoleLinks, folder: Path) -> web.Application:
    config = config_with(
        folder / "state",
        console={"host": HOST, "tenant": "ops", "groups": GROUPS, "contact": "ops@example.com"},
    )
    services = ConsoleServices(
        config,
        in_process_api(replace(api.services, operators_tenant="ops")),
        lambda: RING,
        lambda: (b"form key of this ring",),
        clock,
        api.services.audit,
        links,
    )
    return Console(services).application()


@pytest.fixture
async def desk(
    aiohttp_client: AiohttpClient, api: Api, clock: Clock, links: ConsoleLinks, tmp_path: Path
) -> Desk:
    tenants = api.services.tenants
    assert isinstance(tenants, Tenants)
    tenants.stored["acme"] = document("acme")
    tenants.stored["globex"] = document("globex")
    client = await aiohttp_client(console_of(api, clock, links, tmp_path))
    return Desk(client, api, clock, tenants, links)


@dataclass(slots=True)
class Forms:
    """The console over the real registry, which holds ``acme``: alice (app-users, admins) and bob
    (app-users) are signed in there.
    """

    desk: Desk
    api: Api

    async def stored(self, tenant: str = "acme") -> dict[str, Any]:
        """Document and etag as the API answers them."""
        answer: dict[str, Any] = await (await self.api.call("GET", f"/tenants/{tenant}")).json()
        return answer

    async def fill(
        self, path: str, typed: Mapping[str, str], *groups: str, status: int = 200
    ) -> str:
        """The page at ``path``, its form sent with ``typed``; the page that answers."""
        page = await self.desk.text(path, *groups)
        return await self.send(page, path, typed, *groups, status=status)

    async def send(
        self, page: str, action: str, typed: Mapping[str, str], *groups: str, status: int = 200
    ) -> str:
        """The form of ``page`` that goes to ``action``."""
        form = {**inputs_of(page, action), **typed}
        response = await self.desk.post(action, form, *groups)
        text = await response.text()
        assert response.status == status, text
        return response.headers["Location"] if status == 303 else text


def inputs_of(page: str, action: str) -> dict[str, str]:
    """What a browser would send of the form as it is."""
    form = next(f for f in lxml.html.document_fromstring(page).forms if f.action == action)
    off = {one.name for one in form.inputs if one.get("disabled") is not None}
    return {name: value.removeprefix("\n") for name, value in form.form_values() if name not in off}


@pytest.fixture
async def forms(
    aiohttp_client: AiohttpClient,
    registry: Api,
    clock: Clock,
    links: ConsoleLinks,
    tmp_path: Path,
    directory: Directory,
) -> Forms:
    client = await aiohttp_client(console_of(registry, clock, links, tmp_path))
    return Forms(Desk(client, registry, clock, Tenants(), links), registry)
