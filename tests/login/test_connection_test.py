"""Test connection: a whole login through the tenant's provider, everything told, and nobody signed
in.
"""

from __future__ import annotations

import html
import http.client
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from demo.faults import redirect, status
from demo.world import World
from gateway.cli import tenants
from gateway.cli.client import Api, Target, connect
from gateway.pages.texts import TrialStep
from tests.check.test_denial import bound_key, post
from tests.support.browserless import Page, Person
from tests.support.policy import OWN_CLIENT
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COOKIE = "__Host-gw"


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    with RunningWorld(World(tmp_path_factory.mktemp("central-trial"))) as running:
        yield running


def api_of(world: RunningWorld) -> Api:
    return connect(Target(str(world.world.config_path)))


def command(world: RunningWorld, *arguments: str) -> str:
    return str(world.run(world.world.command("tenants", "test", *arguments))).strip()


def link(world: RunningWorld, tenant: str = "acme") -> str:
    """What the command prints, without a process for it."""
    made = api_of(world).call("POST", f"/tenants/{tenant}/test").document
    return str(made["url"])


def result_of(world: RunningWorld, url: str) -> str:
    """What the command prints, without a process for it."""
    token = parse_qs(urlsplit(url).query)["token"][0]
    return tenants.told(api_of(world).get("/tenants/acme/test", token=token), now=time.time())


async def through(person: Person, url: str, email: str = "alice@acme.test") -> Page:
    page = await person.open(url)
    assert page.host.startswith(("okta", "entra", "hooli")), page.text[:300]
    return await person.submit(page, {"email": email, "password": "demo"})


def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.02)
    pytest.fail("it never came to hold")


def no_session(person: Person, *hosts: str) -> bool:
    return not any(
        name.startswith(COOKIE) and not name.startswith(f"{COOKIE}-login-")
        for host in hosts
        for name in person.cookies(host)
    )


async def test_a_test_tells_everything_and_signs_nobody_in(
    policy: RunningWorld, visitor: Person
) -> None:
    url = command(policy, "acme")
    assert url.startswith(policy.world.url("acme.localhost") + "/_auth/test?token=")
    page = await through(visitor, url)
    assert (page.status, urlsplit(page.url).path) == (200, "/_auth/callback")
    for said in (
        "would be allowed",
        "alice@acme.test",
        "app-users",
        "admins",
        "custom:groups",
        "acme-okta",
        "Tokens thrown away",
        "no session was made",
    ):
        assert said in page.text
    assert no_session(visitor, "acme.localhost")
    userinfo = await visitor.open(policy.world.url("acme.localhost") + "/_auth/userinfo")
    assert userinfo.status == 401
    assert page.headers.header("Cache-Control") == "no-store"


async def test_nothing_is_shown_that_opens_or_replays_something(
    policy: RunningWorld, visitor: Person
) -> None:
    kept: dict[str, str] = {}

    def keep(body: dict[str, str]) -> dict[str, str]:
        kept.update(body)
        return body

    policy.world.cloud.cognito.faults.spoil_token_response = keep
    page = await through(visitor, link(policy))
    for name in ("access_token", "id_token", "refresh_token"):
        assert kept[name] not in page.text
        assert kept[name].split(".")[-1] not in page.text
    for claim in ("nonce", "at_hash", "jti", "event_id"):
        assert f"<code>{claim}</code>" not in page.text
    assert policy.world.cloud.cognito.pool.refresh_tokens[kept["refresh_token"]].grant.revoked, (
        "thrown away at Cognito too"
    )
    assert kept["id_token"] not in policy.log()


async def test_what_is_missing_is_said(policy: RunningWorld, visitor: Person) -> None:
    page = await through(visitor, link(policy), "mallory@acme.test")
    for said in ("would be denied", "group_missing", "any one of the groups: app-users"):
        assert said in page.text
    assert no_session(visitor, "acme.localhost")


async def test_a_link_works_once_and_looking_at_it_uses_nothing_up(
    policy: RunningWorld, visitor: Person
) -> None:
    url = link(policy)
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=10)
    connection.request("HEAD", f"{parts.path}?{parts.query}", headers={"Host": parts.netloc})
    assert connection.getresponse().status == 405
    connection.close()
    async with Person() as scanner:
        assert (await scanner.open(url)).host == "okta.localhost"
        assert (await scanner.open(url, headers={"Sec-Purpose": "prefetch"})).status == 400
    page = await through(visitor, url)
    assert page.status == 200
    assert (await visitor.open(page.url)).status == 400, "a reload shows nothing again"
    assert (await visitor.open(url)).status == 400


async def test_of_two_who_began_with_one_link_one_sees_a_result(
    policy: RunningWorld, visitor: Person
) -> None:
    url = link(policy)
    async with Person() as other:
        first, second = await visitor.open(url), await other.open(url)
        assert (
            await visitor.submit(first, {"email": "alice@acme.test", "password": "demo"})
        ).status == 200
        assert (
            await other.submit(second, {"email": "alice@acme.test", "password": "demo"})
        ).status == 400


@pytest.mark.parametrize("change", ["", "x", "A" * 200, "é", "0" * 120])
async def test_what_is_no_link_of_ours_starts_nothing(
    policy: RunningWorld, visitor: Person, change: str
) -> None:
    page = await visitor.open(f"{policy.world.url('acme.localhost')}/_auth/test?token={change}")
    assert (page.status, page.host) == (400, "acme.localhost")


async def test_a_link_of_one_tenant_starts_nothing_at_anothers_host(
    policy: RunningWorld, visitor: Person
) -> None:
    page = await visitor.open(link(policy).replace("acme.localhost", "globex.localhost"))
    assert (page.status, page.host) == (400, "globex.localhost")


async def test_a_test_does_not_disturb_who_is_signed_in(
    policy: RunningWorld, visitor: Person
) -> None:
    await visitor.log_in(policy.world.url("acme.localhost") + "/_auth/login?rd=/", "bob@acme.test")
    cookie = visitor.cookies("acme.localhost")[COOKIE]
    visitor.forget("cognito.localhost")
    visitor.forget("okta.localhost")
    page = await through(visitor, link(policy))
    assert "alice@acme.test" in page.text
    assert visitor.cookies("acme.localhost")[COOKIE] == cookie
    assert policy.check("acme.localhost", cookie=cookie).status == 200


async def test_a_login_that_fails_at_cognito_is_told_with_the_setting(
    policy: RunningWorld, visitor: Person
) -> None:
    policy.world.cloud.cognito.faults.once(
        "token", status(400, '{"error": "invalid_client"}', "application/json")
    )
    page = await through(visitor, link(policy))
    assert page.status == 200
    assert "would be denied" in page.text
    assert "client" in page.text
    assert no_session(visitor, "acme.localhost")


@pytest.mark.parametrize("shape", ["page", "redirect"])
async def test_a_login_that_would_end_on_cognitos_own_error_page_is_told_before_it_begins(
    policy: RunningWorld, visitor: Person, shape: str
) -> None:
    """Nobody comes back from there. Nothing is used up; who made the link is told as well."""
    cognito = policy.world.cloud.cognito
    client = cognito.pool.clients[OWN_CLIENT]
    url = link(policy)
    assert result_of(policy, url) == "nobody has opened this link yet"
    try:
        cognito.pool.clients[OWN_CLIENT] = replace(
            client, settings={**client.settings, "CallbackURLs": []}
        )
        if shape == "redirect":
            cognito.faults.once(
                "authorize",
                redirect(f"{cognito.url}/error?error=redirect_mismatch&client_id={OWN_CLIENT}"),
            )
        page = await visitor.open(url)
    finally:
        cognito.pool.clients[OWN_CLIENT] = client
    assert (page.host, page.status) == ("acme.localhost", 200)
    for said in ("would be denied", "redirect_uri:", "CallbackURLs", "no session was made"):
        assert said in page.text
    assert "Cognito's own error page" in result_of(policy, url)
    page = await through(visitor, url)
    assert "would be allowed" in page.text
    assert result_of(policy, url) == "done through acme-okta: would be allowed"


async def test_whoever_does_not_come_back_from_cognito_leaves_no_result_and_the_operator_learns_where_to_look(  # noqa: E501 - a test's name is a sentence
    policy: RunningWorld, visitor: Person
) -> None:
    url = link(policy)
    assert (await visitor.open(url)).host == "okta.localhost"
    assert "and is not back" in command(policy, "acme", "--result", url)
    with pytest.raises(RuntimeError, match="no test link of tenant globex"):
        command(policy, "globex", "--result", url)
    found = {"tenant": "acme", "expires_at": 4600, "provider": "acme-okta", "detail": ""}
    told = tenants.told({**found, "state": "begun", "at": 1000.0}, now=1000.0 + 3000)
    assert "50 minutes ago and never came back" in told
    assert "gateway provision verify acme" in told
    assert (
        tenants.told({**found, "state": "not_opened", "at": None}, now=5000)
        == "nobody has opened this link, and it has expired"
    )


async def test_an_inactive_tenant_can_be_tested_and_says_that_nobody_would_come_in(
    policy: RunningWorld, visitor: Person
) -> None:
    """Its provider is not the one that Cognito knows: the test says so, which is what it is for."""
    page = await visitor.open(link(policy, "inactive"))
    assert page.host == "inactive.localhost" or page.visited("cognito.localhost")
    assert no_session(visitor, "inactive.localhost")
    assert (
        await visitor.open(policy.world.url("inactive.localhost") + "/_auth/login")
    ).status == 403, "logging in stays closed"


async def test_an_inactive_tenant_is_walked_to_the_end_and_says_that_nobody_would_come_in(
    central: RunningWorld, visitor: Person
) -> None:
    path = central.world.directory / "config" / "tenants" / "acme.yaml"
    written = path.read_text("utf-8")
    try:
        path.write_text(f"{written}\nactive: false\n", "utf-8")
        until(lambda: central.check("acme.localhost").header("X-Auth-Reason") == "tenant_inactive")
        page = await through(visitor, link(central))
        for said in (
            "would be denied",
            "tenant_inactive",
            "active: true in the tenant",
            "alice@acme.test",
            "custom:groups",
        ):
            assert said in page.text
        assert no_session(visitor, "login.localhost", "acme.localhost")
    finally:
        path.write_text(written, "utf-8")
    until(lambda: central.check("acme.localhost").status == 401)


@pytest.mark.parametrize(
    ("language", "words"),
    {
        "de": (
            "Anmeldung bei Cognito und beim Identitätsanbieter",
            "Code eingelöst",
            "eine der Gruppen: app-users",
            "Sie sind angemeldet",
        ),
        "fr": ("Connexion auprès de Cognito", "Code échangé", "groupes : app-users", "Vous êtes"),
        "es": (
            "Inicio de sesión en Cognito",
            "Código canjeado",
            "uno de los grupos: app-users",
            "sesión",
        ),
    }.items(),
)
async def test_the_steps_are_told_in_the_browsers_language(
    policy: RunningWorld, language: str, words: tuple[str, ...]
) -> None:
    async with Person(accept_language=language) as person:
        page = html.unescape((await through(person, link(policy), "mallory@acme.test")).text)
    for said in words:
        assert said in page
    for english in TrialStep:
        assert english not in page


async def test_several_providers_are_chosen_from(policy: RunningWorld, visitor: Person) -> None:
    page = await visitor.open(link(policy, "hooli"))
    assert [text for text, _ in page.links][:2] == ["Hooli staff", "Hooli Labs"]
    page = await through(visitor, page.links[0][1], "erin@hooli.test")
    assert "would be allowed" in page.text


def test_the_admin_api_gives_the_link_to_whoever_may_write_the_tenant(policy: RunningWorld) -> None:
    key = policy.run(policy.world.make_admin_key())
    code, body = post(policy, "/tenants/acme/test", None, key=key)
    assert (code, body["url"].partition("?")[0]) == (
        201,
        policy.world.url("acme.localhost") + "/_auth/test",
    )
    assert post(policy, "/tenants/nobody/test", None, key=key)[0] == 404
    assert post(policy, "/tenants/acme/test", None, key=bound_key(policy, "hooli"))[0] == 403
    assert body["url"].partition("token=")[2] not in policy.log()


def test_a_tenant_that_is_not_there_has_no_link(policy: RunningWorld) -> None:
    with pytest.raises(RuntimeError, match="no tenant 'nobody'"):
        command(policy, "nobody")


async def test_with_a_login_host_the_test_is_there(central: RunningWorld, visitor: Person) -> None:
    url = link(central)
    assert url.startswith(central.world.url("login.localhost"))
    page = await through(visitor, url)
    assert "would be allowed" in page.text
    assert no_session(visitor, "login.localhost", "acme.localhost")
