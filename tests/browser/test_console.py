"""Operators in Chromium, through a real nginx: sign in to the console, and what is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from demo.world import CONSOLE_HOST, OPERATOR, World
from tests.browser.accessibility import STYLE, Pages, axe, broken_rules
from tests.browser.test_walk import sign_in
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Request

__all__ = ["axe"]

PAGES = (
    "/console/overview",
    "/console/overview?window=day",
    "/console/health",
    "/console/keys",
    "/console/keys/new",
    "/console/setup-links",
    "/console/setup-links/new",
    "/console/tenants",
    "/console/tenants?search=globex",
    "/console/tenants/acme",
    "/console/tenants/acme/providers",
    "/console/tenants/acme/access",
    "/console/tenants/acme/domains",
    "/console/tenants/acme/removals",
    "/console/tenants/acme/history",
    "/console/tenants/nowhere",
    "/console/sessions",
    "/console/sessions?tenant=operators",
    "/console/sessions/operators/end",
    "/console/people",
    "/console/people?tenant=operators",
    "/console/people?email=nobody@acme.test",
    "/console/blocks?tenant=operators",
    "/console/deliveries",
    "/console/deliveries?direction=out&tenant=acme",
    "/console/deliveries/acme/hooks",
    "/console/audit",
)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    world = World(tmp_path_factory.mktemp("console"), ingress="nginx", console=True)
    with RunningWorld(world) as running:
        yield running


def open_console(page: Page, product: RunningWorld, email: str = OPERATOR) -> str:
    """Sign in; the console's origin."""
    origin = product.world.url(CONSOLE_HOST)
    page.goto(origin + "/")
    sign_in(page, email)
    expect(page.locator("h1")).to_be_visible()
    return origin


@pytest.fixture
def unopened(tmp_path: Path) -> Iterator[RunningWorld]:
    """A world whose operators have not signed in yet."""
    with RunningWorld(World(tmp_path, ingress="nginx", console=True)) as running:
        yield running


def test_a_one_time_link_opens_the_console_before_anybody_signed_in(
    unopened: RunningWorld, page: Page, chromium: Browser
) -> None:
    product = unopened
    link = product.run(product.world.command("console", "link")).strip()
    page.goto(link)
    expect(page.locator("h1")).to_have_text("Open the console")
    page.get_by_role("button", name="Open the console").click()
    origin = product.world.url(CONSOLE_HOST)
    expect(page).to_have_url(f"{origin}/console/link/overview")
    expect(page.locator("h1")).to_have_text("Overview")
    page.get_by_role("link", name="Tenants").first.click()
    expect(page).to_have_url(f"{origin}/console/link/tenants")
    page.get_by_label("Name, host, domain, person").fill("globex")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Globex").click()
    expect(page.locator("h1")).to_have_text("Globex")
    page.get_by_role("link", name="Sessions").first.click()
    expect(page.locator("h1")).to_have_text("Sessions")

    other = chromium.new_context().new_page()
    try:
        other.goto(link)
        other.get_by_role("button", name="Open the console").click()
        expect(other.locator("h1")).to_have_text("This link does not open the console")
        other.goto(f"{origin}/console/link/tenants")
        expect(other.locator("h1")).to_have_text("This link does not open the console")
        open_console(other, product)
    finally:
        other.context.close()

    page.reload()
    expect(page.locator("h1")).to_have_text("This link does not open the console")


def test_an_operator_signs_in_through_the_gateway_and_a_customer_does_not(
    product: RunningWorld, page: Page, chromium: Browser
) -> None:
    origin = open_console(page, product)
    expect(page).to_have_url(f"{origin}/console/overview")
    expect(page.locator(".who")).to_contain_text(OPERATOR)
    page.get_by_role("link", name="Tenants").first.click()
    expect(page.locator("table")).to_contain_text("acme.localhost")
    page.get_by_label("Name, host, domain, person").fill("globex")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Globex").click()
    expect(page.locator("h1")).to_have_text("Globex")

    other = chromium.new_context().new_page()
    try:
        other.goto(product.world.url("acme.localhost") + "/")
        sign_in(other, "alice@acme.test")
        other.goto(f"{origin}/console/tenants")
        expect(other).not_to_have_url(re.compile("/console/tenants$"))
        assert "globex" not in other.content()
    finally:
        other.context.close()


def session_cookie(page: Page, address: str) -> str:
    (cookie,) = [c for c in page.context.cookies(address) if c["name"].endswith("gw")]
    return cookie["value"]


def test_a_session_that_is_ended_opens_nothing_any_more(
    product: RunningWorld, page: Page, chromium: Browser
) -> None:
    other = chromium.new_context().new_page()
    try:
        app = product.world.url("acme.localhost") + "/"
        other.goto(app)
        sign_in(other, "bob@acme.test")
        expect(other).to_have_url(app)
        origin = open_console(page, product)
        page.goto(f"{origin}/console/sessions?tenant=acme&email=bob@acme.test")
        page.get_by_role("button", name="End this session").click()
        expect(page.get_by_role("status")).to_contain_text("on every replica")
        expect(page.locator("h1")).to_have_text("Revocation")
        expect(page.locator(".badge").first).to_contain_text("acknowledged")
        before = session_cookie(other, app)
        other.goto(app)
        expect(other).to_have_url(app)
        assert session_cookie(other, app) != before, "their provider signed them in again"
    finally:
        other.context.close()


def test_whoever_lacks_a_scope_is_told_which(product: RunningWorld, page: Page) -> None:
    origin = open_console(page, product, "audrey@example-cloud.test")
    page.goto(f"{origin}/console/tenants/acme/history")
    expect(page.locator("h1")).to_have_text("Acme Corporation")
    page.context.clear_cookies()
    open_console(page, product, "sam@example-cloud.test")
    page.goto(f"{origin}/console/tenants/acme")
    expect(page.get_by_role("link", name="History")).to_have_count(0)


def test_whoever_has_no_group_of_the_console_is_refused_by_the_gateway(
    product: RunningWorld, page: Page
) -> None:
    page.goto(product.world.url(CONSOLE_HOST) + "/")
    sign_in(page, "nora@example-cloud.test")
    expect(page.locator("body")).to_contain_text("nora@example-cloud.test")
    assert "acme" not in page.content().replace("acme-team", "")


def test_a_sign_out_closes_the_console(product: RunningWorld, page: Page) -> None:
    origin = open_console(page, product)
    page.get_by_role("button", name="Sign out").click()
    page.locator("main form button").first.click()
    expect(page).not_to_have_url(re.compile("/_auth/logout$"))
    assert not [c for c in page.context.cookies(origin) if c["name"] == "__Host-gw"]


def test_no_page_breaks_a_rule_of_accessibility_or_its_own_policy(
    product: RunningWorld, chromium: Browser, page: Page, axe: str
) -> None:
    stopped: list[str] = []
    page.on("console", lambda message: stopped.append(message.text))
    origin = open_console(page, product)
    pages: Pages = {}
    for path in PAGES:
        page.goto(origin + path)
        pages[path] = (page.content(), page.evaluate(STYLE))
    assert not [text for text in stopped if "Content Security Policy" in text]
    assert broken_rules(chromium, pages, axe) == {}


def test_a_narrow_screen_needs_no_scrolling_sideways(
    product: RunningWorld, chromium: Browser
) -> None:
    context = chromium.new_context(viewport={"width": 320, "height": 640}, java_script_enabled=True)
    page = context.new_page()
    try:
        origin = open_console(page, product)
        for path in PAGES:
            page.goto(origin + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
            assert page.get_by_text("Menu").is_visible(), path
    finally:
        context.close()


FOCUSED = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  return [one.textContent.trim() || one.id, style.outlineStyle !== "none"];
}"""


def tab_to(page: Page, name: str) -> None:
    """By its text or id; wherever the focus is on the way, it is seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused, is_seen = page.evaluate(FOCUSED)
        assert is_seen, focused
        if focused == name:
            return
    pytest.fail(f"no key leads to {name}")


def test_the_keyboard_alone_finds_and_opens_a_tenant(product: RunningWorld, page: Page) -> None:
    origin = open_console(page, product)
    page.goto(f"{origin}/console/tenants")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUSED) == ["Skip to content", True]
    page.keyboard.press("Enter")
    tab_to(page, "search")
    page.keyboard.type("globex")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    tab_to(page, "Globex")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Globex")
    page.set_viewport_size({"width": 375, "height": 640})
    page.goto(f"{origin}/console/revocations/acme/none")
    tab_to(page, "Menu")
    page.keyboard.press("Enter")
    tab_to(page, "Audit log")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Audit log")


def test_without_scripts_everything_is_there(product: RunningWorld, chromium: Browser) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    try:
        origin = open_console(page, product)
        page.goto(f"{origin}/console/tenants/acme/access")
        expect(page.locator("table")).to_contain_text("/public/**")
    finally:
        context.close()


def test_the_console_stays_within_its_budget(product: RunningWorld, page: Page) -> None:
    """Bytes of a first visit as they are sent: page, style sheet and script."""
    origin = open_console(page, product)
    sent: list[Request] = []

    def finished(request: Request) -> None:
        sent.append(request)

    page.on("requestfinished", finished)
    page.goto(f"{origin}/console/tenants")
    page.wait_for_load_state("networkidle")
    sizes = [request.sizes()["responseBodySize"] for request in sent]
    assert len(sizes) >= 3
    assert sum(sizes) <= 60_000
