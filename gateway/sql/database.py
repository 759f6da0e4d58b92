"""One engine per process. SQLite embedded in ``state_dir``, PostgreSQL by URL; callers see no difference.

Rules:
- A read is one snapshot; a write is one transaction that holds the write lock from its first statement on, so that
  reading before writing never fails with "database is locked" half-way.
- What the database cannot do now is ``UnavailableError``; constraint violations pass through: they are answers.
- No URL, parameter or row is ever in an error message: they hold passwords and people.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy import event, insert, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.errors import ConfigError, UnavailableError
from gateway.metrics import STORE_SECONDS
from gateway.sql.crypt import Crypt
from gateway.sql.tables import SCHEMA_VERSION, metadata, schema_version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import URL, Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from gateway.config import Config
    from gateway.keys import Key

EMBEDDED_FILE = "gateway.sqlite3"
_BUSY_MS = 15_000
"""How long a SQLite writer waits for another process's transaction; commands run beside a serving gateway."""
_CONNECT_S = 5.0
_COMMAND_S = 30.0
"""PostgreSQL: a statement that takes longer has lost its server."""


class Database:
    """Connections, the cells' encryption, and the schema check."""

    def __init__(self, engine: AsyncEngine, keys: Callable[[], Sequence[Key]]) -> None:
        self._engine = engine
        self._writer = asyncio.Lock()
        self.crypt = Crypt(keys)

    @property
    def is_postgresql(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A consistent view. Raises ``UnavailableError``."""
        with _asked("read"):
            async with self._engine.connect() as connection:
                level = "REPEATABLE READ" if self.is_postgresql else None
                if level:
                    await connection.execution_options(isolation_level=level, postgresql_readonly=True)
                else:
                    await connection.execution_options(reading=True)
                yield connection

    @asynccontextmanager
    async def write(self, *locks: str) -> AsyncIterator[AsyncConnection]:
        """One transaction: all or nothing. Raises ``UnavailableError``; ``IntegrityError`` passes.

        ``locks``: names under which only one writer at a time may be inside, over all processes. SQLite has one
        writer anyway; PostgreSQL takes an advisory lock until the end of the transaction.
        """
        with _asked("write"):
            async with self._turn(), self._engine.begin() as connection:
                for name in sorted(locks):
                    await self._lock(connection, name)
                yield connection

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """SQLite has one writer, and whoever finds it busy sleeps and looks again, so that somebody waits for seconds while others pass. In this process they queue."""
        if self.is_postgresql:
            yield
            return
        try:
            async with asyncio.timeout(_BUSY_MS / 1000):
                await self._writer.acquire()
        except TimeoutError as error:
            msg = "SQL does not answer (its one writer is busy)"
            raise UnavailableError(msg) from error
        try:
            yield
        finally:
            self._writer.release()

    async def _lock(self, connection: AsyncConnection, name: str) -> None:
        if self.is_postgresql:
            number = int.from_bytes(hashlib.sha256(f"gateway:{name}".encode()).digest()[:8], "big", signed=True)
            await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})

    async def prepare(self) -> None:
        """Create the schema on first start (several processes at once do it once) or check its version.

        Raises ``ConfigError`` for another version, ``UnavailableError`` while the server does not answer.
        """
        async with self.write("schema") as connection:
            found = await connection.run_sync(_found_version)
            if found is None:
                await connection.run_sync(metadata.create_all)
                await connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))
            elif found != SCHEMA_VERSION:
                msg = (
                    f"database.url: holds schema version {found or 'unknown'}, this release needs {SCHEMA_VERSION}. Before the first release there are no migrations: "
                    "run 'gateway tenants export' with the release that made it, point database.url to an empty database (embedded: move "
                    f"{EMBEDDED_FILE} away), start, and run 'gateway tenants apply'"
                )
                raise ConfigError(msg)

    async def ping(self) -> None:
        """Raises ``UnavailableError`` unless the server answers."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self._engine.dispose()


def open_database(config: Config, keys: Callable[[], Sequence[Key]]) -> Database:
    """The engine that ``database.url`` names; connects on first use. Raises ``ConfigError`` for a URL that cannot work."""
    if config.embedded_database:
        path = config.state_dir / EMBEDDED_FILE
        _own(path)
        return Database(_sqlite(make_url("sqlite+aiosqlite://").set(database=str(path))), keys)
    try:
        url = make_url(config.database.url.reveal())
    except ArgumentError as error:
        msg = "database.url: not a URL (sqlite+aiosqlite:///PATH or postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE)"
        raise ConfigError(msg) from error
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            msg = "database.url: sqlite+aiosqlite:///PATH must name a file"
            raise ConfigError(msg)
        return Database(_sqlite(url), keys)
    try:
        engine = create_async_engine(
            url, hide_parameters=True, pool_pre_ping=True, pool_size=8, max_overflow=8, pool_timeout=_CONNECT_S,
            connect_args={"timeout": _CONNECT_S, "command_timeout": _COMMAND_S},
        )  # fmt: skip
    except (SQLAlchemyError, TypeError, ValueError) as error:
        msg = "database.url: has an option that postgresql+asyncpg does not know"
        raise ConfigError(msg) from error
    return Database(engine, keys)


def _own(path: Path) -> None:
    """0700 and 0600: the file holds people's addresses; SQLite gives its journal files the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        msg = f"state_dir: {path.parent}: cannot be written: {error.strerror}"
        raise ConfigError(msg) from error


def _sqlite(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, hide_parameters=True, connect_args={"timeout": _BUSY_MS / 1000})

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(dbapi_connection: Any, _record: object) -> None:
        # The driver opens transactions by its own rules, too late for BEGIN IMMEDIATE; None leaves them to us.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once when another wrote meanwhile, busy timeout or not.
        connection.exec_driver_sql("BEGIN" if connection.get_execution_options().get("reading") else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def _asked(what: str) -> Iterator[None]:
    """A transaction: its faults translated, and its time."""
    started = perf_counter()
    try:
        with _translated():
            yield
    finally:
        STORE_SECONDS.labels("sql", what).observe(perf_counter() - started)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.OperationalError, OSError) as error:
        raise UnavailableError(_says(error)) from error
    except DBAPIError as error:
        # A refused connection (wrong password, no such database) comes as the bare class.
        if error.connection_invalidated or type(error) is DBAPIError:
            raise UnavailableError(_says(error)) from error
        raise


def _says(error: BaseException) -> str:
    """The kind of failure and, for SQLite, its text, which never quotes a value (PostgreSQL's can)."""
    cause = error.orig or error if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        return f"SQL does not answer ({type(cause).__name__}: {cause})"
    return f"SQL does not answer ({type(cause.__cause__ or cause).__name__})"


def _found_version(connection: Connection) -> int | None:
    """None for an empty database, 0 for one that holds our tables without a version."""
    present = set(inspect(connection).get_table_names())
    if schema_version.name not in present:
        return 0 if present & set(metadata.tables) else None
    rows = connection.execute(select(schema_version.c.version)).scalars().all()
    return max(rows, default=0)
