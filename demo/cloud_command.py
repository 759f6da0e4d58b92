"""``python -m demo.cloud``: the stand-in for Cognito and two customers' identity providers, alone,
for trying a production set-up: ``gateway.yaml`` names it as Cognito, and ``gateway provision``
connects the customers.

With ``--certificate`` and names of your own that lead to this machine (``/etc/hosts``) nothing in
the gateway's configuration differs from AWS: not ``development``, not an address. It calls itself
over TLS, so ``SSL_CERT_FILE`` has to name the authority.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.cloud import POOL_ID, DemoCloud, Origins

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m demo.cloud",
        description="A stand-in for Cognito and two customers' identity providers, in memory.",
    )
    parser.add_argument("--cognito", metavar="ORIGIN", default="http://cognito.localhost:9000")
    parser.add_argument(
        "--issuer",
        metavar="URL",
        help="of Cognito's tokens, ending in the pool's ID (default: COGNITO/POOL)",
    )
    parser.add_argument("--okta", metavar="ORIGIN", default="http://okta.localhost:9001")
    parser.add_argument("--entra", metavar="ORIGIN", default="http://entra.localhost:9002")
    parser.add_argument("--certificate", nargs=2, metavar=("CHAIN", "KEY"), type=Path)
    parser.add_argument(
        "--describe", type=Path, metavar="FILE", help="write what a script needs as JSON"
    )
    options = parser.parse_args(arguments)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(options))
    return 0


async def run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    tls = None
    if options.certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*options.certificate)
    origins = Origins(
        options.cognito,
        options.issuer or f"{options.cognito}/{POOL_ID}",
        options.okta,
        options.entra,
    )
    async with DemoCloud(origins=origins, tls=tls, connected=False) as cloud:
        described = describe(cloud)
        if options.describe is not None:
            await asyncio.to_thread(write, options.describe, described)
        print(json.dumps(described, indent=1))
        print("ready", flush=True)
        await stop.wait()


def describe(cloud: DemoCloud) -> dict[str, Any]:
    """What ``gateway.yaml`` says about Cognito, and for each customer the request that provisions
    it (``gateway provision apply``, without ``hosts``) and its people.
    """
    return {
        "cognito": {
            "domain": cloud.cognito.url,
            "issuer": cloud.cognito.issuer,
            "user_pool_id": cloud.cognito.pool.pool_id,
        },
        "customers": {
            name: {
                "provider": {
                    "client_id": customer.app.client_id,
                    "client_secret": customer.app.client_secret,
                    "oidc_issuer": customer.issuer,
                },
                "groups": {group.name: group.id for group in directory.groups.values()},
                "people": [person.email for person in directory.people.values()],
                "password": "demo",
                "console": customer.console.url,
            }
            for name, customer in cloud.customers.items()
            for directory in [customer.server.directory]
        },
    }


def write(path: Path, described: dict[str, Any]) -> None:
    """Whole, and for its owner alone: it holds the customers' secrets."""
    new = path.with_name(f"{path.name}.new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(described, indent=1), "utf-8")
    new.replace(path)


__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
