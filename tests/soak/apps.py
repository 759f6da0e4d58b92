"""Real applications behind the whole product, the large ones too: ``python -m tests.soak.apps
[NAME...] [--ingress nginx]``, and a matrix of what holds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from tests.apps.applications import APPLICATIONS
from tests.apps.more import LARGE, Large
from tests.apps.running import Running
from tests.apps.walk import HELD, LACKING, Walk
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.soak import clients

if TYPE_CHECKING:
    from collections.abc import Mapping


def main() -> int:
    known = {application.name: application for application in (*APPLICATIONS, *LARGE)}
    parser = argparse.ArgumentParser(prog="scripts/soak apps", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=", ".join((*known, *clients.PROGRAMS))
    )
    parser.add_argument(
        "--ingress", default="nginx", choices=["nginx", "traefik", "caddy", "envoy", "haproxy"]
    )
    arguments = parser.parse_args()
    failed = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        names = arguments.names or [*known, *clients.PROGRAMS]
        if programs := [name for name in names if name in clients.PROGRAMS]:
            with tempfile.TemporaryDirectory() as folder:
                failed += _print(
                    "programs",
                    arguments.ingress,
                    clients.walk(
                        programs, ingress=arguments.ingress, browser=browser, folder=Path(folder)
                    ),
                )
        for name in (name for name in names if name not in clients.PROGRAMS):
            application = known[name]
            try:
                if isinstance(application, Large):
                    application.install()
                with Running([application], ingress=arguments.ingress) as running:
                    profile = browser.new_context(locale="en-GB")
                    profile.set_default_timeout(60_000)
                    results = Walk(running, application, profile).results()
                    profile.close()
            except (subprocess.CalledProcessError, AssertionError, OSError) as error:
                results = {"start": f"{type(error).__name__}: {error}"[:2000]}
            failed += _print(name, arguments.ingress, results)
        browser.close()
    return 1 if failed else 0


def _print(name: str, ingress: str, results: Mapping[str, str]) -> int:
    """How many steps did not hold."""
    print(f"{name} behind {ingress}")
    for step, seen in results.items():
        print(f"  {step:<28} {seen}", flush=True)
    return sum(seen not in (HELD, LACKING) for seen in results.values())


if __name__ == "__main__":
    sys.exit(main())
