"""``gateway users``: the pool's own users who are a tenant's."""

from __future__ import annotations

import json
from typing import Any

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import url_path
from gateway.cli.output import say, say_json

_invitation = click.option(
    "--show-password",
    is_flag=True,
    help="Show the temporary password here, once, instead of having Cognito mail it.",
)


@click.group("users", cls=Group)
def command() -> None:
    """Manage users of the Cognito pool who are a tenant's."""


@command.command("list")
@api_options
@click.argument("tenant")
@click.option("--email", help="Whoever has exactly this address.")
@json_option
def list_users(*, tenant: str, email: str | None, as_json: bool) -> None:
    """Users of the pool in the tenant's group."""
    listing = api().pages(url_path("tenants", tenant, "pool-users"), email=email)
    if as_json:
        say_json(listing)
        return
    if not listing["items"]:
        say("nobody", err=True)
    for row in listing["items"]:
        say(_line(row))


@command.command()
@api_options
@click.argument("tenant")
@json_option
def settings(*, tenant: str, as_json: bool) -> None:
    """What the pool asks of all its users: second factor, passwords, registration."""
    document = api().get(url_path("tenants", tenant, "pool-user-settings"))
    if as_json:
        say_json(document)
        return
    for name, value in document.items():
        say(f"{name:24} {', '.join(value) if isinstance(value, list) else json.dumps(value)}")


@command.command()
@api_options
@click.argument("tenant")
@click.argument("email")
@click.option("--name", default="", help="The user's name.")
@click.option("--username", default="", help="Where the pool's users sign in with a user name.")
@click.option("--group", "groups", multiple=True, help="A group of the tenant; may be repeated.")
@_invitation
@click.option(
    "--adopt", is_flag=True, help="Add somebody who is in the pool already, and no tenant's user."
)
@json_option
def create(
    *,
    tenant: str,
    email: str,
    name: str,
    username: str,
    groups: tuple[str, ...],
    show_password: bool,
    adopt: bool,
    as_json: bool,
) -> None:
    """Create a user and invite them; their address counts as verified."""
    body = {
        "email": email,
        "name": name,
        "username": username,
        "groups": groups,
        "invitation": _medium(show_password=show_password),
        "adopt": adopt,
    }
    path = url_path("tenants", tenant, "pool-users")
    _say_change(api().call("POST", path, body=body).document, as_json=as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("user")
@_invitation
@json_option
def invite(*, tenant: str, user: str, show_password: bool, as_json: bool) -> None:
    """Give a new temporary password to USER, who has not chosen a password yet."""
    _change(tenant, user, "invite", {"invitation": _medium(show_password=show_password)}, as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("user")
@click.option("--reason", default="disabled as a user of the pool", help="For the list of blocks.")
@json_option
def disable(*, tenant: str, user: str, reason: str, as_json: bool) -> None:
    """Block USER, end their sessions, and disable them in the pool."""
    _change(tenant, user, "disable", {"reason": reason}, as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("user")
@json_option
def enable(*, tenant: str, user: str, as_json: bool) -> None:
    """Lift the block of `disable`, and enable USER in the pool."""
    _change(tenant, user, "enable", None, as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("user")
@json_option
def reset(*, tenant: str, user: str, as_json: bool) -> None:
    """End USER's password and sessions; Cognito sends a code for a new password."""
    _change(tenant, user, "reset", None, as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("user")
@click.argument("groups", nargs=-1)
@json_option
def groups(*, tenant: str, user: str, groups: tuple[str, ...], as_json: bool) -> None:
    """Give USER exactly these groups of the tenant; sessions end where one is taken away."""
    path = url_path("tenants", tenant, "pool-users", user, "groups")
    _say_change(api().call("PUT", path, body={"groups": groups}).document, as_json=as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("user")
@json_option
def remove(*, tenant: str, user: str, as_json: bool) -> None:
    """Take USER out of the tenant and end their sessions; they stay in the pool."""
    _change(tenant, user, "remove", None, as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("user")
@json_option
def delete(*, tenant: str, user: str, as_json: bool) -> None:
    """Delete USER from the pool and end their sessions."""
    path = url_path("tenants", tenant, "pool-users", user)
    _say_change(api().call("DELETE", path).document, as_json=as_json)


def _medium(*, show_password: bool) -> str:
    return "none" if show_password else "email"


def _change(tenant: str, user: str, verb: str, body: object, as_json: bool) -> None:
    path = url_path("tenants", tenant, "pool-users", user, verb)
    _say_change(api().call("POST", path, body=body).document, as_json=as_json)


def _say_change(changed: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say_json(changed)
        return
    if changed["user"] is not None:
        say(_line(changed["user"]))
    if changed["temporary_password"] is not None:
        say(f"temporary password (shown once): {changed['temporary_password']}")
    if changed["revocation"] is not None:
        revocation = changed["revocation"]
        say(f"revocation {revocation['id']}: {revocation['ended']} sessions ended, acknowledged")


def _line(row: dict[str, Any]) -> str:
    state = "blocked" if row["blocked"] else "" if row["enabled"] else "disabled"
    notes = [state, "another tenant's too" if row["shared"] else ""]
    words = (row["user"], row["email"], row["status"], ",".join(row["groups"]), *notes)
    return "  ".join(word for word in words if word)
