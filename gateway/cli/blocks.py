"""``gateway blocks list | add | remove``."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from gateway.cli import config_option, json_option
from gateway.cli.audited import audited
from gateway.cli.sessions import describe, one_who, summary, who_options
from gateway.cli.stores import configured_stores
from gateway.cli.tenant_table import expect_tenant, tenant_documents
from gateway.core.revocation import RevocationKind, RevocationRequest
from gateway.revocation.api import OPERATORS
from gateway.tenants.hook_targets import hook_targets, source_is_gone

if TYPE_CHECKING:
    from gateway.core.revocation import RevocationStatus, Who
    from gateway.revocation.blocks import BlockView

source_option = click.option(
    "--source", help="What this source imposed: okta, entra, scim (every record) …"
)


@click.group("blocks")
def command() -> None:
    """Keep people out, and let them in again."""


@command.command("list")
@config_option
@click.option("--tenant", help="Only this tenant's.")
@source_option
@click.option(
    "--remembered",
    is_flag=True,
    help=(
        "What providers took away that keeps nobody out, because the tenant's policy does not "
        "name the group."
    ),
)
@json_option
def list_blocks(
    *, config_path: str, tenant: str | None, source: str | None, remembered: bool, as_json: bool
) -> None:
    """Blocks and removed groups in force, oldest first, and whether what imposed them can still
    lift them.
    """
    found = asyncio.run(_list(config_path, tenant, source, remembered=remembered))
    if as_json:
        click.echo(
            json.dumps(
                [
                    {**asdict(view), "who": _who(view.who), "source_gone": gone}
                    for view, gone in found
                ],
                indent=1,
            )
        )
        return
    if not found:
        click.echo(
            "nothing of the kind is remembered"
            if remembered
            else "no blocks or removed groups in force",
            err=True,
        )
    for view, gone in found:
        who = " ".join(f"{name}={value}" for name, value in _who(view.who).items()) or "everybody"
        since = datetime.fromtimestamp(view.since, UTC).strftime("%Y-%m-%d %H:%M")
        without = "" if view.group is None else f"without group {view.group}  "
        without += "" if not view.exempt else f"(but for {view.exempt} added since)  "
        kept = (
            (
                f" (which says nothing any more: gateway blocks remove --tenant {view.tenant} "
                f"--source {view.source.partition(':')[0]})"
            )
            if gone
            else ""
        )
        click.echo(
            f"{view.id}  {view.tenant}  {who}  {without}by {view.source}{kept} since "
            f"{since}  {view.reason}"
        )


@command.command()
@config_option
@click.option("--tenant", required=True, help="Tenant id.")
@who_options
@click.option("--all", "everybody", is_flag=True, help="Everybody in the tenant.")
@click.option("--reason", required=True, help="For the record, and for whoever lifts it.")
@json_option
def add(
    *,
    config_path: str,
    tenant: str,
    everybody: bool,
    reason: str,
    as_json: bool,
    **names: str | None,
) -> int:
    """End what somebody has and refuse what they try, until lifted; returns when acknowledged."""
    who = one_who(**names)
    if any(value is not None for name, value in names.items() if name != "provider") == everybody:
        msg = "name --user, --email, --idp-subject, --oid or --group, or say --all"
        raise click.UsageError(msg)
    status = asyncio.run(
        _add(
            config_path,
            RevocationRequest(tenant, who, RevocationKind.BLOCK, reason, "cli", by_hand=True),
        )
    )
    click.echo(json.dumps(describe(status), indent=1) if as_json else summary(status))
    return 0


@command.command()
@config_option
@click.argument("block", required=False)
@click.option("--tenant", help="Tenant id, with --source.")
@source_option
@click.option("--provider", help="With --source: only what names this identity provider.")
@json_option
def remove(
    *,
    config_path: str,
    block: str | None,
    tenant: str | None,
    source: str | None,
    provider: str | None,
    as_json: bool,
) -> int:
    """Lift a block, or give a removed group back, whoever imposed it; with --source, everything
    that this source imposed in a tenant.
    """
    if (
        (block is None) == (source is None)
        or (tenant is None) != (source is None)
        or (provider is not None and source is None)
    ):
        msg = "name one block, or --tenant and --source (and --provider)"
        raise click.UsageError(msg)
    if source in OPERATORS:
        # An operator's lift is of whatever stands against the person, whoever imposed it.
        msg = (
            f"--source names what speaks for an identity provider; lift what {source} imposed "
            f"by its id (see: gateway blocks list --source {source})"
        )
        raise click.UsageError(msg)
    if block is None:
        statuses = asyncio.run(_remove_all(config_path, tenant or "", source or "", provider))
        lifted = f"{len(statuses)} lifted" if statuses else "nothing of this source is in force"
        click.echo(
            json.dumps([describe(status) for status in statuses], indent=1) if as_json else lifted
        )
        return 0
    status = asyncio.run(_remove(config_path, block))
    if status is None:
        click.echo(f"gateway: no block {block!r} is in force (see: gateway blocks list)", err=True)
        return 1
    click.echo(
        json.dumps(describe(status), indent=1)
        if as_json
        else f"{block} lifted"
        if status.lifted
        else f"{block} was not in force any more"
    )
    return 0


def _who(who: Who) -> dict[str, str]:
    return {name: value for name, value in asdict(who).items() if value is not None}


def _is_of(view: BlockView, source: str | None) -> bool:
    """``scim`` is every SCIM record."""
    return source in (None, view.source, view.source.partition(":")[0])


async def _list(
    config_path: str, tenant: str | None, source: str | None, *, remembered: bool
) -> list[tuple[BlockView, bool]]:
    """Each with whether its source is gone."""
    async with configured_stores(config_path) as stores:
        found = [
            view
            for view in await (
                stores.blocks.all_remembered(tenant) if remembered else stores.blocks.all_of(tenant)
            )
            if _is_of(view, source)
        ]
        documents = await tenant_documents(stores) if found else {}
        targets = {name: hook_targets(document) for name, document in documents.items()}
        return [
            (view, source_is_gone(view.source, view.who.provider, targets.get(view.tenant, ())))
            for view in found
        ]


async def _remove_all(
    config_path: str, tenant: str, source: str, provider: str | None
) -> list[RevocationStatus]:
    async with configured_stores(config_path) as stores:
        await expect_tenant(stores, tenant)
        statuses = []
        for view in await stores.blocks.all_of(tenant):
            if not _is_of(view, source) or provider not in (None, view.who.provider):
                continue
            kind = RevocationKind.BLOCK if view.group is None else RevocationKind.END_SESSIONS
            # As the source itself: what others have against the same person stands.
            request = RevocationRequest(
                tenant,
                view.who,
                kind,
                f"{source} says nothing any more: lifted by an operator",
                view.source,
                group_overlay=view.group,
                by_hand=True,
            )
            statuses.append(
                await audited(
                    stores.database,
                    "remove_block",
                    tenant,
                    view.who,
                    partial(stores.revoker.lift, request),
                )
            )
        return statuses


async def _add(config_path: str, request: RevocationRequest) -> RevocationStatus:
    async with configured_stores(config_path) as stores:
        await expect_tenant(stores, request.tenant)
        return await audited(
            stores.database,
            "add_block",
            request.tenant,
            request.who,
            lambda: stores.revoker.revoke(request),
        )


async def _remove(config_path: str, block: str) -> RevocationStatus | None:
    async with configured_stores(config_path) as stores:
        found = await stores.blocks.find(block)
        if found is None:
            return None
        kind = RevocationKind.BLOCK if found.group is None else RevocationKind.END_SESSIONS
        standing = "" if found.in_force else found.id
        request = RevocationRequest(
            found.tenant,
            found.who,
            kind,
            "lifted by an operator",
            "cli",
            group_overlay=found.group,
            by_hand=True,
            standing=standing,
        )
        return await audited(
            stores.database,
            "remove_block",
            found.tenant,
            found.who,
            lambda: stores.revoker.lift(request),
        )
