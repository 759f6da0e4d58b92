"""What the stand-in IdPs send, as the gateway's parsers read it: two readings of the vendors'
documents that must agree.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from aiohttp import web

from demo.clock import MovableClock
from demo.cloud import GLOBEX_TENANT_ID, DemoCloud
from demo.idp.graph_time import graph_time
from demo.idp.okta_universal_logout import LogoutEndpoint
from demo.net import bind, serve
from gateway.core.model import Secret
from gateway.hooks.event import Effect
from gateway.hooks.sources import entra, okta, universal_logout
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo.idp.directory import Person as Account
    from gateway.hooks.event import Delivery


class Inbox:
    """Keeps raw bodies and headers by path, and answers both handshakes with the gateway's own
    code.
    """

    def __init__(self) -> None:
        self.url = ""
        self.received: list[tuple[dict[str, str], bytes]] = []

    async def take(self, request: web.Request) -> web.Response:
        if challenge := request.headers.get("x-okta-verification-challenge"):
            return web.json_response(okta.verification(challenge))
        if token := request.query.get("validationToken"):
            return web.Response(text=entra.handshake(token), content_type="text/plain")
        self.received.append((dict(request.headers), await request.read()))
        return web.Response(status=202)


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    bound, inbox = bind(), Inbox()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", inbox.take)
    runner = await serve(app, bound)
    inbox.url = bound.url()
    yield inbox
    await runner.cleanup()


@pytest.fixture
async def cloud() -> AsyncIterator[DemoCloud]:
    async with DemoCloud(clock=MovableClock(), new_key=spare_keys()) as started:
        yield started


def account(cloud: DemoCloud, customer: str, email: str) -> Account:
    found = cloud.customers[customer].server.directory.by_email(email)
    assert found is not None
    return found


async def test_every_click_in_the_okta_like_console_is_understood(
    cloud: DemoCloud, inbox: Inbox
) -> None:
    customer, bob = cloud.customers["acme-okta"], account(cloud, "acme-okta", "bob@acme.test")
    assert customer.okta is not None
    directory, group = customer.server.directory, customer.server.directory.add_group("app-users")
    assert (await customer.okta.register(inbox.url, secret="s3cret")).verified
    clicks: list[tuple[Any, Effect]] = [
        (directory.remove_from_group(bob, group), Effect.GROUP_REMOVED),
        (directory.add_to_group(bob, group), Effect.GROUP_ADDED),
        (directory.suspend(bob), Effect.BLOCK),
        (directory.unsuspend(bob), Effect.LIFT),
        (directory.deactivate(bob), Effect.BLOCK),
        (directory.activate(bob), Effect.LIFT),
        (directory.clear_sessions(bob), Effect.END_SESSIONS),
        (directory.signed_out(bob), Effect.END_SESSIONS),
        (directory.delete(bob), Effect.BLOCK),
        (directory.delete_group(group), Effect.GROUP_DELETED),
    ]
    for click, effect in clicks:
        inbox.received.clear()
        await click
        await customer.okta.outbox.idle()
        delivery = okta.parse_delivery(inbox.received[0][1])
        assert (delivery.skipped, [event.effect for event in delivery.events]) == ((), [effect])
        subject = delivery.events[0].subject
        assert subject is None or (subject.idp_subject, subject.email) == (bob.id, "bob@acme.test")
    logged = okta.log_entries(customer.okta.log.events)
    assert logged.skipped == () and len(logged.events) == len(clicks)


def read(inbox: Inbox) -> Delivery:
    return entra.parse_delivery(
        inbox.received[-1][1], client_states=[Secret("s3cret")], directory_id=GLOBEX_TENANT_ID
    )


async def test_every_click_in_the_entra_like_console_is_understood(
    cloud: DemoCloud, inbox: Inbox
) -> None:
    customer, carol = (
        cloud.customers["globex-entra"],
        account(cloud, "globex-entra", "carol@globex.test"),
    )
    assert customer.graph is not None
    directory, group = customer.server.directory, customer.server.directory.add_group("app-users")
    subscriptions = customer.graph.subscriptions
    for resource in ("users", "groups"):
        wanted = {
            "changeType": "updated,deleted",
            "resource": resource,
            "notificationUrl": inbox.url,
            "lifecycleNotificationUrl": f"{inbox.url}/lifecycle",
            "expirationDateTime": graph_time(cloud.clock() + 3600),
            "clientState": "s3cret",
        }
        created = await subscriptions.create(customer.app.client_id, wanted)
    for click, effect in (
        (directory.remove_from_group(carol, group), Effect.GROUP_REMOVED),
        (directory.add_to_group(carol, group), Effect.LOOK_UP_MEMBERSHIP),
    ):
        await click
        await subscriptions.outbox.idle()
        delivery = read(inbox)
        assert delivery.skipped == ()
        event = delivery.events[0]
        assert event.effect is effect and event.group is not None and event.subject is not None
        assert (event.group.id, event.subject.oid) == (group.id, carol.id)
    for click in (
        directory.suspend(carol),
        directory.unsuspend(carol),
        directory.delete(carol),
        directory.delete(carol),
    ):
        await click
        await subscriptions.outbox.idle()
        delivery = read(inbox)
        subject = delivery.events[0].subject
        assert delivery.skipped == () and subject is not None and subject.oid == carol.id
    subscriptions.require_reauthorization(created)
    await subscriptions.outbox.idle()
    lifecycle = entra.parse_lifecycle(
        inbox.received[-1][1], client_states=[Secret("s3cret")], directory_id=GLOBEX_TENANT_ID
    )
    assert lifecycle.skipped == () and len(lifecycle.events) == 1


@pytest.mark.parametrize("subject", ["iss_sub", "email"])
async def test_universal_logout_is_understood(cloud: DemoCloud, inbox: Inbox, subject: Any) -> None:
    customer, bob = cloud.customers["acme-okta"], account(cloud, "acme-okta", "bob@acme.test")
    assert customer.okta is not None
    endpoint = f"{inbox.url}/hooks/universal-logout/acme/acme-okta"
    customer.okta.universal_logout.endpoints.append(LogoutEndpoint(endpoint, "client-1", subject))
    await customer.server.directory.clear_sessions(bob)
    await customer.okta.outbox.idle()
    headers, body = inbox.received[0]
    delivery = universal_logout.parse_delivery(
        body,
        token=headers["Authorization"].removeprefix("Bearer "),
        keys=jwt.PyJWKSet.from_dict({"keys": [customer.server.key.public_jwk()]}),
        issuers=frozenset({customer.issuer}),
        endpoint=endpoint,
        client_id="client-1",
        now=cloud.clock(),
    )
    named = delivery.events[0].subject
    assert delivery.events[0].effect is Effect.END_SESSIONS and named is not None
    assert (
        (named.idp_subject == bob.id) if subject == "iss_sub" else (named.email == "bob@acme.test")
    )
    assert json.loads(body)["sub_id"]["format"] == subject
