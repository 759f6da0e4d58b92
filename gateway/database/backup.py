"""A backup of everything in SQL, as one file, and its way back into SQLite or PostgreSQL.

The file is gzip of lines of JSON:

    {"format": …, "version": 1, "revision": …, "release": …, "made_at": …, "database": …}
    {"table": NAME, "columns": […]}            then a line for each row: […]
    {"end": NAME, "rows": N, "digest": …, "sequence": …}
    {"end": null, "rows": N, "key_ids": […], "sha256": …}

Rules:
- It is one moment: all tables are read in one snapshot of the database, whoever writes meanwhile.
- Sealed cells stay sealed: the file holds no secret in clear, and is worth nothing without the key
  ring's ``database`` keys that it names (``key_ids``).
- A column of JSON is a list of its one value, so that SQL's NULL (null) is not JSON's ([null]).
- A table's digest is the sum of its rows' SHA-256 modulo 2²⁵⁶: databases differ in the order of
  rows, which is not in it.
- Nothing is held whole: rows come and go in batches.
- A restore is one transaction. Before it, the file is read to its end and compared with what it
  says of itself; after it, every table is read again and compared with the file.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import JSON, MetaData, Text, bindparam, func, insert, select, text
from sqlalchemy import cast as sql_cast
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import DropTable

from gateway import __version__
from gateway.database import sql_error
from gateway.database.migrate import (
    VERSION_TABLE,
    Age,
    problem,
    revisions,
    schema_of,
    tables_at,
    upgrade,
)
from gateway.database.schema import REVISION, metadata
from gateway.errors import ConfigError, GatewayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Iterator
    from pathlib import Path

    from sqlalchemy import Column, Connection, Insert, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.engine import Database

FORMAT: Final = "cognito-gateway database backup"
VERSION: Final = 1
BATCH: Final = 100
"""Rows in memory at a time."""
MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_MODULUS: Final = 1 << 256


class BackupError(ConfigError):
    """The file is not a backup, or not a whole one; or what was restored is not what it holds."""


@dataclass(slots=True)
class Tally:
    """Rows of one table, whatever their order."""

    rows: int = 0
    total: int = 0

    def add(self, line: bytes) -> None:
        self.rows += 1
        digest = int.from_bytes(hashlib.sha256(line).digest(), "big")
        self.total = (self.total + digest) % _MODULUS

    @property
    def digest(self) -> str:
        return f"{self.total:064x}"


@dataclass(frozen=True, slots=True)
class TableContent:
    """What a backup says of one table. ``sequence``: the last number that was given out."""

    name: str
    rows: int
    digest: str
    sequence: int | None


@dataclass(frozen=True, slots=True)
class Content:
    """What a backup says of itself. ``key_ids``: of the key ring's ``database`` keys."""

    revision: str
    release: str
    made_at: str
    database: str
    tables: tuple[TableContent, ...]
    key_ids: tuple[str, ...]
    sha256: str

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)


# --- backup ---------------------------------------------------------------------------------------


async def back_up(database: Database, path: Path) -> Content:
    """Write ``path`` (mode 0600, never over a file that is there). Raises ``ConfigError`` where the
    schema is not one that this release knows, or the file cannot be written; ``UnavailableError``.
    """
    with _written(path) as partial:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as raw:
            os.fchmod(descriptor, 0o600)
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6) as file:
                content = await _write(database, _Writer(file))
            raw.flush()
            os.fsync(descriptor)
    return content


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """Where to write; it becomes ``path`` once it is whole."""
    if path.exists():
        msg = f"{path}: is there already; a backup never replaces a file"
        raise ConfigError(msg)
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
        partial.rename(path)
    except OSError as error:
        msg = f"{partial}: cannot be written: {error.strerror}"
        raise ConfigError(msg) from error
    finally:
        partial.unlink(missing_ok=True)


class _Writer:
    """Lines, and their digest."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()

    def line(self, value: object) -> bytes:
        line = _encoded(value)
        self._sha256.update(line)
        self._file.write(line)
        return line

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()


async def _write(database: Database, writer: _Writer) -> Content:
    async with database.read() as connection:
        schema = await connection.run_sync(schema_of)
        if schema.age not in {Age.CURRENT, Age.OLDER}:
            raise ConfigError(problem(schema))
        head = {
            "revision": schema.revision,
            "release": __version__,
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "database": "postgresql" if database.is_postgresql else "sqlite",
        }
        writer.line({"format": FORMAT, "version": VERSION, **head})
        key_ids: set[str] = set()
        tables = []
        for table in await connection.run_sync(tables_of, schema.revision):
            writer.line({"table": table.name, "columns": [column.name for column in table.columns]})
            tally, cipher_columns = Tally(), _sealed(table)
            async for row in _rows(connection, table):
                tally.add(writer.line(row))
                key_ids.update(
                    value.partition(".")[0]
                    for value in (row[number] for number in cipher_columns)
                    if isinstance(value, str)
                )
            sequence = await _sequence(connection, table)
            tables.append(TableContent(table.name, tally.rows, tally.digest, sequence))
            writer.line(
                {
                    "end": table.name,
                    "rows": tally.rows,
                    "digest": tally.digest,
                    "sequence": sequence,
                }
            )
    digest, sorted_ids = writer.sha256, tuple(sorted(key_ids))
    rows = sum(table.rows for table in tables)
    writer.line({"end": None, "rows": rows, "key_ids": sorted_ids, "sha256": digest})
    return Content(**head, tables=tuple(tables), key_ids=sorted_ids, sha256=digest)


# --- restore --------------------------------------------------------------------------------------


def read_content(path: Path) -> Content:
    """Read all of the file, and compare it with what it says of itself. Raises ``BackupError``."""
    reader = _Reader(path)
    for _table, _columns, rows in reader.tables():
        for _row in rows:
            pass
    return reader.content()


async def restore(database: Database, path: Path, content: Content, *, force: bool) -> None:
    """Make the database what ``content``, read from ``path``, says, and bring it up to this
    release's schema. ``force``: what is in it is lost.

    Raises ``ConfigError`` where a gateway is connected, where the database is not empty, or where
    it cannot be done; ``UnavailableError``. Nothing has changed then.
    """
    if content.revision not in revisions():
        msg = (
            f"{path}: holds schema revision {content.revision}, which a newer release made "
            f"({content.release}); restore it with that release"
        )
        raise BackupError(msg)
    await database.check_session()
    try:
        async with database.alone() as connection:
            await _make_room(connection, force=force)
            await connection.run_sync(upgrade, content.revision)
            tables = {
                table.name: table
                for table in await connection.run_sync(tables_of, content.revision)
            }
            reader = _Reader(path)
            for name, columns, rows in reader.tables():
                await _fill(connection, tables, name, columns, rows)
            if reader.content() != content:
                msg = f"{path}: changed while it was read"
                raise BackupError(msg)
            await _compare(connection, tables, content)
            if content.revision != REVISION:
                await connection.run_sync(upgrade)
    except DBAPIError as error:
        msg = (
            f"the restore failed, and nothing was changed ({sql_error.reason(error)}): is "
            "something else in this database, or does it refuse a value?"
        )
        raise GatewayError(msg) from error


async def _make_room(connection: AsyncConnection, *, force: bool) -> None:
    schema = await connection.run_sync(schema_of)
    if schema.age is Age.EMPTY:
        return
    if schema.age not in {Age.CURRENT, Age.OLDER}:
        raise ConfigError(problem(schema))
    tables = await connection.run_sync(tables_of, schema.revision)
    names = [
        table.name
        for table in tables
        if (await connection.execute(select(1).select_from(table).limit(1))).first() is not None
    ]
    if names and not force:
        msg = (
            f"the database is not empty ({', '.join(names[:5])}"
            f"{' and others' if len(names) > 5 else ''}): point database.url to an empty one, "
            "or say --force to lose what is in it"
        )
        raise ConfigError(msg)

    await connection.run_sync(_drop, tables)


def _drop(connection: Connection, tables: list[Table]) -> None:
    for table in reversed(tables):
        connection.execute(DropTable(table))
    connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))


async def _fill(
    connection: AsyncConnection,
    tables: dict[str, Table],
    name: str,
    columns: list[str],
    rows: Iterable[list[Any]],
) -> None:
    table = tables.get(name)
    if table is None or [column.name for column in table.columns] != columns:
        msg = f"{name} and its columns are not those of the file's revision"
        raise BackupError(msg)
    statement = _insert(table, postgresql=connection.dialect.name == "postgresql")
    json_columns = [_is_json(column) for column in table.columns]
    batch: list[dict[str, Any]] = []

    async def flush() -> None:
        if batch:
            await connection.execute(statement, batch)
            batch.clear()

    for row in rows:
        batch.append(
            {
                f"v_{number}": json.dumps(value[0]) if is_json and value is not None else value
                for number, (value, is_json) in enumerate(zip(row, json_columns, strict=True))
            }
        )
        if len(batch) >= BATCH:
            await flush()
    await flush()


def _insert(table: Table, *, postgresql: bool) -> Insert:
    values: dict[Any, Any] = {}
    for number, column in enumerate(table.columns):
        if not _is_json(column):
            values[column] = bindparam(f"v_{number}", type_=column.type)
        elif postgresql:
            values[column] = sql_cast(bindparam(f"v_{number}", type_=Text()), column.type)
        else:
            values[column] = bindparam(f"v_{number}", type_=Text())
    return insert(table).values(values)


async def _compare(connection: AsyncConnection, tables: dict[str, Table], content: Content) -> None:
    for source in content.tables:
        table, tally = tables[source.name], Tally()
        async for row in _rows(connection, table):
            tally.add(_encoded(row))
        if (tally.rows, tally.digest) != (source.rows, source.digest):
            msg = (
                f"{source.name}: {tally.rows} rows were restored that are not the "
                f"{source.rows} of the file; nothing was changed"
            )
            raise BackupError(msg)
        await _go_on_counting(connection, table, source.sequence)
    if untold := tables.keys() - {table.name for table in content.tables}:
        msg = f"the file lacks {', '.join(sorted(untold))}; nothing was changed"
        raise BackupError(msg)


class _Reader:
    """A backup, from its beginning to its end. Raises ``BackupError``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sha256 = hashlib.sha256()
        self._head: dict[str, Any] = {}
        self._tables: list[TableContent] = []
        self._end: dict[str, Any] = {}

    def tables(self) -> Iterator[tuple[str, list[str], Iterator[list[Any]]]]:
        """Name, columns and rows of each: the rows are to be read before the next table."""
        with self._readable(), gzip.open(self._path, "rb") as file:
            yield from self._read(file)

    def content(self) -> Content:
        """Once all was read."""
        return Content(
            **{name: str(self._head[name]) for name in ("revision", "release", "made_at")},
            database=str(self._head["database"]),
            tables=tuple(self._tables),
            key_ids=tuple(self._end["key_ids"]),
            sha256=self._end["sha256"],
        )

    def _read(self, file: gzip.GzipFile) -> Iterator[tuple[str, list[str], Iterator[list[Any]]]]:
        self._head = self._meta(file, "format", "version", "revision", "release", "made_at")
        if self._head["format"] != FORMAT or self._head["version"] != VERSION:
            raise self._broken("is no backup that this release can read")
        while True:
            digest = self._sha256.hexdigest()
            meta = self._meta(file)
            if "table" in meta:
                name, tally = str(meta["table"]), Tally()
                rows = _Rows(self, file, tally)
                yield name, list(meta["columns"]), iter(rows)
                end = rows.end
                if end.get("end") != name or (end["rows"], end["digest"]) != (
                    tally.rows,
                    tally.digest,
                ):
                    raise self._broken(f"table {name} does not hold what it says")
                self._tables.append(
                    TableContent(name, tally.rows, tally.digest, end.get("sequence"))
                )
            elif "end" in meta and meta["end"] is None and meta.get("sha256") == digest:
                self._end = meta
                with self._readable():
                    more = file.read(1)
                if more:
                    raise self._broken("goes on after its end")
                return
            else:
                raise self._broken("does not hold what it says")

    def line(self, file: gzip.GzipFile) -> tuple[bytes, Any]:
        with self._readable():
            line = file.readline(MAX_LINE_BYTES)
        self._sha256.update(line)
        try:
            if not line.endswith(b"\n"):
                raise self._broken("ends early")
            return line, json.loads(line)
        except ValueError as error:
            raise self._broken("is no backup") from error

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._broken("is cut off or damaged, or no backup") from error
        except OSError as error:
            raise self._broken(f"cannot be read: {error.strerror}") from error

    def _meta(self, file: gzip.GzipFile, *names: str) -> dict[str, Any]:
        _line, meta = self.line(file)
        if not isinstance(meta, dict) or not all(name in meta for name in names):
            raise self._broken("is no backup")
        return meta

    def _broken(self, why: str) -> BackupError:
        return BackupError(f"{self._path}: {why}")


@dataclass(slots=True)
class _Rows:
    """Of one table; ``end`` is the line after the last one."""

    reader: _Reader
    file: gzip.GzipFile
    tally: Tally
    end: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[list[Any]]:
        while True:
            line, value = self.reader.line(self.file)
            if isinstance(value, dict):
                self.end = value
                return
            self.tally.add(line)
            yield value


# --- tables ---------------------------------------------------------------------------------------


def tables_of(connection: Connection, revision: str) -> list[Table]:
    """As they are in the database at that revision, parents before children."""
    reflection = MetaData()
    reflection.reflect(connection, only=sorted(tables_at(revision)))
    return [table for table in reflection.sorted_tables if table.name in tables_at(revision)]


async def _rows(connection: AsyncConnection, table: Table) -> AsyncIterator[list[Any]]:
    json_columns = [_is_json(column) for column in table.columns]
    query = select(
        *(
            sql_cast(column, Text).label(column.name) if is_json else column
            for column, is_json in zip(table.columns, json_columns, strict=True)
        )
    )
    # PostgreSQL alters no table that an open cursor reads, and the driver closes none by itself:
    # going back to before it does.
    async with connection.begin_nested() as before:
        result = await connection.stream(query, execution_options={"yield_per": BATCH})
        async for rows in result.partitions(BATCH):
            for row in rows:
                yield [
                    [_plain(json.loads(value))] if is_json and value is not None else value
                    for value, is_json in zip(row, json_columns, strict=True)
                ]
        await before.rollback()


def _is_json(column: Column[Any]) -> bool:
    return isinstance(column.type, JSON)


def _sealed(table: Table) -> list[int]:
    """Numbers of the columns that only ``Crypt`` writes."""
    definition = metadata.tables.get(table.name)
    if definition is None:
        return []
    names = {column.name for column in definition.columns if column.info.get("sealed")}
    return [number for number, column in enumerate(table.columns) if column.name in names]


def _plain(value: Any) -> Any:
    """JSON as any database gives it back: PostgreSQL writes 1.0 where it was told 1e0."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _encoded(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


def _counted(table: Table) -> Column[Any] | None:
    """The column that the database numbers by itself."""
    column = table.autoincrement_column
    return column if column is not None and len(table.primary_key.columns) == 1 else None


async def _sequence(connection: AsyncConnection, table: Table) -> int | None:
    column = _counted(table)
    if column is None:
        return None
    highest = (await connection.execute(select(func.max(column)))).scalar() or 0
    if connection.dialect.name == "postgresql" and (
        name := await _sequence_name(connection, table, column)
    ):
        last = (
            await connection.execute(
                text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {name}")  # noqa: S608 - PostgreSQL quoted it
            )
        ).scalar_one()
        return max(int(highest), int(last))
    return int(highest)


async def _go_on_counting(connection: AsyncConnection, table: Table, sequence: int | None) -> None:
    """What is inserted next is numbered above everything that was there."""
    column = _counted(table)
    if connection.dialect.name != "postgresql" or column is None or not sequence:
        return
    if name := await _sequence_name(connection, table, column):
        await connection.execute(
            text("SELECT setval(CAST(:name AS regclass), :last)"), {"name": name, "last": sequence}
        )


async def _sequence_name(
    connection: AsyncConnection, table: Table, column: Column[Any]
) -> str | None:
    result = await connection.execute(
        text("SELECT pg_get_serial_sequence(:table, :column)"),
        {
            "table": connection.dialect.identifier_preparer.format_table(table),
            "column": column.name,
        },
    )
    name = result.scalar()
    return str(name) if name is not None else None


def missing_keys(content: Content, key_ids: Collection[str]) -> list[str]:
    """Ids of the keys that sealed cells of the backup need, and a ring of ``key_ids`` lacks."""
    return sorted(set(content.key_ids) - set(key_ids))
