"""After a rotation of the ``database`` keys: every sealed cell is written again under the new one.

A cell belongs to the row named by ``row_columns`` (its primary key, unless the table says
otherwise), joined with ``/`` in their order: what seals a cell must name it so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, tuple_, update

from gateway.database.schema import row_columns, row_name, sealed_columns
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Column, Table

    from gateway.database.engine import Database

BATCH = 200
"""Rows in one transaction: a writer in between waits for some milliseconds, not for the whole
table.
"""


NAMED = 10
"""Cells that an error names, of those that do not open."""


async def reencrypt(database: Database) -> int:
    """Number of cells written again. Raises ``UnavailableError``, and ``ConfigError`` where cells
    do not open: they stay as they are, and all others have been written by then.
    """
    failures: list[str] = []
    count = sum(
        [await _column(database, table, column, failures) for table, column in sealed_columns()]
    )
    if failures:
        more = f"\nand {len(failures) - NAMED} more" if len(failures) > NAMED else ""
        msg = (
            f"{len(failures)} of the stored secrets do not open, and stay as they are; all others "
            "are encrypted with the new key. Give those again, or put their key back into the "
            "key ring, then run this command again:\n" + "\n".join(failures[:NAMED]) + more
        )
        raise ConfigError(msg)
    return count


async def kids_in_use(database: Database) -> frozenset[str]:
    """Ids of the keys that some cell still needs."""
    kids: set[str] = set()
    for _table, column in sealed_columns():
        kid = (
            func.split_part(column, ".", 1)
            if database.is_postgresql
            else func.substr(column, 1, func.instr(column, ".") - 1)
        )
        async with database.read() as connection:
            rows = await connection.execute(select(kid).where(column.is_not(None)).distinct())
            kids.update(rows.scalars())
    return frozenset(kids)


async def _column(database: Database, table: Table, column: Column[Any], closed: list[str]) -> int:
    """``closed``: takes a line for each cell that does not open."""
    keys, names = tuple(table.primary_key.columns), row_columns(table)
    count, after = 0, None
    while True:
        query = (
            select(*keys, column, *(name.label(f"name_{n}") for n, name in enumerate(names)))
            .where(column.is_not(None))
            .order_by(*keys)
            .limit(BATCH)
        )
        if after is not None:
            query = query.where(tuple_(*keys) > after)
        async with database.write() as connection:
            rows = (await connection.execute(query)).all()
            for row in rows:
                key, ciphertext, row_key = row[: len(keys)], row[len(keys)], row[len(keys) + 1 :]
                if not database.crypt.is_current(ciphertext):
                    cell = {"table": table.name, "row": row_name(row_key), "column": column.name}
                    try:
                        plain = database.crypt.open(ciphertext, **cell)
                    except ConfigError as error:
                        closed.append(str(error))
                        continue
                    fresh = database.crypt.seal(plain, **cell)
                    # Only over what was read: who wrote meanwhile wrote under the new key.
                    here = [name == value for name, value in zip(keys, key, strict=True)]
                    await connection.execute(
                        update(table)
                        .where(*here, column == ciphertext)
                        .values({column.name: fresh})
                    )
                    count += 1
        if len(rows) < BATCH:
            return count
        after = tuple_(*rows[-1][: len(keys)])
