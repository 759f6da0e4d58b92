"""``/keys``: who makes which key, and who ends it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from gateway.admin.keys import LINK_KEY_S, AdminKey, Scope
from gateway.admin.problem import Problem
from gateway.admin.routes.keys import expect_end
from tests.admin.test_dispatch import TENANT, problem

if TYPE_CHECKING:
    from tests.admin.conftest import Api, Clock


async def make(api: Api, key: str | None = None, **body: object) -> Any:
    wanted = {"name": "ci", "scopes": ["tenants:read"], **body}
    return await api.call("POST", "/keys", key=key, json=wanted)


async def test_a_key_is_shown_once_and_its_digest_is_kept(api: Api) -> None:
    made = await (await make(api, expires_in=3600)).json()
    assert made["key"]["scopes"] == ["tenants:read"]
    assert made["key"]["state"] == "valid"
    assert made["key"]["expires_at"] == made["key"]["created_at"] + 3600
    assert (await api.call("GET", "/tenants", key=made["presented"])).status == 200
    for path in ("/keys", "/audit"):
        text = await (await api.call("GET", path)).text()
        assert made["key"]["id"] in text
        assert made["presented"] not in text
        assert made["presented"].split("_", 2)[2] not in text


async def test_the_list_is_the_newest_first_page_by_page(api: Api, clock: Clock) -> None:
    await api.operator()
    for name in ("a", "b", "c"):
        clock.now += 1
        await make(api, name=name)
    names: list[str] = []
    path = "/keys?limit=2"
    while path:
        page = await (await api.call("GET", path)).json()
        names += [one["name"] for one in page["items"]]
        path = page["next"] and f"/keys?limit=2&cursor={page['next']}"
    assert names == ["c", "b", "a", "operator/None/None"]


async def test_nobody_makes_or_ends_a_key_that_may_do_more(api: Api) -> None:
    key = await api.key(Scope.KEYS, Scope.TENANTS_READ)
    assert (await make(api, key)).status == 201
    for scopes in (["tenants:write"], ["tenants:read", "operator"]):
        refused = await problem(await make(api, key, name="more", scopes=scopes))
        assert refused["code"] == "scope_missing"
        assert refused["scope"] == scopes[-1]
    operators = (await (await api.call("GET", "/keys?limit=200")).json())["items"]
    theirs = next(one["id"] for one in operators if one["scopes"] == ["operator"])
    assert (await problem(await api.call("DELETE", f"/keys/{theirs}", key=key)))["code"] == (
        "scope_missing"
    )
    assert (await api.call("GET", "/keys")).status == 200, "the operator's key still opens"


async def test_a_bound_key_makes_and_sees_keys_of_its_tenant_alone(api: Api) -> None:
    await api.call("PUT", "/tenants/acme", json=TENANT)
    bound = await api.key(Scope.KEYS, Scope.TENANTS_READ, tenant="acme")
    for tenant in (None, "globex"):
        refused = await problem(await make(api, bound, name="wider", tenant=tenant))
        assert refused["code"] == "wrong_tenant"
    assert (await make(api, bound, tenant="acme")).status == 201
    listed = (await (await api.call("GET", "/keys", key=bound)).json())["items"]
    assert {one["tenant"] for one in listed} == {"acme"}


async def test_names_of_one_tenant_say_nothing_of_anothers(api: Api) -> None:
    for tenant in ("acme", "globex"):
        document = {**TENANT, "id": tenant, "hosts": [f"{tenant}.example.com"]}
        assert (await api.call("PUT", f"/tenants/{tenant}", json=document)).status == 201
    keys = {t: await api.key(Scope.KEYS, Scope.TENANTS_READ, tenant=t) for t in ("acme", "globex")}
    assert (await make(api, keys["acme"], name="  backup job ", tenant="acme")).status == 201
    assert (await make(api, keys["globex"], name="backup job", tenant="globex")).status == 201
    assert (await make(api, name="backup job")).status == 201, "and of no tenant"
    again = await problem(await make(api, keys["acme"], name="backup job\u2003", tenant="acme"))
    assert again["code"] == "exists"
    mine = (await (await api.call("GET", "/keys", key=keys["acme"])).json())["items"]
    assert sum(one["name"] == "backup job" for one in mine) == 1, "space around it is dropped"


async def test_who_made_a_key_is_shown(api: Api) -> None:
    await make(api)
    made = next(one for one in await listed(api) if one["name"] == "ci")
    operators = next(one for one in await listed(api) if one["name"].startswith("operator"))
    assert made["made_by"] == f"key:{operators['id']}"


async def test_a_key_makes_none_that_outlives_it(api: Api) -> None:
    short = await api.key(Scope.KEYS, lifetime_s=3600)
    for life in ({}, {"expires_in": 3601}):
        refused = await problem(await make(api, short, scopes=["keys"], **life))
        assert refused["code"] == "conflict"
    assert (await make(api, short, scopes=["keys"], expires_in=3600)).status == 201


@pytest.mark.parametrize("life", [None, LINK_KEY_S + 1])
def test_a_key_that_is_made_through_a_one_time_link_has_an_end(life: int | None) -> None:
    holder = AdminKey("link", "", frozenset({Scope.OPERATOR}), None, 0, None, console_link=True)
    expect_end(holder, LINK_KEY_S, now=0.0)
    expect_end(replace(holder, console_link=False), life, now=0.0)
    with pytest.raises(Problem, match="has an end"):
        expect_end(holder, life, now=0.0)


async def test_a_revoked_key_opens_nothing_and_its_name_stays_taken(api: Api) -> None:
    made = await (await make(api)).json()
    path = f"/keys/{made['key']['id']}"
    assert (await api.call("DELETE", path)).status == 204
    refused = await api.call("GET", "/tenants", key=made["presented"])
    assert (await problem(refused))["code"] == "key_revoked"
    assert (await problem(await make(api)))["code"] == "exists"
    states = {one["name"]: one["state"] for one in (await listed(api))}
    assert states["ci"] == "revoked"
    actions = await (await api.call("GET", "/audit")).json()
    assert [(one["action"], one["target"]) for one in actions["items"][:3]] == [
        ("create_admin_key", "ci"),
        ("revoke_admin_key", "ci"),
        ("create_admin_key", "ci"),
    ]
    assert {one["tenant"] for one in actions["items"][:3]} == {None}


async def listed(api: Api) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await (await api.call("GET", "/keys")).json())["items"]
    return items


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a\nb"},
        {"name": ""},
        {"name": "   "},
        {"name": "a" * 121},
        {"scopes": []},
        {"scopes": ["everything"]},
        {"scopes": ["audit:read", "audit:read"]},
        {"expires_in": 59},
        {"tenant": "../x"},
    ],
    ids=str,
)
async def test_what_makes_no_key(api: Api, body: dict[str, Any]) -> None:
    assert (await problem(await make(api, **body)))["code"] == "invalid_body"
