"""Shared hosts, the chooser, and one sign-in for all hosts of a tenant."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import yaml

from demo.world import World
from tests.login.test_connection_test import api_of
from tests.support.browserless import Form, Page, Person, as_page, forgotten_at
from tests.support.gateway_process import until
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

COOKIE = "__Host-gw"
ACME, CALENDAR, SHARED, LOGIN = (
    "acme.localhost",
    "calendar.acme.localhost",
    "app.localhost",
    "login.localhost",
)


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    with RunningWorld(World(tmp_path_factory.mktemp("central"))) as running:
        yield running


@pytest.fixture
async def person() -> AsyncIterator[Person]:
    async with Person() as someone:
        yield someone


def login(world: RunningWorld, host: str, **query: str) -> str:
    return f"{world.world.url(host)}/_auth/login?{urlencode({'rd': '/there', **query})}"


def path(page: Page) -> str:
    return urlsplit(page.url).path


async def up_to_ticket(
    world: RunningWorld, person: Person, host: str = ACME, *, signed_in: bool = False
) -> str:
    """The address with the ticket, not yet visited."""
    if signed_in:
        page = await person.open(login(world, host), follow=False)
    else:
        page = await person.submit(
            await person.open(login(world, host)),
            {"email": "alice@acme.test", "password": "demo"},
            follow=False,
        )
    while "/_auth/complete" not in (page.headers.header("Location") or ""):
        page = await person.open(page.headers.header("Location") or "", follow=False)
    return page.headers.header("Location") or ""


# --- central login
# -----------------------------------------------------------------------------------


async def test_a_login_goes_through_the_login_host_and_ends_at_the_page(
    central: RunningWorld, person: Person
) -> None:
    page = await person.log_in(login(central, ACME), "alice@acme.test")
    assert (path(page), page.host) == ("/there", ACME)
    assert page.visited(LOGIN)
    assert central.check(ACME, cookie=person.cookies(ACME)[COOKIE]).status == 200


async def test_the_second_host_is_silent_and_has_a_session_of_its_own(
    central: RunningWorld, person: Person
) -> None:
    await person.log_in(login(central, ACME), "alice@acme.test")
    page = await person.open(login(central, CALENDAR))
    assert (path(page), page.host) == ("/there", CALENDAR)
    assert not page.visited("cognito.localhost")
    first, second = person.cookies(ACME)[COOKIE], person.cookies(CALENDAR)[COOKIE]
    assert first != second
    assert central.check(CALENDAR, cookie=second).status == 200
    assert central.check(CALENDAR, cookie=first).status == 401, (
        "a cookie that leaks from one app opens no other"
    )
    parent = person.cookies(LOGIN)[f"{COOKIE}-at-acme"]
    assert central.check(ACME, cookie=parent).status == 401
    assert central.check(LOGIN, cookie=parent).status == 401, (
        "the login host protects nothing, whatever stands behind it"
    )


async def test_a_ticket_of_another_person_ends_the_session_before_it_at_once(
    central: RunningWorld, person: Person
) -> None:
    """Nobody else's session, planted or left behind, goes on behind the one that came."""
    await person.log_in(login(central, CALENDAR), "alice@acme.test")
    alices = person.cookies(CALENDAR)[COOKIE]
    assert central.check(CALENDAR, cookie=alices).status == 200
    async with Person() as other:
        form = await other.open(login(central, CALENDAR))
        other.set_cookie(CALENDAR, COOKIE, f"{alices}; Secure")  # at the start it would be used
        page = await other.submit(form, {"email": "bob@acme.test", "password": "demo"})
        assert path(page) == "/there"
        assert other.cookies(CALENDAR)[COOKIE] != alices
    assert central.check(CALENDAR, cookie=alices).status == 401


async def test_another_tenant_is_not_silent(central: RunningWorld, person: Person) -> None:
    await person.log_in(login(central, ACME), "alice@acme.test")
    page = await person.open(login(central, "globex.localhost"))
    assert page.host == "entra.localhost"


async def test_signing_in_for_a_second_tenant_leaves_the_first_alone(
    central: RunningWorld, person: Person
) -> None:
    await person.log_in(login(central, ACME), "alice@acme.test")
    await person.log_in(login(central, "globex.localhost"), "carol@globex.test")
    assert central.check(ACME, cookie=person.cookies(ACME)[COOKIE]).status == 200
    assert (
        central.check("globex.localhost", cookie=person.cookies("globex.localhost")[COOKIE]).status
        == 200
    )


async def begins_again(person: Person, url: str) -> None:
    """The ticket is no good: a login begins again, once; then there is a page with a link."""
    page = await person.open(url, follow=False)
    assert (page.status, page.headers.header("Location")) == (303, "/_auth/login")
    page = await person.open(url, follow=False)
    assert (page.status, urlsplit(page.link("Try again")).path) == (400, "/_auth/login")
    assert COOKIE not in person.cookies(page.host)


async def test_a_ticket_in_another_browser_is_cancelled(
    central: RunningWorld, person: Person
) -> None:
    url = await up_to_ticket(central, person)
    async with Person() as victim:
        await victim.open(login(central, ACME), follow=False)
        page = await victim.open(url)
        assert (page.status, path(page)) == (400, "/_auth/complete")
        assert "another browser" in page.text
        assert COOKIE not in victim.cookies(ACME)
    await begins_again(person, url)


async def test_a_ticket_works_once_and_at_its_host_only(
    central: RunningWorld, person: Person
) -> None:
    url = await up_to_ticket(central, person)
    for name, value in person.bindings(ACME).items():
        person.set_cookie(CALENDAR, name, f"{value}; Secure")
    assert path(await person.open(url)) == "/there"
    person.forget(ACME, COOKIE)
    await begins_again(person, url)
    url = await up_to_ticket(central, person, signed_in=True)
    assert (await person.open(url.replace(f"//{ACME}:", f"//{CALENDAR}:"))).status == 400
    assert (await person.open(url)).status == 400
    assert COOKIE not in person.cookies(ACME)


async def test_prefetch_and_head_use_up_no_ticket(central: RunningWorld, person: Person) -> None:
    import http.client

    url = await up_to_ticket(central, person)
    assert (await person.open(url, headers={"Sec-Purpose": "prefetch"})).status == 400
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=10)
    connection.request(
        "HEAD",
        f"{parts.path}?{parts.query}",
        headers={
            "Host": parts.netloc,
            "Cookie": "; ".join(map("=".join, person.bindings(ACME).items())),
        },
    )
    assert connection.getresponse().status == 405
    connection.close()
    page = await person.open(url)
    assert path(page) == "/there"
    answered = next(hop for hop in page.hops if "/_auth/complete" in hop.url)
    assert (
        answered.status,
        answered.header("Cache-Control"),
        answered.header("Referrer-Policy"),
    ) == (303, "no-store", "no-referrer")


async def test_a_login_page_made_for_somebody_elses_browser_hands_over_nothing(
    central: RunningWorld, person: Person
) -> None:
    """The victim is signed in at the login host and follows a link with the attacker's browser
    id.
    """
    await person.log_in(login(central, ACME), "alice@acme.test")
    async with Person() as attacker:
        begun = await attacker.open(login(central, CALENDAR), follow=False)
        page = await person.open(begun.headers.header("Location") or "")
        assert (page.status, path(page)) == (400, "/_auth/complete")
        await begins_again(attacker, page.url)
        assert COOKIE not in attacker.cookies(CALENDAR), (
            "shown by the victim's browser, it is no session as the victim in the attacker's"
        )


@pytest.mark.parametrize(
    "change",
    [
        {"host": "evil.test"},
        {"browser": "x"},
        {"host": "inactive.localhost"},
        {"host": "login.localhost"},
        {"host": "app.localhost", "tenant": "nobody"},
    ],
)
async def test_the_login_host_sends_nobody_elsewhere(
    central: RunningWorld, person: Person, change: dict[str, str]
) -> None:
    query = {"host": ACME, "rd": central.world.url(ACME) + "/x", "browser": "a" * 64, **change}
    page = await person.open(f"{central.world.url(LOGIN)}/_auth/login?{urlencode(query)}")
    assert page.status == 421
    assert page.host == LOGIN


async def test_a_foreign_return_address_is_dropped_at_the_login_host_too(
    central: RunningWorld, person: Person
) -> None:
    await person.log_in(login(central, ACME), "alice@acme.test")
    page = await person.open(login(central, CALENDAR, rd="https://evil.test/"))
    assert page.url == central.world.url(CALENDAR) + "/"


async def test_logging_out_at_one_host_ends_all_of_the_family(
    central: RunningWorld, person: Person
) -> None:
    await person.log_in(login(central, ACME), "alice@acme.test")
    await person.open(login(central, CALENDAR))
    first, second = person.cookies(ACME)[COOKIE], person.cookies(CALENDAR)[COOKIE]
    page = await person.submit(await person.open(central.world.url(ACME) + "/_auth/logout"), {})
    assert page.url == central.world.url(ACME) + "/_auth/signed-out"
    assert page.visited("cognito.localhost")
    assert page.visited(LOGIN)
    assert central.check(ACME, cookie=first).status == 401
    assert central.check(CALENDAR, cookie=second).status == 401
    again = await person.open(login(central, CALENDAR))
    assert again.visited("cognito.localhost"), "the parent is gone too"


async def test_the_pages_of_whoever_was_here_before_are_forgotten(
    central: RunningWorld, person: Person
) -> None:
    first = await person.log_in(login(central, ACME), "bob@acme.test")
    for host in (LOGIN, "cognito.localhost", "okta.localhost"):
        person.forget(host)
    page = await person.log_in(login(central, ACME, switch="1"), "alice@acme.test")
    assert (forgotten_at(first), forgotten_at(page)) == ([], [f"{ACME}/_auth/complete"])


async def test_at_a_shared_host_the_cookies_of_the_organization_before_end_too(
    central: RunningWorld, person: Person
) -> None:
    """Of the two tenants only Acme names cookies; the hash at one host says nothing at another."""
    person.set_cookie(SHARED, "legacy_session", "somebodys")
    await person.submit(
        await person.submit(
            await person.open(login(central, SHARED)), {"login_hint": "alice@acme.test"}
        ),
        {"email": "alice@acme.test", "password": "demo"},
    )
    known = person.cookies(SHARED)["__Host-gw-person"]
    assert "legacy_session" not in person.cookies(SHARED), "nobody knows whose it was"
    assert re.fullmatch(r"[0-9a-f]{32}", known)
    for name in ("legacy_session", "theme"):
        person.set_cookie(SHARED, name, "alices")
    person.forget(SHARED, COOKIE)
    await person.open(login(central, SHARED))
    assert (
        person.cookies(SHARED)["legacy_session"],
        person.cookies(SHARED)["__Host-gw-person"],
    ) == ("alices", known)
    person.forget(SHARED, COOKIE)
    page = await person.submit(
        await person.open(login(central, SHARED, change="1")), {"login_hint": "carol@globex.test"}
    )
    page = await person.submit(page, {"email": "carol@globex.test", "password": "demo"})
    assert (page.host, path(page)) == (SHARED, "/there")
    assert "legacy_session" not in person.cookies(SHARED)
    assert person.cookies(SHARED)["theme"] == "alices"
    assert forgotten_at(page) == [f"{SHARED}/_auth/complete"], (
        "also where nobody's session was alive"
    )
    await person.open(login(central, ACME))
    assert person.cookies(ACME)["__Host-gw-person"] != known


async def test_sign_in_as_somebody_else_comes_back_to_the_page(
    central: RunningWorld, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Cognito's managed login passes ``prompt`` on; the classic pages ignore it, and the
    provider may be silent.
    """
    monkeypatch.setattr(central.world.cloud.cognito.pool.behaviour, "managed_login_version", 2)
    await person.log_in(login(central, ACME), "mallory@acme.test")
    denied = await person.open(
        central.world.url(ACME)
        + "/_auth/denied?"
        + urlencode({"rd": central.world.url(ACME) + "/there"})
    )
    assert denied.status == 403
    form = next(n for n, f in enumerate(denied.forms) if "logout" in f.action)
    page = await person.submit(denied, {}, form=form)
    assert page.host == "okta.localhost", "the identity provider asks again"
    page = await person.submit(page, {"email": "alice@acme.test", "password": "demo"})
    assert (path(page), page.host) == ("/there", ACME)


async def test_a_login_that_asks_anew_comes_back_to_the_sessions_of_the_host_where_it_began(
    central: RunningWorld, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at the login host itself; and of nobody's address, since ``rd`` leads to no page of
    ours.
    """
    monkeypatch.setattr(central.world.cloud.cognito.pool.behaviour, "managed_login_version", 2)
    await person.log_in(login(central, ACME), "alice@acme.test")
    for host, cookie in ((ACME, COOKIE), (LOGIN, f"{COOKIE}-at-acme")):
        before = person.cookies(host)[cookie]
        origin = central.world.url(host)
        page = await person.open(f"{origin}/_auth/login?reauthenticate=1&rd=/there")
        assert page.host == "okta.localhost", "the identity provider asks"
        assert any("/logout?" in hop.url for hop in page.hops), "Cognito does not resume"
        page = await person.submit(page, {"email": "alice@acme.test", "password": "demo"})
        assert (page.status, page.url) == (200, f"{origin}/_auth/sessions")
        assert person.cookies(host)[cookie] != before
    async with Person() as nobody:
        page = await nobody.open(f"{central.world.url(LOGIN)}/_auth/login?reauthenticate=1")
        assert (page.host, page.status) == (SHARED, 200), "as any login that begins there"


# --- shared hosts
# ------------------------------------------------------------------------------------


async def test_a_shared_host_asks_for_the_address_and_finds_the_way(
    central: RunningWorld, person: Person
) -> None:
    page = await person.open(login(central, SHARED))
    assert "login_hint" in page.forms[0].fields
    page = await person.submit(page, {"login_hint": "alice@ACME.test"})
    assert page.host == "okta.localhost"
    page = await person.submit(page, {"email": "alice@acme.test", "password": "demo"})
    assert (path(page), page.host) == ("/there", SHARED)
    answer = central.check(SHARED, cookie=person.cookies(SHARED)[COOKIE])
    assert (answer.status, answer.header("X-Auth-Request-Tenant")) == (200, "acme")


async def test_the_choice_is_remembered_and_can_be_changed(
    central: RunningWorld, person: Person
) -> None:
    page = await person.submit(
        await person.open(login(central, SHARED)), {"login_hint": "alice@acme.test"}
    )
    assert page.host == "okta.localhost"
    assert "login_hint" in (await person.open(login(central, SHARED))).forms[0].fields, (
        "nothing is remembered before a login has finished"
    )
    await person.submit(page, {"email": "alice@acme.test", "password": "demo"})
    person.forget(SHARED, COOKIE)
    assert path(await person.open(login(central, SHARED))) == "/there"
    asked = await person.open(login(central, SHARED, change="1"))
    assert "login_hint" in asked.forms[0].fields
    forged = person.cookies(SHARED)["__Host-gw-org"].replace("acme", "globex")
    person.forget(SHARED)
    person.set_cookie(SHARED, "__Host-gw-org", forged)
    assert "login_hint" in (await person.open(login(central, SHARED))).forms[0].fields


def anonymous(text: str) -> str:
    return re.sub(r"[0-9a-f]{16,32}", "", text)


async def test_unknown_inactive_and_malformed_get_one_answer(
    central: RunningWorld, person: Person
) -> None:
    answers = set()
    for hint in (
        "somebody@nowhere.test",
        "a@inactive.test",
        "a@b@acme.test",
        "not an address",
        "@",
        "a@sub.acme.test",
    ):
        page = await person.open(login(central, SHARED, login_hint=hint))
        plain = "@" in hint and hint.count("@") == 1 and len(hint) > 1
        assert len(hint) < 2 or (f'value="{hint}"' in page.text) is plain, (
            "what was typed is there to be corrected, if it is an address"
        )
        text = anonymous(page.text)
        answers.add((page.status, text.replace(hint, "") if plain else text))
    assert len(answers) == 1


async def test_unknown_addresses_are_limited_per_client_and_known_ones_always_pass(
    central: RunningWorld, person: Person
) -> None:
    while time.time() % 60 > 40:
        await person.open(central.world.url(ACME) + "/_auth/jwks.json")
    pages = [
        await person.open(
            login(central, SHARED, login_hint="a@nowhere.test"),
            headers={"X-Forwarded-For": "203.0.113.7"},
        )
        for _ in range(25)
    ]
    assert pages[0].status == 200
    assert pages[-1].status == 429
    known = await person.open(
        login(central, SHARED, login_hint="alice@acme.test"),
        headers={"X-Forwarded-For": "203.0.113.7"},
        follow=False,
    )
    assert known.status == 302, "a colleague behind the same address is not locked out"
    other = await person.open(
        login(central, SHARED, login_hint="a@nowhere.test"),
        headers={"X-Forwarded-For": "203.0.113.8"},
    )
    assert other.status == 200


async def test_a_company_behind_one_address_signs_in_without_limit(
    central: RunningWorld, person: Person
) -> None:
    for _ in range(25):
        page = await person.open(
            login(central, SHARED, login_hint="alice@acme.test"),
            headers={"X-Forwarded-For": "203.0.113.9"},
            follow=False,
        )
        assert page.status == 302


async def test_a_session_of_a_shared_host_is_one_of_its_tenant(
    central: RunningWorld, person: Person
) -> None:
    page = await person.submit(
        await person.open(login(central, SHARED)), {"login_hint": "carol@globex.test"}
    )
    await person.submit(page, {"email": "carol@globex.test", "password": "demo"})
    cookie = person.cookies(SHARED)[COOKIE]
    assert central.check(SHARED, cookie=cookie).header("X-Auth-Request-Tenant") == "globex"
    assert central.check(ACME, cookie=cookie).status == 401


# --- several providers
# -------------------------------------------------------------------------------


async def test_a_tenant_with_two_providers_lets_people_choose(
    central: RunningWorld, person: Person
) -> None:
    page = await person.open(login(central, "hooli.localhost"))
    assert [label.strip() for label, _ in page.links][:2] == ["Hooli staff", "Hooli Labs"]
    page = await person.click(page, "Hooli Labs")
    assert page.host == "hooli-entra.localhost"
    page = await person.submit(page, {"email": "frank@hooli-labs.test", "password": "demo"})
    assert (path(page), page.host) == ("/there", "hooli.localhost")


async def test_the_domain_of_the_address_chooses_the_provider(
    central: RunningWorld, person: Person
) -> None:
    page = await person.submit(
        await person.open(login(central, SHARED)), {"login_hint": "erin@hooli.test"}
    )
    assert page.host == "hooli-okta.localhost"


async def test_a_providers_domains_are_enforced_after_the_login(
    central: RunningWorld, person: Person
) -> None:
    """(invariant 3) What was typed chose the provider; the claim is what counts."""
    directory = central.world.cloud.customers["hooli-okta"].server.directory
    directory.add_person("grace@hooli-labs.test", name="Grace Green", groups=("staff",))
    page = await person.open(login(central, "hooli.localhost", provider="hooli-okta"))
    page = await person.submit(page, {"email": "grace@hooli-labs.test", "password": "demo"})
    assert (page.status, path(page)) == (403, "/_auth/callback")
    assert parse_qs(urlsplit(page.url).query)["state"]
    assert f"{COOKIE}-at-hooli" not in person.cookies(LOGIN)


@contextmanager
def hooli_with(central: RunningWorld, **changes: Any) -> Iterator[None]:
    """Its file with these keys; ``inactive`` names a provider."""
    file = central.world.directory / "config" / "tenants" / "hooli.yaml"
    written = file.read_text("utf-8")
    document = yaml.safe_load(written)
    inactive = changes.pop("inactive", "")
    for provider in document["providers"]:
        provider["active"] = provider["name"] != inactive
    file.write_text(yaml.safe_dump({**document, **changes}), "utf-8")
    try:
        yield
    finally:
        file.write_text(written, "utf-8")


async def test_a_provider_that_is_made_inactive_ends_its_sessions_for_good(
    central: RunningWorld, person: Person
) -> None:
    hooli = "hooli.localhost"
    page = await person.open(login(central, hooli, provider="hooli-entra"))
    await person.submit(page, {"email": "frank@hooli-labs.test", "password": "demo"})
    cookie = person.cookies(hooli)[COOKIE]
    assert central.check(hooli, cookie=cookie).status == 200

    def franks() -> list[Any]:
        listed = api_of(central).get("/sessions", tenant="hooli")["items"]
        return [one for one in listed if one["provider"] == "hooli-entra"]

    assert franks()
    with hooli_with(central, inactive="hooli-entra"):
        until(lambda: central.check(hooli, cookie=cookie).status == 401)
        until(lambda: not franks())
        page = await person.open(login(central, hooli, provider="hooli-entra"))
        assert page.host == "hooli-okta.localhost", "the only one that is active"
    async with asyncio.timeout(20), Person() as other:
        start = login(central, hooli, provider="hooli-entra")
        while (await other.open(start)).host != "hooli-entra.localhost":
            pass
    assert central.check(hooli, cookie=cookie).status == 401, "active again, and nothing is back"


async def test_another_provider_is_offered_when_one_is_down(
    central: RunningWorld, person: Person
) -> None:
    def down() -> str:
        return urlencode(
            {
                "error": "invalid_request",
                "error_description": "Timeout occurred in calling IdP token endpoint",
            }
        )

    async def failed() -> Page:
        started = await person.open(
            login(central, "hooli.localhost", provider="hooli-entra"), follow=False
        )
        while "/oauth2/authorize" not in (location := started.headers.header("Location") or ""):
            started = await person.open(location, follow=False)
        state = parse_qs(urlsplit(location).query)["state"][0]
        callback = f"{central.world.url(LOGIN)}/_auth/callback?state={state}&{down()}"
        return await person.open(callback)

    page = await failed()
    assert "Hooli staff" not in [label.strip() for label, _ in page.links]
    with hooli_with(central, fallback_providers=["hooli-okta"]):
        async with asyncio.timeout(10):
            while "Hooli staff" not in [label.strip() for label, _ in (await failed()).links]:
                pass
        page = await person.click(await failed(), "Hooli staff")
        assert page.host == "hooli-okta.localhost"


async def test_rules_open_the_public_path_and_guard_the_admin_path(
    central: RunningWorld, person: Person
) -> None:
    assert central.check(ACME, "/public/x").status == 200
    await person.log_in(login(central, ACME), "bob@acme.test")
    cookie = person.cookies(ACME)[COOKIE]
    assert central.check(ACME, "/anything", cookie=cookie).status == 200
    assert central.check(ACME, "/admin/x", cookie=cookie).header("X-Auth-Reason") == "group_missing"
    assert central.check(ACME, "/public/../admin", cookie=cookie).status == 403


# --- what a stranger finds out about tenants
# ------------------------------------------------------------


async def test_nobody_finds_out_by_trying_which_tenants_there_are(
    central: RunningWorld, person: Person
) -> None:
    """Where a host is many tenants', the address names one, signed: a name that is made up gets one
    answer, whether it is a tenant's or not.
    """
    begun = await person.open(login(central, SHARED, login_hint="alice@acme.test"), follow=False)
    at_login = begun.headers.header("Location") or ""
    query = {k: v[0] for k, v in parse_qs(urlsplit(at_login).query).items()}
    left = f"{central.world.url(LOGIN)}/_auth/leave"

    async def answers(tenant: str) -> list[tuple[int, str]]:
        pages = [
            await person.open(
                f"{central.world.url(LOGIN)}/_auth/login?{urlencode({**query, 'tenant': tenant})}",
                follow=False,
            ),
            await person.open(
                f"{left}?{urlencode({'tenant': tenant, 'host': SHARED, 'what': 'login'})}",
                follow=False,
            ),
            await person.open(
                (
                    f"{central.world.url(SHARED)}/_auth/"
                    f"complete?{urlencode({'ticket': 'x', 'tenant': tenant})}"
                ),
                follow=False,
            ),
        ]
        return [(page.status, re.sub(r"[0-9a-f]{16}", "", page.text)) for page in pages]

    assert [status for status, _ in await answers("no-such-tenant")] == [421, 400, 303], (
        "the first time a login begins again"
    )
    unknown = await answers("no-such-tenant")
    assert [status for status, _ in unknown] == [421, 400, 400]
    signature = query["tenant"].partition(".")[2]
    for made_up in (
        "acme",
        "globex",
        "inactive",
        f"globex.{signature}",
        f"acme.{signature[:-1]}{'1' if signature.endswith('0') else '0'}",
        f".{signature}",
        "acme.",
    ):
        assert await answers(made_up) == unknown, made_up
    elsewhere = {**query, "browser": "b" * 64}
    assert (
        await person.open(
            f"{central.world.url(LOGIN)}/_auth/login?{urlencode(elsewhere)}", follow=False
        )
    ).status == 421, "signed for one browser"
    assert (await person.open(at_login, follow=False)).status == 302


async def test_what_a_logout_goes_on_with_is_not_made_up(
    central: RunningWorld, person: Person
) -> None:
    """The page would name the tenant's providers, and go on to its host."""
    import base64
    import json

    seen = set()
    for tenant in ("acme", "globex", "no-such-tenant"):
        document = {
            "what": "login",
            "tenant": tenant,
            "host": SHARED,
            "return_to": "",
            "provider": "",
            "browser": "",
        }
        value = base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")
        person.set_cookie(LOGIN, "__Host-gw-resume", f"{value}.{'0' * 64}")
        page = await person.open(central.world.url(LOGIN) + "/_auth/signed-out", follow=False)
        seen.add(
            (page.status, page.headers.header("Location"), re.sub(r"[0-9a-f]{16}", "", page.text))
        )
    assert len(seen) == 1


# --- ways out
# ----------------------------------------------------------------------------------------


async def lead_on(world: RunningWorld, person: Person, page: Page) -> list[str]:
    """Follow every link of a page of ours; each ends at a provider's form, at the form for the
    e-mail address, or in the application.
    """
    ends = []
    for text, address in page.links:
        if not address.startswith("http"):
            continue
        end = await person.open(address)
        fields = end.forms[0].fields if end.forms else {}
        at_application = end.host != LOGIN and not path(end).startswith("/_auth/")
        assert (
            "password" in fields
            or "login_hint" in fields
            or at_application
            or "provider=" in address
        ), (page.url, text, address, end.status, end.url)
        ends.append(text)
    return ends


@pytest.mark.parametrize("host", [ACME, SHARED, LOGIN])
async def test_every_page_of_a_login_that_ended_nowhere_leads_on(
    central: RunningWorld, host: str
) -> None:
    """At an organization's host, at a shared one and at the login host; in a browser that was never
    here, and in one that was signed in.
    """
    origin = central.world.url(host)
    visited = Person()
    async with Person() as never, visited:
        await visited.log_in(login(central, ACME), "alice@acme.test")
        for name in (ACME, SHARED, "okta.localhost", "cognito.localhost"):
            visited.forget(name)
        for cookie in list(visited.cookies(LOGIN)):
            if cookie != "__Host-gw-from":
                visited.forget(LOGIN, cookie)
        for browser in (never, visited):
            for address in (
                "/_auth/callback",
                "/_auth/callback?code=bookmarked",
                "/_auth/callback?code=x&state=y",
                "/_auth/callback?error=access_denied",
            ):
                first = await browser.open(f"{origin}{address}", follow=False)
                assert first.status == 303 or "Try again" in await lead_on(
                    central, browser, first
                ), address
                page = await browser.open(f"{origin}{address}", follow=False)
                assert (page.status, "Try again" in await lead_on(central, browser, page)) == (
                    400,
                    True,
                ), address
            page = await browser.open(f"{origin}/_auth/signed-out")
            assert "Sign in again" in await lead_on(central, browser, page)
            page = await browser.open(f"{origin}/_auth/sessions")
            assert "Try again" in await lead_on(central, browser, page)
            page = await browser.open(f"{origin}/_auth/no-such-page")
            assert (page.status, "To the start page" in await lead_on(central, browser, page)) == (
                404,
                True,
            )
            assert urlsplit((await browser.open(f"{origin}/_auth/login")).url).hostname != LOGIN


@pytest.mark.parametrize("host", [ACME, SHARED])
async def test_every_page_of_the_check_leads_on(
    central: RunningWorld, person: Person, host: str
) -> None:
    """As the proxies show them in the place of the application: a form and a frame without a
    session, an address that cannot be read, a refusal.
    """
    origin = central.world.url(host)
    form = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

    def shown(path: str, *, dialect: str = "caddy", **more: Any) -> Page:
        answer = central.check(host, path, dialect=dialect, **more)
        assert (answer.header("Content-Type") or "").startswith("text/html")
        return as_page(origin + path, answer.status, answer.body.decode())

    for dialect in ("caddy", "nginx-page"):
        for page, status, promise in (
            (
                shown("/form", dialect=dialect, method="POST", headers=form),
                401,
                "Sign in in a new tab",
            ),
            (
                shown("/frame", dialect=dialect, headers={**form, "Sec-Fetch-Dest": "iframe"}),
                401,
                "Sign in in a new tab",
            ),
            (shown("/%00", dialect=dialect), 400, "To the start page"),
        ):
            assert (page.status, promise in await lead_on(central, person, page)) == (
                status,
                True,
            ), (dialect, page.url)
            if host == SHARED and status == 401:
                person.forget(SHARED)
    await person.log_in(login(central, ACME), "mallory@acme.test")
    if host == SHARED:
        await person.submit(
            await person.open(login(central, SHARED)), {"login_hint": "mallory@acme.test"}
        )
    denied = shown("/form", method="POST", headers=form, cookie=person.cookies(host)[COOKIE])
    assert denied.status == 403
    assert {form.action for form in denied.forms} == {f"{origin}/_auth/logout"}
    out = await person.press(denied, "/_auth/logout")
    assert out.visited("cognito.localhost")
    assert out.host != LOGIN


async def test_a_stray_at_the_login_host_takes_whoever_is_signed_in_to_where_they_came_from(
    central: RunningWorld, person: Person
) -> None:
    await person.log_in(login(central, CALENDAR), "alice@acme.test")
    page = await person.open(f"{central.world.url(LOGIN)}/_auth/callback?code=x")
    assert (page.host, path(page)) == (CALENDAR, "/")
    forged = person.cookies(LOGIN)["__Host-gw-from"].replace("calendar", "calendor")
    person.set_cookie(LOGIN, "__Host-gw-from", f"{forged}; Secure")
    page = await person.open(f"{central.world.url(LOGIN)}/_auth/login", follow=False)
    assert page.headers.header("Location") == f"{central.world.url(ACME)}/_auth/login", (
        "a host of the tenant that is signed in here"
    )


async def test_a_mistyped_organization_is_left_again(central: RunningWorld, person: Person) -> None:
    """carol's address was meant, alice's was typed: the page of the failed login leads back to the
    form, and so do the others of a shared host.
    """
    page = await person.submit(
        await person.open(login(central, SHARED)), {"login_hint": "alice@acme.test"}
    )
    at_cognito = next(hop.url for hop in page.hops if "cognito.localhost" in hop.url)
    answer = {"error": "access_denied", "state": parse_qs(urlsplit(at_cognito).query)["state"][0]}
    page = await person.open(f"{central.world.url(LOGIN)}/_auth/callback?{urlencode(answer)}")
    form = (await person.click(page, "Use another e-mail address")).forms[0]
    assert ("login_hint" in form.fields, form.fields["rd"]) == (
        True,
        f"{central.world.url(SHARED)}/there",
    )
    out = await person.open(f"{central.world.url(SHARED)}/_auth/signed-out")
    assert "login_hint" in (await person.click(out, "Use another e-mail address")).forms[0].fields
    assert not any(
        "Use another" in text
        for text, _ in (await person.open(f"{central.world.url(ACME)}/_auth/signed-out")).links
    )


# --- logins that a provider's tile begins (OpenID Connect Core §4)
# ---------------------------------------


async def tile(person: Person, address: str, fields: dict[str, str], *, post: bool) -> Page:
    """Click the tile in the provider's portal: another site, by link or by form."""
    if not post:
        return await person.open(f"{address}?{urlencode(fields)}")
    portal = Page("https://portal.okta.example/", 200, "", (), (Form(address, "POST", fields),))
    return await person.submit(portal)


@pytest.mark.parametrize("post", [False, True], ids=["GET", "POST"])
async def test_a_tile_begins_a_login_at_its_provider(
    central: RunningWorld, person: Person, post: bool
) -> None:
    hooli = central.world.cloud.customers["hooli-entra"].issuer
    address = f"{central.world.url('hooli.localhost')}/_auth/login"
    target = f"{central.world.url('hooli.localhost')}/from-tile"
    page = await tile(person, address, {"iss": hooli, "target_link_uri": target}, post=post)
    assert page.host == "hooli-entra.localhost", "iss chooses between the tenant's providers"
    okta = central.world.cloud.customers["acme-okta"].issuer
    page = await tile(
        person,
        f"{central.world.url(ACME)}/_auth/login",
        {
            "iss": okta + "/",
            "login_hint": "alice@acme.test",
            "target_link_uri": f"{central.world.url(ACME)}/from-tile",
        },
        post=post,
    )
    page = await person.submit(page, {"email": "alice@acme.test", "password": "demo"})
    assert page.url == f"{central.world.url(ACME)}/from-tile"
    again = await tile(
        person,
        f"{central.world.url(ACME)}/_auth/login",
        {
            "iss": okta,
            "login_hint": "Alice@acme.test",
            "target_link_uri": f"{central.world.url(ACME)}/second",
        },
        post=post,
    )
    assert (again.url, again.visited(LOGIN)) == (f"{central.world.url(ACME)}/second", False), (
        "who is signed in goes on"
    )


@pytest.mark.parametrize("post", [False, True], ids=["GET", "POST"])
@pytest.mark.parametrize(
    "target", ["https://evil.test/", "//evil.test", "/_auth/logout", "javascript:alert(1)"]
)
async def test_a_tile_leads_nowhere_else(
    central: RunningWorld, person: Person, target: str, post: bool
) -> None:
    await person.log_in(login(central, ACME), "alice@acme.test")
    page = await tile(
        person,
        f"{central.world.url(ACME)}/_auth/login",
        {"iss": "https://unknown.test", "target_link_uri": target},
        post=post,
    )
    assert page.url == f"{central.world.url(ACME)}/"


async def test_a_form_of_another_site_changes_nothing(
    central: RunningWorld, person: Person
) -> None:
    """It is answered as a link would be: no cookie is set, no login begun, nobody signed out."""
    await person.log_in(login(central, ACME), "alice@acme.test")
    before = person.cookies(ACME)
    portal = Page(
        "https://evil.test/",
        200,
        "",
        (),
        (
            Form(
                f"{central.world.url(ACME)}/_auth/login",
                "POST",
                {"login_hint": "mallory@acme.test", "switch": "1", "provider": "x"},
            ),
        ),
    )
    page = await person.submit(portal, follow=False)
    assert (page.status, page.headers.header("Location")) == (
        303,
        "/_auth/login?login_hint=mallory%40acme.test",
    )
    assert page.headers.header("Set-Cookie") is None
    assert person.cookies(ACME) == before


async def test_a_tile_that_names_the_login_host_begins_at_the_host_of_its_target(
    central: RunningWorld, person: Person
) -> None:
    target = f"{central.world.url(ACME)}/from-tile"
    page = await tile(
        person,
        f"{central.world.url(LOGIN)}/_auth/login",
        {"iss": central.world.cloud.customers["acme-okta"].issuer, "target_link_uri": target},
        post=True,
    )
    page = await person.submit(page, {"email": "alice@acme.test", "password": "demo"})
    assert page.url == target
    page = await person.open(
        f"{central.world.url(LOGIN)}/_auth/"
        f"login?{urlencode({'target_link_uri': 'https://evil.test/'})}"
    )
    assert page.host == ACME


@pytest.mark.parametrize("length", [1_500, 4_100, 20_000, 60_000])
async def test_an_address_that_is_too_long_to_be_kept_is_said_to_be(
    central: RunningWorld, person: Person, length: int
) -> None:
    answer = central.check(ACME, f"/report?q={'a' * length}", dialect="traefik")
    location = answer.header("Location") or ""
    assert (answer.status, len(location) <= 4_000) == (302, True)
    page = await person.open(location)
    if length < 4_000:
        assert page.host == "okta.localhost"
        return
    assert (page.status, "too long" in page.text) == (200, True)
    for post in (False, True):
        assert (
            "too long"
            in (
                await tile(
                    person,
                    f"{central.world.url(ACME)}/_auth/login",
                    {"target_link_uri": f"/{'a' * min(length, 15_000)}"},
                    post=post,
                )
            ).text
        )
    page = await person.submit(
        await person.click(page, "Sign in"), {"email": "mallory@acme.test", "password": "demo"}
    )
    cookie = person.cookies(ACME)[COOKIE]
    denied = central.check(ACME, f"/report?q={'a' * length}", cookie=cookie)
    assert len(denied.header("Location") or "") <= 4_000
    assert "/_auth/denied?rd=" in (denied.header("Location") or "")


async def test_a_login_returns_to_another_host_of_the_same_tenant_only(
    central: RunningWorld, person: Person
) -> None:
    target = f"{central.world.url(CALENDAR)}/shared/note?x=1"
    assert (await person.log_in(login(central, ACME, rd=target), "alice@acme.test")).url == target
    for elsewhere in ("globex.localhost", LOGIN, SHARED):
        assert (
            await person.open(
                login(central, ACME, rd=f"{central.world.url(elsewhere)}/x", switch="")
            )
        ).url == f"{central.world.url(ACME)}/"
    person.forget(ACME)
    page = await person.open(login(central, ACME, rd=f"{central.world.url('globex.localhost')}/x"))
    assert page.url == f"{central.world.url(ACME)}/"


@pytest.mark.parametrize("host", [ACME, SHARED])
async def test_whoever_typed_alice_and_arrives_as_bob_is_told(
    central: RunningWorld, person: Person, host: str
) -> None:
    page = await person.submit(
        await person.open(login(central, host, login_hint="alice@acme.test")),
        {"email": "bob@acme.test", "password": "demo"},
    )
    assert (page.host, page.status) == (LOGIN, 200)
    assert "alice@acme.test" in page.text
    assert "bob@acme.test" in page.text
    assert (
        page.link("Sign out there")
        == central.world.cloud.customers["acme-okta"].server.origin + "/login/signout"
    )
    assert "switch=1" in page.link("Sign in as someone else")
    page = await person.click(page, "Continue")
    assert (page.host, path(page)) == (host, "/there")
    answer = central.check(host, cookie=person.cookies(host)[COOKIE])
    assert answer.header("X-Auth-Request-Email") in ("bob@acme.test", None)
    again = await person.open(login(central, host, login_hint="alice@acme.test"))
    assert (again.host, "bob@acme.test" in again.text) == (LOGIN, True), (
        "also where the login host has a session already"
    )
    assert (await person.open(login(central, host, login_hint="Bob@acme.test"))).host == host
