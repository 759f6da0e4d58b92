"""Whether a key ring is the one that this database was written with.

Cells that need a key that is not there do not open one by one, each in its own place; and what is
written meanwhile is written under another ring. So it is looked at once, before anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Text, cast, literal, select, union_all

from gateway.database.schema import row_columns, row_name, sealed_columns
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Column, ColumnElement, Dialect, Select, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.database.crypt import Crypt

_QUESTIONS: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """Of a few cells: how many there are, how many open, and what the others need."""

    cells: int
    opened: int
    missing: tuple[str, ...]
    """Ids of ``database`` keys that are not in the ring."""
    damaged: tuple[str, ...] = ()
    """Where a key with that id is in the ring, and does not open what is there."""

    @property
    def problem(self) -> str:
        """What is wrong; empty where nothing is."""
        if self.opened == self.cells:
            return ""
        what = (
            f"needs database keys {', '.join(self.missing)}, which are not in the key ring "
            "(key_ring.file)"
            if self.missing
            else f"{self.damaged[0]}: does not open with the key of that id in the key ring"
        )
        if self.opened == 0:
            return (
                f"SQL {what}: this is not the key ring that the database was written with. Put "
                "that one back (its backup); if it is lost, start with an empty database"
            )
        return (
            f"SQL {what}: some of its encrypted values are lost until a key ring that has them is "
            "put back"
        )


async def check_keys(connection: AsyncConnection, crypt: Crypt) -> KeyCheck:
    """Open the first and the last sealed cell of each table, in one question to the database."""
    rows = (await connection.exec_driver_sql(_question(connection.dialect))).all()
    count, absent_ids, damaged = 0, set(), []
    for row in rows:
        key_id = row.sealed.partition(".")[0]
        if not crypt.has(key_id):
            absent_ids.add(key_id)
            continue
        try:
            crypt.open(row.sealed, table=row.table_name, row=row.row, column=row.column_name)
        except ConfigError:
            damaged.append(f"{row.table_name}/{row.row}/{row.column_name}")
        else:
            count += 1
    return KeyCheck(len(rows), count, tuple(sorted(absent_ids)), tuple(damaged))


def _question(dialect: Dialect) -> str:
    """In the words of this kind of database, without parameters: a statement of this length takes
    longer to write than to answer.
    """
    if dialect.name not in _QUESTIONS:
        statement = union_all(*_samples())
        sql = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        _QUESTIONS[dialect.name] = str(sql)
    return _QUESTIONS[dialect.name]


def _samples() -> list[Select[tuple[str, str, str, str]]]:
    """By primary key, so that no table is read whole; of columns that no row leaves empty."""
    queries = []
    for table, column in sealed_columns():
        if not column.nullable:
            queries += [_sample(table, column, last=last) for last in (False, True)]
    return queries


def _sample(table: Table, column: Column[str], *, last: bool) -> Select[tuple[str, str, str, str]]:
    keys = list(table.primary_key.columns)
    first, *more = row_columns(table)
    row: ColumnElement[str] = cast(first, Text)
    for name in more:
        row = row.concat(row_name(("", ""))).concat(cast(name, Text))
    one = (
        select(row.label("row"), column.label("sealed"))
        .order_by(*(key.desc() if last else key.asc() for key in keys))
        .limit(1)
        .subquery()
    )
    return select(
        literal(table.name, Text).label("table_name"),
        literal(column.name, Text).label("column_name"),
        one.c.row,
        one.c.sealed,
    )
