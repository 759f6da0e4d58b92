"""``gateway hooks webhooks list | replay``: what the tenants' applications were told, and telling
them again.
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
from gateway.hooks.webhooks.messages import OutboxRecords
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.database.engine import Database
    from gateway.hooks.views import MessageView

PAGE = 200


@click.group("webhooks")
def webhooks() -> None:
    """What the tenants' applications were told of people who left and came back."""


@webhooks.command("list")
@config_option
@click.option("--tenant", help="Only this tenant's.")
@click.option("--state", type=click.Choice(["new", "sent", "failed"]), help="failed: given up.")
@click.option("--limit", default=PAGE, show_default=True, help="How many.")
@json_option
def list_webhooks(
    *, config_path: str, tenant: str | None, state: str | None, limit: int, as_json: bool
) -> None:
    """Newest first."""
    found = asyncio.run(_list(config_path, tenant, state, limit))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=1))
        return
    for one in found:
        when = datetime.fromtimestamp(one.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        click.echo(
            (
                f"{one.id}  {one.tenant}  {when}  {one.event}  {one.state} after "
                f"{one.attempts} attempts"
            )
            + (f": {one.error}" if one.error else "")
        )


@webhooks.command()
@config_option
@click.argument("messages", nargs=-1)
@click.option(
    "--failed",
    "tenant",
    metavar="TENANT",
    help="All of this tenant's that were given up, oldest first.",
)
def replay(*, config_path: str, messages: tuple[str, ...], tenant: str | None) -> int:
    """Send again, with the same id and body; a running gateway does it within a second."""
    if bool(messages) == (tenant is not None):
        msg = "name MESSAGES, or --failed TENANT"
        raise click.UsageError(msg)
    replayed, refused = asyncio.run(_replay(config_path, messages, tenant))
    for line in refused:
        click.echo(f"gateway: {line}", err=True)
    click.echo(f"{replayed} to be sent again")
    return 1 if refused else 0


async def _list(
    config_path: str, tenant: str | None, state: str | None, limit: int
) -> list[MessageView]:
    async with _records(config_path) as (records, _):
        return await _pages(records, tenant, state, limit)


async def _pages(
    records: OutboxRecords, tenant: str | None, state: str | None, limit: int | None
) -> list[MessageView]:
    found: list[MessageView] = []
    position: str | None = None
    while limit is None or len(found) < limit:
        page = await records.page(
            tenant=tenant,
            state=state,
            position=position,
            limit=PAGE if limit is None else min(PAGE, limit - len(found)),
        )
        found += page.items
        position = page.position
        if position is None:
            break
    return found


async def _replay(
    config_path: str, messages: tuple[str, ...], tenant: str | None
) -> tuple[int, list[str]]:
    async with _records(config_path) as (records, database):
        wanted = (
            list(messages)
            if tenant is None
            else [m.id for m in reversed(await _pages(records, tenant, "failed", None))]
        )
        audit, refused = SqlAuditLog(database, clock=database.clock), []
        for message in wanted:
            found = await records.find(message)
            entry = await audit.begin(
                actor=ACTOR,
                action="replay_message",
                tenant=found.tenant if found else None,
                target=message[:128],
                request_id="",
            )
            answer = await records.replay(message)
            await audit.finish(
                entry,
                outcome="refused" if isinstance(answer, Rejected) else "done",
                before={"state": found.state} if found else None,
                after=None,
            )
            if isinstance(answer, Rejected):
                refused.append(f"{message}: {answer.message}")
        return len(wanted) - len(refused), refused


@asynccontextmanager
async def _records(config_path: str) -> AsyncIterator[tuple[OutboxRecords, Database]]:
    async with configured_database(config_path) as (_, database):
        committer = GroupCommitter(database)
        async with committer.running():
            yield (
                OutboxRecords(database, committer, clock=database.clock, wake=lambda: None),
                database,
            )
