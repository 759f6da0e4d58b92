from __future__ import annotations

from tests.admin.conftest import clock, database

__all__ = ["clock", "database"]
