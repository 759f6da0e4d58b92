"""Two windows: somebody at work, and the customer's administrator who takes them out of the
group.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.test_walk import sign_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.support.world import RunningWorld

PATIENCE_MS = 30_000


def shows(application: Page, fronted: RunningWorld, text: str) -> None:
    """The application's own list of people, at its own address: what it was told by webhook."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while True:
        application.goto(f"http://127.0.0.1:{fronted.world.apps['legacy']}/")
        people = application.inner_text("#people")
        if text in people:
            return
        assert time.monotonic() < deadline, people


def timed(console: Page, click: str) -> None:
    """The console's time line of one click: every replica confirmed, each stage after the one
    before.
    """
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while True:
        console.reload()
        cells = (
            console.locator("#timeline tr", has_text=click).first.locator("td").all_inner_texts()
        )
        if cells and "–" not in "".join(cells[1:]):
            break
        assert time.monotonic() < deadline, cells
    _, received, durable, replicas, acknowledged = cells
    confirmed = [float(one.rpartition(": ")[2]) for one in replicas.split(", ")]
    assert 0 <= float(received) <= float(durable) <= float(acknowledged)
    assert confirmed
    assert max(confirmed) <= float(acknowledged)


@pytest.mark.parametrize(
    ("provider", "host", "email", "group"),
    [
        ("acme-okta", "acme.localhost", "alice@acme.test", "app-users"),
        ("globex-entra", "globex.localhost", "carol@globex.test", "app-users"),
    ],
    ids=["okta", "entra"],
)
def test_the_next_click_is_refused_and_given_back_it_works(
    fronted: RunningWorld,
    chromium: Browser,
    profile: BrowserContext,
    page: Page,
    provider: str,
    host: str,
    email: str,
    group: str,
    record_property: Callable[[str, object], None],
) -> None:
    for line in fronted.run(fronted.world.show_time_lines()):
        fronted.run(line.connected.wait())
    work = fronted.world.url(host) + "/work"
    page.goto(work)
    sign_in(page, email)
    expect(page.locator("#person")).to_contain_text(email)

    office = chromium.new_context()
    console = office.new_page()
    console.goto(fronted.world.cloud.customers[provider].console.url)
    row = console.locator(f"[id='person-{email}']")
    row.get_by_role("button", name=f"Remove from {group}").click()
    clicked = time.monotonic()

    def refused() -> bool:
        page.goto(work)
        return page.locator("#person").count() == 0

    while not refused():
        assert time.monotonic() - clicked < PATIENCE_MS / 1000
    record_property("click_to_deny_s", round(time.monotonic() - clicked, 3))
    # Whoever tries to come back in through Cognito, which still reports the group, reads why not.
    if page.locator("input[name=password]").count():
        sign_in(page, email)
    expect(page.locator("body")).to_contain_text("group")
    assert page.locator("#person").count() == 0

    application = office.new_page()
    shows(application, fronted, f"{email}: deactivated")
    timed(console, f"group removed: {email} / {group}")
    row.get_by_role("button", name=f"Add to {group}").click()
    shows(application, fronted, f"{email}: active")
    office.close()
    back = chromium.new_context()
    try:
        deadline = time.monotonic() + PATIENCE_MS / 1000
        again = back.new_page()
        again.goto(work)
        sign_in(again, email)
        while again.locator("#person").count() == 0:
            assert time.monotonic() < deadline, again.inner_text("body")
            back.clear_cookies()
            again.goto(work)
            sign_in(again, email)
        expect(again.locator("#person")).to_contain_text(email)
    finally:
        back.close()
