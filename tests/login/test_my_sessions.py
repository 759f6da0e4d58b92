"""A person's own sessions: seen, and ended one by one or all at once."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.browserless import FORGED, Page, Person

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.world import RunningWorld

HOST = "acme.localhost"
COOKIE = "__Host-gw"


@pytest.fixture
async def people() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def signed_in(
    world: RunningWorld, people: AsyncExitStack, email: str = "bob@acme.test"
) -> Person:
    person = await people.enter_async_context(Person())
    await person.log_in(f"{world.world.url(HOST)}/_auth/login?rd=/", email)
    assert let_in(world, person)
    return person


def let_in(world: RunningWorld, person: Person) -> bool:
    cookie = person.cookies(HOST).get(COOKIE)
    return cookie is not None and world.check(HOST, cookie=cookie).status == 200


async def listed(world: RunningWorld, person: Person) -> Page:
    return await person.open(f"{world.world.url(HOST)}/_auth/sessions")


def ids(page: Page) -> list[str]:
    return re.findall(r'name="session" value="([^"]+)"', page.text)


async def test_one_session_is_ended_from_another_browser(
    world: RunningWorld, people: AsyncExitStack
) -> None:
    here = await signed_in(world, people)
    there = await signed_in(world, people)
    page = await listed(world, here)
    assert "This browser" in page.text
    assert "bob@acme.test" in page.text
    before = ids(page)
    mine = ids(await listed(world, there))
    assert set(before) == set(mine)
    current = re.search(
        r'This browser.*?value="([^"]+)"', (await listed(world, there)).text, re.DOTALL
    )
    assert current is not None
    form = next(i for i, form in enumerate(page.forms) if form.fields.get("session") == current[1])
    after = await here.submit(page, form=form)
    assert urlsplit(after.url).path == "/_auth/sessions"
    assert current[1] not in ids(after)
    assert not let_in(world, there)
    assert let_in(world, here)


async def test_all_sessions_end_with_this_one(world: RunningWorld, people: AsyncExitStack) -> None:
    here = await signed_in(world, people)
    there = await signed_in(world, people)
    cookie = here.cookies(HOST)[COOKIE]
    asked = await listed(world, here)
    assert "all" not in ids(asked), "one press too many would end a working day"
    page = await here.open(f"{world.world.url(HOST)}/_auth/sessions?all=1")
    assert let_in(world, there), "asking ends nothing"
    assert f"{len(ids(asked))} sessions" in page.text
    form = next(i for i, form in enumerate(page.forms) if form.fields.get("session") == "all")
    after = await here.submit(page, form=form)
    assert urlsplit(after.url).path == "/_auth/signed-out"
    assert not let_in(world, there)
    assert world.check(HOST, cookie=cookie).status == 401


async def test_this_session_ends_as_by_signing_out(
    world: RunningWorld, people: AsyncExitStack
) -> None:
    here = await signed_in(world, people)
    page = await listed(world, here)
    current = re.search(r'This browser.*?value="([^"]+)"', page.text, re.DOTALL)
    assert current is not None
    form = next(i for i, form in enumerate(page.forms) if form.fields.get("session") == current[1])
    after = await here.submit(page, form=form)
    assert urlsplit(after.url).path == "/_auth/signed-out"
    assert not let_in(world, here)


async def test_nobody_sees_or_ends_a_session_of_somebody_else(
    world: RunningWorld, people: AsyncExitStack
) -> None:
    bob, alice = await signed_in(world, people), await signed_in(world, people, "alice@acme.test")
    bobs = [found for found in ids(await listed(world, bob)) if found != "all"]
    page = await listed(world, alice)
    assert not set(bobs) & set(ids(page))
    for family in (*bobs, "", "x", "../..", "a" * 500):
        after = await alice.submit(page, {"session": family}, form=0)
        assert urlsplit(after.url).path == "/_auth/sessions"
    assert let_in(world, bob)
    assert let_in(world, alice)


async def test_another_site_ends_nothing(world: RunningWorld, people: AsyncExitStack) -> None:
    bob = await signed_in(world, people)
    address = f"{world.world.url(HOST)}/_auth/sessions"
    page = await bob._navigate("POST", address, initiator="http://evil.test/", body="session=all")
    assert page.status in {401, 403}
    cookie = bob.cookies(HOST)[COOKIE]
    for headers in FORGED:
        answered = world.post(
            HOST, "/_auth/sessions", "session=all", cookie=cookie, headers=headers
        )
        assert answered == 403, headers
    assert let_in(world, bob)


async def test_without_a_session_there_is_nothing_to_see(
    world: RunningWorld, people: AsyncExitStack
) -> None:
    stranger = await people.enter_async_context(Person())
    page = await listed(world, stranger)
    assert page.status == 401
    assert "Please sign in" in page.text
