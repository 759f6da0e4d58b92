"""Pictures of the pages in Chromium: those of the README, or all of them for whoever changes one.

The pages are drawn from ``samples`` and served with their own policy; nothing else is reached.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from playwright.sync_api import sync_playwright

from gateway.pages import standalone
from gateway.pages.language import LANGUAGES
from gateway.pages.render import PAGES, Pages
from tests.pages.pictures import IMAGES, record
from tests.pages.samples import (
    ACME,
    LOGO,
    PRODUCT,
    PRODUCT_BRANDING,
    REQUEST_ID,
    VALUES,
    WITHOUT_TENANT,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from playwright.sync_api import Browser, BrowserContext, Route

    from gateway.core.model import Tenant

README: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "login": ("email", {"email": "", "problem": ""}),
    "denied": ("denied", {"no_groups": False, "roles": (), "change": None}),
}
"""File → page, and what differs from the sample."""
BLUE: Final = replace(ACME, branding=replace(ACME.branding, color="#0b5fff"))
CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")

Sheet = tuple[str, dict[str, str]]
"""HTML and its headers."""


def sheet(
    pages: Pages, name: str, language: str = "en", *, tenant: Tenant = BLUE, **changes: object
) -> Sheet:
    of = None if name in WITHOUT_TENANT else tenant
    html = pages.render(name, of, language, request_id=REQUEST_ID, **{**VALUES[name], **changes})
    return html, dict(pages.headers(name, of, language))


def serve(context: BrowserContext, sheets: Mapping[str, Sheet]) -> None:
    """Every ``https://acme.example.com/NAME`` of this context is one of ``sheets``; the logo is
    there, and all else is cut off.
    """

    def answer(route: Route) -> None:
        url = route.request.url
        name = url.rpartition("/")[2]
        if url == ACME.branding.logo:
            route.fulfill(body=LOGO, content_type="image/svg+xml")
        elif name in sheets:
            route.fulfill(body=sheets[name][0], headers=sheets[name][1])
        else:
            route.abort()

    context.route("**/*", answer)


def take(
    browser: Browser, sheets: Mapping[str, Sheet], folder: Path, *, scheme: str, width: int
) -> None:
    context = browser.new_context(
        color_scheme=cast("Any", scheme),
        viewport={"width": width, "height": 500},
        timezone_id="Europe/Berlin",
        locale="en-GB",
    )
    serve(context, sheets)
    page = context.new_page()
    for name in sheets:
        page.goto(f"https://acme.example.com/{name}")
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=folder / f"{name}.png", full_page=True)
    context.close()


def everything(pages: Pages) -> Iterator[tuple[str, Sheet]]:
    for language in LANGUAGES:
        for name in PAGES:
            yield f"{name}-{language}", sheet(pages, name, language)
    for status in standalone.STATUSES:
        yield f"ingress-{status}", (standalone.page(status), {"Content-Type": "text/html"})


def main() -> None:
    executable = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if executable is None:
        sys.exit("scripts/screenshots: Chromium is not installed")
    pages = Pages(product=PRODUCT, branding=PRODUCT_BRANDING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        if len(sys.argv) > 1:
            for scheme in ("light", "dark"):
                for width in (375, 1280):
                    folder = Path(sys.argv[1]) / f"{scheme}-{width}"
                    folder.mkdir(parents=True, exist_ok=True)
                    take(browser, dict(everything(pages)), folder, scheme=scheme, width=width)
        else:
            shown = {
                file: sheet(pages, name, **changes) for file, (name, changes) in README.items()
            }
            take(browser, shown, IMAGES, scheme="light", width=560)
            record(shown)
        browser.close()


if __name__ == "__main__":
    main()
