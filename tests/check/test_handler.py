"""What is answered from memory, and how long its finished lines are used. Without servers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import jwt
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.check.dialects import ENDPOINTS, RawRequest, Verdict
from gateway.check.dialects.raw_request import KnownHead
from gateway.check.handler import HEAD_LIFE_S, Checks
from gateway.check.http_parser import RequestParser
from gateway.check.known_heads import KnownHeads
from gateway.check.known_requests import MAX_URI, KnownRequests
from gateway.check.log_throttle import Repeats
from gateway.check.records import record_of
from gateway.check.response import CheckResponse, encode
from gateway.config.console import Console
from gateway.config.model import Ingress, Log
from gateway.core.decision import Allow
from gateway.core.headers import identity_headers
from gateway.core.model import Secret
from gateway.core.reason import Reason
from gateway.errors import UnavailableError
from gateway.keys import ring as keys
from gateway.sessions.api import MISS
from tests.core.build import rule
from tests.ingress.checks import NO_LOOP, lines, on_wire
from tests.ingress.stand import ACME, COOKIE, KEY, Stand, identity
from tests.ingress.stand import session as session_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.check.dialects.raw_request import KnownRequest
    from gateway.check.records import CheckRecord
    from gateway.check.services import Services
    from gateway.core.model import Session
    from gateway.sessions.api import Miss

NOW = 1_800_000_000.0
TIMES = 5
"""Once to be decided, twice to be seen to come again, then known by head and URI."""


class Remembering(Stand):
    """Its sessions are in memory; none is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.is_outdated = False
        self.uses: list[object] = []

    def cached(self, cookie: str, *, host: str) -> Session | Miss | None:  # type: ignore[override]  # the protocol's
        return self.sessions.get(cookie, MISS)

    def used(self, session: Session, *, active_s: float | None) -> None:
        self.uses.append((session, active_s))

    def is_suspended(self, tenant: str) -> bool:
        return self.is_outdated

    def services(self) -> Services:
        return replace(self._services(), clock=lambda: self.now)


@pytest.fixture
async def stand() -> AsyncIterator[Remembering]:
    """Never started: nothing is served."""
    made = Remembering()
    yield made
    made._loop.close()
    made.h2c.stop()


def request(path: str = "/p", *, endpoint: str = "nginx", **more: str) -> RawRequest:
    pairs = {
        "X-Gateway-Key": KEY,
        "X-Forwarded-Method": "GET",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": ACME,
        "Host": ACME,
        "X-Forwarded-Uri": path,
        "Cookie": f"theme=dark; {COOKIE}=alice",
        **more,
    }
    raw_path = f"/auth/envoy{path}" if endpoint == "envoy" else f"/auth/{endpoint}"
    headers = CIMultiDictProxy(CIMultiDict(pairs))
    return RawRequest("GET", raw_path, headers, "127.0.0.1", lines(pairs.items()))


class Twice:
    """Each request is asked as any other, and ``TIMES`` as one of a head that was read before: they
    are answered and recorded alike.
    """

    def __init__(self, stand: Remembering, services: Services) -> None:
        self.checks, self.stand, self.heads = Checks(services), stand, KnownHeads(NO_LOOP)
        self.records: list[CheckRecord] = []
        cast("Any", self.checks._records).add = self.records.append
        cast("Any", self.checks._records).add_again = lambda *again: self.records.append(
            record_of(again)
        )

    async def ask(self, path: str = "/p", **more: str) -> tuple[int, CheckResponse]:
        """And how often it was answered without another decision."""
        plain = request(path, **more)
        expected = await self._outcome(plain)
        checks: Any = self.checks
        before = checks._allowed_again, checks._known_request
        self.again = self.by_uri = 0

        def counting(*given: Any) -> CheckResponse | None:
            answer: CheckResponse | None = before[0](*given)
            self.again += answer is not None
            return answer

        def counting_by_uri(*given: Any) -> CheckResponse | None:
            answer: CheckResponse | None = before[1](*given)
            self.by_uri += answer is not None
            return answer

        checks._allowed_again, checks._known_request = counting, counting_by_uri
        for _ in range(TIMES):
            assert await self._outcome(self._known(plain)) == expected
        checks._allowed_again, checks._known_request = before
        if self.again + self.by_uri >= TIMES - 1 and len(path) <= MAX_URI:
            assert self.by_uri >= 2, "head and URI are known"
        return self.again + self.by_uri, expected[0]

    def _known(self, plain: RawRequest) -> KnownRequest:
        pairs = [(name, plain.headers.getall(name, ())[0]) for name in plain.headers]
        data = on_wire(pairs, method="GET", raw_path=plain.raw_path)
        if self.heads.find(data, "127.0.0.1") is None:
            ((head, _),) = RequestParser(NO_LOOP).feed(data)
            self.heads.note(data, head)
            self.heads.note(data, head)
        found = self.heads.find(data, "127.0.0.1")
        assert found is not None
        return found

    async def _outcome(self, asked: RawRequest) -> tuple[CheckResponse, object, object]:
        self.records.clear()
        self.stand.uses.clear()
        self.checks._repeats = Repeats()
        answer = self.checks(asked)
        response = answer if isinstance(answer, CheckResponse) else await answer
        told = [record._replace(duration_ms=0.0) for record in self.records]
        return response, told, list(self.stand.uses)


async def test_a_known_head_is_answered_as_any_other_whatever_was_changed(
    stand: Remembering, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway")
    services = stand.services()
    twice, alice = Twice(stand, services), identity("alice@acme.test")
    stand.sign_in("alice", alice)
    before = stand.sessions["alice"]
    assert (await twice.ask())[0] == 4
    again, answer = await twice.ask("/other?x=1")
    assert again == 5 and answer.status == 200 and len(twice.records) == 1
    assert (await twice.ask("/admin/x"))[1].status == 403, "another rule speaks about it"
    assert (await twice.ask("/p%2f"))[1].status != 500
    assert (await twice.ask())[0] >= 4

    def changed() -> str:
        return header(answer, "X-Auth-Request-Groups")

    # The session: gone, another under its name, ended by the clock.
    del stand.sessions["alice"]
    assert (await twice.ask())[1].status == 401
    stand.sign_in("alice", replace(alice, groups=("app-users", "admins")))
    again, answer = await twice.ask()
    assert again == 4 and changed() == "app-users,admins"
    again, answer = await twice.ask("/admin/x")
    assert answer.status == 200
    stand.sessions["alice"] = replace(before, expires_at=int(NOW) + 10)
    assert (await twice.ask())[0] == 4
    stand.now += 10
    again, answer = await twice.ask()
    assert again == 0 and answer.status == 401
    stand.now = NOW
    stand.sessions["alice"] = before
    # The tenants: what they send, whom they let in, whether they are there.
    acme, others = stand.table.by_id("acme"), [t for t in stand.tenants if t.id != "acme"]
    assert acme is not None
    for changes, status in (
        ({"group_header_names": frozenset[str]()}, 200),
        ({"allowed_groups": frozenset({"nobody"})}, 403),
        ({"active": False}, 403),
        ({"email_domains": frozenset({"other.test"})}, 403),
        ({"shadow_rules": (rule("/**", deny=True),)}, 200),
        ({"hosts": frozenset({"elsewhere.test"})}, 403),
        ({}, 200),
    ):
        stand.table = stand.table_for([replace(acme, **cast("Any", changes)), *others])
        again, answer = await twice.ask()
        remembered = status == 200 and "shadow_rules" not in changes
        assert (answer.status, again) == (status, 4 if remembered else 0), changes
    # The keys, the age of what was signed, and tenants that must be waited for.
    _, answer = await twice.ask()
    signed = header(answer, "X-Auth-Request-Jwt")
    services.assertions.replace_keys(keys.generate())
    _, answer = await twice.ask()
    assert header(answer, "X-Auth-Request-Jwt") != signed
    stand.now += HEAD_LIFE_S
    assert (await twice.ask())[0] == 4
    stand.is_outdated = True
    stand._served.replaced = lambda table, *, within_s: asyncio.sleep(0, result=False)
    assert (await twice.ask())[1].status == 503
    stand.is_outdated = False
    assert (await twice.ask())[1].status == 200


async def test_a_known_request_is_asked_for_its_key_and_recorded_as_the_settings_say(
    stand: Remembering, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway")
    services = stand.services()
    twice = Twice(stand, services)
    stand.sign_in("alice", identity("alice@acme.test"))
    assert (await twice.ask())[0] == 4
    for settings, rates in (
        (Log(checks="sampled", checks_sample_rate=1), [1]),
        (Log(checks="denied"), []),
        (Log(), [None]),
    ):
        twice.checks.log_as(settings)
        assert (await twice.ask())[0] >= 4
        assert [record.sample_rate for record in twice.records] == rates
    ingress = services.config.ingress
    services.trust.replace(Ingress(keys=(Secret("k" * 40),)))
    again, answer = await twice.ask()
    assert (again, answer.status) == (0, 403) and b"untrusted_proxy" in answer.lines
    services.trust.replace(ingress)
    assert (await twice.ask())[0] == 5


def test_known_requests_are_few_and_short_and_came_twice() -> None:
    known: KnownRequests[int] = KnownRequests(max_entries=2)
    heads = [KnownHead("GET", "/auth/nginx") for _ in range(3)]
    assert not known.is_due(heads[0], "/a") and known.is_due(heads[0], "/a")
    long = "/" + "a" * MAX_URI
    assert not known.is_due(heads[0], long) and not known.is_due(heads[0], long)
    for number, head in enumerate(heads):
        known.note(head, "/a", number)
    assert [known.find(head, "/a") for head in heads] == [None, 1, 2], "the oldest goes first"
    assert known.find(heads[1], "/b") is None
    known.forget(heads[1], "/a")
    known.forget(heads[1], "/a")
    assert known.find(heads[1], "/a") is None
    known.clear()
    assert known.find(heads[2], "/a") is None


@pytest.mark.parametrize("failing", ["table", "load"])
async def test_while_tenants_cannot_be_read_a_known_head_is_told_so(
    stand: Remembering, failing: str
) -> None:
    twice = Twice(stand, stand.services())
    stand.sign_in("alice", identity("alice@acme.test"))
    assert (await twice.ask())[0] == 4

    def fail(*_: object) -> Any:
        raise UnavailableError

    class Failing:
        @property
        def table(self) -> Any:
            return fail() if failing == "table" else SimpleNamespace(by_host=fail)

    tenants, twice.checks._services = (
        twice.checks._services.tenants,
        replace(twice.checks._services, tenants=cast("Any", Failing())),
    )
    assert (await twice.ask())[1].status == 503
    twice.checks._services = replace(twice.checks._services, tenants=tenants)
    again, answer = await twice.ask()
    assert (again, answer.status) == (4, 200)


async def test_an_answer_that_is_too_large_to_keep_is_made_each_time(stand: Remembering) -> None:
    twice, alice = Twice(stand, stand.services()), identity("alice@acme.test")
    stand.sign_in("alice", alice)
    assert (await twice.ask(**{"X-Request-Id": "a"}))[0] == 4
    stand.sign_in(
        "alice", replace(alice, groups=("app-users", *(f"group-{n:04}" for n in range(400))))
    )
    again, answer = await twice.ask(**{"X-Request-Id": "a"})
    assert (again, answer.status) == (0, 200) and len(answer.lines) > 4096


async def test_at_the_consoles_host_a_known_head_says_nobody_below_the_links(
    stand: Remembering,
) -> None:
    services = stand.services()
    config = services.config.model_copy(update={"console": Console(host=ACME)})
    twice = Twice(stand, replace(services, config=config))
    stand.sign_in("alice", identity("alice@acme.test"))
    assert (await twice.ask("/console"))[0] == 0
    _, answer = await twice.ask("/console/link/x")
    assert header(answer, "X-Auth-Request-User") == ""


def at_once(checks: Checks, asked: RawRequest) -> CheckResponse:
    answer = checks(asked)
    assert isinstance(answer, CheckResponse), "it had to wait"
    return answer


def header(response: CheckResponse, name: str) -> str:
    lines = response.lines.decode().split("\r\n")
    (value,) = [line.partition(": ")[2] for line in lines if line.partition(": ")[0] == name]
    return value


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_an_allow_from_memory_is_what_the_dialect_would_have_rendered(
    stand: Remembering, endpoint: str
) -> None:
    stand.sign_in("alice", identity("alice@acme.test"))
    checks, asked = Checks(stand.services()), request(endpoint=endpoint, Authorization="Basic eDp5")
    first, second = at_once(checks, asked), at_once(checks, asked)
    assert first == second
    if endpoint == "nginx-page":
        assert first == CheckResponse(502), "it lets nobody in"
        return
    parsed = ENDPOINTS[endpoint].parse(asked, cookie_name=COOKIE)
    tenant = stand.table.by_id("acme")
    assert tenant is not None
    headers = identity_headers(
        tenant,
        identity("alice@acme.test"),
        assertion=header(first, "X-Auth-Request-Jwt"),
    )
    assert headers is not None
    verdict = Verdict(decision=Allow(Reason.OK), headers=headers)
    assert first == encode(ENDPOINTS[endpoint].render(verdict, cast("Any", parsed)))


async def test_lines_of_another_session_tenant_or_key_are_used_no_longer(
    stand: Remembering,
) -> None:
    services = stand.services()
    checks = Checks(services)
    stand.sign_in("alice", identity("alice@acme.test", groups=("app-users", "a")))

    def told(name: str = "X-Auth-Request-Groups") -> str:
        return header(at_once(checks, request()), name)

    def key_id() -> str:
        return str(jwt.get_unverified_header(told("X-Auth-Request-Jwt"))["kid"])

    assert told() == "app-users,a"
    stand.sign_in("alice", identity("alice@acme.test", groups=("app-users", "b")))
    assert told() == "app-users,b", "the session was changed, under its own name"
    acme = stand.table.by_id("acme")
    assert acme is not None
    others = [tenant for tenant in stand.tenants if tenant.id != "acme"]
    narrowed = replace(acme, group_header_names=frozenset({"app-users"}))
    stand.table = stand.table_for([narrowed, *others])
    assert told() == "app-users", "the tenants were"
    before = key_id()
    services.assertions.replace_keys(keys.generate())
    assert key_id() != before, "the key ring was"


async def test_lines_are_signed_anew_long_before_the_assertion_in_them_ends(
    stand: Remembering,
) -> None:
    checks, expiries = Checks(stand.services()), set()
    stand.sign_in("alice", identity("alice@acme.test"))
    for _ in range(40):
        token = header(at_once(checks, request()), "X-Auth-Request-Jwt")
        expires = jwt.decode(token, options={"verify_signature": False})["exp"]
        assert expires - stand.now >= 60 - HEAD_LIFE_S
        expiries.add(expires)
        stand.now += HEAD_LIFE_S / 2
    assert len(expiries) > 1


async def test_what_memory_does_not_hold_waits_and_what_it_must_not_say_too(
    stand: Remembering,
) -> None:
    checks = Checks(stand.services())
    stand.sign_in("alice", identity("alice@acme.test"))
    assert at_once(checks, request()).status == 200
    waits = checks(request(Cookie=f"{COOKIE}=nobody"))
    assert not isinstance(waits, CheckResponse)
    assert (await waits).status == 401
    stand.is_outdated = True
    waits = checks(request())
    assert not isinstance(waits, CheckResponse), "newer tenants are on their way"
    stand._served.replaced = lambda table, *, within_s: asyncio.sleep(0, result=False)
    assert (await waits).status == 503
    stand.is_outdated = False
    stand.sessions["alice"] = replace(
        session_of("alice", identity("alice@acme.test")), expires_at=int(NOW)
    )
    assert at_once(checks, request()).status == 401, "it has expired since it was read"


async def test_a_peer_that_is_not_trusted_and_an_address_of_nobody_are_told_at_once(
    stand: Remembering,
) -> None:
    checks = Checks(stand.services())
    stand.sign_in("alice", identity("alice@acme.test"))
    answer = at_once(checks, request(**{"X-Gateway-Key": "wrong"}))
    assert answer.status == 403 and b"untrusted_proxy" in answer.lines
    assert at_once(checks, request(endpoint="unknown")).status == 404
    assert at_once(checks, request(endpoint="nginx/x?y")).status == 200


async def test_settings_of_the_log_hold_from_the_next_check_on(
    stand: Remembering, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway")
    checks = Checks(stand.services())
    stand.sign_in("alice", identity("alice@acme.test"))

    async def told(settings: Log) -> list[tuple[str, object]]:
        """Of an allowed check, one that a rule would deny next, and one that is denied."""
        caplog.clear()
        checks.log_as(settings)
        acme = stand.table.by_id("acme")
        assert acme is not None
        trying = replace(acme, shadow_rules=(rule("/**", deny=True),))
        at_once(checks, request())
        served = stand.table
        others = [tenant for tenant in stand.tenants if tenant.id != "acme"]
        stand.table = stand.table_for([trying, *others])
        answer = checks(request())
        assert not isinstance(answer, CheckResponse)
        assert (await answer).status == 200
        stand.table = served
        at_once(checks, request(**{"X-Gateway-Key": "wrong"}))
        await asyncio.sleep(0)
        lines = [vars(record)["gateway_fields"] for record in caplog.records]
        return [(line["would_decide"] or line["decision"], line["sample_rate"]) for line in lines]

    special: list[tuple[str, object]] = [("deny", None), ("deny", None)]
    assert await told(Log()) == [("allow", None), *special]
    assert await told(Log(checks="sampled", checks_sample_rate=1)) == [("allow", 1), *special]
    assert await told(Log(checks="denied")) == special
    assert await told(Log(checks="off")) == []


async def test_without_its_store_each_check_is_one_line_and_the_outage_one_a_second(
    stand: Remembering, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "gateway")

    async def silent(cookie: str, *, host: str) -> Session | None:
        raise UnavailableError(f"Redis: read: {cookie} {host}")

    monkeypatch.setattr(stand, "find", silent)
    checks = Checks(stand.services())
    for number in range(50):
        waits = checks(request(f"/{number}", Cookie=f"{COOKIE}=nobody"))
        assert not isinstance(waits, CheckResponse)
        assert (await waits).status == 503
    await asyncio.sleep(0)
    events = [record.getMessage() for record in caplog.records]
    assert (events.count("check"), events.count("store_unavailable")) == (50, 1)
    assert len(events) == 51


async def test_what_the_app_gets_of_the_clients_own_is_this_requests(stand: Remembering) -> None:
    checks = Checks(stand.services())
    stand.sign_in("alice", identity("alice@acme.test"))
    for theme in ("dark", "light", "dark", "x" * 5_000, "dark"):
        cookies = f"theme={theme}; {COOKIE}=alice"
        for more in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Basic eDp6"}, {}):
            answer = at_once(checks, request(Cookie=cookies, **more))
            assert header(answer, "Cookie") == f"theme={theme}"
            given = more.get("Authorization", "")
            assert answer.lines.count(b"Authorization: ") == bool(given)
            assert given == "" or header(answer, "Authorization") == given


CONSOLE = "console.example.com"


@pytest.mark.parametrize("endpoint", [name for name in ENDPOINTS if name != "nginx-page"])
async def test_one_time_links_of_the_console_are_for_everybody_and_say_nobody(
    stand: Remembering, endpoint: str
) -> None:
    """Before any tenant has the host, and whatever cookie or identity header there is."""
    services = stand.services()
    config = services.config.model_copy(update={"console": Console(host=CONSOLE)})
    checks = Checks(replace(services, config=config))
    stand.sign_in("alice", identity("alice@acme.test"))

    def ask(path: str, host: str = CONSOLE) -> CheckResponse:
        more = {"X-Forwarded-Host": host, "Host": host}
        if endpoint == "envoy":
            more = {"Host": host}
        return at_once(checks, request(path, endpoint=endpoint, **more))

    for path in ("/console/link", "/console/link/", "/console/link/tenants/acme?code=x"):
        answer = ask(path)
        assert answer.status == 200, path
        for name in config.managed_headers:
            assert header(answer, name) == "", name
    for path in (
        "/",
        "/console",
        "/console/tenants",
        "/console/linked",
        "/console/link/../tenants",
        "/console/link/%2e%2e/tenants",
        "/console/link/..%2ftenants",
        "/console/link//tenants",
        "/console/link/a;b",
        "/CONSOLE/LINK",
    ):
        assert ask(path).status != 200, path
    assert ask("/console/link", "acme.example.com").status != 200
    assert ask("/console/link", f"x.{CONSOLE}").status != 200


async def test_without_a_console_no_path_is_its_own(stand: Remembering) -> None:
    checks = Checks(stand.services())
    asked = request("/console/link", **{"X-Forwarded-Host": CONSOLE, "Host": CONSOLE})
    assert at_once(checks, asked).status != 200
