"""Clients with seeded behavior: people who log in, work, are removed and come back, an operator,
and a customer who is onboarded again and again. What they saw is in the history.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal

import aiohttp
import asyncpg

from gateway.sessions.keyspace import bucket_of
from tests.soak.chaos.deployment import ADMINS, AUTHS, HOOK_SECRET, Deployment
from tests.soak.chaos.history import (
    Answered,
    Check,
    Ended,
    History,
    Lifted,
    SessionStarted,
    WebhookOwed,
    now,
)
from tests.soak.chaos.host import DOMAIN
from tests.support.browserless import Person

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from tests.soak.chaos.history import Scope
    from tests.support.browserless import Page

TENANTS: Final = {"acme": "acme-okta", "globex": "globex-entra", "hooli": "hooli-okta"}
CONTRACTORS: Final = "contractors"
PEOPLE: Final[Mapping[str, list[tuple[str, tuple[str, ...]]]]] = {
    "acme-okta": [
        *((f"stay{n}@acme.test", ("app-users",)) for n in range(3)),
        *((f"user{n}@acme.test", ("app-users",)) for n in range(8)),
        *((f"contractor{n}@acme.test", ("app-users", CONTRACTORS)) for n in range(3)),
    ],
    "globex-entra": [
        *((f"stay{n}@globex.test", ("app-users",)) for n in range(1)),
        *((f"member{n}@globex.test", ("app-users",)) for n in range(4)),
    ],
    "hooli-okta": [(f"hand{n}@hooli.test", ("staff",)) for n in range(3)],
    "initech-okta": [("peter@initech.test", ("app-users",))],
}
GIVE_UP_S: Final = 15.0
"""Of one request: what was not answered by then is asked again."""
PERHAPS_S: Final = 60.0
"""What was asked and not promised may still happen for so long."""
CHECK_GIVES_UP_S: Final = 8.0
PAUSE_S: Final = 0.05
RECENT: Final = 24
CONNECTIONS: Final = 3
"""To each replica, when all of its workers shall be asked."""
PROBE_USER: Final = "nobody@acme.test"


@dataclass(eq=False, slots=True)
class User:
    """Somebody at a tenant; ``sub`` is known after a first check that allowed."""

    email: str
    tenant: str
    groups: tuple[str, ...]
    stays: bool
    sub: str = ""
    cookies: dict[str, str] = field(default_factory=dict)
    """Session → cookie, of those that nobody has ended."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def name(self) -> str:
        return self.email


@dataclass(frozen=True, slots=True)
class Asked:
    """What one check shall ask."""

    session: str
    cookie: str
    host_tenant: str
    user: User | None


class Ingress:
    """One keep-alive connection to a replica's check listener, as a proxy has it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, asked: Sequence[Asked]) -> None:
        """All at once: with more than one they are pipelined."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        self._streams[1].write(b"".join(_request(one) for one in asked))

    async def answer(self) -> tuple[int, dict[str, str]]:
        assert self._streams is not None
        head = (await self._streams[0].readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        await self._streams[0].readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split(" ", 2)[1]), headers

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def _request(asked: Asked) -> bytes:
    return (
        "GET /auth/nginx HTTP/1.1\r\nHost: gateway\r\nX-Forwarded-Method: GET\r\n"
        f"X-Forwarded-Proto: https\r\nX-Forwarded-Host: {asked.host_tenant}{DOMAIN}\r\n"
        f"X-Forwarded-Uri: /\r\nCookie: __Host-gw={asked.cookie}\r\n\r\n"
    ).encode("ascii")


class Clients:
    """All of them. ``work`` goes on until ``stopping``."""

    def __init__(self, deployment: Deployment, history: History, seed: int, *, loops: int) -> None:
        """``loops``: how many log in and end it again at a time; half as many again check."""
        self.deployment, self.history, self._seed = deployment, history, seed
        self._loops = loops
        self.users = [
            User(
                email,
                email.partition("@")[2].removesuffix(".test"),
                groups,
                email.startswith("stay"),
            )
            for provider, people in PEOPLE.items()
            if provider != "initech-okta"
            for email, groups in people
        ]
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.ended: list[Asked] = []
        """Those who were ended last."""
        self._sessions, self._operations = itertools.count(), itertools.count()
        self._policy = asyncio.Lock()
        self.stopping = asyncio.Event()
        """Set: whoever has begun something finishes it, and begins nothing more."""

    def stream(self, name: str) -> Random:
        """Each client draws from a stream of its own, so that none depends on how fast another
        is.
        """
        return Random(f"{self._seed} {name}")

    async def work(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._loops + self._loops // 2):
                group.create_task(self._check_for_ever(number))
            for number in range(self._loops):
                group.create_task(self._come_and_go(number))
            group.create_task(self._onboard())

    # --- checks ----------------------------------------------------------------------------------

    async def _check_for_ever(self, number: int) -> None:
        chance = self.stream(f"checks {number}")
        ingresses = [Ingress(self.deployment.gateways[name].ports["check"]) for name in AUTHS]
        try:
            while not self.stopping.is_set():
                replica = chance.randrange(len(AUTHS))
                count = chance.choice((1, 1, 1, 2, 6))
                asked = [one for one in (self._somebody(chance) for _ in range(count)) if one]
                if asked:
                    await self.check(ingresses[replica], replica, asked)
                await asyncio.sleep(PAUSE_S)
        finally:
            for ingress in ingresses:
                ingress.close()

    def _somebody(self, chance: Random) -> Asked | None:
        draw = chance.random()
        if draw < 0.03:
            garbage = "".join(chance.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(43))
            return Asked("", f"{bucket_of('acme'):03x}{garbage}", "acme", None)
        if draw < 0.4 and self.ended:
            recent: Asked = chance.choice(self.ended[-RECENT:])
            return recent
        alive = [user for user in self.users if user.cookies]
        if not alive:
            return None
        user = chance.choice(alive)
        session, cookie = chance.choice(sorted(user.cookies.items()))
        host = chance.choice(sorted(TENANTS)) if draw > 0.95 else user.tenant
        return Asked(session, cookie, host, user)

    async def check(self, ingress: Ingress, replica: int, asked: Sequence[Asked]) -> list[Check]:
        """Recorded, each one, answered or not."""
        sent, checks = now(), []
        try:
            await ingress.send(asked)
        except OSError:
            ingress.close()
        for one in asked:
            status, headers = 0, dict[str, str]()
            try:
                async with asyncio.timeout(CHECK_GIVES_UP_S):
                    status, headers = await ingress.answer()
            except (OSError, TimeoutError, AssertionError, asyncio.IncompleteReadError):
                ingress.close()
            check = Check(
                one.session,
                replica,
                one.host_tenant,
                sent,
                now(),
                status,
                headers.get("x-auth-reason", ""),
                headers.get("x-auth-request-email", ""),
                headers.get("x-auth-request-tenant", ""),
                "retry-after" in headers,
            )
            if status == 200 and one.user is not None:
                one.user.sub = headers.get("x-auth-request-user", "")
            self.history.add(check)
            self.counts["check"] += 1
            checks.append(check)
        return checks

    # --- people ----------------------------------------------------------------------------------

    async def log_in(self, user: User, *, keep: Person | None = None) -> bool:
        """Whether there is a session now."""
        self.counts["login"] += 1
        began = now()
        origin = self.deployment.origin(user.tenant)
        async with contextlib.AsyncExitStack() as stack:
            person = Person() if keep is None else keep
            if keep is None:
                await stack.enter_async_context(person)
            try:
                page = self._seen(await person.open(f"{origin}/_auth/login?rd=/_auth/userinfo"))
                form = page.forms[0] if page.forms else None
                if form is None or "password" not in form.fields:
                    return False
                page = self._seen(
                    await person.submit(page, {"email": user.email, "password": "demo"})
                )
            except (aiohttp.ClientError, TimeoutError, AssertionError, OSError):
                return False
            cookie = person.cookies(f"{user.tenant}{DOMAIN}").get("__Host-gw")
        if not cookie:
            return False
        session = f"s{next(self._sessions)}"
        user.cookies[session] = cookie
        self.counts["logged in"] += 1
        self.history.add(
            SessionStarted(session, user.name, user.email, user.tenant, user.groups, began, now())
        )
        return True

    def _seen(self, page: Page) -> Page:
        for hop in page.hops:
            if "/_auth/" in hop.url:
                self._answered(
                    "public",
                    f"{hop.method} {hop.url.partition('?')[0].rpartition('/')[2]}",
                    hop.status,
                    hop.header("Retry-After") is not None,
                )
        return page

    def _answered(
        self,
        listener: Literal["public", "admin", "hooks"],
        what: str,
        status: int,
        retry_after: bool,
    ) -> None:
        self.history.add(Answered(listener, what, now(), status, retry_after))

    async def log_in_at_last(self, user: User) -> None:
        while not await self.log_in(user):  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(1.0)

    async def gone(self, user: User) -> None:
        """Their sessions were ended: every replica is asked at once, and for a while."""
        gone = [
            Asked(session, cookie, user.tenant, user) for session, cookie in user.cookies.items()
        ]
        user.cookies.clear()
        self.ended += gone
        await self._everywhere(gone)

    async def _everywhere(self, asked: Sequence[Asked]) -> None:
        """By each replica, over connections of its own: more than there are workers."""

        async def one(replica: int, name: str) -> None:
            ingress = Ingress(self.deployment.gateways[name].ports["check"])
            try:
                await self.check(ingress, replica, asked)
            finally:
                ingress.close()

        if asked:
            each = [(n, name) for n, name in enumerate(AUTHS) for _ in range(CONNECTIONS)]
            await asyncio.gather(*(one(*where) for where in each))

    async def _come_and_go(self, number: int) -> None:
        chance = self.stream(f"people {number}")
        means: dict[Callable[[User, Random], Awaitable[None]], int] = {
            self._revoked: 5,
            self._session_revoked: 2,
            self._blocked: 2,
            self._logged_out: 3,
            self._suspended: 3,
            self._deactivated_by_scim: 2,
            self._group_revoked: 1,
            self._tenant_revoked: 1,
            self._policy_narrowed: 1,
        }
        while not self.stopping.is_set():
            (how,) = chance.choices(list(means), list(means.values()))
            where = set(TENANTS)
            if how == self._suspended:
                where = {"acme"}
            elif how == self._deactivated_by_scim:
                where = {"globex"}
            user = chance.choice([u for u in self.users if not u.stays and u.tenant in where])
            async with user.lock:
                while len(user.cookies) < chance.choice((1, 1, 2)) and not self.stopping.is_set():
                    if not await self.log_in(user):
                        await asyncio.sleep(0.5)
            # Each worker remembers them now, if it may.
            await self._everywhere(
                [
                    Asked(session, cookie, user.tenant, user)
                    for session, cookie in user.cookies.items()
                ]
            )
            await asyncio.sleep(chance.random() * 0.5)
            await how(user, chance)

    # --- ways to end sessions --------------------------------------------------------------------

    async def admin(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        """One answer of one admin role; status 0 where none came."""
        number = next(self._operations) % len(ADMINS)
        try:
            async with self.deployment.http.request(
                method,
                f"{self.deployment.admin_url(number)}/admin/v1/{path}",
                json=body,
                headers={**self.deployment.authorized, **headers},
                timeout=aiohttp.ClientTimeout(total=GIVE_UP_S),
            ) as response:
                text = await response.text()
                answer = json.loads(text) if text else None
                what = f"{method} {path.partition('?')[0]} {(answer or {}).get('code', '')}"
                self._answered("admin", what, response.status, "Retry-After" in response.headers)
                lowered = {name.lower(): value for name, value in response.headers.items()}
                return response.status, answer, lowered
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, None, {}

    @contextlib.asynccontextmanager
    async def _ending(
        self,
        means: str,
        scope: Scope,
        tenant: str,
        value: str,
        *,
        lasting: bool = False,
        ends_sessions: bool = True,
    ) -> AsyncIterator[_Operation]:
        """Recorded whatever happens: what was tried may have happened."""
        operation = _Operation(f"{means}-{next(self._operations)}", now())
        self.counts[means] += 1
        try:
            yield operation
        finally:
            self.history.add(
                Ended(
                    operation.name,
                    means,
                    scope,
                    tenant,
                    value,
                    operation.sent,
                    operation.acknowledged,
                    operation.perhaps_until
                    if operation.acknowledged is not None
                    else now() + PERHAPS_S,
                    lasting,
                    ends_sessions,
                )
            )

    async def _until_acknowledged(self, operation: _Operation, body: dict[str, Any]) -> Any:
        """Again and again, as an operator's script does."""
        while True:
            status, answer, _ = await self.admin("POST", "revocations", body)
            if status in {200, 201}:
                operation.acknowledged = now()
                return answer
            operation.perhaps_until = now() + PERHAPS_S
            await asyncio.sleep(0.3)

    def _whom(self, user: User, chance: Random) -> dict[str, Any]:
        by_user = user.sub and chance.random() < 0.5
        return {
            "tenant": user.tenant,
            "reason": "chaos",
            **({"user": user.sub} if by_user else {"email": user.email}),
        }

    async def _revoked(self, user: User, chance: Random) -> None:
        body = {**self._whom(user, chance), "kind": "end_sessions"}
        async with user.lock, self._ending("revocation", "user", user.tenant, user.name) as one:
            await self._until_acknowledged(one, body)
            await self.gone(user)

    async def _session_revoked(self, user: User, _chance: Random) -> None:
        async with user.lock, self._ending("session", "user", user.tenant, user.name) as one:
            query = f"sessions?tenant={user.tenant}&email={user.email}&limit=100"
            while (listed := await self.admin("GET", query))[0] != 200:  # noqa: ASYNC110 - theirs
                await asyncio.sleep(0.3)
            for row in listed[1]["items"]:
                body = {"tenant": user.tenant, "session": row["session"], "kind": "end_sessions"}
                await self._until_acknowledged(one, body)
            await self.gone(user)

    async def _blocked(self, user: User, chance: Random) -> None:
        """And let in again after a while."""
        body = {**self._whom(user, chance), "kind": "block"}
        async with user.lock:
            async with self._ending("block", "user", user.tenant, user.name, lasting=True) as one:
                await self._until_acknowledged(one, body)
                await self.gone(user)
            await self.log_in(user)  # it must come to nothing, or to a session that is denied
            await asyncio.sleep(chance.random())
            await self._lift(one.name, user)

    async def _lift(self, operation: str, user: User) -> None:
        sent = now()
        while True:
            status, answer, _ = await self.admin("GET", f"blocks?tenant={user.tenant}&limit=100")
            if status == 200:
                blocks = [
                    row["id"]
                    for row in answer["items"]
                    if row["source"].startswith(("admin", "operator", "key", "api"))
                    and {user.email, user.sub} & set(row["who"].values())
                ]
                results = [(await self.admin("DELETE", f"blocks/{block}"))[0] for block in blocks]
                if all(result in {200, 404} for result in results) and not blocks:
                    break
            await asyncio.sleep(0.2)
        await self.gone(user)
        self.history.add(Lifted(operation, sent, now()))

    async def _logged_out(self, user: User, _chance: Random) -> None:
        """A browser of its own: it logs in, and out again."""
        async with user.lock, Person() as person:
            before = set(user.cookies)
            if not await self.log_in(user, keep=person):
                return
            (session,) = set(user.cookies) - before
            origin = self.deployment.origin(user.tenant)
            async with self._ending("logout", "session", user.tenant, session) as one:
                while one.acknowledged is None:
                    with contextlib.suppress(
                        aiohttp.ClientError, TimeoutError, AssertionError, OSError
                    ):
                        page = self._seen(await person.open(f"{origin}/_auth/logout"))
                        if page.status == 200 and page.forms:
                            page = self._seen(await person.submit(page, {}, follow=False))
                            if page.status in {302, 303}:
                                one.acknowledged = now()
                                break
                    await asyncio.sleep(0.3)
                cookie = user.cookies.pop(session)
                self.ended.append(Asked(session, cookie, user.tenant, user))

    async def _group_revoked(self, _user: User, _chance: Random) -> None:
        members = [user for user in self.users if CONTRACTORS in user.groups]
        async with contextlib.AsyncExitStack() as stack:
            for member in members:
                await stack.enter_async_context(member.lock)
            async with self._ending("group", "group", "acme", CONTRACTORS) as one:
                body = {"tenant": "acme", "group": CONTRACTORS, "kind": "end_sessions"}
                await self._until_acknowledged(one, body)
                for member in members:
                    await self.gone(member)

    async def _tenant_revoked(self, _user: User, _chance: Random) -> None:
        members = [user for user in self.users if user.tenant == "hooli"]
        async with contextlib.AsyncExitStack() as stack:
            for member in members:
                await stack.enter_async_context(member.lock)
            async with self._ending("tenant", "tenant", "hooli", "") as one:
                await self._until_acknowledged(one, {"tenant": "hooli", "kind": "end_sessions"})
                for member in members:
                    await self.gone(member)

    async def _policy_narrowed(self, _user: User, chance: Random) -> None:
        """Nobody's groups are enough for a while; sessions stay."""
        async with self._policy:
            async with self._ending(
                "policy", "tenant", "hooli", "", lasting=True, ends_sessions=False
            ) as one:
                await self._put_hooli(["nobody-has-it"])
                one.acknowledged = now()
            await asyncio.sleep(chance.random() * 2)
            sent = now()
            await self._put_hooli("any")
            self.history.add(Lifted(one.name, sent, now()))

    async def _put_hooli(self, groups: list[str] | str) -> None:
        while True:
            status, answer, headers = await self.admin("GET", "tenants/hooli")
            if status == 200:
                document = {**answer["tenant"], "allowed_groups": groups}
                match = {"If-Match": headers["etag"]}
                if (await self.admin("PUT", "tenants/hooli", document, **match))[0] in {200, 201}:
                    return
            await asyncio.sleep(0.3)

    # --- at the identity providers ---------------------------------------------------------------

    async def _suspended(self, user: User, chance: Random) -> None:
        """In Okta, which sends an event; and active again after a while."""
        async with user.lock:
            async with self._ending("okta", "user", "acme", user.name, lasting=True) as one:
                event = await self._click("acme-okta", user, "suspend")
                await self._applied(event)
                one.acknowledged = now()
                self.history.add(WebhookOwed(user.email, one.sent))
                await self.gone(user)
            await asyncio.sleep(chance.random())
            sent = now()
            event = await self._click("acme-okta", user, "unsuspend")
            await self._applied(event)
            await self.gone(user)
            self.history.add(Lifted(one.name, sent, now()))

    async def _click(self, provider: str, user: User, action: str) -> str:
        answer = await self.deployment.ask_cloud(
            "action", provider=provider, email=user.email, action=action
        )
        return str(answer["event"])

    async def _applied(self, event: str) -> None:
        """Until the gateway has done what the event says; it says so after all replicas know."""
        while True:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError):
                rows = await self.deployment.postgres.ask(
                    "SELECT state FROM hook_inbox WHERE event = $1", event
                )
                if any(row["state"] not in {"new", "held"} for row in rows):
                    return
            await asyncio.sleep(0.5)

    async def _deactivated_by_scim(self, user: User, _chance: Random) -> None:
        async with user.lock:
            async with self._ending("scim", "user", "globex", user.name, lasting=True) as one:
                await self._click("globex-entra", user, "deactivate")
                await self.provision_by_scim()
                await self.settled()
                one.acknowledged = now()
                await self.gone(user)
            sent = now()
            await self._click("globex-entra", user, "activate")
            await self.provision_by_scim()
            await self.settled()
            await self.gone(user)
            self.history.add(Lifted(one.name, sent, now()))

    async def provision_by_scim(self) -> None:
        """One whole cycle, as often as it takes."""
        base = f"{self.deployment.hooks_url}/scim/v2/globex/globex-entra"
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                answer = await self.deployment.ask_cloud(
                    "scim", provider="globex-entra", base=base, token=HOOK_SECRET
                )
                for method, path, status in answer["requests"]:
                    self._answered("hooks", f"{method} {path}", status, retry_after=True)
                return
            await asyncio.sleep(0.5)

    async def settled(self) -> None:
        """Every event of the provider that was accepted until now has been applied."""
        numbers: list[int] | None = None
        while numbers is None or numbers:
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError):
                rows = await self.deployment.postgres.ask(
                    "SELECT number FROM hook_inbox WHERE tenant = 'globex' AND state = 'new'"
                )
                now_new = [row["number"] for row in rows]
                numbers = now_new if numbers is None else [n for n in numbers if n in now_new]
            await asyncio.sleep(0.3)

    # --- a customer who comes and goes -----------------------------------------------------------

    async def _onboard(self) -> None:
        chance = self.stream("onboarding")
        while not self.stopping.is_set():
            await asyncio.sleep(chance.random() * 2)
            self.counts["provision"] += 1
            told = self.deployment.described["initech-okta"]
            body = {
                "provider": {
                    "client_id": told["client_id"],
                    "client_secret": told["client_secret"],
                    "oidc_issuer": told["issuer"],
                },
                "group": "app-users",
                "allowed_domain": "initech.test",
                "hosts": [f"initech{DOMAIN}"],
            }
            status, _, _ = await self.admin("POST", "tenants/initech/provision", body)
            self.counts["provisioned"] += status == 201
            if status in {201, 409} or chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 2)
                await self.admin("DELETE", "tenants/initech/provision")

    async def offboard(self) -> bool:
        """Whether nothing of that customer is left, as far as the gateway knows."""
        return (await self.admin("DELETE", "tenants/initech/provision"))[0] in {204, 404}


@dataclass(eq=False, slots=True)
class _Operation:
    name: str
    sent: float
    acknowledged: float | None = None
    perhaps_until: float = 0.0
