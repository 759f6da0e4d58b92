"""``gateway provision plan | apply | verify | rotate | retire | rollback | destroy``: a tenant's
resources in Cognito.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import url_path
from gateway.cli.output import failed, say, say_json, when, yes_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.cli.client import Json


@click.group("provision", cls=Group)
def command() -> None:
    """Create and check a tenant's resources in Cognito."""


file_option = click.option(
    "-f",
    "--file",
    "path",
    required=True,
    help=(
        "The request as YAML or JSON, as for the admin API; - reads standard input. Secrets "
        "may be env:NAME or file:PATH."
    ),
)


@command.command()
@api_options
@click.argument("tenant")
@file_option
@json_option
def plan(*, tenant: str, path: str, as_json: bool) -> None:
    """Say what would be created, changed and kept, and why; change nothing."""
    found = _put(tenant, path, dry_run=True)
    if as_json:
        say_json(found)
        return
    _say_steps(found["steps"])
    for note in found["notes"]:
        say(f"  note: {note}")
    if all(step["verb"] == "keep" for step in found["steps"]):
        say("nothing to do")


@command.command()
@api_options
@click.argument("tenant")
@file_option
@json_option
def apply(*, tenant: str, path: str, as_json: bool) -> None:
    """Make it so: everything, or nothing is left behind."""
    found = _put(tenant, path, dry_run=False)
    if as_json:
        say_json(found)
        return
    _say_steps(found["steps"])
    for note in found["notes"]:
        say(f"  note: {note}")
    say(f"done: run {found['run']}, client {found['client_id']}{_in_force(found)}")
    say(
        f"next: gateway hooks setup {tenant} (addresses and events for its administrator), "
        f"gateway hooks secret {tenant} PROVIDER"
    )


@command.command()
@api_options
@click.argument("tenant")
@click.option("--fix", is_flag=True, help="Put back what differs.")
@json_option
def verify(*, tenant: str, fix: bool, as_json: bool) -> int:
    """Compare Cognito with what was provisioned; exit 1 if it differs."""
    where = url_path("tenants", tenant, "provision", "verify")
    found = api().call("POST", where, query={"fix": fix}).document
    mended = found["run"] is not None
    if as_json:
        say_json(found)
    else:
        _say_steps(step for step in found["steps"] if step["verb"] != "keep")
        for problem in found["problems"]:
            say(f"  {problem}")
        say(
            "as it was provisioned"
            if found["clean"]
            else "mended"
            if mended
            else "differs from what was provisioned"
        )
    return 0 if found["clean"] or mended else 1


@command.command()
@api_options
@click.argument("tenant")
@click.option(
    "--retire-now",
    is_flag=True,
    help=(
        "Delete the replaced client at once: logins in progress begin again, and refresh "
        "tokens made with it end."
    ),
)
@json_option
def rotate(*, tenant: str, retire_now: bool, as_json: bool) -> None:
    """Give a tenant another app client; the present one is accepted until its last session has
    ended.
    """
    where = url_path("tenants", tenant, "provision", "rotate")
    _say_clients(api().call("POST", where, query={"retire_now": retire_now}).document, as_json)


@command.command()
@api_options
@click.argument("tenant")
@json_option
def retire(*, tenant: str, as_json: bool) -> None:
    """Delete the replaced app clients of a tenant now."""
    _say_clients(
        api().call("POST", url_path("tenants", tenant, "provision", "retire")).document, as_json
    )


@command.command()
@api_options
@click.argument("tenant")
@click.argument("run", required=False)
@json_option
def rollback(*, tenant: str, run: str | None, as_json: bool) -> int:
    """Take back the latest finished run of a tenant; with RUN only if it is that one."""
    client = api()
    if run is None:
        runs = client.pages(url_path("tenants", tenant, "provision"), limit=1)["items"]
        if not runs:
            return failed(f"tenant {tenant} has no run")
        run = str(runs[0]["id"])
    found = client.call("POST", url_path("tenants", tenant, "provision", run, "rollback")).document
    say_json(found) if as_json else say(f"run {run}: {found['state']}")
    return 0


@command.command()
@api_options
@click.argument("tenant")
@yes_option
def destroy(*, tenant: str, yes: bool) -> None:
    """End a tenant: its sessions, its app client, and the providers that the gateway made."""
    client = api()
    if not yes:
        question = f"End tenant {tenant}, its client and its providers in Cognito?"
        click.confirm(question, abort=True, err=True)
    client.call("DELETE", url_path("tenants", tenant, "provision"))
    say(f"tenant {tenant} is gone")


def _put(tenant: str, path: str, *, dry_run: bool) -> Json:
    # The models take a while to import; what only asks does without.
    from gateway.cli.documents import read_input  # noqa: PLC0415
    from gateway.provisioning.request import ProvisionBody  # noqa: PLC0415

    body = read_input(path, ProvisionBody)
    found: Json = (
        api()
        .call(
            "PUT", url_path("tenants", tenant, "provision"), query={"dry_run": dry_run}, body=body
        )
        .document
    )
    return found


def _say_steps(steps: Iterable[Json]) -> None:
    for step in steps:
        say(f"  {step['verb']:7} {step['resource']} {step['name']}: {step['why']}")
        for change in step["changes"]:
            say(
                f"            {change['setting']}: {_shown(change['now'])} → "
                f"{_shown(change['wanted'])}"
            )


def _shown(value: object) -> str:
    if value is None:
        return "(unset)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _say_clients(found: Json, as_json: bool) -> None:
    if as_json:
        say_json(found)
        return
    say(f"done: run {found['run']}, client {found['client_id']}{_in_force(found)}")
    for client in found["retired"]:
        until = when(client["retires_at"])
        say(f"  {client['client_id']} is accepted until {until}, and then deleted")


def _in_force(found: Json) -> str:
    return "" if found["in_force"] else "; stored, and not yet obeyed by every replica"
