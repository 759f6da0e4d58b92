"""``gateway console link | end-links``."""

from __future__ import annotations

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.output import say, say_json, when


@click.group("console", cls=Group)
def command() -> None:
    """Open the console before any operator can sign in."""


@command.command()
@api_options
@json_option
def link(*, as_json: bool) -> None:
    """A link that opens the console once, within 15 minutes. On the gateway's own machine only."""
    document = api().call("POST", "/console/links").document
    if as_json:
        say_json(document)
        return
    say(document["url"])
    say(f"opens once, until {when(document['expires_at'])}", err=True)


@command.command("end-links")
@api_options
def end_links() -> None:
    """End every link that was made, and what its holder has open."""
    api().call("DELETE", "/console/links")
    say("ended")
