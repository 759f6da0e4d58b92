from __future__ import annotations

import asyncio
import multiprocessing
import stat
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.errors import ConfigError, UnavailableError
from gateway.sql.database import EMBEDDED_FILE, Database, open_database
from gateway.sql.tables import SCHEMA_VERSION, admin_keys, metadata, schema_version
from tests.sql.fixtures import config_with, database_keys
from tests.sql.postgres import Postgres

if TYPE_CHECKING:
    from pathlib import Path


def _row(number: int) -> dict[str, object]:
    return {"id": str(number), "name": f"key {number}", "hash": str(number), "scopes": ["operator"], "created_at": 1.0}


async def test_every_table_is_made_and_json_comes_back_as_written(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(insert(admin_keys).values(_row(1)))
    async with database.read() as connection:
        assert (await connection.execute(select(admin_keys.c.scopes))).scalar_one() == ["operator"]
        for table in metadata.sorted_tables:
            await connection.execute(select(func.count()).select_from(table))


async def test_preparing_twice_changes_nothing(database: Database) -> None:
    await database.prepare()
    async with database.read() as connection:
        assert (await connection.execute(select(schema_version.c.version))).scalars().all() == [SCHEMA_VERSION]


async def test_another_schema_version_is_refused_with_what_to_do(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(update(schema_version).values(version=SCHEMA_VERSION + 1))
    with pytest.raises(ConfigError, match=rf"holds schema version {SCHEMA_VERSION + 1}, this release needs {SCHEMA_VERSION}.*tenants export"):
        await database.prepare()


async def test_a_failed_write_leaves_nothing(database: Database) -> None:
    async def write_twice() -> None:
        async with database.write() as connection:
            await connection.execute(insert(admin_keys).values(_row(1)))
            await connection.execute(insert(admin_keys).values(_row(1)))

    with pytest.raises(IntegrityError):
        await write_twice()
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(admin_keys))).scalar_one() == 0


async def test_parallel_read_then_write_loses_no_update(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(insert(admin_keys).values(_row(1)))

    async def add_one() -> None:
        async with database.write("counter") as connection:
            count = (await connection.execute(select(admin_keys.c.created_at))).scalar_one()
            await connection.execute(update(admin_keys).values(created_at=count + 1))

    await asyncio.gather(*(add_one() for _ in range(20)))
    async with database.read() as connection:
        assert (await connection.execute(select(admin_keys.c.created_at))).scalar_one() == 21


def _prepare_in_process(state_dir: Path, url: str, barrier: object) -> None:
    async def run() -> None:
        database = open_database(config_with(state_dir, database={"url": url}), database_keys())
        barrier.wait()  # type: ignore[attr-defined]  # multiprocessing's barrier has no public type
        await database.prepare()
        await database.close()

    asyncio.run(run())


def test_processes_that_start_at_once_make_the_schema_once(database_url: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=_prepare_in_process, args=(tmp_path / "state", database_url, barrier)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]


async def test_the_embedded_database_is_private(tmp_path: Path) -> None:
    database = open_database(config_with(tmp_path / "state"), database_keys())
    await database.prepare()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").glob(EMBEDDED_FILE + "*")} == {0o600}
    await database.close()


@pytest.mark.parametrize("url", ["sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:"], ids=["no file", "memory"])
def test_a_database_that_would_be_lost_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"database\.url.*must name a file"):
        open_database(config_with(tmp_path, database={"url": url}), database_keys())


async def test_a_server_that_does_not_answer_is_unavailable_and_its_password_unsaid(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for url in (f"postgresql+asyncpg://gateway:hunter2@127.0.0.1:{port}/db", "postgresql+asyncpg://gateway:hunter2@127.0.0.1:1/db"):
        database = open_database(config_with(tmp_path, database={"url": url}), database_keys())
        with pytest.raises(UnavailableError) as caught:
            await database.prepare()
        assert "hunter2" not in str(caught.value)
        await database.close()
    server.close()
    await server.wait_closed()


async def test_a_database_that_comes_back_is_used_again(tmp_path: Path) -> None:
    server = Postgres()
    try:
        server.start()
        database = open_database(config_with(tmp_path, database={"url": server.new_database()}), database_keys())
        await database.prepare()
        await database.ping()
        server.stop()
        with pytest.raises(UnavailableError):
            await database.ping()
        server.start()
        await database.ping()
        await database.close()
    finally:
        server.remove()


async def test_an_unknown_postgresql_database_is_unavailable(postgres: Postgres, tmp_path: Path) -> None:
    database = open_database(config_with(tmp_path, database={"url": f"postgresql+asyncpg://gateway@127.0.0.1:{postgres.port}/missing"}), database_keys())
    with pytest.raises(UnavailableError, match="InvalidCatalogName"):
        await database.ping()
    await database.close()
