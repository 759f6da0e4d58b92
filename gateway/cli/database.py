"""``gateway database status | upgrade | backup | restore``."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli import Group, config_option, json_option
from gateway.cognito.kms import key_wrapping
from gateway.config.model import load_config
from gateway.database import backup as backups
from gateway.database.audit import AuditLog
from gateway.database.engine import MAINTENANCE, open_database
from gateway.database.migrate import Age, Schema, problem, schema_of
from gateway.database.migrate import upgrade as run_revisions
from gateway.database.schema import REVISION
from gateway.errors import ConfigError
from gateway.keys import ring as keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.database.backup import Content
    from gateway.database.engine import Database

ACTOR = "cli"


@click.group("database", cls=Group)
def command() -> None:
    """Upgrade, back up and restore the database."""


@command.command()
@config_option
@json_option
def status(*, config_path: str, as_json: bool) -> int:
    """Compare the schema of the database with this release.

    Exit code 0: it fits; 1: it is empty or needs 'gateway database upgrade'; 2: another release
    made it.
    """
    schema = asyncio.run(_status(config_path))
    if as_json:
        document = {"state": schema.age, "revision": schema.revision or None, "release": REVISION}
        click.echo(json.dumps(document))
    else:
        click.echo(problem(schema) or f"schema revision {REVISION}, which this release needs")
    return {Age.CURRENT: 0, Age.EMPTY: 1, Age.OLDER: 1}.get(schema.age, 2)


@command.command()
@config_option
@json_option
def upgrade(*, config_path: str, as_json: bool) -> None:
    """Bring the schema up to this release, in one transaction.

    Refused while an admin role or another command is connected. Back up first: the way back is the
    backup.
    """
    before = asyncio.run(_upgrade(config_path))
    if as_json:
        click.echo(json.dumps({"from": before.revision or None, "to": REVISION}))
    elif before.age is Age.CURRENT:
        click.echo(f"schema revision {REVISION}: nothing to do")
    else:
        click.echo(f"schema revision {before.revision or '(empty)'} -> {REVISION}")


@command.command()
@config_option
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write (mode 0600); it must not be there yet.",
)
@json_option
def backup(*, config_path: str, output: Path, as_json: bool) -> None:
    """Write everything in the database to one file, as of one moment.

    Works beside a serving gateway, and with an older schema. Client secrets and other sensitive
    values stay encrypted: keep the key ring too, apart from the file.
    """
    content = asyncio.run(_back_up(config_path, output))
    _tell(content, as_json=as_json)


@command.command()
@config_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Only read the file, and compare its keys.")
@click.option("--force", is_flag=True, help="Lose what is in the database now.")
@click.option(
    "--allow-missing-keys",
    is_flag=True,
    help="Restore though the key ring lacks a key: values encrypted with it stay unreadable.",
)
@json_option
def restore(
    *,
    config_path: str,
    file: Path,
    check: bool,
    force: bool,
    allow_missing_keys: bool,
    as_json: bool,
) -> None:
    """Put a backup into an empty database, SQLite or PostgreSQL, and upgrade it to this release.

    Refused while an admin role or another command is connected. All or nothing: what was restored
    is compared with the file before it counts.
    """
    config = load_config(Path(config_path))
    ring = keys.load(config.key_file, create=False, wrapping=key_wrapping(config))
    content = backups.read_content(file)
    absent_kids = backups.missing_keys(content, [key.kid for key in ring.database])
    if absent_kids and not allow_missing_keys:
        msg = (
            f"{file}: needs database keys {', '.join(absent_kids)}, which {config.key_file} lacks: "
            "put the key ring of that time back first (or --allow-missing-keys, and what they "
            "encrypt stays unreadable)"
        )
        raise ConfigError(msg)
    if not check:
        asyncio.run(_restore(config_path, file, content, force=force))
    _tell(content, as_json=as_json)


def _tell(content: Content, *, as_json: bool) -> None:
    if as_json:
        document = {
            "revision": content.revision,
            "release": content.release,
            "made_at": content.made_at,
            "rows": {table.name: table.rows for table in content.tables},
            "key_ids": content.key_ids,
            "sha256": content.sha256,
        }
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(
        f"{content.rows} rows in {len(content.tables)} tables, made at {content.made_at} "
        f"(schema revision {content.revision})"
    )
    click.echo(f"needs database keys: {', '.join(content.key_ids) or 'none'}")


@asynccontextmanager
async def _opened(config_path: str) -> AsyncIterator[Database]:
    """Whatever its schema is."""
    config = load_config(Path(config_path))
    ring = keys.load(config.key_file, create=config.makes_key_ring, wrapping=key_wrapping(config))
    database = open_database(config, lambda: ring.database, patience=MAINTENANCE)
    try:
        yield database
    finally:
        await database.close()


async def _status(config_path: str) -> Schema:
    async with _opened(config_path) as database:
        return await database.schema()


async def _upgrade(config_path: str) -> Schema:
    async with _opened(config_path) as database:
        await database.check_session()
        before = await database.schema()
        if before.age is Age.CURRENT:
            return before
        async with database.alone() as connection:
            before = await connection.run_sync(schema_of)
            if before.age not in {Age.EMPTY, Age.OLDER, Age.CURRENT}:
                raise ConfigError(problem(before))
            await connection.run_sync(run_revisions)
        await _record(database, "upgrade_database", f"{before.revision or 'empty'} -> {REVISION}")
        return before


async def _back_up(config_path: str, output: Path) -> Content:
    async with _opened(config_path) as database:
        return await backups.back_up(database, output)


async def _restore(config_path: str, file: Path, content: Content, *, force: bool) -> None:
    async with _opened(config_path) as database:
        await backups.restore(database, file, content, force=force)
        await _record(database, "restore_database", f"made at {content.made_at} {content.sha256}")


async def _record(database: Database, action: str, target: str) -> None:
    audit = AuditLog(database, clock=database.clock)
    entry = await audit.begin(actor=ACTOR, action=action, tenant=None, target=target, request_id="")
    await audit.finish(entry, outcome="done", before=None, after=None)
