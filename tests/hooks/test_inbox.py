"""Once, whatever happens: outages, crashes, several replicas, replays."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from gateway.database.schema import hook_groups, hook_inbox, hook_standing
from gateway.errors import PeerError
from gateway.hooks import applier as applier_module
from gateway.hooks import event_applier
from gateway.hooks.active_restrictions import Restrictions
from gateway.hooks.deliveries import InboxRecords
from gateway.hooks.inbox import UNREAD
from gateway.tenants.api import Rejected
from tests.hooks.samples import okta_delivery, okta_event
from tests.hooks.world import hooks_world, okta_target

if TYPE_CHECKING:
    import aiohttp
    from sqlalchemy import Column, ColumnElement

    from gateway.core.revocation import RevocationRequest, RevocationStatus
    from gateway.database.engine import Database
    from gateway.hooks.inbox import Lane
    from tests.hooks.world import World

pytestmark = pytest.mark.every_database


async def test_an_outage_of_the_store_is_outlasted(world: World) -> None:
    world.revoker.failing = 3
    assert await world.okta(okta_delivery(okta_event("user.lifecycle.suspend"))) == 200
    await world.settled()
    assert len(world.revoker.standing) == 1
    assert await world.states() == [("user.lifecycle.suspend", "applied", "")]


async def test_a_refusing_peer_uses_up_the_attempts_and_the_event_stays_visible_and_replayable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_applier, "MAX_ATTEMPTS", 2)
    revoke = world.revoker.revoke

    async def refuses(_request: RevocationRequest) -> RevocationStatus:
        raise PeerError("directory_forbidden", "Insufficient privileges")

    monkeypatch.setattr(world.revoker, "revoke", refuses)
    await world.okta(okta_delivery(okta_event("user.lifecycle.suspend")))
    await world.settled()
    assert await world.states() == [
        ("user.lifecycle.suspend", "failed", "directory_forbidden: Insufficient privileges")
    ]
    monkeypatch.setattr(world.revoker, "revoke", revoke)
    records = InboxRecords(
        world.database, world.committer, clock=world.clock, wake=world.applier.wake
    )
    [row] = (await records.page(tenant="acme", state="failed", position=None, limit=10)).items
    said = await records.said(row.id)
    assert said is not None
    assert (said["type"], said["effect"]) == ("user.lifecycle.suspend", "block")
    assert said["subject"]["email"].startswith("…@")
    assert await records.said("nobody") is None
    replayed = await records.replay(row.id)
    assert not isinstance(replayed, Rejected)
    await world.settled()
    assert [state for _, state, _ in await world.states()] == ["applied"]
    assert len(world.revoker.standing) == 1
    assert isinstance(await records.replay("nobody"), Rejected)


async def test_pages_of_deliveries_are_newest_first_and_end(world: World) -> None:
    for n in range(5):
        await world.okta(
            okta_delivery(okta_event("user.session.end", uuid=f"u-{n}"), event_id=f"e-{n}")
        )
    await world.settled()
    records = InboxRecords(
        world.database, world.committer, clock=world.clock, wake=world.applier.wake
    )
    first = await records.page(tenant=None, state=None, position=None, limit=3)
    second = await records.page(tenant=None, state=None, position=first.position, limit=3)
    assert (len(first.items), len(second.items), second.position) == (3, 2, None)
    assert [r.received_at for r in (*first.items, *second.items)] == sorted(
        (r.received_at for r in (*first.items, *second.items)), reverse=True
    )


async def test_one_bad_event_does_not_stop_the_others_of_its_lane(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = world.people.find
    calls = 0

    async def faulty(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            msg = "surprise"
            raise RuntimeError(msg)
        return await original(*arguments, **named)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(world.people, "find", faulty)
    await world.okta(
        okta_delivery(
            okta_event("user.lifecycle.suspend", uuid="a"),
            okta_event("user.session.clear", uuid="b"),
        )
    )
    await world.until(lambda: len(world.revoker.calls) >= 1)
    await world.settled()
    assert sorted(v for _, v, _ in await world.states()) == ["applied", "applied"]


async def test_an_event_that_is_not_done_in_time_is_told_and_keeps_its_lane_waiting_for_nothing(
    database: Database, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hooks_world(database, http, applying=False) as world:
        revoke, forever = world.revoker.revoke, asyncio.Event()

        async def hangs_once(request: RevocationRequest) -> RevocationStatus:
            monkeypatch.setattr(world.revoker, "revoke", revoke)
            await forever.wait()
            raise AssertionError(request)

        monkeypatch.setattr(world.revoker, "revoke", hangs_once)
        monkeypatch.setattr(world.applier, "_apply_s", 0.05)
        await world.okta(
            okta_delivery(
                okta_event("user.lifecycle.suspend", uuid="a"),
                okta_event("user.session.clear", uuid="b"),
            )
        )
        [lane] = await world.inbox.claim(now=world.clock(), limit=10)
        await world.applier.apply(lane)
        assert await world.states() == [
            ("user.lifecycle.suspend", "new", "it was not done in time"),
            ("user.session.clear", "new", ""),
        ]
        monkeypatch.setattr(world.applier, "_apply_s", applier_module.APPLY_S)
        [lane] = await world.inbox.claim(now=world.clock(), limit=10)
        assert [pending.event.type for pending in lane.pending] == ["user.session.clear"], (
            "the other one has a pause"
        )
        world.clock.ahead += 60
        await world.applier.apply(lane)
        [lane] = await world.inbox.claim(now=world.clock(), limit=10)
        await world.applier.apply(lane)
        assert {state for _, state, _ in await world.states()} == {"applied"}


async def test_a_lane_that_failed_for_days_ends_nothing_and_its_event_is_tried_at_the_longest_pause(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More failures than a power of two has room for."""
    monkeypatch.setattr(applier_module, "POLL_S", 0.01)
    apply, failing = world.applier.apply, True

    async def fails(lane: Lane) -> None:
        if not failing:
            return await apply(
                replace(lane, pending=tuple(replace(one, attempts=5000) for one in lane.pending))
            )
        world.applier._resting[lane.key] = applier_module._Rest(5000, 0.0)
        msg = "a row does not open"
        raise RuntimeError(msg)

    monkeypatch.setattr(world.applier, "apply", fails)
    await world.okta(okta_delivery(okta_event("user.lifecycle.suspend")))
    await world.until(lambda: any(rest.failures > 5000 for rest in world.applier._resting.values()))
    world.applier._resting.clear()
    failing, world.revoker.failing = False, 1
    world.applier.wake()
    async with asyncio.timeout(20):
        while [error for _, _, error in await world.states()] != ["the store is away"]:  # noqa: ASYNC110 - written by another task, without a signal of its own
            await asyncio.sleep(0.01)
    world.clock.ahead += 60
    await world.settled()
    assert [state for _, state, _ in await world.states()] == ["applied"]


async def test_a_row_that_does_not_open_keeps_no_other_lane_waiting_and_its_own_goes_on_when_it_opens_again(  # noqa: E501 - a test's name is a sentence
    database: Database, http: aiohttp.ClientSession
) -> None:
    async with hooks_world(database, http, applying=False) as world:

        async def claimed() -> list[str]:
            lanes = await world.inbox.claim(now=world.clock(), limit=10)
            for lane in lanes:
                await world.applier.apply(lane)
            return sorted(one.event.id or "" for lane in lanes for one in lane.pending)

        async def change(column: Column[str], where: ColumnElement[bool], value: str) -> str:
            async with database.write() as connection:
                before: str = (await connection.execute(select(column).where(where))).scalar_one()
                await connection.execute(update(column.table).where(where).values({column: value}))
            return before

        suspended = [
            okta_event("user.lifecycle.suspend", uuid=name, user=name) for name in ("a", "b")
        ]
        await world.okta(
            okta_delivery(*suspended, okta_event("user.session.clear", uuid="b-too", user="b"))
        )
        payload = hook_inbox.c.payload
        kept = {
            name: await change(payload, hook_inbox.c.event == name, "k0.AAAA")
            for name in ("a", "b")
        }
        assert await claimed() == ["b-too"], "nor what else was told of the same person"
        assert [(state, error[:16]) for _, state, error in await world.states()] == [
            *[("new", "it does not open")] * 2,
            ("applied", ""),
        ]
        for name in ("a", "b"):
            await change(payload, hook_inbox.c.event == name, kept[name])
        assert await claimed() == [], "others have their turn first"
        world.clock.ahead += 61
        assert await claimed() == ["a", "b"]
        mine = hook_inbox.c.event == "a"

        async with database.read() as connection:
            lane = (await connection.execute(select(hook_inbox.c.lane).where(mine))).scalar_one()
        imposed, mine = hook_standing.c.imposed, hook_standing.c.lane == lane
        closed = await change(imposed, mine, "k0.AAAA")
        told = await world.messages()
        await world.okta(
            okta_delivery(
                *(
                    okta_event("user.lifecycle.unsuspend", uuid=f"{name}-back", user=name)
                    for name in ("a", "b")
                ),
                event_id="back",
            )
        )
        assert await claimed() == ["b-back"]

        # What takes away is not kept waiting by what does not open.
        def said(kind: str, at: str, **more: str) -> dict[str, Any]:
            return okta_event(
                kind,
                uuid=f"a-{kind}-{at}",
                user="a",
                published=f"2026-01-{at}T00:00:00.000Z",
                **more,
            )

        older, again = said("user.lifecycle.suspend", "01"), said("user.lifecycle.suspend", "05")
        removed, cleared = (
            said("group.user_membership.remove", "05", group="00gSALES"),
            said("user.session.clear", "05"),
        )
        late = said("group.user_membership.add", "06", group="00gSALES")
        calls = len(world.revoker.calls)
        await world.okta(okta_delivery(older, again, removed, cleared, late, event_id="more"))
        assert await claimed() == sorted(one["uuid"] for one in (older, again, removed, cleared))
        took = [
            (verb, request.reason, request.kind.value, request.group_overlay)
            for verb, request in world.revoker.calls[calls:]
        ]
        assert took == [
            ("revoke", "user.lifecycle.suspend", "block", None),
            ("revoke", "user.lifecycle.suspend", "end_sessions", None),
            ("revoke", "group.user_membership.remove", "end_sessions", "Sales"),
            ("revoke", "group.user_membership.remove", "end_sessions", None),
            ("revoke", "user.session.clear", "end_sessions", None),
            ("revoke", "user.session.clear", "end_sessions", None),
        ], "not the older one"
        assert [(state, error) for _, state, error in (await world.states())[-5:]] == [
            *[("new", UNREAD)] * 3,
            ("applied", ""),
            ("new", UNREAD),
        ]
        assert await world.messages() == told, (
            "nobody is told before it is known what was so before"
        )
        calls = len(world.revoker.calls)
        world.clock.ahead += 61
        assert await claimed() == [older["uuid"]]
        assert len(world.revoker.calls) == calls, "once"

        await change(imposed, mine, closed)
        world.clock.ahead += 61
        assert await claimed() == sorted(
            ["a-back", *(one["uuid"] for one in (older, again, removed, late))]
        )
        assert "new" not in {state for _, state, _ in await world.states()}
        assert {
            (request.group_overlay, request.kind.value)
            for request in world.revoker.standing
            if request.who.idp_subject == "a"
        } == {(None, "block")}
        await world.okta(okta_delivery(said("user.lifecycle.unsuspend", "07"), event_id="at last"))
        assert await claimed() != []
        assert not [
            request for request in world.revoker.standing if request.who.idp_subject == "a"
        ], "what was imposed meanwhile is part of the standing"


async def test_a_removal_from_a_group_whose_names_do_not_open_takes_effect_and_is_applied_when_they_do(  # noqa: E501 - a test's name is a sentence
    database: Database, http: aiohttp.ClientSession
) -> None:
    async with hooks_world(database, http, applying=False) as world:

        async def applied() -> list[tuple[str, str]]:
            for lane in await world.inbox.claim(now=world.clock(), limit=10):
                await world.applier.apply(lane)
            return [(state, error) for _, state, error in await world.states()]

        def said(kind: str, user: str, group: str, day: int = 1) -> dict[str, Any]:
            return okta_event(
                kind,
                uuid=f"{kind}-{user}-{group}",
                user=user,
                group=group,
                published=f"2026-01-0{day}T00:00:00.000Z",
            )

        await world.okta(okta_delivery(said("group.user_membership.remove", "a", "00gSALES")))
        assert await applied() == [("applied", "")]
        async with database.write() as connection:
            names = (await connection.execute(select(hook_groups.c.names))).scalar_one()
            await connection.execute(update(hook_groups).values(names="k0.AAAA"))
        calls = len(world.revoker.calls)
        back, lost = (
            said("group.user_membership.add", "a", "00gSALES", 2),
            said("group.user_membership.remove", "b", "00gSALES"),
        )
        await world.okta(
            okta_delivery(
                back,
                lost,
                okta_event("user.session.clear", uuid="clear", user="a"),
                event_id="more",
            )
        )
        assert (await applied())[1:] == [("new", UNREAD), ("new", UNREAD), ("applied", "")]
        took = {
            (request.who.idp_subject, request.group_overlay)
            for _, request in world.revoker.calls[calls:]
            if request.group_overlay
        }
        assert took == {("b", "Sales")}
        calls = len(world.revoker.calls)
        world.clock.ahead += 61
        await applied()
        assert len(world.revoker.calls) == calls, "once"
        async with database.write() as connection:
            await connection.execute(update(hook_groups).values(names=names))
        world.clock.ahead += 61
        assert {state for state, _ in await applied()} == {"applied"}
        assert {request.who.idp_subject for request in world.revoker.standing} == {"b"}


async def test_a_tenant_that_is_gone_is_not_an_error(world: World) -> None:
    target = world.targets.by_key.pop(("acme", "acme-okta"))
    from gateway.hooks.sources import okta
    from tests.hooks.samples import raw

    await world.inbox.accept(
        target,
        okta.parse_delivery(raw(okta_delivery(okta_event("user.lifecycle.suspend")))),
        received_at=world.clock(),
    )
    world.applier.wake()
    await world.settled()
    assert [(s, e) for _, s, e in await world.states()] == [
        ("ignored", "the tenant or provider is gone")
    ]


async def test_two_replicas_apply_each_event_once(
    database: Database, http: aiohttp.ClientSession
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(
            hooks_world(database, http, applying=False, holder="one")
        )
        second = await stack.enter_async_context(
            hooks_world(database, http, applying=False, holder="two")
        )
        second.targets.by_key = first.targets.by_key
        for world in (first, second):
            await stack.enter_async_context(world.applier.running())
        for n in range(60):
            world = (first, second)[n % 2]
            await world.okta(
                okta_delivery(
                    okta_event("user.session.clear", uuid=f"u-{n}", user=f"00u{n % 7}"),
                    event_id=f"e-{n}",
                )
            )
        await first.settled()
        calls = [
            request
            for _, request in first.revoker.calls + second.revoker.calls
            if request.who.idp_subject
        ]
        assert len(calls) == 60


async def test_a_replica_that_lost_its_lease_cannot_settle_and_another_finishes(
    database: Database, http: aiohttp.ClientSession
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        frozen = await stack.enter_async_context(
            hooks_world(database, http, applying=False, holder="frozen")
        )
        other = await stack.enter_async_context(
            hooks_world(database, http, applying=False, holder="other")
        )
        await frozen.okta(okta_delivery(okta_event("user.lifecycle.suspend")))
        [lane] = await frozen.inbox.claim(now=frozen.clock(), limit=10)
        frozen.revoker.hold = asyncio.Event()
        working = asyncio.create_task(frozen.applier.apply(lane))
        other.clock.ahead = 31
        [taken] = await other.inbox.claim(now=other.clock(), limit=10)
        assert [p.id for p in taken.pending] == [p.id for p in lane.pending]
        await other.applier.apply(taken)
        frozen.revoker.hold.set()
        frozen.clock.ahead = 31
        await working
        assert await frozen.states() == [("user.lifecycle.suspend", "applied", "")]
        assert len(other.revoker.standing) == 1
        assert await other.inbox.claim(now=other.clock() + 100, limit=10) == ()


async def test_a_lane_is_taken_by_the_commit_that_stores_its_event_and_never_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = world.inbox.claim

    async def nobody_has_a_turn(**_named: Any) -> tuple[Lane, ...]:
        return ()

    monkeypatch.setattr(world.inbox, "claim", nobody_has_a_turn)
    world.revoker.hold = asyncio.Event()
    await world.okta(okta_delivery(okta_event("user.lifecycle.suspend", uuid="first")))
    assert len(world.applier._active) == 1
    # Of the same person: it waits for what is under way, whoever looks for work.
    await world.okta(okta_delivery(okta_event("user.session.clear", uuid="second")))
    assert await turns(now=world.clock(), limit=10, busy=world.applier._busy) == ()
    asked: list[int] = []

    def busy_by_the_time() -> set[str]:
        asked.append(1)
        return set() if len(asked) == 1 else world.applier._busy()

    assert await turns(now=world.clock(), limit=10, busy=busy_by_the_time) == ()
    assert len(asked) == 2
    monkeypatch.setattr(world.inbox, "claim", turns)
    world.revoker.hold.set()
    world.applier.wake()
    await world.settled()
    assert [(v, w) for v, w, _ in await world.states()] == [
        ("user.lifecycle.suspend", "applied"),
        ("user.session.clear", "applied"),
    ]
    assert len({repr(call) for call in world.revoker.calls}) == len(world.revoker.calls), (
        "nothing was done twice"
    )


async def test_a_group_that_the_policy_names_later_is_refused_then(world: World) -> None:
    events = [
        okta_event("group.user_membership.remove", group="00gCANTEEN", uuid=name, user=name)
        for name in ("opens", "closed")
    ]
    for event in events:
        event["target"][1]["displayName"] = "Canteen"
    await world.okta(okta_delivery(*events))
    await world.settled()
    assert world.revoker.calls == []
    wider = okta_target(
        str(world.targets.by_key["acme", "acme-okta"].issuer), groups_used=frozenset({"Canteen"})
    )
    world.targets.by_key["acme", "acme-okta"] = wider
    async with world.database.write() as connection:
        mine = (
            hook_standing.c.lane
            == (
                await connection.execute(
                    select(hook_inbox.c.lane).where(hook_inbox.c.event == "closed")
                )
            ).scalar_one()
        )
        imposed = (
            await connection.execute(select(hook_standing.c.imposed).where(mine))
        ).scalar_one()
        await connection.execute(update(hook_standing).where(mine).values(imposed="k0.AAAA"))
    listed = await Restrictions(world.database).remembered(tenant="acme", position=None, limit=1)
    assert ([one.who.idp_subject for one in listed.items], listed.position) == (["opens"], None)
    assert await world.applier.apply_overdue(wider) == 1, (
        "one that does not open keeps no other from it"
    )
    await world.settled()
    assert [o for _, _, _, o in world.revoker.said()] == ["Canteen", None]
    async with world.database.write() as connection:
        await connection.execute(update(hook_standing).where(mine).values(imposed=imposed))
    assert await world.applier.apply_overdue(wider) == 1
    await world.settled()
    assert await world.applier.apply_overdue(wider) == 0


async def test_a_refusal_that_counts_only_now_waits_for_its_lane_and_for_what_came_later(
    database: Database, http: aiohttp.ClientSession
) -> None:
    async with hooks_world(database, http, applying=False) as world:

        async def applied() -> None:
            for lane in await world.inbox.claim(now=world.clock(), limit=10):
                await world.applier.apply(lane)

        removed, added = (
            okta_event(
                f"group.user_membership.{kind}",
                uuid=kind,
                group="00gCANTEEN",
                published=f"2026-01-01T00:00:0{at}Z",
            )
            for kind, at in (("remove", 0), ("add", 5))
        )
        for event in (removed, added):
            event["target"][1]["displayName"] = "Canteen"
        await world.okta(okta_delivery(removed))
        await applied()
        await world.okta(okta_delivery(added, event_id="e-2"))
        [lane] = await world.inbox.claim(
            now=world.clock(), limit=10
        )  # somebody holds the lane while the policy changes
        wider = okta_target(
            str(world.targets.by_key["acme", "acme-okta"].issuer),
            groups_used=frozenset({"Canteen"}),
        )
        world.targets.by_key["acme", "acme-okta"] = wider
        assert await world.applier.apply_overdue(wider) == 1
        assert await world.applier.apply_overdue(wider) == 0, "it waits already"
        assert world.revoker.calls == [], "nothing is done outside the lane"
        await world.applier.apply(lane)
        await applied()
        assert world.revoker.standing == set(), "the person was added again later than that"


async def test_a_fault_that_nobody_foresaw_ends_neither_the_looking_nor_the_applying(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    claim, apply, surprises = world.inbox.claim, world.applier.apply, {"claim": 1, "apply": 1}

    def surprise(where: str) -> None:
        if surprises[where]:
            surprises[where] -= 1
            raise RuntimeError(where)

    async def claiming(**named: Any) -> Any:
        surprise("claim")
        return await claim(**named)

    async def applying(lane: Any) -> None:
        surprise("apply")
        await apply(lane)

    monkeypatch.setattr(world.inbox, "claim", claiming)
    monkeypatch.setattr(world.applier, "apply", applying)
    assert await world.okta(okta_delivery(okta_event("user.lifecycle.suspend"))) == 200
    await world.until(lambda: not any(surprises.values()))
    world.clock.ahead += 3600  # the lease of the lane that fell has run out
    await world.settled()
    assert await world.states() == [("user.lifecycle.suspend", "applied", "")]
    assert {"hook_inbox_fault", "hook_worker_crashed"} <= {
        record.message for record in caplog.records
    }
