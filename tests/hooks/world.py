"""A hooks listener on a real socket over a real database, with a revoker, people and a directory
that remember what they were asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import select

from demo.net import bind, serve
from gateway.core.hook_target import HookTarget, WebhookTarget
from gateway.core.model import ProviderKind, Secret
from gateway.core.person import Account, Person
from gateway.core.revocation import RevocationKind, RevocationRequest, RevocationStatus
from gateway.database.group_commit import GroupCommitter
from gateway.database.schema import hook_inbox, hook_standing, webhooks_outbox
from gateway.errors import UnavailableError
from gateway.hooks.activity import ActivityCounter
from gateway.hooks.applier import Applier
from gateway.hooks.group_names import GroupNames
from gateway.hooks.inbox import Inbox
from gateway.hooks.issuer_keys import IssuerKeys
from gateway.hooks.receive import application
from gateway.hooks.receive.services import HookServices
from gateway.hooks.removal_limit import Brake, BrakeLimits
from gateway.hooks.scim.store import ScimStore
from gateway.hooks.webhooks.outbox import Outbox
from tests.hooks.samples import DIRECTORY, jwks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from gateway.database.engine import Database
    from gateway.hooks.api import Directory
    from gateway.hooks.scim.usage import ScimLimits

SECRET, PREVIOUS, GLOBEX_SECRET = (
    "acme-hook-secret-0123456789",
    "acme-hook-secret-before",
    "globex-hook-secret-987654",
)


def okta_target(issuer: str = "http://127.0.0.1:1", **changes: Any) -> HookTarget:
    target = HookTarget(
        tenant="acme",
        provider="acme-okta",
        kind=ProviderKind.OKTA,
        issuer=issuer,
        secrets=(Secret(SECRET), Secret(PREVIOUS)),
        directory_id=None,
        client_id="0oa1",
        client_secret=None,
        api_token=None,
        api_url=None,
        audience=None,
        groups_used=frozenset({"Sales", "00gID"}),
        allowed_groups=frozenset({"Sales"}),
    )
    return replace(target, **changes)


def entra_target(**changes: Any) -> HookTarget:
    target = HookTarget(
        tenant="globex",
        provider="globex-entra",
        kind=ProviderKind.ENTRA,
        issuer=f"https://login.microsoftonline.com/{DIRECTORY}/v2.0",
        secrets=(Secret(GLOBEX_SECRET),),
        directory_id=DIRECTORY,
        client_id="app-1",
        client_secret=Secret("graph-secret"),
        api_token=None,
        api_url=None,
        audience=None,
        groups_used=frozenset({"6f2c8f6e-6f0e-4d2b-9a52-0f2b7f9a1c01", "Staff"}),
        allowed_groups=frozenset({"6f2c8f6e-6f0e-4d2b-9a52-0f2b7f9a1c01"}),
    )
    return replace(target, **changes)


class Targets:
    def __init__(self, *targets: HookTarget) -> None:
        self.by_key = {t.key: t for t in targets}
        self.webhooks: dict[str, WebhookTarget] = {}

    def find(self, tenant: str, provider: str) -> HookTarget | None:
        return self.by_key.get((tenant, provider))

    def of(self, tenant: str) -> Sequence[HookTarget]:
        return [t for t in self.by_key.values() if t.tenant == tenant]

    async def all(self) -> Sequence[HookTarget]:
        return list(self.by_key.values())

    def webhook(self, tenant: str) -> WebhookTarget | None:
        return self.webhooks.get(tenant)


class RecordingRevoker:
    """What stands, as the real one would hold it; ``failing`` makes the next calls fail."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, RevocationRequest]] = []
        self.standing: set[RevocationRequest] = set()
        self.exempted: list[RevocationRequest] = []
        self.failing = 0
        self.hold: asyncio.Event | None = None
        self.ends = 1
        """Sessions that each revocation finds."""

    async def revoke(self, request: RevocationRequest) -> RevocationStatus:
        return await self._do("revoke", request)

    async def lift(self, request: RevocationRequest) -> RevocationStatus:
        return await self._do("lift", request)

    async def _do(self, verb: str, request: RevocationRequest) -> RevocationStatus:
        if self.hold is not None:
            await self.hold.wait()
        if self.failing:
            self.failing -= 1
            msg = "the store is away"
            raise UnavailableError(msg)
        self.calls.append((verb, request))
        bare = replace(request, event_time=None, reason="")
        if verb == "lift":
            self.standing.discard(bare)
        elif request.kind is RevocationKind.BLOCK or request.group_overlay is not None:
            self.standing.add(bare)
        return RevocationStatus(f"r-{len(self.calls)}", request, 0.0, 1.0, (), 2.0, self.ends)

    async def exempt(self, request: RevocationRequest) -> bool:
        self.exempted.append(request)
        return False

    async def status(self, revocation_id: str) -> RevocationStatus | None:
        return None

    def stream(self, *, after: str | None = None) -> Any:
        raise NotImplementedError

    def said(self) -> list[tuple[str, str, str, str | None]]:
        """verb, kind, whom, group: short enough for a table."""
        return [
            (
                v,
                r.kind.value,
                r.who.idp_subject
                or r.who.oid
                or r.who.user
                or r.who.email
                or f"group {r.who.group}",
                r.group_overlay,
            )
            for v, r in self.calls
        ]


class KnownPeople:
    def __init__(self, *people: tuple[str, str, dict[str, str], Person]) -> None:
        self.people = list(people)
        self.away: list[tuple[str, str, dict[str, str], Person]] = []
        """Who was signed in once."""

    async def find(
        self, tenant: str, *, provider: str, idp_subject: str = "", oid: str = "", email: str = ""
    ) -> Sequence[Person]:
        wanted = {"idp_subject": idp_subject, "oid": oid, "email": email}
        return [
            p
            for t, n, names, p in self.people
            if (t, n) == (tenant, provider)
            and all(names.get(k) == v for k, v in wanted.items() if v)
        ]

    async def known(
        self, tenant: str, *, provider: str, names: Sequence[tuple[str, str]]
    ) -> Sequence[Person]:
        return [
            p
            for t, n, mine, p in self.away
            if (t, n) == (tenant, provider) and any(mine.get(k) == v for k, v in names)
        ]


@dataclass
class FakeDirectory:
    """What the provider would answer."""

    accounts: dict[str, bool] = field(default_factory=dict)
    emails: dict[str, str] = field(default_factory=dict)
    members: set[tuple[str, str]] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    subscriptions: set[str] = field(
        default_factory=lambda: {
            "7f105c7d-2dc5-4530-97cd-4e7ae6534c07",
            "7f105c7d-2dc5-4530-97cd-4e7ae6534c08",
        }
    )
    lifecycles: list[tuple[str, str]] = field(default_factory=list)
    down: bool = False

    def _up(self) -> None:
        if self.down:
            msg = "Graph is down"
            raise UnavailableError(msg)

    async def account(self, target: HookTarget, user: str) -> Account | None:
        self._up()
        return (
            Account(self.accounts.get(user, False), self.emails.get(user, ""))
            if user in self.accounts or user in self.emails
            else None
        )

    async def is_member(self, target: HookTarget, user: str, group_id: str) -> bool | None:
        self._up()
        return (user, group_id) in self.members

    async def known_names(self, target: HookTarget, user: str) -> tuple[tuple[str, str], ...]:
        return ()

    async def has_another_owner(self, target: HookTarget, email: str, user: str) -> bool:
        return False

    async def group_name(self, target: HookTarget, group_id: str, *, again: bool = False) -> str:
        self._up()
        return self.names.get(group_id, "")

    async def owns_subscription(self, target: HookTarget, subscription: str) -> bool:
        return subscription in self.subscriptions

    async def lifecycle(self, target: HookTarget, subscription: str, kind: str) -> None:
        self._up()
        self.lifecycles.append((subscription, kind))


class Clock:
    """UTC epoch seconds that tests move; runs on with real time."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class World:
    database: Database
    committer: GroupCommitter
    inbox: Inbox
    scim: ScimStore
    outbox: Outbox
    applier: Applier
    targets: Targets
    revoker: RecordingRevoker
    people: KnownPeople
    directory: FakeDirectory
    clock: Any
    activity_counter: ActivityCounter
    url: str
    http: aiohttp.ClientSession

    async def post(
        self,
        path: str,
        *,
        json: Any = None,
        data: Any = None,
        headers: dict[str, str] | None = None,
        attempts: int = 3,
    ) -> tuple[int, str]:
        """As senders do: a 503, which a machine busy with other tests may give, is tried again."""
        while True:
            async with self.http.post(
                self.url + path, json=json, data=data, headers=headers
            ) as response:
                attempts -= 1
                if response.status != 503 or not attempts:
                    return response.status, await response.text()

    async def okta(
        self,
        document: Any,
        *,
        secret: str = SECRET,
        path: str = "/hooks/okta/acme/acme-okta",
        attempts: int = 3,
    ) -> int:
        return (
            await self.post(
                path, json=document, headers={"Authorization": secret}, attempts=attempts
            )
        )[0]

    async def settled(self) -> None:
        """Until nothing is due."""
        async with asyncio.timeout(20):
            while (await self.inbox.backlog())[0]:
                self.applier.wake()
                await self._next_end()

    async def _next_end(self) -> None:
        """Of a lane that is worked on; where there is none, the applier has a moment to begin."""
        if lanes := list(self.applier._active):
            await asyncio.wait(lanes, timeout=1, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(0.01)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - what is waited for happens in other tasks without a signal of its own
                await asyncio.sleep(0.01)

    async def states(self) -> list[tuple[str, str, str]]:
        async with self.database.read() as connection:
            rows = await connection.execute(
                select(hook_inbox.c.type, hook_inbox.c.state, hook_inbox.c.error).order_by(
                    hook_inbox.c.number
                )
            )
            return [(r.type, r.state, r.error) for r in rows]

    async def standings(self) -> dict[str, bool]:
        async with self.database.read() as connection:
            rows = await connection.execute(
                select(hook_standing.c.lane, hook_standing.c.about, hook_standing.c.refused)
            )
            return {f"{r.lane}/{r.about}": bool(r.refused) for r in rows}

    async def messages(self) -> list[tuple[str, str, str]]:
        async with self.database.read() as connection:
            rows = await connection.execute(
                select(webhooks_outbox).order_by(webhooks_outbox.c.number)
            )
            return [
                (
                    r.event,
                    r.state,
                    self.database.crypt.open(
                        r.payload, table="webhooks_outbox", row=r.id, column="payload"
                    ).reveal(),
                )
                for r in rows
            ]


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """The application on a free port of loopback."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = runner.addresses[0]
        yield f"http://127.0.0.1:{address[1]}"
    finally:
        await runner.cleanup()


def issuer_app(spelled: str = "", status: int = 200) -> web.Application:
    """Discovery and keys of an issuer that signs with the sample keys. ``spelled``: what follows
    its origin in its name.
    """

    async def discovery(request: web.Request) -> web.Response:
        origin = f"http://{request.host}"
        return web.json_response(
            {"issuer": origin + spelled, "jwks_uri": f"{origin}/keys"}, status=status
        )

    async def keys(_request: web.Request) -> web.Response:
        return web.json_response(jwks())

    app = web.Application()
    app.add_routes(
        [web.get("/.well-known/openid-configuration", discovery), web.get("/keys", keys)]
    )
    return app


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@contextlib.asynccontextmanager
async def hooks_world(
    database: Database,
    http: aiohttp.ClientSession,
    *,
    applying: bool = True,
    holder: str = "replica-1",
    clock: Any = None,
    ask: Callable[[GroupCommitter, str], Directory] | None = None,
    limits: ScimLimits | None = None,
    brake: BrakeLimits | None = None,
) -> AsyncIterator[World]:
    """``ask`` makes the directory, given the committer and the listener's address."""
    async with contextlib.AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(serving(issuer_app()))
        clock = clock or Clock()
        targets = Targets(okta_target(issuer), entra_target())
        committer = GroupCommitter(database)
        await stack.enter_async_context(committer.running())
        inbox = Inbox(database, committer, holder=holder)
        outbox = Outbox(database, committer, targets=targets, http=http, clock=clock)
        revoker, people, directory = RecordingRevoker(), KnownPeople(), FakeDirectory()
        bound = bind()
        url = bound.url()
        asked: Directory = ask(committer, url) if ask is not None else directory
        scim = ScimStore(database, committer, inbox, clock=clock, limits=limits, wants=outbox.wants)
        applier = Applier(
            inbox,
            committer,
            names=GroupNames(database),
            records=scim.people,
            targets=targets,
            revoker=revoker,
            people=people,
            directory=asked,
            outbox=outbox,
            clock=clock,
            brake=Brake(database, brake, clock=clock),
        )
        keys = IssuerKeys(http, monotonic=time.monotonic)
        activity_counter = ActivityCounter(database, committer, clock=clock)
        services = HookServices(
            targets=targets,
            accept=applier.accept,
            scim=scim,
            keys=keys,
            activity_counter=activity_counter,
            stored=applier.wake,
            url="https://hooks.example.com",
            clock=clock,
        )
        runner = await serve(application(services), bound)
        stack.push_async_callback(runner.cleanup)
        found = World(
            database,
            committer,
            inbox,
            scim,
            outbox,
            applier,
            targets,
            revoker,
            people,
            directory,
            clock,
            activity_counter,
            url,
            http,
        )
        if applying:
            await stack.enter_async_context(applier.running())
            await stack.enter_async_context(outbox.running())
        yield found


@pytest.fixture
async def world(database: Database, http: aiohttp.ClientSession) -> AsyncIterator[World]:
    async with hooks_world(database, http) as found:
        yield found
