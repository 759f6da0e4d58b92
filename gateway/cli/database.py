"""The database of a configuration, for commands that run beside a gateway: the same stores, never a
second one.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.model import load_config
from gateway.database.engine import COMMANDS, open_database
from gateway.keys import ring as keys
from gateway.tenants.files import TenantFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from gateway.config.model import Config
    from gateway.database.engine import Database
    from gateway.tenants.database import TenantDatabase
    from gateway.tenants.snapshot_record import Record

POLL_S = 0.1


@asynccontextmanager
async def configured_database(config_path: str) -> AsyncIterator[tuple[Config, Database]]:
    """Opened and checked; closed afterwards. Raises ``ConfigError`` and ``UnavailableError``."""
    config = load_config(Path(config_path))
    ring = keys.load(config.key_file, create=config.makes_key_ring)
    database = open_database(config, lambda: ring.database, patience=COMMANDS)
    try:
        await database.prepare()
        yield config, database
    finally:
        await database.close()


def file_records(config: Config) -> Mapping[str, Record]:
    """What the folder of ``tenants.directory`` holds now. Raises ``ConfigError``."""
    if config.tenants.directory is None:
        return {}
    files = TenantFiles(config.tenants.directory, config)
    files.load()
    return files.records


async def in_force_within(tenants: TenantDatabase, changed: Collection[str], wait_s: float) -> bool:
    """Wait for the admin role to say in SQL that what these tenants are now is obeyed; False where
    it does not in time (none is running, perhaps).
    """
    deadline = time.monotonic() + wait_s
    revision, _ = await tenants.revision()
    while True:
        if await tenants.is_obeyed(revision, changed):
            return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL_S)
