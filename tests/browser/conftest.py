"""Real Chromium in front of the whole product. Skipped where Chromium is not installed;
``scripts/test`` says so at its end.

Most files drive Chromium's headless shell: the same engine, cookies and network in a third of the
processor time. It keeps no page in memory for the back button and opens no window by a held key, so
a file in which that matters says ``WHOLE_BROWSER = True``.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from demo.world import World
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
HEADLESS_SHELL = shutil.which("chromium-headless-shell")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
]


@pytest.fixture(scope="module")
def chromium(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """For one file: while it is open its event loop counts as running in this thread, and no
    asynchronous test could run beside it.
    """
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    whole = getattr(request.module, "WHOLE_BROWSER", False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM if whole else HEADLESS_SHELL or CHROMIUM,
            args=ARGUMENTS,
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield browser
        browser.close()


@pytest.fixture
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    """A fresh browser profile."""
    context = chromium.new_context(locale="en-GB")
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def page(profile: BrowserContext) -> Page:
    return profile.new_page()


@pytest.fixture(scope="package")
def products(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RunningWorld]]:
    """The product behind each ingress, started when it is first asked for. All stay until the
    folder's last test: files take turns between them.
    """
    running: dict[str, RunningWorld] = {}
    with ExitStack() as stack:

        def behind(ingress: str) -> RunningWorld:
            if ingress not in running:
                world = World(tmp_path_factory.mktemp(ingress), ingress=ingress)
                running[ingress] = stack.enter_context(RunningWorld(world))
            return running[ingress]

        yield behind


@pytest.fixture(scope="package", params=["nginx", "traefik"])
def fronted(
    request: pytest.FixtureRequest, products: Callable[[str], RunningWorld]
) -> RunningWorld:
    """The product behind a real ingress."""
    return products(request.param)
