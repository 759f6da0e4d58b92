"""SQLAlchemy's aiosqlite driver with one visit to the connection's thread for each statement.

The driver visits it four times: to make a cursor, execute, fetch, and close it. On a busy machine
each visit waits twice for a processor, which is most of what a short transaction takes.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class _Finished:
    """What is left of a cursor that was closed, under the names of the DB-API."""

    description: Any = None
    rowcount: int = -1
    lastrowid: int | None = None


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    __slots__ = ()
    _cursor: Any
    _connection: Any

    def __init__(self, adapt_connection: AsyncAdapt_aiosqlite_connection) -> None:
        self._adapt_connection = adapt_connection
        self._connection = adapt_connection.driver_connection
        self._cursor = _Finished()
        self._rows = deque()

    @property
    def description(self) -> Any:
        return self._cursor.description

    async def _execute_async(self, operation: Any, parameters: Any) -> None:
        await self._visit(_execute, operation, () if parameters is None else parameters)

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> None:
        await self._visit(_execute_many, operation, seq_of_parameters)

    async def _visit(self, work: Any, *arguments: Any) -> None:
        # aiosqlite has no public way to do two things in one visit; its own methods are made of
        # this one. What SQLAlchemy guards with its mutex, the thread's queue keeps in order.
        visit, raw = self._connection._execute, self._connection._conn  # noqa: SLF001
        self._cursor, rows = await visit(work, raw, *arguments)
        self._rows = deque(rows)

    async def _async_soft_close(self) -> None:
        """It is closed."""

    def close(self) -> None:
        self._rows.clear()


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()
    _cursor_cls: Any = _Cursor


class Driver(AsyncAdapt_aiosqlite_dbapi):
    """For ``create_async_engine(module=…)``."""

    def __init__(self) -> None:
        super().__init__(aiosqlite, sqlite3)

    def connect(self, *arguments: Any, **options: Any) -> _Connection:
        connection = super().connect(*arguments, **options)
        return _Connection(self, connection.driver_connection)


def _execute(
    connection: sqlite3.Connection, operation: str, parameters: Any
) -> tuple[_Finished, Sequence[Any]]:
    cursor = connection.execute(operation, parameters)
    try:
        return _result(cursor)
    finally:
        cursor.close()


def _execute_many(
    connection: sqlite3.Connection, operation: str, parameters: Any
) -> tuple[_Finished, Sequence[Any]]:
    cursor = connection.executemany(operation, parameters)
    try:
        return _result(cursor)
    finally:
        cursor.close()


def _result(cursor: sqlite3.Cursor) -> tuple[_Finished, Sequence[Any]]:
    rows = cursor.fetchall() if cursor.description else ()
    return _Finished(cursor.description, cursor.rowcount, cursor.lastrowid), rows
