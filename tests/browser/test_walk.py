"""The walk as people take it: a bookmark, one login, the app; and the two who must not get in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from gateway.pages.language import LANGUAGES

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from tests.support.world import RunningWorld


def sign_in(page: Page, email: str) -> None:
    """Fill the identity provider's own form."""
    page.locator("input[name=email]").fill(email)
    page.locator("input[name=password]").fill("demo")
    page.locator("button, input[type=submit]").first.click()


def test_alice_opens_a_bookmark_signs_in_once_and_sees_her_name(
    fronted: RunningWorld, page: Page
) -> None:
    bookmark = fronted.world.url("acme.localhost") + "/reports/2026?month=11#summary"
    page.goto(bookmark)
    expect(page).to_have_url(re.compile(r"^http://okta\.localhost:"))
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_contain_text("alice@acme.test")
    assert page.url.split("#")[0] == bookmark.split("#")[0]
    page.goto(fronted.world.url("acme.localhost") + "/elsewhere")
    expect(page.locator("#person")).to_contain_text("alice@acme.test")


def test_the_app_sees_every_managed_header_and_not_our_cookie(
    fronted: RunningWorld, page: Page
) -> None:
    page.goto(fronted.world.url("acme.localhost") + "/")
    sign_in(page, "alice@acme.test")
    headers = {
        row.locator("td").nth(0).inner_text().lower(): row.locator("td").nth(1).inner_text()
        for row in page.locator("#headers tr").all()
    }
    assert headers["x-auth-request-email"] == "alice@acme.test"
    assert sorted(headers["x-auth-request-groups"].split(",")) == ["admins", "app-users"]
    assert headers["x-auth-request-tenant"] == "acme"
    assert headers["remote-user"] == "alice@acme.test"
    assert headers["x-auth-request-jwt"].count(".") == 2
    assert "__Host-gw" not in headers.get("cookie", "")
    assert "x-gateway-key" not in headers


def test_mallory_gets_the_denied_page_with_the_reason(fronted: RunningWorld, page: Page) -> None:
    page.goto(fronted.world.url("acme.localhost") + "/")
    sign_in(page, "mallory@acme.test")
    expect(page.locator("body")).to_contain_text("app-users")
    expect(page.locator("body")).to_contain_text("mallory@acme.test")
    assert page.locator("#person").count() == 0


def test_carol_gets_in_at_globex_and_nowhere_at_acme(fronted: RunningWorld, page: Page) -> None:
    page.goto(fronted.world.url("globex.localhost") + "/")
    sign_in(page, "carol@globex.test")
    expect(page.locator("#person")).to_contain_text("carol@globex.test")
    page.goto(fronted.world.url("acme.localhost") + "/")
    expect(page).to_have_url(re.compile(r"^http://okta\.localhost:"))
    sign_in(page, "carol@globex.test")
    assert page.locator("#person").count() == 0


def test_sign_in_as_someone_else_from_the_denied_page(fronted: RunningWorld, page: Page) -> None:
    page.goto(fronted.world.url("acme.localhost") + "/")
    sign_in(page, "mallory@acme.test")
    page.locator("form[action*='/_auth/logout'] button").first.click()
    expect(page).to_have_url(re.compile(r"^http://(okta\.localhost|acme\.localhost):"))
    assert page.locator("#person").count() == 0


def test_signing_out_says_what_may_still_be_signed_in(fronted: RunningWorld, page: Page) -> None:
    page.goto(fronted.world.url("acme.localhost") + "/")
    sign_in(page, "alice@acme.test")
    page.goto(fronted.world.url("acme.localhost") + "/_auth/logout")
    page.locator("button").first.click()
    expect(page).to_have_url(fronted.world.url("acme.localhost") + "/_auth/signed-out")
    expect(page.locator("body")).to_contain_text("Okta")
    response = page.goto(fronted.world.url("acme.localhost") + "/")
    assert response is not None
    assert not page.url.startswith(fronted.world.url("acme.localhost") + "/_auth")


def test_two_tabs_sign_in_and_each_arrives(fronted: RunningWorld, profile: BrowserContext) -> None:
    first, second = profile.new_page(), profile.new_page()
    first.goto(fronted.world.url("acme.localhost") + "/one")
    second.goto(fronted.world.url("acme.localhost") + "/two")
    sign_in(first, "alice@acme.test")
    expect(first).to_have_url(fronted.world.url("acme.localhost") + "/one")
    sign_in(second, "alice@acme.test")
    expect(second).to_have_url(fronted.world.url("acme.localhost") + "/two")
    first.reload()
    expect(first.locator("#person")).to_contain_text("alice@acme.test")


def test_a_fetch_without_a_session_gets_json_and_no_redirect(
    fronted: RunningWorld, profile: BrowserContext, page: Page
) -> None:
    page.goto(fronted.world.url("acme.localhost") + "/")
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_be_visible()
    profile.clear_cookies(name="__Host-gw")
    seen = page.evaluate(
        "fetch('/api/data', {redirect: 'manual'}).then(async r => [r.status, r.type, "
        "r.headers.get('content-type'), await r.text()])"
    )
    assert seen[0] == 401
    assert "json" in seen[2]


def test_an_open_page_says_sign_in_again_under_a_strict_policy_and_stops_saying_it(
    fronted: RunningWorld, profile: BrowserContext, page: Page
) -> None:
    origin = fronted.world.url("acme.localhost")
    policy = {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; connect-src 'self'; "
            "require-trusted-types-for 'script'"
        )
    }
    profile.route(
        "**/watched*",
        lambda route: route.fulfill(
            body='<html lang="de"><script src="/_auth/watch.js"></script><p>work',
            content_type="text/html",
            headers=policy,
        ),
    )
    settled = (
        "fetch('/_auth/userinfo').then(answer => answer.text()).then(() => new Promise(done => "
        "setTimeout(done))).then(() => true)"
    )
    profile.route(
        "**/own-401",
        lambda route: route.fulfill(status=401, body="{}", content_type="application/problem+json"),
    )
    page.goto(
        f"{origin}/watched?a=b#c"
    )  # public, as it were: nobody is told to sign in who was not signed in
    page.evaluate(settled)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.evaluate(settled)
    bar = page.get_by_role("alert")
    expect(bar).to_have_count(0)
    page.goto(origin + "/")
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_be_visible()
    for number, ends, question in (
        (1, True, "fetch('/api/data').then(() => true)"),
        (
            2,
            True,
            (
                "new Promise(done => { const asked = new XMLHttpRequest(); asked.open('GET', "
                "'/api/data'); asked.onloadend = done; asked.send() }).then(() => true)"
            ),
        ),
        (3, True, "document.dispatchEvent(new Event('visibilitychange'))"),
        (4, False, "fetch('/own-401').then(() => true)"),
    ):
        with page.expect_response("**/_auth/userinfo"):
            page.goto(f"{origin}/watched?a={number}#c")
        page.evaluate(settled)
        kept = profile.cookies(origin)
        if ends:
            profile.clear_cookies(name="__Host-gw")
        with page.expect_response("**/_auth/userinfo"):
            page.evaluate(question)
        if not ends:
            page.evaluate(settled)
            expect(bar).to_have_count(0)
            continue
        expect(bar).to_have_text("Sie sind abgemeldet. Anmelden (neuer Tab)")
        page.keyboard.press("Tab")
        link = bar.get_by_role("link")
        expect(link).to_be_focused()
        assert link.get_attribute("href") == f"/_auth/login?rd=%2Fwatched%3Fa%3D{number}%23c"
        assert bar.evaluate("bar => getComputedStyle(bar).position") == "fixed"
        profile.add_cookies(kept)  # type: ignore[arg-type]  # what one call returns the other takes
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(bar).to_have_count(0)
    script = page.evaluate(
        "fetch('/_auth/watch.js').then(async it => [it.headers.get('content-type'), "
        "it.headers.get('etag'), it.headers.get('cache-control'), await it.text()])"
    )
    assert script[0] == "text/javascript; charset=utf-8"
    assert script[2] == "public, max-age=3600"
    assert all(f"\n    {language}: [" in script[3] for language in LANGUAGES)
    assert not re.search(
        r"set(?:Timeout|Interval)|requestAnimationFrame|requestIdleCallback", script[3]
    ), "nothing is asked by the clock"
    assert (
        page.evaluate(
            (
                "tag => fetch('/_auth/watch.js', {headers: {'If-None-Match': tag}}).then(it => "
                "it.status)"
            ),
            script[1],
        )
        == 304
    )


def test_a_post_after_the_session_ended_keeps_the_person_on_a_page_that_helps(
    fronted: RunningWorld, profile: BrowserContext, page: Page
) -> None:
    page.goto(fronted.world.url("acme.localhost") + "/")
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_be_visible()
    profile.clear_cookies(name="__Host-gw")
    response = page.evaluate(
        "fetch('/echo', {method: 'POST', body: 'x', redirect: 'manual'}).then(r => r.status)"
    )
    assert response == 401


def test_pages_run_no_script_and_cannot_be_framed(fronted: RunningWorld, page: Page) -> None:
    response = page.goto(fronted.world.url("acme.localhost") + "/_auth/logout")
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.locator("script").count() == 0
