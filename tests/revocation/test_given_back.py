"""Out of the app and in again, by every name and source, before and after a restart of the gateway:
each is followed by a real login.

What was done in the Cognito pool is undone with the block.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from demo.world import World
from gateway.admin.webhook_schema import EVENTS, WebhookMessage
from tests.revocation.test_removed import PATIENCE_S, pool_user, sign_in, until
from tests.support.browserless import Person
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

ACME, GLOBEX = "acme.localhost", "globex.localhost"
BOB = "bob@acme.test"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    with RunningWorld(World(tmp_path_factory.mktemp("given-back"))) as started:
        started.until_subscribed()
        yield started


class Api:
    def __init__(self, running: RunningWorld, http: aiohttp.ClientSession) -> None:
        self.running, self.http = running, http
        self.key = running.run(running.world.make_admin_key())

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        url = f"http://127.0.0.1:{self.running.world.gateways[0].ports['admin']}/admin/v1{path}"
        async with self.http.request(
            method, url, json=body, headers={"Authorization": f"Bearer {self.key}"}
        ) as response:
            assert response.status in (200, 201), await response.text()
            return await response.json()

    async def session(self, email: str) -> str:
        """The one that somebody has."""
        (row,) = (
            await self.call("GET", f"/sessions?tenant=acme&email={email.replace('@', '%40')}")
        )["items"]
        return str(row["session"])

    async def block(self, reason: str) -> str:
        """The one with this reason."""
        (block,) = [str(b["id"]) for b in await self.blocks() if b["reason"] == reason]
        return block

    async def blocks(self) -> list[Any]:
        return list((await self.call("GET", "/blocks"))["items"])


@pytest.fixture
async def api(running: RunningWorld) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        yield Api(running, http)


async def logs_in(running: RunningWorld, host: str, email: str, path: str = "/") -> str:
    """The cookie of a login of somebody who has no session anywhere; "" if it does not open the
    application.
    """
    async with Person() as later:
        cookie = await sign_in(running, later, host, email)
        return cookie if cookie and running.check(host, path, cookie=cookie).status == 200 else ""


async def comes_in(running: RunningWorld, host: str, email: str, path: str = "/") -> str:
    """The same until it does."""
    began = time.monotonic()
    while not (cookie := await logs_in(running, host, email, path)):
        assert time.monotonic() - began < PATIENCE_S, f"{email} stays out"
        await asyncio.sleep(0.1)
    return cookie


@dataclass(frozen=True)
class Case:
    """Somebody who is taken out and given back. ``take`` and ``give`` return when it is said, not
    when it is done.
    """

    name: str
    host: str
    email: str
    take: Callable[[], Awaitable[Any]]
    give: Callable[[], Awaitable[Any]]
    path: str = "/"
    disables: bool = False
    """The pool user too."""


class Scim:
    """A client that pushes people and a group."""

    def __init__(self, api: Api) -> None:
        self.api = api
        world = api.running.world
        self.url = f"http://127.0.0.1:{world.gateways[0].ports['hooks']}/scim/v2/acme/acme-okta"
        self.headers = {"Authorization": f"Bearer {world.secrets['ACME_HOOK_SECRET']}"}

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with self.api.http.request(
            method, self.url + path, json=body, headers=self.headers
        ) as response:
            assert response.status in (200, 201, 204), await response.text()
            return await response.json() if response.status != 204 else None

    async def person(self, email: str) -> str:
        return str(
            (
                await self.call(
                    "POST",
                    "/Users",
                    {
                        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
                        "userName": email,
                        "active": True,
                    },
                )
            )["id"]
        )

    async def group(self, name: str, *members: str, external_id: str) -> str:
        document = {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
            "displayName": name,
            "externalId": external_id,
            "members": [{"value": m} for m in members],
        }
        return str((await self.call("POST", "/Groups", document))["id"])

    async def patch(self, path: str, *operations: dict[str, Any]) -> None:
        await self.call(
            "PATCH",
            path,
            {
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": list(operations),
            },
        )


def joins(
    running: RunningWorld, provider: str, case: str, groups: tuple[str, ...] = ("app-users",)
) -> tuple[Any, Any, str]:
    """Somebody new at the provider: their directory, account and address."""
    directory = running.world.cloud.customers[provider].server.directory
    email = f"{case}@{'acme' if provider == 'acme-okta' else 'globex'}.test"
    return directory, directory.add_person(email, name=case, groups=groups), email


def by_the_provider(running: RunningWorld) -> list[Case]:
    """At the consoles of Okta and Entra."""

    def account(provider: str, host: str, kind: str, out: str, back: str) -> Case:
        directory, who, email = joins(running, provider, kind)

        async def at_console(verb: str) -> None:
            await asyncio.to_thread(lambda: running.run(getattr(directory, verb)(who)))

        return Case(
            kind, host, email, partial(at_console, out), partial(at_console, back), disables=True
        )

    def membership(provider: str, host: str, kind: str) -> Case:
        directory, who, email = joins(running, provider, kind)
        group = next(g for g in directory.groups_of(who) if g.name == "app-users")
        return Case(
            kind,
            host,
            email,
            lambda: asyncio.to_thread(lambda: running.run(directory.remove_from_group(who, group))),
            lambda: asyncio.to_thread(lambda: running.run(directory.add_to_group(who, group))),
        )

    def whole_group(kind: str) -> Case:
        directory, who, email = joins(running, "acme-okta", kind, ("app-users", "admins"))

        async def take() -> None:
            await asyncio.to_thread(
                lambda: running.run(
                    directory.delete_group(
                        next(g for g in directory.groups_of(who) if g.name == "admins")
                    )
                )
            )

        async def give() -> None:
            await asyncio.to_thread(
                lambda: running.run(directory.add_to_group(who, directory.add_group("admins")))
            )

        return Case(kind, ACME, email, take, give, path="/admin/x")

    return [
        account("acme-okta", ACME, "okta-account", "deactivate", "activate"),
        account("acme-okta", ACME, "okta-suspended", "suspend", "unsuspend"),
        account("globex-entra", GLOBEX, "entra-account", "deactivate", "activate"),
        membership("acme-okta", ACME, "okta-group"),
        membership("globex-entra", GLOBEX, "entra-group"),
        whole_group("okta-deleted-group"),
    ]


async def by_scim(api: Api) -> list[Case]:
    """A client's records: an account, and a group that loses a member, then is deleted and made
    again under another external id.
    """
    scim = Scim(api)
    emails = {
        case: joins(api.running, "acme-okta", f"scim-{case}")[2] for case in ("account", "group")
    }
    records = {case: await scim.person(email) for case, email in emails.items()}
    groups = [await scim.group("app-users", records["group"], external_id="first")]
    account, member = (
        f"/Users/{records['account']}",
        {"value": [{"value": records["group"]}], "path": "members"},
    )
    steps: Iterator[Callable[[], Awaitable[Any]]] = iter(
        [
            partial(scim.patch, f"/Groups/{groups[0]}", {"op": "remove", **member}),
            partial(scim.patch, f"/Groups/{groups[0]}", {"op": "add", **member}),
            partial(scim.call, "DELETE", f"/Groups/{groups[0]}"),
            partial(scim.group, "app-users", records["group"], external_id="second"),
        ]
    )

    async def step() -> None:
        await next(steps)()

    return [
        Case(
            "scim-account",
            ACME,
            emails["account"],
            partial(scim.patch, account, {"op": "replace", "value": {"active": False}}),
            partial(scim.patch, account, {"op": "replace", "value": {"active": True}}),
            disables=True,
        ),
        Case("scim-group", ACME, emails["group"], step, step),
    ]


def by_an_operator(api: Api) -> list[Case]:
    """Blocks by each name, lifted from the list."""

    def case(name: str, host: str = ACME, *, called: str = "") -> Case:
        _, _, email = joins(
            api.running,
            "acme-okta" if host == ACME else "globex-entra",
            f"operator-{called or name.replace('_', '-')}",
        )

        async def take() -> None:
            user = pool_user(api.running, email)
            values = {
                "user": user.sub,
                "email": email,
                "idp_subject": user.username.partition("_")[2],
                "oid": user.attributes.get("custom:oid", ""),
            }
            value = await api.session(email) if name == "session" else values[name]
            await api.call(
                "POST",
                "/blocks",
                {"tenant": "acme" if host == ACME else "globex", name: value, "reason": email},
            )

        async def give() -> None:
            lifted = await api.call("DELETE", f"/blocks/{await api.block(email)}")
            assert (lifted["lifted"], lifted["users_to_enable"]) == (1, int(name != "session"))

        return Case(
            f"operator-{called or name}", host, email, take, give, disables=name != "session"
        )

    return [
        case("user"),
        case("email"),
        case("idp_subject"),
        case("oid", GLOBEX),
        case("session"),
        case("user", called="command"),
    ]


async def test_whoever_is_taken_out_and_given_back_comes_in_again(
    running: RunningWorld, api: Api
) -> None:
    """Twice: while the gateway runs on, and with a restart between taking out and giving back."""
    cases = [*by_the_provider(running), *await by_scim(api), *by_an_operator(api)]

    async def everybody() -> dict[str, str]:
        return dict(
            zip(
                [c.name for c in cases],
                await asyncio.gather(*(comes_in(running, c.host, c.email, c.path) for c in cases)),
                strict=True,
            )
        )

    cookies = await everybody()
    for restart in (False, True):
        for case in cases:
            await case.take()
        until(
            lambda cookies=cookies: (  # type: ignore[misc]  # a default of a lambda is not inferred
                [
                    c.name
                    for c in cases
                    if running.check(c.host, c.path, cookie=cookies[c.name]).status == 200
                ]
                == []
            )
        )
        until(
            lambda: (
                [c.name for c in cases if c.disables and pool_user(running, c.email).enabled] == []
            )
        )
        if restart:
            running.run(running.world.stop_gateways())
            running.run(running.world.start_gateways())
        out = [c for c in cases if c.name != "operator-session"]
        again = await asyncio.gather(*(logs_in(running, c.host, c.email, c.path) for c in out))
        assert [c.name for c, cookie in zip(out, again, strict=True) if cookie] == [], "still out"
        for case in cases:
            await case.give()
        cookies = await everybody()
        assert [
            (b["who"], b["group"])
            for b in await api.blocks()
            if b["who"].get("group") != b["group"]
        ] == []
        assert [c.name for c in cases if not pool_user(running, c.email).enabled] == []
    # The deleted group was not given back to those whom no event named: Cognito goes on reporting
    # it, as it would with an empty claim.
    directory, former, email = joins(running, "acme-okta", "former-admin")
    await comes_in(running, ACME, email)
    pool_user(running, email).attributes["custom:groups"] = "app-users,admins"
    former.group_ids.append(directory.add_group("admins").id)
    assert await logs_in(running, ACME, email)
    assert not await logs_in(running, ACME, email, "/admin/x")


def heard(running: RunningWorld) -> list[tuple[str, dict[str, Any]]]:
    """Ids and bodies of the messages, less those of sign-ins."""
    received = dict(running.world.legacy.received).items()
    return [(name, body) for name, body in received if body["data"]["cause"] != "sign_in"]


def told(running: RunningWorld, email: str = "") -> list[tuple[str, str]]:
    """Type and cause of the messages that name somebody, or (no address) that name nobody, less
    those of sign-ins; each is as it is described.
    """
    for body in dict(running.world.legacy.received).values():
        WebhookMessage.model_validate(body)
        assert body["type"] in EVENTS
    return [
        (body["type"], body["data"]["cause"])
        for _, body in heard(running)
        if (
            email in body["data"]["identifiers"]["email"]
            if email
            else not any(body["data"]["identifiers"].values())
        )
    ]


async def test_blocks_of_a_group_and_of_everybody_end_with_their_lift_and_are_told(
    running: RunningWorld, api: Api
) -> None:
    before = len(told(running))
    for name in ({"group": "app-users"}, {}):
        cookie = await comes_in(running, ACME, BOB)
        await api.call("POST", "/blocks", {"tenant": "acme", **name, "reason": "everybody"})
        assert running.check(ACME, cookie=cookie).status in (401, 403)
        assert not await logs_in(running, ACME, BOB)
        await api.call("DELETE", f"/blocks/{await api.block('everybody')}")
    await comes_in(running, ACME, BOB)
    everything = [
        (kind, "operator")
        for kind in ("group.removed", "group.restored", "tenant.blocked", "tenant.unblocked")
    ]
    until(lambda: sorted(told(running)[before:]) == sorted(everything))


async def test_the_application_hears_what_an_operator_did_and_whom_a_directory_deleted_while_away(
    running: RunningWorld, api: Api
) -> None:
    _, _, blocked = joins(running, "acme-okta", "told-blocked")
    okta, leaver, left = joins(running, "acme-okta", "told-left")
    entra, away, gone = joins(running, "globex-entra", "told-away")
    for host, email in ((ACME, blocked), (ACME, left), (GLOBEX, gone)):
        await comes_in(running, host, email)
    for _ in range(2):
        await api.call(
            "POST",
            "/blocks",
            {
                "tenant": "acme",
                "idp_subject": pool_user(running, blocked).username.partition("_")[2],
                "reason": blocked,
            },
        )
    await api.call("DELETE", f"/blocks/{await api.block(blocked)}")
    until(
        lambda: (
            told(running, blocked)
            == [("user.deprovisioned", "operator"), ("user.restored", "operator")]
        )
    )
    users = [
        body["data"]["users"]
        for _, body in heard(running)
        if blocked in body["data"]["identifiers"]["email"]
    ]
    assert [[user["user"] for user in one] for one in users] == [
        [pool_user(running, blocked).sub]
    ] * 2, "also of whom nobody is signed in any more"

    # What Okta said is given back by hand, and its next word is news.
    running.run(okta.deactivate(leaver))
    until(lambda: told(running, left) == [("user.deprovisioned", "account")])
    (block,) = [b["id"] for b in await api.blocks() if b["who"].get("idp_subject") == leaver.id]
    explained = await api.call(
        "POST", "/explain", {"host": ACME, "path": "/", "email": left, "groups": ["app-users"]}
    )
    assert [
        step["detail"]
        for step in explained["steps"]
        if f"gateway blocks remove {block}" in step["detail"]
    ], explained
    await api.call("DELETE", f"/blocks/{block}")
    until(lambda: told(running, left)[1:] == [("user.restored", "operator")])
    running.run(okta.activate(leaver))
    running.run(okta.deactivate(leaver))
    until(lambda: told(running, left)[2:] == [("user.deprovisioned", "account")])

    # Nobody is signed in, and the directory knows them no more.
    await api.call(
        "POST",
        "/revocations",
        {"tenant": "globex", "email": gone, "kind": "end_sessions", "reason": "away"},
    )
    running.run(entra.delete(away))
    until(lambda: ("user.deprovisioned", "account") in told(running, gone))
    (body,) = [body for _, body in heard(running) if gone in body["data"]["identifiers"]["email"]]
    assert body["data"]["identifiers"] == {
        "user": [pool_user(running, gone).sub],
        "idp_subject": [pool_user(running, gone).username.partition("_")[2]],
        "oid": [away.id],
        "email": [gone],
    }


async def test_what_keeps_nobody_out_yet_is_listed_when_asked_for_and_lifted_too(
    running: RunningWorld, api: Api
) -> None:
    okta, who, email = joins(running, "acme-okta", "remembered", ("app-users", "sales"))
    running.run(
        okta.remove_from_group(who, next(g for g in okta.groups_of(who) if g.name == "sales"))
    )

    async def remembered() -> list[Any]:
        return [
            row
            for row in (await api.call("GET", "/blocks?tenant=acme&remembered=true"))["items"]
            if row["who"].get("idp_subject") == who.id
        ]

    began = time.monotonic()
    while not (rows := await remembered()):
        assert time.monotonic() - began < PATIENCE_S
        await asyncio.sleep(0.05)
    assert [(row["group"], row["source"], row["in_force"]) for row in rows] == [
        ("sales", "okta", False)
    ]
    assert await comes_in(running, ACME, email)
    assert (await api.call("DELETE", f"/blocks/{rows[0]['id']}"))["lifted"] == 1
    while await remembered():
        assert time.monotonic() - began < PATIENCE_S
        await asyncio.sleep(0.05)
