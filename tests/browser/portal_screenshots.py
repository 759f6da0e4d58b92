"""Pictures of a setup link's pages for the documentation, taken on the walk of Initech's
administrator through the demo and a real proxy.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.sync_api import sync_playwright

from demo.world import World
from tests.browser.conftest import ARGUMENTS, CHROMIUM, HEADLESS_SHELL
from tests.browser.test_setup import (
    CHOICES,
    RENEWED,
    forget_initech,
    open_link,
    renew,
    run_test,
    values,
)
from tests.pages.pictures import IMAGES, record
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Mapping

    from playwright.sync_api import Page

WHOLE: Final = "okta"
"""Whose walk is shown to its end; of the others what differs."""
OF_RENEWALS: Final = {
    "okta": {"values": "renew-values", "replaced": "renew-replaced"},
    "saml": {"values": "renew-values", "review": "renew-review"},
}
"""What is shown of each: a page of it → file."""


@dataclass(frozen=True, slots=True)
class Camera:
    page: Page
    kind: str
    names: list[str]

    def take(self, name: str) -> None:
        """As ``setup-KIND-NAME.png``; where the address of the demo stands is not shown."""
        self.names.append(f"setup-{self.kind}-{name}")
        self.page.screenshot(path=IMAGES / f"{self.names[-1]}.png", full_page=True)


def walk(product: RunningWorld, page: Page, kind: str, names: list[str]) -> None:
    """``names``: of what is taken are added."""
    camera = Camera(page, kind, names)
    setup = product.run(product.world.make_setup_link())
    if kind == WHOLE:
        page.goto(setup["address"])
        camera.take("landing")
    open_link(page, product)
    if kind == WHOLE:
        camera.take("tasks")
    page.get_by_role("link", name="Choose your identity provider").click()
    page.get_by_role("button", name=CHOICES[kind]).first.click()
    camera.take("guide")
    while page.get_by_role("heading", level=1, name="Enter their values").count() == 0:
        page.get_by_role("link", name="Continue").click()
    fill(page, values(product, kind, page))
    camera.take("values")
    page.get_by_role("button", name="Check and save").click()
    if kind in RENEWED:
        shown = OF_RENEWALS[kind]
        finish(camera if kind == WHOLE else None, page)

        def look(name: str) -> None:
            if name in shown:
                camera.take(shown[name])

        renew(product, page, kind, look)
    forget_initech(product)


def fill(page: Page, theirs: Mapping[str, str]) -> None:
    for label, value in theirs.items():
        page.get_by_label(label).fill(value)
    name = "metadata_url" if "Metadata URL" in theirs else "issuer"
    page.locator(f"#{name}-check .published").first.wait_for()


def finish(camera: Camera | None, page: Page) -> None:
    """Without ``camera``: nothing is taken."""

    def take(name: str) -> None:
        if camera is not None:
            camera.take(name)

    run_test(page)
    take("test")
    page.get_by_role("link", name="Continue").click()
    page.get_by_role("link", name="Choose who gets in").click()
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Save").click()
    take("access")
    if camera is not None:
        page.get_by_role("link", name="All tasks").first.click()
        page.get_by_role("link", name="Prove your e-mail domains").click()
        page.get_by_label("E-mail domain").fill("initech.com")
        page.get_by_role("button", name="Add").click()
        take("domains")
    page.get_by_role("link", name="All tasks").first.click()
    page.get_by_role("link", name="Review and go live").click()
    page.get_by_role("button", name="Go live").click()
    take("live")
    page.get_by_role("link", name="All tasks").first.click()
    page.get_by_role("link", name="Remove people who leave").click()
    take("offboarding")


def main() -> None:
    executable = HEADLESS_SHELL or CHROMIUM
    if executable is None:
        sys.exit("scripts/screenshots: Chromium is not installed")
    names: list[str] = []
    with tempfile.TemporaryDirectory(prefix="gateway-portal-") as folder:
        world = World(Path(folder), ingress="nginx", console=True)
        with RunningWorld(world) as running, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
            for kind in CHOICES:
                context = browser.new_context(
                    viewport={"width": 900, "height": 400}, locale="en-GB", color_scheme="light"
                )
                walk(running, context.new_page(), kind, names)
                context.close()
            browser.close()
    record(names)


if __name__ == "__main__":
    main()
