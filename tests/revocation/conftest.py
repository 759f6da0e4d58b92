"""The session store's fixtures, and SQL of both kinds."""

from __future__ import annotations

from tests.database.fixtures import database, database_url, postgres
from tests.sessions.conftest import clock, login, redis, ring, sessions, valkey

__all__ = [
    "clock",
    "database",
    "database_url",
    "login",
    "postgres",
    "redis",
    "ring",
    "sessions",
    "valkey",
]
