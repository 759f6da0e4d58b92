from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import sqlite3
import stat
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from gateway.admin.recording import SETTLE_S
from gateway.config.model import EMBEDDED_DATABASE
from gateway.database import engine as database_module
from gateway.database.engine import (
    ANSWER_MARGIN_S,
    COMMANDS,
    MAINTENANCE,
    REFUSED_S,
    SERVING,
    BusyError,
    Database,
    Patience,
    open_database,
)
from gateway.database.schema import admin_keys, metadata
from gateway.errors import ConfigError, UnavailableError
from gateway.runtime.database_probes import probe_session
from gateway.runtime.health import probe_all
from tests.database.fixtures import config_with, database_keys
from tests.database.postgres import Postgres
from tests.database.relay import Relay, TransactionPooler

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.every_database


def _row(number: int) -> dict[str, object]:
    return {
        "id": str(number),
        "name": f"key {number}",
        "hash": str(number),
        "scopes": ["operator"],
        "created_at": 1.0,
    }


async def test_every_table_is_made_and_json_comes_back_as_written(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(insert(admin_keys).values(_row(1)))
    async with database.read() as connection:
        assert (await connection.execute(select(admin_keys.c.scopes))).scalar_one() == ["operator"]
        for table in metadata.sorted_tables:
            await connection.execute(select(func.count()).select_from(table))


async def test_a_connection_that_is_on_its_way_back_is_closed_with_the_others(
    database: Database,
) -> None:
    """Also where its user was cancelled meanwhile, as at the end of a background task."""
    returning, go_on = asyncio.Event(), asyncio.Event()

    @event.listens_for(database._engine.sync_engine.pool, "reset")
    def _slow(connection: Any, _record: object, _state: object) -> None:
        returning.set()
        connection.run_async(lambda _: go_on.wait())

    used: list[Any] = []

    async def read() -> None:
        async with database.read() as connection:
            used.append((await connection.get_raw_connection()).driver_connection)

    reading = asyncio.create_task(read())
    await returning.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    closing = asyncio.create_task(database.close())
    ended, _ = await asyncio.wait([closing], timeout=0.1)
    assert not ended
    go_on.set()
    await closing
    [driver] = used
    assert driver.is_closed() if database.is_postgresql else driver._connection is None


async def test_a_failed_write_leaves_nothing(database: Database) -> None:
    async def write_twice() -> None:
        async with database.write() as connection:
            await connection.execute(insert(admin_keys).values(_row(1)))
            await connection.execute(insert(admin_keys).values(_row(1)))

    with pytest.raises(IntegrityError):
        await write_twice()
    async with database.read() as connection:
        assert (
            await connection.execute(select(func.count()).select_from(admin_keys))
        ).scalar_one() == 0


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


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_that_start_at_once_make_the_schema_once(
    kind: str, postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.new_database() if kind == "postgresql" else "embedded"
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [
        context.Process(target=_prepare_in_process, args=(tmp_path / "state", url, barrier))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]


async def test_a_start_waits_for_another_one_that_makes_the_schema(tmp_path: Path) -> None:
    """On a slow disk that takes longer than a writer waits for another's transaction."""
    config = config_with(tmp_path / "state")
    config.embedded_database_file.parent.mkdir()
    with contextlib.closing(sqlite3.connect(config.embedded_database_file)) as other:
        other.isolation_level = None
        other.execute("BEGIN EXCLUSIVE")
        database = open_database(
            config, database_keys(), patience=Patience(statement_s=1.0, writer_s=0.01)
        )
        preparing = asyncio.create_task(database.prepare())
        ended, _ = await asyncio.wait([preparing], timeout=0.2)
        assert not ended
        other.execute("COMMIT")
        await preparing
    await database.close()


async def test_the_embedded_database_is_private(tmp_path: Path) -> None:
    database = open_database(config_with(tmp_path / "state"), database_keys())
    await database.prepare()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert {
        stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "state").glob(EMBEDDED_DATABASE + "*")
    } == {0o600}
    await database.close()


@pytest.mark.parametrize(
    "url", ["sqlite+aiosqlite://", "sqlite+aiosqlite:///:memory:"], ids=["no file", "memory"]
)
def test_a_database_that_would_be_lost_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"database\.url.*must name a file"):
        open_database(config_with(tmp_path, database={"url": url}), database_keys())


async def test_a_server_that_does_not_answer_is_unavailable_and_its_password_unsaid(
    tmp_path: Path,
) -> None:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for url in (
        f"postgresql+asyncpg://gateway:hunter2@127.0.0.1:{port}/db",
        "postgresql+asyncpg://gateway:hunter2@127.0.0.1:1/db",
    ):
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
        database = open_database(
            config_with(tmp_path, database={"url": server.new_database()}), database_keys()
        )
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


async def test_an_unknown_postgresql_database_is_unavailable(
    postgres: Postgres, tmp_path: Path
) -> None:
    database = open_database(
        config_with(
            tmp_path,
            database={"url": f"postgresql+asyncpg://gateway@127.0.0.1:{postgres.port}/missing"},
        ),
        database_keys(),
    )
    with pytest.raises(UnavailableError, match="no database of that name"):
        await database.ping()
    await database.close()


async def test_a_server_that_hangs_is_unavailable_before_a_caller_gives_up_and_used_again_when_it_speaks(  # noqa: E501 - a test's name is a sentence
    postgres: Postgres, tmp_path: Path
) -> None:
    """A transaction that was waiting for an answer, one that has a connection of before, one that
    has none.
    """
    farewell_s = 2.0
    assert (
        max(SERVING.statement_s + ANSWER_MARGIN_S, SERVING.connect_s) + farewell_s + SETTLE_S < 5
    ), "the admin API, which then tries to put its answer on record"
    url = postgres.new_database()
    async with Relay(postgres.port) as relay:
        database = open_database(
            config_with(tmp_path, database={"url": relay.url(url)}),
            database_keys(),
            patience=Patience(0.3, 1.0, connect_s=0.3),
        )
        await database.prepare()

        async def asking() -> None:
            async with database.write() as connection:
                await connection.execute(text("SELECT 1"))
                relay.silent()
                await connection.execute(text("SELECT 2"))

        for ask in (asking, database.ping, database.ping):
            began = time.monotonic()
            with pytest.raises(UnavailableError, match="SQL does not answer"):
                await ask()
            assert time.monotonic() - began < 0.3 + ANSWER_MARGIN_S + farewell_s + 0.7
        relay.speaks()
        await database.ping()
        await database.close()
    postgres.drop(url)


async def test_a_command_waits_for_a_server_that_is_slow_to_let_anybody_connect(
    postgres: Postgres, tmp_path: Path
) -> None:
    """A rotation of keys that gave up between two of its steps would be a fault of the machine's
    load.
    """
    assert COMMANDS.connect_s == MAINTENANCE.connect_s > 5 * SERVING.connect_s
    url = postgres.new_database()
    async with Relay(postgres.port) as relay:
        serving, command = (
            open_database(
                config_with(tmp_path, database={"url": relay.url(url)}),
                database_keys(),
                patience=patience,
            )
            for patience in (replace(SERVING, connect_s=0.2), replace(COMMANDS, connect_s=60.0))
        )
        relay.silent()
        waiting = asyncio.create_task(command.ping())
        with pytest.raises(UnavailableError, match=r"no connection within 0\.2 s"):
            await serving.ping()
        assert not waiting.done()
        relay.speaks()
        await waiting
        await serving.close()
        await command.close()
    postgres.drop(url)


async def test_a_transaction_does_not_wait_for_ever_for_a_lock_a_statement_or_a_client_that_froze(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.new_database()
    preparing = open_database(config_with(tmp_path, database={"url": url}), database_keys())
    await preparing.prepare()
    await preparing.close()
    for name, seconds in (("IDLE_IN_TRANSACTION_S", 0.6), ("LOCK_S", 0.1), ("NAMED_LOCK_S", 0.2)):
        monkeypatch.setattr(database_module, name, seconds)
    frozen, other = (
        open_database(
            config_with(tmp_path, database={"url": url}),
            database_keys(),
            patience=Patience(0.4, 1.0),
        )
        for _ in range(2)
    )
    thawed = asyncio.Event()

    async def freeze() -> None:
        async with frozen.write("somebody") as connection:
            await connection.execute(insert(admin_keys).values(_row(1)))
            holding.set()
            await thawed.wait()

    holding = asyncio.Event()
    freezing = asyncio.create_task(freeze())
    await holding.wait()
    with pytest.raises(BusyError):
        async with other.write("somebody"):
            pytest.fail("two within one named lock")
    with pytest.raises(BusyError):
        async with other.write() as connection:
            await connection.execute(insert(admin_keys).values(_row(1)))
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(BusyError):
                async with other.write("somebody") as connection:
                    await connection.execute(insert(admin_keys).values(_row(1)))
                    break
    thawed.set()
    with pytest.raises(UnavailableError):
        await freezing
    with pytest.raises(BusyError):
        async with other.read() as connection:
            await connection.execute(text("SELECT pg_sleep(30)"))
    async with other.read() as connection:
        rows = await connection.execute(
            text(
                "SELECT setting FROM pg_settings WHERE name IN ('tcp_user_timeout', "
                "'idle_in_transaction_session_timeout') ORDER BY name"
            )
        )
        settings = [str(setting) for setting in rows.scalars()]
    assert settings == ["600", "10000"], "milliseconds"
    await frozen.close()
    await other.close()
    postgres.drop(url)


async def test_a_pooler_that_gives_each_transaction_another_session_is_refused_in_clear_words(
    postgres: Postgres, tmp_path: Path
) -> None:
    url = postgres.new_database()
    async with TransactionPooler(postgres.port) as pooler:
        database = open_database(
            config_with(tmp_path, database={"url": pooler.url(url)}), database_keys()
        )
        with pytest.raises(
            ConfigError,
            match=(
                r"database\.url.*pool_mode = transaction.*Connect to PostgreSQL itself, or use "
                r"pool_mode = session"
            ),
        ):
            await database.prepare()
        (found,) = await probe_all({"database_session": lambda: probe_session(database)})
        assert found.wrong, "and so says gateway config check"
        await database.close()
    postgres.drop(url)


async def test_a_database_that_takes_no_writes_is_told_from_one_that_does_not_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk and its like: reading goes on, so that only a write that was refused says so. An
    error of the server's own is no answer either.
    """

    async def write(code: str) -> None:
        async with database.write() as connection:
            if database.is_postgresql:
                await connection.exec_driver_sql(
                    f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{code}'; END $$"
                )
            else:
                pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
                await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
                await connection.exec_driver_sql("CREATE TABLE more AS SELECT zeroblob(1000000)")

    async def refused(code: str) -> str:
        with pytest.raises(UnavailableError) as told:
            await write(code)
        return str(told.value)

    await database.ping()
    if database.is_postgresql:
        assert "the server failed, SQLSTATE XX000" in await refused("XX000")
    await database.ping()
    for code in ("53100", "25006", "58030") if database.is_postgresql else ("",):
        assert (await refused(code)).startswith("SQL takes no writes (")
        with pytest.raises(UnavailableError, match="SQL takes no writes"):
            await database.ping()
        now = time.monotonic()
        with monkeypatch.context() as later:
            later.setattr(database, "_monotonic", lambda: now + REFUSED_S + 1)  # noqa: B023 - used at once
            await database.ping()
