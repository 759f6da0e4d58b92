"""``gateway blocks list | add | remove``."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from gateway.cli import config_option, json_option
from gateway.cli.audited import audited
from gateway.cli.sessions import describe, one_who, summary, who_options
from gateway.cli.stores import configured_stores
from gateway.cli.tenant_table import expect_tenant
from gateway.ports import RevocationKind, RevocationRequest

if TYPE_CHECKING:
    from gateway.ports import RevocationStatus, Who
    from gateway.ports_admin import BlockView

PAGE = 200


@click.group("blocks")
def command() -> None:
    """Keep people out, and let them in again."""


@command.command("list")
@config_option
@click.option("--tenant", help="Only this tenant's.")
@json_option
def list_blocks(*, config_path: str, tenant: str | None, as_json: bool) -> None:
    """Blocks and removed groups in force, oldest first."""
    found = asyncio.run(_list(config_path, tenant))
    if as_json:
        click.echo(json.dumps([{**asdict(view), "who": _who(view.who)} for view in found], indent=1))
        return
    if not found:
        click.echo("no blocks or removed groups in force", err=True)
    for view in found:
        who = " ".join(f"{name}={value}" for name, value in _who(view.who).items()) or "everybody"
        since = datetime.fromtimestamp(view.since, UTC).strftime("%Y-%m-%d %H:%M")
        without = "" if view.group is None else f"without group {view.group}  "
        click.echo(f"{view.id}  {view.tenant}  {who}  {without}by {view.source} since {since}  {view.reason}")


@command.command()
@config_option
@click.option("--tenant", required=True, help="Tenant id.")
@who_options
@click.option("--all", "everybody", is_flag=True, help="Everybody in the tenant.")
@click.option("--reason", required=True, help="For the record, and for whoever lifts it.")
@json_option
def add(*, config_path: str, tenant: str, everybody: bool, reason: str, as_json: bool, **names: str | None) -> int:
    """End what somebody has and refuse what they try, until lifted; returns when acknowledged."""
    who = one_who(**names)
    if any(value is not None for name, value in names.items() if name != "provider") == everybody:
        msg = "name --user, --email, --idp-subject, --oid or --group, or say --all"
        raise click.UsageError(msg)
    status = asyncio.run(_add(config_path, RevocationRequest(tenant, who, RevocationKind.BLOCK, reason, "cli")))
    click.echo(json.dumps(describe(status), indent=1) if as_json else summary(status))
    return 0


@command.command()
@config_option
@click.argument("block")
@json_option
def remove(*, config_path: str, block: str, as_json: bool) -> int:
    """Lift a block, or give a removed group back, whoever imposed it."""
    status = asyncio.run(_remove(config_path, block))
    if status is None:
        click.echo(f"gateway: no block {block!r} is in force (see: gateway blocks list)", err=True)
        return 1
    click.echo(json.dumps(describe(status), indent=1) if as_json else f"{block} lifted")
    return 0


def _who(who: Who) -> dict[str, str]:
    return {name: value for name, value in asdict(who).items() if value is not None}


async def _list(config_path: str, tenant: str | None) -> list[BlockView]:
    async with configured_stores(config_path) as stores:
        found: list[BlockView] = []
        position: str | None = None
        while True:
            page = await stores.blocks.page(tenant=tenant, position=position, limit=PAGE)
            found += page.items
            if page.position is None:
                return found
            position = page.position


async def _add(config_path: str, request: RevocationRequest) -> RevocationStatus:
    async with configured_stores(config_path) as stores:
        await expect_tenant(stores, request.tenant)
        return await audited(stores.database, "add_block", request.tenant, request.who, lambda: stores.revoker.revoke(request))


async def _remove(config_path: str, block: str) -> RevocationStatus | None:
    async with configured_stores(config_path) as stores:
        found = await stores.blocks.find(block)
        if found is None:
            return None
        kind = RevocationKind.BLOCK if found.group is None else RevocationKind.END_SESSIONS
        request = RevocationRequest(found.tenant, found.who, kind, "lifted by an operator", "cli", group_overlay=found.group)
        return await audited(stores.database, "remove_block", found.tenant, found.who, lambda: stores.revoker.lift(request))
