"""The database of a configuration, for commands that run beside a gateway: the same stores, never a second one."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import keys
from gateway.config import load_config
from gateway.sql.database import open_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.config import Config
    from gateway.sql.database import Database


@asynccontextmanager
async def configured_database(config_path: str) -> AsyncIterator[tuple[Config, Database]]:
    """Opened and checked; closed afterwards. Raises ``ConfigError`` and ``UnavailableError``."""
    config = load_config(Path(config_path))
    ring = keys.load(config.key_file, create=config.keys is None)
    database = open_database(config, lambda: ring.database)
    try:
        await database.prepare()
        yield config, database
    finally:
        await database.close()
