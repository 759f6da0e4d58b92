"""``gateway sessions list | show | revoke``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import url_path
from gateway.cli.output import say, say_json, when, who_options

if TYPE_CHECKING:
    from gateway.cli.client import Api, Json


@click.group("sessions", cls=Group)
def command() -> None:
    """List and end sessions."""


@command.command("list")
@api_options
@click.option("--tenant", help="Only this tenant's.")
@click.option("--user", help="Cognito's sub.")
@click.option("--email", help="E-mail address.")
@click.option(
    "--all",
    "everybody",
    is_flag=True,
    help="Of every tenant, which is what is meant where none is named.",
)
@json_option
def list_sessions(
    *, tenant: str | None, user: str | None, email: str | None, everybody: bool, as_json: bool
) -> None:
    """Live sessions: one line per family of sessions, never a credential."""
    if everybody and tenant is not None:
        msg = "--tenant or --all"
        raise click.UsageError(msg)
    listing = of_tenants(api(), "/sessions", tenant, user=user, email=email)
    if as_json:
        say_json(listing)
        return
    if not listing["items"]:
        say("no live sessions", err=True)
    for row in listing["items"]:
        say(
            f"{row['session']}  {row['tenant']}  {row['email']}  {row['provider']}  since "
            f"{when(row['created_at'])}  until {when(row['expires_at'])}  {','.join(row['hosts'])}"
        )


@command.command()
@api_options
@click.argument("session")
@json_option
def show(*, session: str, as_json: bool) -> None:
    """One session by its id."""
    row = api().get(url_path("sessions", session))
    if as_json:
        say_json(row)
        return
    for name, value in row.items():
        text = (
            "not known"
            if value is None
            else when(value)
            if name.endswith("_at")
            else ", ".join(value)
            if isinstance(value, list)
            else value
        )
        say(f"{name:14} {text}")


@command.command()
@api_options
@click.argument("session", required=False)
@click.option("--tenant", help="Tenant id; needed unless a session is named.")
@who_options
@click.option("--all", "everybody", is_flag=True, help="Everybody in the tenant.")
@click.option("--reason", default="", help="For the record.")
@json_option
def revoke(
    *,
    session: str | None,
    tenant: str | None,
    everybody: bool,
    reason: str,
    as_json: bool,
    **names: str | None,
) -> None:
    """End sessions; returns when no replica accepts them any more."""
    who = one_who(session=session, **names)
    if bool(who.keys() - {"provider"}) == everybody:
        msg = "name a session, --user, --email, --idp-subject, --oid or --group, or say --all"
        raise click.UsageError(msg)
    if session is not None:
        query = {"reason": reason or None}
        status = api().call("DELETE", url_path("sessions", session), query=query).document
    elif tenant is None:
        msg = "--tenant is needed"
        raise click.UsageError(msg)
    else:
        body = {"tenant": tenant, "kind": "end_sessions", "reason": reason, **who}
        status = api().call("POST", "/revocations", body=body).document
    say_json(status) if as_json else say(summary(status))


def one_who(**names: str | None) -> dict[str, str]:
    """Raises ``UsageError`` unless at most one name is given (``provider`` narrows)."""
    filters = {name: value for name, value in names.items() if value is not None}
    people = [name for name in filters if name != "provider"]
    if len(people) > 1:
        msg = "only one of " + ", ".join(f"--{name.replace('_', '-')}" for name in people)
        raise click.UsageError(msg)
    return filters


def of_tenants(
    client: Api, path: str, tenant: str | None, *, user: str | None, email: str | None
) -> Json:
    """A list of one tenant, or of all of them one after the other."""
    if tenant is not None:
        return client.pages(path, tenant=tenant, user=user, email=email)
    items: list[Any] = []
    for row in client.pages("/tenants")["items"]:
        items += client.pages(path, tenant=row["tenant"]["id"], user=user, email=email)["items"]
    return {"items": items, "next": None}


def summary(status: Json) -> str:
    return (
        f"{status['id']}: {status['ended']} sessions ended, acknowledged after "
        f"{status['acknowledged_ms']} ms ({len(status['replicas'])} replicas)"
    )
