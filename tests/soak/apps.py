"""Real applications behind the whole product, the large ones too: ``python -m tests.soak.apps [NAME...] [--ingress nginx]``, and a matrix of what holds."""

from __future__ import annotations

import argparse
import subprocess
import sys

from playwright.sync_api import sync_playwright

from tests.apps.applications import APPLICATIONS
from tests.apps.more import LARGE, Large
from tests.apps.running import Running
from tests.apps.walk import HELD, LACKING, Walk
from tests.browser.conftest import ARGUMENTS, CHROMIUM


def main() -> int:
    known = {application.name: application for application in (*APPLICATIONS, *LARGE)}
    parser = argparse.ArgumentParser(prog="scripts/soak apps", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--ingress", default="nginx", choices=["nginx", "traefik", "caddy", "envoy", "haproxy"])
    arguments = parser.parse_args()
    failed = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for name in arguments.names or known:
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
            print(f"{name} behind {arguments.ingress}")
            for step, seen in results.items():
                failed += seen not in (HELD, LACKING)
                print(f"  {step:<28} {seen}", flush=True)
        browser.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
