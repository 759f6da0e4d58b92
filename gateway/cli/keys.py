"""``gateway keys list | rotate | wrap | unwrap``."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.cli import Group, config_option, json_option
from gateway.cli.key_rotation import rotate_kind
from gateway.cli.output import confirm, yes_option
from gateway.cognito.kms import AsItSays, key_wrapping
from gateway.config.model import load_config
from gateway.config.types import parse_duration
from gateway.database.engine import COMMANDS, open_database
from gateway.database.migrate import Age, problem
from gateway.database.reencrypt import kids_in_use
from gateway.errors import ConfigError, UnavailableError
from gateway.keys import file
from gateway.keys import ring as keys
from gateway.sessions.connection import connect
from gateway.sessions.embedded import EmbeddedValkey
from gateway.sessions.key_adoption import KeyAdoption
from gateway.tenants.snapshot import Sealer, SnapshotError, read_manifest, snapshot_key_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.config.model import Config
    from gateway.keys.ring import KeyRing
    from gateway.sessions.connection import RedisClient

_REFUSED = (
    "{file}: the key ring is missing, and none was made, because something may have been written "
    "with it:\n  {what}\n"
    "Put the key ring back: copy it from another replica, or from its backup. If it is lost for "
    "good, see 'If the key ring is lost' in docs/operator/key-rotation.md"
)
_STRANGE = (
    "{file}: what is stored was not written with this key ring:\n  {what}\n"
    "Somebody may have put another file there: put the key ring back from its backup. If it is the "
    "right one nevertheless, or nothing can be asked from here, compare the ids above with those "
    "of gateway keys list on a machine that runs, and repeat with --force"
)


@click.group("keys", cls=Group)
def command() -> None:
    """List and rotate the gateway's own keys."""


@command.command("list")
@config_option
@json_option
def list_keys(*, config_path: str, as_json: bool) -> None:
    """Ids and states of all keys, never the keys."""
    config = load_config(Path(config_path))
    ring = keys.load(config.key_file, create=config.makes_key_ring, wrapping=key_wrapping(config))
    rows = [
        _row(ring, kind, number)
        for kind in file.KINDS
        for number in range(len(getattr(ring, kind)))
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        since = row["retired_at"]
        retired = (
            f" since {_clock(since)}" if isinstance(since, int) and since <= time.time() else ""
        )
        click.echo(f"{row['kind']:10} {row['kid']}  {row['state']}{retired}")


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _row(ring: KeyRing, kind: str, number: int) -> dict[str, object]:
    key = getattr(ring, kind)[number]
    now = time.time()
    if isinstance(key, keys.SigningKey) and key.writes_from > now:
        state = f"published, signs from {_clock(key.writes_from)}"
    elif number == 0 or key.retired_at > now:
        state = "writes"
    else:
        state = "retired, still reads" if key.retired_at else "staged, reads"
    if key.compromised:
        state = f"compromised, still {'writes' if number == 0 else 'reads'}"
    return {"kind": kind, "kid": key.kid, "state": state, "retired_at": key.retired_at or None}


@command.command()
@config_option
@click.argument("kinds", nargs=-1, type=click.Choice(file.KINDS))
@click.option(
    "--create", is_flag=True, help="Make the key ring if there is none, and do nothing else."
)
@click.option(
    "--wait",
    "patience",
    default="30s",
    show_default=True,
    help="How long to wait for every process to know the new key.",
)
@click.option(
    "--compromised",
    is_flag=True,
    help="Somebody else has the key ring: drop the former sealing and assertion keys at once.",
)
@yes_option
@json_option
def rotate(
    *,
    config_path: str,
    kinds: tuple[str, ...],
    create: bool,
    patience: str,
    compromised: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Let a new key write, and drop retired ones that nothing needs any more. Without KINDS:
    sealing and assertion.

    Nobody is signed out, but with --compromised: then everybody signs in again, app passwords and
    test links end, and applications refuse assertions until they have fetched the new key.

    Where the key ring is distributed by other means than a shared file, run it again after the new
    file has arrived everywhere: the first run stages the key, the second lets it write.
    """
    config = load_config(Path(config_path))
    if create:
        if not config.key_file.exists():
            others = asyncio.run(_written_with_another(config, None))
            if others:
                raise ConfigError(_REFUSED.format(file=config.key_file, what="\n  ".join(others)))
        keys.load(config.key_file, create=True, wrapping=key_wrapping(config))
        click.echo(
            json.dumps({"file": str(config.key_file)}) if as_json else f"{config.key_file} is there"
        )
        return 0
    try:
        patience_s = parse_duration(patience).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--wait") from error
    if compromised and "database" in kinds:
        msg = "database: rotate it without --compromised: every value is encrypted again"
        raise click.UsageError(msg)
    if compromised:
        confirm("Drop the former keys, and have everybody sign in again?", yes=yes)
    results = [
        asyncio.run(
            rotate_kind(config, config_path, kind, patience_s=patience_s, compromised=compromised)
        )
        for kind in kinds or ("sealing", "assertion")
    ]
    if as_json:
        click.echo(json.dumps(results, indent=1))
    else:
        for result in results:
            click.echo(_told(result))
    return 0 if not any(result["waiting_for"] for result in results) else 1


_force = click.option(
    "--force",
    is_flag=True,
    help="Even if the database or Redis does not open with this key ring, or cannot be asked.",
)


@command.command()
@config_option
@_force
def wrap(*, config_path: str, force: bool) -> int:
    """Encrypt the key ring's file with the key of key_ring.kms, or anew with another one.

    A file in clear is replaced; so is one that another key or encryption context encrypted, if that
    still opens. It prints the ids of the keys, and refuses a ring that does not open what the
    database and Redis hold: whoever can write the file may have put another one there.

    Processes that run keep the ring that they have read: restart them with the
    configuration that names the key.
    """
    config = load_config(Path(config_path))
    wrapping = key_wrapping(config)
    if wrapping is None or config.key_ring is None or config.key_ring.kms is None:
        msg = f"{config_path}: key_ring.kms is missing: name the key of AWS KMS there"
        raise ConfigError(msg)
    with file.editing(config.key_file, wrapping) as save:
        save(_recognized(config, force=force))
    click.echo(f"{config.key_file} is encrypted with {config.key_ring.kms.key_id}")
    return 0


@command.command()
@config_option
@_force
def unwrap(*, config_path: str, force: bool) -> int:
    """Write the key ring's file in clear, to stop using AWS KMS.

    It checks the ring as wrap does. Then remove key_ring.kms from the configuration and restart.
    """
    config = load_config(Path(config_path))
    with file.editing(config.key_file) as save:
        save(_recognized(config, force=force))
    click.echo(f"{config.key_file} is in clear")
    return 0


def _recognized(config: Config, *, force: bool) -> KeyRing:
    """What the file holds, however it is protected, with its ids shown: the ring with which the
    stores were written. Raises ``ConfigError`` for another one.
    """
    ring = keys.read(config.key_file, opening=AsItSays())
    for kind in file.KINDS:
        click.echo(f"{kind}: {_names(key.kid for key in getattr(ring, kind))}")
    others = asyncio.run(_written_with_another(config, ring))
    if others and not force:
        raise ConfigError(_STRANGE.format(file=config.key_file, what="\n  ".join(others)))
    return ring


async def _written_with_another(config: Config, ring: KeyRing | None) -> list[str]:
    """What there is already that this ring, or a new one, does not open."""
    return [*await _cells(config, ring), *await _in_redis(config, ring)]


async def _cells(config: Config, ring: KeyRing | None) -> list[str]:
    if config.embedded_database and not config.embedded_database_file.exists():
        return []
    database = open_database(config, lambda: ring.database if ring else (), patience=COMMANDS)
    try:
        schema = await database.schema()
        if schema.age is Age.EMPTY:
            return []
        if schema.age is not Age.CURRENT:
            return [f"SQL (database.url) holds data of another release: {problem(schema)}"]
        if ring is not None:
            fault = (await database.check_keys()).problem
            return [fault] if fault else []
        kids = await kids_in_use(database)
    except UnavailableError as error:
        return [f"SQL (database.url) cannot be asked: {error}"]
    finally:
        await database.close()
    return [f"SQL (database.url) holds values encrypted with {_names(kids)}"] if kids else []


async def _in_redis(config: Config, ring: KeyRing | None) -> list[str]:
    socket_path, embedded = None, None
    if config.embedded_redis:
        if not (config.state_dir / "valkey" / "appendonlydir").exists():
            return []
        embedded = EmbeddedValkey.start(config.state_dir)
        socket_path = embedded.socket_path
    redis = connect(config.redis, socket_path=socket_path)
    try:
        kid = await snapshot_key_id(redis)
        if kid and ring is not None and await _opens_snapshot(redis, ring):
            kid = ""
        adoption = KeyAdoption(redis, keys.generate)
        _count, processes = await adoption.lagging(ring.sealing[0].kid if ring else "")
    except UnavailableError as error:
        return [f"Redis (redis.url) cannot be asked: {error}"]
    finally:
        await redis.close()
        if embedded is not None:
            embedded.stop()
    return [
        *(
            [f"Redis (redis.url) holds the tenant snapshot, encrypted with {_names([kid])}"]
            * bool(kid)
        ),
        *(
            [f"gateway processes run with another key ring: {', '.join(processes[:5])}"]
            * bool(processes)
        ),
    ]


async def _opens_snapshot(redis: RedisClient, ring: KeyRing) -> bool:
    try:
        await read_manifest(redis, Sealer(lambda: ring))
    except SnapshotError:
        return False
    return True


def _names(kids: Iterable[str]) -> str:
    ordered = sorted(kids)
    return f"key{'s' * (len(ordered) > 1)} {', '.join(ordered)}"


def _told(result: dict[str, object]) -> str:
    processes = result["waiting_for"]
    if processes and result["promoted"]:
        return (
            f"{result['kind']}: {result['kid']} writes now, and the former keys are still there: "
            f"{processes} need them. Run it again."
        )
    if processes:
        return (
            f"{result['kind']}: {result['kid']} is staged; "
            f"{len(processes) if isinstance(processes, list) else 0} processes do not know it yet: "
            f"{processes}. Run it again."
        )
    dropped = f"; dropped {result['dropped']}" if result["dropped"] else ""
    begins = result["writes_from"]
    when = (
        f"signs from {_clock(begins)}, when every application has seen it"
        if isinstance(begins, int) and begins > time.time()
        else "writes now"
    )
    return f"{result['kind']}: {result['kid']} {when}{dropped}"
