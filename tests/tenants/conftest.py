"""SQL of both kinds and a real Valkey, emptied before each test."""

from __future__ import annotations

from tests.database.fixtures import database, database_url, postgres
from tests.sessions.conftest import redis, valkey

__all__ = ["database", "database_url", "postgres", "redis", "valkey"]
