"""``gateway mail test``."""

from __future__ import annotations

import click

from gateway.cli import Group, api, api_options
from gateway.cli.client import url_path
from gateway.cli.output import say


@click.group("mail", cls=Group)
def command() -> None:
    """Try whether mail is sent."""


@command.command()
@api_options
@click.argument("address")
@click.option(
    "--language",
    type=click.Choice(["en", "de", "fr", "es"]),
    default="en",
    show_default=True,
    help="Of the letter.",
)
def test(*, address: str, language: str) -> None:
    """Send a test letter to ADDRESS now. Fails with what the SMTP server says."""
    api().call("POST", url_path("mail", "test"), body={"to": address, "language": language})
    say("taken by the SMTP server")
