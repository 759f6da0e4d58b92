"""SQL of both kinds and a real Valkey, emptied before each test."""

from __future__ import annotations

from tests.database.fixtures import database, database_url
from tests.sessions.conftest import redis

__all__ = ["database", "database_url", "redis"]
