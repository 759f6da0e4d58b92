"""The next rules are evaluated beside the check: told, counted, never obeyed."""

from __future__ import annotations

import http.client
import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from gateway.check.shadow_rules import look_up, would_decide
from gateway.core.authorization import Basic
from gateway.core.decision import Allow, Deny, Login
from gateway.core.model import AppPassword, MachineToken
from gateway.core.reason import Reason
from gateway.core.rule import BearerRule
from gateway.errors import UnavailableError
from gateway.sessions.api import MISS, Miss
from tests.core.build import NOW, request, rule, session, tenant
from tests.support.tokens import machine_token

if TYPE_CHECKING:
    from gateway.core.model import AuthRequest, PoolPasswordResult, Session, Tenant
    from tests.support.browserless import Person
    from tests.support.world import Checked, RunningWorld

ACME = "acme.localhost"


def checked(world: RunningWorld, path: str, **how: Any) -> tuple[Checked, dict[str, Any]]:
    """The answer and its one log record."""
    name = secrets.token_hex(8)
    answer = world.check(
        ACME, path, headers={"X-Request-Id": name, **how.pop("headers", {})}, **how
    )
    records = [json.loads(line) for line in world.log().splitlines() if name in line]
    assert len(records) == 1, "one record for each check"
    return answer, records[0]


def metrics(world: RunningWorld) -> str:
    connection = http.client.HTTPConnection(
        "127.0.0.1", world.world.gateways[0].ports["admin"], timeout=10
    )
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def mismatches(world: RunningWorld) -> float:
    """Counted until now: public paths that the next rules would refuse to somebody signed in."""
    series = (
        'gateway_shadow_rule_mismatches_total{decision="allow",tenant="acme",would_decide="deny"} '
    )
    found = [line for line in metrics(world).splitlines() if line.startswith(series)]
    return float(found[0].removeprefix(series)) if found else 0.0


async def signed_in(world: RunningWorld, person: Person, email: str) -> str:
    await person.log_in(f"{world.world.url(ACME)}/_auth/login?{urlencode({'rd': '/'})}", email)
    return person.cookies(ACME)["__Host-gw"]


# --- against the running product
# ---------------------------------------------------------------------


async def test_a_difference_is_logged_and_counted_and_the_rules_of_today_are_obeyed(
    policy: RunningWorld, visitor: Person
) -> None:
    answer, record = checked(policy, "/public/x")
    assert (answer.status, record["decision"], record["reason"]) == (200, "allow", "public")
    assert (record["would_decide"], record["would_reason"]) == ("login", "no_session")
    cookie = await signed_in(policy, visitor, "bob@acme.test")
    before = mismatches(policy)
    answer, record = checked(policy, "/public/x", cookie=cookie)
    assert (answer.status, record["would_decide"], record["would_reason"]) == (
        200,
        "deny",
        "group_missing",
    )
    assert mismatches(policy) == before + 1


async def test_where_both_say_the_same_nothing_is_said(
    policy: RunningWorld, visitor: Person
) -> None:
    _, record = checked(policy, "/")
    assert "would_decide" not in record
    cookie = await signed_in(policy, visitor, "alice@acme.test")
    _, record = checked(policy, "/admin/x", cookie=cookie)
    assert record["decision"] == "allow"
    assert "would_decide" not in record


def test_rules_that_will_open_open_nothing_today(policy: RunningWorld) -> None:
    answer, record = checked(policy, "/opening/x")
    assert (answer.status, record["would_decide"], record["would_reason"]) == (
        401,
        "allow",
        "public",
    )


def test_a_machine_is_told_from_a_person_under_either_set_of_rules(policy: RunningWorld) -> None:
    bearer = {"Authorization": f"Bearer {machine_token(policy)}"}
    answer, record = checked(policy, "/api/x", headers=bearer)
    assert (answer.status, record["would_decide"], record["would_reason"]) == (
        200,
        "login",
        "bearer_invalid",
    )
    answer, record = checked(policy, "/becoming/x", headers=bearer)
    assert (answer.status, record["would_decide"], record["would_reason"]) == (
        401,
        "allow",
        "bearer",
    ), "the token that today's rules do not look at"
    answer, record = checked(policy, "/closing/x", headers=bearer)
    assert (answer.status, record["would_decide"], record["would_reason"]) == (
        200,
        "deny",
        "rule_denied",
    )


async def test_a_session_that_todays_rule_does_not_take_is_looked_up_for_the_next(
    policy: RunningWorld, visitor: Person
) -> None:
    cookie = await signed_in(policy, visitor, "bob@acme.test")
    answer, record = checked(policy, "/machines/x", cookie=cookie)
    assert (answer.status, record["would_decide"], record["would_reason"]) == (401, "allow", "ok")
    assert "user" not in record, "who was found for the next rules is not who was let in"


async def test_a_tenant_without_next_rules_is_never_asked_about_them(policy: RunningWorld) -> None:
    name = secrets.token_hex(8)
    policy.check("globex.localhost", "/public/x", headers={"X-Request-Id": name})
    assert "would_decide" not in next(line for line in policy.log().splitlines() if name in line)


# --- what may go wrong beside it
# ---------------------------------------------------------------------


class Rooms:
    """Who is asked for the credentials of the next rules."""

    def __init__(
        self,
        at: Tenant,
        *,
        machine: MachineToken | None = None,
        finds: Session | Exception | None = None,
        password: AppPassword | None = None,
        down: bool = False,
        remembered: PoolPasswordResult | Miss = MISS,
    ) -> None:
        self.at, self.machine, self.finds, self.password, self.down = (
            at,
            machine,
            finds,
            password,
            down,
        )
        self.remembered = remembered
        self.asked = 0

    async def authenticate(self, at: Tenant, token: str) -> MachineToken | None:
        self.asked += 1
        if self.down:
            raise UnavailableError("keys")
        return self.machine

    async def find(self, _: AuthRequest) -> Session | None:
        self.asked += 1
        if isinstance(self.finds, Exception):
            raise self.finds
        return self.finds

    async def find_app_password(self, _: AuthRequest) -> AppPassword | None:
        self.asked += 1
        return self.password

    def cached_pool_password(self, _: Tenant, asked: AuthRequest) -> PoolPasswordResult | Miss:
        self.asked += 1
        return self.remembered


BEARER = BearerRule(frozenset({"machine"}), frozenset())
MACHINE = MachineToken("machine", frozenset(), "", "", 0)


async def ask(
    rooms: Rooms,
    asked: AuthRequest,
    *,
    found: Session | None = None,
    password: AppPassword | None = None,
    pool_password: PoolPasswordResult | None = None,
) -> Any:
    more = await look_up(
        rooms.at,
        asked,
        machines=rooms,
        find=rooms.find,
        find_app_password=rooms.find_app_password,
        cached_pool_password=rooms.cached_pool_password,
    )
    return would_decide(
        rooms.at,
        asked,
        more,
        session=found,
        machine=None,
        password=password,
        pool_password=pool_password,
        now=NOW,
    )


async def test_a_store_that_is_down_leaves_it_unsaid() -> None:
    closed = tenant(rules=(rule("/**", deny=True),), shadow_rules=(rule("/x"),))
    assert (
        await ask(Rooms(closed, finds=UnavailableError("redis")), request(cookies=("c",))) is None
    )
    machines = tenant(shadow_rules=(rule("/**", bearer=BEARER),))
    assert await ask(Rooms(machines, down=True), request(bearer="t")) is None


async def test_what_todays_rules_found_is_not_asked_for_again() -> None:
    rooms = Rooms(tenant(shadow_rules=(rule("/x", deny=True),)))
    assert await ask(rooms, request("/y", cookies=("c",))) == Login(Reason.NO_SESSION)
    assert await ask(rooms, request("/x", cookies=("c",))) == Deny(Reason.RULE_DENIED)
    assert rooms.asked == 0


async def test_a_session_is_no_answer_to_a_rule_that_judges_the_token_alone() -> None:
    rooms = Rooms(tenant(shadow_rules=(rule("/**", bearer=BEARER),)), machine=None)
    assert await ask(rooms, request(bearer="t"), found=session()) == Login(
        Reason.BEARER_INVALID, redirect=False
    )
    rooms.machine = MACHINE
    assert await ask(rooms, request(bearer="t"), found=session()) == Allow(
        Reason.BEARER, machine=MACHINE
    )


async def test_where_there_are_no_next_rules_nothing_is_asked() -> None:
    rooms = Rooms(tenant(rules=(rule("/**", deny=True),)))
    assert await ask(rooms, request(bearer="t", cookies=("c",))) is None
    assert rooms.asked == 0


async def test_cognito_is_not_asked_about_a_password_for_rules_that_are_not_obeyed() -> None:
    takes, basic = rule("/**", pool_passwords=True), Basic("bob", "p")
    rooms = Rooms(tenant(shadow_rules=(takes,)))
    assert await ask(rooms, request(basic=basic, cookies=("c",))) is None, "not known"
    rooms.remembered = Reason.POOL_PASSWORD_INVALID
    assert await ask(rooms, request(basic=basic)) == Login(
        Reason.POOL_PASSWORD_INVALID, redirect=False
    )
    both = Rooms(tenant(rules=(takes,), shadow_rules=(takes,)))
    told = await ask(both, request(basic=basic), pool_password=Reason.SECOND_FACTOR_REQUIRED)
    assert told == Deny(Reason.SECOND_FACTOR_REQUIRED)
    assert both.asked == 0, "it was judged for today's rules already"
    session_next = Rooms(tenant(rules=(takes,), shadow_rules=(rule("/x"),)), finds=session())
    assert await ask(session_next, request(basic=basic, cookies=("c",))) == Allow(
        Reason.OK, session()
    )


async def test_an_app_password_is_looked_up_where_only_one_of_the_two_takes_it() -> None:
    """And the session where only today's rules judge the password."""
    held = AppPassword(session(host=""), frozenset(), ("/",), NOW)
    dav, asked = (
        rule("/dav/**", app_passwords=True),
        request("/dav/x", app_password="p", cookies=("c",)),
    )
    next_only = Rooms(tenant(shadow_rules=(dav,)), password=held)
    assert (await ask(next_only, asked, found=session()), next_only.asked) == (
        Allow(Reason.APP_PASSWORD, held.session),
        1,
    )
    both = Rooms(tenant(rules=(dav,), shadow_rules=(dav,)))
    assert (await ask(both, asked, password=held), both.asked) == (
        Allow(Reason.APP_PASSWORD, held.session),
        0,
    )
    today_only = Rooms(tenant(rules=(dav,), shadow_rules=(rule("/x"),)), finds=session())
    assert (await ask(today_only, asked, password=held), today_only.asked) == (
        Allow(Reason.OK, session()),
        1,
    )
