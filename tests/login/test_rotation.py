"""A rotated app client, through a running gateway: nobody is signed out, nobody is locked out, and
the old client ends.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from demo.cognito.control.clients import publish_secret
from tests.support.browserless import Person
from tests.support.gateway_process import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.world import RunningWorld

COOKIE = "__Host-gw"
HOST = "initech.localhost"
EMAIL = "peter@initech.test"


async def admin(world: RunningWorld, method: str, path: str, body: object = None) -> dict[str, Any]:
    """The admin API as an operator with ``curl``."""
    key = await asyncio.to_thread(lambda: world.run(world.world.make_admin_key()))
    url = (
        f"http://127.0.0.1:{world.world.gateways[0].ports['admin']}/admin/v1/tenants/initech{path}"
    )
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        url,
        method=method,
        headers=headers,
        data=json.dumps(body).encode() if body is not None else None,
    )

    def send() -> dict[str, Any]:
        with urllib.request.urlopen(request, timeout=60) as response:
            text = response.read()
        answer: dict[str, Any] = json.loads(text) if text else {}
        return answer

    return await asyncio.to_thread(send)


@pytest.fixture
async def initech(policy: RunningWorld) -> AsyncIterator[str]:
    """Onboarded for one test; the id of its client."""
    made = await admin(policy, "POST", "/provision", policy.world.onboarding["body"])
    assert made["in_force"]
    yield str(made["client_id"])
    await admin(policy, "DELETE", "/provision")
    assert "initech-okta" not in policy.world.cloud.cognito.pool.providers


def start_url(world: RunningWorld) -> str:
    return f"{world.world.url(HOST)}/_auth/login?{urlencode({'rd': '/there'})}"


async def to_the_callback(world: RunningWorld, person: Person) -> str:
    """A login up to the moment where Cognito sends the browser back; the address, not yet
    visited.
    """
    page = await person.open(start_url(world))
    page = await person.submit(page, {"email": EMAIL, "password": "demo"}, follow=False)
    while "/_auth/callback" not in (location := page.headers.header("Location") or ""):
        assert location, page.text[:500]
        page = await person.open(location, follow=False)
    return location


def allowed(world: RunningWorld, person: Person) -> bool:
    return world.check(HOST, cookie=person.cookies(HOST).get(COOKIE, "")).status == 200


def tokens_of(world: RunningWorld, client_id: str) -> list[bool]:
    """Whether each refresh token that was made for the client has ended."""
    return [
        t.grant.revoked
        for t in world.world.cloud.cognito.pool.refresh_tokens.values()
        if t.grant.client_id == client_id
    ]


async def test_a_rotation_signs_nobody_out_and_locks_nobody_out(
    policy: RunningWorld, initech: str
) -> None:
    old, pool = initech, policy.world.cloud.cognito.pool
    async with Person() as signed_in, Person() as on_the_way, Person() as newcomer:
        await signed_in.log_in(start_url(policy), EMAIL)
        assert allowed(policy, signed_in)
        callback = await to_the_callback(policy, on_the_way)

        rotated = await admin(policy, "POST", "/provision/rotate")
        new = rotated["client_id"]
        assert (new != old, [r["client_id"] for r in rotated["retired"]], rotated["in_force"]) == (
            True,
            [old],
            True,
        )

        assert allowed(policy, signed_in), "a session made with the old client goes on"
        await on_the_way.open(callback)
        assert allowed(policy, on_the_way), "a login begun before the rotation completes after it"
        assert tokens_of(policy, old) == [False, False]
        page = await newcomer.open(start_url(policy))
        asked = [
            parse_qs(urlsplit(hop.url).query) for hop in page.hops if "/oauth2/authorize" in hop.url
        ]
        assert {query["client_id"][0] for query in asked} == {new}
        await newcomer.submit(page, {"email": EMAIL, "password": "demo"})
        assert allowed(policy, newcomer)
        assert tokens_of(policy, new) == [False]

        logout = await signed_in.open(f"{policy.world.url(HOST)}/_auth/logout")
        await signed_in.submit(logout, {})
        assert not allowed(policy, signed_in)
        assert sorted(tokens_of(policy, old)) == [False, True], (
            "its refresh token was revoked, with the old client's secret"
        )

        too_late = Person()
        async with too_late:
            stranded = await to_the_callback(policy, too_late)
            again = await admin(policy, "POST", "/provision/rotate?retire_now=true")
            assert (again["retired"], set(pool.clients) & {old, new}) == ([], set())
            page = await too_late.open(stranded)
            assert page.status == 400, "what was begun with a client that is gone begins again"
            await too_late.open(start_url(policy))
            assert allowed(policy, too_late)
        assert allowed(policy, on_the_way)
        assert allowed(policy, newcomer)


async def test_a_secret_that_cognito_exchanges_costs_no_login_and_no_session(
    policy: RunningWorld, initech: str
) -> None:
    """Its worst case: the secret before counts no more, and nobody has heard of the new one."""
    pool = policy.world.cloud.cognito.pool
    async with Person() as signed_in, Person() as on_the_way:
        await signed_in.log_in(start_url(policy), EMAIL)
        publish_secret(pool, pool.clients[initech])
        fixed = await admin(policy, "POST", "/provision/verify?fix=true")
        assert [row["resource"] for row in fixed["steps"] if row["verb"] != "keep"] == [
            "client_secret"
        ]
        callback = await to_the_callback(policy, on_the_way)
        pool.behaviour.secret_before_counts = False
        try:
            pool.exchange_secret(initech)
            await on_the_way.open(callback)
            assert allowed(policy, on_the_way), "it waited for the new secret, and asked again"
            assert allowed(policy, signed_in)
            logout = await signed_in.open(f"{policy.world.url(HOST)}/_auth/logout")
            await signed_in.submit(logout, {})
            await asyncio.to_thread(until, lambda: True in tokens_of(policy, initech))
        finally:
            pool.behaviour.secret_before_counts = True
