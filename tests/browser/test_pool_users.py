"""A customer without an identity provider: one call, and its people are users of the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.browser.test_onboarding import call, until_known

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.support.world import RunningWorld

OWN = "Correct-horse-7"


def sign_in(page: Page, name: str, password: str) -> None:
    """Cognito's own form."""
    page.locator("input[name=username]").fill(name)
    page.locator("input[name=password]").fill(password)
    page.get_by_role("button", name="Sign in").click()


def in_at_last(page: Page, name: str, password: str, press: Callable[[], None]) -> None:
    """``press`` sends the form that is open. For 70 minutes after a revocation, also of everybody
    when a former tenant of this id was deleted (a test before may have), Cognito's word is not
    enough that a user of the pool has signed in anew: the login goes through /logout once.
    """
    asked = page.url
    press()
    page.wait_for_url(lambda url: url != asked)
    if page.locator("input[name=password]").count():
        sign_in(page, name, password)


def test_a_user_of_the_pool_is_created_signs_in_and_is_out_when_disabled(
    fronted: RunningWorld, page: Page
) -> None:
    """In through the page for a new password, kept out without the group, in with it, out."""
    onboarding = fronted.world.onboarding
    home = onboarding["then"] + "/welcome"
    body = {
        "provider": {"kind": "cognito"},
        "groups": ["staff"],
        "allowed_domain": "initech.test",
        "hosts": onboarding["body"]["hosts"],
    }
    status, made = call(fronted, "POST", onboarding["url"], body)
    assert status == 201, made
    users = onboarding["url"].removesuffix("/provision") + "/pool-users"
    try:
        until_known(page, home)
        # At the pool's page nobody of another tenant is in, whatever their password.
        pool = fronted.world.cloud.cognito.pool
        foreign = pool.add_user("eve", password=OWN, email="eve@initech.test")
        foreign.attributes["email_verified"] = "true"
        foreign.groups.append("tenants/acme")
        sign_in(page, "eve", OWN)
        page.wait_for_url("**/_auth/**")
        assert page.locator("#person").count() == 0
        page.context.clear_cookies()

        new = {"email": "paula@initech.test", "name": "Paula", "invitation": "none"}
        status, created = call(fronted, "POST", users, new)
        assert status == 201, created
        user = f"{users}/{created['user']['user']}"
        page.goto(home)
        sign_in(page, "paula@initech.test", created["temporary_password"])
        page.get_by_label("New password").fill(OWN)
        button = page.get_by_role("button", name="Change password")
        in_at_last(page, "paula@initech.test", OWN, button.click)
        # In no group of the tenant's: signed in, and denied.
        expect(page.get_by_text("paula@initech.test").first).to_be_visible()
        assert page.locator("#person").count() == 0

        status, changed = call(fronted, "PUT", f"{user}/groups", {"groups": ["staff"]})
        assert (status, changed["user"]["groups"]) == (200, ["staff"])
        page.context.clear_cookies()
        page.goto(home)
        in_at_last(
            page,
            "paula@initech.test",
            OWN,
            lambda: sign_in(page, "paula@initech.test", OWN),
        )
        expect(page.locator("#person")).to_contain_text("paula@initech.test")

        status, out = call(fronted, "POST", f"{user}/disable", {"reason": "left"})
        assert status == 200, out
        assert (out["user"]["blocked"], out["user"]["enabled"]) == (True, False)
        assert out["revocation"]["ended"] >= 1
        page.goto(home)
        assert page.locator("#person").count() == 0
        page.context.clear_cookies()
        page.goto(home)
        sign_in(page, "paula@initech.test", OWN)
        expect(page.get_by_text("Incorrect username or password")).to_be_visible()

        assert call(fronted, "POST", f"{user}/enable")[0] == 200
        page.goto(home)
        asked = page.url
        sign_in(page, "paula@initech.test", OWN)
        page.wait_for_url(lambda url: "/login" in url and url != asked)
        # So soon after a block, a login goes through Cognito's /logout once, and begins again.
        sign_in(page, "paula@initech.test", OWN)
        expect(page.locator("#person")).to_contain_text("paula@initech.test")
        # Out of the group through the API: out now, not when the session ends.
        assert call(fronted, "PUT", f"{user}/groups", {"groups": []})[0] == 200
        page.goto(home)
        assert page.locator("#person").count() == 0
        assert call(fronted, "DELETE", user)[0] == 200
        assert "paula@initech.test" not in pool.users
    finally:
        fronted.world.cloud.cognito.pool.users.pop("eve", None)
        assert call(fronted, "DELETE", onboarding["url"])[0] == 204
