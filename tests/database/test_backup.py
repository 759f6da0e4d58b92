"""A backup holds everything in SQL, and becomes the same again in an empty place of either kind."""

from __future__ import annotations

import gzip
import json
import stat
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import delete, insert, select, update

from gateway.database import backup
from gateway.database.backup import BackupError, back_up, missing_keys, read_content, restore
from gateway.database.engine import MAINTENANCE, Database, open_database
from gateway.database.migrate import Age
from gateway.database.reencrypt import reencrypt
from gateway.database.schema import (
    admin_keys,
    audit,
    hook_inbox,
    metadata,
    row_columns,
    row_name,
    sealed_columns,
    tenants,
)
from gateway.errors import ConfigError, GatewayError
from gateway.keys import ring
from tests.database.fixtures import config_with
from tests.database.rows import everything, fill, nulls, row_of
from tests.database.test_migrations import NextRelease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from tests.database.postgres import Postgres

pytestmark = pytest.mark.every_database

RING = ring.generate()
ROWS = 7


def opened(url: str, folder: Path) -> Database:
    config = config_with(folder, database={"url": url})
    return open_database(config, lambda: RING.database, patience=MAINTENANCE)


@pytest.fixture
async def source(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """Rows in every table, and every kind of nothing."""
    database = opened(database_url, tmp_path / "state")
    await database.prepare()
    await fill(database, rows=ROWS)
    await nulls(database)
    yield database
    await database.close()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Database]:
    """An empty database of either kind, without a schema."""

    def made(kind: str) -> Database:
        server: Postgres = request.getfixturevalue("postgres")
        return opened("embedded" if kind == "sqlite" else server.new_database(), tmp_path / kind)

    return made


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
async def test_everything_comes_back_in_either_database(
    target: str, source: Database, place: Callable[[str], Database], tmp_path: Path
) -> None:
    file = tmp_path / "backup.gz"
    before = await everything(source)
    written = await back_up(source, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.with_name("backup.gz.partial").exists()
    content = read_content(file)
    assert content == written
    assert {table.name: table.rows for table in content.tables} == dict.fromkeys(
        metadata.tables, ROWS
    )
    assert content.key_ids == (RING.database[0].kid,)
    assert missing_keys(content, ["another"]) == [RING.database[0].kid]
    plain = gzip.decompress(file.read_bytes())
    assert b"secret " not in plain, "sealed cells stay sealed"

    database = place(target)
    await restore(database, file, content, force=False)
    assert (await database.schema()).age is Age.CURRENT
    assert await everything(database) == before
    async with database.read() as connection:
        for table, column in sealed_columns():
            for *key, sealed in await connection.execute(
                select(*row_columns(table), column).where(column.is_not(None))
            ):
                cell = {"table": table.name, "row": row_name(key), "column": column.name}
                assert database.crypt.open(sealed, **cell).reveal().startswith("secret ")
    assert await reencrypt(database) == 0, "and the restored cells are cells"
    await database.prepare()
    async with database.write() as connection:
        row = row_of(database, audit, ROWS + 1)
        del row["id"]
        added = await connection.execute(insert(audit).values(row).returning(audit.c.id))
        highest = max(int(number) << 40 for number in range(ROWS + 1))
        assert added.scalar_one() == highest + 1, "numbers go on"
    await database.close()


async def test_numbers_that_were_given_out_are_not_given_again(
    postgres: Postgres, tmp_path: Path, place: Callable[[str], Database]
) -> None:
    """Rows that are gone by the time of the backup: an event's number says what came after it."""
    database = opened(postgres.new_database(), tmp_path / "state")
    await database.prepare()
    row = row_of(database, audit, 1)
    del row["id"]
    async with database.write() as connection:
        for _ in range(3):
            await connection.execute(insert(audit).values(row))
        await connection.execute(delete(audit))
    content = await back_up(database, tmp_path / "b")
    other = place("postgresql")
    await restore(other, tmp_path / "b", content, force=False)
    async with other.write() as connection:
        added = await connection.execute(insert(audit).values(row).returning(audit.c.id))
        assert added.scalar_one() == 4
    await database.close()
    await other.close()


async def test_a_backup_is_one_moment_whoever_writes_meanwhile(
    source: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await everything(source)
    serving = opened(database_url, tmp_path / "state")
    original, tables = backup._rows, []

    async def rows(connection: object, table: object) -> AsyncIterator[list[object]]:
        async for row in original(connection, table):  # type: ignore[arg-type]  # as it was given
            yield row
        tables.append(table)
        if len(tables) == 1:
            async with serving.write() as writing:
                await writing.execute(update(tenants).values(version=99))
                await writing.execute(delete(hook_inbox))

    monkeypatch.setattr(backup, "_rows", rows)
    content = await back_up(source, tmp_path / "b")
    monkeypatch.setattr(backup, "_rows", original)
    assert await everything(serving) != before
    await source.close()
    await serving.close()
    await restore(serving, tmp_path / "b", content, force=True)
    assert await everything(serving) == before
    await serving.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_only_an_empty_database_is_restored_into_unless_forced_and_nobody_may_be_connected(
    source: Database, database_url: str, place: Callable[[str], Database], tmp_path: Path
) -> None:
    before, file = await everything(source), tmp_path / "b"
    content = await back_up(source, file)
    other = place("sqlite")
    await other.prepare()
    await restore(other, file, content, force=False)
    assert await everything(other) == before, "made, and without a row"
    await other.close()

    again = opened(database_url, tmp_path / "state")
    with pytest.raises(ConfigError, match=r"in use"):
        await restore(again, file, content, force=True)
    await source.close()
    with pytest.raises(ConfigError, match=r"not empty \(.*--force"):
        await restore(again, file, content, force=False)
    async with again.write() as connection:
        await connection.execute(update(tenants).values(version=99))
    await restore(again, file, content, force=True)
    assert await everything(again) == before
    await again.close()


def altered(file: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    file.write_bytes(gzip.compress(b"".join(change(lines))))


def _other_value(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b"3-tenant", b"4-tenant") for line in lines]


def _without_a_table(lines: list[bytes]) -> list[bytes]:
    start = next(n for n, line in enumerate(lines) if b'"table":"blocks"' in line)
    end = next(n for n, line in enumerate(lines) if b'"end":"blocks"' in line)
    return lines[:start] + lines[end + 1 :]


DAMAGE: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "another value": _other_value,
    "a row less": lambda lines: [line for line in lines if b"3-name" not in line],
    "a table less": _without_a_table,
    "without its end": lambda lines: lines[:-1],
    "more than its end": lambda lines: [*lines, b"{}\n"],
    "a line that is no JSON": lambda lines: [*lines[:5], b"[1,\n", *lines[5:]],
    "of another format": lambda lines: [lines[0].replace(b'"version":1', b'"version":2')],
    "no backup": lambda _lines: [b"hello\n"],
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_damaged_file_is_refused_before_anything_is_done(
    source: Database, tmp_path: Path
) -> None:
    await back_up(source, tmp_path / "good")
    good = (tmp_path / "good").read_bytes()
    for name, change in DAMAGE.items():
        file = tmp_path / "bad"
        file.write_bytes(good)
        altered(file, change)
        with pytest.raises(BackupError):
            pytest.fail(f"{name}: {read_content(file)}")
    for cut in (good[:-9], good[: len(good) // 2], good[:5], b"", b"hello"):
        (tmp_path / "bad").write_bytes(cut)
        with pytest.raises(BackupError):
            read_content(tmp_path / "bad")


async def test_what_does_not_come_back_as_it_was_is_not_restored(
    source: Database,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that changes under the restore, a database that keeps something else, a value that it
    does not take: what was there stays.
    """
    before, file = await everything(source), tmp_path / "b"
    content = await back_up(source, file)
    await source.close()
    good = file.read_bytes()
    database = opened(database_url, tmp_path / "state")

    altered(file, lambda lines: [line for line in lines if b"3-name" not in line])
    with pytest.raises(BackupError):
        await restore(database, file, content, force=True)
    file.write_bytes(good)
    with monkeypatch.context() as patch:
        patch.setattr(backup, "_fill", _fill_wrongly)
        with pytest.raises(BackupError, match=r"admin_keys: 7 rows were restored that are not"):
            await restore(database, file, content, force=True)
    altered(file, lambda lines: [_without_tenant(line) for line in lines])
    with pytest.raises(GatewayError):
        await restore(database, file, content, force=True)
    assert await everything(database) == before
    await database.close()


_fill = backup._fill


async def _fill_wrongly(connection: AsyncConnection, *more: Any) -> None:
    await _fill(connection, *more)
    await connection.execute(update(admin_keys).values(tenant="x"))


def _without_tenant(line: bytes) -> bytes:
    value = json.loads(line)
    return json.dumps([None, *value[1:]]).encode() + b"\n" if isinstance(value, list) else line


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_backup_of_an_older_schema_is_made_and_restored_by_the_next_release(
    source: Database,
    place: Callable[[str], Database],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = await everything(source)
    with NextRelease(tmp_path / "next").installed(monkeypatch):
        content = await back_up(source, tmp_path / "b")
        assert content.revision != "9000"
        database = place("postgresql")
        await restore(database, tmp_path / "b", content, force=False)
        assert (await database.schema()).revision == "9000"
        newer = await back_up(database, tmp_path / "newer")
        assert "extra" in {table.name for table in newer.tables}
    del before["scim_usage"]
    assert await everything(database, without="scim_usage") == before
    with pytest.raises(BackupError, match=r"which a newer release made"):
        await restore(database, tmp_path / "newer", newer, force=True)
    await database.close()


async def test_memory_does_not_grow_with_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = opened("embedded", tmp_path / "state")
    await database.prepare()
    rows, size = 40, 500_000
    monkeypatch.setattr(backup, "BATCH", 2)
    async with database.write() as connection:
        for number in range(1, rows + 1):
            row = row_of(database, hook_inbox, number)
            await connection.execute(
                insert(hook_inbox).values({**row, "payload": "k." + "x" * size})
            )
    file = tmp_path / "b"
    tracemalloc.start()
    try:
        content = await back_up(database, file)
        await database.close()
        await restore(database, file, read_content(file), force=True)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert content.rows == rows
    assert peak < rows * size / 2, f"{peak >> 20} MB of {rows * size >> 20}"
    await database.close()
