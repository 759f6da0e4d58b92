"""``gateway health``: for container engines and service managers; a healthy answer is exit code
0.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from gateway.cli import config_option
from gateway.config.model import load_config
from gateway.errors import ConfigError, UnavailableError
from gateway.http.body import read_beginning
from gateway.http.connection_error import why

if TYPE_CHECKING:
    import aiohttp

TIMEOUT_S = 4.0
MAX_ANSWER_BYTES = 65536
"""Below the five seconds that the image's HEALTHCHECK allows, so that the reason is printed before
it is killed.
"""


@click.command()
@click.argument("url", required=False)
@config_option
@click.option("--ready", is_flag=True, help="Ask for readiness: whether every dependency answers.")
def command(url: str | None, config_path: str, ready: bool) -> None:
    """Ask a running gateway whether it is healthy.

    URL is the admin listener, such as http://127.0.0.1:8082 or unix:/run/gateway/admin.sock.
    Without it the configuration says where that is; with it no configuration is read.
    """
    address = url or load_config(Path(config_path)).listen.admin
    click.echo(asyncio.run(probe(address, path="/readyz" if ready else "/healthz")))


async def probe(address: str, *, path: str) -> str:
    """The body of a 200; anything else is ``UnavailableError``."""
    import aiohttp  # noqa: PLC0415 - not needed to list the commands

    try:
        try:
            base, connector = reach(address)
        except ValueError as error:
            msg = f"{address} is no address (http://HOST:PORT or unix:PATH)"
            raise ConfigError(msg) from error
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)
            ) as session,
            session.get(base + path, allow_redirects=False) as response,
        ):
            raw = await read_beginning(response.content, limit=MAX_ANSWER_BYTES)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        msg = f"{address} does not answer: {why(error)}"
        raise UnavailableError(msg) from error
    body = raw.decode(errors="replace").strip()
    if response.status != 200:
        msg = f"{address}{path} answered {response.status}: {body}"
        raise UnavailableError(msg)
    return body


def reach(address: str) -> tuple[str, aiohttp.BaseConnector | None]:
    """URL and connector for a listen address or URL; an address that listens everywhere is asked on
    loopback.
    """
    import aiohttp  # noqa: PLC0415

    if address.startswith("unix:"):
        return "http://gateway", aiohttp.UnixConnector(address.removeprefix("unix:"))
    parts = urlsplit(address if "//" in address else f"//{address}")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(  # noqa: S104 - compared, not bound
        parts.hostname or "", parts.hostname or "127.0.0.1"
    )
    if parts.port is None:
        msg = "no port"
        raise ValueError(msg)
    return f"{parts.scheme or 'http'}://{f'[{host}]' if ':' in host else host}:{parts.port}", None
