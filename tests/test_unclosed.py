"""A connection that nobody closed is told with its opener."""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING

import aiosqlite

from gateway.database.engine import open_database
from tests.database.template import config_with

if TYPE_CHECKING:
    from pathlib import Path


async def leave_open(folder: Path) -> None:
    database = open_database(config_with(folder), list)
    async with database.read() as connection:
        assert connection is not None


async def test_the_warning_names_the_test_and_the_code(tmp_path: Path) -> None:
    await leave_open(tmp_path)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        gc.collect()
    [text] = [str(warning.message) for warning in found if "SQLite" in str(warning.message)]
    assert "test_unclosed.py::test_the_warning_names_the_test_and_the_code (call)" in text
    assert "tests/test_unclosed.py:" in text
    assert "gateway/database/engine.py:" in text


async def test_who_closes_is_not_named(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()  # what tests before it left is not its own
    async with aiosqlite.connect(tmp_path / "x"):
        pass
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        gc.collect()
    assert found == []
