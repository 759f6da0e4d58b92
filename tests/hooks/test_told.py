"""What an app hears of users and groups that a SCIM client makes, changes and deletes, and of
groups that are deleted anywhere.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gateway.core.hook_target import WebhookTarget
from gateway.core.model import Secret
from tests.hooks.samples import okta_delivery, okta_event
from tests.hooks.test_scim_client import call

if TYPE_CHECKING:
    from tests.hooks.world import World


def listening(world: World, *events: str) -> None:
    world.targets.webhooks["acme"] = WebhookTarget(
        "acme", "http://127.0.0.1:9/", (Secret("w" * 40),), frozenset(events) if events else None
    )


async def told(world: World) -> list[dict[str, Any]]:
    await world.settled()
    return [json.loads(body) for _, _, body in await world.messages()]


async def test_a_user_who_is_created_and_changed_by_scim_is_told_once_each(world: World) -> None:
    listening(world)
    anna = {
        "userName": "anna@acme.com",
        "externalId": "00uanna",
        "active": True,
        "name": {"givenName": "Anna", "familyName": "Adams"},
        "emails": [{"value": "anna@acme.com", "primary": True}],
    }
    status, made = await call(world, "POST", "/Users", anna)
    assert status == 201
    one = f"/Users/{made['id']}"
    # The same again changes nothing; another family name does.
    await call(world, "PUT", one, anna)
    await call(world, "PUT", one, anna | {"name": {"givenName": "Anna", "familyName": "Ames"}})
    await call(world, "PUT", one, anna | {"displayName": "Anna A.", "active": False})
    messages = await told(world)
    assert [m["type"] for m in messages] == [
        "user.created",
        "user.updated",
        "user.updated",
        "user.deprovisioned",
    ]
    created, renamed, shown = (m["data"] for m in messages[:3])
    assert created["profile"] == {
        "name": "Anna Adams",
        "preferred_username": "",
        "username": "anna@acme.com",
        "groups": [],
        "roles": [],
        "changed": [],
    }
    assert created["source"] == "scim"
    assert created["identifiers"]["email"] == ["anna@acme.com"]
    assert created["identifiers"]["idp_subject"] == ["00uanna", "anna@acme.com"]
    assert (renamed["profile"]["name"], renamed["profile"]["changed"]) == ("Anna Ames", ["name"])
    assert (shown["profile"]["name"], shown["profile"]["changed"]) == (
        "Anna A.",
        ["displayName", "name"],
    )


async def test_what_an_app_does_not_want_is_no_event_either(world: World) -> None:
    await call(world, "POST", "/Users", {"userName": "anna@acme.com", "active": True})
    listening(world, "user.deprovisioned")
    await call(world, "POST", "/Users", {"userName": "ben@acme.com", "active": True})
    assert await told(world) == []
    assert await world.states() == []


async def test_a_group_that_is_deleted_is_told_by_scim_and_by_an_event(world: World) -> None:
    listening(world, "group.deleted")
    status, made = await call(
        world, "POST", "/Groups", {"displayName": "Interns", "externalId": "g-1"}
    )
    assert status == 201
    await call(world, "DELETE", f"/Groups/{made['id']}")
    await world.settled()
    gone = okta_event(
        "group.lifecycle.delete",
        target=[{"id": "00gX", "type": "UserGroup", "displayName": "Trainees"}],
    )
    for _ in range(2):
        await world.okta(okta_delivery(gone))
    messages = await told(world)
    assert [(m["type"], m["data"]["source"], m["data"]["group"]) for m in messages] == [
        ("group.deleted", "scim", {"id": "g-1", "name": "Interns"}),
        ("group.deleted", "okta", {"id": "00gX", "name": "Trainees"}),
    ]
