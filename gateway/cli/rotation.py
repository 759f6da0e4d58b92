"""``gateway provision rotate | retire``."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from gateway.cli import config_option, json_option
from gateway.cli.beside_onboarding import ACTOR, audited, clients_of, opened, telling, why_not
from gateway.provisioning.runner import Done

if TYPE_CHECKING:
    from gateway.provisioning.preflight import PreflightProblem
    from gateway.provisioning.runner import Outcome
    from gateway.provisioning.service import Onboarding


@click.command()
@config_option
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
def rotate(config_path: str, tenant: str, retire_now: bool, as_json: bool) -> int:
    """Give a tenant another app client; the present one is accepted until its last session has
    ended.
    """
    return asyncio.run(_rotate(config_path, tenant, retire_now=retire_now, as_json=as_json))


@click.command()
@config_option
@click.argument("tenant")
@json_option
def retire(config_path: str, tenant: str, as_json: bool) -> int:
    """Delete the replaced app clients of a tenant now."""
    return asyncio.run(_retire(config_path, tenant, as_json=as_json))


async def _rotate(config_path: str, tenant: str, *, retire_now: bool, as_json: bool) -> int:
    async with opened(config_path) as (onboarding, database):

        async def make() -> Outcome | PreflightProblem:
            return await onboarding.rotate(tenant, actor=ACTOR, progress=telling(as_json=as_json))

        async def end() -> Outcome | PreflightProblem:
            return await onboarding.retire(tenant, actor=ACTOR, progress=telling(as_json=as_json))

        async def after() -> dict[str, object]:
            return await clients_of(onboarding, tenant)

        outcome = await audited(database, "rotate", tenant, make, before=await after(), after=after)
        if isinstance(outcome, Done) and retire_now:
            outcome = await audited(
                database, "retire", tenant, end, before=await after(), after=after
            )
        return await _say(onboarding, tenant, outcome, as_json=as_json)


async def _retire(config_path: str, tenant: str, *, as_json: bool) -> int:
    async with opened(config_path) as (onboarding, database):

        async def work() -> Outcome | PreflightProblem:
            return await onboarding.retire(tenant, actor=ACTOR, progress=telling(as_json=as_json))

        async def after() -> dict[str, object]:
            return await clients_of(onboarding, tenant)

        outcome = await audited(database, "retire", tenant, work, before=await after(), after=after)
        return await _say(onboarding, tenant, outcome, as_json=as_json)


async def _say(
    onboarding: Onboarding, tenant: str, outcome: Outcome | PreflightProblem, *, as_json: bool
) -> int:
    if not isinstance(outcome, Done):
        text = why_not(outcome)
        click.echo(
            json.dumps({"done": False, "problem": text}) if as_json else f"gateway: {text}",
            err=not as_json,
        )
        return 1
    held = await onboarding.provisioning.registrar.credentials(tenant)
    current, retired = (held.client_id, held.retired) if held is not None else ("", ())
    if as_json:
        shown = [
            {"client_id": client.client_id, "retires_at": client.retires_at} for client in retired
        ]
        click.echo(
            json.dumps(
                {
                    "done": True,
                    "run": outcome.run,
                    "client_id": current,
                    "retired": shown,
                    "in_force": outcome.in_force,
                }
            )
        )
        return 0
    click.echo(
        f"done: run {outcome.run}, client {current}"
        + ("" if outcome.in_force else "; stored, and not yet obeyed by a running gateway")
    )
    for client in retired:
        until = datetime.fromtimestamp(client.retires_at or 0.0, UTC).isoformat(timespec="minutes")
        click.echo(f"  {client.client_id} is accepted until {until}, and then deleted")
    return 0
