"""Whole logins, refreshes and revocations: how much of a processor one of them takes, apart for the
gateway, for its store, and for the stand-ins of Cognito and of the identity provider.

Each process' time is what the kernel counted for it, less what it uses while nobody asks; so the
cost of the stand-ins is known and is no part of the gateway's. Browsers keep their connections, as
an ingress does.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field, replace
from http.cookies import SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from demo.net import client_session
from tests.bench.load import SERVER_CPUS, family, own_seconds, pin
from tests.support.browserless import as_page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

    from aiohttp import ClientSession

    from tests.support.world import RunningWorld

T = TypeVar("T")
HOST, PROVIDER = "acme.localhost", "acme-okta"
PEOPLE = 400
"""So many that each has a few sessions, as people have."""
AT_ONCE = 8
REDIRECTS = (301, 302, 303, 307, 308)
MAX_HOPS = 20
REFRESHED_AFTER_S = 62
WRITTEN_AFTER_S = 0.2
"""After Cognito has answered, until the store was told."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one operation, the median of rounds: milliseconds of processor time by who used it, and
    how long it took (ms). ``ratios``: per second and processor of the gateway alone, each round.
    """

    name: str
    goal: str
    ms: Mapping[str, float]
    p50: float
    p99: float
    per_second: tuple[float, ...]
    remark: str = ""

    def summary(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "goal": self.goal,
            "per_second_and_processor": round(statistics.median(self.per_second)),
            "min": round(min(self.per_second)),
            "max": round(max(self.per_second)),
            "ms": {who: round(ms, 2) for who, ms in self.ms.items()},
            "p50": round(self.p50, 1),
            "p99": round(self.p99, 1),
            "remark": self.remark,
        }

    def show(self) -> None:
        said = self.summary()
        print(
            f"{self.name}\n  {said['per_second_and_processor']}/s of one processor of the gateway "
            f"(min {said['min']}, max {said['max']}, {len(self.per_second)} rounds; goal "
            f"{self.goal}){f'; {self.remark}' if self.remark else ''}\n  "
            + ", ".join(f"{who} {ms:.2f} ms" for who, ms in said["ms"].items())
            + f" of processor time; p50 {said['p50']}, p99 {said['p99']} ms at {AT_ONCE} at once",
            flush=True,
        )


SETTLE_WINDOW_S, SETTLE_WINDOWS = 1.0, 12
BUSY = 0.02
"""Of a processor, above what is used while nobody asks."""


class Clocks:
    """Processor time of everybody who takes part, from now on."""

    def __init__(self, running: RunningWorld) -> None:
        root = running.world.gateways[0].process.pid
        store = [pid for pid in family(root) if pid != root and _is_store(pid)]
        self._pids = {"gateway": [p for p in family(root) if p not in store], "store": store}
        self._running = running
        self._idle: dict[str, float] = {}
        pin([root], SERVER_CPUS)

    def read(self) -> dict[str, float]:
        """Seconds so far."""
        return {
            **{who: sum(map(own_seconds, pids)) for who, pids in self._pids.items()},
            "stand-ins": self._running.cpu_seconds(),
            "browsers": time.thread_time(),
        }

    async def settle(self) -> None:
        """What everybody uses while nobody asks, once nothing is left of what was asked: the mean
        of two windows, since a tick of the kernel is as much as the gateway uses in one.
        """
        former: dict[str, float] | None = None
        for _ in range(SETTLE_WINDOWS):
            before = self.read()
            await asyncio.sleep(SETTLE_WINDOW_S)
            now = {who: (s - before[who]) / SETTLE_WINDOW_S for who, s in self.read().items()}
            self._idle = now if former is None else {w: (s + former[w]) / 2 for w, s in now.items()}
            if former is not None and now["gateway"] >= former["gateway"]:
                return
            former = now

    async def _finished(self) -> None:
        """Until the gateway has done what it does behind the answers (users are recorded, say)."""
        for _ in range(SETTLE_WINDOWS):
            before = self.read()["gateway"]
            await asyncio.sleep(SETTLE_WINDOW_S)
            used = (self.read()["gateway"] - before) / SETTLE_WINDOW_S
            if used <= self._idle["gateway"] + BUSY:
                return

    async def cost(
        self, name: str, goal: str, rounds: int, work: Callable[[], Awaitable[list[float]]]
    ) -> Cost:
        """``work``: one round; seconds that each operation took. The first round warms up."""
        await work()
        await self.settle()
        found: list[dict[str, float]] = []
        took: list[float] = []
        for _ in range(rounds):
            before, began = self.read(), time.monotonic()
            each = await work()
            await self._finished()
            elapsed = time.monotonic() - began
            after = self.read()
            found.append(
                {
                    who: max(0.0, after[who] - before[who] - self._idle[who] * elapsed)
                    / len(each)
                    * 1e3
                    for who in after
                }
            )
            took += each
        cuts = statistics.quantiles(took, n=100)
        return Cost(
            name,
            goal,
            {who: statistics.median(one[who] for one in found) for who in found[0]},
            cuts[49] * 1e3,
            cuts[98] * 1e3,
            tuple(1e3 / one["gateway"] for one in found),
        )


def _is_store(pid: int) -> bool:
    return b"valkey" in Path(f"/proc/{pid}/cmdline").read_bytes()


@dataclass
class Browser:
    """One profile, on connections that all share. Follows redirects until the application."""

    http: ClientSession
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)
    hops: list[str] = field(default_factory=list)

    async def go(self, url: str, data: str | None = None) -> tuple[str, str]:
        """Address and text of the page that it ends at; of the application nothing is loaded."""
        for _ in range(MAX_HOPS):
            host = urlsplit(url).hostname or ""
            kept = self.cookies.setdefault(host, {})
            headers = {
                "Accept": "text/html",
                "Accept-Language": "en-US,en;q=0.9",
                "Cookie": "; ".join(f"{name}={value}" for name, value in kept.items()),
                "Sec-Fetch-Mode": "navigate",
                "Sec-Fetch-Dest": "document",
                "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0.0.0 Safari/537.36",
            }
            if data is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            method = "GET" if data is None else "POST"
            async with self.http.request(
                method, url, data=data, headers=headers, allow_redirects=False
            ) as answer:
                text = await answer.text()
                for line in answer.headers.getall("Set-Cookie", ()):
                    for name, morsel in SimpleCookie(line).items():
                        kept[name] = morsel.value
                        if morsel["max-age"] == "0":
                            del kept[name]
                location = answer.headers.get("Location")
            if answer.status not in REDIRECTS or location is None:
                return url, text
            self.hops.append(url)
            url, data = urljoin(url, location), None
            if urlsplit(url).hostname == HOST and not urlsplit(url).path.startswith("/_auth/"):
                return url, ""
        raise AssertionError(self.hops)


class Crowd:
    """People of one customer, who sign in at a started product."""

    def __init__(self, running: RunningWorld) -> None:
        self.running, self.world = running, running.world
        self.people = [f"bench-{number}@acme.test" for number in range(PEOPLE)]
        directory = self.world.cloud.customers[PROVIDER].server.directory
        for email in self.people:
            if directory.by_email(email) is None:
                directory.add_person(email, name="Ben Bench", groups=("app-users",))
        self._next = 0
        self.http: ClientSession
        self.redirects: set[tuple[int, int]] = set()
        """Of a login: those that the gateway answers, and all."""

    async def __aenter__(self) -> Self:
        self.http = client_session(timeout_s=30)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.http.close()

    async def log_in(self) -> Browser:
        """From the first check, which sends to a login, to the one that lets the browser in."""
        browser, email = Browser(self.http), self.people[self._next % PEOPLE]
        self._next += 1
        assert await self.check(browser) == 302
        origin = self.world.url(HOST)
        browser.hops.append(f"{origin}/")
        login = f"{origin}/_auth/login?{urlencode({'rd': f'{origin}/'})}"
        url, text = await browser.go(login)
        form = as_page(url, 200, text).forms[0]
        filled = {**form.fields, "email": email, "password": "demo"}
        end, text = await browser.go(form.action, urlencode(filled))
        assert end == f"{origin}/", (end, text[-400:])
        assert await self.check(browser) == 200
        ours = [hop for hop in browser.hops if urlsplit(hop).port == self.world.port]
        self.redirects.add((len(ours), len(browser.hops)))
        return browser

    async def check(self, browser: Browser) -> int:
        """As an ingress asks."""
        cookies = browser.cookies.get(HOST, {})
        headers = {
            "X-Gateway-Key": self.world.ingress_key,
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": HOST,
            "X-Forwarded-Uri": "/",
            "Accept": "text/html",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
            "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
        }
        port = self.world.gateways[0].ports["check"]
        async with self.http.get(
            f"http://127.0.0.1:{port}/auth/traefik", headers=headers, allow_redirects=False
        ) as answer:
            await answer.read()
            return answer.status

    async def sessions(self, key: str) -> list[str]:
        """Of the customer, as the admin API names them."""
        found: list[str] = []
        query = {"tenant": "acme", "limit": "200"}
        while True:
            async with self.http.get(
                f"{self.admin}/sessions", params=query, headers={"Authorization": f"Bearer {key}"}
            ) as answer:
                page = await answer.json()
                assert answer.status == 200, page
            found += [session["session"] for session in page["items"]]
            if not page.get("next"):
                return found
            query["cursor"] = page["next"]

    async def revoke(self, key: str, session: str) -> None:
        async with self.http.post(
            f"{self.admin}/revocations",
            json={"tenant": "acme", "session": session, "kind": "end_sessions"},
            headers={"Authorization": f"Bearer {key}"},
        ) as answer:
            document = await answer.json()
            assert answer.status == 201 and document["acknowledged_ms"] is not None, document

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.world.gateways[0].ports['admin']}/admin/v1"


async def at_once(items: Sequence[T], work: Callable[[T], Awaitable[object]]) -> list[float]:
    """Seconds of each, ``AT_ONCE`` at a time."""
    slots = asyncio.Semaphore(AT_ONCE)
    took: list[float] = []

    async def one(item: T) -> None:
        async with slots:
            began = time.monotonic()
            await work(item)
            took.append(time.monotonic() - began)

    await asyncio.gather(*map(one, items))
    return took


class Refreshes:
    """Sessions that are due for a refresh a minute after their login, the shortest interval."""

    ENVIRONMENT: Final[Mapping[str, str]] = {"GATEWAY_SESSION__REVALIDATE_INTERVAL": "1m"}

    def __init__(self, running: RunningWorld, count: int, rounds: int) -> None:
        self._running, self._count, self._rounds = running, count, rounds

    async def prepare(self) -> None:
        self._browsers: list[Browser] = []
        async with Crowd(self._running) as crowd:

            async def log_in(_: int) -> None:
                self._browsers.append(await crowd.log_in())

            await at_once(range(self._count * (self._rounds + 1)), log_in)
        self._due = time.monotonic() + REFRESHED_AFTER_S

    async def measure(self) -> Cost:
        """The check that makes a session be refreshed is part of it."""
        await asyncio.sleep(max(0.0, self._due - time.monotonic()))
        calls = self._running.world.cloud.cognito.faults.calls
        async with Crowd(self._running) as crowd:

            async def some() -> list[float]:
                batch = [self._browsers.pop() for _ in range(self._count)]
                expected = calls["token"] + len(batch)
                took = await at_once(batch, crowd.check)
                while calls["token"] < expected:  # noqa: ASYNC110 - another thread's, without events
                    await asyncio.sleep(0.01)
                await asyncio.sleep(WRITTEN_AFTER_S)
                return took

            return await Clocks(self._running).cost("refresh of a session", "–", self._rounds, some)


async def login_cost(running: RunningWorld, name: str, count: int, rounds: int) -> Cost:
    async with Crowd(running) as crowd:

        async def some() -> list[float]:
            return await at_once(range(count), lambda _: crowd.log_in())

        cost = await Clocks(running).cost(name, "≥ 300", rounds, some)
        ((ours, everybodys),) = crowd.redirects
        return replace(cost, remark=f"{ours} redirects by the gateway, {everybodys} in all")


async def revocation_cost(running: RunningWorld, count: int, rounds: int) -> Cost:
    key = running.run(running.world.make_admin_key())
    async with Crowd(running) as crowd:

        async def some() -> list[float]:
            sessions = [waiting.pop() for _ in range(count)]
            return await at_once(sessions, lambda session: crowd.revoke(key, session))

        await at_once(range(count * (rounds + 1)), lambda _: crowd.log_in())
        waiting = await crowd.sessions(key)
        return await Clocks(running).cost("revocation of a session", "–", rounds, some)
