"""What a tenant's app hears: signed, in order, again until taken, always the same id and body."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from sqlalchemy import delete, event, insert, update
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.core.hook_target import WebhookTarget
from gateway.core.model import Secret
from gateway.core.person import Person
from gateway.core.revocation import RevocationKind, RevocationRequest, RevocationStatus, Who
from gateway.database.crypt import Crypt
from gateway.database.reencrypt import reencrypt
from gateway.database.schema import hook_standing, revocations, webhooks_outbox
from gateway.hooks import operator_actions as by_hand_module
from gateway.hooks.operator_actions import ByHand
from gateway.hooks.sources.credential import client_state
from gateway.hooks.webhooks import outbox as webhooks
from gateway.hooks.webhooks.messages import OutboxRecords
from gateway.hooks.webhooks.outbox import Outbox
from gateway.revocation.api import LIFT, Recorded
from gateway.revocation.records import SqlRevocations
from gateway.tenants.api import Rejected
from tests.hooks.samples import load, okta_delivery, okta_event
from tests.hooks.world import GLOBEX_SECRET, hooks_world, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from gateway.database.engine import Database
    from tests.hooks.world import World

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


class App:
    """A tenant's app that answers from a list, then 204."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.sent_on: list[bytes] = []

    async def receive(self, request: web.Request) -> web.Response:
        self.requests.append(
            ({k.lower(): v for k, v in request.headers.items()}, await request.read())
        )
        status = self.answers.pop(0) if self.answers else 204
        return web.Response(
            status=status, headers={"Location": "/elsewhere"} if status in {302, 307} else None
        )

    async def elsewhere(self, request: web.Request) -> web.Response:
        self.sent_on.append(await request.read())
        return web.Response(status=204)

    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(b) for _, b in self.requests]


def verify(secret: bytes, headers: dict[str, str], body: bytes) -> bool:
    """The verification of docs/user/webhooks.md, in its own words."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return any(
        hmac.compare_digest(wanted, given) for given in headers["webhook-signature"].split(" ")
    )


@pytest.mark.parametrize("turns", range(8))
async def test_news_in_the_moment_of_ending_do_not_keep_it_from_ending(
    database: Database, http: aiohttp.ClientSession, turns: int
) -> None:
    async with hooks_world(database, http, applying=False) as found:

        async def begin_and_end() -> None:
            async with found.outbox.running():
                while not found.outbox._wake._waiters:  # noqa: ASYNC110 - nothing else tells that it waits
                    await asyncio.sleep(0)
                found.outbox.wake()
                for _ in range(turns):
                    await asyncio.sleep(0)

        ended, going_on = await asyncio.wait({asyncio.create_task(begin_and_end())}, timeout=20)
        for task in going_on:
            task.cancel()
        assert ended


@pytest.fixture
async def app(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[App]:
    found = App()
    server = web.Application()
    server.add_routes(
        [web.post("/hooks", found.receive), web.route("*", "/elsewhere", found.elsewhere)]
    )
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.0, 0.0, 0.0, 0.0))
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(server))
        world.targets.webhooks["acme"] = WebhookTarget(
            "acme", f"{url}/hooks", (Secret(SECRET), Secret("the-secret-before"))
        )
        yield found


async def drained(world: World, app: App, count: int) -> None:
    await world.settled()
    await world.until(lambda: len(app.requests) >= count)
    await world.until(lambda: True)


async def test_the_app_hears_who_left_and_who_is_back_with_every_name_it_may_know(
    world: World, app: App
) -> None:
    world.people.people.append(
        (
            "acme",
            "acme-okta",
            {"idp_subject": "00ufh433fil4JtjEw4x7"},
            Person("cognito-sub", "luca@acme.com", "00ufh433fil4JtjEw4x7", "oid-1"),
        )
    )
    await world.okta(
        okta_delivery(
            okta_event("user.lifecycle.deactivate", published="2026-01-01T00:00:00Z"), event_id="a"
        )
    )
    await drained(world, app, 1)
    await world.okta(
        okta_delivery(
            okta_event("user.lifecycle.activate", uuid="b", published="2026-01-01T00:00:09Z"),
            event_id="b",
        )
    )
    await drained(world, app, 2)
    left, back = app.documents()
    assert (left["type"], back["type"]) == ("user.deprovisioned", "user.restored")
    assert left["data"]["subject"] == {
        "idp_subject": "00ufh433fil4JtjEw4x7",
        "oid": "",
        "email": "luca@acme.com",
    }
    assert left["data"]["users"] == [
        {
            "user": "cognito-sub",
            "email": "luca@acme.com",
            "idp_subject": "00ufh433fil4JtjEw4x7",
            "oid": "oid-1",
        }
    ]
    assert left["data"]["revocation"]
    for headers, body in app.requests:
        assert verify(base64.b64decode(SECRET.removeprefix("whsec_")), headers, body)
        assert verify(b"the-secret-before", headers, body)
        assert not verify(b"another", headers, body)
        # The library of Standard Webhooks itself, which most applications use.
        for secret in (SECRET, b"the-secret-before"):
            assert Webhook(secret).verify(body, headers) == json.loads(body)
        for wrong, changed in (("whsec_" + "a" * 32, body), (SECRET, body + b" ")):
            with pytest.raises(WebhookVerificationError):
                Webhook(wrong).verify(changed, headers)


async def test_it_is_sent_again_under_the_same_id_and_body_until_taken(
    world: World, app: App
) -> None:
    app.answers = [500, 302, 307, 204]
    await world.okta(okta_delivery(okta_event("user.lifecycle.suspend")))
    await drained(world, app, 4)
    assert app.sent_on == [], "an address that the guard has not seen"
    assert len({(h["webhook-id"], b) for h, b in app.requests}) == 1


async def test_one_persons_messages_keep_their_order_while_others_pass(
    world: World, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.3, 0.0, 0.0))
    app.answers = [503]
    await world.okta(
        okta_delivery(okta_event("user.lifecycle.suspend", uuid="a", user="00uA"), event_id="a")
    )
    await drained(world, app, 1)
    await world.okta(
        okta_delivery(
            okta_event(
                "user.lifecycle.unsuspend", uuid="b", user="00uA", published="2026-01-01T00:01:00Z"
            ),
            event_id="b",
        )
    )
    await world.okta(
        okta_delivery(okta_event("user.lifecycle.suspend", uuid="c", user="00uC"), event_id="c")
    )
    await drained(world, app, 4)
    of_a = [d["type"] for d in app.documents() if d["data"]["subject"]["idp_subject"] == "00uA"]
    assert of_a == ["user.deprovisioned", "user.deprovisioned", "user.restored"]


async def test_given_up_it_is_kept_and_can_be_sent_again(world: World, app: App) -> None:
    app.answers = [500] * 5
    await world.okta(okta_delivery(okta_event("user.lifecycle.suspend")))
    await drained(world, app, 5)
    async with asyncio.timeout(20):
        while [state for _, state, _ in await world.messages()] != ["failed"]:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)
    records = OutboxRecords(
        world.database, world.committer, clock=world.clock, wake=world.outbox.wake
    )
    [message] = (await records.page(tenant="acme", state="failed", position=None, limit=10)).items
    assert (message.id, message.event, message.attempts, message.error) == (
        app.requests[0][0]["webhook-id"],
        "user.deprovisioned",
        5,
        "answered 500",
    )
    assert (await records.page(tenant="globex", state=None, position=None, limit=10)).items == []
    said = await records.said(message.id)
    assert said is not None
    assert (said["type"], said["data"]["tenant"]) == ("user.deprovisioned", "acme")
    assert said["data"]["subject"]["email"].startswith("…@")
    replayed = await records.replay(message.id)
    assert not isinstance(replayed, Rejected)
    await world.until(lambda: len(app.requests) == 6)
    assert {(h["webhook-id"], b) for h, b in app.requests} == {(message.id, app.requests[0][1])}
    assert isinstance(await records.replay("msg_nobody"), Rejected)


async def test_what_the_app_took_and_lost_can_be_sent_again(world: World, app: App) -> None:
    await world.okta(okta_delivery(okta_event("user.lifecycle.suspend")))
    await drained(world, app, 1)
    records = OutboxRecords(
        world.database, world.committer, clock=world.clock, wake=world.outbox.wake
    )
    [message] = (await records.page(tenant=None, state=None, position=None, limit=10)).items
    while isinstance(await records.replay(message.id), Rejected):
        await world.until(lambda: True)  # it is still being settled
    await world.until(lambda: len(app.requests) == 2)
    assert app.requests[0][1] == app.requests[1][1]
    assert app.requests[0][0]["webhook-id"] == app.requests[1][0]["webhook-id"]


async def test_ending_at_the_very_moment_of_waking_ends(world: World) -> None:
    async with asyncio.timeout(20):
        for turns in range(12):
            outbox = Outbox(
                world.database,
                world.committer,
                targets=world.targets,
                http=world.http,
                clock=world.clock,
            )
            async with outbox.running():
                await world.settled()
                for _ in range(turns * 40):
                    await asyncio.sleep(0)
                outbox.wake()


async def test_messages_are_claimed_together_and_by_one_process_alone(
    database: Database, http: aiohttp.ClientSession
) -> None:
    async with hooks_world(database, http, applying=False) as world:
        waiting = [f"m{number}" for number in range(20)]
        async with database.write() as connection:
            for number, name in enumerate(waiting):
                sealed = database.crypt.seal(
                    "{}", table="webhooks_outbox", row=name, column="payload"
                )
                await connection.execute(
                    insert(webhooks_outbox).values(
                        id=name,
                        tenant=f"t{number % 5}",
                        lane=name,
                        event="x",
                        created_at=0.0,
                        state="new",
                        next_at=0.0,
                        payload=sealed,
                    )
                )
        said: list[str] = []
        engine = database._engine.sync_engine

        @event.listens_for(engine, "before_cursor_execute")
        def _said(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            said.append(statement.split(maxsplit=1)[0])

        try:
            # Both read before either has written.
            one, other = await asyncio.gather(*(world.outbox._claim(32, {}) for _ in range(2)))
        finally:
            event.remove(engine, "before_cursor_execute", _said)
    assert sorted(message.id for message in (*one, *other)) == sorted(waiting)
    assert said.count("UPDATE") <= 2
    assert said.count("SELECT") <= 4


async def test_pages_of_messages_follow_one_another(world: World, app: App) -> None:
    for n in range(5):
        await world.okta(
            okta_delivery(
                okta_event("user.lifecycle.suspend", uuid=f"u{n}", user=f"00u{n}"), event_id=f"e{n}"
            )
        )
    await drained(world, app, 5)
    records = OutboxRecords(
        world.database, world.committer, clock=world.clock, wake=world.outbox.wake
    )
    first = await records.page(tenant="acme", state=None, position=None, limit=3)
    second = await records.page(tenant="acme", state=None, position=first.position, limit=3)
    assert len({m.id for m in (*first.items, *second.items)}) == 5
    assert second.position is None


async def test_who_graph_names_by_id_is_told_with_the_address_that_the_directory_knows(
    world: World, app: App
) -> None:
    world.targets.webhooks["globex"] = world.targets.webhooks["acme"]
    state = client_state(Secret(GLOBEX_SECRET), tenant="globex", provider="globex-entra")
    document = json.loads(
        json.dumps(load("graph_group_member_removed.json")).replace('"STATE"', json.dumps(state))
    )
    world.directory.emails["b6f0c1f0-0f6e-4d7a-8d50-2f0e1d6a7b11"] = "carol@globex.com"
    assert (await world.post("/hooks/entra/globex/globex-entra", json=document))[0] == 202
    await drained(world, app, 1)
    assert app.documents()[0]["data"]["subject"]["email"] == "carol@globex.com"
    assert all(r.who.email is None for _, r in world.revoker.calls)


async def test_events_without_a_change_for_the_app_send_nothing(world: World, app: App) -> None:
    await world.okta(
        okta_delivery(
            okta_event("user.session.end"), okta_event("user.lifecycle.activate", uuid="b")
        )
    )
    await world.settled()
    assert await world.messages() == []


async def test_what_of_one_tenant_cannot_be_told_keeps_nobody_elses_news(
    database: Database,
    http: aiohttp.ClientSession,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was done by hand, before others' blocks: something of which the record does not open,
    and a lift about a standing that does not.
    """
    async with hooks_world(database, http, applying=False) as world:
        record, who = SqlRevocations(database), Who(user="u-1")
        world.targets.webhooks = {
            tenant: WebhookTarget(tenant, "http://127.0.0.1:1", (Secret(SECRET),))
            for tenant in ("initech", "acme", "globex")
        }
        monkeypatch.setattr(by_hand_module, "AT_ONCE", 1)
        other = Who(user="u-2")
        for number, (tenant, whom, kind) in enumerate(
            [
                ("initech", who, "block"),
                ("acme", who, LIFT),
                ("globex", who, "block"),
                ("acme", who, "block"),
                ("acme", other, "block"),
            ]
        ):
            request = RevocationRequest(tenant, whom, RevocationKind.BLOCK, "", "cli", by_hand=True)
            async with record.change(tenant, ["a"]) as change:
                done = Recorded(
                    RevocationStatus(f"r{number}", request, 10.0 + number, 1.0, (), 1.0, 0),
                    kind,
                    7,
                    10.0 + number,
                )
                await change.revocation(done, to_tell=True)
        async with database.write() as connection:
            await connection.execute(
                update(revocations)
                .where(revocations.c.tenant == "initech")
                .values(request="k0.AAAA")
            )
            values = {
                "source": "okta",
                "provider": "acme-okta",
                "refused": 1,
                "in_force": 1,
                "at": 5.0,
                "imposed": "k0.AAAA",
                "updated_at": 5.0,
            }
            await connection.execute(
                insert(hook_standing).values(lane="l", about="", id="s", tenant="acme", **values)
            )
        by_hand = ByHand(
            record,
            world.committer,
            world.inbox,
            world.outbox,
            targets=world.targets,
            people=None,
            stored=world.applier.wake,
            clock=world.clock,
        )
        assert await by_hand.round() == 2
        assert [event for event, _, _ in await world.messages()] == ["user.deprovisioned"] * 2, (
            "globex's, and acme's of somebody else"
        )
        async with database.write() as connection:
            await connection.execute(delete(hook_standing))
        assert await by_hand.round() == 0
        assert [one.message for one in caplog.records] == ["by_hand_fault"] * 2, "not each second"
        world.clock.ahead += by_hand_module.AGAIN_S + 1
        assert await by_hand.round() == 2
        assert [event for event, _, _ in await world.messages()] == [
            *["user.deprovisioned"] * 2,
            "user.restored",
            "user.deprovisioned",
        ], "kept, and in the order in which it was done"
        async with database.write() as connection:
            await connection.execute(
                update(webhooks_outbox)
                .where(webhooks_outbox.c.tenant == "globex")
                .values(payload="k0.AAAA")
            )
        assert {message.tenant for message in await world.outbox._claim(10, {})} == {"acme"}


def test_a_secret_may_be_any_text_or_the_standards_form() -> None:
    assert webhooks.signing_key(Secret(SECRET)) == b"0123456789abcdef01234567"
    assert webhooks.signing_key(Secret("plain")) == b"plain"
    assert webhooks.signing_key(Secret("whsec_not base64!")) == b"whsec_not base64!"


def test_signature_is_the_one_of_the_standard() -> None:
    # The example of the Standard Webhooks specification's reference libraries.
    secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    value = webhooks.signature(
        (secret,),
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body='{"test": 2432232314}',
    )
    assert value == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_what_arrived_and_what_is_to_be_sent_is_encrypted_again_with_a_new_key(
    world: World, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As their writers wrote it: a cell opens only by the name that it was sealed for."""
    await world.okta(okta_delivery(okta_event("user.lifecycle.suspend")))
    await drained(world, app, 1)
    check = await world.database.check_keys()
    assert check.problem == ""
    assert check.cells >= 4
    monkeypatch.setattr(Crypt, "is_current", lambda *_: False)
    assert await reencrypt(world.database) >= check.cells / 2
    assert (await world.database.check_keys()).problem == ""
