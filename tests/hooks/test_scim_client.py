"""Interoperability: a SCIM client library that is not ours, against ``/scim/v2``; and what the sink refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from httpx2 import AsyncClient
from scim2_client.engines.httpx2 import AsyncSCIMClient
from scim2_models import Group, GroupMember, PatchOp, PatchOperation, SearchRequest, User

from tests.hooks.samples import load
from tests.hooks.world import GLOBEX_SECRET, SECRET

if TYPE_CHECKING:
    from tests.hooks.world import World

PATH = "/scim/v2/acme/acme-okta"


async def test_a_client_library_walks_the_life_of_a_user_and_a_group(world: World) -> None:
    async with AsyncClient(base_url=world.url + PATH, headers={"Authorization": f"Bearer {SECRET}"}) as http:
        client = AsyncSCIMClient(http)
        await client.discover()
        assert client.resource_endpoint(Group) == "/Groups"
        luca: Any = await client.create(User(user_name="luca@acme.com", external_id="00uluca", active=True))
        assert luca.id
        found: Any = await client.query(User, query_parameters=SearchRequest(filter='userName eq "LUCA@acme.com"'))
        assert found.total_results == 1
        group: Any = await client.create(Group(display_name="Sales", members=[GroupMember(value=luca.id)]))
        await world.settled()
        assert world.revoker.calls == []
        await client.modify(Group, group.id, PatchOp[Group](operations=[PatchOperation(op="remove", path=f'members[value eq "{luca.id}"]')]))
        await world.settled()
        assert {(v, r.who.idp_subject or r.who.email, r.group_overlay) for v, r in world.revoker.calls} == {("revoke", n, "Sales") for n in ("00uluca", "luca@acme.com")}
        luca.active = False
        replaced: Any = await client.replace(luca)
        assert replaced.active is False
        await world.settled()
        assert {r.kind.value for r in world.revoker.standing if r.group_overlay is None} == {"block"}
        luca.active = True
        await client.replace(luca)
        await world.settled()
        assert {r.kind.value for r in world.revoker.standing if r.group_overlay is None} == set()
        await client.delete(User, luca.id)
        await world.settled()
        assert {r.kind.value for r in world.revoker.standing if r.group_overlay is None} == {"block"}


async def call(
    world: World, method: str, path: str, json: Any = None, *, secret: str = SECRET, content_type: str = "application/scim+json", base: str = PATH
) -> tuple[int, dict[str, Any]]:  # fmt: skip
    """As clients do: a 503, which a machine busy with other tests may give, is tried again."""
    import json as codec

    data = codec.dumps(json).encode() if json is not None else None
    headers = {"Authorization": f"Bearer {secret}", **({"Content-Type": content_type} if data is not None else {})}
    for attempt in range(4):
        async with world.http.request(method, world.url + base + path, data=data, headers=headers) as response:
            text = await response.text()
            assert not text or response.content_type == "application/scim+json"
            if response.status != 503 or attempt == 3:
                break
    return response.status, codec.loads(text) if text else {}


@pytest.mark.parametrize("case", load("scim_patches.json"), ids=lambda c: c["name"])
async def test_every_spelling_of_a_deactivation_over_http(world: World, case: dict[str, Any]) -> None:
    status, user = await call(world, "POST", "/Users", {"userName": "bob@acme.com", "externalId": "00ubob"})
    assert status == 201
    status, after = await call(world, "PATCH", f"/Users/{user['id']}", case["body"])
    assert (status, after["active"]) == (200, not case["inactive"])
    await world.settled()
    assert {r.kind.value for r in world.revoker.standing} == ({"block"} if case["inactive"] else set())


async def test_what_the_sink_refuses(world: World) -> None:
    status, user = await call(world, "POST", "/Users", {"userName": "bob@acme.com"})
    assert status == 201
    assert (await call(world, "POST", "/Users", {"userName": "BOB@acme.com"}))[1]["scimType"] == "uniqueness"
    assert (await call(world, "POST", "/Users", {"active": False}))[1]["scimType"] == "invalidValue"
    assert (await call(world, "PATCH", f"/Users/{user['id']}", {"Operations": [{"op": "explode"}]}))[1]["scimType"] == "invalidSyntax"
    assert (await call(world, "GET", '/Users?filter=userName%20co%20"b"'))[1]["scimType"] == "invalidFilter"
    assert (await call(world, "GET", "/Users/00000000-0000-0000-0000-000000000000"))[0] == 404
    assert (await call(world, "GET", "/Users", secret=GLOBEX_SECRET))[0] == 401
    assert (await call(world, "POST", "/Users", {"userName": "x"}, content_type="text/plain"))[0] == 415
    status, page = await call(world, "GET", "/Users?startIndex=1&count=0")
    assert (status, page["totalResults"], page["Resources"]) == (200, 1, [])
    status, error = await call(world, "POST", "/Users", [])
    assert (status, error["status"], error["scimType"]) == (400, "400", "invalidSyntax")


async def test_one_tenants_resources_are_not_anothers(world: World) -> None:
    _, user = await call(world, "POST", "/Users", {"userName": "bob@acme.com"})
    assert (await call(world, "GET", f"/Users/{user['id']}", secret=GLOBEX_SECRET, base="/scim/v2/globex/globex-entra"))[0] == 404
