"""Pictures of the console for its documentation, taken from the demo through a real proxy."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import sync_playwright

from demo.world import CONSOLE_HOST, OPERATOR, World
from tests.browser.conftest import ARGUMENTS, CHROMIUM, HEADLESS_SHELL
from tests.browser.test_walk import sign_in
from tests.support.world import RunningWorld

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
SHOWN: Final = {
    "console-overview": "/console/overview",
    "console-tenants": "/console/tenants",
    "console-access": "/console/tenants/acme/access",
}
"""File → address."""


def main() -> None:
    executable = HEADLESS_SHELL or CHROMIUM
    if executable is None:
        sys.exit("scripts/screenshots: Chromium is not installed")
    with tempfile.TemporaryDirectory(prefix="gateway-console-") as folder:
        world = World(Path(folder), ingress="nginx", console=True)
        with RunningWorld(world) as running, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
            page = browser.new_context(
                viewport={"width": 1100, "height": 400}, locale="en-GB", color_scheme="light"
            ).new_page()
            origin = running.world.url(CONSOLE_HOST)
            page.goto(origin + "/")
            sign_in(page, OPERATOR)
            for name, path in SHOWN.items():
                page.goto(origin + path)
                page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
            browser.close()


if __name__ == "__main__":
    main()
