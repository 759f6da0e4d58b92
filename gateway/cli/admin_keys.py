"""``gateway admin-keys create | list | revoke``."""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from gateway.admin.keys import Scope, key_name
from gateway.admin.keys_store import AdminKeys
from gateway.cli import Group, config_option, json_option
from gateway.cli.local import configured_database
from gateway.config.types import parse_duration
from gateway.database.audit import AuditLog
from gateway.tenants.document import TENANT_ID

if TYPE_CHECKING:
    from gateway.admin.keys import AdminKey
    from gateway.admin.keys_store import NewKey

ACTOR = "cli"


@click.group("admin-keys", cls=Group)
def command() -> None:
    """Bearer keys of the admin API: shown once, stored as digests."""


@command.command()
@config_option
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice([str(s) for s in Scope]),
    help="What it may do; may be repeated.",
)
@click.option("--tenant", help="Bind it to one tenant.")
@click.option(
    "--expires",
    "lifetime",
    help="Lifetime such as 12h or 90d; without it the key lives until revoked.",
)
@json_option
def create(
    *,
    config_path: str,
    name: str,
    scopes: tuple[str, ...],
    tenant: str | None,
    lifetime: str | None,
    as_json: bool,
) -> int:
    """Make a key and show it, this once."""
    stored_name = key_name(name)
    if stored_name is None:
        msg = "1 to 120 letters, digits, spaces and .@+-_"
        raise click.BadParameter(msg, param_hint="NAME")
    if tenant is not None and not re.fullmatch(TENANT_ID, tenant):
        msg = "a tenant id: lower-case letters, digits and dashes"
        raise click.BadParameter(msg, param_hint="--tenant")
    try:
        lifetime_s = None if lifetime is None else parse_duration(lifetime).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--expires") from error
    new_key = asyncio.run(
        _create(
            config_path,
            name=stored_name,
            scopes=frozenset(map(Scope, scopes)),
            tenant=tenant,
            lifetime_s=lifetime_s,
        )
    )
    if new_key is None:
        whose = f" of tenant {tenant}" if tenant else ""
        click.echo(
            f"gateway: there is a key{whose} named {stored_name!r} already; names stay "
            "taken so that the audit log stays readable",
            err=True,
        )
        return 1
    if as_json:
        click.echo(json.dumps({**_describe(new_key.key), "key": new_key.presented.reveal()}))
    else:
        click.echo(new_key.presented.reveal())
        click.echo(
            f"This is the only time it is shown. id {new_key.key.id}, {', '.join(sorted(scopes))}"
            + (f", tenant {tenant}" if tenant else ""),
            err=True,
        )
    return 0


@command.command("list")
@config_option
@json_option
def list_keys(config_path: str, as_json: bool) -> None:
    """All keys, revoked and expired ones too; never the keys themselves."""
    keys = asyncio.run(_list(config_path))
    if as_json:
        click.echo(json.dumps([_describe(k) for k in keys], indent=1))
        return
    now = time.time()
    for key in keys:
        state = (
            "revoked"
            if key.revoked_at
            else "expired"
            if key.expires_at is not None and key.expires_at <= now
            else "valid"
        )
        last_use = f"used {_when(key.last_used_at)}" if key.last_used_at else "never used"
        click.echo(
            f"{key.id}  {state:7}  {key.name}  {','.join(sorted(key.scopes))}  "
            f"{key.tenant or 'all tenants'}  expires {_when(key.expires_at)}  {last_use}  "
            f"made by {key.made_by or 'unknown'}"
        )


@command.command()
@config_option
@click.argument("name_or_id")
def revoke(config_path: str, name_or_id: str) -> int:
    """End a key: it opens nothing from the next request on.

    If keys of several tenants have the name, say its id.
    """
    matches = asyncio.run(_revoke(config_path, name_or_id))
    if len(matches) == 1:
        return 0
    if not matches:
        click.echo(f"gateway: no valid key named {name_or_id!r}", err=True)
        return 1
    ids = ", ".join(f"{key.id} ({key.tenant or 'all tenants'})" for key in matches)
    click.echo(
        f"gateway: {len(matches)} keys are named {name_or_id!r}: name an id: {ids}", err=True
    )
    return 1


async def _create(
    config_path: str,
    *,
    name: str,
    scopes: frozenset[Scope],
    tenant: str | None,
    lifetime_s: float | None,
) -> NewKey | None:
    async with configured_database(config_path) as (_config, database):
        audit = AuditLog(database, clock=database.clock)
        entry = await audit.begin(
            actor=ACTOR, action="create_admin_key", tenant=tenant, target=name, request_id=""
        )
        new_key = await AdminKeys(database, clock=database.clock).create(
            name=name, scopes=scopes, tenant=tenant, lifetime_s=lifetime_s, made_by=ACTOR
        )
        await audit.finish(
            entry,
            outcome="done" if new_key else "refused:409",
            before=None,
            after=_describe(new_key.key) if new_key else None,
        )
        return new_key


async def _list(config_path: str) -> tuple[AdminKey, ...]:
    async with configured_database(config_path) as (_config, database):
        return await AdminKeys(database, clock=database.clock).list()


async def _revoke(config_path: str, name_or_id: str) -> tuple[AdminKey, ...]:
    """Whose key it was; several: none of them was revoked."""
    async with configured_database(config_path) as (_config, database):
        audit = AuditLog(database, clock=database.clock)
        entry = await audit.begin(
            actor=ACTOR, action="revoke_admin_key", tenant=None, target=name_or_id, request_id=""
        )
        keys = AdminKeys(database, clock=database.clock)
        matches = await keys.named(name_or_id)
        success = len(matches) == 1 and await keys.revoke(matches[0].id)
        refusal = "refused:409" if len(matches) > 1 else "refused:404"
        await audit.finish(entry, outcome="done" if success else refusal, before=None, after=None)
        return matches if success or len(matches) > 1 else ()


def _describe(key: AdminKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "tenant": key.tenant,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "made_by": key.made_by,
    }


def _when(seconds: int | None) -> str:
    return (
        "never"
        if seconds is None
        else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    )
