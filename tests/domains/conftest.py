"""Claims run against SQLite and against PostgreSQL."""

from __future__ import annotations

from tests.database.fixtures import database, database_url

__all__ = ["database", "database_url"]
