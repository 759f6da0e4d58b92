"""Who uses a database just now: what changes the schema, or replaces all of its data, waits for
nobody and runs only where no gateway process is connected.

PostgreSQL: each session of a gateway holds a shared advisory lock for as long as it lives.
SQLite: each process holds a shared lock of the file ``NAME.lock`` beside the database.
Both end with the process, whatever ends it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from gateway.config.owned_files import create
from gateway.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

LOCK_NUMBER: Final = int.from_bytes(
    hashlib.sha256(b"gateway:in use").digest()[:8], "big", signed=True
)
IN_MAINTENANCE: Final = "the database is being upgraded or restored by 'gateway database' just now"
_OTHERS = text(
    "SELECT coalesce(host(a.client_addr), 'an unknown address') AS place, count(*) AS sessions "
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND l.classid::bigint = (CAST(:number AS bigint) >> 32) & 4294967295 "
    "AND l.objid::bigint = CAST(:number AS bigint) & 4294967295 AND l.pid <> pg_backend_pid() "
    "GROUP BY 1 ORDER BY 1"
)


class MaintenanceError(UnavailableError):
    """Another process has the database to itself."""


class FileLock:
    """SQLite's side: one per process and database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def share(self) -> None:
        """Idempotent. Raises ``MaintenanceError`` and ``ConfigError``."""
        if self._file is not None:
            return
        self._file = self._open()
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise MaintenanceError(IN_MAINTENANCE) from error

    def take(self) -> bool:
        """Alone, from now until ``close``; False where another process uses the database."""
        if self._file is None:
            self._file = self._open()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        try:
            return create(self.path, flags=0)
        except OSError as error:
            msg = f"{self.path}: cannot be opened: {error.strerror}"
            raise ConfigError(msg) from error


async def take_session_lock(connection: AsyncConnection) -> None:
    """PostgreSQL: this session alone, until it ends. Raises ``ConfigError`` that says who else is
    connected.
    """
    result = await connection.execute(
        text("SELECT pg_try_advisory_lock(:number)"), {"number": LOCK_NUMBER}
    )
    if result.scalar_one():
        return
    rows = (await connection.execute(_OTHERS, {"number": LOCK_NUMBER})).all()
    raise ConfigError(
        in_use(", ".join(f"{row.sessions} from {row.place}" for row in rows) or "ended just now")
    )


def in_use(who: str) -> str:
    """What to say where somebody is connected."""
    return (
        f"the database is in use (connections of gateway processes: {who}): stop every admin "
        "role and other gateway commands first. Auth roles do not use it, and go on"
    )
