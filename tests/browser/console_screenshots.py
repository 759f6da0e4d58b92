"""Pictures of the console for its documentation, taken from the demo through a real proxy."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.sync_api import sync_playwright

from demo.world import CONSOLE_HOST, World
from tests.browser.conftest import ARGUMENTS, CHROMIUM, HEADLESS_SHELL
from tests.browser.test_console_changes import walk
from tests.pages.pictures import IMAGES, record
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

ON_THE_WALK: Final = {
    "provision-plan": "console-plan",
    "preview": "console-preview",
    "rules-tried": "console-rules",
    "record": "console-record",
    "revocation": "console-revocation",
}
"""A page of an operator's work → file."""
SHOWN: Final = {
    "console-tenants": "/console/tenants",
    "console-access": "/console/tenants/acme/access",
}
"""File → address."""
NARROW: Final[ViewportSize] = {"width": 1100, "height": 400}
WIDE: Final[ViewportSize] = {"width": 1280, "height": 400}
BESIDE: Final = {"rules-tried"}
"""Pages with something beside the form, where there is room."""
COUNTED_S: Final = 90
"""Counters of all processes meet once a minute."""


def take(product: RunningWorld, browser: Browser) -> list[str]:
    names: list[str] = []
    contexts = [
        browser.new_context(viewport=NARROW, locale="en-GB", color_scheme="light") for _ in range(2)
    ]
    page, peter = (context.new_page() for context in contexts)

    def picture(name: str) -> None:
        page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
        names.append(name)

    def look(name: str) -> None:
        if name in ON_THE_WALK:
            page.set_viewport_size(WIDE if name in BESIDE else NARROW)
            picture(ON_THE_WALK[name])

    walk(product, page, peter, look)
    origin = product.world.url(CONSOLE_HOST)
    for name, path in SHOWN.items():
        page.goto(origin + path)
        picture(name)
    page.goto(f"{origin}/console/overview")
    until_counted(page)
    picture("console-overview")
    for context in contexts:
        context.close()
    return names


def until_counted(page: Page) -> None:
    until = time.monotonic() + COUNTED_S
    while page.locator("#chart-checks + svg").count() == 0 and time.monotonic() < until:
        page.wait_for_timeout(1000)
        page.reload()


def main() -> None:
    executable = HEADLESS_SHELL or CHROMIUM
    if executable is None:
        sys.exit("scripts/screenshots: Chromium is not installed")
    with tempfile.TemporaryDirectory(prefix="gateway-console-") as folder:
        world = World(Path(folder), ingress="nginx", console=True)
        with RunningWorld(world) as running, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
            names = take(running, browser)
            browser.close()
    record(names)


if __name__ == "__main__":
    main()
