"""A browser passes from alice to bob: an application with a session of its own must not go on with
alice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from demo.apps.legacy import ACCOUNT
from tests.browser.test_logins import SESSIONS, behind_nginx
from tests.browser.test_walk import sign_in

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from tests.support.world import RunningWorld

OWN = ("legacy_session", "legacy-remember", "legacy_hidden")


def account(page: Page, email: str) -> None:
    """Whom the application takes the person for, by each of its own cookies."""
    expect(page.locator("body")).to_have_text(re.compile(r"legacy_session:"))
    assert page.locator("body").inner_text().splitlines() == [f"{name}: {email}" for name in OWN]


def kept(profile: BrowserContext) -> dict[str, str]:
    return {
        cookie["name"]: cookie["value"] for cookie in profile.cookies() if cookie["name"] in OWN
    }


@behind_nginx
def test_the_application_does_not_go_on_with_the_person_before(
    fronted: RunningWorld, profile: BrowserContext
) -> None:
    """After a sign-out, and where alice's session has ended by itself or was revoked; alice herself
    keeps what she has.
    """
    address = fronted.world.url("acme.localhost") + ACCOUNT
    page = profile.new_page()
    page.goto(address)
    sign_in(page, "alice@acme.test")
    account(page, "alice@acme.test")
    page.goto(address)
    account(page, "alice@acme.test")
    alices = kept(profile)
    profile.clear_cookies(name=SESSIONS)
    page.goto(address)
    account(page, "alice@acme.test")
    assert kept(profile) == alices, "the same person: nothing is taken away"
    page.goto(fronted.world.url("acme.localhost") + "/_auth/logout")
    page.locator("button").first.click()
    expect(page).to_have_url(re.compile(r"/_auth/signed-out$"))
    assert kept(profile) == {}
    elsewhere(profile)
    page.goto(address)
    sign_in(page, "bob@acme.test")
    account(page, "bob@acme.test")
    profile.clear_cookies(name=SESSIONS)
    elsewhere(profile)
    page.goto(address)
    sign_in(page, "alice@acme.test")
    account(page, "alice@acme.test")


def elsewhere(profile: BrowserContext) -> None:
    """Nobody is signed in at Cognito or the identity provider any more."""
    for host in ("cognito.localhost", "okta.localhost"):
        profile.clear_cookies(domain=host)


@behind_nginx
def test_where_the_domain_is_the_tenants_own_no_cookie_is_left_of_the_person_before(
    fronted: RunningWorld, profile: BrowserContext
) -> None:
    """``Clear-Site-Data`` takes the cookies of its own answer along, so the login begins again, and
    nobody types anything.
    """
    address = fronted.world.url("hooli.localhost") + ACCOUNT
    page = profile.new_page()
    page.goto(address)
    page.get_by_text("Hooli staff").click()
    sign_in(page, "erin@hooli.test")
    account(page, "erin@hooli.test")
    profile.clear_cookies(name=SESSIONS)
    profile.add_cookies(
        [{"name": "deep", "value": "erins", "domain": "other.hooli.localhost", "path": "/x/"}]
    )
    page.goto(address)
    page.get_by_text("Hooli Labs").click()
    sign_in(page, "frank@hooli-labs.test")
    account(page, "frank@hooli-labs.test")
    assert page.url == address
    assert all(cookie["name"] != "deep" for cookie in profile.cookies())
    page.goto(fronted.world.url("hooli.localhost") + "/_auth/logout")
    page.locator("button").first.click()
    expect(page).to_have_url(re.compile(r"/_auth/signed-out$"))
    assert [
        cookie["name"]
        for cookie in profile.cookies()
        if cookie["domain"].lstrip(".") == "hooli.localhost"
    ] == []
    page.goto(address)
    page.get_by_text("Hooli staff").click()
    account(page, "erin@hooli.test")
