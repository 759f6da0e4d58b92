"""``gateway provision plan | apply | verify | rotate | retire | rollback | destroy``: a tenant's
resources in Cognito.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Final

import click

from gateway.cli import Group, api, api_options, json_option
from gateway.cli.client import CommandError, url_path
from gateway.cli.output import failed, say, say_json, when, yes_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.cli.client import Answer, Api, Json

POLL_S: Final = 1.0
"""Between two looks at the steps of a run that is waited for."""


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
    document = _put(tenant, path, dry_run=True)
    if as_json:
        say_json(document)
        return
    say_steps(document["steps"])
    for note in document["notes"]:
        say(f"  note: {note}")
    if all(step["verb"] == "keep" for step in document["steps"]):
        say("nothing to do")


@command.command()
@api_options
@click.argument("tenant")
@file_option
@json_option
def apply(*, tenant: str, path: str, as_json: bool) -> None:
    """Make it so: everything, or nothing is left behind."""
    document = _put(tenant, path, dry_run=False)
    if as_json:
        say_json(document)
        return
    say_steps(document["steps"])
    for note in document["notes"]:
        say(f"  note: {note}")
    say(f"done: run {document['run']}, client {document['client_id']}{_in_force(document)}")
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
    document = api().call("POST", where, query={"fix": fix}).document
    repaired = document["run"] is not None
    if as_json:
        say_json(document)
    else:
        say_steps(step for step in document["steps"] if step["verb"] != "keep")
        for problem in document["problems"]:
            say(f"  {problem}")
        for note in document["notes"]:
            say(f"  note: {note}")
        say(
            "as it was provisioned"
            if document["clean"]
            else "repaired"
            if repaired
            else "differs from what was provisioned"
        )
    return 0 if document["clean"] or repaired else 1


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
    client, where = api(), url_path("tenants", tenant, "provision", "rotate")

    def post() -> Answer:
        return client.call("POST", where, query={"retire_now": retire_now})

    say_clients(followed(client, tenant, post), as_json)


@command.command()
@api_options
@click.argument("tenant")
@json_option
def retire(*, tenant: str, as_json: bool) -> None:
    """Delete the replaced app clients of a tenant now."""
    say_clients(
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
    document = client.call(
        "POST", url_path("tenants", tenant, "provision", run, "rollback")
    ).document
    say_json(document) if as_json else say(f"run {run}: {document['state']}")
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
    where = url_path("tenants", tenant, "provision")
    followed(client, tenant, lambda: client.call("DELETE", where))
    say(f"tenant {tenant} is gone")


def followed(client: Api, tenant: str, work: Callable[[], Answer]) -> Json:
    """The document that ``work`` is answered with; meanwhile each step of its run is told as it
    ends.
    """
    where = url_path("tenants", tenant, "provision")
    before = {run["id"] for run in client.pages(where, limit=1)["items"]}
    future: Future[Answer] = Future()
    # A daemon: whoever interrupts the command does not wait for the answer.
    threading.Thread(target=_settle, args=(future, work), daemon=True).start()
    count = 0
    while wait([future], timeout=POLL_S).not_done:
        # What cannot be read just now is told with the answer.
        with contextlib.suppress(CommandError):
            count += _tell_steps(client, where, before, count)
    document: Json = future.result().document
    return document


def _settle(ended: Future[Answer], work: Callable[[], Answer]) -> None:
    try:
        ended.set_result(work())
    except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
        ended.set_exception(error)


def _tell_steps(client: Api, where: str, before: set[str], told: int) -> int:
    """How many more there are now; standard output stays the result's."""
    runs = [run for run in client.pages(where, limit=1)["items"] if run["id"] not in before]
    steps = client.get(f"{where}/{runs[0]['id']}")["steps"] if runs else []
    final_steps = [step for step in steps if step["state"] != "intended"]
    for step in final_steps[told:]:
        say(f"  {step['state']:10} {step['action'].replace('_', ' ')} {step['resource']}", err=True)
    return len(final_steps[told:])


def _put(tenant: str, path: str, *, dry_run: bool) -> Json:
    # The models take a while to import; what only asks does without.
    from gateway.cli.documents import read_input  # noqa: PLC0415
    from gateway.provisioning.request import ProvisionBody  # noqa: PLC0415

    client, body = api(), read_input(path, ProvisionBody)
    where, query = url_path("tenants", tenant, "provision"), {"dry_run": dry_run}

    def put() -> Answer:
        return client.call("PUT", where, query=query, body=body)

    if not dry_run:
        return followed(client, tenant, put)
    document: Json = put().document
    return document


def say_steps(steps: Iterable[Json], *, err: bool = False) -> None:
    for step in steps:
        say(f"  {step['verb']:7} {step['resource']} {step['name']}: {step['why']}", err=err)
        for change in step["changes"]:
            say(
                f"            {change['setting']}: {_shown(change['now'])} → "
                f"{_shown(change['wanted'])}",
                err=err,
            )


def _shown(value: object) -> str:
    if value is None:
        return "(unset)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def say_clients(found: Json, as_json: bool) -> None:
    if as_json:
        say_json(found)
        return
    say(f"done: run {found['run']}, client {found['client_id']}{_in_force(found)}")
    for client in found["retired"]:
        until = when(client["retires_at"])
        say(f"  {client['client_id']} is accepted until {until}, and then deleted")


def _in_force(found: Json) -> str:
    return "" if found["in_force"] else "; stored, and not yet obeyed by every replica"
