"""App passwords as people make, use and lose them: the page, the check, and whatever ends them."""

from __future__ import annotations

import base64
import http.client
import json
import re
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.model import AppPassword
from tests.check.test_bearer import ACME, claims_of, named
from tests.ingress.stand import KEY, NOW, PROGRAMS, Stand, identity, session
from tests.support.browserless import Form, Person
from tests.support.tokens import machine_token

if TYPE_CHECKING:
    from tests.support.browserless import Page
    from tests.support.world import Checked, RunningWorld

CALENDAR = "calendar.acme.localhost"
PROGRAM = {"Sec-Fetch-Mode": "", "Sec-Fetch-Dest": ""}
CHALLENGE = f'Basic realm="{ACME}", charset="UTF-8", Bearer'
WANTED = {"name": "laptop <b>", "host": ACME, "path": "/dav", "days": "7"}


def use(
    world: RunningWorld,
    text: str,
    path: str = "/dav/x",
    *,
    host: str = ACME,
    user: str = "whoever",
    cookie: str | None = None,
    dialect: str = "traefik",
    **headers: str,
) -> Checked:
    credential = base64.b64encode(f"{user}:{text}".encode()).decode()
    return world.check(
        host,
        path,
        cookie=cookie,
        dialect=dialect,
        headers={**PROGRAM, "Authorization": f"Basic {credential}", **headers},
    )


async def sign_in(world: RunningWorld, person: Person, email: str = "bob@acme.test") -> str:
    await person.log_in(f"{world.world.url(ACME)}/_auth/login?rd=/", email)
    return person.cookies(ACME)["__Host-gw"]


async def sessions_page(world: RunningWorld, person: Person) -> Page:
    return await person.open(f"{world.world.url(ACME)}/_auth/sessions")


async def ask_for(world: RunningWorld, person: Person, **changes: str) -> Page:
    page = await sessions_page(world, person)
    if maker(page) is None:
        page = await person.click(page, "Sign in again")
    form = maker(page)
    assert form is not None, page.text
    return await person.submit(page, {**WANTED, **changes}, form=form)


def maker(page: Page) -> int | None:
    """Number of the form that makes one, where the page has it."""
    return next(
        (n for n, form in enumerate(page.forms) if form.fields.get("app_password") == "new"), None
    )


async def make(world: RunningWorld, person: Person, **changes: str) -> str:
    page = await ask_for(world, person, **changes)
    found = re.search(r">(gwap_[A-Za-z0-9_-]{69})<", page.text)
    assert page.status == 200
    assert found is not None
    assert page.headers.header("Cache-Control") == "no-store"
    return found[1]


async def test_a_person_makes_one_sees_it_once_uses_it_and_revokes_it(
    policy: RunningWorld, visitor: Person
) -> None:
    await sign_in(policy, visitor)
    text = await make(policy, visitor, name="tablet <b>")
    cookie = visitor.cookies(ACME)["__Host-gw"]
    for dialect in ("nginx", "traefik"):
        answer = use(policy, text, dialect=dialect)
        assert answer.status == 200
        assert answer.header("Authorization") is None
    session = policy.check(ACME, "/dav/x", cookie=cookie, headers=PROGRAM)
    told, as_session = named(use(policy, text)), named(session)
    claims, claims_of_session = told.pop("claims"), as_session.pop("claims")
    assert told == as_session, "as the person's session"
    assert claims == claims_of_session.replace('{"', '{"amr": ["app_password"], "', 1)
    assert (
        claims_of(use(policy, text).header("X-Auth-Request-Jwt") or "")["auth_time"]
        == claims_of(session.header("X-Auth-Request-Jwt") or "")["auth_time"]
    )
    page = await sessions_page(policy, visitor)
    assert "tablet &lt;b&gt;" in page.text
    assert text not in page.text
    form = next(
        number
        for number, form in enumerate(page.forms)
        if form.fields.get("app_password") == text[5:30]
    )
    after = await visitor.submit(page, form=form)
    assert after.status == 200
    assert "tablet" not in after.text
    refused = use(policy, text)
    assert (
        refused.status,
        refused.header("WWW-Authenticate"),
        refused.header("X-Auth-Request-Email"),
    ) == (401, CHALLENGE, None)
    assert text[31:] not in policy.log(), "never in a log"
    assert policy.check(ACME, "/dav/x", cookie=cookie).status == 200


async def test_it_opens_nothing_where_no_rule_says_so_and_no_application_receives_it(
    policy: RunningWorld, visitor: Person
) -> None:
    await sign_in(policy, visitor)
    text = await make(policy, visitor, path="/")
    cookie = visitor.cookies(ACME)["__Host-gw"]
    for path in (
        "/",
        "/elsewhere",
        "/admin/x",
        "/api/x",
        "/davx",
        "/dav//x",
        "/dav/..%2fadmin/x",
        "/DAV/x",
    ):
        assert use(policy, text, path).status in {400, 401}, path
    assert use(policy, text, "/dav-or-token/x").status == 200
    token = policy.check(
        ACME,
        "/dav-or-token/x",
        headers={**PROGRAM, "Authorization": f"Bearer {machine_token(policy)}"},
    )
    assert token.status == 200
    for host in ("globex.localhost", "app.localhost", "login.localhost", "unknown.localhost"):
        assert use(policy, text, host=host).status in {401, 421}, host
    for path in ("/elsewhere", "/bot/x"):
        answer = use(policy, text, path, cookie=cookie)
        assert (answer.status, answer.header("Authorization")) == (200, None), "on any path"
    others = base64.b64encode(b"alice:secret").decode()
    answer = policy.check(
        ACME,
        "/dav/x",
        dialect="traefik",
        cookie=cookie,
        headers={**PROGRAM, "Authorization": f"Basic {others}"},
    )
    assert (answer.status, answer.header("Authorization")) == (200, f"Basic {others}"), (
        "the application's own"
    )


async def test_it_is_judged_alone_and_a_wrong_one_never_falls_back(
    policy: RunningWorld, visitor: Person
) -> None:
    await sign_in(policy, visitor)
    text = await make(policy, visitor)
    cookie = visitor.cookies(ACME)["__Host-gw"]
    for wrong in (
        text[:-1] + ("A" if text[-1] != "A" else "Q"),
        text + "x",
        text[:40],
        f"gwap_{secrets.token_urlsafe(64)}"[:74],
    ):
        assert use(policy, wrong, cookie=cookie).status == 401
    for held in (f"Bearer {text}", f"Basic {text}", text):
        answer = policy.check(
            ACME, "/dav/x", cookie=cookie, headers={**PROGRAM, "Authorization": held}
        )
        assert answer.status == 401, "of another form"
    for user in ("", "bob@acme.test", "mallory@globex.test", "\u00e9"):
        assert use(policy, text, user=user).status == 200


def test_only_programs_are_told_of_basic_and_only_where_it_is_taken(policy: RunningWorld) -> None:
    for asks, path, told in (
        ({}, "/dav/x", CHALLENGE),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "no-cors"}, "/dav/x", CHALLENGE),
        ({}, "/dav-or-token/x", CHALLENGE),
        ({}, "/api/x", "Bearer"),
        ({}, "/elsewhere", "Bearer"),
        (
            {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
            "/dav/x",
            "Bearer",
        ),
        (
            {
                "Sec-Fetch-Site": "cross-site",
                "Sec-Fetch-Mode": "no-cors",
                "Sec-Fetch-Dest": "image",
            },
            "/dav/x",
            "Bearer",
        ),
        ({"X-Requested-With": "XMLHttpRequest"}, "/dav/x", "Bearer"),
        ({"Origin": "https://acme.localhost"}, "/dav/x", "Bearer"),
    ):
        for method in ("GET", "PROPFIND"):
            answer = policy.check(
                ACME, path, method=method, dialect="traefik", headers={**PROGRAM, **asks}
            )
            assert (answer.status, answer.header("WWW-Authenticate")) == (401, told), (asks, path)
    for asks in (
        {},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Mode": "", "Sec-Fetch-Dest": "", "Accept": "text/html"},
    ):
        assert policy.check(ACME, "/dav/x", dialect="traefik", headers=asks).status == 302, (
            "a person is sent to the login"
        )
    assert policy.check(ACME, "/dav/x", headers=PROGRAM).header("X-Auth-Challenge") == CHALLENGE, (
        "nginx"
    )


async def test_what_cannot_be_offered_is_not_made(policy: RunningWorld, visitor: Person) -> None:
    await sign_in(policy, visitor)
    for changes in (
        {"name": " "},
        {"name": "x" * 81},
        {"host": "globex.localhost"},
        {"host": "*"},
        {"path": "dav"},
        {"path": "/dav/../x"},
        {"path": "/dav//x"},
        {"path": "/" + "x" * 256},
        {"path": "/a;b"},
        {"days": "0"},
        {"days": "31"},
        {"days": "-1"},
        {"days": "1e1"},
        {"days": ""},
        {"days": "٣"},
    ):
        page = await ask_for(policy, visitor, **changes)
        assert page.status == 400, changes
        assert "gwap_" not in page.text
        assert 'role="alert"' in page.text
    scoped = await make(policy, visitor, path="/dav/%61", host=ACME)
    assert use(policy, scoped, "/dav/a/b").status == 200
    assert use(policy, scoped, "/dav/b").status == 403
    assert use(policy, scoped, "/dav/ab").status == 403


async def test_none_is_made_but_by_a_login_that_asked_the_person_anew(
    policy: RunningWorld, visitor: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stolen cookie makes none, nor does a script that sends the browser through a login, where
    the identity provider is silent.
    """
    monkeypatch.setattr(policy.world.cloud.cognito.pool.behaviour, "managed_login_version", 2)
    cookie = await sign_in(policy, visitor)
    origin = policy.world.url(ACME)
    asks = Form(f"{origin}/_auth/sessions", "POST", {**WANTED, "app_password": "new"})

    async def refused(someone: Person) -> Page:
        page = await sessions_page(policy, someone)
        assert maker(page) is None
        answer = await someone.submit(replace(page, forms=(asks,)))
        assert (answer.status, "gwap_" in answer.text) == (400, False)
        assert 'role="alert"' in answer.text
        return answer

    page = await refused(visitor)
    for silent in ("provider=acme-okta", "provider=acme-okta&hopped=1", "prompt=login"):
        await visitor.open(f"{origin}/_auth/login?rd=/&{silent}")
        page = await refused(visitor)
    async with Person() as thief:
        thief.set_cookie(ACME, "__Host-gw", f"{visitor.cookies(ACME)['__Host-gw']}; Secure")
        led = await thief.click(await refused(thief), "Sign in again")
        assert led.host == "okta.localhost"
        assert "password" in led.forms[0].fields
    page = await visitor.click(page, "Sign in again")
    assert page.host == "okta.localhost", "asked, although signed in there"
    assert [hop.url for hop in page.hops if "/logout?" in hop.url], "nor does Cognito resume"
    page = await visitor.submit(page, {"email": "bob@acme.test", "password": "demo"})
    assert page.url == f"{origin}/_auth/sessions"
    assert visitor.cookies(ACME)["__Host-gw"] != cookie
    text = await make(policy, visitor)
    assert use(policy, text).status == 200
    await visitor.open(f"{origin}/_auth/login?rd=/&provider=acme-okta")
    await refused(visitor)


async def test_an_applications_host_makes_none_for_another_host(
    policy: RunningWorld, visitor: Person
) -> None:
    """A script of the application there could fill in the form."""
    await sign_in(policy, visitor)
    text = await make(policy, visitor, path="/")
    assert use(policy, text).status == 200
    assert use(policy, text, host=CALENDAR).status == 403
    for elsewhere in (CALENDAR, ""):
        assert (await ask_for(policy, visitor, path="/", host=elsewhere)).status == 400


async def test_no_other_site_makes_or_revokes_one(policy: RunningWorld, visitor: Person) -> None:
    await sign_in(policy, visitor)
    text = await make(policy, visitor)
    page = await sessions_page(policy, visitor)
    before = len(re.findall('name="app_password"', page.text))
    forged = replace(page, url="http://evil.localhost/")
    numbers = [number for number, form in enumerate(page.forms) if "app_password" in form.fields]
    assert len(numbers) == before >= 2
    for number in numbers:
        assert (await visitor.submit(forged, form=number)).status == 403
    assert (
        len(re.findall('name="app_password"', (await sessions_page(policy, visitor)).text))
        == before
    )
    assert use(policy, text).status == 200


class Foreign(Stand):
    """Its memory knows one of another tenant."""

    async def app_password(self, text: str, *, host: str) -> AppPassword | None:
        return AppPassword(
            session("x", identity("carol@globex.test"), tenant="globex", host=""),
            frozenset(),
            ("/",),
            int(NOW),
        )


def test_the_records_of_a_tenant_name_nobody_of_another(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gateway")
    stand = Foreign()
    stand.start()
    connection = http.client.HTTPConnection("127.0.0.1", stand.check_port, timeout=30)
    try:
        facts = {
            "X-Forwarded-Method": "GET",
            "X-Forwarded-Proto": "http",
            "X-Forwarded-Host": PROGRAMS,
            "X-Forwarded-Uri": "/",
            "X-Gateway-Key": KEY,
        }
        connection.request(
            "GET",
            "/auth/traefik",
            headers={
                **facts,
                "Authorization": "Basic "
                + base64.b64encode(f"x:gwap_{'a' * 69}".encode()).decode(),
            },
        )
        assert connection.getresponse().status == 401
    finally:
        connection.close()
        stand.stop()
    checked = [
        vars(record)["gateway_fields"] for record in caplog.records if record.message == "check"
    ]
    assert [(fields["tenant"], fields["reason"], fields["user"]) for fields in checked] == [
        ("acme", "app_password_invalid", None)
    ]


def call(
    world: RunningWorld, method: str, path: str, body: dict[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(
        "127.0.0.1", world.world.gateways[0].ports["admin"], timeout=10
    )
    try:
        headers = {
            "Authorization": f"Bearer {world.run(world.world.make_admin_key())}",
            "Content-Type": "application/json",
        }
        connection.request(
            method, f"/admin/v1{path}", json.dumps(body) if body is not None else None, headers
        )
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        return response.status, answer
    finally:
        connection.close()


@pytest.mark.parametrize(
    "how", ["its id", "revocation", "sign out everywhere", "a later login", "block"]
)
async def test_in_use_it_ends_with_the_acknowledgement(
    policy: RunningWorld, visitor: Person, how: str
) -> None:
    await sign_in(policy, visitor, "alice@acme.test")
    text = await make(policy, visitor)
    for _ in range(3):
        assert use(policy, text).status == 200, "answered from memory by now"
    who = {"tenant": "acme", "email": "alice@acme.test"}
    match how:
        case "revocation":
            assert call(policy, "POST", "/revocations", {**who, "kind": "end_sessions"})[0] == 201
        case "block":
            assert call(policy, "POST", "/blocks", {**who, "reason": "test"})[0] == 201
        case "its id":
            listed = call(policy, "GET", "/app-passwords?tenant=acme&email=alice@acme.test")[1]
            assert text[5:30] in {row["app_password"] for row in listed["items"]}
            assert text[31:] not in json.dumps(listed)
            assert call(policy, "DELETE", f"/app-passwords/{text[5:30]}")[0] == 200
        case "sign out everywhere":
            page = await visitor.open(f"{policy.world.url(ACME)}/_auth/sessions?all=1")
            await visitor.submit(
                page,
                form=next(
                    number
                    for number, form in enumerate(page.forms)
                    if form.fields.get("session") == "all"
                ),
            )
        case _:
            policy.world.cloud.cognito.faults.spoil_token = lambda draft: draft.with_claims(
                email="alice@elsewhere.test"
            )
            await sign_in_again(policy)
    assert use(policy, text).status == 401
    for row in call(policy, "GET", "/blocks?tenant=acme")[1]["items"]:
        assert call(policy, "DELETE", f"/blocks/{row['id']}")[0] == 200
    assert use(policy, text).status == 401, "for good"


async def sign_in_again(world: RunningWorld) -> None:
    """On another device; the login is refused, since the address is of a foreign domain."""
    async with Person() as other:
        await other.log_in(f"{world.world.url(ACME)}/_auth/login?rd=/", "alice@acme.test")


async def test_on_a_shared_host_there_is_none_and_nobody_is_asked_for_one(
    policy: RunningWorld, visitor: Person
) -> None:
    """Nothing says there whose rules hold, but the session."""
    await sign_in(policy, visitor)
    text = await make(policy, visitor, path="/")
    shared = "app.localhost"
    await visitor.open(f"{policy.world.url(shared)}/_auth/login?rd=/&login_hint=bob@acme.test")
    cookie = visitor.cookies(shared)["__Host-gw"]
    assert policy.check(shared, "/dav/x", cookie=cookie, headers=PROGRAM).status == 200
    for held in (cookie, None):
        answer = use(policy, text, host=shared, cookie=held)
        assert (answer.status, answer.header("WWW-Authenticate")) == (401, "Bearer")
