"""``gateway connections list | check``."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import url_path
from gateway.cli.output import say, say_json, when

STATES = ("unchecked", "active", "failing")


@click.group("connections", cls=Group)
def command() -> None:
    """Show whether a tenant's identity providers can be used, and what ends when."""


@command.command("list")
@api_options
@click.argument("tenant", required=False)
@click.option("--state", type=click.Choice(STATES), help="Only those that the last look found so.")
@json_option
def list_connections(*, tenant: str | None, state: str | None, as_json: bool) -> None:
    """What the last look at each identity provider found. Without TENANT, of all tenants."""
    if tenant is not None and state is None:
        _show(api().get(url_path("tenants", tenant, "connections")), as_json=as_json)
        return
    _show(api().pages("/connections", tenant=tenant, state=state), as_json=as_json)


@command.command()
@api_options
@click.argument("tenant")
@json_option
def check(*, tenant: str, as_json: bool) -> None:
    """Look at each identity provider now: metadata, discovery document, certificates, secrets."""
    document = api().call("POST", url_path("tenants", tenant, "connections", "check")).document
    _show(document, as_json=as_json)


def _show(found: Any, *, as_json: bool) -> None:
    if as_json:
        say_json(found)
        return
    for row in found["items"]:
        detail = f"  {row['detail']}" if row["detail"] else ""
        where = f"{row['tenant']}  " if "tenant" in row else ""
        say(
            f"{where}{row['provider']}  {row['state']}  looked at {when(row['checked_at'])}{detail}"
        )
        for one in row["credentials"]:
            days = one["days_left"]
            ends = f"in {days} days" if days >= 0 else "has ended"
            say(f"  {one['credential']}  {when(one['expires_at'])}  {ends}")
