"""``gateway health``: exit 0 if a running gateway answers. For container health checks; needs no other program."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

import click

from gateway.cli import config_option
from gateway.config import load_config

TIMEOUT_S = 3


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


@click.command("health")
@config_option
@click.option("--ready", is_flag=True, help="Ask /readyz (all needed dependencies answer) instead of /healthz.")
def command(config_path: str, ready: bool) -> int:
    """Ask a running gateway whether it is healthy."""
    address = load_config(Path(config_path)).listen.admin
    if address.startswith("unix:"):
        connection: http.client.HTTPConnection = _UnixConnection(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - the address to ask, not to bind
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz" if ready else "/healthz")
        response = connection.getresponse()
        body = response.read(64 * 1024).decode(errors="replace")
    except OSError as error:
        click.echo(f"no answer at {address}: {error.strerror or type(error).__name__}", err=True)
        return 1
    finally:
        connection.close()
    click.echo(body)
    return 0 if response.status == 200 else 1
