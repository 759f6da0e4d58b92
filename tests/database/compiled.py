"""What SQLAlchemy has compiled is kept from test to test: each has an engine of its own, which
would compile every statement anew.

What a statement becomes depends on its dialect, so that two of one kind count as the same here. How
many statements are kept is a matter of the process, not of an engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from sqlalchemy.util import LRUCache

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect, Engine

KEPT: Final = 3000
KINDS: Final = (PGDialect_asyncpg, SQLiteDialect_aiosqlite)


def compile_once() -> None:
    """From here on in this process."""
    known: LRUCache[Any, Any] = LRUCache(KEPT)

    def share(engine: Engine) -> None:
        engine._compiled_cache = known

    for kind in KINDS:
        for name, method in (("__hash__", _hash), ("__eq__", _is_equal)):
            setattr(kind, name, method)
        setattr(kind, "engine_created", share)  # noqa: B010 - a hook of the library


def _hash(dialect: Dialect) -> int:
    return hash(type(dialect))


def _is_equal(dialect: Dialect, other: object) -> bool:
    return type(dialect) is type(other)
