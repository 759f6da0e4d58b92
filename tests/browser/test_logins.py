"""Logins as browsers really begin them, and where each of them ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.test_walk import sign_in

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

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
