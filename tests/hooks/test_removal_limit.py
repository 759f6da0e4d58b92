"""Removals of many people at once are held, whoever says them, until an operator decides; what is
said of one account passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.hooks.deliveries import InboxRecords
from gateway.hooks.event import Delivery, Effect, HookEvent, Source, Subject
from gateway.hooks.removal_limit import WINDOW_S, Brake, BrakeLimits
from tests.hooks.living import INTERVAL_S, Living, living_hooks
from tests.hooks.samples import okta_delivery, okta_event
from tests.hooks.world import hooks_world, okta_target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from gateway.database.engine import Database
    from tests.hooks.world import World

LIMITS = BrakeLimits(people=3, percent=20, unknown=4)


@pytest.fixture
async def braked(database: Database, http: aiohttp.ClientSession) -> AsyncIterator[World]:
    async with hooks_world(database, http, brake=LIMITS) as world:
        yield world


@pytest.fixture
async def living(database: Database) -> AsyncIterator[Living]:
    async with living_hooks(database, brake=LIMITS) as found:
        yield found


def desk(world: World) -> InboxRecords:
    return InboxRecords(world.database, world.committer, clock=world.clock, wake=world.applier.wake)


async def held(world: World) -> int:
    return len([state for _, state, _ in await world.states() if state == "held"])


async def test_a_directory_that_empties_a_group_is_held_released_and_applied(
    living: Living,
) -> None:
    directory, group = living.directory("globex-entra"), living.group("app-users", "globex-entra")
    people = [
        directory.add_person(f"p{n}@globex.test", name=f"P {n}", groups=("app-users",))
        for n in range(24)
    ]
    await living.round()
    known = len([p for p in directory.people.values() if group.id in p.group_ids])
    living.graph.subscriptions.outbox.switches.loss = 1.0
    for person in people:
        await directory.remove_from_group(person, group)
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    limit = len(living.refused())
    assert 3 < limit <= known * 20 // 100
    assert await held(living.world) == len(people) - limit
    # One person's account is no mass removal, and goes out while the brake holds.
    await directory.deactivate(people[-1])
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    assert ("block", people[-1].id) in living.refused()
    page = await desk(living.world).page(tenant="globex", state="held", position=None, limit=100)
    assert {one.error.partition(":")[0] for one in page.items} == {"held"}
    assert (
        await desk(living.world).release_held(tenant="globex", provider="globex-entra")
        == len(people) - limit
    )
    await living.world.settled()
    assert living.refused() == {("app-users", p.id) for p in people} | {("block", people[-1].id)}


async def test_a_group_that_is_deleted_with_many_people_in_it_is_held_and_dropped(
    living: Living,
) -> None:
    directory, group = living.directory("globex-entra"), living.group("app-users", "globex-entra")
    for n in range(8):
        directory.add_person(f"p{n}@globex.test", name=f"P {n}", groups=("app-users",))
    await living.round()
    living.graph.subscriptions.outbox.switches.loss = 1.0
    await directory.delete_group(group)
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    assert (living.refused(), await held(living.world)) == (set(), 1)
    assert await desk(living.world).drop_held(tenant="globex", provider=None) == 1
    await living.world.settled()
    assert living.refused() == set()
    assert await held(living.world) == 0


async def test_hooks_that_bring_one_person_at_a_time_are_held_too_and_days_apart_they_are_not(
    braked: World,
) -> None:
    async def remove(n: int) -> None:
        await braked.okta(
            okta_delivery(
                okta_event(
                    "group.user_membership.remove", uuid=f"u-{n}", user=f"00u{n}", group="00gID"
                ),
                event_id=f"e-{n}",
            )
        )
        await braked.settled()

    for n in range(6):
        await remove(n)
    assert await held(braked) == 2
    await braked.okta(okta_delivery(okta_event("user.lifecycle.suspend", uuid="s", user="00u9")))
    await braked.settled()
    assert ("revoke", "block", "00u9", None) in braked.revoker.said()
    braked.clock.ahead += WINDOW_S + 10
    await remove(6)
    assert await held(braked) == 2, "what was held stays so, and an everyday change passes"


async def test_a_restart_and_another_process_go_on_with_the_count(braked: World) -> None:
    for n in range(4):
        await braked.okta(
            okta_delivery(
                okta_event(
                    "group.user_membership.remove", uuid=f"u-{n}", user=f"00u{n}", group="00gID"
                ),
                event_id=f"e-{n}",
            )
        )
    await braked.settled()
    assert await held(braked) == 0
    braked.applier.events._brake = Brake(braked.database, LIMITS, clock=braked.clock)
    await braked.okta(
        okta_delivery(
            okta_event("group.user_membership.remove", uuid="u-4", user="00u4", group="00gID"),
            event_id="e-4",
        )
    )
    await braked.settled()
    assert await held(braked) == 1
    braked.applier.events._brake = Brake(braked.database, LIMITS, clock=braked.clock)
    await braked.okta(
        okta_delivery(
            okta_event("group.user_membership.remove", uuid="u-5", user="00u5", group="00gID"),
            event_id="e-5",
        )
    )
    await braked.settled()
    assert await held(braked) == 2, "what is held stays held, and more of it is"
    braked.clock.ahead += WINDOW_S + 10
    await braked.okta(
        okta_delivery(
            okta_event("group.user_membership.remove", uuid="u-6", user="00u6", group="00gID"),
            event_id="e-6",
        )
    )
    await braked.settled()
    assert await held(braked) == 2


async def test_what_was_given_back_while_a_removal_was_held_is_not_taken_by_its_release(
    braked: World,
) -> None:
    events = [
        okta_event("group.user_membership.remove", uuid=f"u-{n}", user=f"00u{n}", group="00gID")
        for n in range(6)
    ]
    await braked.okta(okta_delivery(*events))
    await braked.settled()
    out = {request.who.idp_subject for request in braked.revoker.standing}
    (back, *_) = sorted({f"00u{n}" for n in range(6)} - {str(one) for one in out})
    await braked.okta(
        okta_delivery(
            okta_event(
                "group.user_membership.add",
                uuid="back",
                user=back,
                group="00gID",
                published="2026-01-02T00:00:00.000Z",
            ),
            event_id="e-2",
        )
    )
    await braked.settled()
    await desk(braked).release_held(tenant="acme", provider=None)
    await braked.settled()
    assert back not in {request.who.idp_subject for request in braked.revoker.standing}
    assert len({request.who.idp_subject for request in braked.revoker.standing}) == 5


async def test_a_scim_client_that_empties_a_group_is_held_as_one(braked: World) -> None:
    target = okta_target()
    records = [
        (
            await braked.scim.create(
                target,
                "User",
                {"userName": f"p{n}@acme.com", "externalId": f"00u{n}", "active": True},
            )
        ).id
        for n in range(8)
    ]
    body: dict[str, Any] = {
        "displayName": "Sales",
        "members": [{"value": record} for record in records],
    }
    group = await braked.scim.create(target, "Group", body)
    await braked.settled()
    await braked.scim.replace(target, "Group", group.id, {**body, "members": []})
    braked.applier.wake()
    await braked.settled()
    assert (braked.revoker.standing, await held(braked)) == (set(), 1)
    await desk(braked).release_held(tenant="acme", provider="acme-okta")
    await braked.settled()
    assert await held(braked) == 0
    assert {
        request.who.idp_subject
        for request in braked.revoker.standing
        if (request.who.idp_subject or "").startswith("00u")
    } == {f"00u{n}" for n in range(8)}


async def test_a_directory_that_knows_nobody_any_more_is_held(braked: World) -> None:
    """404 for everybody, also on the second look."""
    events = [
        HookEvent(Source.ENTRA, "delta/missing", Effect.LOOK_UP_ACCOUNT, Subject(oid=f"o-{n}"))
        for n in range(9)
    ]
    target = braked.targets.by_key["globex", "globex-entra"]
    await braked.inbox.accept(
        target, Delivery(Source.ENTRA, tuple(events)), received_at=braked.clock()
    )
    braked.applier.wake()
    await braked.settled()
    assert (len(braked.revoker.standing), await held(braked)) == (4, 5)


def test_the_limit_grows_with_the_people_that_are_known() -> None:
    assert [BrakeLimits().of(known) for known in (0, 5, 50, 51, 1000)] == [100, 10, 10, 10, 200]
    assert BrakeLimits(percent=100).of(1000) == 1000


async def test_the_name_of_a_group_that_was_renamed_is_lost_without_being_held(
    living: Living,
) -> None:
    directory, group = living.directory("globex-entra"), living.group("app-users", "globex-entra")
    for n in range(8):
        directory.add_person(f"p{n}@globex.test", name=f"P {n}", groups=("app-users",))
    await living.round()
    await directory.rename_group(group, "former-users")
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    assert await held(living.world) == 0
    assert {kind for kind, _ in living.refused()} == {"app-users"}
