"""Rows for every table, and what every table holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Float, Integer, String, Text, insert, null, select, update

from gateway.database.schema import metadata, row_columns, row_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Column, Table

    from gateway.database.engine import Database


def _value(column: Column[Any], number: int) -> object:
    if column.info.get("sealed"):
        return None
    match column.type:
        case String() | Text():
            return f"{number}-{column.name} ß„漢“\n"[: getattr(column.type, "length", None) or 40]
        case BigInteger():
            return number << 40
        case Integer():
            return number
        case Float():
            return 1_795_989_315.383139 + number / 7
        case _:
            return {"list": [number, 0.5, 1.0, None, "ß\n"]} if number % 2 else None


def values_of(table: Table, number: int) -> dict[str, Any]:
    """Anything that fits, with parents that are there."""
    row = {column.name: _value(column, number) for column in table.columns}
    for key in table.foreign_keys:
        row[key.parent.name] = _value(key.column, number)
    return row


def row_of(database: Database, table: Table, number: int) -> dict[str, Any]:
    row = values_of(table, number)
    name = row_name([row[column.name] for column in row_columns(table)])
    sealed = {
        column.name: database.crypt.seal(
            f"secret {number}", table=table.name, row=name, column=column.name
        )
        for column in table.columns
        if column.info.get("sealed")
    }
    return row | sealed


async def fill(database: Database, *, rows: int, only: Collection[str] = ()) -> None:
    """Rows of every table, or of these."""
    async with database.write() as connection:
        for table in metadata.sorted_tables:
            if only and table.name not in only:
                continue
            await connection.execute(
                insert(table), [row_of(database, table, number) for number in range(1, rows + 1)]
            )


async def nulls(database: Database) -> None:
    """SQL's NULL, beside JSON's, in each column that may be empty of some rows."""
    async with database.write() as connection:
        for table in metadata.sorted_tables:
            key = table.primary_key.columns[0]
            first = (await connection.execute(select(key).order_by(key).limit(1))).scalar_one()
            empty = {column.name: null() for column in table.columns if column.nullable}
            if empty:
                await connection.execute(update(table).where(key == first).values(empty))


async def everything(database: Database, *, without: str = "") -> dict[str, list[str]]:
    """Every row of every table but that one, and of each column whether it is NULL."""
    found = {}
    async with database.read() as connection:
        for table in metadata.sorted_tables:
            if table.name == without:
                continue
            is_null = [column.is_(None) for column in table.columns]
            rows = await connection.execute(select(*table.columns, *is_null))
            found[table.name] = sorted(repr([_seen(value) for value in row]) for row in rows)
    return found


def _seen(value: object) -> object:
    """SQLite says 0 and 1; PostgreSQL sorts the names of an object; 1.0 is 1 in JSON."""
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, dict | list):
        return value
    plain = json.loads(json.dumps(value), parse_float=_number)
    return json.dumps(plain, sort_keys=True)


def _number(digits: str) -> float:
    return int(float(digits)) if float(digits).is_integer() else float(digits)
