"""Everything that stores runs against SQLite and against PostgreSQL."""

from __future__ import annotations

from tests.hooks.world import http, world
from tests.sql.fixtures import database, database_url, postgres

__all__ = ["database", "database_url", "http", "postgres", "world"]
