"""Logins as browsers really begin them, and where each of them ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.test_walk import sign_in

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from tests.world import RunningWorld

LATENCY_MS = 150
behind_nginx = pytest.mark.parametrize("fronted", ["nginx"], indirect=True)


@behind_nginx
def test_six_tabs_that_are_restored_at_once_all_arrive(fronted: RunningWorld, profile: BrowserContext) -> None:
    """The session has ended, the identity provider's is alive, and the network is slow enough for all six to ask before the first is answered."""
    origin = fronted.world.url("acme.localhost")
    first = profile.new_page()
    first.goto(origin + "/")
    sign_in(first, "alice@acme.test")
    expect(first.locator("#person")).to_contain_text("alice@acme.test")
    profile.clear_cookies(domain="acme.localhost")
    profile.clear_cookies(domain="login.localhost")
    tabs = [profile.new_page() for _ in range(6)]
    for tab in tabs:
        wire = profile.new_cdp_session(tab)
        wire.send("Network.enable")
        wire.send("Network.emulateNetworkConditions", {"offline": False, "latency": LATENCY_MS, "downloadThroughput": -1, "uploadThroughput": -1})
    for number, tab in enumerate(tabs):
        tab.evaluate("address => { location.href = address }", f"{origin}/tab/{number}")
    for number, tab in enumerate(tabs):
        expect(tab.locator("#person")).to_contain_text("alice@acme.test")
        assert tab.url == f"{origin}/tab/{number}"
    names = [cookie["name"] for cookie in profile.cookies() if cookie["name"].startswith("__Host-gw-login-")]
    assert len(names) > 6, f"they did not ask at the same time: {names}"


WORKER = "self.addEventListener('activate', e => e.waitUntil(clients.claim())); self.addEventListener('fetch', e => e.respondWith(fetch(e.request)));"


@behind_nginx
def test_a_worker_that_passes_requests_through_leads_to_the_login_and_a_download_saves_no_page(fronted: RunningWorld, profile: BrowserContext) -> None:
    """Chromium sends both with ``Sec-Fetch-Mode: navigate`` and ``Sec-Fetch-Dest: empty``."""
    origin = fronted.world.url("acme.localhost")
    page = profile.new_page()
    page.goto(origin + "/")
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_contain_text("alice@acme.test")
    profile.route("**/worker.js", lambda route: route.fulfill(body=WORKER, content_type="text/javascript"))
    page.evaluate("navigator.serviceWorker.register('/worker.js').then(() => navigator.serviceWorker.ready).then(() => true)")
    page.goto(origin + "/controlled")
    assert page.evaluate("navigator.serviceWorker.controller !== null")
    profile.clear_cookies(domain="acme.localhost")
    profile.clear_cookies(domain="login.localhost")
    page.goto(origin + "/later")
    expect(page.locator("#person")).to_contain_text("alice@acme.test")
    assert page.url == origin + "/later"
    page.evaluate("navigator.serviceWorker.getRegistrations().then(all => Promise.all(all.map(each => each.unregister()))).then(() => true)")
    page.goto(origin + "/with-a-link")
    profile.clear_cookies()
    page.evaluate(
        "() => { const link = document.createElement('a'); link.href = '/file'; link.download = 'file.html'; link.textContent = 'Download'; document.body.prepend(link); }"
    )
    with page.expect_download() as waiting:
        page.get_by_text("Download").click()
    assert waiting.value.failure() == "canceled", "no sign-in page is saved as the file"
    page.reload()
    expect(page).to_have_url(re.compile(r"^http://okta\.localhost:"))


def back(page: Page) -> None:
    """A page that comes out of the back/forward cache is not loaded, so nothing but its beginning can be waited for."""
    page.go_back(wait_until="commit")


@behind_nginx
def test_back_after_a_sign_out_shows_no_page_of_the_application(fronted: RunningWorld, profile: BrowserContext) -> None:
    """The application says nothing about being stored, so the browser keeps its pages: in its cache, and whole."""
    origin = fronted.world.url("acme.localhost")
    page = profile.new_page()
    asked: list[str] = []
    page.goto(origin + "/kept/secret")
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_contain_text("alice@acme.test")
    page.evaluate("window.kept = true")
    page.goto(origin + "/kept/other")
    back(page)
    expect(page).to_have_url(origin + "/kept/secret")
    assert page.evaluate("window.kept"), "this browser keeps no page, so nothing is shown here"
    page.goto(origin + "/kept/other")
    page.on("request", lambda request: asked.append(request.url))
    page.goto(origin + "/_auth/logout")
    page.locator("button").first.click()
    expect(page).to_have_url(origin + "/_auth/signed-out")
    profile.clear_cookies(domain="okta.localhost")
    back(page)
    expect(page).to_have_url(origin + "/_auth/logout")
    for address in ("/kept/other", "/kept/secret"):
        back(page)
        expect(page).to_have_url(re.compile(r"^http://okta\.localhost:"))
        assert origin + address in asked
