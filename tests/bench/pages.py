"""A first visit of every page of the console and of a setup link in Chromium: bytes as they are
sent, and the time until something is painted. Through a real proxy, on loopback.

    scripts/bench pages [--visits 5]

Each visit is with an empty cache. The goals are 60 kB and 100 ms; a time counts on a quiet machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import sync_playwright

from demo.world import World
from tests.browser.conftest import ARGUMENTS, CHROMIUM, HEADLESS_SHELL
from tests.browser.test_console import PAGES as CONSOLE
from tests.browser.test_console import open_console
from tests.browser.test_setup import CHOICES, open_link
from tests.browser.test_setup import PAGES as SETUP
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Iterable

    from playwright.sync_api import Browser, BrowserContext, Request

BYTES: Final = 60_000
PAINT_MS: Final = 100.0
"""Goals of a page."""
PAINTED: Final = """() => new Promise((done) => {
  const look = () => {
    const [entry] = performance.getEntriesByName("first-contentful-paint");
    if (entry) done(entry.startTime); else requestAnimationFrame(look);
  };
  look();
})"""


@dataclass(frozen=True, slots=True)
class Visited:
    path: str
    sent: int
    painted: tuple[float, ...]

    def show(self) -> None:
        low, high = min(self.painted), max(self.painted)
        ms = statistics.median(self.painted)
        missed = " !" if self.sent > BYTES or ms > PAINT_MS else ""
        print(
            f"{self.path:55} {self.sent:>7,} B {ms:6.0f} ms ({low:.0f}–{high:.0f}){missed}",
            flush=True,
        )


def visit(browser: Browser, state: Any, url: str) -> tuple[int, float]:
    """Bytes, and milliseconds until the first paint."""
    context = browser.new_context(storage_state=state, locale="en-GB")
    page = context.new_page()
    sent: list[Request] = []

    def finished(request: Request) -> None:
        sent.append(request)

    page.on("requestfinished", finished)
    page.goto(url)
    painted = float(page.evaluate(PAINTED))
    page.wait_for_load_state("networkidle")
    total = sum(one.sizes()["responseBodySize"] for one in sent)
    context.close()
    return total, painted


def measure(
    browser: Browser, context: BrowserContext, origin: str, paths: Iterable[str], visits: int
) -> list[Visited]:
    state = context.storage_state()
    found = []
    for path in paths:
        looks = [visit(browser, state, origin + path) for _ in range(visits)]
        found.append(Visited(path, looks[0][0], tuple(ms for _, ms in looks)))
        found[-1].show()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench pages")
    parser.add_argument("--visits", type=int, default=5)
    visits = parser.parse_args().visits
    executable = HEADLESS_SHELL or CHROMIUM
    if executable is None:
        sys.exit("scripts/bench: Chromium is not installed")
    with tempfile.TemporaryDirectory(prefix="gateway-pages-") as folder:
        world = World(Path(folder), ingress="nginx", console=True)
        with RunningWorld(world) as running, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
            context = browser.new_context(locale="en-GB")
            page = context.new_page()
            found = measure(browser, context, open_console(page, running), CONSOLE, visits)
            open_link(page, running)
            page.get_by_role("link", name="Choose your identity provider").click()
            page.get_by_role("button", name=CHOICES["okta"]).first.click()
            origin = page.url.partition("/setup")[0]
            paths = [f"/setup{path}" for path in SETUP]
            found += measure(browser, context, origin, paths, visits)
            browser.close()
    medians = [statistics.median(one.painted) for one in found]
    print(
        f"{len(found)} pages: {max(one.sent for one in found):,} B at most; painted after "
        f"{statistics.median(medians):.0f} ms (median), {max(medians):.0f} ms (slowest page)"
    )


if __name__ == "__main__":
    main()
