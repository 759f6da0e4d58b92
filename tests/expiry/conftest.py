"""What is remembered runs against SQLite and against PostgreSQL."""

from __future__ import annotations

from tests.database.fixtures import database, database_url
from tests.hooks.world import http

__all__ = ["database", "database_url", "http"]
