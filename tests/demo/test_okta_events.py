"""Okta's events as they leave the org: hooks, their verification, retries and losses, and the
System Log (facts §4).
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from demo.net import bind, client_session, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo.clock import MovableClock
    from demo.cloud import Customer, DemoCloud
    from demo.idp.directory import Person as Account
    from demo.idp.okta_events import EventHook, OktaEvents


@dataclass
class Receiver:
    """A hook's receiver; answers with the statuses it is told, then 204."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    received: list[tuple[dict[str, str], Any]] = field(default_factory=list)
    echo: bool = True
    slow: asyncio.Event | None = None

    async def verify(self, request: web.Request) -> web.Response:
        challenge = request.headers["x-okta-verification-challenge"]
        return web.json_response({"verification": challenge if self.echo else "no"})

    async def take(self, request: web.Request) -> web.Response:
        self.received.append((dict(request.headers), await request.json()))
        if self.slow is not None:
            await self.slow.wait()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)

    def events(self) -> list[dict[str, Any]]:
        return [event for _, body in self.received for event in body["data"]["events"]]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    bound, receiver = bind(), Receiver()
    app = web.Application()
    app.router.add_get("/hook", receiver.verify)
    app.router.add_post("/hook", receiver.take)
    runner = await serve(app, bound)
    receiver.url = bound.url() + "/hook"
    yield receiver
    await runner.cleanup()


@pytest.fixture
def okta(cloud: DemoCloud) -> Customer:
    return cloud.customers["acme-okta"]


@pytest.fixture
def events(okta: Customer) -> OktaEvents:
    assert okta.okta is not None
    return okta.okta


@pytest.fixture
def bob(okta: Customer) -> Account:
    found = okta.server.directory.by_email("bob@acme.test")
    assert found is not None
    return found


@pytest.fixture
async def hook(events: OktaEvents, receiver: Receiver) -> EventHook:
    registered = await events.register(receiver.url, secret="s3cret")
    assert registered.verified
    return registered


async def test_removal_from_a_group_arrives_in_oktas_shape(
    okta: Customer, events: OktaEvents, hook: EventHook, receiver: Receiver, bob: Account
) -> None:
    group = okta.server.directory.add_group("app-users")
    await okta.server.directory.remove_from_group(bob, group)
    await events.outbox.idle()
    headers, body = receiver.received[0]
    assert headers["Authorization"] == "s3cret" and headers["Content-Type"] == "application/json"
    assert {
        name: body[name]
        for name in ("eventType", "eventTypeVersion", "cloudEventsVersion", "contentType")
    } == {
        "eventType": "com.okta.event_hook",
        "eventTypeVersion": "1.0",
        "cloudEventsVersion": "0.1",
        "contentType": "application/json",
    }
    assert body[
        "source"
    ] == f"{okta.server.origin}/api/v1/eventHooks/{hook.id}" and hook.id.startswith("who")
    event = body["data"]["events"][0]
    assert event["eventType"] == "group.user_membership.remove" and event["outcome"] == {
        "result": "SUCCESS",
        "reason": None,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["published"])
    assert [
        (target["type"], target["id"], target["alternateId"], target["displayName"])
        for target in event["target"]
    ] == [
        ("User", bob.id, "bob@acme.test", "Bob Brown"),
        ("UserGroup", group.id, "unknown", "app-users"),
    ]


async def test_each_change_of_a_person_has_oktas_event_type(
    okta: Customer, events: OktaEvents, hook: EventHook, receiver: Receiver, bob: Account
) -> None:
    directory = okta.server.directory
    for change in (
        directory.suspend,
        directory.unsuspend,
        directory.deactivate,
        directory.activate,
        directory.clear_sessions,
        directory.signed_out,
    ):
        await change(bob)
        await events.outbox.idle()
    await directory.delete(bob)
    await directory.delete(bob)
    await directory.delete_group(directory.add_group("admins"))
    await events.outbox.idle()
    sent = [event["eventType"] for event in receiver.events()]
    assert sorted(sent) == sorted(
        [
            "user.lifecycle.suspend",
            "user.lifecycle.unsuspend",
            "user.lifecycle.deactivate",
            "user.lifecycle.activate",
            "user.session.clear",
            "user.session.end",
            "user.lifecycle.delete.initiated",
            "group.lifecycle.delete",
        ]
    ), "delete.completed is not eligible for hooks"
    ended = next(event for event in receiver.events() if event["eventType"] == "user.session.end")
    assert ended["actor"]["id"] == bob.id and ended["target"] == []
    assert events.log.events[-2]["eventType"] == "user.lifecycle.delete.completed"


async def test_hook_that_does_not_echo_the_challenge_hears_nothing(
    okta: Customer, events: OktaEvents, receiver: Receiver, bob: Account
) -> None:
    receiver.echo = False
    hook = await events.register(receiver.url, secret="s3cret")
    await okta.server.directory.suspend(bob)
    await events.outbox.idle()
    assert not hook.verified and receiver.received == []


async def test_hook_hears_the_types_it_was_made_for(
    okta: Customer, events: OktaEvents, receiver: Receiver, bob: Account
) -> None:
    await events.register(
        receiver.url, secret="s", header="X-Secret", types=frozenset({"user.lifecycle.suspend"})
    )
    await okta.server.directory.suspend(bob)
    await okta.server.directory.unsuspend(bob)
    await events.outbox.idle()
    assert [event["eventType"] for event in receiver.events()] == ["user.lifecycle.suspend"]
    assert receiver.received[0][0]["X-Secret"] == "s"


@pytest.mark.parametrize(
    ("statuses", "attempts"), [([500], 2), ([500, 500], 2), ([400], 1), ([204], 1)]
)
async def test_retry_once_on_server_errors_and_never_on_4xx(
    okta: Customer,
    events: OktaEvents,
    hook: EventHook,
    receiver: Receiver,
    bob: Account,
    statuses: list[int],
    attempts: int,
) -> None:
    receiver.statuses = statuses
    await okta.server.directory.suspend(bob)
    await events.outbox.idle()
    assert len(receiver.received) == attempts == len(events.outbox.sent)
    bodies = [json.dumps(body) for _, body in receiver.received]
    assert len(set(bodies)) == 1, "a retry repeats the envelope"


async def test_receiver_that_is_too_slow_is_given_up(
    okta: Customer,
    events: OktaEvents,
    hook: EventHook,
    receiver: Receiver,
    bob: Account,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receiver.slow = asyncio.Event()
    impatient = type(events.outbox._retry)(0.05, (0.0,), lambda status: status == 0)
    monkeypatch.setattr(events.outbox, "_retry", impatient)
    await okta.server.directory.suspend(bob)
    await events.outbox.idle()
    receiver.slow.set()
    assert [sent.status for sent in events.outbox.sent] == [0, 0]


async def test_events_are_lost_duplicated_delayed_and_reordered_on_demand(
    okta: Customer, events: OktaEvents, hook: EventHook, receiver: Receiver, bob: Account
) -> None:
    directory, switches = okta.server.directory, events.outbox.switches
    switches.loss = 1.0
    await directory.suspend(bob)
    assert events.outbox.lost == ["user.lifecycle.suspend"]
    switches.loss, switches.duplicate = 0.0, True
    await directory.unsuspend(bob)
    await events.outbox.idle()
    first, second = (body for _, body in receiver.received)
    assert (
        first["eventId"] != second["eventId"]
        and first["data"]["events"] == second["data"]["events"]
    )
    receiver.received.clear()
    switches.duplicate, switches.reorder = False, True
    await directory.deactivate(bob)
    await events.outbox.idle()
    assert receiver.received == []
    await directory.activate(bob)
    await events.outbox.idle()
    assert [event["eventType"] for event in receiver.events()] == [
        "user.lifecycle.activate",
        "user.lifecycle.deactivate",
    ]
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    switches.reorder, switches.delay_s, events.outbox._sleep = False, 7.0, sleep
    await directory.suspend(bob)
    await events.outbox.idle()
    assert waited == [7.0]
    assert len(events.log.events) == 5, "the System Log misses nothing"


async def test_batch_is_one_envelope(
    events: OktaEvents, hook: EventHook, receiver: Receiver, okta: Customer, bob: Account
) -> None:
    await okta.server.directory.suspend(bob)
    await events.outbox.idle()
    receiver.received.clear()
    events.send_batch(hook, events.log.events * 3)
    await events.outbox.idle()
    assert len(receiver.received) == 1 and len(receiver.events()) == 3


# -- System Log


async def read(
    events: OktaEvents, url: str, token: str | None = None
) -> tuple[int, Any, dict[str, str]]:
    """Status, body and links by relation."""
    headers = {"Authorization": f"SSWS {token or events.log.api_token}"}
    async with client_session() as http, http.get(url, headers=headers) as response:
        links = {
            rel: target
            for target, rel in re.findall(
                r'<([^>]+)>; rel="(\w+)"', ", ".join(response.headers.getall("Link", []))
            )
        }
        return response.status, await response.json(), links


async def test_log_is_read_page_by_page_and_polled_from_its_end(
    okta: Customer, events: OktaEvents, bob: Account
) -> None:
    directory = okta.server.directory
    for _ in range(3):
        await directory.suspend(bob)
        await directory.unsuspend(bob)
    base = f"{okta.server.origin}/api/v1/logs"
    status, first, links = await read(events, f"{base}?limit=4")
    assert status == 200 and len(first) == 4
    _, second, links = await read(events, links["next"])
    assert [event["uuid"] for event in first + second] == [
        event["uuid"] for event in events.log.events
    ]
    _, nothing, links = await read(events, links["next"])
    assert nothing == [] and "next" in links, "a query without until is for polling"
    await directory.deactivate(bob)
    assert [event["eventType"] for event in (await read(events, links["next"]))[1]] == [
        "user.lifecycle.deactivate"
    ]


async def test_log_is_filtered_and_bounded(
    okta: Customer, events: OktaEvents, bob: Account, clock: MovableClock
) -> None:
    directory = okta.server.directory
    await directory.suspend(bob)
    clock.advance(3600)
    await directory.unsuspend(bob)
    await directory.deactivate(bob)
    early, late = events.log.events[0]["published"], events.log.events[1]["published"]
    base = f"{okta.server.origin}/api/v1/logs"
    _, found, links = await read(events, f"{base}?since={early}&until={late}")
    assert [event["eventType"] for event in found] == [
        "user.lifecycle.suspend"
    ] and "next" not in links
    wanted = 'eventType eq "user.lifecycle.deactivate" or eventType eq "user.lifecycle.suspend"'
    _, found, _ = await read(events, f"{base}?filter={wanted}&sortOrder=DESCENDING")
    assert [event["eventType"] for event in found] == [
        "user.lifecycle.deactivate",
        "user.lifecycle.suspend",
    ]
    clock.advance(7 * 86400 + 10)
    assert (await read(events, base))[1] == [], "without since it is the last week"


async def test_log_refuses_strangers_and_nonsense(okta: Customer, events: OktaEvents) -> None:
    base = f"{okta.server.origin}/api/v1/logs"
    status, body, _ = await read(events, base, token="wrong")
    assert (status, body["errorCode"]) == (401, "E0000011")
    for nonsense in ("limit=0", "limit=1001", "since=yesterday", "filter=x", "sortOrder=UP"):
        assert (await read(events, f"{base}?{nonsense}"))[0] == 400
