"""The schema made once per test process: each database of a test begins as a copy, as ``prepare``
would have left it.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config.model import EMBEDDED_DATABASE, Config
from gateway.database.engine import open_database
from gateway.keys import ring as keys

if TYPE_CHECKING:
    from tests.database.postgres import Postgres


def config_with(state_dir: Path, **more: object) -> Config:
    """The smallest configuration there is."""
    document: dict[str, object] = {
        "ingress": {"trusted_proxies": ["127.0.0.1/32"]},
        "cognito": {
            "region": "eu-north-1",
            "user_pool_id": "eu-north-1_AbCdEfGhI",
            "domain": "https://pool.example.com",
        },
        "state_dir": str(state_dir),
        "key_ring": {"file": str(state_dir / "keys.json")},
        **more,
    }
    return Config(**document)  # type: ignore[arg-type]  # the settings class validates untyped input


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gateway-schema-"))
    atexit.register(shutil.rmtree, folder)
    _prepare(f"sqlite+aiosqlite:///{folder / EMBEDDED_DATABASE}")
    return folder / EMBEDDED_DATABASE


def embedded_database(state_dir: Path) -> None:
    """Put an empty database of this release below ``state_dir`` unless one is there, with the key
    ring that the first start has made beside it: beside data a missing one is not made anew.
    """
    path = state_dir / EMBEDDED_DATABASE
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        shutil.copyfile(_template(), path)
        keys.load(state_dir / "keys.json", create=True)


@functools.cache
def _like(server: Postgres) -> str:
    url = server.new_database()
    _prepare(url)
    return url.rpartition("/")[2]


def postgresql_database(server: Postgres) -> str:
    """The URL of an empty database of this release."""
    return server.new_database(like=_like(server))


def _prepare(url: str) -> None:
    """In a thread, for a test's event loop may be running."""

    async def prepare() -> None:
        with tempfile.TemporaryDirectory() as folder:
            database = open_database(config_with(Path(folder), database={"url": url}), list)
            await database.prepare()
            await database.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, prepare()).result()
