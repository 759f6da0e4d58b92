"""A tenant that moves to another user pool, through a running gateway: nobody is signed out, and
whoever is kept out stays out.
"""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.support.browserless import Person
from tests.support.gateway_process import until
from tests.support.two_pools import SECOND, TwoPoolsWorld
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

COOKIE = "__Host-gw"
HOST = "initech.localhost"
PROVIDER = "initech-okta"
PEOPLE = ("peter", "milton", "samir", "michael", "bill")


def email(name: str) -> str:
    return f"{name}@initech.test"


@pytest.fixture(scope="module")
def two_pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    with RunningWorld(TwoPoolsWorld(tmp_path_factory.mktemp("pools"), central=False)) as running:
        directory = running.world.cloud.customers[PROVIDER].server.directory
        for name in PEOPLE[1:]:
            directory.add_person(email(name), name=name.title(), groups=("app-users", "staff"))
        yield running


def second(world: RunningWorld) -> Any:
    return world.world.cloud.further_pools[SECOND]


async def api(
    world: RunningWorld, method: str, path: str, body: object = None, *, status: int | None = None
) -> Any:
    """The admin API as an operator with ``curl``."""
    key = await asyncio.to_thread(lambda: world.run(world.world.make_admin_key()))
    url = f"http://127.0.0.1:{world.world.gateways[0].ports['admin']}/admin/v1{path}"
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        url,
        method=method,
        headers=headers,
        data=json.dumps(body).encode() if body is not None else None,
    )

    def send() -> Any:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                code, text = response.status, response.read()
        except urllib.error.HTTPError as error:
            code, text = error.code, error.read()
        assert (code < 300) if status is None else (code == status), (code, text)
        return json.loads(text) if text else {}

    return await asyncio.to_thread(send)


@pytest.fixture
async def initech(two_pools: RunningWorld) -> AsyncIterator[str]:
    """Onboarded into the default pool for one test; the id of its client."""
    made = await api(
        two_pools,
        "POST",
        "/tenants/initech/provision",
        {**two_pools.world.onboarding["body"], "pool": "default"},
    )
    yield str(made["client_id"])
    await api(two_pools, "DELETE", "/tenants/initech/provision")
    for pool in (two_pools.world.cloud.cognito.pool, second(two_pools).pool):
        assert PROVIDER not in pool.providers
        assert not any("initech" in client.name for client in pool.clients.values())
        for name in [n for n in pool.users if n.lower().startswith(PROVIDER)]:
            del pool.users[name]


async def move(world: RunningWorld, pool: str = SECOND, **more: Any) -> Any:
    return await api(world, "POST", "/tenants/initech/provision/move", {"pool": pool}, **more)


def login(world: RunningWorld) -> str:
    return f"{world.world.url(HOST)}/_auth/login?{urlencode({'rd': '/there'})}"


def cookie(person: Person) -> str:
    return person.cookies(HOST).get(COOKIE, "")


def user(world: RunningWorld, person: Person) -> str | None:
    """``sub`` of whoever is let in."""
    answer = world.check(HOST, cookie=cookie(person))
    return answer.header("X-Auth-Request-User") if answer.status == 200 else None


async def signed_in(world: RunningWorld, person: Person, name: str) -> str:
    page = await person.log_in(login(world), email(name))
    found = user(world, person)
    assert found is not None, page.text[:500]
    return found


async def refused(world: RunningWorld, person: Person, name: str) -> bool:
    """Whether a new login of this person ends without a session."""
    await person.log_in(login(world), email(name))
    return user(world, person) is None


async def test_a_move_is_tried_by_a_link_before_it_is_made(
    two_pools: RunningWorld, initech: str
) -> None:
    """A whole login through the other pool, while everybody else signs in as before."""
    where = "/tenants/initech/provision/move/test"
    link = await api(two_pools, "POST", where, {"pool": SECOND})
    async with Person() as it, Person() as milton:
        page = await it.open(link["url"])
        page = await it.submit(page, {"email": email("peter"), "password": "demo"})
        assert "would be allowed" in page.text, page.text[:2000]
        assert second(two_pools).pool.pool_id in page.text, "iss"
        assert cookie(it) == ""
        token = urlsplit(link["url"]).query.removeprefix("token=")
        told = await api(two_pools, "GET", f"/tenants/initech/test?{urlencode({'token': token})}")
        assert (told["state"], told["allowed"]) == ("done", True)
        sub = await signed_in(two_pools, milton, "milton")
        users = two_pools.world.cloud.cognito.pool.users.values()
        assert sub in {user.sub for user in users}, "logins go where they went"
        await move(two_pools)
        assert user(two_pools, milton) == sub
    runs = (await api(two_pools, "GET", "/tenants/initech/provision"))["items"]
    states = {run["id"]: (run["kind"], run["state"]) for run in runs}
    assert states[link["run"]] == ("trial", "rolled_back")


async def test_a_move_signs_nobody_out_and_the_next_logins_go_to_the_other_pool(
    two_pools: RunningWorld, initech: str
) -> None:
    cloud = two_pools.world.cloud
    async with AsyncExitStack() as stack:
        people = [await stack.enter_async_context(Person()) for _ in PEOPLE]
        former = [
            await signed_in(two_pools, person, name)
            for person, name in zip(people, PEOPLE, strict=True)
        ]
        on_the_way, late = [await stack.enter_async_context(Person()) for _ in range(2)]
        page = await on_the_way.open(login(two_pools))
        page = await on_the_way.submit(
            page, {"email": email("peter"), "password": "demo"}, follow=False
        )
        while "/_auth/callback" not in (location := page.headers.header("Location") or ""):
            page = await on_the_way.open(location, follow=False)

        planned = await api(
            two_pools,
            "POST",
            "/tenants/initech/provision/move?dry_run=true",
            {"pool": SECOND},
        )
        assert [step["verb"] for step in planned["steps"] if step["resource"] == "provider"] == [
            "create"
        ]
        assert planned["at_provider"] == [
            f"{PROVIDER}: redirect URI {second(two_pools).url}/oauth2/idpresponse"
        ]
        assert second(two_pools).pool.clients == {}

        moved = await move(two_pools)
        assert [r["client_id"] for r in moved["retired"]] == [initech]

        assert [user(two_pools, person) for person in people] == former, "0 logouts"
        await on_the_way.open(location)
        assert user(two_pools, on_the_way) == former[0], "begun before, completed after"
        another = await signed_in(two_pools, late, "peter")
        assert another != former[0], "a user of the other pool"
        assert set(second(two_pools).pool.clients) == {moved["client_id"]}
        assert f"{PROVIDER}_" in next(iter(second(two_pools).pool.users))

        drift = await api(two_pools, "POST", "/tenants/initech/provision/verify")
        assert drift["clean"], drift
        provider = cloud.cognito.pool.providers.pop(PROVIDER)
        drift = await api(two_pools, "POST", "/tenants/initech/provision/verify")
        assert not drift["clean"]
        gone = [step["why"] for step in drift["steps"] if step["verb"] == "create"]
        assert any("sessions from before the move need it there" in why for why in gone), drift
        cloud.cognito.pool.providers[PROVIDER] = provider

        await api(two_pools, "POST", "/tenants/initech/provision/retire")
        assert PROVIDER not in cloud.cognito.pool.providers, "with the last client of the pool"
        assert PROVIDER in second(two_pools).pool.providers
        assert [user(two_pools, person) for person in people] == former


async def test_who_was_blocked_before_the_move_cannot_sign_in_through_the_other_pool(
    two_pools: RunningWorld, initech: str
) -> None:
    async with Person() as before, Person() as after, Person() as lifted, Person() as other:
        sub = await signed_in(two_pools, before, "milton")
        made = await api(
            two_pools, "POST", "/blocks", {"tenant": "initech", "user": sub, "reason": "left"}
        )
        assert user(two_pools, before) is None
        await move(two_pools)
        assert await refused(two_pools, after, "milton")
        await signed_in(two_pools, other, "samir")
        listed = (await api(two_pools, "GET", "/blocks?tenant=initech"))["items"]
        assert sorted(block["source"] for block in listed) == ["admin", "moved:admin"]
        assert made["id"]
        (by_user,) = [block for block in listed if block["source"] == "admin"]
        await api(two_pools, "DELETE", f"/blocks/{by_user['id']}")
        assert (await api(two_pools, "GET", "/blocks?tenant=initech"))["items"] == []
        users = (two_pools.world.cloud.cognito.pool.users, second(two_pools).pool.users)
        # What the block did in the pools is taken back a little later.
        enabled = lambda: all(u.enabled for pool in users for u in pool.values())  # noqa: E731
        await asyncio.to_thread(until, enabled)
        await signed_in(two_pools, lifted, "milton")


async def test_a_person_removed_after_the_move_is_out_of_both_pools(
    two_pools: RunningWorld, initech: str
) -> None:
    async with AsyncExitStack() as stack:
        old, new, again, bystander = [await stack.enter_async_context(Person()) for _ in range(4)]
        former = await signed_in(two_pools, old, "samir")
        await signed_in(two_pools, bystander, "michael")
        await move(two_pools)
        present = await signed_in(two_pools, new, "samir")
        assert former != present
        assert user(two_pools, old) == former
        # As an application knows them, from before the move and from after it.
        for known_as in (former, present):
            status = await api(
                two_pools,
                "POST",
                "/revocations",
                {
                    "tenant": "initech",
                    "user": known_as,
                    "kind": "end_sessions",
                    "reason": "removed",
                },
            )
            assert status["acknowledged_ms"] is not None
            assert (user(two_pools, old), user(two_pools, new)) == (None, None), known_as
            new = await stack.enter_async_context(Person())
            await signed_in(two_pools, new, "samir")
        await api(
            two_pools,
            "POST",
            "/blocks",
            {"tenant": "initech", "user": former, "reason": "removed"},
        )
        assert user(two_pools, new) is None
        assert await refused(two_pools, again, "samir")
        assert user(two_pools, bystander) is not None
        for block in (await api(two_pools, "GET", "/blocks?tenant=initech"))["items"]:
            if block["source"] == "admin":
                await api(two_pools, "DELETE", f"/blocks/{block['id']}")


async def test_a_login_that_says_less_ends_the_earlier_session_of_the_other_pool(
    two_pools: RunningWorld, initech: str
) -> None:
    directory = two_pools.world.cloud.customers[PROVIDER].server.directory
    async with Person() as old, Person() as new, Person() as bystander:
        await signed_in(two_pools, old, "michael")
        other = await signed_in(two_pools, bystander, "bill")
        await move(two_pools)
        person = directory.by_email(email("michael"))
        assert person is not None
        group = next(g for g in directory.groups_of(person) if g.name == "app-users")
        two_pools.run(directory.remove_from_group(person, group))
        await new.log_in(login(two_pools), email("michael"))
        assert user(two_pools, new) is None
        assert user(two_pools, old) is None, "the group is gone, and no event said so"
        assert user(two_pools, bystander) == other
        two_pools.run(directory.add_to_group(person, group))


async def test_a_move_that_is_taken_back_leaves_the_former_pool_and_reaches_both(
    two_pools: RunningWorld, initech: str
) -> None:
    async with Person() as old, Person() as new, Person() as again:
        former = await signed_in(two_pools, old, "bill")
        moved = await move(two_pools)
        await signed_in(two_pools, new, "bill")
        await api(two_pools, "POST", f"/tenants/initech/provision/{moved['run']}/rollback")
        assert second(two_pools).pool.clients == {}
        assert user(two_pools, new) is not None, "0 logouts"
        assert await signed_in(two_pools, again, "bill") == former
        await api(
            two_pools,
            "POST",
            "/revocations",
            {"tenant": "initech", "user": former, "kind": "end_sessions", "reason": "removed"},
        )
        assert [user(two_pools, each) for each in (old, new, again)] == [None, None, None]


async def test_where_a_pool_does_not_answer_a_revocation_says_so_and_is_repeated(
    two_pools: RunningWorld, initech: str
) -> None:
    from demo.cognito.control import faults
    from demo.cognito.control.errors import ApiError

    async with Person() as old, Person() as new:
        former = await signed_in(two_pools, old, "peter")
        await move(two_pools)
        await signed_in(two_pools, new, "peter")
        plan = two_pools.world.cloud.cognito.control.faults
        plan.plan("ListUsers", faults.fail(ApiError("AccessDeniedException", "no")), times=1)
        body = {"tenant": "initech", "user": former, "kind": "end_sessions", "reason": "removed"}
        said = await api(two_pools, "POST", "/revocations", body, status=503)
        assert said["code"] == "unavailable"
        assert user(two_pools, old) is None, "what was asked for by name has happened"
        plan.clear()
        await api(two_pools, "POST", "/revocations", body)
        assert user(two_pools, new) is None
