"""``gateway ingress render`` beside the stores of a gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import yaml

from gateway.cli import run
from gateway.config.model import load_config
from gateway.database.engine import open_database
from gateway.keys import ring as keys
from gateway.tenants.database import TenantDatabase
from gateway.tenants.document import TenantDocument
from gateway.tenants.stored import Actor
from tests.tenants.samples import sample, write

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from gateway.config.model import Config


async def store(config: Config, document: TenantDocument) -> None:
    ring = keys.load(config.key_file, create=True)
    database = open_database(config, lambda: ring.database)
    try:
        await database.prepare()
        await TenantDatabase(database, config).put(document, version=None, by=Actor("test"))
    finally:
        await database.close()


def test_hosts_of_tenants_in_files_and_in_sql_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served, config = tmp_path / "served", tmp_path / "gateway.yaml"
    write(served, sample("filed", hosts=["filed.example.com"]))
    document = {
        "ingress": {"keys": ["k" * 32]},
        "login_host": "login.example.com",
        "cognito": {
            "region": "eu-north-1",
            "user_pool_id": "eu-north-1_AbCdEfGhI",
            "domain": "https://pool.example.com",
        },
        "state_dir": str(tmp_path / "state"),
        "tenants": {"directory": str(served)},
    }
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    stored = sample("stored", hosts=["stored.example.com", "*.stored.example.com"])
    asyncio.run(store(load_config(config), TenantDocument.model_validate(stored)))

    def rendered(*options: str) -> str:
        assert run(["ingress", "render", "nginx", "-c", str(config), *options]) == 0
        return capsys.readouterr().out

    names, below = "filed.example.com stored.example.com", "*.stored.example.com"
    assert f"server_name {names} {below};" in rendered("--known-hosts")
    assert f"server_name {names} more.example.com {below};" in rendered(
        "--known-hosts", "--host", "more.example.com"
    )
    assert "filed.example.com" not in rendered("--host", "more.example.com")
    every = rendered()
    assert "filed.example.com" not in every
    assert "listen 0.0.0.0:443 default_server;" in every
