"""The whole login against the stand-in cloud, and every way a callback can fail.

Ids in parentheses are those of the attack corpus for forward-auth gateways, of which the cases are
an adaptation.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import json
import re
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest

from demo.faults import redirect, status
from demo.jose import SigningKey, TokenDraft, b64url
from gateway.login.request import MAX_BINDINGS
from tests.support.browserless import FORGED, Page, Person, as_page, forgotten_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.world import RunningWorld

COOKIE = "__Host-gw"


@pytest.fixture
async def person() -> AsyncIterator[Person]:
    async with Person() as someone:
        yield someone


def start_url(
    world: RunningWorld, host: str = "acme.localhost", rd: str = "/there?x=1#part"
) -> str:
    return f"{world.world.url(host)}/_auth/login?{urlencode({'rd': rd})}"


async def log_in(
    world: RunningWorld,
    person: Person,
    email: str = "alice@acme.test",
    host: str = "acme.localhost",
) -> Page:
    return await person.log_in(start_url(world, host), email)


async def at_callback(world: RunningWorld, person: Person, host: str = "acme.localhost") -> str:
    """Log in up to the moment where Cognito sends the browser back; the callback URL, not yet
    visited.
    """
    page = await person.open(start_url(world, host))
    page = await person.submit(page, {"email": "alice@acme.test", "password": "demo"}, follow=False)
    while True:
        location = page.headers.header("Location")
        assert location is not None, page.text[:500]
        if "/_auth/callback" in location:
            return location
        page = await person.open(location, follow=False)


def params(url: str) -> dict[str, str]:
    return {k: v[0] for k, v in parse_qs(urlsplit(url).query).items()}


# --- the way in
# ------------------------------------------------------------------------------------


async def test_alice_gets_in_and_the_app_learns_who_she_is(
    world: RunningWorld, person: Person
) -> None:
    page = await log_in(world, person)
    assert page.url == world.world.url("acme.localhost") + "/there?x=1#part"
    answer = world.check(
        "acme.localhost", "/there", cookie=person.cookies("acme.localhost")[COOKIE]
    )
    assert (answer.status, answer.body) == (200, b"")
    seen = {
        name: answer.header(name)
        for name in (
            "X-Auth-Request-Email",
            "X-Auth-Request-Groups",
            "X-Auth-Request-Tenant",
            "X-Auth-Request-Provider",
            "Remote-User",
        )
    }
    assert seen == {
        "X-Auth-Request-Email": "alice@acme.test",
        "X-Auth-Request-Groups": "app-users,admins",
        "X-Auth-Request-Tenant": "acme",
        "X-Auth-Request-Provider": "acme-okta",
        "Remote-User": "alice@acme.test",
    }
    assert answer.header("Set-Cookie") is None


async def test_the_session_cookie_has_every_attribute(world: RunningWorld, person: Person) -> None:
    """(SES-10)"""
    page = await log_in(world, person)
    cookies = [
        v
        for hop in page.hops
        for n, v in hop.headers
        if n == "Set-Cookie" and v.startswith(f"{COOKIE}=")
    ]
    assert len(cookies) == 1
    attributes = {part.strip().lower() for part in cookies[0].split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
    # As long as the session, of which a second may have passed.
    assert attributes & {"max-age=43200", "max-age=43199"}
    assert not any(a.startswith("domain") for a in attributes)
    assert len(person.cookies("acme.localhost")[COOKIE]) < 100


async def test_the_signed_assertion_verifies_with_the_published_key(
    world: RunningWorld, person: Person
) -> None:
    await log_in(world, person)
    answer = world.check("acme.localhost", cookie=person.cookies("acme.localhost")[COOKIE])
    token = answer.header("X-Auth-Request-Jwt")
    assert token
    published = jwt.PyJWKSet.from_dict(
        json.loads((await person.open(world.world.url("acme.localhost") + "/_auth/jwks.json")).text)
    )
    key = published[jwt.get_unverified_header(token)["kid"]]
    origin = world.world.url("acme.localhost")
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=origin, issuer=origin)
    assert claims["email"] == "alice@acme.test"
    assert claims["exp"] - claims["iat"] <= 300
    assert (
        world.check("acme.localhost", cookie=person.cookies("acme.localhost")[COOKIE]).header(
            "X-Auth-Request-Jwt"
        )
        == token
    )


async def test_carol_gets_in_at_globex_and_nowhere_at_acme(
    world: RunningWorld, person: Person
) -> None:
    await log_in(world, person, "carol@globex.test", "globex.localhost")
    cookie = person.cookies("globex.localhost")[COOKIE]
    assert world.check("globex.localhost", cookie=cookie).status == 200
    stolen = world.check("acme.localhost", cookie=cookie)
    assert stolen.status == 401
    assert stolen.header("X-Auth-Request-Email") is None


async def test_mallory_is_signed_in_and_denied_with_the_reason(
    world: RunningWorld, person: Person
) -> None:
    await log_in(world, person, "mallory@acme.test")
    answer = world.check("acme.localhost", "/x", cookie=person.cookies("acme.localhost")[COOKIE])
    assert (answer.status, answer.header("X-Auth-Reason")) == (403, "group_missing")
    assert answer.header("X-Auth-Request-Email") is None
    page = await person.open(answer.header("Location") or "")
    assert page.status == 403
    assert "app-users" in page.text
    assert "mallory@acme.test" in page.text


async def test_identity_provider_is_always_named(world: RunningWorld, person: Person) -> None:
    page = await person.open(start_url(world), follow=False)
    sent = params(page.headers.header("Location") or "")
    assert sent["identity_provider"] == "acme-okta"
    assert (sent["response_type"], sent["code_challenge_method"], sent["scope"]) == (
        "code",
        "S256",
        "openid",
    )
    assert sent["redirect_uri"] == world.world.url("acme.localhost") + "/_auth/callback"


def logged(world: RunningWorld, event: str) -> dict[str, Any]:
    """The last record of this event, which comes before the ``http_request`` of its request."""
    records = [json.loads(line) for line in world.log().splitlines()]
    found: dict[str, Any] = next(r for r in reversed(records) if r["event"] == event)
    assert any(
        r["event"] == "http_request" and r["request_id"] == found["request_id"] for r in records
    )
    return found


async def test_logging_out_ends_here_and_at_cognito_and_both_ends_of_a_session_are_in_the_log(
    world: RunningWorld, person: Person
) -> None:
    """(SES-06)"""
    await log_in(world, person)
    login = logged(world, "login_succeeded")
    assert (login["tenant"], login["provider"], login["host"].partition(":")[0]) == (
        "acme",
        "acme-okta",
        "acme.localhost",
    )
    cookie = person.cookies("acme.localhost")[COOKIE]
    question = await person.open(world.world.url("acme.localhost") + "/_auth/logout")
    assert world.check("acme.localhost", cookie=cookie).status == 200
    page = await person.submit(question, {})
    assert page.url == world.world.url("acme.localhost") + "/_auth/signed-out"
    assert forgotten_at(page) == ["acme.localhost/_auth/logout"]
    assert page.visited("cognito.localhost")
    assert COOKIE not in person.cookies("acme.localhost")
    assert world.check("acme.localhost", cookie=cookie).status == 401
    logout = logged(world, "logout")
    assert (logout["tenant"], logout["user"]) == (login["tenant"], login["user"])
    assert login["user"] and logout["request_id"] != login["request_id"]


async def test_another_site_can_not_log_anybody_out(world: RunningWorld, person: Person) -> None:
    await log_in(world, person)
    cookie = person.cookies("acme.localhost")[COOKIE]
    question = await person.open(world.world.url("acme.localhost") + "/_auth/logout")
    forged = replace(question, url="http://evil.localhost/")
    assert (await person.submit(forged, {})).status == 403
    for headers in FORGED:
        answered = world.post("acme.localhost", "/_auth/logout", "", cookie=cookie, headers=headers)
        assert answered == 403, headers
    assert world.check("acme.localhost", cookie=cookie).status == 200


async def test_userinfo_tells_who_without_tokens(world: RunningWorld, person: Person) -> None:
    url = world.world.url("acme.localhost") + "/_auth/userinfo"
    assert (await person.open(url)).status == 401
    await log_in(world, person)
    told = json.loads((await person.open(url)).text)
    assert (told["tenant"], told["email"], told["groups"], told["provider"]) == (
        "acme",
        "alice@acme.test",
        ["app-users", "admins"],
        "acme-okta",
    )
    assert "token" not in json.dumps(told)


async def test_a_session_survives_a_restart_of_everything(
    world: RunningWorld, person: Person
) -> None:
    await log_in(world, person)
    cookie = person.cookies("acme.localhost")[COOKIE]
    world.run(world.world.stop_gateways())
    world.run(world.world.start_gateways())
    assert world.check("acme.localhost", cookie=cookie).status == 200


# --- tabs, back buttons, reloads ------------------------------------------------------------------


async def test_two_tabs_log_in_at_once_and_each_returns_to_its_own_page(
    world: RunningWorld, person: Person
) -> None:
    """(CB-06)"""
    first = await person.open(start_url(world, rd="/one"))
    second = await person.open(start_url(world, rd="/two"))
    one = await person.submit(first, {"email": "alice@acme.test", "password": "demo"})
    two = await person.submit(second, {"email": "alice@acme.test", "password": "demo"})
    assert urlsplit(one.url).path == "/one"
    assert urlsplit(two.url).path == "/two"


async def test_six_tabs_that_are_restored_at_once_all_arrive(
    world: RunningWorld, person: Person
) -> None:
    """None of them has a cookie yet when it asks, and the identity provider's session is alive."""
    await person.log_in(start_url(world), "alice@acme.test")
    person.forget("acme.localhost")
    tabs = [f"/tab/{number}" for number in range(6)]
    begun = await asyncio.gather(
        *(person.open(start_url(world, rd=tab), follow=False) for tab in tabs)
    )
    assert len(person.bindings("acme.localhost")) == 6
    arrived = await asyncio.gather(
        *(person.open(page.headers.header("Location") or "") for page in begun)
    )
    assert [urlsplit(page.url).path for page in arrived] == tabs
    assert not any("/_auth/login" in hop.url for page in arrived for hop in page.hops), (
        "none had to begin again"
    )
    assert (
        world.check("acme.localhost", cookie=person.cookies("acme.localhost")[COOKIE]).status == 200
    )
    later = await person.open(start_url(world, rd="/seventh") + "&switch=1", follow=False)
    assert len(person.bindings("acme.localhost")) == 6, "a browser that has a binding uses it"
    assert later.status == 302


async def test_more_tabs_than_bindings_are_kept_for_begin_again(
    world: RunningWorld, person: Person
) -> None:
    await person.log_in(start_url(world), "alice@acme.test")
    person.forget("acme.localhost")
    begun = await asyncio.gather(
        *(
            person.open(start_url(world, rd=f"/tab/{number}"), follow=False)
            for number in range(MAX_BINDINGS + 2)
        )
    )
    arrived = [await person.open(page.headers.header("Location") or "") for page in begun]
    assert [page.status for page in arrived].count(400) == 2, (
        "as if begun by another browser: nothing tells them apart"
    )
    for page in arrived:
        if page.status == 400:
            assert urlsplit((await person.click(page, "Try again")).url).path == "/"
    await person.open(start_url(world) + "&switch=1", follow=False)
    assert len(person.bindings("acme.localhost")) == MAX_BINDINGS


async def test_loops_of_several_tabs_end_each(world: RunningWorld, person: Person) -> None:
    """An ingress that never hands the cookie on: each tab comes back to an address of its own."""
    await person.log_in(start_url(world), "alice@acme.test")
    statuses = []
    for _ in range(9):
        statuses += [
            (await person.open(start_url(world, rd=tab), follow=False)).status
            for tab in ("/one", "/two", "/three")
        ]
    assert statuses[:21] == [303] * 21
    assert statuses[-3:] == [400, 400, 400]


async def test_a_stray_callback_takes_whoever_is_signed_in_to_the_application(
    world: RunningWorld, person: Person
) -> None:
    await person.log_in(start_url(world), "alice@acme.test")
    for query in ("", "code=x", "code=x&state=y"):
        page = await person.open(
            f"{world.world.url('acme.localhost')}/_auth/callback?{query}", follow=False
        )
        assert (page.status, page.headers.header("Location")) == (
            303,
            f"{world.world.url('acme.localhost')}/",
        )


async def test_a_reloaded_callback_takes_whoever_is_signed_in_to_the_page(
    world: RunningWorld, person: Person
) -> None:
    """(CB-03)"""
    url = await at_callback(world, person)
    before = world.world.cloud.cognito.faults.calls.get("token", 0)
    assert urlsplit((await person.open(url)).url).path == "/there"
    assert urlsplit((await person.open(url)).url).path == "/there"
    assert world.world.cloud.cognito.faults.calls.get("token", 0) == before + 1


async def test_a_reloaded_callback_without_a_session_is_a_page(
    world: RunningWorld, person: Person
) -> None:
    """(CB-03)"""
    url = await at_callback(world, person)
    await person.open(url)
    person.forget("acme.localhost", COOKIE)
    await begins_again(person, url, return_to=f"{world.world.url('acme.localhost')}/there?x=1#part")


async def test_signing_in_twice_goes_straight_to_the_page(
    world: RunningWorld, person: Person
) -> None:
    await log_in(world, person)
    page = await person.open(start_url(world, rd="/again"))
    assert urlsplit(page.url).path == "/again"
    assert not page.visited("cognito.localhost")


async def test_a_cookie_that_never_reaches_the_check_ends_in_a_page_that_says_so(
    world: RunningWorld, person: Person
) -> None:
    """(RD-10)"""
    await log_in(world, person)
    pages = [await person.open(start_url(world, rd="/loop"), follow=False) for _ in range(12)]
    assert pages[0].status == 303
    assert pages[-1].status == 400
    assert "Too many sign-in attempts" in pages[-1].text


async def test_a_denial_has_a_number_that_the_log_knows_whoever_gave_it(
    world: RunningWorld, person: Person
) -> None:
    await log_in(world, person, "mallory@acme.test")
    cookie = person.cookies("acme.localhost")[COOKIE]
    for given in ("ingress-1", ""):
        answer = world.check(
            "acme.localhost",
            dialect="traefik",
            cookie=cookie,
            headers={"Accept": "text/html", "X-Request-Id": given},
        )
        shown = re.search(r"<dt>Request ID</dt><dd><code>([^<]+)</code>", answer.body.decode())
        assert answer.status == 403 and shown is not None
        assert shown[1] == (given or shown[1])
        assert any(
            record.get("request_id") == shown[1]
            for record in map(json.loads, world.log().splitlines())
        )


async def test_a_cookie_that_opens_nothing_says_in_the_log_why(
    world: RunningWorld, person: Person
) -> None:
    """Never a decision: whatever the reason, a login begins there."""
    await log_in(world, person)
    cookie = person.cookies("acme.localhost")[COOKIE]

    def told(host: str, value: str = cookie) -> tuple[int, str | None, bool]:
        answer = world.check(host, cookie=value)
        return (
            answer.status,
            answer.header("X-Auth-Reason"),
            answer.header("X-Auth-Request-Email") is None,
        )

    for _ in range(2):  # from the store, then from memory
        assert told("globex.localhost") == (401, "wrong_tenant", True)
        assert told("calendar.acme.localhost") == (401, "wrong_host", True)
        assert world.check("acme.localhost", cookie=cookie).status == 200
    unknown, stale = cookie[:-2] + "AA", cookie[:-2] + "AQ"
    assert told("acme.localhost", unknown) == (401, "no_session", True)
    assert world.check("acme.localhost", cookie=f"{unknown}; {COOKIE}={cookie}").status == 200, (
        "a stale twin hides nothing"
    )
    assert told("acme.localhost", f"{unknown}; {COOKIE}={stale}; {COOKIE}={cookie}") == (
        401,
        "no_session",
        True,
    ), "and no third one costs a look-up"
    page = await person.open(world.world.url("acme.localhost") + "/_auth/logout")
    await person.submit(page, {})
    assert told("acme.localhost") == (401, "session_revoked", True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Forwarded-Method": "POST"}, 401),
        ({"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 401),
        (
            {
                "Sec-Fetch-Mode": "",
                "Sec-Fetch-Dest": "",
                "X-Requested-With": "XMLHttpRequest",
                "Accept": "text/html",
            },
            401,
        ),
        ({"Sec-Fetch-Dest": "iframe"}, 401),
        ({"Sec-Purpose": "prefetch"}, 401),
    ],
    ids=["post", "fetch", "xhr", "iframe", "prefetch"],
)
async def test_what_is_no_navigation_gets_401_and_no_login(
    world: RunningWorld, headers: dict[str, str], expected: int
) -> None:
    """(CB-18)"""
    for dialect in ("nginx", "traefik", "caddy", "haproxy"):
        answer = world.check("acme.localhost", "/api", dialect=dialect, headers=headers)
        assert (answer.status, answer.header("Location"), answer.header("Set-Cookie")) == (
            expected,
            None,
            None,
        )


@pytest.mark.parametrize(
    ("headers", "page"),
    [
        ({"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, False),
        ({"Sec-Fetch-Mode": "", "Sec-Fetch-Dest": "", "X-Requested-With": "XMLHttpRequest"}, False),
        ({"Sec-Purpose": "prefetch"}, False),
        ({"X-Forwarded-Method": "PUT"}, False),
        (
            {"X-Forwarded-Method": "POST", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
            False,
        ),
        ({"X-Forwarded-Method": "POST"}, True),
        ({"Sec-Fetch-Dest": "iframe"}, True),
    ],
    ids=["fetch", "xhr", "prefetch", "put", "fetch post", "form", "iframe"],
)
async def test_a_script_without_a_session_gets_a_problem_and_a_person_a_page(
    world: RunningWorld, headers: dict[str, str], page: bool
) -> None:
    """Whatever it says it accepts: a page inside a program's answer helps nobody (ADR 0074)."""
    for dialect in ("traefik", "caddy", "haproxy"):
        answer = world.check(
            "acme.localhost",
            "/save?x=1",
            dialect=dialect,
            headers={"Accept": "text/html,*/*", **headers},
        )
        assert (answer.status, answer.header("WWW-Authenticate"), answer.header("Location")) == (
            401,
            "Bearer",
            None,
        )
        assert answer.header("Content-Type") == (
            "text/html; charset=utf-8" if page else "application/problem+json"
        )
        back = world.world.url("acme.localhost") + (
            "/save?x=1" if headers.get("X-Forwarded-Method", "GET") == "GET" else "/"
        )
        assert urlencode({"rd": back}) in answer.body.decode()


async def test_prefetch_and_head_start_no_login_and_use_up_no_code(
    world: RunningWorld, person: Person
) -> None:
    """(CB-12)"""
    assert (await person.open(start_url(world), headers={"Sec-Purpose": "prefetch"})).status == 400
    url = await at_callback(world, person)
    assert (await person.open(url, headers={"Sec-Purpose": "prefetch"})).status == 400
    assert urlsplit((await person.open(url)).url).path == "/there"


# --- callbacks that fail (CB-*) -------------------------------------------------------------------


async def refused(person: Person, url: str, expected: int = 400) -> Page:
    page = await person.open(url)
    assert page.status == expected, page.text[:300]
    assert urlsplit(page.url).path == "/_auth/callback"
    assert COOKIE not in person.cookies(page.host)
    assert "request" in page.text.lower()
    assert (page.headers.header("Retry-After") is not None) == (expected == 503)
    return page


async def begins_again(person: Person, url: str, return_to: str = "") -> None:
    """There is no such login: one begins again, once; then there is a page with a link that begins
    one.
    """
    page = await person.open(url, follow=False)
    expected = f"?{urlencode({'rd': return_to})}" if return_to else ""
    assert (page.status, page.headers.header("Location")) == (303, f"/_auth/login{expected}")
    page = await refused(person, url)
    assert urlsplit(page.link("Try again")).path == "/_auth/login"


async def test_a_callback_in_another_browser_cancels_the_login(
    world: RunningWorld, person: Person
) -> None:
    """(CB-01) Somebody signed in on a link that this browser began: what stays in their history
    opens nothing here either.
    """
    url = await at_callback(world, person)
    async with Person() as victim:
        page = await refused(victim, url)
        assert "another browser" in page.text
        assert urlsplit(page.link("Try again")).path == "/_auth/login"
    await begins_again(person, url)


async def test_a_prefetch_or_head_of_a_callback_cancels_nothing(
    world: RunningWorld, person: Person
) -> None:
    url = await at_callback(world, person)
    async with Person() as scanner:
        assert (await scanner.open(url, headers={"Sec-Purpose": "prefetch"})).status == 400
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=10)
    connection.request("HEAD", f"{parts.path}?{parts.query}", headers={"Host": parts.netloc})
    assert connection.getresponse().status == 405
    connection.close()
    assert urlsplit((await person.open(url)).url).path == "/there"


@pytest.mark.parametrize("state", ["", "x", "0" * 46, "a" * 4000, "of another login"])
async def test_a_code_shown_elsewhere_under_another_state_is_spent(
    world: RunningWorld, person: Person, state: str
) -> None:
    """The link that a victim follows is the attacker's to write: with another state, but the same
    PKCE challenge and nonce.
    """
    url = await at_callback(world, person)
    if state == "of another login":
        begun = await person.open(start_url(world), follow=False)
        state = params(begun.headers.header("Location") or "")["state"]
    stranger = (
        f"{world.world.url('acme.localhost')}/_auth/"
        f"callback?{urlencode({**params(url), 'state': state})}"
    )
    async with Person() as victim:
        await victim.open(stranger, follow=False)
        assert COOKIE not in victim.cookies("acme.localhost")
    page = await refused(person, url)
    assert "another browser" in page.text


@pytest.mark.parametrize(
    "change",
    [
        {"state": ""},
        {"state": "x"},
        {"state": None},
        {"state": "0" * 46},
        {"state": "é" * 10},
        {"state": "a" * 4000},
    ],
)
async def test_a_missing_or_foreign_state_is_refused(
    world: RunningWorld, person: Person, change: dict[str, str | None]
) -> None:
    """(CB-02)"""
    url = await at_callback(world, person)
    query = {k: v for k, v in {**params(url), **change}.items() if v is not None}
    await begins_again(
        person, f"{world.world.url('acme.localhost')}/_auth/callback?{urlencode(query)}"
    )


@pytest.mark.parametrize("host", ["globex.localhost", "calendar.acme.localhost"])
async def test_a_login_of_one_host_ends_at_no_other(
    world: RunningWorld, person: Person, host: str
) -> None:
    """(CB-04)"""
    url = await at_callback(world, person)
    for name, value in person.bindings("acme.localhost").items():
        person.set_cookie(host, name, f"{value}; Secure")
    await refused(person, url.replace("//acme.localhost", f"//{host}"))
    assert logged(world, "login_failed")["cause"] == "the login began at another host"


async def test_a_code_of_another_login_is_refused_by_pkce(
    world: RunningWorld, person: Person
) -> None:
    """(CB-08)"""
    mine = await at_callback(world, person)
    async with Person() as other:
        theirs = await at_callback(world, other)
    mixed = {**params(mine), "code": params(theirs)["code"]}
    await refused(person, f"{world.world.url('acme.localhost')}/_auth/callback?{urlencode(mixed)}")


async def test_an_answer_that_names_another_issuer_is_refused(
    world: RunningWorld, person: Person
) -> None:
    """(CB-09)"""
    await refused(person, await at_callback(world, person) + "&iss=https%3A%2F%2Fidp.example")


@pytest.mark.parametrize("extra", ["&state=x", "&code=y", "&error=a&error=b"])
async def test_a_parameter_given_twice_is_refused(
    world: RunningWorld, person: Person, extra: str
) -> None:
    """(RD-09)"""
    await refused(person, await at_callback(world, person) + extra)


async def test_an_error_text_is_never_shown_and_state_is_still_required(
    world: RunningWorld, person: Person
) -> None:
    """(CB-11, INJ-07)"""
    text = "<script>alert(1)</script>\r\nSet-Cookie: gw=evil; user 'alice@acme.test', bob@x.test"
    base = f"{world.world.url('acme.localhost')}/_auth/callback?"
    page = await refused(
        person, base + urlencode({"error": "access_denied", "error_description": text})
    )
    assert "alert(1)" not in page.text
    started = await person.open(start_url(world), follow=False)
    state = params(started.headers.header("Location") or "")["state"]
    page = await refused(
        person,
        base + urlencode({"error": "access_denied", "error_description": text, "state": state}),
    )
    assert "alert(1)" not in page.text
    assert page.headers.header("Set-Cookie") is None
    failed = logged(world, "login_failed")
    assert failed["request_id"] in page.text, "what the person can tell is how it is found"
    assert (failed["reason"], failed["code"], failed["error"]) == (
        "idp_error",
        "access_denied",
        "access_denied",
    )
    assert failed["error_description"] == text.replace("alice", "***").replace("bob", "***")
    assert failed["cause"] and failed["setting"] and failed["client_id"] and failed["redirect_uri"]
    request = logged(world, "http_request")
    assert {
        name: request[name] for name in ("request_id", "reason", "code", "cause", "setting")
    } == {name: failed[name] for name in ("request_id", "reason", "code", "cause", "setting")}


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "OPTIONS"])
async def test_other_methods_are_refused_and_consume_nothing(
    world: RunningWorld, person: Person, method: str
) -> None:
    """(CB-12)"""
    import http.client

    url = await at_callback(world, person)
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=10)
    connection.request(
        method,
        f"{parts.path}?{parts.query}",
        headers={
            "Host": parts.netloc,
            "Cookie": "; ".join(map("=".join, person.bindings("acme.localhost").items())),
        },
    )
    assert connection.getresponse().status == 405
    connection.close()
    assert urlsplit((await person.open(url)).url).path == "/there"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (status(500), 503),
        (status(503, "<html>down</html>", "text/html"), 503),
        (status(200, "<html>hello</html>", "text/html"), 400),
        (status(200, "[]", "application/json"), 400),
        (status(200, "{}", "application/json"), 400),
        (status(200, '{"id_token": 1, "access_token": "x"}', "application/json"), 400),
        (
            status(
                200,
                json.dumps({"id_token": "a.b.c", "access_token": "x" * 400_000}),
                "application/json",
            ),
            400,
        ),
        (redirect("https://evil.test/"), 400),
        (status(400, '{"error": "invalid_client"}', "application/json"), 400),
        (status(400, '{"error": "invalid_grant"}', "application/json"), 400),
        (status(400, '{"error": "unauthorized_client"}', "application/json"), 400),
        (status(400, '{"error": {"a": 1}}', "application/json"), 400),
    ],
    ids=[
        "500",
        "503",
        "html",
        "array",
        "empty",
        "not-strings",
        "huge",
        "redirect",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "error-object",
    ],
)
async def test_a_token_endpoint_that_misbehaves_ends_in_a_page(
    world: RunningWorld, person: Person, fault: Any, expected: int
) -> None:
    """(CB-13)"""
    url = await at_callback(world, person)
    world.world.cloud.cognito.faults.once("token", fault)
    await refused(person, url, expected)


async def test_a_login_begins_again_where_all_cookies_of_the_domain_go(
    world: RunningWorld, person: Person
) -> None:
    """Hooli, without a login host: erin's session has ended by itself, frank signs in, and signs
    out.
    """
    host = "hooli.localhost"
    origin, labs = world.world.url(host), "&provider=hooli-entra"
    start = f"{origin}/_auth/login?rd=%2Fthere"
    first = await person.log_in(f"{start}&provider=hooli-okta", "erin@hooli.test")
    assert (first.url, cleared(first)) == (f"{origin}/there", []), (
        "it is not known that somebody else was here"
    )
    person.forget(host, COOKIE)
    assert cleared(await person.open(f"{start}&provider=hooli-okta")) == [], "erin again"
    person.forget(host, COOKIE)
    person.set_cookie(host, "session", "erins")
    page = await person.log_in(start + labs, "frank@hooli-labs.test")
    assert (page.url, cleared(page)) == (f"{origin}/there", [f"{origin}/_auth/callback"])
    onward = [
        urlsplit(hop.header("Location") or "") for hop in page.hops if hop.header("Clear-Site-Data")
    ]
    assert [(address.path, parse_qs(address.query)) for address in onward] == [
        ("/_auth/login", {"rd": [f"{origin}/there"], "provider": ["hooli-entra"]})
    ]
    assert "session" not in person.cookies(host)
    assert len((await person.open(origin + "/_auth/sessions")).forms) == 1, (
        "one to end this one: the session that was made first has ended"
    )
    answer = world.check(host, cookie=person.cookies(host)[COOKIE])
    assert (answer.status, answer.header("X-Auth-Request-Email")) == (200, "frank@hooli-labs.test")
    person.set_cookie(host, "session", "franks")
    page = await person.submit(await person.open(origin + "/_auth/logout"), {})
    assert (page.url, cleared(page)) == (f"{origin}/_auth/signed-out", [f"{origin}/_auth/logout"])
    assert page.visited("cognito.localhost")
    assert person.cookies(host) == {}
    again = as_page(
        f"{origin}/_auth/denied",
        200,
        (
            '<form method="post" action="/_auth/logout"><input name="again" '
            f'value="{origin}/there"></form>'
        ),
    )
    assert urlsplit((await person.submit(again)).url).path == "/_auth/login", (
        "the way on is remembered in a later answer"
    )
    assert (
        await person.open(origin + "/_auth/leave?tenant=hooli.x&host=" + host, follow=False)
    ).status == 400


def cleared(page: Page) -> list[str]:
    """The answers on the way that took all cookies."""
    return [
        hop.url.partition("?")[0]
        for hop in page.hops
        if '"cookies"' in (hop.header("Clear-Site-Data") or "")
    ]


async def test_the_session_of_whoever_was_here_before_ends_at_login(
    world: RunningWorld, person: Person
) -> None:
    """(CB-14, CB-15)"""
    tokens = world.world.cloud.cognito.pool.refresh_tokens
    earlier = set(tokens)
    first = await log_in(world, person, "bob@acme.test")
    assert forgotten_at(first) == []
    planted = person.cookies("acme.localhost")[COOKIE]
    assert world.check("acme.localhost", cookie=planted).status == 200
    person.forget("cognito.localhost")
    person.forget("okta.localhost")
    person.set_cookie("acme.localhost", "legacy_session", "bobs")
    grants = [token.grant for name, token in tokens.items() if name not in earlier]
    assert grants and not any(grant.revoked for grant in grants)
    page = await person.log_in(start_url(world) + "&switch=1", "alice@acme.test")
    assert urlsplit(page.url).path == "/there"
    assert forgotten_at(page) == ["acme.localhost/_auth/callback"], (
        "Back shows alice no page of bob's"
    )
    assert "legacy_session" not in person.cookies("acme.localhost"), (
        "the application does not go on with bob"
    )
    began = time.monotonic()
    while not all(grant.revoked for grant in grants):
        assert time.monotonic() - began < 20, (
            "the refresh token of a session that was replaced lives on at Cognito"
        )
        await asyncio.sleep(0.02)
    assert person.cookies("acme.localhost")[COOKIE] != planted
    assert world.check("acme.localhost", cookie=planted).status == 401


async def test_a_later_login_that_contradicts_earlier_sessions_of_the_same_person_ends_them(
    world: RunningWorld, person: Person
) -> None:
    """And nobody else's; refused or not. What it adds ends nothing."""
    tokens, faults = world.world.cloud.cognito.pool.refresh_tokens, world.world.cloud.cognito.faults

    async def arrive(**changes: Any) -> None:
        async with Person() as elsewhere:
            url = await at_callback(world, elsewhere)
            faults.spoil_token = claims(**changes)
            page = await elsewhere.open(url)
            faults.spoil_token = None
            assert (page.status == 403) is (
                "email" in changes and not str(changes["email"]).endswith("@acme.test")
            ), page.text[:500]

    async def alive() -> list[int]:
        return [world.check("acme.localhost", cookie=cookie).status for cookie in (alice, bob)]

    async with Person() as colleague:
        await log_in(world, colleague, "bob@acme.test")
        bob = colleague.cookies("acme.localhost")[COOKIE]
        for changes, status in (
            ({}, 200),
            ({"custom:groups": '["app-users", "admins", "more"]'}, 200),
            ({"custom:groups": "[app-users, admi"}, 200),
            ({"email": "a@acme.test."}, 200),
            ({"email": "alice@evil.test"}, 401),
            ({"email": "alice.b@acme.test"}, 401),
            ({"custom:groups": '["app-users"]'}, 401),
        ):
            if COOKIE not in person.cookies("acme.localhost"):
                await log_in(world, person)
            else:
                await person.open(start_url(world))
            alice = person.cookies("acme.localhost")[COOKIE]
            assert await alive() == [200, 200]
            known = set(tokens)
            await arrive(**changes)
            assert await alive() == [status, 200], changes
            if "email" in changes and status == 401 and changes["email"] == "alice@evil.test":
                left = [tokens[name].grant for name in set(tokens) - known]
                began = time.monotonic()
                while not all(grant.revoked for grant in left):
                    assert time.monotonic() - began < 20, (
                        "the refresh token of a refused login lives on"
                    )
                    await asyncio.sleep(0.02)
                assert left


async def test_two_hundred_logins_leave_one_small_cookie(
    world: RunningWorld, person: Person
) -> None:
    """(CB-19)"""
    for _ in range(200):
        await person.open(start_url(world), follow=False)
    assert sum(len(n) + len(v) for n, v in person.cookies("acme.localhost").items()) < 300


# --- ID tokens that must not pass (TOK-*) ---------------------------------------------------------

FOREIGN = SigningKey.generate()


def hs256_with_public_key(draft: TokenDraft) -> str:
    public = json.dumps(draft.key.public_jwk()).encode()
    head = b64url(json.dumps({"alg": "HS256", "kid": draft.key.kid, "typ": "JWT"}).encode())
    body = b64url(json.dumps(draft.claims).encode())
    return (
        f"{head}.{body}."
        f"{b64url(hmac.new(public, f'{head}.{body}'.encode(), hashlib.sha256).digest())}"
    )


def claims(**changes: Any) -> Callable[[TokenDraft], TokenDraft]:
    return lambda draft: draft.with_claims(**changes) if draft.use == "id" else draft


def only_id(
    spoil: Callable[[TokenDraft], TokenDraft | str],
) -> Callable[[TokenDraft], TokenDraft | str]:
    return lambda draft: spoil(draft) if draft.use == "id" else draft


def embedded_jwk(draft: TokenDraft) -> TokenDraft:
    return replace(
        draft,
        key=replace(FOREIGN, kid=FOREIGN.kid),
        headers={"jwk": FOREIGN.public_jwk(), "kid": FOREIGN.kid},
    )


BAD_TOKENS: dict[str, Any] = {
    "alg-none": only_id(lambda d: replace(d, algorithm=None)),
    "hs256-public-key (TOK-02)": only_id(hs256_with_public_key),
    "rs512": only_id(lambda d: replace(d, algorithm="RS512")),
    "foreign-key-same-kid": only_id(lambda d: replace(d, key=replace(FOREIGN, kid=d.key.kid))),
    "embedded-jwk (TOK-03)": only_id(embedded_jwk),
    "jku (TOK-03)": only_id(
        lambda d: replace(d, key=FOREIGN, headers={"jku": "http://127.0.0.1:9/jwks"})
    ),
    "kid-path (TOK-03)": only_id(lambda d: replace(d, headers={"kid": "../../dev/null"})),
    "kid-empty (TOK-03)": only_id(lambda d: replace(d, headers={"kid": ""})),
    "kid-missing": only_id(lambda d: replace(d, headers={"kid": None})),
    "iss-slash (TOK-07)": only_id(lambda d: d.with_claims(iss=d.claims["iss"] + "/")),
    "iss-other (TOK-07)": claims(
        iss="https://cognito-idp.eu-north-1.amazonaws.com/eu-north-1_Other1234"
    ),
    "iss-missing": claims(iss=None),
    "aud-globex (TOK-06)": claims(aud="globexdemo00000000000000"),
    "aud-array (TOK-09)": claims(aud=["acmedemo0000000000000000", "globexdemo00000000000000"]),
    "aud-missing (TOK-09)": claims(aud=None),
    "azp-other (TOK-09)": claims(azp="globexdemo00000000000000"),
    "token-use-access (TOK-08)": claims(token_use="access"),
    "token-use-missing (TOK-08)": claims(token_use=None),
    "exp-past (TOK-10)": claims(exp=1_600_000_000),
    "exp-missing (TOK-10)": claims(exp=None),
    "exp-string (TOK-10)": only_id(lambda d: d.with_claims(exp=str(d.claims["exp"]))),
    "exp-huge (TOK-10)": claims(exp=1e99),
    "exp-far (TOK-10)": only_id(lambda d: d.with_claims(exp=d.claims["exp"] + 10 * 86400)),
    "nbf-future (TOK-10)": only_id(lambda d: d.with_claims(nbf=d.claims["exp"])),
    "iat-future (TOK-10)": only_id(lambda d: d.with_claims(iat=int(time.time()) + 3600)),
    "nonce-missing (CB-07)": claims(nonce=None),
    "nonce-wrong (CB-07)": claims(nonce="x" * 43),
    "nonce-list (CB-07)": only_id(lambda d: d.with_claims(nonce=[d.claims["nonce"]])),
    "at-hash-wrong": claims(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
    "sub-missing": claims(sub=None),
    "sub-number": claims(sub=17),
    "not-a-jwt": only_id(lambda _: "garbage"),
    "empty": only_id(lambda _: ""),
}


@pytest.mark.parametrize("case", BAD_TOKENS)
async def test_a_bad_id_token_makes_no_session(
    world: RunningWorld, person: Person, case: str
) -> None:
    url = await at_callback(world, person)
    world.world.cloud.cognito.faults.spoil_token = BAD_TOKENS[case]
    await refused(person, url)


BAD_CLAIMS: dict[str, tuple[dict[str, Any], int, str]] = {
    "other-provider": (
        {"identities": [{"userId": "x", "providerName": "globex-entra", "providerType": "OIDC"}]},
        400,
        "idp_error",
    ),
    "no-identities": ({"identities": None}, 400, "idp_error"),
    "identities-as-text": (
        {"identities": '[{"userId":"x","providerName":"acme-okta"}]'},
        400,
        "idp_error",
    ),
    "email-missing": ({"email": None}, 403, "email_untrusted"),
    "two-at (EML-01)": ({"email": "attacker@evil.com@acme.test"}, 403, "email_untrusted"),
    "quoted (EML-01)": ({"email": '"a@evil.com"@acme.test'}, 403, "email_untrusted"),
    "suffix (EML-02)": ({"email": "a@evilacme.test"}, 403, "email_domain"),
    "prefix (EML-02)": ({"email": "a@acme.test.evil.com"}, 403, "email_domain"),
    "subdomain (EML-02)": ({"email": "a@sub.acme.test"}, 403, "email_domain"),
    "trailing-dot (EML-04)": ({"email": "a@acme.test."}, 403, "email_untrusted"),
    "leading-space (EML-04)": ({"email": " a@acme.test"}, 403, "email_untrusted"),
    "zero-width (EML-04)": ({"email": "a\u200b@acme.test"}, 403, "email_untrusted"),
    "cyrillic (EML-05)": ({"email": "a@\u0430cme.test"}, 403, "email_domain"),
    "ideographic-stop (EML-05)": ({"email": "a@acme\u3002test"}, 403, "email_untrusted"),
    "full-width (EML-05)": ({"email": "a@\uff41cme.test"}, 403, "email_untrusted"),
    "line-feed (INJ-01)": (
        {"email": "a\r\nX-Auth-Request-Groups: admins@acme.test"},
        403,
        "email_untrusted",
    ),
    "username-control": ({"cognito:username": "acme-okta_a\x00b"}, 400, "idp_error"),
}


@pytest.mark.parametrize("case", BAD_CLAIMS)
async def test_claims_that_do_not_belong_make_no_session(
    world: RunningWorld, person: Person, case: str
) -> None:
    changes, expected, reason = BAD_CLAIMS[case]
    url = await at_callback(world, person)
    world.world.cloud.cognito.faults.spoil_token = claims(**changes)
    await refused(person, url, expected)
    assert any(
        f'"reason": "{reason}"' in line and "/_auth/callback" in line
        for line in world.log().splitlines()[-3:]
    )


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        ("[app-users, R%26D%2C+Core]", "app-users,R&D%2C Core"),
        ('["app-users", "a,b"]', "app-users,a%2Cb"),
        ("app-users", "app-users"),
        ("[app-users, jos%C3%A9]", "app-users,jos%C3%A9"),
    ],
)
async def test_groups_arrive_as_cognito_flattens_them(
    world: RunningWorld, person: Person, value: str, groups: str
) -> None:
    """(EML-10, INJ-05)"""
    url = await at_callback(world, person)
    world.world.cloud.cognito.faults.spoil_token = claims(**{"custom:groups": value})
    await person.open(url)
    assert (
        world.check("acme.localhost", cookie=person.cookies("acme.localhost")[COOKIE]).header(
            "X-Auth-Request-Groups"
        )
        == groups
    )


@pytest.mark.parametrize(
    "value", ["[app-users, admi", '["app-users","b', "Sales, app-users", "APP-USERS", "", 7, None]
)
async def test_groups_that_cannot_be_trusted_let_nobody_in(
    world: RunningWorld, person: Person, value: Any
) -> None:
    """(EML-10)"""
    url = await at_callback(world, person)
    world.world.cloud.cognito.faults.spoil_token = claims(**{"custom:groups": value})
    await person.open(url)
    answer = world.check("acme.localhost", cookie=person.cookies("acme.localhost")[COOKIE])
    assert (answer.status, answer.header("X-Auth-Reason")) == (403, "group_missing")


async def test_odd_names_reach_the_app_encoded_and_lock_nobody_out(
    world: RunningWorld, person: Person
) -> None:
    """(INJ-01, INJ-03, INJ-04, INJ-06)"""
    url = await at_callback(world, person)
    world.world.cloud.cognito.faults.spoil_token = claims(
        name="José\r\nX-Auth-Request-Groups: admin\x01 漢 $host {{7*7}} 100%"
    )
    await person.open(url)
    answer = world.check("acme.localhost", cookie=person.cookies("acme.localhost")[COOKIE])
    assert answer.status == 200
    assert (
        answer.header("X-Auth-Request-Name")
        == "Jos%C3%A9X-Auth-Request-Groups: admin %E6%BC%A2 $host {{7*7}} 100%25"
    )
    assert answer.header("X-Auth-Request-Groups") == "app-users,admins"


async def test_an_identity_that_does_not_fit_is_refused_whole(
    world: RunningWorld, person: Person
) -> None:
    """(LIM-02)"""
    url = await at_callback(world, person)
    world.world.cloud.cognito.faults.spoil_token = claims(
        **{"custom:groups": json.dumps(["app-users", *(f"é{n:0300d}" for n in range(40))])}
    )
    await person.open(url)
    answer = world.check("acme.localhost", cookie=person.cookies("acme.localhost")[COOKIE])
    assert (answer.status, answer.header("X-Auth-Reason")) == (403, "identity_too_large")


async def test_a_flood_of_unknown_keys_is_not_passed_on(
    world: RunningWorld, person: Person
) -> None:
    """(TOK-04)"""
    faults = world.world.cloud.cognito.faults
    await log_in(world, person)
    before = faults.calls.get("jwks", 0)
    faults.spoil_token = only_id(
        lambda d: replace(d, headers={"kid": f"unknown-{time.monotonic_ns()}"})
    )
    for _ in range(5):
        async with Person() as someone:
            await refused(someone, await at_callback(world, someone))
    assert faults.calls.get("jwks", 0) - before <= 1


async def test_logins_go_on_while_the_key_endpoint_is_down(
    world: RunningWorld, person: Person
) -> None:
    """(AVL-08)"""
    await log_in(world, person)
    world.world.cloud.cognito.faults.always("jwks", status(500))
    async with Person() as someone:
        assert urlsplit((await log_in(world, someone)).url).path == "/there"


# --- nothing secret in the log --------------------------------------------------------------------


# --- what a stranger may learn
# -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.1", b"GET /healthz HTTP/1.1", b"\x16\x03\x01 no HTTP"]
)
async def test_no_listener_names_the_software_it_runs(
    world: RunningWorld, request_line: bytes
) -> None:
    for name, port in world.world.gateways[0].ports.items():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_line + b"\r\nHost: acme.localhost\r\nConnection: close\r\n\r\n")
        head = (await reader.read()).partition(b"\r\n\r\n")[0].lower()
        writer.close()
        assert head.startswith(b"http/1."), name
        assert b"aiohttp" not in head and b"python" not in head, name


async def test_a_request_that_is_no_http_is_not_quoted_in_the_log(world: RunningWorld) -> None:
    secret = "secret-" + "q" * 40
    for spoilt in (
        f"X-Gateway-Key : {secret}",
        f"Cookie: __Host-gw={secret}\x00",
        f"Authorization: Bearer {secret}\x01",
    ):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", world.world.gateways[0].ports["check"]
        )
        writer.write(f"GET /auth/nginx HTTP/1.1\r\nHost: x\r\n{spoilt}\r\n\r\n".encode())
        assert b" 400 " in await reader.readline()
        writer.close()
    async with asyncio.timeout(10):
        while '"invalid_http_request"' not in world.log():  # noqa: ASYNC110 - another process' log
            await asyncio.sleep(0.02)
    assert secret not in world.log()


async def test_every_line_of_the_log_is_one_json_object(world: RunningWorld) -> None:
    lines = world.log().splitlines()
    assert {"development", "listening", "started"} <= {json.loads(line)["event"] for line in lines}


# --- while it runs
# -------------------------------------------------------------------------------------


async def test_an_ingress_key_is_rotated_without_a_restart(world: RunningWorld) -> None:
    """Two keys while the ingress changes over; then the old one is believed no more."""
    path, process, fresh = (
        world.world.config_path,
        world.world.gateways[0].process,
        "next-" + world.world.ingress_key,
    )
    before = path.read_text("utf-8")
    line = next(line for line in before.splitlines() if line.strip().startswith("keys:"))
    reads = world.log().count('"config_reloaded"')

    async def say(keys: str) -> None:
        nonlocal reads
        path.write_text(before.replace(line, f"  keys: [{keys}]"), "utf-8")
        process.send_signal(signal.SIGHUP)
        reads += 1
        async with asyncio.timeout(20):
            while world.log().count('"config_reloaded"') < reads:  # noqa: ASYNC110 - another process' log
                await asyncio.sleep(0.02)

    def believed(key: str) -> bool:
        return world.check("acme.localhost", key=key).header("X-Auth-Reason") != "untrusted_proxy"

    old = world.world.ingress_key
    try:
        await say(f"{fresh}, {old}")
        assert [believed(fresh), believed(old), believed("neither of them")] == [True, True, False]
        await say(fresh)
        assert [believed(fresh), believed(old)] == [True, False]
    finally:
        await say(old)
    path.write_text("ingress: {}\n", "utf-8")
    process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(20):
        while '"config_reload_failed"' not in world.log():  # noqa: ASYNC110 - another process' log
            await asyncio.sleep(0.02)
    path.write_text(before, "utf-8")
    assert believed(old)
