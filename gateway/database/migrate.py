"""Which revision of the schema a database holds, and how it comes to another one (Alembic).

Rules:
- A new database is made by the same revisions that bring an older one up to date.
- All pending revisions are one transaction: an upgrade that fails changes nothing.
- There is no way down: a backup from before the upgrade is the way back.
- Everything here is synchronous and works on a connection that its caller opened
  (``AsyncConnection.run_sync``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import MetaData, column, create_engine, inspect, select, table

from gateway.database.schema import REVISION, metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alembic.config import Config as AlembicConfig
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection

VERSION_TABLE: Final = "schema_revision"
"""Its one row names the revision."""
MIGRATIONS: Final = Path(__file__).parent / "migrations"
OPTIONS: Final[Mapping[str, Any]] = {
    "version_table": VERSION_TABLE,
    "compare_type": True,
    "compare_server_default": True,
}
_VERSION = table(VERSION_TABLE, column("version_num"))


class Age(StrEnum):
    """Of a database, compared with this release."""

    EMPTY = "empty"
    CURRENT = "current"
    OLDER = "older"
    NEWER = "newer"
    UNKNOWN = "unknown"
    """It holds tables of ours, and no revision."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database holds. ``revision`` is empty where there is none."""

    age: Age
    revision: str = ""


def schema_of(connection: Connection) -> Schema:
    """Read it; changes nothing."""
    present = set(inspect(connection).get_table_names())
    revision = ""
    if VERSION_TABLE in present:
        rows = connection.execute(select(_VERSION.c.version_num)).scalars().all()
        revision = str(rows[0]) if len(rows) == 1 else ""
    if not revision:
        return Schema(Age.UNKNOWN if present & metadata.tables.keys() else Age.EMPTY)
    if revision == REVISION:
        return Schema(Age.CURRENT, revision)
    return Schema(Age.OLDER if revision in revisions() else Age.NEWER, revision)


def problem(schema: Schema) -> str:
    """Why this release cannot work with it, and what to do; empty for a current one."""
    match schema.age:
        case Age.CURRENT:
            return ""
        case Age.EMPTY:
            return "database.url: the database is empty; it is set up when the admin role starts"
        case Age.OLDER:
            return (
                f"database.url: holds schema revision {schema.revision}, this release needs "
                f"{REVISION}. Stop every admin role, then run 'gateway database backup' and "
                "'gateway database upgrade' with this release and this configuration (-c). "
                "Checks and sign-ins go on meanwhile"
            )
        case Age.NEWER:
            return (
                f"database.url: holds schema revision {schema.revision}, which a newer release "
                f"made; this release needs {REVISION}. Run the newer release, or restore the "
                "backup that was made before the upgrade into an empty database "
                "('gateway database restore')"
            )
        case Age.UNKNOWN:
            return (
                "database.url: holds tables of this gateway and no schema revision: it was made "
                "by a development version, or by something else. Point database.url to an empty "
                "database (embedded: move gateway.sqlite3 away)"
            )


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the pending revisions up to ``revision`` within the connection's transaction."""
    from alembic import command  # noqa: PLC0415 - half of a command's start, and seldom needed

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def alembic_config() -> AlembicConfig:
    """Alembic's settings, without a file of its own."""
    from alembic.config import Config as AlembicConfig  # noqa: PLC0415 - as above

    config = AlembicConfig()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
    return config


def scripts() -> ScriptDirectory:
    """Alembic's view of the revisions."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - as above

    return ScriptDirectory.from_config(alembic_config())


@cache
def revisions() -> tuple[str, ...]:
    """All that this release knows, oldest first."""
    return tuple(reversed([script.revision for script in scripts().walk_revisions()]))


@cache
def tables_at(revision: str) -> frozenset[str]:
    """Names of the gateway's tables at a revision, without ``VERSION_TABLE``."""
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            upgrade(connection, revision)
            reflection = MetaData()
            reflection.reflect(connection)
    finally:
        engine.dispose()
    return frozenset(reflection.tables) - {VERSION_TABLE}
