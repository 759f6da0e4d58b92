"""``gateway policy explain``: what a request would come to, and why, by the function that
decides.
"""

from __future__ import annotations

from typing import Any

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.output import say, say_json

_SIGN = {True: "✓", False: "✗"}


@click.group("policy", cls=Group)
def command() -> None:
    """Explain authorization rules."""


@command.command()
@api_options
@click.option("--host", required=True, help="As the browser types it.")
@click.option("--path", default="/", show_default=True, help="As in the request, escapes included.")
@click.option("--method", default="GET", show_default=True)
@click.option(
    "--destination",
    help="WebDAV: the Destination header of a COPY or MOVE, a path or a URL of the host.",
)
@click.option(
    "--depth", help="WebDAV: the Depth header, 0, 1 or infinity; left out, it is not sent."
)
@click.option("--email", help="Who would be signed in; left out, nobody is.")
@click.option("--group", "groups", multiple=True, help="A group of theirs; may be repeated.")
@click.option("--role", "roles", multiple=True, help="A role of theirs; may be repeated.")
@click.option(
    "--provider",
    help="Which identity provider they came through; left out, the one of their e-mail domain.",
)
@click.option(
    "--client",
    help=(
        "The request carries an access token of this app client: with --email that person's, "
        "else a machine's."
    ),
)
@click.option("--scope", "scopes", multiple=True, help="A scope of that token; may be repeated.")
@click.option(
    "--app-password-path",
    help=(
        "The request carries an app password of the person in --email, good for this path and "
        "everything below; / is all of the host."
    ),
)
@click.option(
    "--pool-password",
    is_flag=True,
    help="The request carries name and password of the person in --email, a user of the pool.",
)
@json_option
def explain(
    *,
    host: str,
    path: str,
    method: str,
    destination: str | None,
    depth: str | None,
    email: str | None,
    groups: tuple[str, ...],
    roles: tuple[str, ...],
    provider: str | None,
    client: str | None,
    scopes: tuple[str, ...],
    app_password_path: str | None,
    pool_password: bool,
    as_json: bool,
) -> None:
    """Explain the decision for a request, step by step, from the tenants that are served and the
    blocks against the user; sessions are not considered.
    """
    if email is None and (groups or roles or provider):
        msg = "--group, --role and --provider say something about a person: name one with --email"
        raise click.UsageError(msg)
    if not path.startswith("/"):
        msg = "--path begins with /"
        raise click.UsageError(msg)
    if client is None and scopes:
        msg = "--scope says something about a token: name its app client with --client"
        raise click.UsageError(msg)
    if app_password_path is not None:
        if email is None:
            msg = "--app-password-path is about a person's app password: name them with --email"
            raise click.UsageError(msg)
        if client is not None:
            msg = "a request carries an access token or an app password: --client or the other"
            raise click.UsageError(msg)
        if not app_password_path.startswith("/"):
            msg = "--app-password-path is the path that it is good for, and begins with /"
            raise click.UsageError(msg)
    if pool_password and (email is None or client is not None or app_password_path is not None):
        msg = "--pool-password needs --email, and no other credential"
        raise click.UsageError(msg)
    body: dict[str, object] = {
        "host": host,
        "path": path,
        "method": method.upper(),
        "email": email,
        "groups": groups,
        "roles": roles,
        "provider": provider,
        "client": client,
        "scopes": scopes,
        "app_password_path": app_password_path,
        "pool_password": pool_password,
        "destination": destination,
        "depth": depth,
    }
    document = api().call("POST", "/explain", body=body).document
    say_json(document) if as_json else say("\n".join(_lines(document)))


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{found['decision']} ({found['reason']})"]
    lines += [
        f"  {_SIGN[row['passed']]} {row['step']}{': ' + row['detail'] if row['detail'] else ''}"
        for row in found["steps"]
    ]
    for kind, names in found["would_do"].items():
        if names:
            lines.append(f"  any of these {kind} would do: {', '.join(names)}")
    if found["shadow_rules"] is not None and (
        found["shadow_rules"]["decision"],
        found["shadow_rules"]["reason"],
    ) != (found["decision"], found["reason"]):
        lines.append(
            f"  shadow_rules would say: {found['shadow_rules']['decision']} "
            f"({found['shadow_rules']['reason']})"
        )
    if found["support"] and found["decision"] != "allow":
        lines.append(f"  who can help: {found['support']}")
    return lines
