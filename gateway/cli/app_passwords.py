"""``gateway app-passwords list | revoke``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import url_path
from gateway.cli.output import say, say_json, when
from gateway.cli.sessions import of_tenants, summary

if TYPE_CHECKING:
    from gateway.cli.client import Json


@click.group("app-passwords", cls=Group)
def command() -> None:
    """List and revoke users' app passwords."""


@command.command("list")
@api_options
@click.option("--tenant", help="Only this tenant's; left out, every tenant's.")
@click.option("--user", help="Cognito's sub.")
@click.option("--email", help="E-mail address.")
@json_option
def list_app_passwords(
    *, tenant: str | None, user: str | None, email: str | None, as_json: bool
) -> None:
    """App passwords that are good now: one line each, never a credential."""
    listing = of_tenants(api(), "/app-passwords", tenant, user=user, email=email)
    if as_json:
        say_json(listing)
        return
    if not listing["items"]:
        say("no app passwords", err=True)
    for row in listing["items"]:
        say("  ".join(_columns(row)))


@command.command()
@api_options
@click.argument("app_password", metavar="ID")
@click.option("--reason", default="", help="For the record.")
@json_option
def revoke(*, app_password: str, reason: str, as_json: bool) -> None:
    """Revoke one by its id, the 25 characters behind gwap_; returns when no replica takes it any
    more.
    """
    query = {"reason": reason or None}
    status = api().call("DELETE", url_path("app-passwords", app_password), query=query).document
    say_json(status) if as_json else say(summary(status))


def _columns(row: Json) -> list[str]:
    last_used_at = row["last_used_at"]
    return [
        row["app_password"],
        row["tenant"],
        row["email"],
        row["name"],
        f"made {when(row['created_at'])}",
        f"until {when(row['expires_at'])}",
        f"last used {when(last_used_at)}" if last_used_at is not None else "never used",
        ",".join(row["hosts"]) or "all hosts",
        ",".join(row["paths"]),
    ]
