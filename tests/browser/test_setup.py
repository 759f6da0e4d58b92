"""Initech from nothing to a first login, by a setup link, in Chromium through a real nginx."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from demo.world import INITECH_HOST, World
from tests.browser.accessibility import STYLE, Pages, axe, broken_rules, too_wide
from tests.browser.test_onboarding import call, until_known
from tests.browser.test_roll_over import saml
from tests.browser.test_walk import sign_in
from tests.support.spare_keys import spare_keys
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from playwright.sync_api import Browser, Page, Request

__all__ = ["axe"]

PETER = "peter@initech.test"
CHOICES = {
    "okta": "Okta: OpenID Connect",
    "entra": "Microsoft Entra ID: OpenID Connect",
    "saml": "Okta: SAML",
}


RENEWED = ("okta", "saml")
"""Whose walk goes on to another secret, or other metadata."""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    world = World(tmp_path_factory.mktemp("setup"), ingress="nginx", console=True)
    with RunningWorld(world) as running:
        yield running


def open_link(page: Page, product: RunningWorld) -> None:
    """As its recipient, with the address from the mail and the phrase from the phone."""
    claim(page, product.run(product.world.make_setup_link()))


def claim(page: Page, setup: Mapping[str, str]) -> None:
    """All tests come from one address, which opens ten pages of links a minute."""
    until, often = time.monotonic() + 90, page.get_by_text("That was too often")
    while time.monotonic() < until:
        page.goto(setup["address"])
        if often.count():
            continue
        page.get_by_label("Your e-mail address").fill(setup["recipient"])
        page.get_by_label("The phrase of four words").fill(setup["phrase"])
        with page.expect_navigation():
            page.get_by_role("button", name="Start").click()
        if not often.count():
            break
    expect(page).to_have_url(re.compile("/setup$"))


def values(product: RunningWorld, kind: str, page: Page) -> dict[str, str]:
    """What the console of Initech's identity provider shows, in a tab of its own."""
    name = "initech-entra" if kind == "entra" else "initech-okta"
    console = page.context.new_page()
    console.goto(product.world.describe()["idps"][name]["console"])
    cells = console.locator("#application td").all_inner_texts()
    console.close()
    shown = dict(zip(cells[::2], cells[1::2], strict=True))
    if kind == "saml":
        return {"Metadata URL": shown["Metadata URL"]}
    return {
        "Issuer URL": shown["Issuer"],
        **{name: shown[name] for name in ("Client ID", "Client secret")},
    }


def note_check(bodies: list[str], sent: Request) -> None:
    """What was sent to be looked at."""
    if sent.url.endswith("/setup/connection/check"):
        bodies.append(sent.post_data or "")


def follow_guide(page: Page, choice: str) -> None:
    page.get_by_role("link", name="Choose your identity provider").click()
    page.get_by_role("button", name=choice).first.click()
    while page.get_by_role("heading", level=1, name="Enter their values").count() == 0:
        page.get_by_role("link", name="Continue").click()


def run_test(page: Page) -> None:
    """In a window of its own, as one of their people."""
    try_as(page, PETER)
    expect(page.get_by_role("status")).to_have_text("The test sign-in worked.")


def try_as(page: Page, email: str) -> None:
    """``email`` "": whom the identity provider knows already."""
    page.get_by_role("button", name="Prepare the test sign-in").click()
    with page.expect_popup() as popup:
        page.get_by_role("link", name="Sign in, in a new window").click()
    window = popup.value
    if email:
        sign_in(window, email)
    expect(window.locator("h1")).to_be_visible()
    expect(window).to_have_url(re.compile("/_auth/callback"))
    window.close()
    page.get_by_role("button", name="Check the result").click()


def renew(product: RunningWorld, page: Page, kind: str, shown: Callable[[str], object]) -> None:
    """With another link: another secret, or other metadata. ``shown``: called at each page, with a
    name for it.
    """
    url = product.world.onboarding["url"].replace("/provision", "/setup-links")
    body = {"parts": ["renew"], "recipients": ["it@initech.test"], "confirm": "phrase"}
    status, made = call(product, "POST", url, body)
    assert status == 201, made
    claim(page, {**made, "recipient": "it@initech.test"})
    shown("tasks")
    page.get_by_role("link", name="Enter the new secret or metadata").click()
    if kind == "saml":
        enter_metadata(product, page, shown)
    else:
        enter_secret(product, page, shown)
    expect(page.get_by_role("status")).to_have_text("The test sign-in worked.")
    shown("tested")
    page.get_by_role("link", name="Continue").click()
    page.get_by_role("link", name="Review and replace").click()
    caution = page.get_by_text("The present certificate is not in the new metadata.")
    expect(caution).to_have_count(1 if kind == "saml" else 0)
    shown("review")
    page.get_by_role("button", name="Replace now").click()
    expect(page.get_by_role("status")).to_contain_text("Replaced.")
    shown("replaced")


def enter_secret(product: RunningWorld, page: Page, shown: Callable[[str], object]) -> None:
    """The secret at the identity provider has changed; a wrong one is tried first."""
    idp = product.world.cloud.customers["initech-okta"].server
    (former,) = idp.apps.values()
    app = replace(former, client_secret="another-secret-of-the-same-app")
    idp.apps[app.client_id] = app
    page.get_by_label("New client secret").fill("not the secret")
    page.get_by_label("Secret expires on").fill("2099-01-31")
    shown("values")
    page.get_by_role("button", name="Check and save").click()
    try_as(page, "")
    expect(page.get_by_role("alert")).to_contain_text("did not pass")
    shown("failed")
    page.get_by_role("link", name="All tasks").first.click()
    page.get_by_role("link", name="Enter the new secret or metadata").click()
    page.get_by_label("New client secret").fill(app.client_secret)
    page.get_by_role("button", name="Check and save").click()
    try_as(page, "")


def enter_metadata(product: RunningWorld, page: Page, shown: Callable[[str], object]) -> None:
    """The identity provider signs with another key, and publishes its certificate alone."""
    face = saml(product)
    face.exchange_key(spare_keys()().private, publish_first=False)
    text = page.get_by_label("Or the text of the metadata file")
    text.fill("<html>a web page</html>")
    page.get_by_role("button", name="Check and save").click()
    expect(page.get_by_role("alert")).to_contain_text("This was not saved:")
    shown("problem")
    text.fill(face.metadata())
    shown("values")
    page.get_by_role("button", name="Check and save").click()
    try_as(page, "")


def signed_in_again(product: RunningWorld, chromium: Browser) -> None:
    page = chromium.new_context(locale="en-GB").new_page()
    try:
        page.goto(product.world.url(INITECH_HOST) + "/")
        sign_in(page, PETER)
        expect(page.locator("#person")).to_contain_text(PETER)
    finally:
        page.context.close()


def forget_initech(product: RunningWorld) -> None:
    url = product.world.onboarding["url"]
    status, answer = call(product, "DELETE", url)
    assert status == 204, answer


@pytest.mark.parametrize("kind", list(CHOICES))
def test_initech_from_nothing_to_a_first_login(
    product: RunningWorld, page: Page, chromium: Browser, axe: str, kind: str
) -> None:
    open_link(page, product)
    follow_guide(page, CHOICES[kind])
    checks: list[str] = []
    page.on("request", partial(note_check, checks))
    typed = values(product, kind, page)
    for label, value in typed.items():
        page.get_by_label(label).fill(value)
    # Before anything is saved, and without the secret.
    name = "metadata_url" if kind == "saml" else "issuer"
    expect(page.locator(f"#{name}-check")).to_contain_text("Sign-in address")
    assert checks
    assert not any(typed.get("Client secret", "no secret") in sent for sent in checks)
    assert not any("client_secret" in sent for sent in checks)
    page.get_by_role("button", name="Check and save").click()
    expect(page.locator("h1")).to_have_text("Test the sign-in")
    run_test(page)
    page.get_by_role("link", name="Continue").click()
    page.get_by_role("link", name="Choose who gets in").click()
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("Saved.")
    expect(page.locator("main")).to_contain_text("Whoever tested the sign-in gets in.")

    # Before it is live nobody is in.
    other = chromium.new_context(locale="en-GB").new_page()
    try:
        until_known(other, product.world.url(INITECH_HOST) + "/")
        assert other.locator("#person").count() == 0
        page.get_by_role("link", name="All tasks").first.click()
        page.get_by_role("link", name="Review and go live").click()
        page.get_by_role("button", name="Go live").click()
        expect(page.get_by_role("status")).to_have_text("You are live. People can sign in now.")
        until = time.monotonic() + 10
        other.goto(product.world.url(INITECH_HOST) + "/")
        while other.locator("input[name=email]").count() == 0 and time.monotonic() < until:
            other.goto(product.world.url(INITECH_HOST) + "/")
        sign_in(other, PETER)
        expect(other.locator("#person")).to_contain_text(PETER)
        if kind in RENEWED:
            pages: Pages = {}

            def look(name: str) -> None:
                pages[name] = (page.content(), page.evaluate(STYLE))

            renew(product, page, kind, look)
            # Nobody was signed out, and a new login works.
            other.reload()
            expect(other.locator("#person")).to_contain_text(PETER)
            signed_in_again(product, chromium)
            assert broken_rules(chromium, pages, axe) == {}
            assert too_wide(chromium, pages) == {}
    finally:
        other.context.close()
        forget_initech(product)


PAGES = (
    "",
    "/provider",
    "/connection/1",
    "/connection/values",
    "/test",
    "/offboarding",
    "/domains",
    "/colleague",
    "/health",
    "/nowhere",
)


def test_no_page_breaks_a_rule_of_accessibility_or_needs_a_script_or_a_wide_screen(
    product: RunningWorld, chromium: Browser, axe: str
) -> None:
    context = chromium.new_context(locale="en-GB", viewport={"width": 375, "height": 700})
    page = context.new_page()
    stopped: list[str] = []
    page.on("console", lambda message: stopped.append(message.text))
    try:
        open_link(page, product)
        page.get_by_role("link", name="Choose your identity provider").click()
        page.get_by_role("button", name=CHOICES["okta"]).first.click()
        origin = page.url.partition("/setup")[0]
        pages: Pages = {}
        for path in PAGES:
            page.goto(f"{origin}/setup{path}")
            assert page.evaluate("document.documentElement.scrollWidth") <= 375, path
            pages[path] = (page.content(), page.evaluate(STYLE))
        assert not [text for text in stopped if "Content Security Policy" in text]
        assert broken_rules(chromium, pages, axe) == {}
    finally:
        context.close()
