from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select, update

from gateway.database.engine import Database, open_database
from gateway.database.reencrypt import kids_in_use, reencrypt
from gateway.database.schema import row_columns, row_name, sealed_columns, tenants
from gateway.errors import ConfigError
from gateway.keys import ring as keys
from tests.database.fixtures import config_with
from tests.database.rows import fill, row_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.keys.ring import Key

pytestmark = pytest.mark.every_database


class Ring:
    """Database keys that a test can rotate."""

    def __init__(self) -> None:
        self.keys: tuple[Key, ...] = keys.generate().database

    def __call__(self) -> tuple[Key, ...]:
        return self.keys

    def rotate(self) -> None:
        self.keys = (*keys.generate().database, *self.keys)


@pytest.fixture
def ring() -> Ring:
    return Ring()


@pytest.fixture
async def database(database_url: str, ring: Ring, tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(config_with(tmp_path / "state", database={"url": database_url}), ring)
    await opened.prepare()
    yield opened
    await opened.close()


async def test_every_sealed_cell_is_written_under_the_new_key_and_still_says_the_same(
    database: Database, ring: Ring
) -> None:
    await fill(database, rows=250)
    old = ring.keys[0].kid
    assert await kids_in_use(database) == {old}
    ring.rotate()
    cells = sum(1 for _ in sealed_columns()) * 250
    assert await reencrypt(database) == cells
    assert await kids_in_use(database) == {ring.keys[0].kid}
    ring.keys = ring.keys[:1]
    async with database.read() as connection:
        for table, column in sealed_columns():
            for *key, sealed in await connection.execute(select(*row_columns(table), column)):
                assert (
                    database.crypt.open(
                        sealed, table=table.name, row=row_name(key), column=column.name
                    )
                    .reveal()
                    .startswith("secret ")
                )
    assert await reencrypt(database) == 0


async def test_an_empty_cell_stays_empty(database: Database, ring: Ring) -> None:
    table, column = next((table, column) for table, column in sealed_columns() if column.nullable)
    async with database.write() as connection:
        await connection.execute(
            insert(table).values({**row_of(database, table, 1), column.name: None})
        )
    ring.rotate()
    await reencrypt(database)
    async with database.read() as connection:
        assert (await connection.execute(select(column))).scalar_one() is None


async def test_a_cell_whose_key_is_gone_is_named(database: Database, ring: Ring) -> None:
    await fill(database, rows=1)
    ring.keys = keys.generate().database
    with pytest.raises(ConfigError, match=r"encrypted with key .*, which is not in the key ring"):
        await reencrypt(database)


async def test_a_damaged_cell_keeps_no_other_one_under_the_old_key(
    database: Database, ring: Ring
) -> None:
    await fill(database, rows=12)
    table, column = next(iter(sealed_columns()))
    async with database.write() as connection:
        sealed = (await connection.execute(select(column))).scalars().first()
        assert sealed is not None
        await connection.execute(update(table).values({column.name: sealed}))
    old = ring.keys[0].kid
    ring.rotate()
    with pytest.raises(ConfigError, match=r"11 of the stored secrets do not open") as refused:
        await reencrypt(database)
    assert str(refused.value).count("does not open") == 10
    assert str(refused.value).endswith("and 1 more")
    assert sealed not in str(refused.value)
    async with database.read() as connection:
        for _, each in sealed_columns():
            kids = [s.partition(".")[0] for s in (await connection.execute(select(each))).scalars()]
            assert kids.count(old) == (11 if each is column else 0)


async def test_a_ring_that_opens_nothing_is_refused_and_one_that_lacks_a_key_is_told(
    database: Database, ring: Ring, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await database.check_keys()).cells == 0
    await fill(database, rows=2)
    check = await database.check_keys()
    assert check.cells == check.opened > 20
    assert check.problem == ""
    old = ring.keys
    ring.keys = keys.generate().database
    with pytest.raises(
        ConfigError, match=rf"needs database keys {old[0].kid}.*not the key ring.*Put that one back"
    ):
        await database.prepare()
    ring.keys = (replace(old[0], material=bytes(32)),)
    with pytest.raises(ConfigError, match=r"does not open with the key of that id"):
        await database.prepare()

    ring.keys = (*keys.generate().database, *old)
    async with database.write() as connection:
        await connection.execute(insert(tenants).values(row_of(database, tenants, 9)))
    ring.keys = ring.keys[:1]
    await database.prepare()
    (record,) = [each for each in caplog.records if each.message == "key_ring_incomplete"]
    assert old[0].kid in vars(record)["gateway_fields"]["detail"]


async def test_a_rotation_while_running_is_obeyed_at_once(database: Database, ring: Ring) -> None:
    cell = {"table": "t", "row": "r", "column": "c"}
    before = database.crypt.seal("secret", **cell)
    ring.rotate()
    assert database.crypt.open(before, **cell).reveal() == "secret"
    assert database.crypt.seal("secret", **cell).startswith(ring.keys[0].kid)
