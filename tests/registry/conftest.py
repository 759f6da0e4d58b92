"""SQL of both kinds and a real Valkey, emptied before each test."""

from __future__ import annotations

from tests.sessions.conftest import link, valkey
from tests.sql.fixtures import database, database_url, postgres

__all__ = ["database", "database_url", "link", "postgres", "valkey"]
