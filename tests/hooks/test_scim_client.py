"""Interoperability: a SCIM client library that is not ours, against ``/scim/v2``; and what the sink
refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from httpx2 import AsyncClient

from gateway.errors import UnavailableError
from tests.hooks.samples import load
from tests.hooks.world import GLOBEX_SECRET, SECRET

if TYPE_CHECKING:
    from tests.hooks.world import World

PATH = "/scim/v2/acme/acme-okta"


async def test_a_client_library_walks_the_life_of_a_user_and_a_group(world: World) -> None:
    # Two seconds of CPU time: not for every process that only collects this file.
    from scim2_client.engines.httpx2 import AsyncSCIMClient
    from scim2_models import Group, GroupMember, PatchOp, PatchOperation, SearchRequest, User

    async with AsyncClient(
        base_url=world.url + PATH, headers={"Authorization": f"Bearer {SECRET}"}
    ) as http:
        client = AsyncSCIMClient(http)
        await client.discover()
        assert client.resource_endpoint(Group) == "/Groups"
        luca: Any = await client.create(
            User(user_name="luca@acme.com", external_id="00uluca", active=True)
        )
        assert luca.id
        found: Any = await client.query(
            User, query_parameters=SearchRequest(filter='userName eq "LUCA@acme.com"')
        )
        assert found.total_results == 1
        group: Any = await client.create(
            Group(display_name="Sales", members=[GroupMember(value=luca.id)])
        )
        await world.settled()
        assert world.revoker.calls == []
        await client.modify(
            Group,
            group.id,
            PatchOp[Group](
                operations=[PatchOperation(op="remove", path=f'members[value eq "{luca.id}"]')]
            ),
        )
        await world.settled()
        assert {
            (v, r.who.idp_subject or r.who.email, r.group_overlay) for v, r in world.revoker.calls
        } == {("revoke", n, "Sales") for n in ("00uluca", "luca@acme.com")}
        luca.active = False
        replaced: Any = await client.replace(luca)
        assert replaced.active is False
        await world.settled()
        assert {r.kind.value for r in world.revoker.standing if r.group_overlay is None} == {
            "block"
        }
        luca.active = True
        await client.replace(luca)
        await world.settled()
        assert {r.kind.value for r in world.revoker.standing if r.group_overlay is None} == set()
        await client.delete(User, luca.id)
        await world.settled()
        assert {r.kind.value for r in world.revoker.standing if r.group_overlay is None} == {
            "block"
        }


async def call(
    world: World,
    method: str,
    path: str,
    json: Any = None,
    *,
    secret: str = SECRET,
    content_type: str = "application/scim+json",
    base: str = PATH,
) -> tuple[int, dict[str, Any]]:
    """As clients do: a 503, which a machine busy with other tests may give, is tried again."""
    import json as codec

    data = codec.dumps(json).encode() if json is not None else None
    headers = {
        "Authorization": f"Bearer {secret}",
        **({"Content-Type": content_type} if data is not None else {}),
    }
    for attempt in range(4):
        async with world.http.request(
            method, world.url + base + path, data=data, headers=headers
        ) as response:
            text = await response.text()
            assert not text or response.content_type == "application/scim+json"
            if response.status != 503 or attempt == 3:
                break
    return response.status, codec.loads(text) if text else {}


@pytest.mark.parametrize("case", load("scim_patches.json"), ids=lambda c: c["name"])
async def test_every_spelling_of_a_deactivation_over_http(
    world: World, case: dict[str, Any]
) -> None:
    status, user = await call(
        world, "POST", "/Users", {"userName": "bob@acme.com", "externalId": "00ubob"}
    )
    assert status == 201
    status, after = await call(world, "PATCH", f"/Users/{user['id']}", case["body"])
    assert (status, after["active"]) == (200, not case["inactive"])
    await world.settled()
    assert {r.kind.value for r in world.revoker.standing} == (
        {"block"} if case["inactive"] else set()
    )


async def test_what_the_sink_refuses(world: World) -> None:
    status, user = await call(world, "POST", "/Users", {"userName": "bob@acme.com"})
    assert status == 201
    assert (await call(world, "POST", "/Users", {"userName": "BOB@acme.com"}))[1][
        "scimType"
    ] == "uniqueness"
    assert (await call(world, "POST", "/Users", {"active": False}))[1]["scimType"] == "invalidValue"
    assert (
        await call(world, "PATCH", f"/Users/{user['id']}", {"Operations": [{"op": "explode"}]})
    )[1]["scimType"] == "invalidSyntax"
    assert (await call(world, "GET", '/Users?filter=userName%20like%20"b"'))[1][
        "scimType"
    ] == "invalidFilter"
    assert (await call(world, "GET", "/Users/00000000-0000-0000-0000-000000000000"))[0] == 404
    assert (await call(world, "GET", "/Users", secret=GLOBEX_SECRET))[0] == 401
    assert (await call(world, "POST", "/Users", {"userName": "x"}, content_type="text/plain"))[
        0
    ] == 415
    status, page = await call(world, "GET", "/Users?startIndex=1&count=0")
    assert (status, page["totalResults"], page["Resources"]) == (200, 1, [])
    status, error = await call(world, "POST", "/Users", [])
    assert (status, error["status"], error["scimType"]) == (400, "400", "invalidSyntax")


async def test_one_tenants_resources_are_not_anothers(world: World) -> None:
    _, user = await call(world, "POST", "/Users", {"userName": "bob@acme.com"})
    assert (
        await call(
            world,
            "GET",
            f"/Users/{user['id']}",
            secret=GLOBEX_SECRET,
            base="/scim/v2/globex/globex-entra",
        )
    )[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/Users/abc", 404),
        ("PATCH", "/Users/abc", 404),
        ("PUT", "/Groups/010101001010101011001010101011", 404),
        ("DELETE", "/Users/" + "x" * 300, 404),
        ("GET", "/Nothing", 404),
        ("GET", "/", 404),
        ("GET", "", 404),
        ("GET", "/Users/a/b", 404),
        ("POST", "/Bulk", 404),
        ("POST", "/.search", 501),
        ("DELETE", "/Users", 405),
        ("PATCH", "/ServiceProviderConfig", 405),
        ("GET", "/Users/", 200),
        ("GET", "/Schemas/", 200),
        ("GET", "/Users/%00", 404),
        ("GET", "/Users/%F0%9F%98%80", 404),
    ],
)
async def test_every_answer_is_scims(world: World, method: str, path: str, status: int) -> None:
    """``call`` looks at the media type."""
    body = (
        {
            "userName": "x",
            "displayName": "x",
            "Operations": [{"op": "replace", "path": "displayName", "value": "x"}],
        }
        if method in {"POST", "PUT", "PATCH"}
        else None
    )
    found, answer = await call(world, method, path, body)
    assert found == status
    if status >= 400:
        assert (answer["schemas"], answer["status"]) == (
            ["urn:ietf:params:scim:api:messages:2.0:Error"],
            str(status),
        )


async def test_what_is_no_tenants_address_and_who_guesses_too_often_is_answered_in_scim_too(
    world: World,
) -> None:
    for path in ("", "/", "/v2", "/v2/acme", "/v1/acme/acme-okta/Users"):
        found, answer = await call(world, "GET", path, base="/scim")
        assert (found, answer["status"]) == (404, "404")
    found = 401
    while found == 401:
        found, answer = await call(world, "GET", "/Users", secret="guessed")
        assert answer["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
    assert found == 429


async def test_somebody_inactive_who_is_made_anew_comes_back_where_active_is_said(
    world: World,
) -> None:
    body: dict[str, Any] = {"userName": "bob@acme.com", "externalId": "00ubob"}
    _, user = await call(world, "POST", "/Users", {**body, "active": False})
    for conflicting in (body, {**body, "active": False}, {**body, "externalId": "00ueve"}):
        assert (await call(world, "POST", "/Users", conflicting))[0] == 409
    status, again = await call(world, "POST", "/Users", {**body, "active": True})
    assert (status, again["id"], again["active"]) == (201, user["id"], True)
    await world.settled()
    assert world.revoker.standing == set()
    assert (await call(world, "POST", "/Users", {**body, "active": True}))[0] == 409


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("filter=userName%20eq%20%22BOB@acme.com%22", {"bob@acme.com"}),
        ("filter=userName+eq+%22bob%40acme.com%22&", {"bob@acme.com"}),
        ("filter=userName+EQ+bob@acme.com", {"bob@acme.com"}),
        (
            (
                "filter=urn:ietf:params:scim:schemas:core:2.0:User:userName+eq+%22bob@acme."
                "com%22&startIndex=1&count=1"
            ),
            {"bob@acme.com"},
        ),
        ("filter=userName+eq+nobody", set()),
        (
            "filter=userName+eq+%22bob@acme.com%22+or+externalId+eq+%2200ueve%22",
            {"bob@acme.com", "eve@acme.com"},
        ),
        ("filter=userName+eq+bob@acme.com+and+externalId+eq+00ueve", set()),
        ("filter=id+eq+%22%5Cu0000%22", set()),
        ("?", {"bob@acme.com", "eve@acme.com"}),
        ("&", {"bob@acme.com", "eve@acme.com"}),
        ("filter=userName+co+%22b%22", {"bob@acme.com"}),
        ("filter=userName+sw+%22b%22", {"bob@acme.com"}),
        ("filter=emails%5Btype+eq+%22work%22%5D.value+eq+%22BOB@work.test%22", {"bob@acme.com"}),
        ("filter=emails.value+eq+%22eve@home.test%22", {"eve@acme.com"}),
        ("filter=emails%5Btype+eq+%22work%22%5D.value+eq+%22eve@home.test%22", set()),
        ("filter=emails+co+%22.test%22&count=1&startIndex=2", {"eve@acme.com"}),
        (
            (
                "filter=meta.lastModified+gt+%222020-01-01T00:00:00Z%22+and+not+(userName+eq+bo"
                "b@acme.com)"
            ),
            {"eve@acme.com"},
        ),
        ("filter=meta.created+gt+%222090-01-01T00:00:00Z%22", set()),
        ("filter=active+eq+true+and+(externalId+eq+00ueve+or+userName+sw+x)", {"eve@acme.com"}),
        ("filter=userName+eq+null", set()),
        ("filter=title+eq+x", set()),
        ("filter=userName+eq+a+and+userName+eq+b+or+userName+eq+bob@acme.com", {"bob@acme.com"}),
        ("filter=userName+eq+a+b", None),
        ("filter=userName+eq+a+and", None),
        ("filter=groups+eq+a", None),
        ("filter=userName+like+b", None),
        ("filter=active+gt+true", None),
        ("filter=%22", None),
    ],
)
async def test_filters_as_clients_write_them(
    world: World, query: str, names: set[str] | None
) -> None:
    for name, kind in (("bob", "work"), ("eve", "home")):
        user = {
            "userName": f"{name}@acme.com",
            "externalId": f"00u{name}",
            "emails": [{"type": "other", "value": f"{name}@before.test"}],
        }
        _, made = await call(world, "POST", "/Users", user)
        await call(
            world,
            "PUT",
            f"/Users/{made['id']}",
            {**user, "emails": [{"type": kind, "value": f"{name}@{kind}.test"}]},
        )
    status, page = await call(world, "GET", f"/Users?{query}")
    if names is None:
        assert (status, page["scimType"]) == (400, "invalidFilter")
    else:
        assert (status, {one["userName"] for one in page["Resources"]}) == (200, names)
        assert page["totalResults"] == len(names) + ("startIndex=2" in query)


async def test_several_members_in_one_path_are_removed_like_each_alone(world: World) -> None:
    users = [
        (await call(world, "POST", "/Users", {"userName": f"u{n}@acme.com"}))[1]["id"]
        for n in range(3)
    ]
    _, group = await call(
        world,
        "POST",
        "/Groups",
        {"displayName": "Sales", "members": [{"value": one} for one in users]},
    )
    path = f'members[value eq "{users[0]}" or value eq {users[1]}]'
    _, shown = await call(
        world, "PATCH", f"/Groups/{group['id']}", {"Operations": [{"op": "remove", "path": path}]}
    )
    assert [m["value"] for m in shown["members"]] == [users[2]]
    await world.settled()
    assert {r.who.email for r in world.revoker.standing if r.who.email} == {
        "u0@acme.com",
        "u1@acme.com",
    }


async def test_the_schemas_say_what_must_be_unique(world: World) -> None:
    """A group's name need not be (RFC 7643 §8.7.1): directories have two of one name. What cannot
    be told apart is the same group.
    """
    _, schemas = await call(world, "GET", "/Schemas")
    unique = {
        (s["name"], a["name"])
        for s in schemas["Resources"]
        for a in s["attributes"]
        if a.get("uniqueness") == "server"
    }
    assert unique == {("User", "userName")}
    one, two = (
        {"displayName": "Sales", "externalId": "g-1"},
        {"displayName": "sales", "externalId": "g-2"},
    )
    made = {(await call(world, "POST", "/Groups", body))[1]["id"] for body in (one, two)}
    assert len(made) == 2
    for again in (one, two, {"displayName": "SALES"}):
        assert (await call(world, "POST", "/Groups", again))[1]["scimType"] == "uniqueness"
    _, page = await call(world, "GET", "/Groups?filter=displayName+eq+%22Sales%22")
    assert {one["id"] for one in page["Resources"]} == made
    _, third = await call(world, "POST", "/Groups", {"displayName": "Canteen"})
    assert (await call(world, "POST", "/Groups", {**two, "displayName": "canteen"}))[1][
        "scimType"
    ] == "uniqueness"
    assert (await call(world, "PUT", f"/Groups/{third['id']}", two))[1]["scimType"] == "uniqueness"
    assert (await call(world, "PUT", f"/Groups/{third['id']}", {**two, "externalId": "g-3"}))[
        0
    ] == 200


@pytest.mark.parametrize(
    ("kind", "body", "changed"),
    [
        (
            "Users",
            {"userName": "bob@acme.com", "externalId": "00ubob", "active": True},
            {"title": "x"},
        ),
        ("Groups", {"displayName": "Sales", "members": [{"value": "m"}]}, {"members": []}),
    ],
    ids=["user", "group"],
)
async def test_a_creation_that_was_stored_and_answered_503_converges(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    body: dict[str, Any],
    changed: dict[str, Any],
) -> None:
    """The answer is lost after the commit: the same again is told what it made, and what changed
    meanwhile is found and replaced.
    """
    committed, lost = world.committer.run, 0

    async def run(work: Any, *, high_priority: bool = False) -> Any:
        nonlocal lost
        outcome = await committed(work, high_priority=high_priority)
        if high_priority and lost:
            lost -= 1
            msg = "the answer is lost"
            raise UnavailableError(msg)
        return outcome

    async def post(document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {SECRET}"}
        async with world.http.post(
            f"{world.url}{PATH}/{kind}", json=document, headers=headers
        ) as response:
            return response.status, await response.json(content_type=None)

    monkeypatch.setattr(world.committer, "run", run)
    lost = 2
    assert [(await post(body))[0] for _ in range(2)] == [503, 503]
    status, made = await post(body)
    assert (status, made["meta"]["version"]) == (201, 'W/"1"')
    assert (await post(body))[0] == 409, "told once"

    await call(world, "DELETE", f"/{kind}/{made['id']}")
    lost = 1
    assert (await post(body))[0] == 503
    assert (await post({**body, **changed}))[0] == 409
    name = "userName" if kind == "Users" else "displayName"
    _, page = await call(world, "GET", f"/{kind}?filter={name}+eq+%22{body[name]}%22")
    assert page["totalResults"] == 1
    status, replaced = await call(
        world, "PUT", f"/{kind}/{page['Resources'][0]['id']}", {**body, **changed}
    )
    assert status == 200
    assert replaced.items() >= changed.items()
    assert (await post(body))[0] == 409, "it was changed since"
