"""``gateway domains list | add | check | use | vouch | remove``."""

from __future__ import annotations

from typing import Any

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import url_path
from gateway.cli.output import say, say_json, when


@click.group("domains", cls=Group)
def command() -> None:
    """Prove a tenant's e-mail domains by DNS records, or vouch for them."""


@command.command("list")
@api_options
@click.argument("tenant")
@json_option
def list_domains(*, tenant: str, as_json: bool) -> None:
    """The tenant's domains, their records, and what DNS says."""
    listing = api().get(url_path("tenants", tenant, "domains"))
    if as_json:
        say_json(listing)
        return
    for row in listing["items"]:
        _show(row, as_json=False)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("domain")
@json_option
def add(*, tenant: str, domain: str, as_json: bool) -> None:
    """Claim DOMAIN, and show the record to add."""
    path = url_path("tenants", tenant, "domains")
    _show(api().call("POST", path, body={"domain": domain}).document, as_json=as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("domain")
@json_option
def check(*, tenant: str, domain: str, as_json: bool) -> None:
    """Look for the record now."""
    path = url_path("tenants", tenant, "domains", domain, "check")
    _show(api().call("POST", path).document, as_json=as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("domain")
@json_option
def use(*, tenant: str, domain: str, as_json: bool) -> None:
    """Add a proven DOMAIN to the tenant's email_domains."""
    path = url_path("tenants", tenant, "domains", domain, "use")
    _show(api().call("POST", path).document, as_json=as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("domain")
@click.option("--reason", required=True, help="How you know; for the audit log.")
@json_option
def vouch(*, tenant: str, domain: str, reason: str, as_json: bool) -> None:
    """Take DOMAIN as the tenant's without a record."""
    path = url_path("tenants", tenant, "domains", domain, "vouch")
    _show(api().call("POST", path, body={"reason": reason}).document, as_json=as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("domain")
def remove(*, tenant: str, domain: str) -> None:
    """Give up the claim. The tenant's document stays as it is."""
    api().call("DELETE", url_path("tenants", tenant, "domains", domain))
    say(f"{domain}: removed")


def _show(row: Any, *, as_json: bool) -> None:
    if as_json:
        say_json(row)
        return
    again = f", next look {when(row['next_check_at'])}" if row["next_check_at"] else ""
    unused = "" if row["in_use"] else ", not in email_domains"
    say(f"{row['domain']}  {row['state']}{unused}{again}  {row['detail']}")
    if row["state"] not in {"verified", "vouched"}:
        record = row["record"]
        say(f"  {record['type']}  {record['name']}  {record['value']}")
    for each in row["servers"]:
        say(f"  {each['server']}: {each['said']}")
