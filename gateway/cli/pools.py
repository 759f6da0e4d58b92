"""``gateway pools list | failover | failback``."""

from __future__ import annotations

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import url_path
from gateway.cli.output import confirm, say, say_json, when, yes_option


@click.group("pools", cls=Group)
def command() -> None:
    """Show the user pools, and switch logins between their regions."""


@command.command("list")
@api_options
@json_option
def list_pools(*, as_json: bool) -> None:
    """Each user pool, its regions, and which of them serves logins."""
    listing = api().get("/pools")
    if as_json:
        say_json(listing)
        return
    for row in listing["items"]:
        second = row["secondary_region"]
        where = f"{row['region']}, secondary {second}" if second else row["region"]
        since = row["failed_over_since"]
        over = f"  FAILED OVER since {when(since)} by {row['failed_over_by']}" if since else ""
        say(f"{row['name']}  {row['user_pool_id']}  {where}{over}")


@command.command()
@api_options
@click.argument("pool")
@yes_option
def failover(*, pool: str, yes: bool) -> None:
    """Send logins and token requests of a user pool to its secondary region. Nothing is provisioned
    in the pool meanwhile.
    """
    confirm(f"Send logins of user pool {pool} to its secondary region?", yes=yes)
    row = api().call("POST", url_path("pools", pool, "failover")).document
    say(f"{pool}: logins go to {row['secondary_region']} within a few seconds")


@command.command()
@api_options
@click.argument("pool")
@yes_option
def failback(*, pool: str, yes: bool) -> None:
    """Send logins and token requests of a user pool to its primary region again."""
    confirm(f"Send logins of user pool {pool} to its primary region again?", yes=yes)
    row = api().call("DELETE", url_path("pools", pool, "failover")).document
    say(f"{pool}: logins go to {row['region']} within a few seconds")
