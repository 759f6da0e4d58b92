"""The portal over the admin API's rooms in memory, and setup links in SQL."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiohttp import web

from gateway.admin.application import in_process_api
from gateway.console.moving import Script
from gateway.core import signed_link
from gateway.core.model import ProviderKind
from gateway.errors import PeerError
from gateway.pages.forms import FormTokens
from gateway.portal.application import BROWSER, COOKIE, Portal, PortalServices
from gateway.portal.visit import Rooms
from gateway.provisioning.addition import beside, said_access
from gateway.provisioning.desired import derived_name
from gateway.provisioning.discovery import Discovered
from gateway.provisioning.plan_rows import Plan
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.proposal import Proposal
from gateway.provisioning.publications import Publications
from gateway.provisioning.runner import Done
from gateway.setup.model import Approval, NewTenant, Part, Request, SetupLink, Work
from gateway.tenants.api import TenantRecord
from gateway.tenants.document import TenantDocument
from gateway.tenants.secrets import show
from tests.admin.conftest import Api, Clock, api, clock, database
from tests.admin.rooms import Claims, Letters, Onboardings, Renewals, Tenants
from tests.console.conftest import document
from tests.database.template import config_with

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from aiohttp import ClientResponse, FormData
    from aiohttp.test_utils import TestClient
    from pytest_aiohttp.plugin import AiohttpClient

    from gateway.config.model import Config
    from gateway.core.model import AppClient
    from gateway.provisioning.request import ProvisionBody
    from gateway.provisioning.service import Onboarding
    from gateway.setup.links import NewLink, SetupLinks

__all__ = ["api", "clock", "database"]

HOST = "login.example.com"
ORIGIN = f"https://{HOST}"
IT = "it@initech.test"
ISSUER = "https://initech.okta.com"
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
"""What a tenant, a recipient or an identity provider may put into a text."""
NEW = NewTenant("Initech", ("initech.example.com",), ("initech.test",))
ALL_PARTS = frozenset(Part) - {Part.RENEW}
"""Of a tenant that is made. The other one is of a connection that is live."""


@dataclass(slots=True)
class Provisioned(Onboardings):
    """Makes the tenant that it is asked for; refuses an issuer that is called so."""

    bodies: list[ProvisionBody] = field(default_factory=list)
    applied: Callable[[], Awaitable[None]] | None = None
    """Happens when it is stored, before anybody hears of it."""
    made_by: dict[str, str] = field(default_factory=dict)
    """Actor by provider."""

    async def makers(self, tenant: str) -> Mapping[str, str]:
        return self.made_by

    async def propose(
        self, tenant: str, body: ProvisionBody, *, update: bool, bound: bool
    ) -> Proposal:
        self.bodies.append(body)
        (provider,) = body.all_providers
        issuer = getattr(provider, "oidc_issuer", None)
        if issuer and "refused" in issuer:
            problem = PreflightProblem("invalid", "provider.oidc_issuer", f"{issuer} {EVIL}")
            return Proposal(tenant, Plan((), problems=(problem,)))
        known = self.records.stored.get(tenant)
        document: dict[str, Any] = (
            dict(known.document) if known else {"id": tenant, "client": "managed"}
        )
        if body.name is not None:
            document |= {"name": body.name, "hosts": list(body.hosts or ())}
            document |= {
                "email_domains": sorted(body.domains or ()),
                "allowed_groups": body.allowed_groups,
            }
        if not body.prune:
            return self._beside(tenant, body)
        name = f"{tenant}-{provider.kind}"
        document["providers"] = [
            {"name": name, "kind": provider.kind, "issuer": issuer, "active": provider.active}
        ]
        wanted = SimpleNamespace(providers=[SimpleNamespace(name=name)])
        return Proposal(tenant, Plan(()), document=document, wanted=cast("Any", wanted))

    def _beside(self, tenant: str, body: ProvisionBody) -> Proposal:
        """As provisioning does it: without a name, it is a new one."""
        before = show(TenantDocument.model_validate(self.records.stored[tenant].document))
        entries = {p["name"]: p for p in before["providers"]}
        (provider,), (access,) = body.all_providers, said_access(body)
        kind = ProviderKind(str(provider.kind))
        name = provider.name or derived_name(tenant, kind, {*entries})
        entry = {"name": name, "kind": kind, "active": provider.active}
        place = "entity_id" if kind is ProviderKind.SAML else "issuer"
        entry[place] = getattr(provider, "oidc_issuer", "https://idp.example/metadata")
        document, problems = beside(before, [{**entries.get(name, {}), **entry}], {name: access})
        wanted = SimpleNamespace(providers=[SimpleNamespace(name=name)])
        plan = Plan((), problems=problems)
        return Proposal(tenant, plan, document=document, wanted=cast("Any", wanted))

    async def apply(self, proposal: Proposal, *, actor: str) -> Done:
        assert proposal.document is not None
        whole = TenantDocument.model_validate(proposal.document)
        for provider in whole.providers:
            if proposal.wanted is not None and provider.name == proposal.wanted.providers[0].name:
                self.made_by.setdefault(provider.name, actor)
        version = self.records.stored.get(proposal.tenant)
        self.records.stored[proposal.tenant] = TenantRecord(
            proposal.tenant,
            whole.model_dump(mode="json"),
            str(int(version.etag) + 1 if version else 1),
            "sql",
        )
        if self.applied is not None:
            await self.applied()
        return Done("abcdef012345")


@dataclass(slots=True)
class Tests:
    """Links for test sign-ins, and what becomes of them."""

    result_of_all: signed_link.Result | None = None

    async def link(self, tenant: str, *, client: AppClient | None = None) -> str:
        return f"{ORIGIN}/_auth/test?token=t-{tenant}"

    async def result(
        self, tenant: str, token: str
    ) -> tuple[signed_link.TestLink, signed_link.Result | None]:
        return signed_link.TestLink(tenant, token, 2_000_000_000), self.result_of_all


@dataclass(slots=True)
class Browser:
    """One browser at the portal; ``cookie`` None: it has none yet."""

    client: TestClient[web.Request, web.Application]
    host: str = HOST
    cookie: str | None = None
    last: str = ""
    carried: str = ""
    """Since it asked for a code."""

    @property
    def _headers(self) -> dict[str, str]:
        return {"Host": self.host, **({"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {})}

    async def get(self, path: str, **headers: str) -> ClientResponse:
        response = await self.client.get(
            path, headers={**self._headers, **headers}, allow_redirects=False
        )
        self.last = await response.text()
        return response

    async def page(self, path: str, status: int = 200) -> str:
        response = await self.get(path)
        assert response.status == status, self.last
        return self.last

    async def post(
        self, path: str, form: dict[str, Any] | list[tuple[str, str]] | FormData, **headers: str
    ) -> ClientResponse:
        response = await self.client.post(
            path,
            data=form,
            headers={**self._headers, "Origin": ORIGIN, **headers},
            allow_redirects=False,
        )
        self.last = await response.text()
        return response

    async def send(self, page: str, action: str, **fields: str) -> ClientResponse:
        """The form on ``page`` that is sent to ``action``."""
        token = token_for(await self.page(page), action)
        return await self.post(action, {"token": token, **fields})

    async def send_without_form(self, action: str, **fields: str) -> ClientResponse:
        """As if a page had had the form."""
        token = FormTokens("setup form", lambda: FORM_KEYS).issue(self.cookie or "", action)
        return await self.post(action, {"token": token, **fields})

    async def ask_code(self, made: NewLink, *, email: str = IT) -> ClientResponse:
        """As the landing page does where a code is mailed."""
        response = await self.post(address_of(made), {"email": email})
        carried = response.cookies.get(BROWSER)
        self.carried = carried.value if carried is not None else self.carried
        return response

    async def claim_with(self, made: NewLink, code: str, *, email: str = IT) -> ClientResponse:
        response = await self.post(
            address_of(made),
            {"email": email, "code": code},
            Cookie=f"{BROWSER}={self.carried}",
        )
        if response.status == 303:
            self.cookie = response.cookies[COOKIE].value
        return response

    async def claim(self, made: NewLink, *, email: str = IT) -> ClientResponse:
        response = await self.post(address_of(made), {"email": email, "phrase": phrase_of(made)})
        if response.status == 303:
            self.cookie = response.cookies[COOKIE].value
        return response


FORM_KEYS = (b"form key of this ring",)


def address_of(made: NewLink, secret: str | None = None) -> str:
    return f"/setup/l/{made.link.id}/{made.secret.reveal() if secret is None else secret}"


def phrase_of(made: NewLink) -> str:
    assert made.phrase is not None
    return made.phrase.reveal()


@dataclass(slots=True)
class Counter:
    """What every process counts in Redis."""

    clock: Clock
    counted: dict[tuple[str, str, int], int] = field(default_factory=dict)

    async def hit(self, client: str, *, at_most: int, window_s: int = 60, kind: str = "") -> bool:
        name = (client, kind, int(self.clock() // window_s))
        self.counted[name] = self.counted.get(name, 0) + 1
        return self.counted[name] <= at_most

    async def is_exhausted(
        self, client: str, *, at_most: int, window_s: int = 60, kind: str
    ) -> bool:
        return self.counted.get((client, kind, int(self.clock() // window_s)), 0) >= at_most


def token_for(page: str, action: str) -> str:
    form = re.search(
        rf'<form[^>]*action="{re.escape(html.escape(action))}".*?</form>', page, re.DOTALL
    )
    assert form is not None, f"no form for {action}"
    token = re.search(r'name="token" value="([^"]+)"', form[0])
    assert token is not None
    return token[1]


@dataclass(slots=True)
class Published:
    """What identity providers publish, by address."""

    documents: dict[str, dict[str, object]] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def fetch(self, issuer: str) -> Discovered:
        self.asked.append(issuer)
        if issuer not in self.documents:
            url = f"{issuer}/.well-known/openid-configuration"
            raise PeerError("discovery_status", f"the discovery document at {url} answered 404")
        keys = {"keys": [{"kid": "1", "use": "sig"}]}
        return Discovered(self.documents[issuer], keys)

    async def fetch_metadata(self, url: str) -> bytes:
        self.asked.append(url)
        return self.texts[url]


@dataclass(slots=True)
class Desk:
    client: TestClient[web.Request, web.Application]
    api: Api
    clock: Clock
    links: SetupLinks
    tenants: Tenants
    onboarding: Provisioned
    tests: Tests
    removal_ms: list[float]
    letters: Letters
    renewals: Renewals
    claims: Claims
    config: Config
    published: Published
    is_tenant: list[Callable[[str], Awaitable[bool]]]
    """The last one says whether there is a tenant."""

    def codes(self) -> list[str]:
        """That were mailed."""
        return [str(words["code"]) for what, _, words in self.letters.sent if what == "code"]

    def browser(self) -> Browser:
        return Browser(self.client)

    async def make(self, tenant: str = "initech", **changes: Any) -> NewLink:
        request = Request(
            parts=ALL_PARTS,
            recipients=(IT,),
            providers=(),
            language="en",
            approval=Approval.NONE,
            note="",
            lifetime_s=86400.0,
            new_tenant=NEW,
        )
        return await self.links.create(tenant, replace(request, **changes), by="key:1")

    async def claimed(self, tenant: str = "initech", **changes: Any) -> Browser:
        browser = self.browser()
        response = await browser.claim(await self.make(tenant, **changes))
        assert response.status == 303, browser.last
        return browser

    async def link_of(self, browser: Browser) -> SetupLink:
        link = await self.links.visit(browser.cookie or "")
        assert link is not None
        return link

    async def put_work(self, browser: Browser, work: Work) -> SetupLink:
        saved = await self.links.save(
            await self.link_of(browser), work, cookie=browser.cookie or ""
        )
        assert saved is not None
        return saved

    async def audit(self) -> list[str]:
        rows = (await (await self.api.call("GET", "/audit?limit=200")).json())["items"]
        return [f"{row['actor']} {row['action']}" for row in rows]


@pytest.fixture
async def desk(aiohttp_client: AiohttpClient, api: Api, clock: Clock, tmp_path: Path) -> Desk:
    config = config_with(
        tmp_path / "state",
        login_host=HOST,
        setup={"enabled": True, "support": "help@example.com"},
    )
    tenants, setup = api.services.tenants, api.services.setup
    assert isinstance(tenants, Tenants)
    assert setup is not None
    links = setup.links
    tenants.stored["acme"] = document("acme")
    onboarding, tests, removals = Provisioned(tenants), Tests(), list[float]()

    async def denied_after_ms(_tenant: str, _since: float) -> float | None:
        return removals[0] if removals else None

    async def there_is(_tenant: str) -> bool:
        return True

    known: list[Callable[[str], Awaitable[bool]]] = [there_is]

    async def is_tenant(tenant: str) -> bool:
        return await known[-1](tenant)

    services = replace(
        api.services,
        is_tenant=is_tenant,
        onboarding=cast("Onboarding", onboarding),
        login_tests=tests,
    )
    published = Published()
    portal = Portal(
        PortalServices(
            Rooms(
                config,
                links,
                setup.letters,
                tenants,
                denied_after_ms,
                clock,
                Counter(clock),
                onboarding.makers,
                setup.renewal,
                Publications(cast("Any", published), clock, development=False),
            ),
            in_process_api(services),
            lambda: FORM_KEYS,
            lambda _address: True,
            Script(),
        )
    )
    application = web.Application()
    application.router.add_routes(portal.routes())
    client = await aiohttp_client(application)
    letters = cast("Letters", setup.letters.mailer)
    return Desk(
        client,
        api,
        clock,
        links,
        tenants,
        onboarding,
        tests,
        removals,
        letters,
        cast("Renewals", setup.renewal),
        cast("Claims", services.domains),
        config,
        published,
        known,
    )
