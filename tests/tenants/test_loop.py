"""The event loop while many tenants change: checks are answered on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.log import _Json
from gateway.tenants.document import TenantDocument
from gateway.tenants.folder_plan import Change
from tests.bench.tenants import tenant, write
from tests.support.slices import slices
from tests.tenants.test_publisher import ALICE, Rig, until

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.database.engine import Database
    from gateway.sessions.connection import RedisClient

MANY = 100
HELD_S = 0.015
"""CPU time. 0.15 ms for each on the loop: of ten thousand it would be one and a half seconds."""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_no_step_over_all_tenants_holds_the_loop(
    database: Database, redis: RedisClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One step for each tenant may; CPU time, so that a busy machine changes little."""
    caplog.set_level("INFO", logger="gateway")
    caplog.handler.setFormatter(_Json())
    folder = tmp_path / "tenants"
    folder.mkdir()
    write(folder, 0)
    rig = Rig(database, redis, folder)
    documents = [TenantDocument.model_validate(tenant(1000 + n)) for n in range(MANY)]
    try:
        await rig.started()
        replica = await rig.replica()
        first = [Change("create", "t999", None, TenantDocument.model_validate(tenant(999)), ())]
        assert await rig.tenants.apply(first, by=ALICE) is None
        await until(lambda: len(replica.table) == 2)
        with slices() as measured:
            created = [Change("create", one.id, None, one, ()) for one in documents]
            assert await rig.tenants.apply(created, by=ALICE) is None
            await until(lambda: len(replica.table) == 2 + MANY, seconds=30)
        assert measured.longest[0] < HELD_S, measured.longest
        for number in range(1, MANY):
            write(folder, number)
        with slices() as measured:
            await until(lambda: len(replica.table) == 1 + 2 * MANY, seconds=30)
        assert measured.longest[0] < HELD_S, measured.longest
    finally:
        await rig.close()
