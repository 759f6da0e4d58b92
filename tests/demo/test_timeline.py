"""The console's time line: clicks and the gateway's revocations put together."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from demo.net import bind, client_session, serve
from demo.timeline import TimeLine

if TYPE_CHECKING:
    from demo.cloud import DemoCloud
    from tests.support.browserless import Person


def revocation(
    at: float, who: dict[str, str], *, acknowledged_ms: float | None = 9.0
) -> dict[str, Any]:
    replicas = [{"replica": "a", "confirmed_ms": 4.0}, {"replica": "b", "confirmed_ms": None}]
    return {
        "id": "r1",
        "who": who,
        "received_at": at,
        "durable_ms": 2.0,
        "replicas": replicas,
        "acknowledged_ms": acknowledged_ms,
    }


class Noting(TimeLine):
    """Tells when it has noted something."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.noted = asyncio.Event()

    def note(self, revocation: dict[str, Any]) -> None:
        super().note(revocation)
        self.noted.set()


async def test_click_and_revocation_meet_in_the_console(cloud: DemoCloud, person: Person) -> None:
    customer = cloud.customers["acme-okta"]
    directory, bob = customer.server.directory, customer.server.directory.by_email("bob@acme.test")
    assert bob is not None
    asked: list[str | None] = []
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def stream(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Authorization"))
        if len(asked) == 1:
            return web.Response(status=503)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": revocations\n\n")
        while True:
            item = await queue.get()
            await response.write(f"id: r\nevent: revocation\ndata: {json.dumps(item)}\n\n".encode())

    app = web.Application()
    app.router.add_get("/admin/v1/revocations/stream", stream)
    bound = bind()
    runner = await serve(app, bound)
    again = asyncio.Event()

    async def sleep(_: float) -> None:
        again.set()
        await asyncio.sleep(0)

    async with client_session() as http:
        timeline = Noting(directory, http, admin_url=bound.url(), key="k")
        customer.console.panels.append(timeline.panel)
        async with timeline.running(sleep=sleep):
            await again.wait()
            await directory.suspend(bob)
            click = timeline.clicks[0]
            await queue.put(revocation(click.at + 0.010, {"idp_subject": bob.id}))
            await timeline.noted.wait()
            page = await person.open(customer.console.url)
    await runner.cleanup()
    assert set(asked) == {"Bearer k"}
    for text in (
        "suspended: bob@acme.test",
        "<td>10</td>",
        "<td>12</td>",
        "a: 14, b: –",
        "<td>19</td>",
    ):
        assert text in page.text


async def test_every_console_gets_a_time_line(cloud: DemoCloud, person: Person) -> None:
    await cloud.show_time_lines(admin_url="http://127.0.0.1:1", key="k")
    for customer in cloud.customers.values():
        assert "From click to the last replica" in (await person.open(customer.console.url)).text


async def test_revocation_of_somebody_else_or_from_before_is_not_the_clicks(
    cloud: DemoCloud,
) -> None:
    directory = cloud.customers["acme-okta"].server.directory
    bob, group = directory.by_email("bob@acme.test"), directory.add_group("admins")
    assert bob is not None
    async with client_session() as http:
        timeline = TimeLine(directory, http, admin_url="http://127.0.0.1:1", key="k")
        await directory.deactivate(bob)
        at = timeline.clicks[0].at
        for stray in (
            revocation(at, {"email": "eve@acme.test"}),
            revocation(at - 1, {"email": bob.email}),
            revocation(at + 61, {"email": bob.email}),
        ):
            timeline.note(stray)
        assert timeline.clicks[0].revocations == {}
        assert ("deactivated: bob@acme.test", "–", "–", "–", "–") in (await timeline.panel()).rows
        timeline.note(revocation(at, {"email": bob.email}, acknowledged_ms=None))
        timeline.note(revocation(at, {"email": bob.email}))
        assert [found["acknowledged_ms"] for found in timeline.clicks[0].revocations.values()] == [
            9.0
        ]
        await directory.delete_group(group)
        timeline.note(revocation(timeline.clicks[0].at, {"group": "admins"}))
        assert timeline.clicks[0].revocations
