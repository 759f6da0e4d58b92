"""``gateway hooks setup | secret``."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway import keys
from gateway.cli import config_option, json_option
from gateway.config import load_config
from gateway.hooks.deliveries import last_arrivals
from gateway.hooks.setup import setup
from gateway.registry.database import TenantDatabase
from gateway.registry.files import read_folder
from gateway.registry.hook_targets import hook_targets
from gateway.sql.database import open_database

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.hooks.deliveries import Arrival
    from gateway.hooks.setup import Setup
    from gateway.registry.document import TenantDocument
    from gateway.sql.database import Database


@click.group("hooks")
def command() -> None:
    """What to set up at an identity provider, and what has arrived from it."""


@command.command("setup")
@config_option
@click.argument("tenant")
@click.option("--provider", help="Only this one.")
@json_option
def show_setup(*, config_path: str, tenant: str, provider: str | None, as_json: bool) -> int:
    """Addresses, events to tick, what is missing, and what each sender delivered last."""
    found = asyncio.run(_setups(config_path, tenant, provider))
    if not found:
        click.echo(f"gateway: no tenant {tenant!r}" + (f" with a provider {provider!r}" if provider else "") + " (see: gateway tenants list)", err=True)
        return 1
    if as_json:
        shown = [{**asdict(one), "addresses": dict(one.addresses), "missing": dict(one.missing), "arrived": [asdict(a) for a in arrivals]} for one, arrivals in found]
        click.echo(json.dumps(shown, indent=1))
        return 0
    for one, arrivals in found:
        click.echo("\n".join(_lines(one, arrivals)))
    return 0


@command.command()
def secret() -> None:
    """A new hook secret, shown once: put it first in the provider's hooks.secrets, then give it to the customer's administrator."""
    click.echo(secrets.token_urlsafe(32))


def _lines(one: Setup, arrivals: tuple[Arrival, ...]) -> list[str]:
    lines = [f"{one.tenant}/{one.provider} ({one.kind}), {one.secrets} secret{'' if one.secrets == 1 else 's'}"]
    lines += [f"  {name:17} {address}" for name, address in one.addresses]
    lines += [f"  tick              {event}" for event in one.events]
    lines += [f"  missing           {key}: {why}" for key, why in one.missing]
    lines += [f"  arrived           {a.source} ({a.channel}) {datetime.fromtimestamp(a.received_at, UTC).strftime('%Y-%m-%d %H:%M:%S')} {a.outcome}" for a in arrivals]
    return lines if arrivals else [*lines, "  arrived           nothing yet"]


async def _setups(config_path: str, tenant: str, provider: str | None) -> list[tuple[Setup, tuple[Arrival, ...]]]:
    config = load_config(Path(config_path))
    ring = keys.load(config.key_file, create=False)
    async with AsyncExitStack() as stack:
        database = open_database(config, lambda: ring.database)
        stack.push_async_callback(database.close)
        await database.prepare()
        document = await _document(config, database, tenant)
        targets = [t for t in hook_targets(document) if provider in (None, t.provider)] if document is not None else []
        return [(setup(t, config.hooks.url), await last_arrivals(database, t.tenant, t.provider)) for t in targets]


async def _document(config: Config, database: Database, tenant: str) -> TenantDocument | None:
    if config.tenants.files is not None:
        documents = await asyncio.to_thread(read_folder, config.tenants.files, config)
        found = next((d for d in documents.values() if d.id == tenant), None)
        if found is not None:
            return found
    stored = await TenantDatabase(database, config).get(tenant)
    return stored.document if stored is not None else None
