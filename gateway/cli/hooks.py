"""``gateway hooks setup | secret | test | webhooks | held``."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import PAGE, ProblemError, url_path
from gateway.cli.output import confirm, failed, say, say_json, yes_option

if TYPE_CHECKING:
    from gateway.cli.client import Api, Json


@click.group("hooks", cls=Group)
def command() -> None:
    """What to set up at an identity provider, and what has arrived from it."""


provider_option = click.option("--provider", help="Only this one.")


@command.command("setup")
@api_options
@click.argument("tenant")
@provider_option
@json_option
def show_setup(*, tenant: str, provider: str | None, as_json: bool) -> None:
    """Addresses, events to tick, what is missing, and what arrived in the last day."""
    client = api()
    listing = _hooks(client, tenant, provider)
    if as_json:
        say_json(listing)
        return
    for one in listing["items"]:
        arrived = client.get(url_path("tenants", tenant, "hooks", one["provider"], "test"))
        say("\n".join([*_lines(one), *_arrivals(arrived)]))


@command.command()
@api_options
@click.argument("tenant")
@json_option
def health(*, tenant: str, as_json: bool) -> int:
    """Whether every removal at each identity provider is told. Exit 1 where not."""
    listing = api().get(url_path("tenants", tenant, "deprovisioning"))
    if as_json:
        say_json(listing)
    for one in listing["items"] if not as_json else ():
        say(f"{tenant}/{one['provider']} ({one['kind']}): {one['state']}")
        for what in ("accounts", "groups"):
            if one[what]:
                say(f"  {what:9} told by {', '.join(one[what])}")
        for each in one["missing"]:
            say(f"  {each['way']:9} {each['what']}")
            say(f"  {'':9} {each['do']}")
    return 0 if all(one["state"] in {"complete", "not_needed"} for one in listing["items"]) else 1


@command.command("test")
@api_options
@click.argument("tenant")
@provider_option
@click.option("--hours", default=24.0, show_default=True, help="How far to look back.")
@json_option
def test_hooks(*, tenant: str, provider: str | None, hours: float, as_json: bool) -> int:
    """What arrived: handshakes, what was taken, what was refused and why. Exit 1 unless something
    did and was taken last.
    """
    client, since = api(), time.time() - hours * 3600
    results = [
        (
            one,
            client.get(url_path("tenants", tenant, "hooks", one["provider"], "test"), since=since),
        )
        for one in _hooks(client, tenant, provider)["items"]
    ]
    if as_json:
        say_json({"items": [arrived for _, arrived in results], "next": None})
    for one, arrived in results if not as_json else ():
        heading = f"{tenant}/{one['provider']} ({one['kind']}): {arrived['verdict']}"
        say("\n".join([heading, *_arrivals(arrived)]))
    return 0 if all(arrived["verdict"] == "works" for _, arrived in results) else 1


@command.command()
@api_options
@click.argument("tenant", required=False)
@click.argument("provider", required=False)
@click.option(
    "--delete-previous",
    is_flag=True,
    help="Make none: show who used each secret last, and stop accepting all but the newest.",
)
@yes_option
def secret(*, tenant: str | None, provider: str | None, delete_previous: bool, yes: bool) -> None:
    """A new hook secret, shown once. With TENANT and PROVIDER it is stored too, and the one that
    was stays valid beside it.
    """
    if (tenant is None) != (provider is None) or (delete_previous and tenant is None):
        msg = "name TENANT and PROVIDER"
        raise click.UsageError(msg if delete_previous else f"{msg}, or neither")
    if tenant is None or provider is None:
        say(secrets.token_urlsafe(32))
        return
    client, where = api(), url_path("tenants", tenant, "hooks", provider)
    if delete_previous:
        _delete_previous(client, where, yes=yes)
        return
    say(client.call("POST", f"{where}/secrets").document["secret"])


def _delete_previous(client: Api, where: str, *, yes: bool) -> None:
    answer = client.call("GET", f"{where}/test")
    uses = answer.document["secrets"]
    for number, use in enumerate(uses):
        say(_secret_use(number, use))
    if len(uses) < 2:
        say("there is no previous secret")
        return
    confirm("Stop accepting the previous secret?", yes=yes)
    client.call("DELETE", f"{where}/secrets/previous", if_match=answer.etag)
    say("only the newest secret is accepted")


# --- what the tenants' applications were told ----------------------------------------------------


@command.group("webhooks", cls=Group)
def webhooks() -> None:
    """What the tenants' applications were told of their people."""


@webhooks.command("list")
@api_options
@click.option("--tenant", help="Only this tenant's.")
@click.option("--state", type=click.Choice(["new", "sent", "failed"]), help="failed: given up.")
@click.option("--event", help="Only this type of message, such as user.created.")
@click.option("--since", type=float, help="Made at this time or later (UTC epoch seconds).")
@click.option("--until", type=float, help="Made before this time (UTC epoch seconds).")
@click.option("--limit", default=PAGE, show_default=True, help="How many.")
@json_option
def list_webhooks(
    *,
    tenant: str | None,
    state: str | None,
    event: str | None,
    since: float | None,
    until: float | None,
    limit: int,
    as_json: bool,
) -> None:
    """Newest first."""
    listing = api().pages(
        "/hooks/webhooks",
        tenant=tenant,
        state=state,
        event=event,
        since=since,
        until=until,
        limit=limit,
    )
    if as_json:
        say_json(listing)
        return
    for one in listing["items"]:
        say(
            f"{one['id']}  {one['tenant']}  {_clock(one['created_at'])}  {one['event']}  "
            f"{one['state']} after {one['attempts']} attempts"
            + (f": {one['error']}" if one["error"] else "")
        )


@webhooks.command()
@api_options
@click.argument("messages", nargs=-1)
@click.option(
    "--failed",
    "tenant",
    metavar="TENANT",
    help="All of this tenant's that were given up, oldest first.",
)
def replay(*, messages: tuple[str, ...], tenant: str | None) -> int:
    """Send again, with the same id and body, within a second."""
    if bool(messages) == (tenant is not None):
        msg = "name MESSAGES, or --failed TENANT"
        raise click.UsageError(msg)
    client = api()
    if tenant is not None:
        given_up = client.pages("/hooks/webhooks", tenant=tenant, state="failed")["items"]
        messages = tuple(one["id"] for one in reversed(given_up))
    replayed = 0
    for message in messages:
        try:
            client.call("POST", url_path("hooks", "webhooks", message, "replay"))
            replayed += 1
        except ProblemError as error:
            failed(f"{message}: {error}")
    say(f"{replayed} to be sent again")
    return 0 if replayed == len(messages) else 1


# --- removals of many people at once -------------------------------------------------------------


@command.group("held", cls=Group)
def held() -> None:
    """Removals of many people at once, held until you release or drop them."""


@held.command("list")
@api_options
@click.option("--tenant", help="Only this tenant's.")
@json_option
def list_held(*, tenant: str | None, as_json: bool) -> None:
    """Newest first."""
    listing = api().pages("/hooks/deliveries", tenant=tenant, state="held")
    if as_json:
        say_json(listing)
        return
    for one in listing["items"]:
        say(
            f"{one['id']}  {one['tenant']}/{one['provider']}  {_clock(one['received_at'])}  "
            f"{one['source']}  {one['summary']}  {one['error']}"
        )


@held.command()
@api_options
@click.argument("tenant")
@click.option("--provider", help="Only this one's.")
def release(*, tenant: str, provider: str | None) -> None:
    """Apply all that is held of TENANT, within a second; what was undone meanwhile has no
    effect.
    """
    say(f"{_decide(tenant, provider, 'release')} to be applied")


@held.command()
@api_options
@click.argument("tenant")
@click.option("--provider", help="Only this one's.")
def drop(*, tenant: str, provider: str | None) -> None:
    """Forget all that is held of TENANT: these people keep what they have."""
    say(f"{_decide(tenant, provider, 'drop')} dropped")


def _decide(tenant: str, provider: str | None, decision: str) -> int:
    body = {"tenant": tenant, "provider": provider, "decision": decision}
    return int(api().call("POST", "/hooks/held", body=body).document["events"])


# --- what is printed -----------------------------------------------------------------------------


def _hooks(client: Api, tenant: str, provider: str | None) -> Json:
    if provider is not None:
        return {"items": [client.get(url_path("tenants", tenant, "hooks", provider))]}
    listing: Json = client.get(url_path("tenants", tenant, "hooks"))
    return listing


def _lines(one: Json) -> list[str]:
    count = one["secrets"]
    lines = [f"{one['tenant']}/{one['provider']} ({one['kind']}), {count} secret{_s(count)}"]
    lines += [f"  {name:17} {address}" for name, address in one["addresses"].items()]
    lines += [f"  tick              {event}" for event in one["events"]]
    lines += [f"  missing           {key}: {why}" for key, why in one["missing"].items()]
    return lines


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _arrivals(found: Json) -> list[str]:
    lines = [
        _arrival(word, one)
        for word, name in (
            ("handshake", "handshakes"),
            ("arrived", "taken"),
            ("refused", "refused"),
        )
        for one in found[name]
    ]
    lines += [
        f"  skipped           {reason}: {count}" for reason, count in found["skipped"].items()
    ]
    if (last := found["last_event"]) is not None:
        lines.append(
            f"  last event        {last['type']} ({last['source']}) "
            f"{_clock(last['received_at'])} {last['state']}"
            + (f": {last['error']}" if last["error"] else "")
        )
    lines = lines or ["  arrived           nothing yet"]
    return lines + [_secret_use(number, use) for number, use in enumerate(found["secrets"])]


def _secret_use(number: int, use: Json) -> str:
    word = "secret, previous" if number else "secret, newest"
    senders = ", ".join(f"{name} {_clock(at)}" for name, at in use["senders"].items())
    return f"  {word:17} {f'last used by {senders}' if senders else 'not used yet'}"


def _arrival(word: str, one: Json) -> str:
    what = f"x{one['count']}" if word == "handshake" else f"{one['outcome']} x{one['count']}"
    return (
        f"  {word:17} {one['source']} ({one['channel']}) {what}, last {_clock(one['last_at'])}"
        + (f": {one['detail']}" if one["detail"] else "")
    )


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
