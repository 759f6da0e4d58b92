"""Who is out after what a SCIM client said, and who is let back in: over HTTP, with a revoker that
remembers what stands.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from gateway.core.hook_target import WebhookTarget
from gateway.core.model import Secret
from gateway.core.person import Person
from gateway.database.schema import hook_inbox
from gateway.hooks.activity import read_activity
from gateway.hooks.deliveries import InboxRecords
from gateway.tenants.api import Rejected
from tests.hooks.test_scim_client import call
from tests.hooks.world import GLOBEX_SECRET

if TYPE_CHECKING:
    from tests.hooks.world import World

ENTRA = "/scim/v2/globex/globex-entra"
CAROL: dict[str, Any] = {
    "userName": "carol@globex.onmicrosoft.com",
    "externalId": "carol",
    "active": True,
    "emails": [{"type": "work", "value": "Carol@globex.test"}],
}
"""Microsoft's default mapping: userPrincipalName, mailNickname, and the address that tokens carry
in ``emails`` only.
"""
BOB: dict[str, Any] = {"userName": "bob@acme.com", "externalId": "00ubob", "active": True}


@pytest.fixture
def database_url() -> str:
    """One database is enough here: what the statements do on both is held by ``test_scim_client``
    and ``test_scim_scale``.
    """
    return "embedded"


async def okta(world: World, method: str, path: str, body: Any = None) -> dict[str, Any]:
    status, answer = await call(world, method, path, body)
    assert status < 300, answer
    await world.settled()
    return answer


async def entra(world: World, method: str, path: str, body: Any = None) -> dict[str, Any]:
    status, answer = await call(world, method, path, body, secret=GLOBEX_SECRET, base=ENTRA)
    assert status < 300, answer
    await world.settled()
    return answer


def patch(*operations: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "Operations": [dict(zip(("op", "path", "value"), one, strict=False)) for one in operations]
    }


INACTIVE = patch(("Replace", "active", "False"))
ACTIVE = patch(("Replace", "active", "True"))


def out(world: World, *, group: str | None = None) -> set[str]:
    """Every name that is refused, or refused a group, whoever refuses it."""
    return {
        r.who.idp_subject or r.who.oid or r.who.email or f"user {r.who.user}"
        for r in world.revoker.standing
        if r.group_overlay == group
    }


def ended(world: World) -> set[str]:
    return {
        r.who.idp_subject or r.who.oid or r.who.email or f"user {r.who.user}"
        for verb, r in world.revoker.calls
        if verb == "revoke"
    }


async def test_microsofts_default_mapping_takes_out_the_person_behind_the_address(
    world: World,
) -> None:
    signed_in = Person("pool-carol", "carol@globex.test")
    world.people.people.append(
        (
            "globex",
            "globex-entra",
            {"email": "carol@globex.test", "oid": "b6f0c1f0-0f6e-4d7a-8d50-2f0e1d6a7b11"},
            signed_in,
        )
    )
    user = await entra(world, "POST", "/Users", CAROL)
    await entra(world, "PATCH", f"/Users/{user['id']}", INACTIVE)
    assert out(world) == {
        "carol",
        "carol@globex.onmicrosoft.com",
        "carol@globex.test",
        "user pool-carol",
    }
    assert [s for _, s, _ in await world.states()] == ["applied"]
    await entra(world, "PATCH", f"/Users/{user['id']}", ACTIVE)
    assert out(world) == set()


async def test_what_hits_nobody_who_is_signed_in_is_told_as_such(world: World) -> None:
    world.revoker.ends = 0
    user = await okta(world, "POST", "/Users", BOB)
    await okta(world, "PATCH", f"/Users/{user['id']}", INACTIVE)
    assert [(s, e) for _, s, e in await world.states()] == [
        ("applied_to_nobody", "nobody is signed in under these names")
    ]
    told = await read_activity(world.database, "acme", "acme-okta", since=0)
    assert told.verdict == "no_known_user"
    assert out(world) == {"00ubob", "bob@acme.com"}  # later logins are refused all the same
    world.people.people.append(
        ("acme", "acme-okta", {"idp_subject": "00ubob"}, Person("pool-bob", "bob@acme.com"))
    )
    await okta(world, "PATCH", f"/Users/{user['id']}", INACTIVE)
    assert (await read_activity(world.database, "acme", "acme-okta", since=0)).verdict == "works"


@pytest.mark.parametrize(
    ("method", "body"),
    [
        pytest.param(
            "PUT",
            {"userName": "bob@acme.com", "externalId": "00ubob", "displayName": "Bob"},
            id="put-of-a-name",
        ),
        pytest.param("PUT", {"userName": "bob@acme.com"}, id="put-of-nothing-else"),
        pytest.param("PATCH", patch(("Remove", "active")), id="active-removed"),
        pytest.param("PATCH", patch(("replace", "displayName", "Bob")), id="patch-of-a-name"),
    ],
)
async def test_only_active_true_lifts_a_block(
    world: World, method: str, body: dict[str, Any]
) -> None:
    user = await okta(world, "POST", "/Users", BOB)
    await okta(world, "PATCH", f"/Users/{user['id']}", INACTIVE)
    answer = await okta(world, method, f"/Users/{user['id']}", body)
    assert answer["active"] is False
    assert out(world) == {"00ubob", "bob@acme.com"}
    assert (
        await okta(
            world, "PUT", f"/Users/{user['id']}", {"userName": "bob@acme.com", "active": True}
        )
    )["externalId"] == "00ubob"
    assert out(world) == set()


async def test_what_stands_hangs_on_the_record_whatever_it_is_called(world: World) -> None:
    user = await okta(world, "POST", "/Users", BOB)
    group = await okta(
        world, "POST", "/Groups", {"displayName": "Sales", "members": [{"value": user["id"]}]}
    )
    await okta(
        world,
        "PATCH",
        f"/Groups/{group['id']}",
        patch(("remove", f'members[value eq "{user["id"]}"]')),
    )
    await okta(world, "PATCH", f"/Users/{user['id']}", INACTIVE)
    await okta(
        world,
        "PUT",
        f"/Users/{user['id']}",
        {**BOB, "userName": "robert@acme.com", "active": False},
    )
    assert out(world) == {"00ubob", "bob@acme.com", "robert@acme.com"}
    assert out(world, group="Sales") == {"00ubob", "bob@acme.com", "robert@acme.com"}
    await okta(world, "PATCH", f"/Users/{user['id']}", ACTIVE)
    # The login is not the record's any more: as an id it stays refused, as an address it is free.
    assert {
        (r.who.idp_subject, r.who.email) for r in world.revoker.standing if r.group_overlay is None
    } == {("bob@acme.com", None)}
    await okta(world, "PUT", f"/Users/{user['id']}", BOB)
    assert out(world) == set()
    await okta(
        world, "PATCH", f"/Groups/{group['id']}", patch(("add", "members", [{"value": user["id"]}]))
    )
    assert {(r.who.idp_subject, r.who.email) for r in world.revoker.standing} == {
        ("robert@acme.com", None)
    }


@pytest.mark.parametrize("said", [{}, {"active": False}], ids=["renamed", "renamed-and-said-again"])
async def test_a_block_that_is_applied_late_holds_for_the_names_of_then_and_of_today(
    world: World, said: dict[str, Any]
) -> None:
    world.revoker.failing = 1
    user = await okta(world, "POST", "/Users", BOB)
    await call(world, "PATCH", f"/Users/{user['id']}", INACTIVE)
    await world.until(lambda: world.revoker.failing == 0)
    await call(
        world,
        "PUT",
        f"/Users/{user['id']}",
        {"userName": "robert@acme.com", "externalId": "00ubob", **said},
    )
    await world.settled()
    assert out(world) == {"00ubob", "bob@acme.com", "robert@acme.com"}


@pytest.mark.parametrize(
    ("body", "shown", "left"),
    [
        pytest.param(BOB, True, set(), id="the-same-person"),
        pytest.param(
            {k: v for k, v in BOB.items() if k != "active"},
            False,
            {"00ubob", "bob@acme.com"},
            id="the-same-person-without-a-word",
        ),
        pytest.param(
            {"userName": "BOB@acme.com", "active": True},
            True,
            {"00ubob"},
            id="the-same-login-without-an-id",
        ),
        pytest.param(
            {"userName": "bob@acme.com", "externalId": "00unew", "active": True},
            True,
            {"00ubob", "user pool-bob"},
            id="another-person-with-the-address",
        ),
        pytest.param(
            {"userName": "eve@acme.com", "externalId": "00ueve", "active": True},
            True,
            {"00ubob", "bob@acme.com", "user pool-bob"},
            id="somebody-else",
        ),
    ],
)
async def test_who_is_made_anew_after_a_deletion(
    world: World, body: dict[str, Any], shown: bool, left: set[str]
) -> None:
    by_address = "externalId" not in body or body["externalId"] != "00ubob"
    if by_address:
        world.people.people.append(
            ("acme", "acme-okta", {"email": "bob@acme.com"}, Person("pool-bob", "bob@acme.com"))
        )
    user = await okta(world, "POST", "/Users", BOB)
    await okta(world, "DELETE", f"/Users/{user['id']}")
    assert {"00ubob", "bob@acme.com"} <= out(world)
    again = await okta(world, "POST", "/Users", body)
    assert again["active"] is shown
    assert out(world) == left
    if not shown:
        await okta(world, "PATCH", f"/Users/{again['id']}", ACTIVE)
        assert out(world) == set()


async def test_a_group_taken_away_is_not_given_back_by_deleting_and_making_somebody_anew(
    world: World,
) -> None:
    user = await okta(world, "POST", "/Users", BOB)
    group = await okta(
        world, "POST", "/Groups", {"displayName": "Sales", "members": [{"value": user["id"]}]}
    )
    await okta(world, "PUT", f"/Groups/{group['id']}", {"displayName": "Sales", "members": []})
    await okta(world, "DELETE", f"/Users/{user['id']}")
    again = await okta(world, "POST", "/Users", {**BOB, "userName": "robert@acme.com"})
    assert out(world) == {"bob@acme.com"}  # as an id only
    assert out(world, group="Sales") == {"00ubob", "bob@acme.com", "robert@acme.com"}
    await okta(
        world,
        "PATCH",
        f"/Groups/{group['id']}",
        patch(("add", "members", [{"value": again["id"]}])),
    )
    assert "00ubob" not in out(world, group="Sales")
    # Tidying the old member away concerns nobody any more.
    await okta(
        world,
        "PATCH",
        f"/Groups/{group['id']}",
        patch(("remove", "members", [{"value": user["id"]}])),
    )
    assert "00ubob" not in out(world, group="Sales")


async def test_two_records_with_one_address_do_not_lift_each_others_block(world: World) -> None:
    shared = [{"value": "office@acme.com"}]
    one = await okta(world, "POST", "/Users", {**BOB, "emails": shared})
    two = await okta(
        world,
        "POST",
        "/Users",
        {"userName": "eve@acme.com", "externalId": "00ueve", "active": True, "emails": shared},
    )
    for user in (one, two):
        await okta(world, "PATCH", f"/Users/{user['id']}", INACTIVE)
    await okta(world, "PATCH", f"/Users/{two['id']}", ACTIVE)
    assert out(world) == {"00ubob", "bob@acme.com", "office@acme.com"}


async def sales(world: World) -> tuple[str, str]:
    user = await okta(world, "POST", "/Users", BOB)
    group = await okta(
        world,
        "POST",
        "/Groups",
        {"displayName": "Sales", "externalId": "g-1", "members": [{"value": user["id"]}]},
    )
    return user["id"], group["id"]


NAMES = {"00ubob", "bob@acme.com"}


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            [("PUT", {"displayName": "former", "members": []})], id="renamed-and-emptied-at-once"
        ),
        pytest.param([("PUT", {"displayName": "former"})], id="renamed"),
        pytest.param(
            [
                ("PATCH", patch(("replace", "displayName", "former"))),
                ("PATCH", patch(("remove", "members"))),
            ],
            id="renamed-then-emptied",
        ),
        pytest.param(
            [("PATCH", patch(("replace", "displayName", "former"))), ("DELETE", None)],
            id="renamed-then-deleted",
        ),
        pytest.param([("DELETE", None)], id="deleted"),
    ],
)
async def test_a_group_that_loses_its_name_is_taken_from_its_members(
    world: World, steps: list[tuple[str, Any]]
) -> None:
    _, group = await sales(world)
    for method, body in steps:
        await okta(world, method, f"/Groups/{group}", body)
    assert out(world, group="Sales") == NAMES


async def test_a_put_of_a_group_without_members_or_the_removal_of_none_takes_it_from_nobody(
    world: World,
) -> None:
    user, group = await sales(world)
    shown = await okta(world, "PUT", f"/Groups/{group}", {"displayName": "Sales"})
    assert shown["members"] == [{"value": user}]
    shown = await okta(world, "PATCH", f"/Groups/{group}", patch(("Remove", "members", [])))
    assert shown["members"] == [{"value": user}]
    assert world.revoker.calls == []
    await okta(world, "PUT", f"/Groups/{group}", {"displayName": "Sales", "members": []})
    assert out(world, group="Sales") == NAMES


async def test_a_name_given_back_by_another_group_or_by_its_own_is_given_back(world: World) -> None:
    user, group = await sales(world)
    await okta(world, "PATCH", f"/Groups/{group}", patch(("replace", "displayName", "former")))
    await okta(world, "PATCH", f"/Groups/{group}", patch(("replace", "displayName", "Sales")))
    assert out(world, group="Sales") == set()
    await okta(world, "DELETE", f"/Groups/{group}")
    assert out(world, group="Sales") == NAMES
    await okta(
        world,
        "POST",
        "/Groups",
        {"displayName": "Sales", "externalId": "g-2", "members": [{"value": user}]},
    )
    assert out(world, group="Sales") == set()


async def test_a_tenant_that_names_groups_by_id_loses_nobody_by_a_new_name(world: World) -> None:
    target = world.targets.by_key["acme", "acme-okta"]
    world.targets.by_key[target.key] = replace(
        target, groups_used=frozenset({"g-1"}), allowed_groups=frozenset({"g-1"})
    )
    _, group = await sales(world)
    await okta(world, "PATCH", f"/Groups/{group}", patch(("replace", "displayName", "former")))
    assert world.revoker.calls == []
    await okta(world, "PATCH", f"/Groups/{group}", patch(("remove", "members")))
    assert out(world, group="g-1") == NAMES


async def test_the_app_hears_once_of_a_group_that_counts_by_id_and_by_name(world: World) -> None:
    target = world.targets.by_key["acme", "acme-okta"]
    world.targets.by_key[target.key] = replace(target, groups_used=None, allowed_groups=None)
    world.targets.webhooks["acme"] = WebhookTarget(
        "acme", f"{world.url}/nowhere", (Secret("s" * 32),)
    )
    _, group = await sales(world)
    await okta(world, "PATCH", f"/Groups/{group}", patch(("remove", "members")))
    assert [
        (kind, '"name":"Sales"' in body.replace(" ", ""))
        for kind, _, body in await world.messages()
        if kind != "user.created"
    ] == [("user.group_removed", True)]


async def test_what_a_client_does_not_want_to_see_is_in_no_answer(world: World) -> None:
    user, group = await sales(world)
    for method, path, body in (
        ("GET", f"/Groups/{group}", None),
        ("PATCH", f"/Groups/{group}", patch(("replace", "displayName", "Sales"))),
        ("PUT", f"/Groups/{group}", {"displayName": "Sales"}),
        ("POST", "/Groups", {"displayName": "Other", "members": [{"value": user}]}),
        ("GET", "/Groups", None),
    ):
        shown = await okta(
            world,
            method,
            f"{path}?excludedAttributes=urn:ietf:params:scim:schemas:core:2.0:Group:Members,meta",
            body,
        )
        for one in shown.get("Resources", [shown]):
            assert one.keys() & {"members", "meta", "id", "displayName"} == {"id", "displayName"}
    shown = await okta(world, "GET", f"/Users/{user}?attributes=USERNAME,emails.value,id")
    assert shown.keys() == {"schemas", "id", "userName"}


async def test_an_id_that_was_never_given_out_is_nobodys(world: World) -> None:
    group = await okta(
        world,
        "POST",
        "/Groups",
        {"displayName": "Sales", "members": [{"value": str(uuid.uuid4())}, {"value": "not-an-id"}]},
    )
    await okta(world, "PATCH", f"/Groups/{group['id']}", patch(("remove", "members")))
    assert world.revoker.calls == []


async def test_a_record_without_an_external_id_that_is_renamed_while_inactive_comes_back(
    world: World,
) -> None:
    world.people.people.append(
        ("acme", "acme-okta", {"email": "bob@acme.com"}, Person("pool-bob", "bob@acme.com"))
    )
    user = await okta(world, "POST", "/Users", {"userName": "bob@acme.com", "active": True})
    await okta(world, "PATCH", f"/Users/{user['id']}", INACTIVE)
    await okta(world, "PUT", f"/Users/{user['id']}", {"userName": "robert@acme.com"})
    assert {"bob@acme.com", "robert@acme.com", "user pool-bob"} <= out(world)
    await okta(world, "PATCH", f"/Users/{user['id']}", ACTIVE)
    # The former login, as an id, is no name of the record any more.
    assert {(r.who.idp_subject, r.who.email, r.who.user) for r in world.revoker.standing} == {
        ("bob@acme.com", None, None)
    }


TWIN: dict[str, Any] = {"userName": "robert@acme.com", "externalId": "00ubob", "active": True}
"""A second record of the same person, or of another one whose mail nickname is the same."""


async def test_of_two_records_with_one_external_id_the_last_word_holds_for_what_both_are_called(
    world: World,
) -> None:
    one = await okta(world, "POST", "/Users", BOB)
    await okta(world, "PATCH", f"/Users/{one['id']}", INACTIVE)
    silent = await okta(world, "POST", "/Users", {k: v for k, v in TWIN.items() if k != "active"})
    assert out(world) == {"00ubob", "bob@acme.com"}, "giving back is said"
    await okta(world, "PATCH", f"/Users/{silent['id']}", ACTIVE)
    assert out(world) == {"bob@acme.com"}
    await okta(world, "PATCH", f"/Users/{one['id']}", INACTIVE)
    assert out(world) == {"00ubob", "bob@acme.com"}
    await okta(world, "PUT", f"/Users/{silent['id']}", TWIN)
    assert out(world) == {"bob@acme.com"}
    await okta(world, "PATCH", f"/Users/{one['id']}", ACTIVE)
    assert out(world) == set()


async def test_a_group_added_to_one_of_two_records_is_given_back_for_what_both_are_called(
    world: World,
) -> None:
    one = await okta(world, "POST", "/Users", BOB)
    group = await okta(
        world, "POST", "/Groups", {"displayName": "Sales", "members": [{"value": one["id"]}]}
    )
    await okta(world, "PATCH", f"/Groups/{group['id']}", patch(("remove", "members")))
    two = await okta(world, "POST", "/Users", TWIN)
    assert out(world, group="Sales") == {"00ubob", "bob@acme.com"}, (
        "a second record gives no group back"
    )
    await okta(
        world, "PATCH", f"/Groups/{group['id']}", patch(("add", "members", [{"value": two["id"]}]))
    )
    assert out(world, group="Sales") == {"bob@acme.com"}
    await okta(
        world,
        "PATCH",
        f"/Groups/{group['id']}",
        patch(("remove", "members", [{"value": one["id"]}])),
    )
    assert out(world, group="Sales") == {"00ubob", "bob@acme.com"}


async def test_a_group_given_to_one_record_late_is_not_given_to_another_that_has_lost_it_since(
    world: World,
) -> None:
    one, two = [await okta(world, "POST", "/Users", body) for body in (BOB, TWIN)]
    group = await okta(
        world, "POST", "/Groups", {"displayName": "Sales", "members": [{"value": one["id"]}]}
    )
    await okta(world, "PATCH", f"/Groups/{group['id']}", patch(("remove", "members")))
    world.revoker.failing = 1
    await call(
        world, "PATCH", f"/Groups/{group['id']}", patch(("add", "members", [{"value": two["id"]}]))
    )
    await world.until(lambda: world.revoker.failing == 0)
    await okta(
        world,
        "PATCH",
        f"/Groups/{group['id']}",
        patch(("remove", "members", [{"value": one["id"]}])),
    )
    assert out(world, group="Sales") == {"00ubob", "bob@acme.com"}


@pytest.mark.parametrize(
    ("other", "left"),
    [
        pytest.param(TWIN, {"bob@acme.com"}, id="external-id"),
        pytest.param(
            {"userName": "office@acme.com", "externalId": "00ueve", "active": True},
            {"00ubob", "bob@acme.com"},
            id="login",
        ),
    ],
)
async def test_a_record_that_goes_leaves_an_active_one_its_names(
    world: World, other: dict[str, Any], left: set[str]
) -> None:
    one = await okta(world, "POST", "/Users", {**BOB, "emails": [{"value": "office@acme.com"}]})
    await okta(world, "POST", "/Users", other)
    await okta(world, "DELETE", f"/Users/{one['id']}")
    assert out(world) == left | ({"office@acme.com"} if other is TWIN else set())


async def test_an_active_record_has_an_address_again_with_its_next_change(world: World) -> None:
    shared = [{"value": "office@acme.com"}]
    one = await okta(world, "POST", "/Users", {**BOB, "emails": shared})
    two = await okta(
        world,
        "POST",
        "/Users",
        {"userName": "eve@acme.com", "externalId": "00ueve", "active": True, "emails": shared},
    )
    await okta(world, "DELETE", f"/Users/{one['id']}")
    assert "office@acme.com" in out(world)
    await okta(world, "PATCH", f"/Users/{two['id']}", patch(("replace", "displayName", "Eve")))
    assert out(world) == {"00ubob", "bob@acme.com"}


async def test_a_group_made_anew_under_another_external_id_gives_back_to_whom_it_has_and_is_given(
    world: World,
) -> None:
    user, group = await sales(world)
    await okta(world, "DELETE", f"/Groups/{group}")
    assert out(world, group="Sales") == NAMES
    again = await okta(world, "POST", "/Groups", {"displayName": "Sales", "externalId": "g-2"})
    assert out(world, group="Sales") == NAMES
    await okta(
        world, "PATCH", f"/Groups/{again['id']}", patch(("add", "members", [{"value": user}]))
    )
    assert out(world, group="Sales") == set()


@pytest.mark.parametrize("steps", ["deleted", "renamed", "removed-from-one", "older"])
async def test_a_second_group_of_one_name_locks_nobody_out_and_keeps_nobody_in(
    world: World, steps: str
) -> None:
    """A client makes a group anew before it deletes the old one, or pushes two that have one
    name.
    """
    user, old = await sales(world)
    new = (
        await okta(
            world,
            "POST",
            "/Groups",
            {"displayName": "Sales", "externalId": "g-2", "members": [{"value": user}]},
        )
    )["id"]
    match steps:
        case "deleted":
            await okta(world, "DELETE", f"/Groups/{old}")
        case "renamed":
            await okta(
                world, "PUT", f"/Groups/{old}", {"displayName": "former", "externalId": "g-1"}
            )
        case "removed-from-one":
            await okta(
                world, "PATCH", f"/Groups/{old}", patch(("remove", f'members[value eq "{user}"]'))
            )
        case _:
            await okta(world, "DELETE", f"/Groups/{new}")
    assert out(world, group="Sales") == (set() if steps in {"deleted", "renamed"} else NAMES)
    if steps != "older":
        await okta(
            world, "PATCH", f"/Groups/{new}", patch(("remove", "members", [{"value": user}]))
        )
        assert out(world, group="Sales") == NAMES
        await okta(world, "PATCH", f"/Groups/{new}", patch(("add", "members", [{"value": user}])))
        assert out(world, group="Sales") == set()


OLD, NEW = f"{'a' * 8}-aaaa-aaaa-aaaa-{'a' * 12}", f"{'b' * 8}-bbbb-bbbb-bbbb-{'b' * 12}"
FORMER: dict[str, Any] = {"userName": "dana@globex.test", "externalId": OLD, "active": True}
OWNER: dict[str, Any] = {"userName": "dana@globex.test", "externalId": NEW, "active": True}
"""The account of another person who has the address now."""


def signed_in_as_the_new_owner(world: World) -> None:
    for names in ({"email": "dana@globex.test"}, {"oid": NEW}):
        world.people.people.append(
            (
                "globex",
                "globex-entra",
                names,
                Person("pool-new", "dana@globex.test", "pairwise", NEW),
            )
        )


async def replayed(world: World, kind: str) -> None:
    """Every delivery of this type once more, as an operator would."""
    async with world.database.read() as connection:
        rows = (
            (await connection.execute(select(hook_inbox.c.id).where(hook_inbox.c.type == kind)))
            .scalars()
            .all()
        )
    records = InboxRecords(
        world.database, world.committer, clock=world.clock, wake=world.applier.wake
    )
    for row in rows:
        assert not isinstance(await records.replay(row), Rejected)
    await world.settled()


@pytest.mark.parametrize("steps", ["deleted", "deactivated", "renamed"])
async def test_the_new_owner_of_an_address_is_another_person(world: World, steps: str) -> None:
    """The new account signs in before the directory's next cycle, which takes the old one out and
    makes the new one.
    """
    old = await entra(world, "POST", "/Users", FORMER)
    signed_in_as_the_new_owner(world)
    new = (
        await entra(world, "POST", "/Users", {**OWNER, "userName": "dana.new@globex.test"})
        if steps == "renamed"
        else None
    )
    await entra(
        world,
        *(
            ("DELETE", f"/Users/{old['id']}")
            if steps == "deleted"
            else ("PATCH", f"/Users/{old['id']}", INACTIVE)
        ),
    )
    if new is None:
        new = await entra(world, "POST", "/Users", OWNER)
        assert (new["id"] != old["id"], new["active"]) == (True, True)
    else:
        await entra(
            world,
            "PATCH",
            f"/Users/{new['id']}",
            patch(("Replace", "userName", "dana@globex.test")),
        )
    assert out(world) == {OLD}
    for kind in ("User.delete", "User.active=false"):
        await replayed(world, kind)
    assert out(world) == {OLD}, (
        "what was said of the former owner says nothing new when it is applied again"
    )
    assert (await call(world, "GET", f"/Users/{old['id']}", secret=GLOBEX_SECRET, base=ENTRA))[
        0
    ] == 404
    await entra(world, "PATCH", f"/Users/{new['id']}", INACTIVE)
    assert {OLD, NEW, "dana@globex.test"} <= out(world)


async def test_whom_an_active_record_knows_by_id_is_not_meant_by_the_address_of_another(
    world: World,
) -> None:
    shared = [{"value": "desk@globex.test"}]
    old = await entra(
        world, "POST", "/Users", {**FORMER, "userName": "old@globex.test", "emails": shared}
    )
    await entra(world, "POST", "/Users", {**OWNER, "emails": shared})
    world.people.people.append(
        (
            "globex",
            "globex-entra",
            {"email": "desk@globex.test"},
            Person("pool-new", "desk@globex.test", "pairwise", NEW),
        )
    )
    await entra(world, "PATCH", f"/Users/{old['id']}", INACTIVE)
    assert out(world) == {OLD, "old@globex.test"}
    nameless = await entra(
        world,
        "POST",
        "/Users",
        {"userName": "nameless@globex.test", "active": True, "emails": shared},
    )
    await entra(world, "PATCH", f"/Users/{nameless['id']}", INACTIVE)
    assert "desk@globex.test" in out(world), "there is nothing else to know this one by"


async def test_a_login_is_taken_from_inactive_records_only(world: World) -> None:
    old = await entra(world, "POST", "/Users", FORMER)
    assert (await call(world, "POST", "/Users", OWNER, secret=GLOBEX_SECRET, base=ENTRA))[0] == 409
    new = await entra(world, "POST", "/Users", {**OWNER, "userName": "dana.new@globex.test"})
    rename = patch(("replace", "userName", "dana@globex.test"))
    assert (
        await call(world, "PATCH", f"/Users/{new['id']}", rename, secret=GLOBEX_SECRET, base=ENTRA)
    )[0] == 409
    await entra(world, "PATCH", f"/Users/{old['id']}", INACTIVE)
    for silent in ({k: v for k, v in OWNER.items() if k != "active"}, {**OWNER, "active": False}):
        assert (await call(world, "POST", "/Users", silent, secret=GLOBEX_SECRET, base=ENTRA))[
            0
        ] == 409
    await entra(world, "PATCH", f"/Users/{new['id']}", INACTIVE)
    assert (
        await call(world, "PATCH", f"/Users/{new['id']}", rename, secret=GLOBEX_SECRET, base=ENTRA)
    )[0] == 409
