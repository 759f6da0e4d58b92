"""``gateway provision plan | apply | verify | rotate | retire | rollback | destroy``: the admin
API's own code, run beside the gateway.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click
import yaml
from pydantic import ValidationError

from gateway.cli import config_option, json_option
from gateway.cli.beside_onboarding import ACTOR, audited, opened, telling, why_not
from gateway.cli.rotation import retire, rotate
from gateway.config.yaml import explain_validation
from gateway.errors import ConfigError
from gateway.provisioning.desired import describe
from gateway.provisioning.request import ProvisionBody
from gateway.provisioning.runner import Done
from gateway.provisioning.runs import RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.provisioning.plan import Plan, Step
    from gateway.provisioning.preflight import PreflightProblem
    from gateway.provisioning.proposal import Proposal
    from gateway.provisioning.runner import Outcome
    from gateway.provisioning.service import Drift, Onboarding

T = TypeVar("T")


@click.group("provision")
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
@config_option
@click.argument("tenant")
@file_option
@json_option
def plan(config_path: str, tenant: str, path: str, as_json: bool) -> int:
    """Say what would be created, changed and kept, and why; change nothing."""
    return asyncio.run(_plan(config_path, tenant, _body(path), as_json=as_json))


@command.command()
@config_option
@click.argument("tenant")
@file_option
@json_option
def apply(config_path: str, tenant: str, path: str, as_json: bool) -> int:
    """Make it so: everything, or nothing is left behind."""
    return asyncio.run(_apply(config_path, tenant, _body(path), as_json=as_json))


@command.command()
@config_option
@click.argument("tenant")
@click.option("--fix", is_flag=True, help="Put back what differs.")
@json_option
def verify(config_path: str, tenant: str, fix: bool, as_json: bool) -> int:
    """Compare Cognito with what was provisioned; exit 1 if it differs."""
    return asyncio.run(_verify(config_path, tenant, fix=fix, as_json=as_json))


@command.command()
@config_option
@click.argument("tenant")
@click.argument("run", required=False)
def rollback(config_path: str, tenant: str, run: str | None) -> int:
    """Take back the latest finished run of a tenant; with RUN only if it is that one."""
    return asyncio.run(_rollback(config_path, tenant, run))


@command.command()
@config_option
@click.argument("tenant")
@click.option("--yes", is_flag=True, help="Do not ask.")
def destroy(config_path: str, tenant: str, yes: bool) -> int:
    """End a tenant: its sessions, its app client, and the providers that the gateway made."""
    if not yes:
        click.confirm(f"End tenant {tenant}, its client and its providers in Cognito?", abort=True)
    return asyncio.run(_destroy(config_path, tenant))


async def _plan(config_path: str, tenant: str, body: ProvisionBody, *, as_json: bool) -> int:
    async with opened(config_path) as (onboarding, _database):
        proposal = await onboarding.propose(tenant, body, update=True)
    if proposal.problems:
        return _say_problems(proposal.problems, as_json=as_json)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "tenant": tenant,
                    "steps": [describe(s) for s in proposal.plan.steps],
                    "notes": list(proposal.plan.notes),
                },
                indent=1,
            )
        )
    else:
        _say_plan(proposal.plan)
    return 0


async def _apply(config_path: str, tenant: str, body: ProvisionBody, *, as_json: bool) -> int:
    async with opened(config_path) as (onboarding, database):
        proposal = await onboarding.propose(tenant, body, update=True)
        if proposal.problems:
            return _say_problems(proposal.problems, as_json=as_json)
        if not as_json:
            _say_plan(proposal.plan)

        async def work() -> Outcome:
            return await onboarding.apply(proposal, actor=ACTOR, progress=telling(as_json=as_json))

        async def after() -> dict[str, object]:
            return {
                "steps": [describe(s) for s in proposal.plan.steps],
                "tenant": proposal.document,
            }

        outcome = await audited(
            database,
            "provision",
            tenant,
            work,
            before=(proposal.before or {}).get("document"),
            after=after,
        )
        return await _say_outcome(onboarding, proposal, outcome, as_json=as_json)


async def _verify(config_path: str, tenant: str, *, fix: bool, as_json: bool) -> int:
    async with opened(config_path) as (onboarding, database):

        async def work() -> Drift | None:
            return await onboarding.verify(
                tenant, fix=fix, actor=ACTOR, progress=telling(as_json=as_json)
            )

        drift = await (audited(database, "verify", tenant, work) if fix else work())
    if drift is None:
        click.echo(f"gateway: tenant {tenant} is not provisioned", err=True)
        return 1
    mended = isinstance(drift.fixed, Done)
    if as_json:
        found = {
            "tenant": tenant,
            "clean": drift.clean,
            "steps": [describe(s) for s in drift.steps],
            "problems": [str(p) for p in drift.problems],
            "mended": mended,
        }
        click.echo(json.dumps(found, indent=1))
    else:
        _say_steps([s for s in drift.steps if s.does])
        for problem in drift.problems:
            click.echo(f"  {problem}")
        click.echo(
            "as it was provisioned"
            if drift.clean
            else "mended"
            if mended
            else "differs from what was provisioned"
        )
    return 0 if drift.clean or mended else 1


async def _rollback(config_path: str, tenant: str, named: str | None) -> int:
    async with opened(config_path) as (onboarding, database):
        latest = await onboarding.provisioning.journal.latest(tenant)
        run = named or (latest.id if latest is not None else "")
        if not run:
            click.echo(f"gateway: tenant {tenant} has no run", err=True)
            return 1

        async def work() -> RunState | PreflightProblem:
            return await onboarding.roll_back(tenant, run)

        state = await audited(database, "rollback_run", tenant, work)
    if isinstance(state, RunState):
        click.echo(f"run {run}: {state}")
        return 0
    click.echo(f"gateway: {state.message}", err=True)
    return 1


async def _destroy(config_path: str, tenant: str) -> int:
    async with opened(config_path) as (onboarding, database):

        async def work() -> Outcome | PreflightProblem:
            return await onboarding.destroy(tenant, actor=ACTOR, progress=telling(as_json=False))

        record = await onboarding.records.get(tenant)
        outcome = await audited(
            database,
            "destroy",
            tenant,
            work,
            before=record.document if record is not None else None,
        )
    if isinstance(outcome, Done):
        click.echo(f"tenant {tenant} is gone")
        return 0
    click.echo(f"gateway: {why_not(outcome)}", err=True)
    return 1


def _body(path: str) -> ProvisionBody:
    """From a file or standard input; every mistake named."""
    name = "standard input" if path == "-" else path
    try:
        document = yaml.safe_load(
            sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"{name}: cannot be read as YAML or JSON ({type(error).__name__})"
        raise ConfigError(msg) from error
    try:
        return ProvisionBody.model_validate(document)
    except ValidationError as error:
        raise ConfigError(explain_validation(name, error, ProvisionBody)) from error


def _say_plan(found: Plan) -> None:
    _say_steps(found.steps)
    for note in found.notes:
        click.echo(f"  note: {note}")
    if not found.changes:
        click.echo("nothing to do")


def _say_steps(steps: Sequence[Step]) -> None:
    for step in steps:
        click.echo(f"  {step}")
        for difference in step.differences:
            click.echo(f"            {difference}")


def _say_problems(problems: Sequence[PreflightProblem], *, as_json: bool) -> int:
    if as_json:
        click.echo(
            json.dumps(
                {
                    "problems": [
                        {"kind": p.kind, "where": p.where, "problem": p.message} for p in problems
                    ]
                },
                indent=1,
            )
        )
    else:
        for problem in problems:
            click.echo(f"gateway: {problem}", err=True)
    return 1


async def _say_outcome(
    onboarding: Onboarding, proposal: Proposal, outcome: Outcome, *, as_json: bool
) -> int:
    if not isinstance(outcome, Done):
        text = why_not(outcome)
        click.echo(
            json.dumps({"done": False, "problem": text}) if as_json else f"gateway: {text}",
            err=not as_json,
        )
        return 1
    credentials = await onboarding.provisioning.registrar.credentials(proposal.tenant)
    client_id = credentials.client_id if credentials else ""
    if as_json:
        click.echo(
            json.dumps(
                {
                    "done": True,
                    "run": outcome.run,
                    "client_id": client_id,
                    "in_force": outcome.in_force,
                    "hooks": f"gateway hooks setup {proposal.tenant}",
                }
            )
        )
    else:
        click.echo(
            f"done: run {outcome.run}, client {client_id}"
            + ("" if outcome.in_force else "; stored, and not yet obeyed by a running gateway")
        )
        click.echo(
            f"next: gateway hooks setup {proposal.tenant} (addresses and events for its "
            f"administrator), gateway hooks secret {proposal.tenant} PROVIDER"
        )
    return 0


command.add_command(rotate)
command.add_command(retire)
