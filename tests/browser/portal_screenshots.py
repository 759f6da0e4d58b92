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
from tests.browser.test_setup import CHOICES, forget_initech, open_link, run_test, values
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Mapping

    from playwright.sync_api import Page

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
WHOLE: Final = "okta"
"""Whose walk is shown to its end; of the others what differs."""


@dataclass(frozen=True, slots=True)
class Camera:
    page: Page
    kind: str

    def take(self, name: str) -> None:
        """As ``setup-KIND-NAME.png``; where the address of the demo stands is not shown."""
        self.page.screenshot(path=IMAGES / f"setup-{self.kind}-{name}.png", full_page=True)


def walk(product: RunningWorld, page: Page, kind: str) -> None:
    camera = Camera(page, kind)
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
    if kind == WHOLE:
        finish(camera)
    forget_initech(product)


def fill(page: Page, theirs: Mapping[str, str]) -> None:
    for label, value in theirs.items():
        page.get_by_label(label).fill(value)


def finish(camera: Camera) -> None:
    page = camera.page
    run_test(page)
    camera.take("test")
    page.get_by_role("link", name="Continue").click()
    page.get_by_role("link", name="Choose who gets in").click()
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Save").click()
    camera.take("access")
    page.get_by_role("link", name="All tasks").first.click()
    page.get_by_role("link", name="Prove your e-mail domains").click()
    page.get_by_label("E-mail domain").fill("initech.com")
    page.get_by_role("button", name="Add").click()
    camera.take("domains")
    page.get_by_role("link", name="All tasks").first.click()
    page.get_by_role("link", name="Review and go live").click()
    page.get_by_role("button", name="Go live").click()
    camera.take("live")
    page.get_by_role("link", name="All tasks").first.click()
    page.get_by_role("link", name="Remove people who leave").click()
    camera.take("offboarding")


def main() -> None:
    executable = HEADLESS_SHELL or CHROMIUM
    if executable is None:
        sys.exit("scripts/screenshots: Chromium is not installed")
    with tempfile.TemporaryDirectory(prefix="gateway-portal-") as folder:
        world = World(Path(folder), ingress="nginx", console=True)
        with RunningWorld(world) as running, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
            for kind in CHOICES:
                context = browser.new_context(
                    viewport={"width": 900, "height": 400}, locale="en-GB", color_scheme="light"
                )
                walk(running, context.new_page(), kind)
                context.close()
            browser.close()


if __name__ == "__main__":
    main()
