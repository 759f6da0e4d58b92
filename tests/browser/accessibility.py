"""What is asked of every page as a browser draws it: axe-core's rules in both color schemes, and no
scrolling sideways.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

Pages = dict[str, tuple[str, str]]
"""Name → HTML and rules of its style sheet."""
STYLE = "Array.from(document.styleSheets[0].cssRules).map(rule => rule.cssText).join('\\n')"
OPENED = "document.querySelectorAll('details').forEach(e => { e.open = true })"
SCHEMES: dict[Any, str] = {
    "light": (
        "axe.run(document, {resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', "
        "'wcag21aa', 'wcag22aa', 'best-practice']})"
    ),
    "dark": (
        "axe.run(document, {resultTypes: ['violations'], runOnly: {type: 'rule', values: "
        "['color-contrast', 'link-in-text-block']}})"
    ),
}
"""Color scheme → what is run in it: in the second, the rules that read colors."""


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
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
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Page, axe: str) -> list[tuple[str, str, list[str]]]:
    """Color scheme, rule that what is drawn breaks in it, and the elements that break it."""
    if page.evaluate("typeof axe") == "undefined":  # drawing leaves it loaded
        page.evaluate(axe)
    page.evaluate(OPENED)
    broken = []
    for scheme, rules in SCHEMES.items():
        page.emulate_media(color_scheme=scheme)
        broken += [(scheme, *one) for one in broken_in(page.evaluate(rules))]
    return broken


def broken_in(result: Any) -> list[tuple[str, list[str]]]:
    """Rules of axe-core's ``result``, and elements."""
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in result["violations"]]


def broken_rules(chromium: Browser, pages: Pages, axe: str) -> dict[str, Any]:
    """Of accessibility, by page."""
    return {
        name: broken for name, page in drawn(chromium, pages) if (broken := violations(page, axe))
    }


def too_wide(chromium: Browser, pages: Pages) -> dict[str, int]:
    """Pages that scroll sideways on a screen of 320 pixels."""
    return {
        name: wide
        for name, page in drawn(chromium, pages, viewport={"width": 320, "height": 640})
        if (wide := page.evaluate("document.documentElement.scrollWidth")) > 320
    }


def drawn(chromium: Browser, pages: Pages, **options: Any) -> Iterator[tuple[str, Page]]:
    """Each page without its policy, which would keep axe out."""
    context = chromium.new_context(**options)
    try:
        page = context.new_page()
        for name, (html, style) in pages.items():
            page.set_content(
                re.sub(r'<link rel="stylesheet"[^>]*>', f"<style>{style}</style>", html)
            )
            yield name, page
    finally:
        context.close()
