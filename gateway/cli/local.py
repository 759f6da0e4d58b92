"""The database of this machine's configuration, for the commands that need no running gateway: the
same one that a gateway has, never a second one.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cognito.kms import key_wrapping
from gateway.config.model import load_config
from gateway.database.engine import COMMANDS, open_database
from gateway.keys import ring as keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.config.model import Config
    from gateway.database.engine import Database


@asynccontextmanager
async def configured_database(config_path: str) -> AsyncIterator[tuple[Config, Database]]:
    """Opened and checked; closed afterwards. Raises ``ConfigError`` and ``UnavailableError``."""
    config = load_config(Path(config_path))
    ring = keys.load(config.key_file, create=config.makes_key_ring, wrapping=key_wrapping(config))
    database = open_database(config, lambda: ring.database, patience=COMMANDS)
    try:
        await database.prepare()
        yield config, database
    finally:
        await database.close()
