"""The IdP's console: every click changes the directory and is announced (facts §4, §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from demo.idp.console import Panel
from demo.idp.directory import Change, DirectoryEvent, Status
from demo.net import bind, client_session, serve

if TYPE_CHECKING:
    from demo.cloud import Customer, DemoCloud
    from tests.support.browserless import Page, Person


@pytest.fixture
def okta(cloud: DemoCloud) -> Customer:
    return cloud.customers["acme-okta"]


@pytest.fixture
def announced(okta: Customer) -> list[DirectoryEvent]:
    events: list[DirectoryEvent] = []

    async def listen(event: DirectoryEvent) -> None:
        events.append(event)

    okta.server.directory.listeners.append(listen)
    return events


async def test_click_removes_from_a_group_and_adds_again(
    okta: Customer, person: Person, announced: list[DirectoryEvent]
) -> None:
    alice = okta.server.directory.by_email("alice@acme.test")
    admins = okta.server.directory.add_group("admins")
    assert alice is not None
    page = await person.open(okta.console.url)
    page = await person.press(page, f"/people/{alice.id}/groups/{admins.id}/remove")
    assert admins.id not in alice.group_ids and page.url == okta.console.url
    page = await person.press(page, f"/people/{alice.id}/groups/{admins.id}/add")
    assert admins.id in alice.group_ids
    assert [(event.change, event.group) for event in announced] == [
        (Change.GROUP_REMOVED, admins),
        (Change.GROUP_ADDED, admins),
    ]


async def test_life_of_a_person(
    okta: Customer, person: Person, announced: list[DirectoryEvent]
) -> None:
    bob = okta.server.directory.by_email("bob@acme.test")
    assert bob is not None
    page = await person.open(okta.console.url)
    for action, status in (
        ("suspend", Status.SUSPENDED),
        ("unsuspend", Status.ACTIVE),
        ("deactivate", Status.DEACTIVATED),
        ("activate", Status.ACTIVE),
        ("clear-sessions", Status.ACTIVE),
    ):
        page = await person.press(page, f"/people/{bob.id}/{action}")
        assert bob.status is status
    page = await person.press(page, f"/people/{bob.id}/delete")
    assert bob.deleted and bob.id in okta.server.directory.people
    page = await person.press(page, f"/people/{bob.id}/delete")
    assert "bob@acme.test" not in page.text
    assert [event.change.value for event in announced] == [
        "suspended",
        "unsuspended",
        "deactivated",
        "activated",
        "sessions_cleared",
        "deleted",
        "purged",
    ]


async def test_click_that_changes_nothing_announces_nothing(
    okta: Customer, person: Person, announced: list[DirectoryEvent]
) -> None:
    bob = okta.server.directory.by_email("bob@acme.test")
    assert bob is not None
    async with client_session() as http:
        for action in ("unsuspend", "activate"):
            async with http.post(
                f"{okta.console.url}/people/{bob.id}/{action}", allow_redirects=False
            ) as response:
                assert response.status == 303
        async with http.post(f"{okta.console.url}/people/{bob.id}/promote") as response:
            assert response.status == 404
    assert announced == []


async def test_console_offers_what_fits_the_state(okta: Customer, person: Person) -> None:
    bob = okta.server.directory.by_email("bob@acme.test")
    assert bob is not None

    def offered(page: Page) -> list[str]:
        return [
            form.action.rpartition("/")[2]
            for form in page.forms
            if f"/people/{bob.id}/" in form.action and "/groups/" not in form.action
        ]

    assert offered(await person.open(okta.console.url)) == [
        "suspend",
        "deactivate",
        "clear-sessions",
        "delete",
    ]
    await okta.server.directory.suspend(bob)
    assert offered(await person.open(okta.console.url)) == ["unsuspend", "deactivate", "delete"]
    await okta.server.directory.deactivate(bob)
    assert offered(await person.open(okta.console.url)) == ["activate", "delete"]
    await okta.server.directory.delete(bob)
    assert offered(await person.open(okta.console.url)) == ["delete"]


async def test_console_shows_who_is_told(okta: Customer, cloud: DemoCloud, person: Person) -> None:
    assert okta.okta is not None
    await okta.okta.register("http://127.0.0.1:1/hook", secret="s3cret")
    page = await person.open(okta.console.url)
    assert (
        "http://127.0.0.1:1/hook" in page.text
        and "not verified" in page.text
        and "s3cret" not in page.text
    )
    assert (
        "Graph subscriptions"
        in (await person.open(cloud.customers["globex-entra"].console.url)).text
    )


async def test_deleted_group_leaves_nobody_in_it(
    okta: Customer, person: Person, announced: list[DirectoryEvent]
) -> None:
    admins = okta.server.directory.add_group("admins")
    page = await person.press(await person.open(okta.console.url), f"/groups/{admins.id}/delete")
    assert "admins" not in page.text and len(announced) == 1
    assert all(
        admins.id not in someone.group_ids for someone in okta.server.directory.people.values()
    )


async def test_switches_of_the_delivery(okta: Customer, person: Person) -> None:
    assert okta.okta is not None
    page = await person.open(okta.console.url)
    wanted = {
        "loss": "0.3",
        "delay_s": "0.5",
        "duplicate": "yes",
        "reorder": "no",
        "stale_s": "30",
        "throttled": "2",
    }
    await person.press(page, "/console/delivery", wanted)
    switches = okta.okta.outbox.switches
    assert (switches.loss, switches.delay_s, switches.duplicate, switches.reorder) == (
        0.3,
        0.5,
        True,
        False,
    )
    assert (switches.stale_s, switches.throttled) == (30.0, 2)
    refused = await person.press(page, "/console/delivery", {**wanted, "loss": "2"})
    assert refused.status == 400


async def test_page_of_another_origin_cannot_press_buttons(okta: Customer, person: Person) -> None:
    alice = okta.server.directory.by_email("alice@acme.test")
    assert alice is not None
    page = await person.open(okta.console.url)
    page = type(page)("http://evil.localhost/", 200, page.text, page.hops, page.forms, page.links)
    assert (await person.press(page, f"/people/{alice.id}/deactivate")).status == 403
    assert alice.status is Status.ACTIVE


async def test_names_are_escaped_and_panels_are_shown(okta: Customer, person: Person) -> None:
    okta.server.directory.add_person("x@acme.test", name="<script>alert(1)</script>")

    async def timeline() -> Panel:
        return Panel("timeline", "Time line", (("received", "0 ms"), ("<b>", "3 ms")))

    okta.console.panels.append(timeline)
    page = await person.open(okta.console.url)
    assert "<script>" not in page.text and "&lt;b&gt;" in page.text and "Time line" in page.text


async def test_people_and_groups_are_provisioned_from_the_console(
    okta: Customer, person: Person
) -> None:
    """Against a service that knows nobody and makes everybody; the token is not shown again, and
    asked for once.
    """
    asked: list[tuple[str, str, str]] = []

    async def service(request: web.Request) -> web.Response:
        asked.append((request.method, request.path, request.headers["Authorization"]))
        document = (
            {"totalResults": 0, "Resources": []}
            if request.method == "GET"
            else {"id": str(len(asked))}
        )
        return web.json_response(document, status=201 if request.method == "POST" else 200)

    app, bound = web.Application(), bind()
    app.router.add_route("*", "/{path:.*}", service)
    runner = await serve(app, bound)
    try:
        page = await person.open(okta.console.url)
        page = await person.press(
            page, "/console/scim", {"base": f"{bound.url()}/scim", "token": "hook-secret"}
        )
        assert ("POST", "/scim/Users", "Bearer hook-secret") in asked
        assert "/Groups" in page.text
        assert "hook-secret" not in page.text
        before = len(asked)
        await person.press(page, "/console/scim")
        assert len(asked) == before, "nothing changed"
    finally:
        await runner.cleanup()
