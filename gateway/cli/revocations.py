"""``gateway revocations show | follow``."""

from __future__ import annotations

import contextlib

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import url_path
from gateway.cli.output import say, say_json, when
from gateway.cli.sessions import summary


@click.group("revocations", cls=Group)
def command() -> None:
    """Follow revocations until every replica obeys."""


@command.command()
@api_options
@click.argument("revocation")
@json_option
def show(*, revocation: str, as_json: bool) -> None:
    """The time line of one revocation: when it was durable, and when each replica obeyed."""
    status = api().get(url_path("revocations", revocation))
    if as_json:
        say_json(status)
        return
    say(f"{summary(status)}, received {when(status['received_at'])} from {status['source']}")
    for one in status["replicas"]:
        delay_ms = one["confirmed_ms"]
        say(f"  {one['replica']}  {'its lease ran out' if delay_ms is None else f'{delay_ms} ms'}")


@command.command()
@api_options
@click.option("--after", metavar="ID", help="Begin behind this one; left out, with the next one.")
@json_option
def follow(*, after: str | None, as_json: bool) -> None:
    """Print each revocation as it is acknowledged, until interrupted."""
    with contextlib.closing(api().follow("/revocations/stream", after=after)) as events:
        for status in events:
            if as_json:
                say_json(status)
            else:
                who = " ".join(f"{name}={value}" for name, value in status["who"].items())
                say(
                    f"{status['tenant']}  {who or 'everybody'}  {status['kind']}  {summary(status)}"
                )
