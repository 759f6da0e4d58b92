"""What Alembic runs, for ``gateway.database.migrate`` and ``scripts/migration`` alike: on the
connection that the caller gives, within the caller's transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from alembic import context
from sqlalchemy import JSON, BigInteger

from gateway.database.migrate import OPTIONS
from gateway.database.schema import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection


def render(kind: str, item: object, _context: object) -> str | Literal[False]:
    """Types that differ between the databases, by the names that ``script.py.mako`` gives them."""
    if kind == "type" and isinstance(item, JSON):
        return "JSON"
    if kind == "type" and isinstance(item, BigInteger) and item._variant_mapping:  # noqa: SLF001 - SQLAlchemy has no other way to ask
        return "SERIAL"
    return False


connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite cannot alter most of a table: it is made again and filled.
    render_as_batch=connection.dialect.name == "sqlite",
    render_item=render,
    **OPTIONS,
)
with context.begin_transaction():
    context.run_migrations()
