"""SQL on a disk that is full: what is acknowledged is kept, the rest is refused so that its sender
repeats it, and it is over when there is room again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from gateway.database import engine as database_module
from gateway.database.engine import open_database
from gateway.runtime.database_probes import probe_database
from gateway.runtime.health import bounded
from tests.database.fixtures import config_with, database_keys
from tests.database.postgres import Postgres
from tests.hooks.samples import okta_delivery, okta_event
from tests.hooks.world import SECRET, hooks_world
from tests.support.small_disk import may_mount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import aiohttp
    from sqlalchemy import Connection

    from gateway.database.engine import Database

ROOM_BYTES = 96 << 20
UNLIMITED_PAGES = 1 << 30


@pytest.fixture(params=["sqlite", "postgresql"])
async def filled(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Database, Callable[[], AbstractContextManager[None]]]]:
    """A database, and what fills its disk for a while."""
    async with contextlib.AsyncExitStack() as stack:
        url, postgres = "embedded", None
        if request.param == "postgresql":
            if not may_mount():
                pytest.skip("PostgreSQL on a full disk: mounting a small file system needs root")
            postgres = await asyncio.to_thread(Postgres, room_bytes=ROOM_BYTES)
            stack.callback(postgres.remove)
            await asyncio.to_thread(postgres.start)
            url = postgres.new_database()
        opened = open_database(
            config_with(tmp_path / "state", database={"url": url}), database_keys()
        )
        stack.push_async_callback(opened.close)
        await opened.prepare()
        if postgres is None:
            yield opened, lambda: no_more_pages(opened)
        else:
            assert postgres.disk is not None
            yield opened, postgres.disk.full


@contextlib.contextmanager
def no_more_pages(database: Database) -> Iterator[None]:
    """What SQLite reports as a full disk, in the transactions that begin meanwhile."""
    full = True

    @event.listens_for(database._engine.sync_engine, "begin")
    def _begun(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages if full else UNLIMITED_PAGES}")

    yield
    full = False


async def test_on_a_full_disk_hooks_are_refused_nothing_acknowledged_is_lost_and_readiness_says_why(
    filled: tuple[Database, Callable[[], AbstractContextManager[None]]],
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened, full = filled
    monkeypatch.setattr(database_module, "REFUSED_S", 0.5)
    answers: dict[int, int] = {}
    async with hooks_world(opened, http) as world:

        async def send(number: int) -> None:
            said = okta_event("user.lifecycle.suspend", uuid=f"u-{number}", user=f"00u{number}")
            delivery = okta_delivery(said, event_id=f"e-{number}")
            async with http.post(
                f"{world.url}/hooks/okta/acme/acme-okta",
                json=delivery,
                headers={"Authorization": SECRET},
            ) as response:
                answers[number] = response.status
                assert response.status == 200 or (
                    response.status == 503 and int(response.headers["Retry-After"]) > 0
                )

        await send(0)
        with full():
            async with asyncio.timeout(60):
                while list(answers.values()).count(503) < 5:
                    await send(len(answers))
            finding = await bounded("database", lambda: probe_database(opened), needed=True)
            assert not finding.ok
            assert "takes no writes" in finding.detail
        refused = [number for number, status in answers.items() if status == 503]
        for number in refused:
            async with asyncio.timeout(20):
                while answers[number] != 200:
                    await send(number)
        await world.settled()
        told = {
            request.who.idp_subject for verb, request in world.revoker.calls if verb == "revoke"
        }
        assert told >= {f"00u{number}" for number in answers}
        async with asyncio.timeout(20):
            while not (await bounded("database", lambda: probe_database(opened), needed=True)).ok:  # noqa: ASYNC110 - time passes
                await asyncio.sleep(0.05)
