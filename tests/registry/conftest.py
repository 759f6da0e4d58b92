from __future__ import annotations

from tests.sql.fixtures import database, database_url, postgres

__all__ = ["database", "database_url", "postgres"]
