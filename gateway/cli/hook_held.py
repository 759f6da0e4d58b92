"""``gateway hooks held list | release | drop``: removals of many people at once, which wait for an
operator.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from gateway.cli import config_option, json_option
from gateway.cli.audited import ACTOR
from gateway.cli.database import configured_database
from gateway.database.audit import SqlAuditLog
from gateway.database.group_commit import GroupCommitter
from gateway.hooks.deliveries import InboxRecords

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.database.engine import Database
    from gateway.hooks.views import DeliveryView

PAGE = 200


@click.group("held")
def held() -> None:
    """Removals of many people at once, held until you release or drop them."""


@held.command("list")
@config_option
@click.option("--tenant", help="Only this tenant's.")
@json_option
def list_held(*, config_path: str, tenant: str | None, as_json: bool) -> None:
    """Newest first."""
    found = asyncio.run(_list(config_path, tenant))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=1))
        return
    for one in found:
        when = datetime.fromtimestamp(one.received_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        click.echo(
            f"{one.id}  {one.tenant}/{one.provider}  {when}  {one.source}  {one.summary}  "
            f"{one.error}"
        )


@held.command()
@config_option
@click.argument("tenant")
@click.option("--provider", help="Only this one's.")
def release(*, config_path: str, tenant: str, provider: str | None) -> None:
    """Apply all that is held of TENANT; what was undone meanwhile has no effect. A running gateway
    does it within a second.
    """
    click.echo(f"{asyncio.run(_decide(config_path, tenant, provider, 'release'))} to be applied")


@held.command()
@config_option
@click.argument("tenant")
@click.option("--provider", help="Only this one's.")
def drop(*, config_path: str, tenant: str, provider: str | None) -> None:
    """Forget all that is held of TENANT: these people keep what they have."""
    click.echo(f"{asyncio.run(_decide(config_path, tenant, provider, 'drop'))} dropped")


async def _list(config_path: str, tenant: str | None) -> list[DeliveryView]:
    async with _records(config_path) as (records, _):
        found: list[DeliveryView] = []
        position: str | None = None
        while True:
            page = await records.page(tenant=tenant, state="held", position=position, limit=PAGE)
            found += page.items
            position = page.position
            if position is None:
                return found


async def _decide(config_path: str, tenant: str, provider: str | None, decision: str) -> int:
    async with _records(config_path) as (records, database):
        audit = SqlAuditLog(database, clock=database.clock)
        entry = await audit.begin(
            actor=ACTOR, action="decide_held", tenant=tenant, target=provider or "", request_id=""
        )
        count = await (records.release_held if decision == "release" else records.drop_held)(
            tenant=tenant, provider=provider
        )
        await audit.finish(
            entry, outcome="done", before=None, after={"decision": decision, "events": count}
        )
        return count


@asynccontextmanager
async def _records(config_path: str) -> AsyncIterator[tuple[InboxRecords, Database]]:
    async with configured_database(config_path) as (_, database):
        committer = GroupCommitter(database)
        async with committer.running():
            yield (
                InboxRecords(database, committer, clock=database.clock, wake=lambda: None),
                database,
            )
