"""Logins as browsers really begin them, and where each of them ends: tabs, windows, downloads and
the back button.
"""

from __future__ import annotations

import os
import re
import signal
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.browser.test_walk import sign_in

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from tests.support.world import RunningWorld

WHOLE_BROWSER = True
behind_nginx = pytest.mark.parametrize("fronted", ["nginx"], indirect=True)


@behind_nginx
def test_six_tabs_that_are_restored_at_once_all_arrive(
    fronted: RunningWorld, profile: BrowserContext
) -> None:
    """The session has ended, the identity provider's is alive, and all six have asked before the
    first is answered.
    """
    origin = fronted.world.url("acme.localhost")
    first = profile.new_page()
    first.goto(origin + "/")
    sign_in(first, "alice@acme.test")
    expect(first.locator("#person")).to_contain_text("alice@acme.test")
    # Chromium opens six connections to a host, and a request of this page that is still on its way
    # would hold one of them for as long as the ingress stands still.
    first.goto("about:blank")
    profile.clear_cookies(domain="acme.localhost")
    profile.clear_cookies(domain="login.localhost")
    tabs = [profile.new_page() for _ in range(6)]
    sent: set[int] = set()
    """Numbers of the tabs that asked; one may ask twice, over a connection that was closed."""

    def note(number: int, _event: object) -> None:
        sent.add(number)

    for number, tab in enumerate(tabs):
        wire = profile.new_cdp_session(tab)
        wire.on("Network.requestWillBeSentExtraInfo", partial(note, number))
        wire.send("Network.enable")
    ingress = fronted.world.ingress_pid
    os.kill(ingress, signal.SIGSTOP)
    try:
        for number, tab in enumerate(tabs):
            tab.evaluate("address => { location.href = address }", f"{origin}/tab/{number}")
        patience = time.monotonic() + 60
        while len(sent) < len(tabs) and time.monotonic() < patience:
            first.wait_for_timeout(10)
    finally:
        os.kill(ingress, signal.SIGCONT)
    assert sent == set(range(len(tabs)))
    for number, tab in enumerate(tabs):
        expect(tab.locator("#person")).to_contain_text("alice@acme.test")
        assert tab.url == f"{origin}/tab/{number}"
    names = [
        cookie["name"]
        for cookie in profile.cookies()
        if cookie["name"].startswith("__Host-gw-login-")
    ]
    # A tab that reaches the login host when somebody is signed in there begins no login.
    assert len(names) > 1, names


WORKER = (
    "self.addEventListener('activate', e => e.waitUntil(clients.claim())); "
    "self.addEventListener('fetch', e => e.respondWith(fetch(e.request)));"
)


@behind_nginx
def test_a_worker_that_passes_requests_through_leads_to_the_login_and_a_download_saves_no_page(
    fronted: RunningWorld, profile: BrowserContext
) -> None:
    """Chromium sends both with ``Sec-Fetch-Mode: navigate`` and ``Sec-Fetch-Dest: empty``."""
    origin = fronted.world.url("acme.localhost")
    page = profile.new_page()
    page.goto(origin + "/")
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_contain_text("alice@acme.test")
    profile.route(
        "**/worker.js", lambda route: route.fulfill(body=WORKER, content_type="text/javascript")
    )
    page.evaluate(
        "navigator.serviceWorker.register('/worker.js').then(() => "
        "navigator.serviceWorker.ready).then(() => true)"
    )
    page.goto(origin + "/controlled")
    assert page.evaluate("navigator.serviceWorker.controller !== null")
    profile.clear_cookies(domain="acme.localhost")
    profile.clear_cookies(domain="login.localhost")
    page.goto(origin + "/later")
    expect(page.locator("#person")).to_contain_text("alice@acme.test")
    assert page.url == origin + "/later"
    page.evaluate(
        "navigator.serviceWorker.getRegistrations().then(all => Promise.all(all.map(each "
        "=> each.unregister()))).then(() => true)"
    )
    page.goto(origin + "/with-a-link")
    profile.clear_cookies()
    page.evaluate(
        "() => { const link = document.createElement('a'); link.href = '/file'; "
        "link.download = 'file.html'; link.textContent = 'Download'; "
        "document.body.prepend(link); }"
    )
    with page.expect_download() as waiting:
        page.get_by_text("Download").click()
    assert waiting.value.failure() == "canceled", "no sign-in page is saved as the file"
    page.reload()
    expect(page).to_have_url(re.compile(r"^http://okta\.localhost:"))


def back(page: Page) -> None:
    """A page that comes out of the back/forward cache is not loaded, so nothing but its beginning
    can be waited for.
    """
    page.go_back(wait_until="commit")


@behind_nginx
def test_back_after_a_sign_out_shows_no_page_of_the_application(
    fronted: RunningWorld, profile: BrowserContext
) -> None:
    """The application says nothing about being stored, so the browser keeps its pages: in its
    cache, and whole.
    """
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


@behind_nginx
def test_a_fragment_comes_back_where_nobody_types_or_where_the_application_names_it(
    fronted: RunningWorld, profile: BrowserContext
) -> None:
    """Browsers send no fragment, and carry it along redirects; a form at the identity provider ends
    that. ADR 0104.
    """
    origin = fronted.world.url("acme.localhost")
    page = profile.new_page()
    page.goto(origin + "/typed#/inbox/7")
    sign_in(page, "alice@acme.test")
    expect(page).to_have_url(origin + "/typed")
    for host in ("acme.localhost", "login.localhost"):
        profile.clear_cookies(domain=host)
    page.goto(origin + "/silent#/inbox/7")
    expect(page.locator("#person")).to_contain_text("alice@acme.test")
    assert page.url == origin + "/silent#/inbox/7"
    profile.clear_cookies()
    page.goto(origin + "/_auth/logout")
    page.evaluate("location.href = '/_auth/login?rd=' + encodeURIComponent('/named#/inbox/7')")
    expect(page).to_have_url(re.compile(r"^http://okta\.localhost:"))
    sign_in(page, "alice@acme.test")
    expect(page).to_have_url(origin + "/named#/inbox/7")


class Addresses:
    """What this tab has asked for, by the beginning of the address."""

    def __init__(self, page: Page) -> None:
        self._asked: list[str] = []
        page.on("request", lambda request: self._asked.append(request.url))

    def last(self, part: str) -> str:
        return next(address for address in reversed(self._asked) if part in address)


def signed_in(page: Page) -> None:
    expect(page.locator("#person")).to_contain_text("alice@acme.test")


SESSIONS = re.compile(r"^__Host-gw(-at-.*)?$")


@behind_nginx
def test_bookmarks_of_a_login_and_reloaded_answers_end_in_the_application(
    fronted: RunningWorld, profile: BrowserContext
) -> None:
    """Signed in, after the session has ended, and in a browser that was never here."""
    origin, callback = (
        fronted.world.url("acme.localhost"),
        fronted.world.url("login.localhost") + "/_auth/callback",
    )
    page = profile.new_page()
    addresses = Addresses(page)
    page.goto(origin + "/first")
    sign_in(page, "alice@acme.test")
    signed_in(page)
    reloaded = (
        addresses.last("/oauth2/authorize?"),
        addresses.last("/_auth/callback?"),
        addresses.last("/_auth/complete?"),
    )
    strays = (
        callback,
        callback + "?code=initiated-by-the-provider",
        origin + "/_auth/callback?code=x&state=y",
    )
    for forgotten in (None, SESSIONS, re.compile("")):
        for address in (*reloaded, *strays):
            if forgotten is not None:
                profile.clear_cookies(name=forgotten)
            page.goto(address)
            arrive(page)


def arrive(page: Page) -> None:
    """Follow what the page offers: at most one click, the own e-mail address and the password."""
    if page.locator("input[name=password]").count():
        sign_in(page, "alice@acme.test")
    if page.get_by_role("link", name="Try again").count():
        page.get_by_role("link", name="Try again").click()
    if page.locator("input[name=login_hint]").count():
        page.locator("input[name=login_hint]").fill("alice@acme.test")
        page.locator("button").first.click()
    if page.locator("input[name=password]").count():
        sign_in(page, "alice@acme.test")
    signed_in(page)


@behind_nginx
def test_a_tile_at_the_provider_leads_into_the_application_by_link_and_by_form(
    fronted: RunningWorld, profile: BrowserContext
) -> None:
    """OpenID Connect Core §4: from a page of another site, with the provider's session alive or
    not.
    """
    origin, okta = (
        fronted.world.url("acme.localhost"),
        fronted.world.cloud.customers["acme-okta"].server,
    )
    fields = {"iss": okta.issuer, "target_link_uri": origin + "/from-the-tile"}
    inputs = "".join(
        f'<input type="hidden" name="{name}" value="{value}">' for name, value in fields.items()
    )
    tile = (
        f'<a href="{origin}/_auth/login?{urlencode(fields)}">Link</a><form method="post" '
        f'action="{origin}/_auth/login">{inputs}<button>Form</button></form>'
    )
    profile.route(
        "**/app/UserHome", lambda route: route.fulfill(body=tile, content_type="text/html")
    )
    page = profile.new_page()
    for kind in ("Link", "Form"):
        profile.clear_cookies()
        for typed in (True, False):
            page.goto(okta.origin + "/app/UserHome")
            page.get_by_text(kind).click()
            if typed:
                expect(page).to_have_url(re.compile(r"^http://okta\.localhost:.*authorize"))
                sign_in(page, "alice@acme.test")
            signed_in(page)
            assert page.url == origin + "/from-the-tile"
            for host in ("acme.localhost", "login.localhost"):
                profile.clear_cookies(domain=host)


@behind_nginx
def test_a_wrong_address_is_corrected_where_it_was_typed(
    fronted: RunningWorld, profile: BrowserContext
) -> None:
    origin = fronted.world.url("app.localhost")
    page = profile.new_page()
    page.goto(origin + "/mine?a=b")
    page.locator("input[name=login_hint]").fill("alice@acme.tset")
    page.locator("button").first.click()
    expect(page.locator("[aria-invalid=true]")).to_have_value("alice@acme.tset")
    page.locator("input[name=login_hint]").fill("carol@globex.test")
    page.locator("button").first.click()
    expect(page).not_to_have_url(re.compile(r"app\.localhost"))
    page.goto(origin + "/mine?a=b")
    page.locator("input[name=login_hint]").fill("alice@acme.test")
    page.locator("button").first.click()
    expect(page).to_have_url(re.compile(r"^http://okta\.localhost:"))
    sign_in(page, "alice@acme.test")
    signed_in(page)
    assert page.url == origin + "/mine?a=b"


@behind_nginx
def test_whoever_is_refused_comes_back_to_the_page_as_somebody_else(
    fronted: RunningWorld, profile: BrowserContext
) -> None:
    """On Cognito's classic pages the provider's session brings the same person back, until it is
    ended where the page says.
    """
    origin = fronted.world.url("acme.localhost")
    page = profile.new_page()
    page.goto(origin + "/reports?year=2026")
    sign_in(page, "mallory@acme.test")
    expect(page.locator("h1")).to_have_text("You do not have access to this page")
    page.get_by_role("button", name="Sign in as someone else").click()
    expect(page.locator("h1")).to_have_text("You do not have access to this page")
    with profile.expect_page() as opened:
        page.get_by_role("link", name="Sign out there").click(modifiers=["Control"])
    opened.value.wait_for_load_state()
    expect(opened.value.locator("body")).to_contain_text("You are signed out here.")
    page.get_by_role("button", name="Sign in as someone else").click()
    expect(page).to_have_url(re.compile(r"^http://okta\.localhost:"))
    sign_in(page, "alice@acme.test")
    signed_in(page)
    assert page.url == origin + "/reports?year=2026"


def test_the_back_button_after_a_login_ends_in_the_app(fronted: RunningWorld, page: Page) -> None:
    page.goto(fronted.world.url("acme.localhost") + "/start")
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_be_visible()
    back(page)
    expect(page.locator("#person")).to_have_count(0)
    page.evaluate("history.forward()")
    expect(page.locator("#person")).to_contain_text("alice@acme.test")
