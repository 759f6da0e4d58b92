"""``scripts/demo``: start everything on loopback, say where it is, and leave nothing behind."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from demo.ingress import LAUNCHERS
from demo.world import World, dump

if TYPE_CHECKING:
    from collections.abc import Iterator

INGRESSES = ("nginx", "traefik", "caddy", "envoy")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="The whole product on this machine: no cloud account, no root.",
    )
    parser.add_argument("--ingress", choices=INGRESSES, default="nginx")
    parser.add_argument(
        "--port", type=int, default=8000, help="where the browser goes (default: 8000)"
    )
    parser.add_argument(
        "--replicas",
        type=int,
        default=1,
        choices=range(1, 6),
        metavar="1..5",
        help="gateways sharing one store",
    )
    parser.add_argument(
        "--describe", type=Path, metavar="FILE", help="write what a script needs as JSON"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        metavar="DIR",
        help="an empty one for configuration and state, removed at the end (default: a temporary "
        "one)",
    )
    arguments = parser.parse_args()
    try:
        return asyncio.run(run(arguments))
    except KeyboardInterrupt:
        return 0


async def run(arguments: argparse.Namespace) -> int:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    with kept_in(arguments.directory) as folder:
        world = World(
            folder,
            ingress=arguments.ingress,
            port=arguments.port,
            replicas=arguments.replicas,
            console=True,
        )
        starting = asyncio.create_task(world.__aenter__())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await starting
                return 0
            try:
                starting.result()
            except (RuntimeError, OSError) as error:
                print(f"demo: {error}", file=sys.stderr)
                return 1
            try:
                await world.show_time_lines()
                await world.make_setup_link()
                await world.make_console_link()
                announce(world)
                if arguments.describe is not None:
                    await asyncio.to_thread(dump, world.describe(), arguments.describe)
                print(f"ready: {world.url('acme.localhost')}/", flush=True)
                await stop.wait()
            finally:
                await world.__aexit__(None, None, None)
        finally:
            stopping.cancel()
    return 0


@contextlib.contextmanager
def kept_in(directory: Path | None) -> Iterator[Path]:
    """A folder until the end of the context."""
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="gateway-demo-") as folder:
            yield Path(folder)
        return
    try:
        yield directory
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(directory)


def announce(world: World) -> None:
    """Hosts, people and consoles, for somebody with a browser."""
    description = world.describe()
    print(
        f"\nIngress: {LAUNCHERS[world.ingress].name if world.ingress else 'none'}; the "
        f"files it runs are in {world.directory / (world.ingress or '')}"
    )
    print("\nProtected applications")
    for name, url in description["hosts"].items():
        print(f"  {name:8} {url}/")
    print("\nPeople (password: demo)")
    for user in description["users"]:
        print(
            f"  {user['email']:20} {user['provider']:14} {', '.join(user['groups']) or 'no group'}"
        )
    console = description["console"]
    print(
        f"\nOperators' console: the link opens it once, within 15 minutes\n"
        f"  console  {console['link']}\n"
        f"           or {console['url']} as {console['operator']}"
    )
    print(f"  mailbox  {description['mailbox']} (what the gateway sends by mail)")
    print("\nConsoles of the customers' identity providers")
    for name, idp in description["idps"].items():
        print(f"  {name:14} {idp['console']}")
    setup = description["setup"]
    print(
        "\nSetup link for Initech's administrator, who connects one of their consoles above\n"
        f"  setup    {setup['address']}\n"
        f"           as {setup['recipient']}, with the phrase: {setup['phrase']}"
    )
    onboarding = description["onboarding"]
    print(
        (
            "\nInitech is not a customer yet. One call, and peter@initech.test (password: "
            "demo) gets in at "
        )
        + onboarding["then"]
        + "/"
    )
    print(
        f"  curl -H 'Authorization: Bearer {description['admin']['key']}' -H "
        "'Content-Type: application/json' \\"
    )
    print(f"    -d '{json.dumps(onboarding['body'])}' \\\n    {onboarding['url']}")
    print(
        "\nCommands, beside the running gateway:\n  "
        f"{Path(sys.executable).parent / 'gateway'} sessions list --tenant acme -c "
        f"{description['config']}"
    )
    print(
        f"\nGateway: {description['config']}\n  admin listener "
        f"{description['admin']['url']} (/metrics, /readyz), Cognito "
        f"{description['cognito']['url']}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
