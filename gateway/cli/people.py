"""``gateway people list | show``."""

from __future__ import annotations

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import url_path
from gateway.cli.output import say, say_json, when


@click.group("people", cls=Group)
def command() -> None:
    """Show who signed in at a tenant's applications."""


@command.command("list")
@api_options
@click.argument("tenant")
@click.option("--email", help="Whoever had this address at the last sign-in.")
@click.option("--group", help="Whoever had this group at the last sign-in.")
@click.option(
    "--status",
    type=click.Choice(("active", "blocked", "deprovisioned")),
    help="Only people of this status.",
)
@json_option
def list_people(
    *, tenant: str, email: str | None, group: str | None, status: str | None, as_json: bool
) -> None:
    """Everybody who signed in, with groups, provider and status."""
    listing = api().pages(
        url_path("tenants", tenant, "users"), email=email, group=group, status=status
    )
    if as_json:
        say_json(listing)
        return
    if not listing["items"]:
        say("nobody", err=True)
    for row in listing["items"]:
        say(
            f"{row['user']}  {row['email']}  {row['provider']}  {row['status']}  last sign-in "
            f"{when(row['last_sign_in_at'])}  {','.join(row['groups'])}"
        )


@command.command()
@api_options
@click.argument("tenant")
@click.argument("person")
@json_option
def show(*, tenant: str, person: str, as_json: bool) -> None:
    """One person, by id or by what the application receives as X-Auth-Request-User."""
    row = api().get(url_path("tenants", tenant, "users", person))
    if as_json:
        say_json(row)
        return
    for name, value in row.items():
        text = (
            when(value)
            if name.endswith("_at")
            else ", ".join(value)
            if isinstance(value, list)
            else value
        )
        say(f"{name:18} {text}")
