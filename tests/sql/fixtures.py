"""Fixtures for whoever stores something in SQL: import them in a ``conftest.py``, and each test runs on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway import keys
from gateway.config import Config
from gateway.sql.database import Database, open_database
from tests.sql.postgres import Postgres, postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from gateway.keys import Key

__all__ = ["config_with", "database", "database_keys", "database_url", "postgres"]


def config_with(state_dir: Path, **more: object) -> Config:
    """The smallest configuration there is."""
    document: dict[str, object] = {
        "ingress": {"trusted_proxies": ["127.0.0.1/32"]},
        "cognito": {"region": "eu-north-1", "user_pool_id": "eu-north-1_AbCdEfGhI", "domain": "https://pool.example.com"},
        "state_dir": str(state_dir),
        "keys": {"file": str(state_dir / "keys.json")},
        **more,
    }
    return Config(**document)  # type: ignore[arg-type]  # the settings class validates untyped input


def database_keys() -> Callable[[], Sequence[Key]]:
    """Fresh, and the same at each call."""
    ring = keys.generate()
    return lambda: ring.database


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of each kind, gone after the test."""
    if request.param == "sqlite":
        yield "embedded"
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.new_database()
    yield url
    server.drop(url)


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """Prepared and empty."""
    opened = open_database(config_with(tmp_path / "state", database={"url": database_url}), database_keys())
    await opened.prepare()
    yield opened
    await opened.close()
