"""Fixtures for whoever stores something in SQL: import them in a ``conftest.py``, and each test
runs on both databases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from gateway.database.engine import Database, Patience, open_database
from gateway.keys import ring as keys
from tests.database.template import config_with, embedded_database, postgresql_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from gateway.keys.ring import Key
    from tests.database.postgres import Postgres

__all__ = ["UNHURRIED", "config_with", "database", "database_keys", "database_url"]

UNHURRIED: Final = Patience(statement_s=60.0, writer_s=30.0, connect_s=30.0)
"""For tests of something else than how long a gateway waits: their machine may be busy."""


def database_keys() -> Callable[[], Sequence[Key]]:
    """Fresh, and the same at each call."""
    ring = keys.generate()
    return lambda: ring.database


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind with the schema and without a row, gone after the test; the embedded
    one is below ``state``.
    """
    if request.param == "sqlite":
        embedded_database(tmp_path / "state")  # for those who open it themselves
        yield "embedded"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = postgresql_database(server)
    yield url
    server.drop(url)


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """Prepared and empty."""
    if database_url == "embedded":
        embedded_database(tmp_path / "state")
    opened = open_database(
        config_with(tmp_path / "state", database={"url": database_url}),
        database_keys(),
        patience=UNHURRIED,
    )
    await opened.prepare()
    yield opened
    await opened.close()
