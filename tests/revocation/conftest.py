"""The session store's fixtures, and SQL of both kinds."""

from __future__ import annotations

from tests.database.fixtures import database, database_url
from tests.sessions.conftest import clock, login, redis, ring, sessions

__all__ = [
    "clock",
    "database",
    "database_url",
    "login",
    "redis",
    "ring",
    "sessions",
]
