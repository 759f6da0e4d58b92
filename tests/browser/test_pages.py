"""The pages themselves in real Chromium: rules of accessibility, narrow screens, the keyboard, and
the policies they live under.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from playwright.sync_api import expect

from gateway.pages import standalone
from gateway.pages.language import LANGUAGES
from gateway.pages.render import PAGES
from tests.browser.test_walk import sign_in
from tests.pages.test_render import ACME, draw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.support.world import RunningWorld

every_page = pytest.mark.parametrize("name", sorted(PAGES))
both_schemes = pytest.mark.parametrize("scheme", ["light", "dark"])
COLOURS = ("#ffe600", "#111111", "#808080")
"""Pale, nearly black, and the middle where no ink is easy. All others: tests/pages/test_theme.py.
"""


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Deque's axe-core, the rules that accessibility audits run; installed from its lock."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("axe")
    shutil.copytree(Path(__file__).with_name("axe"), folder, dirs_exist_ok=True)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def sheets(chromium: Browser) -> Iterator[Callable[[str], Page]]:
    """A tab for each colour scheme, opened when first asked for: a new one costs more than what is
    looked at in it.
    """
    with ExitStack() as stack:

        @cache
        def get(scheme: str) -> Page:
            context = chromium.new_context(
                color_scheme=cast("Any", scheme), viewport={"width": 320, "height": 640}
            )
            stack.callback(context.close)
            return context.new_page()

        yield get


@pytest.fixture(params=["light", "dark"])
def sheet(request: pytest.FixtureRequest, sheets: Callable[[str], Page]) -> Page:
    """A page to draw on, in either colour scheme, without a server; nothing is left on it."""
    page = sheets(request.param)
    page.goto("about:blank")
    return page


RULES = (
    "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', "
    "'best-practice']})"
)


def violations(sheet: Page, axe: Path) -> list[tuple[str, list[str]]]:
    """Rules that are broken by what is drawn, and the elements that break them."""
    if sheet.evaluate("typeof axe") == "undefined":  # drawing leaves it loaded
        sheet.add_script_tag(path=axe)
    return [(v["id"], [n["html"] for n in v["nodes"]]) for v in sheet.evaluate(RULES)["violations"]]


def coloured(colour: str) -> Any:
    from dataclasses import replace

    return replace(ACME, branding=replace(ACME.branding, logo="", color=colour))


@every_page
def test_no_rule_of_wcag_is_broken(sheet: Page, axe: Path, name: str) -> None:
    for colour in COLOURS:
        sheet.set_content(draw(name, tenant=coloured(colour)))
        assert violations(sheet, axe) == [], colour


def test_pages_that_a_proxy_shows_of_itself_break_no_rule_and_fit(sheet: Page, axe: Path) -> None:
    for status in standalone.STATUSES:
        sheet.set_content(standalone.page(status))
        assert sheet.evaluate("document.documentElement.scrollWidth") <= 320, status
        assert violations(sheet, axe) == [], status


@every_page
def test_a_narrow_screen_needs_no_scrolling_sideways(sheet: Page, name: str) -> None:
    for language in LANGUAGES:
        sheet.set_content(draw(name, language, tenant=coloured("#0b5fff")))
        assert sheet.evaluate("document.documentElement.scrollWidth") <= 320, language


@every_page
def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(
    sheet: Page, name: str
) -> None:
    sheet.set_content(draw(name, tenant=coloured("#0b5fff")))
    wanted = sheet.evaluate(
        "[...document.querySelectorAll('a[href], button, select, input:not([type=hidden])')]"
        ".map(e => e.outerHTML)"
    )
    sheet.evaluate("document.body.tabIndex = -1; document.body.focus()")
    reached = []
    for _ in wanted:
        sheet.keyboard.press("Tab")
        reached.append(sheet.evaluate("document.activeElement.outerHTML"))
        assert (
            sheet.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
        )
    assert reached == wanted


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
