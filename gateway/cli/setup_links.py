"""``gateway setup-links create | list | revoke | replace | approve | return``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import url_path
from gateway.cli.output import say, say_json, when
from gateway.config.types import parse_duration

if TYPE_CHECKING:
    from gateway.cli.client import Json

PARTS = ("sign_in", "access", "offboarding", "domains", "maintain", "renew")


def _seconds(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    try:
        return int(parse_duration(value).total_seconds())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.group("setup-links", cls=Group)
def command() -> None:
    """Send a customer's administrator a link to connect their identity provider."""


@command.command()
@api_options
@click.argument("tenant")
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(PARTS),
    help="What the link is for; may be repeated.  [default: sign_in, access, offboarding]",
)
@click.option("--recipient", "recipients", multiple=True, required=True, help="One to three.")
@click.option("--provider", "providers", multiple=True, help="Offer only these guides.")
@click.option("--language", type=click.Choice(("en", "de", "fr", "es")), default="en")
@click.option("--expires", callback=_seconds, default="168h", show_default=True, help="1h to 720h.")
@click.option("--approval", type=click.Choice(("required", "other_person", "none")))
@click.option(
    "--confirm",
    type=click.Choice(("mail", "phrase")),
    help="What recipients show beside the address.  [default: mail, where it is configured]",
)
@click.option("--send", is_flag=True, help="Mail the address to the recipients.")
@click.option("--note", default="", help="For operators.")
@click.option("--name", help="Of a tenant that does not exist yet.")
@click.option("--host", "hosts", multiple=True, help="Of a new tenant; may be repeated.")
@click.option(
    "--email-domain", "domains", multiple=True, help="Of a new tenant, or of one more provider."
)
@click.option("--group", "groups", multiple=True, help="As --email-domain, without part access.")
@json_option
def create(
    *,
    tenant: str,
    parts: tuple[str, ...],
    recipients: tuple[str, ...],
    providers: tuple[str, ...],
    language: str,
    expires: int,
    approval: str | None,
    confirm: str | None,
    send: bool,
    note: str,
    name: str | None,
    hosts: tuple[str, ...],
    domains: tuple[str, ...],
    groups: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make a link; its address and its phrase are shown this once.

    With --email-domain and without --name it connects one more identity provider of a tenant that
    people sign in to: the domains, and the groups, are that provider's.
    """
    if name is None and hosts:
        msg = "--host is of a new tenant: give it a --name"
        raise click.UsageError(msg)
    if name is None and groups and not domains:
        msg = "--group is of a new tenant (--name), or of one more provider (--email-domain)"
        raise click.UsageError(msg)
    body: Json = {
        "parts": parts or PARTS[:3],
        "recipients": recipients,
        "providers": providers,
        "language": language,
        "expires_in": expires,
        "note": note,
        "send": send,
    }
    if confirm is not None:
        body["confirm"] = confirm
    if approval is not None:
        body["approval"] = approval
    if name is not None:
        body["tenant"] = {"name": name, "hosts": hosts, "email_domains": domains}
        if groups:
            body["tenant"]["groups"] = groups
    elif domains:
        body["connection"] = {"email_domains": domains}
        if groups:
            body["connection"]["groups"] = groups
    _say_new(api().call("POST", _path(tenant), body=body).document, as_json=as_json)


@command.command("list")
@api_options
@click.argument("tenant")
@json_option
def list_links(*, tenant: str, as_json: bool) -> None:
    """A tenant's links, newest first, and how far each came."""
    listing = api().pages(_path(tenant))
    if as_json:
        say_json(listing)
        return
    if not listing["items"]:
        say("no setup links", err=True)
    for row in listing["items"]:
        say(_line(row))


@command.command()
@api_options
@click.argument("tenant")
@click.argument("link")
@json_option
def revoke(*, tenant: str, link: str, as_json: bool) -> None:
    """End a link, and the work of the browser that has it."""
    _say(api().call("DELETE", _path(tenant, link)).document, as_json=as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("link")
@click.option("--send", is_flag=True, help="Mail the new address to the recipients.")
@json_option
def replace(*, tenant: str, link: str, send: bool, as_json: bool) -> None:
    """Another address and phrase for the same work; the old ones end."""
    query = {"send": "true"} if send else None
    document = api().call("POST", _path(tenant, link, "replace"), query=query).document
    _say_new(document, as_json=as_json)


@command.command()
@api_options
@click.argument("tenant")
@click.argument("link")
@json_option
def approve(*, tenant: str, link: str, as_json: bool) -> None:
    """Let people sign in with what was submitted."""
    _say(api().call("POST", _path(tenant, link, "approve")).document, as_json=as_json)


@command.command("return")
@api_options
@click.argument("tenant")
@click.argument("link")
@click.option("--note", required=True, help="What has to be changed; the recipient reads it.")
@json_option
def send_back(*, tenant: str, link: str, note: str, as_json: bool) -> None:
    """Ask for a change of what was submitted."""
    path = _path(tenant, link, "return")
    _say(api().call("POST", path, body={"note": note}).document, as_json=as_json)


def _path(tenant: str, *more: str) -> str:
    return url_path("tenants", tenant, "setup-links", *more)


def _say(link: Json, *, as_json: bool) -> None:
    say_json(link) if as_json else say(_line(link))


def _say_new(made: Json, *, as_json: bool) -> None:
    if as_json:
        say_json(made)
        return
    say(made["address"])
    if made["phrase"]:
        say(made["phrase"])
    delivery = f"Sent to {', '.join(made['sent'])}. " if made["sent"] else ""
    rest = "send the address, and say the phrase" if made["phrase"] else "a code follows by mail"
    say(
        f"{delivery}This is the only time that this is shown: {rest}. {_line(made['link'])}",
        err=True,
    )


def _line(link: Json) -> str:
    done_count = sum(task["done"] for task in link["tasks"])
    progress = f"  {done_count}/{len(link['tasks'])}" if link["tasks"] else ""
    return (
        f"{link['id']}  {link['state']}  {link['phase']}{progress}  "
        f"{', '.join(link['recipients'])}  expires {when(link['expires_at'])}"
    )
