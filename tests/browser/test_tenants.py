"""Tenants as people meet them: the address first, the chooser, the silent second host, and a
language of one's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.test_walk import sign_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.support.world import RunningWorld


def test_on_a_shared_host_the_address_finds_the_right_sign_in(
    fronted: RunningWorld, page: Page
) -> None:
    page.goto(fronted.world.url("app.localhost") + "/board")
    page.get_by_role("textbox").fill("carol@globex.test")
    page.get_by_role("button").first.click()
    expect(page).to_have_url(re.compile(r"^http://entra\.localhost:"))
    sign_in(page, "carol@globex.test")
    expect(page.locator("#person")).to_contain_text("carol@globex.test")
    assert page.url == fronted.world.url("app.localhost") + "/board"


def test_a_tenant_with_two_providers_shows_a_chooser(fronted: RunningWorld, page: Page) -> None:
    page.goto(fronted.world.url("hooli.localhost") + "/")
    page.get_by_role("link", name="Hooli Labs").click()
    expect(page).to_have_url(re.compile(r"^http://hooli-entra\.localhost:"))
    sign_in(page, "frank@hooli-labs.test")
    expect(page.locator("#person")).to_contain_text("frank@hooli-labs.test")


def test_the_second_host_of_a_tenant_is_silent_and_another_tenants_is_not(
    fronted: RunningWorld, page: Page
) -> None:
    page.goto(fronted.world.url("acme.localhost") + "/")
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_be_visible()
    answer = page.goto(fronted.world.url("calendar.acme.localhost") + "/")
    assert answer is not None
    assert page.url.startswith(fronted.world.url("calendar.acme.localhost")), "no form on the way"
    page.goto(fronted.world.url("globex.localhost") + "/")
    expect(page).to_have_url(re.compile(r"^http://entra\.localhost:"))


def test_pages_speak_the_browsers_language(fronted: RunningWorld, chromium: Browser) -> None:
    seen = set()
    for language in ("en", "de", "fr", "es"):
        context = chromium.new_context(locale=language)
        page = context.new_page()
        page.goto(fronted.world.url("app.localhost") + "/")
        assert page.locator("html").get_attribute("lang") == language
        seen.add(page.locator("h1").inner_text())
        context.close()
    assert len(seen) == 4


def test_an_unmodified_application_takes_its_user_from_a_header(
    fronted: RunningWorld, page: Page
) -> None:
    """Radicale, from PyPI: whoever is signed in owns the calendar; nobody else's header counts."""
    page.goto(fronted.world.url("acme.localhost") + "/")
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_be_visible()
    page.goto(fronted.world.url("calendar.acme.localhost") + "/")
    body = '<propfind xmlns="DAV:"><prop><current-user-principal/></prop></propfind>'
    told = page.evaluate(
        (
            "body => fetch('/', {method: 'PROPFIND', body, headers: {'X-Remote-User': "
            "'mallory@acme.test'}}).then(r => r.text())"
        ),
        body,
    )
    assert "/alice%40acme.test/" in told or "/alice@acme.test/" in told
    assert "mallory" not in told
