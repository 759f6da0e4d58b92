"""An operator in Chromium: provisions a tenant, narrows it and sees who loses, applies
that, restores it; and every page on the way is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from demo.world import CONSOLE_HOST, INITECH_HOST, OPERATOR, World
from tests.browser.accessibility import STYLE, Pages, axe, broken_rules, too_wide
from tests.browser.test_walk import sign_in
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

__all__ = ["axe"]

TENANT = "/console/tenants/initech"
VISITED = (
    "/console/new-tenant",
    "/console/provision",
    "/console/provision/okta?tenant=initech",
    "/console/provision/saml",
    "/console/provision/apple",
    "/console/runs",
    f"{TENANT}/provisioning",
    f"{TENANT}/edit/general",
    f"{TENANT}/edit/groups",
    f"{TENANT}/edit/client",
    f"{TENANT}/edit/headers",
    f"{TENANT}/edit/sessions",
    f"{TENANT}/edit/webhook",
    f"{TENANT}/edit/branding",
    f"{TENANT}/edit/state",
    f"{TENANT}/add-provider",
    f"{TENANT}/connect",
    f"{TENANT}/connect/entra",
    f"{TENANT}/connect/saml",
    f"{TENANT}/rules",
    f"{TENANT}/delete",
    f"{TENANT}/history",
    "/console/tenants/acme/edit/general",
)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    world = World(tmp_path_factory.mktemp("changes"), ingress="nginx", console=True)
    with RunningWorld(world) as running:
        yield running


def walk(product: RunningWorld, page: Page, peter: Page, look: Callable[[str], None]) -> None:
    """Everything that an operator does with one tenant. ``look``: at each page, by a name."""
    world = product.world
    origin, body = world.url(CONSOLE_HOST), world.onboarding["body"]
    page.goto(f"{origin}/")
    sign_in(page, OPERATOR)

    page.goto(f"{origin}/console/provision")
    page.get_by_role("link", name="Okta").click()
    page.get_by_label("Tenant ID").fill("initech")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator(".summary")).to_be_visible()
    look("provision-error")
    page.get_by_label("Issuer").fill(body["provider"]["oidc_issuer"])
    page.get_by_label("Client ID").fill(body["provider"]["client_id"])
    page.locator("[name='provider.client_secret']").fill(body["provider"]["client_secret"])
    page.locator("[name=hosts]").fill(INITECH_HOST)
    page.locator("[name=email_domains]").fill("initech.test")
    page.locator("[name='groups.any']").uncheck()
    page.locator("[name=groups]").fill("app-users")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.locator("h1")).to_have_text("Run this plan?")
    assert body["provider"]["client_secret"] not in page.content()
    look("provision-plan")
    page.get_by_role("button", name="Run the plan").click()
    while page.get_by_role("link", name="Refresh").count():
        page.get_by_role("link", name="Refresh").click()
    expect(page.locator(".badge").first).to_contain_text("done")
    look("run")

    peter.goto(world.url(INITECH_HOST) + "/")
    sign_in(peter, "peter@initech.test")
    expect(peter.locator("#person")).to_contain_text("peter@initech.test")

    page.goto(f"{origin}{TENANT}/edit/groups")
    page.locator("#field-allowed-groups").fill("admins")
    page.get_by_role("button", name="Save…").click()
    expect(page.locator("strong.bad")).to_have_text("1 person loses access")
    expect(page.get_by_role("row", name="peter@initech.test")).to_be_visible()
    look("preview")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("status")).to_contain_text("Saved.")
    peter.reload()
    expect(peter.locator("#person")).to_have_count(0)

    page.goto(f"{origin}{TENANT}/history")
    look("history")
    page.get_by_role("radio", name="Compare version").nth(1).check()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".diff")).to_contain_text("app-users")
    look("versions")
    page.get_by_role("button", name="Restore…").first.click()
    expect(page.locator("body")).to_contain_text("1 person gains access")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("status")).to_contain_text("Saved.")
    peter.goto(world.url(INITECH_HOST) + "/")
    expect(peter.locator("#person")).to_contain_text("peter@initech.test")

    page.goto(f"{origin}{TENANT}/rules")
    page.locator("[name='rule.0.path']").fill("/admin/**")
    page.locator("[name='rule.0.needs']").select_option("groups")
    page.locator("[name='rule.0.groups']").fill("admins")
    page.locator("[name='try.url']").fill("/admin/x")
    page.locator("[name='try.email']").fill("peter@initech.test")
    page.locator("[name='try.groups']").fill("app-users")
    page.get_by_role("button", name="Try").click()
    expect(page.locator(".tester [role=status] strong").first).to_contain_text("denied")
    look("rules-tried")
    page.goto(f"{origin}{TENANT}/provisioning")
    page.get_by_role("button", name="Look for drift").click()
    expect(page.locator(".card [role=status]")).to_contain_text("as it was provisioned")
    look("drift")
    for path in VISITED:
        page.goto(origin + path)
        look(path)
    watch(page, origin, look)


def watch(page: Page, origin: str, look: Callable[[str], None]) -> None:
    """What was done is on record; what somebody may open and why; their sessions end."""
    page.goto(f"{origin}/console/audit?tenant=initech&action=put_tenant")
    page.locator("tbody a").first.click()
    expect(page.locator(".diff")).to_contain_text("app-users")
    look("record")
    page.goto(f"{origin}/console/people?tenant=initech")
    page.get_by_role("link", name="peter@initech.test").click()
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("status")).to_contain_text("allowed")
    look("person")
    page.get_by_role("button", name="End all sessions of this person").click()
    expect(page.locator("h1")).to_have_text("Revocation")
    expect(page.locator("td .bar").last).to_be_visible()
    look("revocation")


def test_an_operator_works_without_scripts_and_every_page_is_accessible(
    product: RunningWorld, chromium: Browser, axe: str
) -> None:
    # An operator's browser runs no script: everything is done all the same.
    contexts = [
        chromium.new_context(locale="en-GB", java_script_enabled=script) for script in (False, True)
    ]
    page, peter = (context.new_page() for context in contexts)
    stopped: list[str] = []
    page.on("console", lambda message: stopped.append(message.text))
    pages: Pages = {}

    def look(name: str) -> None:
        pages[name] = (page.content(), page.evaluate(STYLE))

    try:
        walk(product, page, peter, look)
    finally:
        for context in contexts:
            context.close()
    assert not [text for text in stopped if "Content Security Policy" in text]
    assert broken_rules(chromium, pages, axe) == {}
    assert too_wide(chromium, pages) == {}
