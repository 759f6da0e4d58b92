"""``gateway hooks setup | secret | test | webhooks | held``."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from gateway.cli import config_option, json_option
from gateway.cli.audited import ACTOR
from gateway.cli.database import configured_database, file_records, in_force_within
from gateway.cli.hook_held import held
from gateway.cli.hook_webhooks import webhooks
from gateway.core.model import Secret
from gateway.database.audit import SqlAuditLog
from gateway.hooks.activity import read_activity
from gateway.hooks.setup import LAST_S, setup_instructions
from gateway.tenants.admin_records import RegistryRecords
from gateway.tenants.api import Rejected
from gateway.tenants.database import TenantDatabase
from gateway.tenants.hook_targets import hook_targets
from gateway.tenants.snapshot_record import document_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.hooks.activity import Arrival, HookActivity
    from gateway.hooks.setup import SetupInstructions

IN_FORCE_S = 10.0
"""How long to wait for a running gateway to obey a new secret."""


@click.group("hooks")
def command() -> None:
    """What to set up at an identity provider, and what has arrived from it."""


command.add_command(webhooks)
command.add_command(held)
provider_option = click.option("--provider", help="Only this one.")


@command.command("setup")
@config_option
@click.argument("tenant")
@provider_option
@json_option
def show_setup(*, config_path: str, tenant: str, provider: str | None, as_json: bool) -> int:
    """Addresses, events to tick, what is missing, and what arrived in the last day."""
    found = asyncio.run(_setups(config_path, tenant, provider, since=time.time() - LAST_S))
    if as_json and found:
        shown = [
            {
                **asdict(one),
                "addresses": dict(one.addresses),
                "missing": dict(one.missing),
                "arrived": _told(told),
            }
            for one, told in found
        ]
        click.echo(json.dumps(shown, indent=1))
    for one, told in found if not as_json else ():
        click.echo("\n".join([*_lines(one), *_arrivals(told)]))
    return 0 if found else _nobody(tenant, provider)


@command.command("test")
@config_option
@click.argument("tenant")
@provider_option
@click.option("--hours", default=24.0, show_default=True, help="How far to look back.")
@json_option
def test_hooks(
    *, config_path: str, tenant: str, provider: str | None, hours: float, as_json: bool
) -> int:
    """What arrived: handshakes, what was taken, what was refused and why. Exit 1 unless something
    did and was taken last.
    """
    found = asyncio.run(_setups(config_path, tenant, provider, since=time.time() - hours * 3600))
    if as_json and found:
        click.echo(json.dumps([_told(told) for _, told in found], indent=1))
    for one, told in found if not as_json else ():
        click.echo(
            "\n".join(
                [f"{one.tenant}/{one.provider} ({one.kind}): {told.verdict}", *_arrivals(told)]
            )
        )
    if not found:
        return _nobody(tenant, provider)
    return 0 if all(told.verdict == "works" for _, told in found) else 1


@command.command()
@config_option
@click.argument("tenant", required=False)
@click.argument("provider", required=False)
def secret(*, config_path: str, tenant: str | None, provider: str | None) -> int:
    """A new hook secret, shown once. With TENANT and PROVIDER it is stored too, and the one that
    was stays valid beside it.
    """
    made = secrets.token_urlsafe(32)
    if (tenant is None) != (provider is None):
        msg = "name TENANT and PROVIDER, or neither"
        raise click.UsageError(msg)
    if tenant is not None and provider is not None:
        refused, in_force = asyncio.run(_store(config_path, tenant, provider, Secret(made)))
        if refused is not None:
            click.echo(f"gateway: {refused.message}", err=True)
            return 1
        if not in_force:
            click.echo(
                (
                    "gateway: stored, and in force as soon as a gateway with the admin role "
                    "publishes it"
                ),
                err=True,
            )
    click.echo(made)
    return 0


def _nobody(tenant: str, provider: str | None) -> int:
    click.echo(
        f"gateway: no tenant {tenant!r}"
        + (f" with a provider {provider!r}" if provider else "")
        + " (see: gateway tenants list)",
        err=True,
    )
    return 1


def _lines(one: SetupInstructions) -> list[str]:
    lines = [
        (
            f"{one.tenant}/{one.provider} ({one.kind}), {one.secrets} "
            f"secret{'' if one.secrets == 1 else 's'}"
        )
    ]
    lines += [f"  {name:17} {address}" for name, address in one.addresses]
    lines += [f"  tick              {event}" for event in one.events]
    lines += [f"  missing           {key}: {why}" for key, why in one.missing]
    return lines


def _arrivals(told: HookActivity) -> list[str]:
    lines = (
        [_arrival("handshake", a) for a in told.handshakes]
        + [_arrival("arrived", a) for a in told.taken]
        + [_arrival("refused", a) for a in told.refused]
    )
    lines += [f"  skipped           {reason}: {count}" for reason, count in told.skipped]
    if told.last_event is not None:
        last = told.last_event
        lines.append(
            (
                f"  last event        {last.type} ({last.source}) {_when(last.received_at)} "
                f"{last.state}"
            )
            + (f": {last.error}" if last.error else "")
        )
    return lines or ["  arrived           nothing yet"]


def _arrival(word: str, one: Arrival) -> str:
    what = f"{one.outcome} x{one.count}" if word != "handshake" else f"x{one.count}"
    return f"  {word:17} {one.source} ({one.channel}) {what}, last {_when(one.last_at)}" + (
        f": {one.detail}" if one.detail else ""
    )


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _told(told: HookActivity) -> dict[str, object]:
    return {**asdict(told), "skipped": dict(told.skipped), "verdict": told.verdict}


async def _setups(
    config_path: str, tenant: str, provider: str | None, *, since: float
) -> list[tuple[SetupInstructions, HookActivity]]:
    async with configured_database(config_path) as (config, database):
        filed = file_records(config).get(tenant)
        stored = await TenantDatabase(database, config).get(tenant) if filed is None else None
        targets: Sequence[HookTarget] = (
            hook_targets(document_of(filed)[0])
            if filed is not None
            else hook_targets(stored.document)
            if stored is not None
            else ()
        )
        wanted = [t for t in targets if provider in (None, t.provider)]
        return [
            (
                setup_instructions(t, config.hooks.url),
                await read_activity(database, t.tenant, t.provider, since=since),
            )
            for t in wanted
        ]


async def _store(
    config_path: str, tenant: str, provider: str, made: Secret
) -> tuple[Rejected | None, bool]:
    """Why not, and whether a running gateway obeys it."""
    async with (
        configured_database(config_path) as (config, database),
        _on_record(database, tenant, provider) as outcome,
    ):
        tenants, files = TenantDatabase(database, config), file_records(config)

        async def in_force(tenant: str) -> None:
            outcome["in_force"] = await in_force_within(tenants, (tenant,), IN_FORCE_S)

        stored = await RegistryRecords(
            tenants, files=lambda: files, in_force=in_force
        ).put_hook_secret(tenant, provider, made)
        outcome["done"] = not isinstance(stored, Rejected)
        return (stored if isinstance(stored, Rejected) else None), outcome["in_force"]


@asynccontextmanager
async def _on_record(
    database: Database, tenant: str, provider: str
) -> AsyncIterator[dict[str, bool]]:
    audit = SqlAuditLog(database, clock=database.clock)
    entry = await audit.begin(
        actor=ACTOR,
        action="add_hook_secret",
        tenant=tenant,
        target=f"{tenant}/{provider}",
        request_id="",
    )
    outcome = {"done": False, "in_force": False}
    try:
        yield outcome
    finally:
        await audit.finish(
            entry, outcome="done" if outcome["done"] else "refused", before=None, after=None
        )
