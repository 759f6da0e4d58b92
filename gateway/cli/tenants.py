"""``gateway tenants list | show | test | plan | apply | export | delete``: tenants in SQL,
declaratively; those of files are shown.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import secrets
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import click
import yaml

from gateway.cli import config_option, json_option
from gateway.cli.database import configured_database, file_records, in_force_within
from gateway.cli.impact import Impact, measure
from gateway.cli.stores import Stores, configured_stores
from gateway.cli.tenant_table import tenant_table
from gateway.core import signed_link
from gateway.core.login import PENDING_LIFETIME_S
from gateway.errors import ConfigError
from gateway.keys import ring as keys
from gateway.sessions.tested_connections import Trials
from gateway.tenants.api import Rejected
from gateway.tenants.connection_tests import LoginLinks
from gateway.tenants.database import TenantDatabase
from gateway.tenants.folder_plan import make_plan, pruned, read_wanted
from gateway.tenants.secrets import reveal
from gateway.tenants.secrets import show as shown_of
from gateway.tenants.snapshot_record import document_of
from gateway.tenants.stored import Actor
from gateway.tenants.warnings import host_warnings, policy_warnings

if TYPE_CHECKING:
    from gateway.tenants.document import TenantDocument
    from gateway.tenants.folder_plan import Change, FolderPlan

MAX_WARNINGS = 20
"""That are printed of all tenants side by side."""
_SIGN = {"create": "+", "update": "~", "delete": "-"}
folder_argument = click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path)
)


@click.group("tenants")
def command() -> None:
    """Tenants: plan and apply what is in SQL, look at all of them."""


@command.command("list")
@config_option
@json_option
def list_tenants(*, config_path: str, as_json: bool) -> None:
    """All tenants of files and SQL, by id."""
    rows = asyncio.run(_rows(config_path))
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(
            f"{row['id']:24}  {'active' if row['active'] else 'inactive':8}  "
            f"{row['origin']:4}  {', '.join(row['hosts']) or '(shared hosts)'}  "
            f"{row['name']}"
        )


@command.command()
@config_option
@click.argument("tenant")
@json_option
def show(*, config_path: str, tenant: str, as_json: bool) -> int:
    """One tenant as a document, secrets as ***."""
    found = asyncio.run(_find(config_path, tenant))
    if found is None:
        return _failed(f"there is no tenant {tenant!r}")
    document, origin, version = found
    if as_json:
        click.echo(
            json.dumps(
                {"origin": origin, "version": version, "tenant": shown_of(document)}, indent=1
            )
        )
    else:
        click.echo(f"# from {origin}" + (f", version {version}" if version is not None else ""))
        click.echo(_yaml(shown_of(document, defaults=False)), nl=False)
    return 0


@command.command()
@config_option
@click.argument("tenant")
@click.option("--result", "url", help="What became of this link.")
@json_option
def test(*, config_path: str, tenant: str, url: str | None, as_json: bool) -> int:
    """A one-time link, good for an hour, that walks a whole login through the tenant's provider and
    creates no session; or how far one came.
    """
    if url is not None:
        found = asyncio.run(_test_result(config_path, tenant, url))
        if found is None:
            return _failed(f"this is no test link of tenant {tenant}")
        told, result = found
        click.echo(
            json.dumps(
                {
                    "told": told,
                    **(asdict(result) if result is not None else {"state": "not_opened"}),
                }
            )
            if as_json
            else told
        )
        return 0
    link = asyncio.run(_test(config_path, tenant))
    if isinstance(link, Rejected):
        return _failed(link.message)
    click.echo(json.dumps({"url": link}) if as_json else link)
    return 0


@command.command()
@config_option
@folder_argument
@click.option("--prune", is_flag=True, help="Also delete the tenants in SQL that the folder lacks.")
@json_option
def plan(*, config_path: str, folder: Path, prune: bool, as_json: bool) -> None:
    """What applying a folder would change. Changes nothing."""
    made, impact = asyncio.run(_plan(config_path, folder, prune=prune))
    click.echo(
        json.dumps(_plan_as_json(made, impact), indent=1)
        if as_json
        else "\n".join(_plan_as_lines(made, impact, prune=prune))
    )


@command.command()
@config_option
@folder_argument
@click.option("--prune", is_flag=True, help="Also delete the tenants in SQL that the folder lacks.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 300),
    default=5.0,
    show_default=True,
    help="Seconds to wait until every replica obeys.",
)
@json_option
def apply(
    *, config_path: str, folder: Path, prune: bool, yes: bool, wait_s: float, as_json: bool
) -> int:
    """Show the difference, then make SQL say what the folder says: all of it, or nothing."""
    return asyncio.run(
        _apply(config_path, folder, prune=prune, yes=yes, wait_s=wait_s, as_json=as_json)
    )


@command.command()
@config_option
@click.argument("tenants", nargs=-1)
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write ID.yaml files into this folder instead of standard output.",
)
@click.option(
    "--reveal-secrets",
    is_flag=True,
    help=(
        "Write the secrets themselves. Without it they are ***, which 'apply' takes for: keep "
        "what is stored."
    ),
)
@json_option
def export(
    *,
    config_path: str,
    tenants: tuple[str, ...],
    folder: Path | None,
    reveal_secrets: bool,
    as_json: bool,
) -> int:
    """The tenants in SQL as documents that 'apply' takes."""
    documents = asyncio.run(_stored_documents(config_path))
    missing = sorted(set(tenants) - documents.keys())
    if missing:
        return _failed(f"not in SQL: {', '.join(missing)}")
    chosen = {
        tenant: (reveal if reveal_secrets else _shown)(document)
        for tenant, document in documents.items()
        if not tenants or tenant in tenants
    }
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for tenant, document in chosen.items():
            path = folder / f"{tenant}.yaml"
            path.touch(mode=0o600)
            path.write_text(_yaml(document), encoding="utf-8")
        click.echo(f"{_counted(len(chosen))} written to {folder}", err=True)
    elif as_json:
        click.echo(json.dumps(list(chosen.values()), indent=1))
    else:
        click.echo("---\n".join(_yaml(document) for document in chosen.values()), nl=False)
    return 0


@command.command()
@config_option
@click.argument("tenant")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 300),
    default=5.0,
    show_default=True,
    help="Seconds to wait until every replica obeys.",
)
def delete(*, config_path: str, tenant: str, yes: bool, wait_s: float) -> int:
    """Delete a tenant from SQL. What it has in Cognito stays: see 'gateway provision destroy'."""
    return asyncio.run(_delete(config_path, tenant, yes=yes, wait_s=wait_s))


# --- the work -------------------------------------------------------------------------------------


async def _rows(config_path: str) -> list[dict[str, Any]]:
    async with configured_database(config_path) as (config, database):
        stored = await TenantDatabase(database, config).all()
        found: list[tuple[TenantDocument, str, int | None]] = [
            (document_of(record)[0], "file", None) for record in file_records(config).values()
        ]
        found += [(tenant.document, "sql", tenant.version) for tenant in stored.values()]
    return [
        {
            "id": d.id,
            "name": d.name,
            "active": d.active,
            "origin": origin,
            "version": version,
            "hosts": list(d.hosts),
            "email_domains": sorted(d.email_domains),
        }
        for d, origin, version in sorted(found, key=lambda row: row[0].id)
    ]


async def _find(config_path: str, tenant: str) -> tuple[TenantDocument, str, int | None] | None:
    async with configured_database(config_path) as (config, database):
        record = file_records(config).get(tenant)
        if record is not None:
            return document_of(record)[0], "file", None
        stored = await TenantDatabase(database, config).get(tenant)
        return (stored.document, "sql", stored.version) if stored is not None else None


async def _test(config_path: str, tenant: str) -> str | Rejected:
    async with configured_database(config_path) as (config, database):
        table = await tenant_table(config, TenantDatabase(database, config))
        ring = keys.load(config.key_file, create=False)
        links = LoginLinks(
            config,
            table=lambda: table,
            key=lambda: ring.sealing[0].material,
            clock=time.time,
            entropy=secrets.token_bytes,
        )
        return await links.link(tenant)


async def _test_result(
    config_path: str, tenant: str, url: str
) -> tuple[str, signed_link.Result | None] | None:
    async with configured_stores(config_path) as stores:
        keys_of = tuple(key.material for key in stores.ring.sealing)
        # Also of a link that has expired: that is when one asks.
        link = signed_link.parse(
            keys_of, (parse_qs(urlsplit(url).query).get("token") or [""])[0], now=0
        )
        if link is None or link.tenant != tenant:
            return None
        result = await Trials(stores.redis, lambda: keys_of, clock=time.time).result(link.name)
        return _told(result, tenant, now=time.time(), expires_at=link.expires_at), result


def _told(result: signed_link.Result | None, tenant: str, *, now: float, expires_at: float) -> str:
    if result is None:
        return "nobody has opened this link" + (
            ", and it has expired" if expires_at <= now else " yet"
        )
    if result.state == "cognito":
        return f"no login is possible: it would end on Cognito's own error page. {result.detail}"
    if result.state == "done":
        return (
            f"done through {result.provider}: "
            f"{'would be let in' if result.allowed else f'would be refused ({result.detail})'}"
        )
    age_s = max(0, round(now - result.at))
    if age_s < PENDING_LIFETIME_S:
        return (
            f"no result yet: somebody was sent to Cognito for {result.provider} {age_s} s ago "
            "and is not back"
        )
    return (
        f"no result: somebody was sent to Cognito for {result.provider} {age_s // 60} "
        "minutes ago and never came back. The login ended on a page of Cognito or of the "
        "identity provider, "
        "or was given up. Look at: the page itself; the identity provider's own sign-in "
        f"log; gateway provision verify {tenant} (callback URLs, provider, a style for "
        "managed login)"
    )


async def _stored_documents(config_path: str) -> dict[str, TenantDocument]:
    async with configured_database(config_path) as (config, database):
        return {
            tenant: stored.document
            for tenant, stored in (await TenantDatabase(database, config).all()).items()
        }


async def _plan(config_path: str, folder: Path, *, prune: bool) -> tuple[FolderPlan, Impact]:
    async with configured_stores(config_path) as stores:
        return await _made(
            TenantDatabase(stores.database, stores.config), stores, folder, prune=prune
        )


async def _made(
    tenants: TenantDatabase, stores: Stores, folder: Path, *, prune: bool
) -> tuple[FolderPlan, Impact]:
    config, stored = stores.config, await tenants.all()
    wanted = read_wanted(folder, config, stored)
    if prune and stored and not wanted:
        raise ConfigError(
            f"{folder}: holds no tenant file, so --prune would delete all {len(stored)} in "
            "SQL: if that is meant, delete them by name (gateway tenants delete ID)"
        )
    made = make_plan(wanted, stored)
    made = pruned(made, stored) if prune else made
    refused = await tenants.rehearse(made.changes, files=file_records(config).values())
    if refused is not None:
        raise ConfigError(f"{folder}: {refused.message}")
    after = {
        **{record.id: document_of(record)[0] for record in file_records(config).values()},
        **{tenant: one.document for tenant, one in stored.items()},
        **{change.tenant: change.document for change in made.changes},
    }
    made = replace(
        made,
        warnings=host_warnings(
            [document for document in after.values() if document is not None], config
        ),
    )
    return made, await measure(made, stored, config, stores.directory, stores.blocks)


async def _apply(
    config_path: str, folder: Path, *, prune: bool, yes: bool, wait_s: float, as_json: bool
) -> int:
    async with configured_stores(config_path) as stores:
        tenants = TenantDatabase(stores.database, stores.config)
        made, impact = await _made(tenants, stores, folder, prune=prune)
        click.echo("\n".join(_plan_as_lines(made, impact, prune=prune)), err=as_json)
        if not made.changes:
            if as_json:
                click.echo(json.dumps({**_plan_as_json(made, impact), "in_force": True}, indent=1))
            return 0
        if not yes and sys.stdin.isatty():
            click.confirm("Apply this?", abort=True, err=True)
        refused = await tenants.apply(
            made.changes, by=_by(), files=file_records(stores.config).values()
        )
        if refused is not None:
            return _failed(f"nothing was changed: {refused.message}")
        in_force = await in_force_within(
            tenants, [change.tenant for change in made.changes], wait_s
        )
    if as_json:
        click.echo(json.dumps({**_plan_as_json(made, impact), "in_force": in_force}, indent=1))
    else:
        click.echo(f"applied: {_counted(len(made.changes))}" + _when(in_force=in_force))
    return 0


async def _delete(config_path: str, tenant: str, *, yes: bool, wait_s: float) -> int:
    async with configured_database(config_path) as (config, database):
        tenants = TenantDatabase(database, config)
        if tenant in file_records(config):
            return _failed(f"tenant {tenant} is a file of tenants.directory; delete it there")
        if not yes and sys.stdin.isatty():
            click.confirm(f"Delete tenant {tenant} and end its sessions?", abort=True, err=True)
        refused = await tenants.delete(tenant, version=None, by=_by())
        if refused is not None:
            return _failed(refused.message)
        in_force = await in_force_within(tenants, (tenant,), wait_s)
    click.echo(f"deleted: {tenant}" + _when(in_force=in_force))
    return 0


def _by() -> Actor:
    try:
        return Actor(f"cli:{getpass.getuser()}"[:200])
    except (OSError, KeyError):
        return Actor("cli")


# --- what is printed ------------------------------------------------------------------------------


def _shown(document: TenantDocument) -> dict[str, Any]:
    return shown_of(document, defaults=False)


def _yaml(document: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
    return text


def _plan_as_lines(made: FolderPlan, impact: Impact, *, prune: bool) -> list[str]:
    lines = [
        line
        for change in made.changes
        for line in (*_change_as_lines(change), *impact.lines(change.tenant))
    ]
    lines += [line for tenant in made.unchanged for line in impact.lines(tenant, heading=True)]
    if impact.unknown:
        lines.append(f"what this does to people who are signed in is not known: {impact.unknown}")
    lines += [f"! {warning}" for warning in made.warnings[:MAX_WARNINGS]]
    if len(made.warnings) > MAX_WARNINGS:
        lines.append(
            f"! and {len(made.warnings) - MAX_WARNINGS} more such warnings (--json shows all)"
        )
    counts = {deed: sum(change.action == deed for change in made.changes) for deed in _SIGN}
    lines.append(
        f"{counts['create']} to create, {counts['update']} to update, {counts['delete']} "
        f"to delete, {len(made.unchanged)} unchanged"
    )
    if made.kept and not prune:
        lines.append(
            f"{len(made.kept)} in SQL and not in the folder, kept (--prune deletes): "
            f"{', '.join(made.kept[:20])}{' …' if len(made.kept) > 20 else ''}"
        )
    return lines


def _change_as_lines(change: Change) -> list[str]:
    lines = [f"{_SIGN[change.action]} {change.tenant}"]
    if change.action == "delete":
        return lines
    lines += (
        [f"    ! {warning}" for warning in policy_warnings(change.document)]
        if change.document is not None
        else []
    )
    for difference in change.differences:
        before, after = (
            json.dumps(value, ensure_ascii=False) for value in (difference.before, difference.after)
        )
        if difference.before is None:
            lines.append(f"    + {difference.key}: {after}")
        elif difference.after is None:
            lines.append(f"    - {difference.key}: {before}")
        else:
            lines.append(f"    ~ {difference.key}: {before} → {after}")
    return lines


def _plan_as_json(made: FolderPlan, impact: Impact) -> dict[str, Any]:
    changes = [
        {
            "deed": c.action,
            "tenant": c.tenant,
            "version": c.version,
            "differences": [
                {"key": d.key, "before": d.before, "after": d.after} for d in c.differences
            ],
            "warnings": list(policy_warnings(c.document)) if c.document is not None else [],
        }
        for c in made.changes
    ]
    return {
        "changes": changes,
        "unchanged": list(made.unchanged),
        "kept": list(made.kept),
        "warnings": list(made.warnings),
        "people": impact.as_json(),
    }


def _when(*, in_force: bool) -> str:
    return (
        ", in force"
        if in_force
        else (
            "; stored, and in force as soon as an admin role publishes it (none has within the "
            "time given)"
        )
    )


def _counted(tenants: int) -> str:
    return "1 tenant" if tenants == 1 else f"{tenants} tenants"


def _failed(message: str) -> int:
    click.echo(f"gateway: {message}", err=True)
    return 1
