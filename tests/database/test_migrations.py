"""The schema's revisions make what the code says, and nothing works on another one."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, insert, inspect, select, text, update

from gateway.cli import run
from gateway.database import backup as backup_module
from gateway.database import engine as database_module
from gateway.database import migrate
from gateway.database.engine import Database, open_database
from gateway.database.migrate import OPTIONS, VERSION_TABLE, Age, revisions, scripts, tables_at
from gateway.database.schema import REVISION, metadata, tenant_names
from gateway.errors import ConfigError, UnavailableError
from gateway.keys import ring as keys
from tests.database.fixtures import config_with
from tests.database.rows import everything, fill, values_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from tests.database.postgres import Postgres

pytestmark = pytest.mark.every_database

RING = keys.generate()
NEXT = '''
"""What a later release may do: new columns, a table made again, another one gone."""

import sqlalchemy as sa
from alembic import op

revision = "9000"
down_revision = "REVISION"


def upgrade() -> None:
    op.create_table("extra", sa.Column("id", sa.Integer(), primary_key=True))
    with op.batch_alter_table("tenants") as table:
        table.add_column(sa.Column("note", sa.String(40), nullable=False, server_default="new"))
        table.alter_column("id", type_=sa.String(41), existing_type=sa.String(40))
    op.drop_table("scim_usage")
    if FAILS:
        op.execute("INSERT INTO nowhere VALUES (1)")
'''


@dataclass(slots=True)
class NextRelease:
    """The code of this one, with one revision more."""

    folder: Path

    @contextlib.contextmanager
    def installed(self, monkeypatch: pytest.MonkeyPatch, *, fails: bool = False) -> Iterator[None]:
        here = self.folder / ("fails" if fails else "works")
        shutil.copytree(migrate.MIGRATIONS, here, dirs_exist_ok=True)
        (here / "versions" / "r9000_next.py").write_text(
            NEXT.replace("REVISION", REVISION).replace("FAILS", str(fails)), encoding="utf-8"
        )
        with monkeypatch.context() as patch:
            patch.setattr(migrate, "MIGRATIONS", here)
            for module in (migrate, database_module, backup_module):
                patch.setattr(module, "REVISION", "9000")
            _forget()
            yield
        _forget()


def _forget() -> None:
    revisions.cache_clear()
    tables_at.cache_clear()


@pytest.fixture
def following(tmp_path: Path) -> NextRelease:
    return NextRelease(tmp_path / "next")


def opened(database_url: str, tmp_path: Path) -> Database:
    config = config_with(tmp_path / "state", database={"url": database_url})
    return open_database(config, lambda: RING.database)


@pytest.fixture
async def older(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """A database of this release with rows in every table."""
    database = opened(database_url, tmp_path)
    await database.prepare()
    await fill(database, rows=5)
    yield database
    await database.close()


def described(connection: Connection) -> dict[str, Any]:
    """Everything that a database knows of its tables."""
    seen = inspect(connection)

    def by_name(items: Any) -> Any:
        return sorted(
            (
                {
                    name: str(value)
                    for name, value in item.items()
                    # PostgreSQL's own names and remarks
                    if name not in {"comment", "dialect_options", "identity"}
                }
                for item in items
            ),
            key=lambda item: str(item["name"]),
        )

    return {
        table: {
            "columns": by_name(seen.get_columns(table)),
            "primary key": seen.get_pk_constraint(table)["constrained_columns"],
            "foreign keys": by_name(seen.get_foreign_keys(table)),
            "unique": by_name(seen.get_unique_constraints(table)),
            "indexes": by_name(seen.get_indexes(table)),
        }
        for table in seen.get_table_names()
        if table != VERSION_TABLE
    }


async def test_the_revisions_make_exactly_the_tables_of_the_code(database: Database) -> None:
    """A table that changed needs a revision: scripts/migration "what changes"."""

    def drift(connection: Connection) -> tuple[Any, Any, Any]:
        context = MigrationContext.configure(connection, opts=dict(OPTIONS))
        differences = compare_metadata(context, metadata)
        migrated = described(connection)
        metadata.drop_all(connection)
        metadata.create_all(connection)
        return differences, migrated, described(connection)

    async with database.write() as connection:
        differences, migrated, made = await connection.run_sync(drift)
    assert differences == []
    assert migrated == made
    assert migrated.keys() == metadata.tables.keys()


def test_revisions_are_one_line_numbered_in_order_and_the_code_names_the_last() -> None:
    assert scripts().get_heads() == [REVISION]
    assert list(revisions()) == [f"{number:04}" for number in range(1, len(revisions()) + 1)]
    assert all(tables_at(revision) for revision in revisions())


async def test_a_new_database_is_at_the_newest_revision_and_preparing_again_changes_nothing(
    database: Database,
) -> None:
    schema = await database.schema()
    assert (schema.age, schema.revision) == (Age.CURRENT, REVISION)
    await database.prepare()
    assert await database.schema() == schema


@pytest.mark.parametrize("found", ["older", "newer", "unknown"])
async def test_another_revision_is_refused_with_what_to_do(
    found: str, database: Database, following: NextRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    with following.installed(monkeypatch) if found == "older" else contextlib.nullcontext():
        async with database.write() as connection:
            if found == "newer":
                await connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9000'"))
            if found == "unknown":
                await connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
        assert (await database.schema()).age == found
        what = {
            "older": rf"holds schema revision {REVISION}, this release needs 9000.*Stop every "
            "admin role.*'gateway database backup'.*'gateway database upgrade'",
            "newer": rf"9000, which a newer release made; this release needs {REVISION}.*restore",
            "unknown": "no schema revision.*empty database",
        }[found]
        with pytest.raises(ConfigError, match=what):
            await database.prepare()


async def test_from_the_first_revision_on_every_row_comes_to_this_release(
    database_url: str, tmp_path: Path
) -> None:
    """With the tables as they were then, whatever the code says of them now."""
    database = opened(database_url, tmp_path)
    async with database.alone() as connection:
        await connection.run_sync(lambda sync: backup_module._drop(sync, metadata.sorted_tables))
        await connection.run_sync(migrate.upgrade, revisions()[0])
        first = await connection.run_sync(backup_module.tables_of, revisions()[0])
        for table in first:
            await connection.execute(
                insert(table), [values_of(table, number) for number in range(1, 6)]
            )
    async with database.alone() as connection:
        await connection.run_sync(migrate.upgrade)
    assert (await database.schema()).age is Age.CURRENT
    async with database.read() as connection:
        now = {
            table.name: (await connection.execute(select(func.count()).select_from(table))).scalar()
            for table in await connection.run_sync(backup_module.tables_of, REVISION)
        }
    kept = {table.name for table in first} & now.keys()
    assert {name: now[name] for name in kept} == dict.fromkeys(kept, 5)
    await database.close()


async def test_an_upgrade_keeps_every_row_of_every_table_and_the_old_release_is_then_refused(
    older: Database,
    database_url: str,
    following: NextRelease,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = await everything(older)
    await older.close()
    new = opened(database_url, tmp_path)
    with following.installed(monkeypatch, fails=True):
        with pytest.raises(Exception, match="nowhere"):
            async with new.alone() as connection:
                await connection.run_sync(migrate.upgrade)
        assert (await new.schema()).revision == REVISION, "all or nothing"
    assert await everything(new) == before
    with following.installed(monkeypatch):
        async with new.alone() as connection:
            await connection.run_sync(migrate.upgrade)
        await new.prepare()
        async with new.read() as connection:
            notes = (await connection.execute(text("SELECT note FROM tenants"))).scalars().all()
            present = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert notes == ["new"] * 5
    assert {"extra", VERSION_TABLE} | metadata.tables.keys() - {"scim_usage"} == set(present)
    del before["scim_usage"]
    assert await everything(new, without="scim_usage") == before
    await new.close()
    old = opened(database_url, tmp_path)
    with pytest.raises(ConfigError, match="which a newer release made"):
        await old.prepare()
    await old.close()


async def test_whoever_is_connected_keeps_an_upgrade_from_beginning_and_nobody_connects_meanwhile(
    older: Database, database_url: str, tmp_path: Path
) -> None:
    """Two upgrades at once, or one beside an admin role or a command."""
    maintenance, late = opened(database_url, tmp_path), opened(database_url, tmp_path)
    await older.ping()
    with pytest.raises(ConfigError, match=r"in use.*stop every admin role"):
        async with maintenance.alone():
            pytest.fail("beside an admin role")
    assert await everything(older), "it goes on"
    await older.close()
    async with maintenance.alone() as connection:
        await connection.execute(select(tenant_names))
        with pytest.raises(UnavailableError, match="being upgraded or restored"):
            await late.ping()
        other = opened(database_url, tmp_path)
        with pytest.raises((ConfigError, UnavailableError), match=r"in use|being upgraded"):
            async with other.alone():
                pytest.fail("two at once")
        await other.close()
    await late.ping()
    await late.close()
    await maintenance.close()


async def test_a_process_that_was_cut_off_during_an_upgrade_does_not_write_to_the_new_schema(
    postgres: Postgres, tmp_path: Path
) -> None:
    """SQLite needs no such rule: there a process that lives is seen."""
    url = postgres.new_database()
    old, other = opened(url, tmp_path), opened(url, tmp_path)
    await old.prepare()
    async with other.write() as connection:
        await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
        await connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9000'"))
    with pytest.raises(UnavailableError, match="start it again"):
        async with old.write() as connection:
            await connection.execute(update(tenant_names).values(tenant="x"))
    await old.close()
    await other.close()
    postgres.drop(url)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_commands_say_what_there_is_and_what_they_did(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text(
        "ingress: {trusted_proxies: [127.0.0.1/32]}\n"
        "cognito: {region: eu-north-1, user_pool_id: eu-north-1_AbCdEfGhI, "
        "domain: 'https://pool.example.com'}\n"
        f"state_dir: {tmp_path / 'state'}\ndatabase: {{url: '{database_url}'}}\n"
        f"key_ring: {{file: {tmp_path / 'keys.json'}}}\n",
        encoding="utf-8",
    )
    keys.load(tmp_path / "keys.json", create=True)
    assert run(["database", "status", "-c", str(config)]) == 0
    assert f"revision {REVISION}, which this release needs" in capsys.readouterr().out
    assert run(["database", "upgrade", "-c", str(config)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    file = tmp_path / "backup.gz"
    assert run(["database", "backup", "-c", str(config), "-o", str(file)]) == 0
    assert run(["database", "backup", "-c", str(config), "-o", str(file)]) == 2
    assert "never replaces a file" in capsys.readouterr().err
    assert run(["database", "restore", "-c", str(config), str(file)]) == 0
    assert run(["database", "restore", "-c", str(config), str(file)]) == 2, "the audit record"
    assert "database is not empty (audit)" in capsys.readouterr().err
    assert run(["database", "restore", "--force", "-c", str(config), str(file)]) == 0
    assert run(["database", "restore", "--check", "-c", str(config), str(config)]) == 2
    assert "no backup" in capsys.readouterr().err
