"""One engine per process. SQLite embedded in ``state_dir``, PostgreSQL by URL; callers see no
difference.

Rules:
- A read is one snapshot; a write is one transaction that holds the write lock from its first
  statement on, so that reading before writing never fails with "database is locked" half-way.
- What the database cannot do now is ``UnavailableError``; constraint violations pass through: they
  are answers.
- Nothing waits for ever: not for a connection, an answer, a lock, or a client that stopped in the
  middle of its transaction. PostgreSQL is told so in each session, so that a frozen process of ours
  lets go of its rows after ``IDLE_IN_TRANSACTION_S``.
- No URL, parameter or row is ever in an error message: they hold passwords and people.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import sqlite3
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy import event, make_url, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.config.owned_files import create
from gateway.database import sql_error
from gateway.database.clock import DatabaseClock
from gateway.database.crypt import Crypt
from gateway.database.key_check import KeyCheck, check_keys
from gateway.database.migrate import VERSION_TABLE, Age, Schema, problem, schema_of, upgrade
from gateway.database.postgresql_tls import postgresql_tls, with_mode
from gateway.database.presence import (
    IN_MAINTENANCE,
    LOCK_NUMBER,
    FileLock,
    MaintenanceError,
    in_use,
    take_session_lock,
)
from gateway.database.schema import REVISION
from gateway.database.sqlite_driver import Driver
from gateway.database.writer import Writer
from gateway.errors import ConfigError, GatewayError, UnavailableError
from gateway.log import fields
from gateway.metrics import STORE_REQUEST_DURATION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from sqlalchemy import URL, Connection, Table
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from gateway.config.model import Config
    from gateway.keys.ring import Key

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one thing may take before the database counts as unavailable, in seconds."""

    statement_s: float
    """PostgreSQL ends a statement after this; soon after, the client takes the server for lost, and
    SQLAlchemy waits two seconds more for its farewell.
    """
    writer_s: float
    """SQLite: how long a writer waits for another's transaction."""
    idle_s: float | None = None
    """PostgreSQL ends a client that is silent within a transaction for so long; else after
    ``IDLE_IN_TRANSACTION_S``.
    """
    connect_s: float = 2.0
    """PostgreSQL: for a connection that answers. A pooled one that does not is given two seconds
    more to close.
    """


SERVING = Patience(statement_s=2.2, writer_s=4.0)
"""Somebody waits for the answer: the admin API answers within 5 s though SQL hangs."""
COMMANDS = Patience(statement_s=120.0, writer_s=15.0, connect_s=15.0)
"""Commands read whole tables, and run beside a serving gateway. One that gives up on a busy server
has done half of what it was started for.
"""
MAINTENANCE = Patience(statement_s=3600.0, writer_s=15.0, idle_s=600.0, connect_s=15.0)
"""Backup, restore and upgrade: as long as the data take, and a slow disk between two statements."""
ANSWER_MARGIN_S = 0.3
"""Between PostgreSQL's own end of a statement and ours."""
LOCK_S = 0.5
"""For a row that another transaction holds. Ours hold rows for milliseconds; who waits longer waits
for a client that hangs.
"""
NAMED_LOCK_S = 2.0
"""For ``write``'s named locks, which are held for whole changes."""
IDLE_IN_TRANSACTION_S = 5.0
"""PostgreSQL ends the session of a client that is silent within a transaction: it is frozen, and
others wait for its rows. Longer than anything we do between two statements.
"""
TCP_USER_TIMEOUT_S = 10.0
"""PostgreSQL drops a client that acknowledges no data: its machine is gone, and nobody closed the
connection.
"""
RETURN_S = 5.0
"""How long ``close`` waits for connections that are being given back: PostgreSQL may be silent for
a statement's time, and a busy machine slow. One that takes longer is left open.
"""
REFUSED_S = 5.0
"""For so long after a write that was refused the database counts as one that takes none. Serving
processes write every few seconds at least.
"""
_CHANGED = (
    "the schema was changed while this process was not connected: start it again, with the "
    "release that changed it"
)
_PREPARING_S = 60.0
"""How long a start waits for another one that is making the schema."""
_PREPARING_PAUSE_S = 0.05


class BusyError(UnavailableError):
    """Another transaction is in the way, or this one took too long: what was tried together may be
    tried one by one.

    ``deadlock``: the other one has won by now, so that the same may be tried again at once.
    """

    def __init__(self, message: str, *, deadlock: bool) -> None:
        super().__init__(message)
        self.deadlock = deadlock


class ReadOnlyError(UnavailableError):
    """It answers, and takes no writes: its disk is full or fails, or the server is a standby."""


@dataclass(slots=True)
class Session:
    """What each new connection is held to."""

    revision: str = ""
    """Of the schema that this process works with, once it has seen it."""
    lock: FileLock | None = None
    """SQLite's."""


class Database:
    """Connections, the cells' encryption, and the schema check."""

    def __init__(
        self,
        engine: AsyncEngine,
        keys: Callable[[], Sequence[Key]],
        *,
        patience: Patience = SERVING,
        monotonic: Callable[[], float] = monotonic,
        session: Session | None = None,
    ) -> None:
        self._engine = engine
        self._where = sql_error.address(engine.url)
        self._session = session or Session()
        self._patience = patience
        self._monotonic = monotonic
        self._refused: ReadOnlyError | None = None
        self._refused_at = 0.0
        self._returning: set[asyncio.Task[None]] = set()
        """Connections on their way back to the pool; whoever used one may be gone."""
        self._writer = Writer(self._transaction, patience_s=patience.writer_s)
        self.crypt = Crypt(keys)
        self.clock = DatabaseClock(self.read, shared=self.is_postgresql)
        """For whatever another process compares. As the database's once ``prepare`` has returned;
        ``clock.run`` keeps it so.
        """

    @property
    def is_postgresql(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A consistent view. Raises ``UnavailableError``."""
        with _asked("read", self._where):
            async with self._connected() as connection:
                level = "REPEATABLE READ" if self.is_postgresql else None
                if level:
                    await connection.execution_options(
                        isolation_level=level, postgresql_readonly=True
                    )
                else:
                    await connection.execution_options(reading=True)
                yield connection

    @asynccontextmanager
    async def write(self, *locks: str) -> AsyncIterator[AsyncConnection]:
        """One transaction: all or nothing. Raises ``UnavailableError`` (``BusyError`` where another
        transaction is in the way); ``IntegrityError`` passes.

        ``locks``: names under which only one writer at a time may be inside, over all processes.
        SQLite has one writer anyway; PostgreSQL takes an advisory lock until the end of the
        transaction.
        """
        with self._writing():
            if not self.is_postgresql:
                async with self._writer.alone() as connection:
                    yield connection
                return
            async with self._transaction() as connection:
                for name in sorted(locks):
                    await self._lock(connection, name)
                yield connection

    @asynccontextmanager
    async def write_together(
        self, *locks: str, urgent: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        """As ``write``, for what takes milliseconds: on SQLite, those who wait for the writer share
        its next transaction (see ``writer``). ``urgent``: somebody outside waits for it.
        """
        if self.is_postgresql:
            async with self.write(*locks) as connection:
                yield connection
            return
        with self._writing():
            async with self._writer.together(urgent=urgent) as connection:
                yield connection

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with _asked("write", self._where):
                yield
        except ReadOnlyError as error:
            self._refused, self._refused_at = error, self._monotonic()
            raise

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        async with self._connected() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection that has just answered, within the patience for one."""
        connection, connect_s = self._engine.connect(), self._patience.connect_s
        try:
            async with asyncio.timeout(connect_s if self.is_postgresql else None):
                await connection.start()
        except TimeoutError as error:
            msg = f"SQL does not answer ({self._where}: no connection within {connect_s:g} s)"
            raise UnavailableError(msg) from error
        try:
            yield connection
        finally:
            returning = asyncio.create_task(connection.close())
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)
            await asyncio.shield(returning)

    async def _lock(self, connection: AsyncConnection, name: str) -> None:
        if self.is_postgresql:
            number = int.from_bytes(
                hashlib.sha256(f"gateway:{name}".encode()).digest()[:8], "big", signed=True
            )
            wait = text(
                "SELECT set_config('lock_timeout', :wait, true), pg_advisory_xact_lock(:number)"
            )
            await connection.execute(wait, {"number": number, "wait": _milliseconds(NAMED_LOCK_S)})

    async def prepare(self) -> None:
        """Create the schema on first start (several processes at once do it once) or check its
        version, and whether the key ring is the one that it was written with.

        Raises ``ConfigError`` for another version, another key ring or a pooler that does not fit,
        ``UnavailableError`` while the server does not answer.
        """
        await self.check_session()
        until = asyncio.get_running_loop().time() + _PREPARING_S
        while True:
            try:
                await self._prepare()
            except UnavailableError as error:
                # Another process is making it.
                if not _is_locked(error) or asyncio.get_running_loop().time() >= until:
                    raise
                await asyncio.sleep(_PREPARING_PAUSE_S)  # SQLite may say so at once
            else:
                break
        await self.clock.measure()

    async def _prepare(self) -> None:
        async with self.write("schema") as connection:
            schema = await connection.run_sync(schema_of)
            if schema.age is Age.EMPTY:
                await connection.run_sync(upgrade)
            elif reason := problem(schema):
                raise ConfigError(reason)
            check = await check_keys(connection, self.crypt)
        if check.cells and not check.opened:
            raise ConfigError(check.problem)
        if check.problem:
            _log.error("key_ring_incomplete", extra=fields(detail=check.problem))
        self._session.revision = REVISION

    async def check_keys(self) -> KeyCheck:
        """Whether a few of its cells open. Raises ``UnavailableError``."""
        async with self.read() as connection:
            return await check_keys(connection, self.crypt)

    async def schema(self) -> Schema:
        """What the database holds, whatever it is. Raises ``UnavailableError``."""
        async with self.read() as connection:
            return await connection.run_sync(schema_of)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        """One transaction in which no other process of a gateway is connected, and none connects.

        For changes of the schema: SQLite's foreign keys are not followed meanwhile, since a table
        that is altered is dropped and made again; they are checked at the end. Raises
        ``ConfigError`` where somebody is connected.
        """
        await self._dispose()
        if self._session.lock is not None and not self._session.lock.take():
            raise ConfigError(in_use("on this machine"))
        try:
            with _asked("write", self._where):
                async with self._connected() as connection:
                    await self._be_alone(connection)
                    try:
                        async with connection.begin():
                            yield connection
                            if not self.is_postgresql:
                                await connection.run_sync(_check_foreign_keys)
                    finally:
                        await connection.invalidate()
        finally:
            if self._session.lock is not None:
                self._session.lock.close()

    async def _be_alone(self, connection: AsyncConnection) -> None:
        if self.is_postgresql:
            await take_session_lock(connection)
            await connection.commit()
        else:
            # Within a transaction SQLite ignores it, and SQLAlchemy begins one.
            raw: Any = (await connection.get_raw_connection()).driver_connection
            await raw.execute("PRAGMA foreign_keys=OFF")

    async def check_session(self) -> None:
        """Whether what is set for a session holds in its next transaction. Raises ``ConfigError``
        behind a pooler that gives each transaction another session.

        Such a pooler would leave our transactions without their time limits, and drop the plans of
        prepared statements.
        """
        if not self.is_postgresql:
            return
        mark = secrets.token_hex(8)
        try:
            async with self._one_session(mark) as (mine, other):
                # A pooler in transaction mode hands this transaction the session that was idle
                # last: ours.
                other_mark = (await other.execute(_SESSION)).scalar()
                own_mark = (await mine.execute(_SESSION)).scalar()
        except UnavailableError as error:
            cause = error.__cause__
            if (
                isinstance(cause, DBAPIError)
                and getattr(cause.orig, "sqlstate", None) in _NOT_OUR_STATEMENTS
            ):
                raise ConfigError(_POOLED) from error
            raise
        if other_mark == mark or own_mark != mark:
            raise ConfigError(_POOLED)

    @asynccontextmanager
    async def _one_session(
        self, mark: str
    ) -> AsyncIterator[tuple[AsyncConnection, AsyncConnection]]:
        """A connection whose session was marked, and another one."""
        with _asked("read", self._where):
            async with self._connected() as mine:
                await mine.execute(
                    text("SELECT set_config('gateway.session', :mark, false)"), {"mark": mark}
                )
                await mine.commit()
                async with self._connected() as other:
                    yield mine, other
                await mine.invalidate()

    async def ping(self) -> None:
        """Raises ``UnavailableError`` unless the server answers, and where it refused a write
        within ``REFUSED_S``.

        A small write would prove nothing: on a full disk the one that finds room in a page
        succeeds, and the next one fails.
        """
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))
        if self._refused is not None and self._monotonic() - self._refused_at < REFUSED_S:
            raise ReadOnlyError(str(self._refused))

    async def close(self) -> None:
        await self._dispose()
        if self._session.lock is not None:
            self._session.lock.close()

    async def _dispose(self) -> None:
        """Close every connection. One that comes back later would be kept by a pool that nobody
        has: those on their way are waited for, ``RETURN_S`` at most.
        """
        until = self._monotonic() + RETURN_S
        while (pending := {*self._returning, *self._writer.tasks}) and self._monotonic() < until:
            await asyncio.wait(pending, timeout=until - self._monotonic())
        await self._engine.dispose()


def open_database(
    config: Config, keys: Callable[[], Sequence[Key]], *, patience: Patience = SERVING
) -> Database:
    """The engine that ``database.url`` names; connects on first use. Raises ``ConfigError`` for a
    URL that cannot work.
    """
    if config.embedded_database:
        path = config.embedded_database_file
        _own(path)
        url = make_url("sqlite+aiosqlite://").set(database=str(path))
        return _sqlite(url, keys, patience)
    url = sql_error.parse_url(config.database.url.reveal())
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, keys, patience)
    url, tls = postgresql_tls(url, config.database.ca_file)
    try:
        engine = create_async_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=8,
            max_overflow=8,
            pool_timeout=patience.connect_s,
            connect_args={
                "timeout": patience.connect_s,
                "command_timeout": patience.statement_s + ANSWER_MARGIN_S,
                **tls,
            },
        )
    except (SQLAlchemyError, TypeError, ValueError) as error:
        msg = "database.url: several servers are written ?host=A:5432&host=B:5432"
        raise ConfigError(msg) from error
    session = Session()
    _begin_sessions(engine, patience, session)
    return Database(engine, keys, patience=patience, session=session)


def database_file(config: Config) -> Path | None:
    """SQLite's. Raises ``ConfigError`` for a URL that cannot work."""
    if config.embedded_database:
        return config.embedded_database_file
    url = sql_error.parse_url(config.database.url.reveal())
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def warnings_of(config: Config) -> tuple[str, ...]:
    """What of ``database.url`` is allowed and seldom meant."""
    if config.embedded_database:
        return ()
    url = sql_error.parse_url(config.database.url.reveal())
    return sql_error.warnings(with_mode(url, config.database.ca_file))


def insert_new(database: Database, table: Table) -> Any:
    """INSERT … ON CONFLICT DO NOTHING in the database's own words."""
    return (postgresql_insert if database.is_postgresql else sqlite_insert)(table)


def _milliseconds(seconds: float) -> str:
    """As PostgreSQL's settings of time are written."""
    return str(round(seconds * 1000))


def _begin_sessions(engine: AsyncEngine, patience: Patience, session: Session) -> None:
    """PostgreSQL's time limits, set in each new session: as parameters of the start a pooler would
    refuse them. And the lock that says that a gateway is connected; and whether the schema is still
    the one that this process has seen.
    """
    limits = {
        "lock_timeout": LOCK_S,
        "statement_timeout": patience.statement_s,
        "idle_in_transaction_session_timeout": patience.idle_s or IDLE_IN_TRANSACTION_S,
        "tcp_user_timeout": TCP_USER_TIMEOUT_S,
    }
    statement = "SELECT " + ", ".join(
        f"set_config('{name}', '{_milliseconds(seconds)}', false)"
        for name, seconds in limits.items()
    )
    statement += f", pg_try_advisory_lock_shared({LOCK_NUMBER})"

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(dbapi_connection: Any, _record: object) -> None:
        cursor = dbapi_connection.cursor()
        cursor.execute(statement)
        why = "" if cursor.fetchone()[-1] else IN_MAINTENANCE
        if session.revision and not why:
            cursor.execute(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - a constant
            rows = [tuple(row) for row in cursor.fetchall()]
            why = "" if rows == [(session.revision,)] else _CHANGED
        cursor.close()
        if why:
            dbapi_connection.close()
            raise MaintenanceError(why)
        # Begun by the driver; what is set in a transaction that is rolled back is not set.
        dbapi_connection.commit()


def _own(path: Path) -> None:
    """0700 and 0600: the file holds people's addresses; SQLite gives its journal files the same
    mode.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(create(path, flags=0))
    except OSError as error:
        msg = f"state_dir: {path.parent}: cannot be written: {error.strerror}"
        raise ConfigError(msg) from error


def _sqlite(url: URL, keys: Callable[[], Sequence[Key]], patience: Patience) -> Database:
    engine = create_async_engine(
        url,
        module=Driver(),
        hide_parameters=True,
        connect_args={"timeout": patience.writer_s},
    )
    file = Path(url.database or "")
    lock = FileLock(file.with_name(f"{file.name}.lock"))

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(dbapi_connection: Any, _record: object) -> None:
        try:
            lock.share()
        except GatewayError:
            dbapi_connection.close()
            raise
        # The driver opens transactions by its own rules, too late for BEGIN IMMEDIATE; None leaves
        # them to us.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        for pragma in (
            f"busy_timeout={_milliseconds(patience.writer_s)}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once when another wrote
        # meanwhile, busy timeout or not.
        connection.exec_driver_sql(
            "BEGIN" if connection.get_execution_options().get("reading") else "BEGIN IMMEDIATE"
        )

    return Database(engine, keys, patience=patience, session=Session(lock=lock))


@contextmanager
def _asked(what: str, where: str) -> Iterator[None]:
    """A transaction: its faults translated, and its time."""
    start_time = perf_counter()
    try:
        with _translated(where, writing=what == "write"):
            yield
    finally:
        STORE_REQUEST_DURATION.labels("sql", what).observe(perf_counter() - start_time)


_DEADLOCK = "40P01"
_BUSY = frozenset({"55P03", "57014", "40001", _DEADLOCK})
"""PostgreSQL's codes of a lock that was not to be had in time, a statement that took too long, a
deadlock, a snapshot that others outdated.
"""
_READ_ONLY = frozenset({"25006", "53100", "58000", "58030", "XX001", "XX002"})
"""PostgreSQL's codes of a write that a standby refuses, a disk that is full, a file that cannot be
written, or is damaged.
"""
_SQLITE_READ_ONLY = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT}
)
_SQLITE_PRIMARY = 0xFF
"""An extended code of SQLite has the primary one in its last byte."""
_SESSION = text("SELECT current_setting('gateway.session', true)")
_NOT_OUR_STATEMENTS = frozenset({"42P05", "26000"})
"""A prepared statement that is there though we have not made it, or is not though we have: the
session is another client's too.
"""
_POOLED = (
    "database.url: leads to a connection pooler in transaction or statement mode "
    "(PgBouncer's pool_mode = transaction). The gateway sets time limits "
    "for its session, and such a pooler gives each transaction another session. Connect to "
    "PostgreSQL itself, or use pool_mode = session"
)


@contextmanager
def _translated(where: str, *, writing: bool) -> Iterator[None]:
    try:
        yield
    except UnavailableError:
        raise
    except DBAPIError as error:
        if (code := getattr(error.orig, "sqlstate", None)) in _BUSY:
            raise BusyError(_says(where, error), deadlock=code == _DEADLOCK) from error
        if writing and _takes_no_writes(error.orig):
            msg = f"SQL takes no writes ({where}: {sql_error.reason(error)})"
            raise ReadOnlyError(msg) from error
        # A refused connection (wrong password, no such database) comes as the bare class, a fault
        # of the server's own as InternalError; of SQLite, a file that is none of its own.
        if (
            error.connection_invalidated
            or type(error.orig) is sqlite3.DatabaseError
            or isinstance(error, OperationalError | InterfaceError | InternalError)
            or type(error) is DBAPIError
        ):
            raise UnavailableError(_says(where, error)) from error
        raise
    except (
        PoolTimeoutError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        sqlite3.OperationalError,
        OSError,
    ) as error:
        raise UnavailableError(_says(where, error)) from error


def _takes_no_writes(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        return (getattr(error, "sqlite_errorcode", 0) & _SQLITE_PRIMARY) in _SQLITE_READ_ONLY
    return getattr(error, "sqlstate", None) in _READ_ONLY


def _is_locked(error: UnavailableError) -> bool:
    """Whether another process's transaction is in the way."""
    cause = getattr(error.__cause__, "orig", error.__cause__)
    code = getattr(cause, "sqlite_errorcode", 0) & _SQLITE_PRIMARY
    return isinstance(error, BusyError) or code == sqlite3.SQLITE_BUSY


def _says(where: str, error: BaseException) -> str:
    return f"SQL does not answer ({where}: {sql_error.reason(error)})"


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        msg = f"a row of {broken[0]} would refer to a row of {broken[2]} that is not there"
        raise ConfigError(msg)
