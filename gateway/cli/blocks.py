"""``gateway blocks list | add | remove``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import url_path
from gateway.cli.output import say, say_json, when, who_options
from gateway.cli.sessions import one_who, summary

if TYPE_CHECKING:
    from gateway.cli.client import Json

OPERATORS = ("admin", "cli")
source_option = click.option(
    "--source", help="What this source imposed: okta, entra, scim (every record) …"
)


@click.group("blocks", cls=Group)
def command() -> None:
    """Block users, and unblock them."""


@command.command("list")
@api_options
@click.option("--tenant", help="Only this tenant's.")
@source_option
@click.option(
    "--remembered",
    is_flag=True,
    help=(
        "What providers took away that keeps nobody out, because the tenant's policy does not "
        "name the group."
    ),
)
@json_option
def list_blocks(*, tenant: str | None, source: str | None, remembered: bool, as_json: bool) -> None:
    """Blocks and removed groups in force, oldest first, and whether what imposed them can still
    lift them.
    """
    listing = api().pages("/blocks", tenant=tenant, remembered=remembered)
    listing["items"] = [row for row in listing["items"] if _is_of(row, source)]
    if as_json:
        say_json(listing)
        return
    if not listing["items"]:
        say(
            "nothing of the kind is remembered"
            if remembered
            else "no blocks or removed groups in force",
            err=True,
        )
    for row in listing["items"]:
        say(_line(row))


@command.command()
@api_options
@click.option("--tenant", required=True, help="Tenant id.")
@who_options
@click.option("--all", "everybody", is_flag=True, help="Everybody in the tenant.")
@click.option("--reason", required=True, help="For the record, and for whoever lifts it.")
@json_option
def add(*, tenant: str, everybody: bool, reason: str, as_json: bool, **names: str | None) -> None:
    """End what somebody has and refuse what they try, until lifted; returns when acknowledged."""
    who = one_who(**names)
    if bool(who.keys() - {"provider"}) == everybody:
        msg = "name --user, --email, --idp-subject, --oid or --group, or say --all"
        raise click.UsageError(msg)
    body = {"tenant": tenant, "reason": reason, **who}
    status = api().call("POST", "/blocks", body=body).document
    say_json(status) if as_json else say(summary(status))


@command.command()
@api_options
@click.argument("block", required=False)
@click.option("--tenant", help="Tenant id, with --source.")
@source_option
@click.option("--provider", help="With --source: only what names this identity provider.")
@json_option
def remove(
    *,
    block: str | None,
    tenant: str | None,
    source: str | None,
    provider: str | None,
    as_json: bool,
) -> None:
    """Lift a block, or give a removed group back, whoever imposed it; with --source, everything
    that this source imposed in a tenant.
    """
    if (
        (block is None) == (source is None)
        or (tenant is None) != (source is None)
        or (provider is not None and source is None)
    ):
        msg = "name one block, or --tenant and --source (and --provider)"
        raise click.UsageError(msg)
    if source in OPERATORS:
        # An operator's lift is of whatever stands against the person, whoever imposed it.
        msg = (
            f"--source names what speaks for an identity provider; lift what {source} imposed "
            f"by its id (see: gateway blocks list --source {source})"
        )
        raise click.UsageError(msg)
    if block is not None:
        status = api().call("DELETE", url_path("blocks", block)).document
        lifted = f"{block} lifted" if status["lifted"] else f"{block} was not in force any more"
        say_json(status) if as_json else say(lifted)
        return
    client = api()
    statuses = [
        # As the source itself: what others have against the same person stands.
        client.call("DELETE", url_path("blocks", row["id"]), query={"as_source": True}).document
        for row in client.pages("/blocks", tenant=tenant)["items"]
        if _is_of(row, source) and provider in (None, row["who"].get("provider"))
    ]
    if as_json:
        say_json({"items": statuses, "next": None})
    else:
        say(f"{len(statuses)} lifted" if statuses else "nothing of this source is in force")


def _is_of(row: Json, source: str | None) -> bool:
    """``scim`` is every SCIM record."""
    return source in (None, row["source"], row["source"].partition(":")[0])


def _line(row: Json) -> str:
    who = " ".join(f"{name}={value}" for name, value in row["who"].items()) or "everybody"
    without = "" if row["group"] is None else f"without group {row['group']}  "
    without += "" if not row["exempt"] else f"(but for {row['exempt']} added since)  "
    note = (
        f" (which says nothing any more: gateway blocks remove --tenant {row['tenant']} "
        f"--source {row['source'].partition(':')[0]})"
        if row["source_gone"]
        else ""
    )
    return (
        f"{row['id']}  {row['tenant']}  {who}  {without}by {row['source']}{note} since "
        f"{when(row['since'])}  {row['reason']}"
    )
