"""A group is its id: what it was called before is taken from everybody, and a removal speaks of
every name it had.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo import faults
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.hooks.event import Delivery, Effect, Group, HookEvent, Source, Subject
from gateway.hooks.group_names import MAX_FORMER, GroupNames, Names, merged
from gateway.hooks.lookups import SETTLE_S
from gateway.revocation.records import SqlRevocations
from tests.hooks.living import INTERVAL_S, living_hooks
from tests.hooks.samples import okta_delivery, okta_event
from tests.hooks.world import SECRET, entra_target, okta_target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.database.engine import Database
    from tests.hooks.living import Living
    from tests.hooks.world import World

EVERYBODY = "app-users", ""


@pytest.fixture
async def living(database: Database) -> AsyncIterator[Living]:
    async with living_hooks(database) as found:
        yield found


async def with_hook(living: Living) -> None:
    await living.okta.register(f"{living.world.url}/hooks/okta/acme/acme-okta", secret=SECRET)


async def arrived(living: Living) -> None:
    for outbox in (living.okta.outbox, living.graph.subscriptions.outbox):
        await outbox.idle()
    await living.world.settled()


async def test_a_renamed_group_is_lost_by_its_old_name_and_gained_back_with_it(
    living: Living,
) -> None:
    await living.round()  # learns which group the policy means
    await with_hook(living)
    bob, group, okta = (
        living.person("bob@acme.test"),
        living.group("app-users", "acme-okta"),
        living.directory("acme-okta"),
    )
    living.clock.advance(1)
    await okta.rename_group(group, "former")
    await arrived(living)
    assert living.refused() == {EVERYBODY}, (
        "whoever signed in as one of app-users, for nobody is by now"
    )
    living.clock.advance(1)
    await okta.remove_from_group(bob, group)
    await arrived(living)
    assert living.refused() == {EVERYBODY, ("app-users", bob.id)}, (
        "Cognito still reports the old name for him"
    )
    living.clock.advance(1)
    await okta.rename_group(group, "app-users")
    await arrived(living)
    assert living.refused() == {("app-users", bob.id)}, "the others have it again, he does not"
    living.clock.advance(1)
    await okta.add_to_group(bob, group)
    await arrived(living)
    assert living.refused() == set()


async def test_a_rename_that_no_hook_told_is_found_in_the_log(living: Living) -> None:
    await living.round()
    await living.directory("acme-okta").rename_group(
        living.group("app-users", "acme-okta"), "former"
    )
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    assert living.refused() == {EVERYBODY}


async def test_without_a_word_of_the_rename_a_removal_still_speaks_of_the_name_that_was_known(
    living: Living,
) -> None:
    await living.round()
    await living.okta.register(
        f"{living.world.url}/hooks/okta/acme/acme-okta",
        secret=SECRET,
        types=frozenset({"group.user_membership.remove"}),
    )
    bob, group = living.person("bob@acme.test"), living.group("app-users", "acme-okta")
    group.name = "former"
    living.clock.advance(1)
    await living.directory("acme-okta").remove_from_group(bob, group)
    await arrived(living)
    assert living.refused() == {EVERYBODY, ("app-users", bob.id)}


async def test_a_token_that_may_not_read_groups_does_not_stop_the_reading(living: Living) -> None:
    living.cloud.customers["acme-okta"].server.faults.always("groups", faults.status(403))
    bob = living.person("bob@acme.test")
    await living.directory("acme-okta").suspend(bob)
    living.clock.advance(1)
    await living.round()
    assert living.refused() == {("block", bob.id)}


@pytest.mark.parametrize("by", ["notification", "delta"])
async def test_graph_renames_likewise_where_the_policy_goes_by_names(
    living: Living, by: str
) -> None:
    await living.round()
    carol, group, entra = (
        living.person("carol@globex.test"),
        living.group("app-users", "globex-entra"),
        living.directory("globex-entra"),
    )
    if by == "delta":
        living.graph.subscriptions.outbox.switches.loss = 1.0
    living.clock.advance(1)
    await entra.rename_group(group, "former")
    living.clock.advance(INTERVAL_S + 1 if by == "delta" else 1)
    await (living.round() if by == "delta" else arrived(living))
    assert living.refused() == {EVERYBODY}
    await entra.remove_from_group(carol, group)
    living.clock.advance(INTERVAL_S + 1)
    await (living.round() if by == "delta" else arrived(living))
    assert living.refused() == {EVERYBODY, ("app-users", carol.id)}


async def test_a_delta_without_the_name_is_completed_before_anything_is_left_out(
    living: Living,
) -> None:
    carol, group = living.person("carol@globex.test"), living.group("app-users", "globex-entra")
    target = living.entra
    living.world.targets.by_key[target.key] = replace(target, groups_used=frozenset({"another"}))
    await living.round()  # nothing of the group is remembered: the policy did not name it
    living.world.targets.by_key[target.key] = target
    living.graph.subscriptions.outbox.switches.loss = 1.0
    await living.directory("globex-entra").remove_from_group(carol, group)
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    assert living.refused() == {("app-users", carol.id)}


def okta_group(
    kind: str, uuid: str, name: str, at: int, *, group: str = "00gX", **changes: Any
) -> dict[str, Any]:
    event = okta_event(kind, uuid=uuid, group=group, published=f"2026-01-01T00:00:{at:02}Z")
    event["target"][1] |= {"displayName": name, **changes}
    return event


async def said(world: World, *events: dict[str, Any]) -> None:
    for event in events:
        assert await world.okta(okta_delivery(event, event_id=event["uuid"])) == 200
        await world.settled()


def overlays(world: World) -> set[tuple[str, str]]:
    return {
        (r.group_overlay or "", r.who.idp_subject or r.who.group or "")
        for r in world.revoker.standing
    }


async def test_what_okta_says_of_the_name_before_is_enough(world: World) -> None:
    await said(
        world,
        okta_group(
            "group.profile.update",
            "a",
            "former",
            1,
            changeDetails={"from": {"profile": {"name": "Sales"}}, "to": {}},
        ),
    )
    assert overlays(world) == {("Sales", "Sales")}


async def test_a_rename_of_a_group_that_was_never_seen_says_so(world: World) -> None:
    await said(world, okta_group("group.profile.update", "a", "former", 1))
    assert await world.states() == [
        ("group.profile.update", "ignored", "what the group was called before is not known here")
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
async def test_events_of_a_rename_in_any_order_take_the_old_name_away(
    world: World, order: tuple[int, ...]
) -> None:
    events = [
        okta_group("group.user_membership.add", "a", "Sales", 1),
        okta_group("group.profile.update", "b", "former", 2),
        okta_group("group.user_membership.remove", "c", "former", 3),
    ]
    await said(world, *(events[n] for n in order))
    await world.applier.apply_overdue(world.targets.by_key["acme", "acme-okta"])
    await world.settled()
    assert overlays(world) == {("Sales", "Sales"), ("Sales", events[0]["target"][0]["id"])}


async def test_another_group_that_has_the_name_keeps_it_for_its_members(world: World) -> None:
    await said(
        world,
        okta_group("group.user_membership.add", "a", "Sales", 1),
        okta_group("group.user_membership.add", "b", "Sales", 2, group="00gY"),
        okta_group("group.profile.update", "c", "former", 3),
    )
    assert overlays(world) == set()
    assert [(verb, r.who.group) for verb, r in world.revoker.calls] == [("revoke", "Sales")], (
        "sessions end, for one of them may have it through either"
    )


async def test_a_new_group_of_a_lost_name_gives_it_back(world: World) -> None:
    await said(
        world,
        okta_group("group.user_membership.add", "a", "Sales", 1),
        okta_group("group.profile.update", "b", "former", 2),
    )
    assert overlays(world) == {("Sales", "Sales")}
    await said(world, okta_group("group.user_membership.add", "c", "Sales", 3, group="00gY"))
    assert overlays(world) == set()


async def test_what_a_deleted_group_was_called_before_is_left_to_whoever_is_called_so_now(
    world: World,
) -> None:
    await said(
        world,
        okta_group("group.user_membership.add", "a", "Sales", 1),
        okta_group("group.profile.update", "b", "former", 2),
        okta_group("group.user_membership.add", "c", "Sales", 3, group="00gY"),
        okta_group("group.lifecycle.delete", "d", "former", 4),
    )
    assert overlays(world) == set()


SEEN = st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(1, 5)), min_size=1, max_size=6)


@given(SEEN, st.randoms())
def test_what_a_group_is_called_depends_on_the_set_of_sightings_only(
    seen: list[tuple[str, int]], random: Any
) -> None:
    at_once = {
        at: name for name, at in seen
    }  # two names at one instant are one event at the provider

    def after(order: list[tuple[int, str]]) -> Names:
        (at, name), *rest = order
        names = Names(name, at * 1000.0)
        for at, name in rest:
            names = merged(names, Names(name, at * 1000.0))
        return names

    order = sorted(at_once.items())
    shuffled = list(order)
    random.shuffle(shuffled)
    one, other = after(order), after(shuffled)
    assert (one.current, one.at, set(one.former)) == (other.current, other.at, set(other.former))
    assert one.current == order[-1][1]
    assert {one.current, *one.former} == set(at_once.values())


def test_names_are_bounded() -> None:
    names = Names("0", 0.0)
    for number in range(1, 50):
        names = merged(names, Names(str(number), float(number)))
    assert (names.current, len(names.former), names.former[0]) == ("49", MAX_FORMER, "48")


async def test_a_busy_group_is_written_once_a_minute(database: Database) -> None:
    names, target = GroupNames(database), okta_target()
    for at, written in ((10.0, 10.0), (60.0, 10.0), (80.0, 80.0)):
        async with database.write() as connection:
            assert (
                await names.learn(connection, target, Source.OKTA, Group("00gX", "Sales"), at=at)
                == ()
            )
        assert (await names.read(target, Source.OKTA, [Group("00gX")]))["00gX"] == Names(
            "Sales", written
        )
    assert await names.unknown(target, Source.OKTA, ["Sales", "Canteen"]) == ["Canteen"]
    async with database.write() as connection:
        events = await names.learn(
            connection, target, Source.OKTA, Group("00gX", "Canteen"), at=90.0
        )
    assert {(e.effect, e.group) for e in events} == {
        (Effect.GROUP_DELETED, Group(name="Sales")),
        (Effect.GROUP_ADDED, Group(name="Canteen")),
    }


async def test_a_reading_names_the_members_of_a_group_made_again_while_the_name_is_taken_from_everybody(  # noqa: E501 - a test's name is a sentence
    living: Living,
) -> None:
    """Of any other group they are no news."""
    await living.round()
    living.graph.subscriptions.outbox.switches.loss = 1.0
    directory, carol = living.directory("globex-entra"), living.person("carol@globex.test")
    await directory.delete_group(living.group("app-users", "globex-entra"))
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    everybody = RevocationRequest(
        "globex",
        Who(group="app-users", provider="globex-entra"),
        RevocationKind.END_SESSIONS,
        "deleted",
        "entra",
        living.clock(),
        "app-users",
        "old",
    )
    assert ("app-users", "") in living.refused()
    made_again = directory.add_group("app-users")
    await directory.add_to_group(carol, made_again)
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    assert living.world.revoker.exempted == [], (
        "the record holds nothing that was taken from everybody"
    )
    async with SqlRevocations(living.world.database).change("globex", ["alias"]) as change:
        await change.overlay(everybody, watermark=1, at=living.clock())
    erin = directory.add_person("erin@globex.test", name="Erin")
    await directory.add_to_group(erin, made_again)
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    assert [(r.who.oid, r.group_overlay, r.group_id) for r in living.world.revoker.exempted] == [
        (erin.id, "app-users", made_again.id)
    ]


async def test_a_directory_that_may_not_know_yet_that_the_group_is_deleted_is_asked_again(
    world: World,
) -> None:
    target, group = entra_target(groups_used=frozenset({"g-1"})), Group("g-1")
    deleted = HookEvent(Source.ENTRA, "groups/deleted", Effect.GROUP_DELETED, None, group)
    added = HookEvent(
        Source.ENTRA, "groups/member-added", Effect.LOOK_UP_MEMBERSHIP, Subject(oid="o-1"), group
    )
    world.targets.by_key[target.key] = target
    world.directory.members.add(("o-1", "g-1"))
    await world.inbox.accept(target, Delivery(Source.ENTRA, (deleted,)), received_at=world.clock())
    world.applier.wake()
    await world.settled()
    await world.inbox.accept(target, Delivery(Source.ENTRA, (added,)), received_at=world.clock())
    world.applier.wake()

    async def state() -> str:
        return next(
            error or state for kind, state, error in await world.states() if kind == added.type
        )

    async with asyncio.timeout(10):
        while await state() != "waiting for the directory to settle":  # noqa: ASYNC110 - it happens in the applier
            await asyncio.sleep(0.01)
    assert world.revoker.exempted == []
    world.clock.ahead += SETTLE_S
    await world.settled()
    assert [r.who.oid for r in world.revoker.exempted] == ["o-1"], "a group that was restored"
