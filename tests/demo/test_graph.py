"""The Entra-like tenant's Graph: token, handshakes, notifications, deltas (facts §5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from demo import faults
from demo.cloud import GLOBEX_TENANT_ID
from demo.idp.graph import SCOPE, Graph
from demo.idp.graph_subscriptions import MAX_LIFETIME_MINUTES
from demo.idp.graph_time import epoch, graph_time
from demo.net import bind, client_session, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo.clock import MovableClock
    from demo.cloud import Customer, DemoCloud
    from demo.idp.directory import Person as Account

DAY_S = 86400


@dataclass
class Receiver:
    """A notification endpoint; answers handshakes as told, and notifications with the statuses it
    is given, then 202.
    """

    url: str = ""
    content_type: str = "text/plain"
    echo: bool = True
    statuses: list[int] = field(default_factory=list)
    handshakes: int = 0
    received: list[dict[str, Any]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        if "validationToken" in request.query:
            self.handshakes += 1
            text = request.query["validationToken"] if self.echo else "no"
            return web.Response(text=text, content_type=self.content_type)
        self.received += (await request.json())["value"]
        return web.Response(status=self.statuses.pop(0) if self.statuses else 202)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    bound, receiver = bind(), Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.take)
    runner = await serve(app, bound)
    receiver.url = bound.url("gateway.localhost")
    yield receiver
    await runner.cleanup()


@pytest.fixture
def entra(cloud: DemoCloud) -> Customer:
    return cloud.customers["globex-entra"]


@pytest.fixture
def graph(entra: Customer) -> Graph:
    assert entra.graph is not None
    return entra.graph


@pytest.fixture
def carol(entra: Customer) -> Account:
    found = entra.server.directory.by_email("carol@globex.test")
    assert found is not None
    return found


@dataclass
class Caller:
    """An application with a token."""

    graph: Graph
    customer: Customer
    token: str = ""

    async def authenticate(self, **changes: str) -> tuple[int, Any]:
        app = self.customer.app
        form = {
            "grant_type": "client_credentials",
            "client_id": app.client_id,
            "client_secret": app.client_secret,
            "scope": SCOPE,
            **changes,
        }
        url = f"{self.customer.server.origin}/{GLOBEX_TENANT_ID}/oauth2/v2.0/token"
        async with client_session() as http, http.post(url, data=form) as response:
            body = await response.json()
        self.token = body.get("access_token", self.token)
        return response.status, body

    async def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        url = path if path.startswith("http") else self.graph.url + path
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            client_session() as http,
            http.request(method, url, json=body, headers=headers) as response,
        ):
            return (
                response.status,
                await response.json() if response.content_type == "application/json" else None,
            )


@pytest.fixture
async def call(graph: Graph, entra: Customer) -> Caller:
    caller = Caller(graph, entra)
    status, body = await caller.authenticate()
    assert (status, body["token_type"]) == (200, "Bearer")
    return caller


def wanted(
    receiver: Receiver, clock: MovableClock, resource: str = "groups", **changes: Any
) -> dict[str, Any]:
    return {
        "changeType": "updated,deleted",
        "resource": resource,
        "notificationUrl": f"{receiver.url}/hooks/entra/globex/globex-entra",
        "lifecycleNotificationUrl": f"{receiver.url}/hooks/entra/globex/globex-entra/lifecycle",
        "expirationDateTime": graph_time(clock() + 3 * DAY_S),
        "clientState": "s3cret",
        "latestSupportedTlsVersion": "v1_2",
        **changes,
    }


# -- token


async def test_token_needs_the_secret_and_the_default_scope(call: Caller) -> None:
    assert (await call.authenticate(client_secret="wrong"))[1]["error"] == "invalid_client"
    status, body = await call.authenticate(scope="openid")
    assert status == 400 and body["error_description"].startswith("AADSTS70011")


async def test_calls_without_a_live_token_are_refused(call: Caller, clock: MovableClock) -> None:
    clock.advance(3600)
    status, body = await call("GET", "/subscriptions")
    assert (status, body["error"]["code"]) == (401, "InvalidAuthenticationToken")
    await call.authenticate()
    assert (await call("GET", "/subscriptions"))[0] == 200


# -- subscriptions


async def test_subscription_shakes_hands_with_both_addresses(
    call: Caller, receiver: Receiver, clock: MovableClock
) -> None:
    status, body = await call("POST", "/subscriptions", wanted(receiver, clock))
    assert status == 201 and receiver.handshakes == 2 and body["clientState"] is None
    assert (await call("GET", f"/subscriptions/{body['id']}"))[1]["resource"] == "groups"
    assert [found["id"] for found in (await call("GET", "/subscriptions"))[1]["value"]] == [
        body["id"]
    ]
    assert (await call("DELETE", f"/subscriptions/{body['id']}"))[0] == 204
    assert (await call("GET", f"/subscriptions/{body['id']}"))[0] == 404


@pytest.mark.parametrize(
    "fault", [{"echo": False}, {"content_type": "text/html"}], ids=["wrong token", "not plain text"]
)
async def test_failed_handshake_makes_no_subscription(
    call: Caller, receiver: Receiver, clock: MovableClock, fault: dict[str, Any]
) -> None:
    for name, value in fault.items():
        setattr(receiver, name, value)
    status, body = await call("POST", "/subscriptions", wanted(receiver, clock))
    assert (status, body["error"]["code"]) == (400, "ValidationError")
    assert (await call("GET", "/subscriptions"))[1]["value"] == []


REFUSED: dict[str, dict[str, Any]] = {
    "http on the internet": {"notificationUrl": "http://gateway.example.com/hooks"},
    "no host": {"notificationUrl": "https:///hooks"},
    "no address": {"notificationUrl": "https://[x"},
    "no text": {"notificationUrl": 1},
    "unknown resource": {"resource": "me/messages"},
    "members of users": {"resource": "users/members"},
    "unknown change": {"changeType": "removed"},
    "long client state": {"clientState": "x" * 129},
    "no expiry": {"expirationDateTime": None},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED.keys())
async def test_subscription_that_graph_refuses(
    call: Caller, receiver: Receiver, clock: MovableClock, changes: dict[str, Any]
) -> None:
    status, body = await call("POST", "/subscriptions", wanted(receiver, clock, **changes))
    assert (status, body["error"]["code"]) == (400, "InvalidRequest") and receiver.handshakes == 0


async def test_subscription_lives_at_most_29_days_and_is_renewed(
    call: Caller,
    receiver: Receiver,
    clock: MovableClock,
    entra: Customer,
    graph: Graph,
    carol: Account,
) -> None:
    too_long = graph_time(clock() + MAX_LIFETIME_MINUTES * 60 + 600)
    assert (
        await call("POST", "/subscriptions", wanted(receiver, clock, expirationDateTime=too_long))
    )[0] == 400
    _, body = await call("POST", "/subscriptions", wanted(receiver, clock))
    later = graph_time(clock() + 10 * DAY_S)
    assert epoch(
        (await call("PATCH", f"/subscriptions/{body['id']}", {"expirationDateTime": later}))[1][
            "expirationDateTime"
        ]
    ) == epoch(later)
    assert (
        await call(
            "PATCH", f"/subscriptions/{body['id']}", {"lifecycleNotificationUrl": receiver.url}
        )
    )[0] == 400
    clock.advance(10 * DAY_S + 1)
    await call.authenticate()
    assert (await call("PATCH", f"/subscriptions/{body['id']}", {"expirationDateTime": later}))[
        0
    ] == 404
    await entra.server.directory.remove_from_group(
        carol, entra.server.directory.add_group("app-users")
    )
    await graph.subscriptions.outbox.idle()
    assert receiver.received == []


async def test_subscription_of_another_application_is_not_there(
    call: Caller, receiver: Receiver, clock: MovableClock, entra: Customer
) -> None:
    _, body = await call("POST", "/subscriptions", wanted(receiver, clock))
    other = entra.server.register("http://other.localhost/")
    await call.authenticate(client_id=other.client_id, client_secret=other.client_secret)
    assert (await call("GET", f"/subscriptions/{body['id']}"))[0] == 404
    assert (await call("GET", "/subscriptions"))[1]["value"] == []


# -- notifications


async def test_removal_from_a_group_is_notified_with_removed_as_a_string(
    call: Caller,
    receiver: Receiver,
    clock: MovableClock,
    entra: Customer,
    graph: Graph,
    carol: Account,
) -> None:
    _, created = await call("POST", "/subscriptions", wanted(receiver, clock))
    directory = entra.server.directory
    group = directory.add_group("app-users")
    await directory.remove_from_group(carol, group)
    await directory.add_to_group(carol, group)
    await graph.subscriptions.outbox.idle()
    removed, added = sorted(
        receiver.received,
        key=lambda item: "@removed" not in item["resourceData"]["members@delta"][0],
    )
    assert removed == {
        "changeType": "updated",
        "clientState": "s3cret",
        "resource": f"Groups/{group.id}",
        "subscriptionId": created["id"],
        "subscriptionExpirationDateTime": created["expirationDateTime"],
        "tenantId": GLOBEX_TENANT_ID,
        "resourceData": {
            "@odata.type": "#Microsoft.Graph.Group",
            "@odata.id": f"Groups/{group.id}",
            "id": group.id,
            "organizationId": GLOBEX_TENANT_ID,
            "members@delta": [{"id": carol.id, "@removed": "deleted"}],
        },
    }
    assert added["resourceData"]["members@delta"] == [{"id": carol.id}]


async def test_user_notification_says_that_and_not_what(
    call: Caller,
    receiver: Receiver,
    clock: MovableClock,
    entra: Customer,
    graph: Graph,
    carol: Account,
) -> None:
    await call("POST", "/subscriptions", wanted(receiver, clock, "users"))
    directory, idle = entra.server.directory, graph.subscriptions.outbox.idle
    await directory.suspend(carol)
    await idle()
    item = receiver.received[-1]
    assert (item["changeType"], item["resource"]) == ("updated", f"Users/{carol.id}")
    assert set(item["resourceData"]) == {"@odata.type", "@odata.id", "id", "organizationId"}
    _, user = await call("GET", f"/users/{carol.id}?$select=id,accountEnabled")
    assert (user["id"], user["accountEnabled"]) == (carol.id, False)
    assert "accountEnabled" not in (await call("GET", f"/users/{carol.id}"))[1]
    await directory.delete(carol)
    await idle()
    assert receiver.received[-1]["changeType"] == "updated", "a soft deletion is an update"
    assert (await call("GET", f"/users/{carol.id}"))[1]["error"][
        "code"
    ] == "Request_ResourceNotFound"
    await directory.delete(carol)
    await idle()
    assert receiver.received[-1]["changeType"] == "deleted"


@pytest.mark.parametrize(
    ("resource", "heard"),
    [("groups/{gid}", 1), ("groups/{gid}/members", 1), ("groups/{other}", 0), ("users", 0)],
)
async def test_subscription_hears_of_its_resource_only(
    call: Caller,
    receiver: Receiver,
    clock: MovableClock,
    entra: Customer,
    graph: Graph,
    carol: Account,
    resource: str,
    heard: int,
) -> None:
    group, other = (entra.server.directory.add_group(name) for name in ("app-users", "other"))
    await call(
        "POST",
        "/subscriptions",
        wanted(receiver, clock, resource.format(gid=group.id, other=other.id)),
    )
    await entra.server.directory.remove_from_group(carol, group)
    await graph.subscriptions.outbox.idle()
    assert len(receiver.received) == heard


async def test_refused_notification_is_repeated(
    call: Caller,
    receiver: Receiver,
    clock: MovableClock,
    entra: Customer,
    graph: Graph,
    carol: Account,
) -> None:
    async def sleep(_: float) -> None:
        return

    graph.subscriptions.outbox._sleep = sleep
    await call("POST", "/subscriptions", wanted(receiver, clock, "users"))
    receiver.statuses = [503, 404]
    await entra.server.directory.suspend(carol)
    await graph.subscriptions.outbox.idle()
    assert [sent.status for sent in graph.subscriptions.outbox.sent] == [503, 404, 202]


async def test_reauthorisation_is_asked_for_and_silence_lasts_until_it_is_given(
    call: Caller,
    receiver: Receiver,
    clock: MovableClock,
    entra: Customer,
    graph: Graph,
    carol: Account,
) -> None:
    _, created = await call("POST", "/subscriptions", wanted(receiver, clock, "users"))
    idle = graph.subscriptions.outbox.idle
    graph.subscriptions.require_reauthorization(graph.subscriptions.by_id[created["id"]])
    await entra.server.directory.suspend(carol)
    await idle()
    assert [item.get("lifecycleEvent") for item in receiver.received] == ["reauthorizationRequired"]
    assert (
        receiver.received[0]["clientState"] == "s3cret"
        and "resourceData" not in receiver.received[0]
    )
    assert (await call("POST", f"/subscriptions/{created['id']}/reauthorize"))[0] == 204
    await entra.server.directory.unsuspend(carol)
    await idle()
    assert receiver.received[-1]["resource"] == f"Users/{carol.id}"


# -- look-ups and deltas


async def test_membership_is_looked_up(call: Caller, entra: Customer, carol: Account) -> None:
    group, other = (entra.server.directory.add_group(name) for name in ("app-users", "other"))
    assert [
        found["id"] for found in (await call("GET", f"/users/{carol.id}/memberOf"))[1]["value"]
    ] == [group.id]
    assert [
        found["id"] for found in (await call("GET", f"/groups/{group.id}/members"))[1]["value"]
    ] == [carol.id]
    assert (await call("GET", f"/groups/{group.id}"))[1]["displayName"] == "app-users"
    checked = await call(
        "POST", f"/users/{carol.id}/checkMemberGroups", {"groupIds": [group.id, other.id]}
    )
    assert checked[1]["value"] == [group.id]
    assert (
        (await call("GET", "/users/nobody"))[0] == (await call("GET", "/groups/nobody"))[0] == 404
    )


async def test_delta_of_users_is_full_then_small(
    call: Caller, entra: Customer, carol: Account
) -> None:
    directory = entra.server.directory
    _, full = await call("GET", "/users/delta?$select=accountEnabled")
    assert [(user["id"], user["accountEnabled"]) for user in full["value"]] == [(carol.id, True)]
    await directory.suspend(carol)
    await directory.clear_sessions(carol)
    _, changed = await call("GET", full["@odata.deltaLink"])
    assert [(user["id"], user["accountEnabled"]) for user in changed["value"]] == [
        (carol.id, False)
    ]
    _, nothing = await call("GET", changed["@odata.deltaLink"])
    assert nothing["value"] == []
    await directory.delete(carol)
    _, soft = await call("GET", nothing["@odata.deltaLink"])
    assert soft["value"] == [{"id": carol.id, "@removed": {"reason": "changed"}}]
    await directory.delete(carol)
    _, hard = await call("GET", soft["@odata.deltaLink"])
    assert hard["value"] == [{"id": carol.id, "@removed": {"reason": "deleted"}}]


async def test_reads_may_be_stale_and_calls_throttled(
    call: Caller, entra: Customer, carol: Account, graph: Graph, clock: MovableClock
) -> None:
    directory, switches = entra.server.directory, graph.subscriptions.outbox.switches
    group = directory.add_group("app-users")
    _, latest = await call("GET", "/users/delta?$deltatoken=latest")
    switches.stale_s = 30.0
    await directory.suspend(carol)
    await directory.remove_from_group(carol, group)

    async def read() -> tuple[Any, Any, int]:
        _, account = await call("GET", f"/users/{carol.id}?$select=accountEnabled")
        _, inside = await call(
            "POST", f"/users/{carol.id}/checkMemberGroups", {"groupIds": [group.id]}
        )
        return (
            account["accountEnabled"],
            inside["value"],
            len((await call("GET", latest["@odata.deltaLink"]))[1]["value"]),
        )

    assert await read() == (True, [group.id], 0)
    clock.advance(31)
    assert await read() == (False, [], 1)
    switches.throttled = 1
    assert [(await call("GET", "/groups/delta"))[0] for _ in range(2)] == [429, 200]


async def test_delta_of_groups_shows_members_with_removed_as_an_object(
    call: Caller, entra: Customer, carol: Account
) -> None:
    directory = entra.server.directory
    group, empty = (directory.add_group(name) for name in ("app-users", "empty"))
    _, full = await call("GET", "/groups/delta?$select=displayName,members")
    assert {found["id"]: found["members@delta"] for found in full["value"]} == {
        group.id: [{"@odata.type": "#microsoft.graph.user", "id": carol.id}],
        empty.id: [],
    }
    await directory.remove_from_group(carol, group)
    _, changed = await call("GET", full["@odata.deltaLink"])
    assert changed["value"][0]["members@delta"] == [
        {"@odata.type": "#microsoft.graph.user", "id": carol.id, "@removed": {"reason": "deleted"}}
    ]
    await directory.delete_group(group)
    _, gone = await call("GET", changed["@odata.deltaLink"])
    assert gone["value"] == [{"id": group.id, "@removed": {"reason": "deleted"}}]


async def test_delta_is_paged_and_can_start_now(
    call: Caller, entra: Customer, carol: Account
) -> None:
    directory = entra.server.directory
    for number in range(150):
        directory.add_person(f"p{number}@globex.test", name="P")
    _, first = await call("GET", "/users/delta")
    assert len(first["value"]) == 100 and "@odata.deltaLink" not in first
    _, second = await call("GET", first["@odata.nextLink"])
    assert len(second["value"]) == 51 and "@odata.nextLink" not in second
    _, latest = await call("GET", "/users/delta?$deltatoken=latest")
    assert latest["value"] == []
    await directory.suspend(carol)
    assert [user["id"] for user in (await call("GET", latest["@odata.deltaLink"]))[1]["value"]] == [
        carol.id
    ]


async def test_token_older_than_seven_days_or_of_another_kind_is_gone(
    call: Caller, clock: MovableClock
) -> None:
    _, latest = await call("GET", "/users/delta?$deltatoken=latest")
    other = latest["@odata.deltaLink"].replace("/users/", "/groups/")
    assert (await call("GET", other))[0] == 410
    assert (await call("GET", "/users/delta?$deltatoken=nonsense"))[0] == 400
    clock.advance(7 * DAY_S + 1)
    await call.authenticate()
    status, body = await call("GET", latest["@odata.deltaLink"])
    assert (status, body["error"]["code"]) == (410, "syncStateNotFound")


async def test_graph_can_be_down(call: Caller, entra: Customer) -> None:
    entra.server.faults.always("graph", faults.status(503))
    assert (await call("GET", "/subscriptions"))[0] == 503
    entra.server.faults.clear()
    assert (await call("GET", "/subscriptions"))[0] == 200
