"""What a process of the auth role has loaded: it must be able to run where SQL and AWS libraries,
and their rights, are not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from demo.world import World
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from pathlib import Path

BANNED = {
    "sqlalchemy",
    "aiosqlite",
    "asyncpg",
    "sqlite3",
    "boto3",
    "botocore",
    "aioboto3",
    "aiobotocore",
    "gateway.database",
    "gateway.admin",
    "gateway.provisioning.runner",
}


def test_the_auth_role_loads_neither_sql_nor_aws(tmp_path: Path) -> None:
    # Python itself writes every import to the log, so a lazy import during start-up shows too.
    with RunningWorld(
        World(tmp_path / "world", replicas=2, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    ) as running:
        assert running.check("acme.localhost").status == 401
        loaded = set(re.findall(r"^import time:.*\|\s+([\w.]+)$", running.log(1), re.MULTILINE))
    assert "gateway.check.handler" in loaded
    assert {
        name
        for name in loaded
        if any(name == banned or name.startswith(f"{banned}.") for banned in BANNED)
    } == set()
