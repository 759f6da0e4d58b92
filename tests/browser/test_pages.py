"""The pages themselves in real Chromium: rules of accessibility, narrow screens, the keyboard, and
the policies they live under.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from gateway.pages import standalone
from gateway.pages.render import PAGES, Pages
from tests.browser.accessibility import OPENED, axe, violations
from tests.browser.test_walk import sign_in
from tests.pages.samples import ACME, PRODUCT, PRODUCT_BRANDING, REQUEST_ID, VALUES
from tests.pages.screenshots import everything, serve, sheet
from tests.pages.test_render import EVIL, poisoned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pytest
    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.pages.screenshots import Sheet
    from tests.support.world import RunningWorld

__all__ = ["axe"]

COLOURS = ("#ffe600", "#111111", "#808080")
"""Pale, nearly black, and the middle where no ink is easy. All others: tests/pages/test_theme.py.
"""
DRAWN = Pages(product=PRODUCT, branding=PRODUCT_BRANDING)


@contextmanager
def tab(chromium: Browser, sheets: Mapping[str, Sheet], **options: Any) -> Iterator[Page]:
    """On it every ``open_sheet`` is one of ``sheets`` under its own policy, without a server; it
    fails for what the policy had to stop.
    """
    context = chromium.new_context(
        viewport={"width": 320, "height": 640}, timezone_id="Europe/Berlin", **options
    )
    serve(context, sheets)
    page = context.new_page()
    stopped: list[str] = []
    page.on("console", lambda message: stopped.append(message.text))
    try:
        yield page
        assert not [text for text in stopped if "Content Security Policy" in text]
    finally:
        context.close()


def open_sheet(page: Page, name: str) -> None:
    page.goto(f"https://acme.example.com/{name}")


def coloured(colour: str) -> Any:
    return replace(ACME, branding=replace(ACME.branding, logo="", color=colour))


def test_no_page_breaks_a_rule_of_accessibility_in_either_scheme(
    chromium: Browser, axe: str
) -> None:
    sheets = {
        name: sheet(DRAWN, name, tenant=coloured(COLOURS[number % len(COLOURS)]))[0]
        for number, name in enumerate(PAGES)
    } | {f"ingress-{status}": standalone.page(status) for status in standalone.STATUSES}
    broken = {}
    with tab(chromium, {}) as page:
        for name, html in sheets.items():
            page.set_content(html)
            broken[name] = violations(page, axe)
    assert {name: found for name, found in broken.items() if found} == {}


def test_a_narrow_screen_needs_no_scrolling_sideways_in_any_language(chromium: Browser) -> None:
    with tab(chromium, {}) as page:
        for name, (html, _) in everything(DRAWN):
            page.set_content(html)
            width = page.evaluate(f"{OPENED}; document.documentElement.scrollWidth")
            assert width <= 320, name


def test_a_claims_name_is_broken_between_its_words_or_not_at_all(chromium: Browser) -> None:
    with tab(chromium, {"test_result": sheet(DRAWN, "test_result")}) as page:
        open_sheet(page, "test_result")
        lines = page.evaluate(
            "[...document.querySelectorAll('.claims dt code, .steps span')]"
            ".map(e => [e.textContent, e.getClientRects().length])"
        )
        assert lines
        assert [text for text, count in lines if count > 1 and " " not in text] == []


FOCUSABLE = "a[href], button, select, summary, textarea, input:not([type=hidden])"


def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(chromium: Browser) -> None:
    sheets = {name: sheet(DRAWN, name) for name in PAGES}
    with tab(chromium, sheets) as page:
        for name in sheets:
            open_sheet(page, name)
            wanted = page.evaluate(
                f"[...document.querySelectorAll('{FOCUSABLE}')].filter(e => !e.hidden)"
                ".map(e => e.outerHTML)"
            )
            page.evaluate("document.body.tabIndex = -1; document.body.focus()")
            reached = []
            for _ in wanted:
                page.keyboard.press("Tab")
                reached.append(page.evaluate("document.activeElement.outerHTML"))
                assert (
                    page.evaluate(
                        "parseFloat(getComputedStyle(document.activeElement).outlineWidth)"
                    )
                    >= 2
                ), name
            assert reached == wanted, name


def test_times_are_those_of_the_browser_and_complete_without_scripts(chromium: Browser) -> None:
    sheets = {name: sheet(DRAWN, name) for name in ("sessions", "app_password", "denied")}
    with tab(chromium, sheets, locale="en-GB") as page:
        open_sheet(page, "sessions")
        expect(page.locator("time").first).to_have_text("21 Sept 2026, 16:13 (Berlin time)")
        open_sheet(page, "denied")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == REQUEST_ID[-8:]
    with tab(chromium, sheets, locale="en-GB", java_script_enabled=False) as page:
        open_sheet(page, "sessions")
        expect(page.locator("time").first).to_have_text("21 Sep 2026, 14:13 UTC")
        open_sheet(page, "app_password")
        expect(page.get_by_role("button", name="Copy")).to_be_hidden()


def test_markup_in_any_value_is_text_in_a_browser(chromium: Browser) -> None:
    """The policy has nothing to stop: see ``tab``."""
    tenant = replace(ACME, name=EVIL, branding=replace(ACME.branding, support=EVIL))
    drawn = Pages(product=EVIL)
    sheets = {
        name: sheet(drawn, name, tenant=tenant, **{k: poisoned(v) for k, v in VALUES[name].items()})
        for name in PAGES
    }
    with tab(chromium, sheets) as page:
        for name in sheets:
            open_sheet(page, name)
            assert page.locator("img:not(header img), [onerror], body script ~ *").count() == 0
            assert EVIL.partition("<script>")[2] in page.locator("body").inner_text(), name


def test_no_other_script_runs_on_a_page_that_has_one(chromium: Browser) -> None:
    sheets = {name: sheet(DRAWN, name) for name in PAGES if PAGES[name].script}
    assert sheets
    context = chromium.new_context()
    serve(context, sheets)
    page = context.new_page()
    for name in sheets:
        open_sheet(page, name)
        page.evaluate("""() => {
            const script = document.createElement('script');
            script.textContent = 'document.title = 1';
            const box = document.createElement('div');
            box.innerHTML = '<img src=x onerror="document.title=2">';
            document.body.append(script, box);
        }""")
        assert page.title() not in {"1", "2"}, name
    context.close()


def test_the_language_follows_the_browser(fronted: RunningWorld, chromium: Browser) -> None:
    for locale, heading in (
        ("de-DE", "Abmelden?"),
        ("fr-FR", "Se déconnecter ?"),
        ("es-ES", "¿Cerrar sesión?"),
        ("sv-SE", "Sign out?"),
    ):
        context = chromium.new_context(locale=locale)
        page = context.new_page()
        page.goto(fronted.world.url("acme.localhost") + "/_auth/logout")
        expect(page.locator("h1")).to_have_text(heading)
        context.close()


def test_a_page_is_one_request_small_and_breaks_no_policy_of_its_own(
    fronted: RunningWorld, page: Page
) -> None:
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    response = page.goto(
        fronted.world.url("acme.localhost") + "/_auth/logout", wait_until="networkidle"
    )
    assert response is not None
    assert [url for url in requests if not url.startswith("data:")] == [response.url]
    assert len(response.body()) < 10_000
    assert not [text for text in complaints if "Content Security Policy" in text]


def test_markup_that_got_in_would_run_nothing(fronted: RunningWorld, page: Page) -> None:
    page.goto(fronted.world.url("acme.localhost") + "/_auth/logout")
    page.evaluate("""() => {
        const button = document.createElement('div');
        button.innerHTML = '<img src=x onerror="document.title=1"><a id="bad" href="javascript:document.title=2">x</a>';
        document.body.append(button);
        document.getElementById('bad').click();
    }""")  # noqa: E501 - one text, as it is
    assert page.title() not in {"1", "2"}


def test_signing_out_works_by_keyboard_alone(fronted: RunningWorld, page: Page) -> None:
    page.goto(fronted.world.url("acme.localhost") + "/")
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_contain_text("alice@acme.test")
    page.goto(fronted.world.url("acme.localhost") + "/_auth/logout")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(fronted.world.url("acme.localhost") + "/_auth/signed-out")


def test_someone_else_can_sign_in_after_a_denial(
    fronted: RunningWorld, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The classic hosted pages ignore ``prompt``, so there the identity provider's own session would
    # bring mallory back.
    monkeypatch.setattr(fronted.world.cloud.cognito.pool.behaviour, "managed_login_version", 2)
    page.goto(fronted.world.url("acme.localhost") + "/reports")
    sign_in(page, "mallory@acme.test")
    page.get_by_role("button", name="Sign in as someone else").click()
    expect(page).to_have_url(re.compile(r"^http://okta\.localhost:"))
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_contain_text("alice@acme.test")
    assert page.url == fronted.world.url("acme.localhost") + "/reports"


def test_a_form_sent_after_the_session_ended_can_be_sent_again(
    fronted: RunningWorld, profile: BrowserContext, page: Page
) -> None:
    page.goto(fronted.world.url("acme.localhost") + "/")
    sign_in(page, "alice@acme.test")
    expect(page.locator("#person")).to_be_visible()
    profile.clear_cookies(name="__Host-gw")
    page.evaluate("""() => {
        const form = document.createElement('form');
        form.method = 'post'; form.action = '/echo'; form.innerHTML = '<input name="note" value="kept">';
        document.body.append(form); form.submit();
    }""")  # noqa: E501 - one text, as it is
    expect(page.locator("h1")).to_have_text("Your entries were not sent")
    with profile.expect_page() as opened:
        page.get_by_role("link", name="Sign in in a new tab").click()
    expect(opened.value.locator("body")).to_contain_text("alice@acme.test")
    page.reload()
    expect(page.locator("body")).to_contain_text('"method": "POST"')
    expect(page.locator("body")).to_contain_text('"body_bytes": 9')


def test_an_address_that_cannot_be_read_leads_to_the_start_page(
    fronted: RunningWorld, page: Page
) -> None:
    origin = fronted.world.url("acme.localhost")
    for ending in ("/%00", "/%zz"):
        if ending == "/%zz" and fronted.world.ingress == "traefik":
            continue  # answered by the library that it is built on, in plain text
        page.goto(origin + ending)
        expect(page.locator("h1")).to_have_text("This address cannot be read")
        page.locator("main a").first.click()
        if page.locator("input[name=password]").count():
            sign_in(page, "alice@acme.test")
        expect(page).to_have_url(origin + "/")
        expect(page.locator("#person")).to_contain_text("alice@acme.test")


def test_a_host_of_nobody_says_so(fronted: RunningWorld, page: Page) -> None:
    response = page.goto(fronted.world.url("nobody.localhost") + "/x")
    assert response is not None
    assert response.status == 421
    expect(page.locator("h1")).to_have_text("Nothing is served at this address")


def test_a_frame_offers_to_sign_in_in_a_new_tab(
    fronted: RunningWorld, profile: BrowserContext, page: Page
) -> None:
    page.goto(fronted.world.url("globex.localhost") + "/")
    sign_in(page, "carol@globex.test")
    expect(page.locator("#person")).to_be_visible()
    page.evaluate(
        (
            "address => { const frame = document.createElement('iframe'); frame.src = address; "
            "document.body.append(frame); }"
        ),
        fronted.world.url("acme.localhost") + "/widget",
    )
    inside = page.frame_locator("iframe")
    expect(inside.locator("h1")).to_have_text("Please sign in")
    with profile.expect_page() as opened:
        inside.get_by_role("link", name="Sign in in a new tab").click()
    expect(opened.value).to_have_url(re.compile(r"^http://okta\.localhost:"))
