"""Removed in the customer's directory, out of the app: from the click in the console to the denial,
with nothing in between but the product.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from demo.world import World
from tests.support.browserless import Person
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from demo.idp.directory import Directory
    from demo.idp.directory import Person as Employee

COOKIE = "__Host-gw"
PATIENCE_S, POLL_S = 40.0, 0.02


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    with RunningWorld(World(tmp_path_factory.mktemp("removed"))) as started:
        started.until_subscribed()
        yield started


@pytest.fixture
async def person() -> AsyncIterator[Person]:
    async with Person() as someone:
        yield someone


def until(condition: Callable[[], bool]) -> float:
    """Seconds until it holds; fails after ``PATIENCE_S``."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE_S, "it never came to hold"
        threading.Event().wait(POLL_S)
    return time.monotonic() - began


def employee(running: RunningWorld, provider: str, email: str) -> tuple[Directory, Employee]:
    directory = running.world.cloud.customers[provider].server.directory
    found = directory.by_email(email)
    assert found is not None
    return directory, found


async def sign_in(running: RunningWorld, person: Person, host: str, email: str) -> str:
    page = await person.open(f"{running.world.url(host)}/_auth/login?{urlencode({'rd': '/x'})}")
    if page.forms and "password" in page.forms[0].fields:
        page = await person.submit(page, {"email": email, "password": "demo"})
    return person.cookies(host).get(COOKIE, "")


@pytest.mark.parametrize(
    ("provider", "host", "email"),
    [
        ("acme-okta", "acme.localhost", "bob@acme.test"),
        ("globex-entra", "globex.localhost", "carol@globex.test"),
    ],
)
async def test_taken_out_of_the_group_the_next_click_is_refused_and_given_back_it_works(
    running: RunningWorld, person: Person, provider: str, host: str, email: str
) -> None:
    directory, who = employee(running, provider, email)
    group = next(g for g in directory.groups_of(who) if g.name == "app-users")
    cookie = await sign_in(running, person, host, email)
    assert running.check(host, cookie=cookie).status == 200
    running.run(directory.remove_from_group(who, group))
    until(lambda: running.check(host, cookie=cookie).status != 200)
    again = await sign_in(running, person, host, email)
    assert running.check(host, cookie=again or "none").status in (401, 403), (
        "Cognito still reports the group"
    )
    running.run(directory.add_to_group(who, group))

    async with Person() as later:

        def back() -> bool:
            return running.check(host, cookie=restored).status == 200

        began = time.monotonic()
        restored = await sign_in(running, later, host, email)
        while not back():
            assert time.monotonic() - began < PATIENCE_S
            later.forget(host)
            later.forget("login.localhost")
            restored = await sign_in(running, later, host, email) or "none"


async def test_a_deactivated_person_is_out_and_cannot_come_back_in(
    running: RunningWorld, person: Person
) -> None:
    directory, alice = employee(running, "acme-okta", "alice@acme.test")
    cookie = await sign_in(running, person, "acme.localhost", "alice@acme.test")
    assert running.check("acme.localhost", cookie=cookie).status == 200
    running.run(directory.deactivate(alice))
    until(lambda: running.check("acme.localhost", cookie=cookie).status == 401)
    page = await person.open(
        f"{running.world.url('acme.localhost')}/_auth/login?{urlencode({'rd': '/x'})}"
    )
    assert not any("/_auth/complete" in hop.url for hop in page.hops)
    until(lambda: running.world.legacy.people.get("alice@acme.test") is False)
    running.run(directory.activate(alice))
    until(lambda: running.world.legacy.people.get("alice@acme.test") is True)
    until(
        lambda: pool_user(running, "alice@acme.test").enabled
    )  # a moment after the application heard: until then Cognito refuses her sign-in


async def test_of_two_tabs_that_ask_in_one_second_after_a_revocation_both_arrive(
    running: RunningWorld, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, alice = employee(running, "acme-okta", "alice@acme.test")
    cookie = await sign_in(running, person, "acme.localhost", "alice@acme.test")
    running.run(directory.clear_sessions(alice))
    until(lambda: running.check("acme.localhost", cookie=cookie).status == 401)
    second = time.time()
    monkeypatch.setattr(running.world.cloud.customers["acme-okta"].server, "_clock", lambda: second)
    async with Person() as later:
        tabs = [
            await later.open(
                f"{running.world.url('acme.localhost')}/_auth/login?{urlencode({'rd': f'/{name}'})}"
            )
            for name in ("one", "two")
        ]
        for tab, name in zip(tabs, ("one", "two"), strict=True):
            arrived = await later.submit(tab, {"email": "alice@acme.test", "password": "demo"})
            assert arrived.url.endswith(f"/{name}")
        assert (
            running.check("acme.localhost", cookie=later.cookies("acme.localhost")[COOKIE]).status
            == 200
        )


def pool_user(running: RunningWorld, email: str) -> Any:
    return next(
        u
        for u in running.world.cloud.cognito.pool.users.values()
        if u.attributes.get("email") == email
    )


async def test_the_pool_follows_disabled_without_the_group_and_enabled_again(
    running: RunningWorld, person: Person
) -> None:
    directory, alice = employee(running, "acme-okta", "alice@acme.test")
    await sign_in(running, person, "acme.localhost", "alice@acme.test")
    admins = next(g for g in directory.groups_of(alice) if g.name == "admins")
    assert "admins" in pool_user(running, "alice@acme.test").attributes["custom:groups"]
    running.run(directory.remove_from_group(alice, admins))
    until(lambda: "admins" not in pool_user(running, "alice@acme.test").attributes["custom:groups"])
    running.run(directory.add_to_group(alice, admins))
    running.run(directory.deactivate(alice))
    until(lambda: not pool_user(running, "alice@acme.test").enabled)
    running.run(directory.activate(alice))
    until(lambda: pool_user(running, "alice@acme.test").enabled)


def never_again(running: RunningWorld, host: str, cookie: str) -> Callable[[], bool]:
    """Whether the tenant of ``host`` is served again; fails if ``cookie`` opens it for a single
    moment.
    """

    def served() -> bool:
        answer = running.check(host, cookie=cookie)
        assert answer.status != 200, "the cookie of the tenant before it"
        return answer.header("X-Auth-Reason") != "unknown_host"

    return served


async def test_a_tenant_that_is_made_again_under_its_id_knows_nobody_of_before(
    running: RunningWorld, person: Person, tmp_path: Path
) -> None:
    host, email = "globex.localhost", "carol@globex.test"
    file = running.world.directory / "config" / "tenants" / "globex.yaml"
    document = file.read_text(encoding="utf-8")
    cookie = await sign_in(running, person, host, email)
    assert running.check(host, cookie=cookie).status == 200
    file.unlink()
    until(lambda: running.check(host, cookie=cookie).status != 200)
    file.write_text(document, encoding="utf-8")
    until(never_again(running, host, cookie))

    # The same of SQL, by commands that answer when it is in force.
    file.unlink()
    until(lambda: running.check(host).header("X-Auth-Reason") == "unknown_host")
    (tmp_path / "globex.yaml").write_text(document, encoding="utf-8")
    apply = ("tenants", "apply", str(tmp_path), "--yes")
    running.run(running.world.command(*apply))
    until(lambda: running.check(host).header("X-Auth-Reason") != "unknown_host")
    async with Person() as later:
        cookie = await sign_in(running, later, host, email)
        assert running.check(host, cookie=cookie).status == 200
        running.run(
            running.world.command(
                "blocks", "add", "--tenant", "globex", "--email", email, "--reason", "left"
            )
        )
        until(lambda: not pool_user(running, email).enabled)
        running.run(running.world.command("tenants", "delete", "globex", "--yes"))
        assert running.check(host, cookie=cookie).status != 200
        until(
            lambda: (
                [
                    body["data"]["tenant"]
                    for _, body in running.world.legacy.received
                    if body["type"] == "tenant.deleted"
                ]
                == ["globex"]
            )
        )
        running.run(running.world.command(*apply))
        until(never_again(running, host, cookie))
        until(lambda: pool_user(running, email).enabled)
        later.forget(host)
        later.forget("login.localhost")
        assert running.check(host, cookie=await sign_in(running, later, host, email)).status == 200
