"""Out of the app and in again, by every name and source: what was done in the Cognito pool is undone with the block, also after a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from demo.world import World
from tests.browserless import Person
from tests.web.test_removed import PATIENCE_S, employee, pool_user, sign_in, until
from tests.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ACME, GLOBEX = "acme.localhost", "globex.localhost"
ALICE, BOB, CAROL = "alice@acme.test", "bob@acme.test", "carol@globex.test"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    with RunningWorld(World(tmp_path_factory.mktemp("given-back"))) as started:
        yield started


class Api:
    def __init__(self, running: RunningWorld, http: aiohttp.ClientSession) -> None:
        self.running, self.http = running, http
        self.key = running.run(running.world.make_admin_key())

    async def call(self, method: str, path: str, json: Any = None) -> Any:
        url = f"http://127.0.0.1:{self.running.world.gateways[0].ports['admin']}/admin/v1{path}"
        async with self.http.request(method, url, json=json, headers={"Authorization": f"Bearer {self.key}"}) as response:
            assert response.status in (200, 201), await response.text()
            return await response.json()

    async def sessions(self) -> set[str]:
        """Bob's."""
        return {str(row["session"]) for row in (await self.call("GET", "/sessions?tenant=acme&email=bob%40acme.test"))["items"]}

    async def blocks(self) -> list[Any]:
        return list((await self.call("GET", "/blocks"))["items"])


@pytest.fixture
async def api(running: RunningWorld) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        yield Api(running, http)


async def comes_in(running: RunningWorld, host: str, email: str) -> None:
    """A login of somebody who has no session anywhere, until it opens the application."""
    began = time.monotonic()
    while True:
        async with Person() as later:
            cookie = await sign_in(running, later, host, email)
            if cookie and running.check(host, cookie=cookie).status == 200:
                return
        assert time.monotonic() - began < PATIENCE_S, f"{email} stays out"


async def names_of(api: Api, email: str) -> dict[str, str]:
    user = pool_user(api.running, email)
    return {"user": user.sub, "email": email, "idp_subject": user.username.partition("_")[2], "group": "app-users"}


@pytest.mark.parametrize("name", ["user", "email", "idp_subject", "group", "session"])
async def test_an_operators_block_by_any_name_is_undone_with_its_lift(running: RunningWorld, api: Api, name: str) -> None:
    async with Person() as person:
        earlier = await api.sessions()
        cookie = await sign_in(running, person, ACME, BOB)
        assert running.check(ACME, cookie=cookie).status == 200
        value = (await api.sessions() - earlier).pop() if name == "session" else (await names_of(api, BOB))[name]
        await api.call("POST", "/blocks", {"tenant": "acme", name: value, "reason": "left"})
        assert running.check(ACME, cookie=cookie).status in (401, 403)
    if name in {"user", "email", "idp_subject"}:
        until(lambda: not pool_user(running, BOB).enabled)
    block = (await api.blocks())[0]
    lifted = await api.call("DELETE", f"/blocks/{block['id']}")
    assert (lifted["lifted"], lifted["users_to_enable"]) == (1, int(name in {"user", "email", "idp_subject"}))
    await comes_in(running, ACME, BOB)


async def scim(api: Api, active: bool | None, *, record: str = "") -> str:
    world = api.running.world
    url = f"http://127.0.0.1:{world.gateways[0].ports['hooks']}/scim/v2/acme/acme-okta/Users"
    headers = {"Authorization": f"Bearer {world.secrets['ACME_HOOK_SECRET']}"}
    if not record:
        document = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": BOB, "active": True}
        async with api.http.post(url, json=document, headers=headers) as response:
            return str((await response.json())["id"])
    change = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [{"op": "replace", "value": {"active": active}}]}
    async with api.http.patch(f"{url}/{record}", json=change, headers=headers) as response:
        assert response.status in (200, 204), await response.text()
    return record


async def test_events_and_scim_give_back_whom_they_took_out_across_restarts(running: RunningWorld, api: Api) -> None:
    """Okta, Entra and SCIM at once: one restart between taking out and giving back, one between the lift and its effect in the pool."""
    okta, alice = employee(running, "acme-okta", ALICE)
    entra, carol = employee(running, "globex-entra", CAROL)
    record = await scim(api, None)
    out = ((ACME, ALICE), (GLOBEX, CAROL), (ACME, BOB))
    cookies = {}
    for host, email in out:
        async with Person() as person:
            cookies[email] = (host, await sign_in(running, person, host, email))
    running.run(okta.deactivate(alice))
    running.run(entra.deactivate(carol))
    await scim(api, active=False, record=record)
    until(lambda: all(running.check(host, cookie=cookie).status == 401 for host, cookie in cookies.values()))
    until(lambda: not any(pool_user(running, email).enabled for _, email in out))
    running.run(running.world.stop_gateways())
    running.run(running.world.start_gateways())
    running.run(okta.activate(alice))
    running.run(entra.activate(carol))
    await scim(api, active=True, record=record)
    for host, email in out:
        await comes_in(running, host, email)
    assert await api.blocks() == []


async def test_what_was_lifted_while_no_gateway_ran_is_undone_at_the_next_start(running: RunningWorld, api: Api) -> None:
    async with Person() as person:
        await sign_in(running, person, ACME, BOB)
    await api.call("POST", "/blocks", {"tenant": "acme", "user": pool_user(running, BOB).sub, "reason": "left"})
    until(lambda: not pool_user(running, BOB).enabled)
    block = (await api.blocks())[0]
    running.run(running.world.stop_gateways())
    running.run(running.world.command("blocks", "remove", block["id"]))
    assert not pool_user(running, BOB).enabled
    running.run(running.world.start_gateways())
    await comes_in(running, ACME, BOB)
    assert pool_user(running, BOB).enabled
