"""What no event told, against the stand-in Okta and Graph: lost events, expired tokens,
subscriptions through their life. The clock is the test's.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from sqlalchemy import select

from demo import faults
from demo.idp import graph_delta as graph_delta_of_the_demo
from gateway.core.model import Secret
from gateway.database.crypt import Crypt
from gateway.database.leader import Leader
from gateway.database.schema import directory_cursors, graph_subscriptions
from gateway.errors import PeerError, UnavailableError
from gateway.hooks.event import Delivery, Effect, Group, HookEvent, Source, Subject
from gateway.hooks.lookups import ABSENT_S
from gateway.hooks.reconcile.fetch import Fetch
from gateway.hooks.reconcile.graph_client import GraphClient
from gateway.hooks.reconcile.schedule import Places
from gateway.hooks.reconcile.subscriptions import LIFETIME_S
from gateway.metrics import REGISTRY
from tests.hooks.living import INTERVAL_S, Living, living_hooks
from tests.hooks.world import GLOBEX_SECRET, SECRET, entra_target, serving
from tests.soak import lost_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from tests.hooks.living import Living

DAY_S = 86_400.0


@pytest.fixture
async def living(database: Database) -> AsyncIterator[Living]:
    async with living_hooks(database) as found:
        yield found


async def test_a_subscription_is_made_with_its_handshake_and_notifications_arrive(
    living: Living,
) -> None:
    await living.round()
    assert set(await living.rows()) == {"users", "groups"}
    carol, group = living.person("carol@globex.test"), living.group("app-users", "globex-entra")
    await living.directory("globex-entra").remove_from_group(carol, group)
    await living.graph.subscriptions.outbox.idle()
    await living.world.settled()
    assert living.refused() == {("app-users", carol.id)}
    living.clock.advance(60)
    await living.directory("globex-entra").add_to_group(carol, group)
    await living.graph.subscriptions.outbox.idle()
    await living.world.settled()
    assert living.refused() == set()


async def test_every_event_that_was_lost_is_found_by_the_next_reading(living: Living) -> None:
    await living.round()
    for outbox in (living.okta.outbox, living.graph.subscriptions.outbox):
        outbox.switches.loss = 1.0
    alice, carol = living.person("alice@acme.test"), living.person("carol@globex.test")
    await living.directory("acme-okta").remove_from_group(
        alice, living.group("app-users", "acme-okta")
    )
    await living.directory("acme-okta").suspend(living.person("bob@acme.test"))
    await living.directory("globex-entra").remove_from_group(
        carol, living.group("app-users", "globex-entra")
    )
    await living.directory("globex-entra").deactivate(carol)
    assert living.refused() == set()
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    assert living.refused() == {
        ("app-users", alice.id),
        ("block", living.person("bob@acme.test").id),
        ("app-users", carol.id),
        ("block", carol.id),
    }
    await living.directory("acme-okta").add_to_group(alice, living.group("app-users", "acme-okta"))
    await living.directory("acme-okta").unsuspend(living.person("bob@acme.test"))
    await living.directory("globex-entra").add_to_group(
        carol, living.group("app-users", "globex-entra")
    )
    await living.directory("globex-entra").activate(carol)
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    assert living.refused() == set()


async def test_of_many_changes_a_third_is_lost_and_the_next_reading_finds_each(
    database: Database,
) -> None:
    """The small one of ``tests/soak/lost_events.py``."""
    outcome = await lost_events.run(database, people=16, rounds=2, loss=0.3, seed=3)
    assert outcome.lost > 0
    assert outcome.wrong_before > 0


async def test_reading_again_what_hooks_delivered_finds_nothing(living: Living) -> None:
    await living.round()
    await living.okta.register(f"{living.world.url}/hooks/okta/acme/acme-okta", secret=SECRET)
    assert [h.verified for h in living.okta.hooks] == [True]
    carol = living.person("carol@globex.test")
    await living.directory("acme-okta").suspend(living.person("bob@acme.test"))
    await living.directory("globex-entra").deactivate(carol)
    for outbox in (living.okta.outbox, living.graph.subscriptions.outbox):
        await outbox.idle()
    await living.world.settled()
    calls = len(living.world.revoker.calls)
    assert await living.backfill.read(living.world.targets.by_key["acme", "acme-okta"]) == (0, True)
    assert await living.delta.read(living.entra) == (0, True)
    await living.world.settled()
    assert len(living.world.revoker.calls) == calls


async def test_a_token_that_is_too_old_means_reading_everything_and_who_left_meanwhile_is_found(
    living: Living,
) -> None:
    await living.round()
    living.graph.subscriptions.outbox.switches.loss = 1.0
    carol = living.person("carol@globex.test")
    await living.directory("globex-entra").remove_from_group(
        carol, living.group("app-users", "globex-entra")
    )
    living.clock.advance(8 * DAY_S)
    await living.round()
    assert living.refused() == {("app-users", carol.id)}
    assert await living.delta.read(living.entra) == (0, True)


async def test_someone_deleted_while_the_token_ran_out_is_found(living: Living) -> None:
    await living.round()
    living.graph.subscriptions.outbox.switches.loss = 1.0
    carol = living.person("carol@globex.test")
    await living.directory("globex-entra").delete(carol)
    living.clock.advance(8 * DAY_S)
    await living.round()
    assert ("block", carol.id) in living.refused()


def _emptied(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "members@delta": []}


def _first_unreadable(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "members@delta": [{"id": 7}, *entry.get("members@delta", [])[1:]]}


def _no_array(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "members@delta": {}}


def _nameless(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "displayName": "app\nusers"}


@pytest.mark.parametrize(
    "short", [_emptied, _first_unreadable, _no_array, _nameless], ids=lambda one: one.__name__
)
async def test_a_short_full_reading_takes_a_group_from_nobody_and_who_left_is_still_found(
    living: Living, monkeypatch: pytest.MonkeyPatch, short: Any
) -> None:
    """The group's members are looked up, one by one, before their absence counts."""
    directory, group = living.directory("globex-entra"), living.group("app-users", "globex-entra")
    people = [
        directory.add_person(f"p{n}@globex.test", name=f"P {n}", groups=("app-users",))
        for n in range(4)
    ]
    await living.round()
    living.graph.subscriptions.outbox.switches.loss = 1.0
    await directory.remove_from_group(people[3], group)
    await directory.delete(people[2])
    living.clock.advance(8 * DAY_S)
    honest = living.graph.deltas.answer

    def answer(kind: str, query: Any) -> dict[str, Any]:
        document: dict[str, Any] = honest(kind, query)
        return {
            **document,
            "value": [short(e) if e["id"] == group.id else e for e in document["value"]]
            if kind == "groups"
            else [],
        }

    monkeypatch.setattr(living.graph.deltas, "answer", answer)
    await living.round()
    expected = {("app-users", people[3].id), ("block", people[2].id), ("app-users", people[2].id)}
    assert living.refused() == expected
    # A later reading, complete again, still knows who was there: nobody was forgotten with the
    # short one.
    await directory.remove_from_group(people[1], group)
    living.clock.advance(8 * DAY_S)
    monkeypatch.undo()
    await living.round()
    assert living.refused() == expected | {("app-users", people[1].id)}


async def test_a_bad_member_of_a_change_is_skipped_alone(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    await living.round()
    living.graph.subscriptions.outbox.switches.loss = 1.0
    carol, group = living.person("carol@globex.test"), living.group("app-users", "globex-entra")
    await living.directory("globex-entra").remove_from_group(carol, group)
    honest = living.graph.deltas.answer

    def answer(kind: str, query: Any) -> dict[str, Any]:
        document: dict[str, Any] = honest(kind, query)
        for entry in document["value"]:
            if "members@delta" in entry:
                entry["members@delta"] = [None, {"id": "\n"}, *entry["members@delta"]]
        return document

    monkeypatch.setattr(living.graph.deltas, "answer", answer)
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    assert living.refused() == {("app-users", carol.id)}


async def _waiting(living: Living, count: int) -> None:
    """Until so many events wait for the directory to settle."""
    async with asyncio.timeout(20):
        while (  # noqa: ASYNC110 - the applier has no signal for a test
            len([s for s in await living.world.states() if s[1] == "new" and "waiting" in s[2]])
            < count
        ):
            await asyncio.sleep(0.01)


async def test_one_404_about_somebody_just_created_blocks_nobody(living: Living) -> None:
    """Graph answers so for a while. Who is in the recycle bin is deleted, at once; who is unknown
    still, minutes later, is gone.
    """
    await living.round()
    directory = living.directory("globex-entra")
    (subscription,) = [
        s for s in living.graph.subscriptions.by_id.values() if s.resource == "users"
    ]
    reference = subscription.id
    dora, emil, gone = (
        directory.add_person(f"{n}@globex.test", name=n) for n in ("dora", "emil", "gone")
    )
    gone.deleted = True
    hidden = {p.id: directory.people.pop(p.id) for p in (dora, emil)}
    events = [
        HookEvent(
            Source.ENTRA,
            "users/updated",
            Effect.LOOK_UP_ACCOUNT,
            Subject(oid=p.id),
            reference=reference,
        )
        for p in (dora, emil, gone)
    ]
    await living.world.inbox.accept(
        living.entra, Delivery(Source.ENTRA, tuple(events)), received_at=living.clock()
    )
    living.world.applier.wake()
    await _waiting(living, 2)
    assert living.refused() == {("block", gone.id)}
    directory.people[dora.id] = hidden[dora.id]
    living.clock.advance(ABSENT_S + 1)
    await living.world.settled()
    assert living.refused() == {("block", gone.id), ("block", emil.id)}


async def test_a_membership_that_the_directory_does_not_know_yet_is_asked_for_again(
    living: Living,
) -> None:
    await living.round()
    directory, group = living.directory("globex-entra"), living.group("app-users", "globex-entra")
    reference = next(
        s.id for s in living.graph.subscriptions.by_id.values() if s.resource == "groups"
    )
    late, never = (directory.add_person(f"{n}@globex.test", name=n) for n in ("late", "never"))
    events = [
        HookEvent(
            Source.ENTRA,
            "groups/member-added",
            Effect.LOOK_UP_MEMBERSHIP,
            Subject(oid=p.id),
            Group(group.id),
            reference=reference,
        )
        for p in (late, never)
    ]
    await living.world.inbox.accept(
        living.entra, Delivery(Source.ENTRA, tuple(events)), received_at=living.clock()
    )
    living.world.applier.wake()
    await _waiting(living, 2)
    assert living.refused() == set()
    late.group_ids.append(group.id)
    living.clock.advance(ABSENT_S + 1)
    await living.world.settled()
    assert living.refused() == {("app-users", never.id)}


async def test_subscriptions_are_renewed_at_half_life_and_made_again_when_graph_forgot_them(
    living: Living,
) -> None:
    await living.round()
    made = await living.rows()
    living.clock.advance(LIFETIME_S / 2 - DAY_S)
    await living.subscriptions.maintain(living.entra)
    assert (await living.rows())["users"].renewed_at == made["users"].renewed_at
    living.clock.advance(2 * DAY_S)
    await living.subscriptions.maintain(living.entra)
    renewed = await living.rows()
    assert renewed["users"].id == made["users"].id
    assert renewed["users"].expires_at > made["users"].expires_at
    living.graph.subscriptions.by_id.clear()
    living.clock.advance(LIFETIME_S / 2 + DAY_S)
    await living.subscriptions.maintain(living.entra)
    again = await living.rows()
    assert {again[r].id for r in again} == set(living.graph.subscriptions.by_id)
    assert again["users"].id != made["users"].id


async def test_a_rotated_secret_makes_new_subscriptions_and_the_old_ones_go(living: Living) -> None:
    await living.round()
    before = set(living.graph.subscriptions.by_id)
    living.world.targets.by_key["globex", "globex-entra"] = entra_target(
        **{
            f: getattr(living.entra, f)
            for f in (
                "issuer",
                "directory_id",
                "client_id",
                "client_secret",
                "api_url",
                "groups_used",
                "allowed_groups",
            )
        },
        secrets=(Secret("the-next-secret"), Secret(GLOBEX_SECRET)),
    )
    await living.subscriptions.maintain(living.entra)
    after = set(living.graph.subscriptions.by_id)
    assert len(after) == 2
    assert not before & after
    carol = living.person("carol@globex.test")
    await living.directory("globex-entra").deactivate(carol)
    await living.graph.subscriptions.outbox.idle()
    await living.world.settled()
    assert ("block", carol.id) in living.refused()


async def test_a_reauthorisation_is_answered_and_notifications_go_on(living: Living) -> None:
    await living.round()
    for subscription in list(living.graph.subscriptions.by_id.values()):
        living.graph.subscriptions.require_reauthorization(subscription)
    await living.graph.subscriptions.outbox.idle()
    await living.world.settled()
    assert [s.reauthorization_due for s in living.graph.subscriptions.by_id.values()] == [
        False,
        False,
    ]


def last_success(provider: str) -> float | None:
    return REGISTRY.get_sample_value(
        "gateway_reconcile_last_success_timestamp_seconds",
        {"tenant": provider.partition("-")[0], "provider": provider},
    )


async def test_graph_down_for_an_hour_loses_nothing_and_the_metric_stands_still(
    living: Living,
) -> None:
    """Alerts take the time since; a provider that nobody has to read any more must raise none."""
    await living.round()
    await living.round()
    began = last_success("globex-entra")
    assert began is not None and began <= living.clock()
    carol = living.person("carol@globex.test")
    living.cloud.customers["globex-entra"].server.faults.always("graph", faults.status(503))
    await living.directory("globex-entra").deactivate(carol)
    await living.graph.subscriptions.outbox.idle()
    for _ in range(12):
        living.clock.advance(INTERVAL_S + 1)
        await living.reconciliation.round()
    assert ("block", carol.id) not in living.refused()
    assert last_success("globex-entra") == began
    assert (last_success("acme-okta") or 0) > living.clock() - 2 * INTERVAL_S
    living.cloud.customers["globex-entra"].server.faults.clear()
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    assert ("block", carol.id) in living.refused()
    await living.reconciliation.round()
    assert (last_success("globex-entra") or 0) > living.clock() - 60
    del living.world.targets.by_key["globex", "globex-entra"]
    await living.reconciliation.round()
    assert math.isnan(last_success("globex-entra") or 0)
    assert not math.isnan(last_success("acme-okta") or math.nan)
    await living.reconciliation._stop()  # another replica leads
    assert math.isnan(last_success("acme-okta") or 0)


async def test_a_subscription_that_a_crash_left_behind_is_removed(living: Living) -> None:
    await living.subscriptions.maintain(living.entra)
    async with living.world.database.write() as connection:
        await connection.execute(graph_subscriptions.delete())
    await living.subscriptions.maintain(living.entra)
    assert set(living.graph.subscriptions.by_id) == {r.id for r in (await living.rows()).values()}


async def test_a_wrong_secret_is_the_customers_to_fix_and_says_so(living: Living) -> None:
    wrong = entra_target(
        **{f: getattr(living.entra, f) for f in ("issuer", "directory_id", "client_id", "api_url")},
        client_secret=Secret("expired"),
    )
    with pytest.raises(PeerError, match="token endpoint answered"):
        await living.delta.read(wrong)


async def test_one_replica_leads_and_another_takes_over_when_it_is_gone(living: Living) -> None:
    world = living.world
    first, second = (
        Leader(world.database, world.committer, name="x", holder=h, clock=living.clock)
        for h in ("one", "two")
    )
    assert (await first.lead(), await second.lead(), await first.lead()) == (True, False, True)
    living.clock.advance(31)
    assert (await second.lead(), await first.lead()) == (True, False)
    await second.resign()
    assert await first.lead()


# --- turns: nobody waits for somebody else's API ------------------------------------------------


class Slow:
    """A provider's API that takes every request and answers none while the block lasts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._over = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers["Authorization"])
        await self._over.wait()
        return web.Response(status=503)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._answer)
        async with serving(app) as url:
            try:
                yield url
            finally:
                self._over.set()


async def reads(living: Living, provider: str) -> float:
    found = await living.cursors.progress()
    return max((p.read_at for p in found.get(("acme", provider), {}).values()), default=0.0)


async def test_apis_that_hang_delay_nobody_else(living: Living) -> None:
    slow = Slow()
    async with slow.serving() as url:
        okta = living.world.targets.by_key["acme", "acme-okta"]
        hanging = [
            replace(
                okta, tenant=f"slow-{n}", api_url=url, api_token=Secret(f"{n}"), groups_used=None
            )
            for n in range(6)
        ]
        living.world.targets.by_key = {**{t.key: t for t in hanging}, okta.key: okta}
        schedule = living.schedule(
            Places(ready=3, troubled=1, turn_s=0.05, limit_s=0.1), interval_s=0.05
        )
        async with schedule.running(), asyncio.timeout(240):
            last = 0.0
            for _ in range(4):
                living.clock.advance(1)
                while (at := await reads(living, "acme-okta")) <= last:  # noqa: ASYNC110 - what is waited for is a row
                    await asyncio.sleep(0.01)
                last = at
            while len(set(slow.asked)) < len(hanging):
                living.clock.advance(1)
                await asyncio.sleep(0.01)
            for part in range(2):
                begun = len(slow.asked)
                while len(slow.asked) < begun + len(hanging):
                    living.clock.advance(1)
                    await asyncio.sleep(0.01)
                    # Each of them has failed once by now: they stand behind one another, and leave
                    # the others' places alone.
                    assert (
                        part == 0
                        or sum(target.tenant.startswith("slow") for target in schedule.reading())
                        <= 1
                    )


async def test_one_tenant_has_one_place(living: Living) -> None:
    slow = Slow()
    async with slow.serving() as url:
        okta = living.world.targets.by_key["acme", "acme-okta"]
        both = [
            replace(
                okta, provider=f"okta-{n}", api_url=url, api_token=Secret(f"{n}"), groups_used=None
            )
            for n in range(3)
        ]
        living.world.targets.by_key = {t.key: t for t in both}
        schedule = living.schedule(
            Places(ready=8, troubled=8, turn_s=0.05, limit_s=0.2), interval_s=0.05
        )
        async with schedule.running(), asyncio.timeout(120):
            while len(set(slow.asked)) < len(both):
                living.clock.advance(1)
                assert len(schedule.reading()) <= 1
                await asyncio.sleep(0.01)


async def test_a_full_reading_goes_on_where_it_stopped_also_in_another_process(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One page in each turn, each turn a process of its own; whose cursor has expired meanwhile
    begins anew, once.
    """
    monkeypatch.setattr(graph_delta_of_the_demo, "PAGE", 2)
    directory, group = living.directory("globex-entra"), living.group("app-users", "globex-entra")
    for number in range(6):
        directory.add_person(f"p{number}@globex.test", name=f"P {number}", groups=("app-users",))
    await living.delta.read(living.entra)
    living.graph.subscriptions.outbox.switches.loss = 1.0
    await directory.remove_from_group(living.person("carol@globex.test"), group)
    await directory.delete(living.person("p5@globex.test"))
    living.clock.advance(8 * DAY_S)
    asked: list[str] = []

    async def to_its_end() -> None:
        for _ in range(40):
            process = living.restarted()
            called = process.delta._graph.call

            async def counted(
                target: HookTarget, method: str, url: str, *, body: Any = None, called: Any = called
            ) -> Any:
                asked.extend(["delta"] if "/delta" in url else [])
                return await called(target, method, url, body=body)

            monkeypatch.setattr(process.delta._graph, "call", counted)
            if (await process.delta.read(living.entra, until=0.0))[1]:
                return
        raise AssertionError("it never came to its end")

    pages = len(directory.people) // 2 + len(directory.groups) // 2 + 2
    await to_its_end()
    assert len(asked) <= pages + 4, "two tokens that were too old, and every page once"
    await living.world.settled()
    gone = next(person.id for person in directory.people.values() if person.deleted)
    assert living.refused() == {
        ("app-users", living.person("carol@globex.test").id),
        ("app-users", gone),
        ("block", gone),
    }
    asked.clear()
    living.clock.advance(8 * DAY_S)
    assert not (await living.restarted().delta.read(living.entra, until=0.0))[1]
    living.clock.advance(8 * DAY_S)
    await to_its_end()
    assert (await living.restarted().delta.read(living.entra)) == (0, True)
    async with living.world.database.read() as connection:
        resources = set((await connection.execute(select(directory_cursors.c.resource))).scalars())
    assert resources == {"users", "groups"}, "nothing is left of a reading that came to its end"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "90"}, 90),
        ({"X-Rate-Limit-Reset": "1767225640", "Date": "Thu, 01 Jan 2026 00:00:10 GMT"}, 30),
        ({}, 60),
        ({"Retry-After": "soon"}, 60),
        ({"Retry-After": "999999"}, 3600),
        ({"X-Rate-Limit-Reset": "1", "Date": "Thu, 01 Jan 2026 00:00:10 GMT"}, 1),
    ],
)
async def test_who_is_told_to_wait_does_not_ask_again_before(
    living: Living, headers: dict[str, str], seconds: int
) -> None:
    asked = 0

    async def refuse(_request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=429, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", refuse)
    async with serving(app) as url:
        okta = replace(living.world.targets.by_key["acme", "acme-okta"], api_url=url)
        living.world.targets.by_key = {okta.key: okta}
        for wait in (0, seconds - 2, max(2, INTERVAL_S - seconds + 3)):
            living.clock.advance(wait)
            await living.reconciliation.round()
        assert asked == 2
        # An admin process that starts meanwhile knows it, and so does whoever looks one person up
        # there.
        process = living.restarted()
        await process.reconciliation.round()
        with pytest.raises(UnavailableError, match="429"):
            await process.backfill.read(okta)
        assert asked == 2
        living.clock.advance(3600)
        await process.reconciliation.round()
        assert asked == 3


async def test_a_credential_that_was_throttled_is_left_alone_by_every_caller_and_a_reading_goes_on_where_it_stopped(  # noqa: E501 - a test's name is a sentence
    living: Living,
) -> None:
    okta, graph = (
        living.cloud.customers["acme-okta"].server.faults,
        living.cloud.customers["globex-entra"].server.faults,
    )
    await living.round()
    # What real ones answer; another provider with the same token shares its limit, and so do
    # look-ups.
    okta.once("logs", faults.throttled(reset_at=int(living.clock()) + 90))
    target = living.world.targets.by_key["acme", "acme-okta"]
    for one in (target, replace(target, provider="acme-other")):
        with pytest.raises(UnavailableError, match="429"):
            await living.backfill.read(one)
    assert okta.calls["logs"] == 2, "once in the round before, once to be told to wait"
    living.graph.subscriptions.outbox.switches.loss = 1.0
    graph.once("graph", faults.throttled(retry_after_s=90))
    before = graph.calls["graph"]
    with pytest.raises(UnavailableError, match="429"):
        await living.delta.read(living.entra)
    with pytest.raises(UnavailableError, match="429"):
        await living.subscriptions.account(living.entra, living.person("carol@globex.test").id)
    assert graph.calls["graph"] == before + 1
    living.clock.advance(91)
    assert (await living.delta.read(living.entra))[1]


async def test_with_reads_that_are_stale_events_that_are_late_and_calls_that_are_throttled_the_end_is_right(  # noqa: E501 - a test's name is a sentence
    living: Living,
) -> None:
    """Whoever was disabled or taken out is out, whoever was given back is in, as soon as the
    directories say so.
    """
    await living.okta.register(f"{living.world.url}/hooks/okta/acme/acme-okta", secret=SECRET)
    await living.round()
    graph, okta = living.graph.subscriptions.outbox, living.okta.outbox
    directory, group = living.directory("globex-entra"), living.group("app-users", "globex-entra")
    carol, bob = living.person("carol@globex.test"), living.person("bob@acme.test")

    async def comes_to(wanted: set[tuple[str, str]]) -> None:
        for outbox in (graph, okta):
            await outbox.idle()
        for _ in range(150):
            living.clock.advance(20)
            living.world.applier.wake()
            await living.reconciliation.round()
            await asyncio.sleep(0.02)
            if living.refused() == wanted and not (await living.world.inbox.backlog())[0]:
                break
        assert living.refused() == wanted

    for outbox in (graph, okta):
        outbox.switches.stale_s, outbox.switches.throttled, outbox.switches.duplicate = (
            45.0,
            3,
            True,
        )
    await directory.deactivate(carol)
    await directory.remove_from_group(carol, group)
    await living.directory("acme-okta").suspend(bob)
    await comes_to({("block", carol.id), ("app-users", carol.id), ("block", bob.id)})
    for outbox in (graph, okta):
        outbox.switches.throttled, outbox.switches.loss = 3, 1.0
    await directory.activate(carol)
    await directory.add_to_group(carol, group)
    await living.directory("acme-okta").unsuspend(bob)
    await comes_to(set())
    assert (graph.switches.throttled, okta.switches.throttled) == (0, 0), (
        "every one was met, and waited for"
    )
    for outbox in (graph, okta):
        outbox.switches.loss = 0.0
    await directory.remove_from_group(carol, group)
    await directory.add_to_group(carol, group)
    await directory.deactivate(carol)
    await comes_to({("block", carol.id)})


async def test_events_and_standings_of_a_reading_are_sealed_before_the_database_is_held_for_them(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    await living.round()
    living.graph.subscriptions.outbox.switches.loss = 1.0
    carol = living.person("carol@globex.test")
    await living.directory("globex-entra").remove_from_group(
        carol, living.group("app-users", "globex-entra")
    )
    database = living.world.database
    seal, write = Crypt.seal, database.write
    sealed: list[tuple[bool, str]] = []
    inside: ContextVar[bool] = ContextVar("inside", default=False)

    def noted(_: Crypt, text: Any, *, table: str, row: str, column: str) -> str:
        sealed.append((inside.get(), table))
        return seal(database.crypt, text, table=table, row=row, column=column)

    @contextlib.asynccontextmanager
    async def within(*arguments: Any, **more: Any) -> AsyncIterator[Any]:
        async with write(*arguments, **more) as connection:
            inside.set(True)
            try:
                yield connection
            finally:
                inside.set(False)

    monkeypatch.setattr(Crypt, "seal", noted)
    monkeypatch.setattr(database, "write", within)
    living.clock.advance(INTERVAL_S + 1)
    await living.round()
    assert living.refused() == {("app-users", carol.id)}
    assert {(False, "hook_inbox"), (False, "hook_standing")} <= set(sealed)
    assert {table for held, table in sealed if held} <= {"directory_cursors", "webhooks_outbox"}


async def test_an_address_outside_the_provider_is_not_followed(living: Living) -> None:
    graph = GraphClient(Fetch(living.world.http), clock=living.clock)
    with pytest.raises(PeerError, match="outside itself"):
        await graph.call(living.entra, "GET", "http://127.0.0.1:1/v1.0/users/delta?$skiptoken=x")
    with pytest.raises(UnavailableError):
        await Fetch(living.world.http).call("GET", "http://127.0.0.1:1/", headers={})
