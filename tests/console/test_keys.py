"""Keys of the admin API in the console: made once, shown once, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.admin.keys import Scope
from tests.console.conftest import changes, inputs_of

if TYPE_CHECKING:
    from tests.console.conftest import Desk

NEW = "/console/keys/new"


async def make(desk: Desk, typed: dict[str, str], *groups: str, status: int = 200) -> str:
    page = await desk.text(NEW, *groups)
    response = await desk.post(NEW, {**inputs_of(page, NEW), **typed}, *groups)
    text = await response.text()
    assert response.status == status, text
    return text


async def test_a_key_is_on_one_page_once_and_opens_the_api(desk: Desk) -> None:
    made = await make(desk, {"name": "ci", "scopes.tenants:read": "1"}, "admins")
    presented = made.partition('id="key" value="')[2].partition('"')[0]
    assert (await desk.api.call("GET", "/tenants", key=presented)).status == 200
    assert await changes(desk) == [("person:dana-sub", "create_admin_key", "done")]
    rows = await desk.text("/console/keys", "admins")
    assert presented.split("_")[1] in rows
    assert "person:dana-sub" in rows, "who made it"
    assert presented.rpartition("_")[2] not in rows


async def test_a_key_is_ended_by_its_form(desk: Desk) -> None:
    await desk.api.keys.create(
        name="ci", scopes=[Scope.HOOKS], tenant="acme", lifetime_s=None, made_by="test"
    )
    path = "/console/keys/000000000001/revoke"
    page = await desk.text("/console/keys?tenant=acme", "admins")
    response = await desk.post(path, inputs_of(page, path), "admins")
    assert response.headers["Location"] == "/console/keys?notice=key_revoked"
    rows = await desk.text("/console/keys", "admins")
    assert "revoked" in rows
    assert path not in rows


async def test_what_is_wrong_stands_beside_its_field(desk: Desk) -> None:
    text = await make(desk, {"name": "", "tenant": "nowhere!"}, "admins", status=422)
    for field in ("name", "scopes", "tenant"):
        assert f'href="#field-{field}"' in text


async def test_nobody_gives_more_than_they_have(desk: Desk) -> None:
    page = await desk.text(NEW, "acme-keys")
    assert 'name="scopes.tenants:read"' in page
    assert 'name="scopes.operator"' not in page
    more = {"scopes.keys": "1", "scopes.operator": "1"}
    await make(desk, {"name": "a", "tenant": "acme", **more}, "acme-keys")
    assert await scopes_of(desk, "a") == {Scope.KEYS}, "what the form does not offer is not sent"
    await make(desk, {"name": "b", "tenant": "globex", "scopes.keys": "1"}, "acme-keys", status=422)
    await make(desk, {"name": "c", "scopes.keys": "1"}, "acme-keys", status=422)
    assert "globex" not in await desk.text("/console/keys?tenant=acme", "acme-keys")


async def scopes_of(desk: Desk, name: str) -> frozenset[Scope]:
    return next(key.scopes for key in await desk.api.keys.list() if key.name == name)


async def test_an_old_sign_in_makes_and_ends_no_key(desk: Desk) -> None:
    page = await desk.text(NEW, "admins")
    desk.clock.now += 3600
    old: dict[str, Any] = {
        "auth_time": int(desk.clock.now) - 3660,
        "expires_at": int(desk.clock.now) + 3600,
    }
    headers = {"X-Auth-Request-Jwt": desk.assertion("admins", **old)}
    form = {**inputs_of(page, NEW), "name": "ci", "scopes.hooks": "1"}
    response = await desk.post(NEW, form, **headers)
    assert response.status == 403
    assert not await desk.api.keys.list()
