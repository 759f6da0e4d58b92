"""What ``config check`` demands of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.app import probe_demands
from gateway.cli import run
from gateway.config import Redis as RedisSettings
from gateway.config import load_config
from gateway.core.model import Secret
from gateway.sessions.connect import connect
from gateway.sessions.demands import Demand, demands
from gateway.sessions.reading import Readers

from . import servers

if TYPE_CHECKING:
    from pathlib import Path

    from gateway import keys


async def ask(settings: RedisSettings, ring: keys.KeyRing, *, speakers: tuple[str, ...] = ()) -> dict[str, Demand]:
    link = connect(settings)
    try:
        for name in speakers:
            await Readers(link, lambda: ring).say(name)
        return {demand.name: demand for demand in await demands(link, settings, lambda: ring)}
    finally:
        await link.close()


@pytest.mark.parametrize(("policy", "ok"), [("noeviction", True), ("allkeys-lru", False), ("volatile-ttl", False)])
async def test_nothing_may_be_evicted(tmp_path: Path, ring: keys.KeyRing, *, policy: str, ok: bool) -> None:
    with servers.running(tmp_path, "--maxmemory-policy", policy) as server:
        found = await ask(RedisSettings(url=Secret(f"redis://127.0.0.1:{server.port}")), ring)
    assert found["redis eviction"].ok is ok
    assert policy in found["redis eviction"].detail
    assert "redis replicas" not in found


@pytest.mark.parametrize(("options", "ok"), [((), False), (("--min-replicas-to-write", "1"), True)], ids=["not_set", "set"])
async def test_under_sentinel_a_primary_alone_may_not_write(tmp_path: Path, ring: keys.KeyRing, *, options: tuple[str, ...], ok: bool) -> None:
    with servers.sentinel(tmp_path, options=options) as (_primary, _replica, watcher):
        found = await ask(RedisSettings(url=Secret(f"redis+sentinel://127.0.0.1:{watcher.port}/gw")), ring)
    assert found["redis replicas"].ok is ok
    assert "min-replicas-to-write" in found["redis replicas"].detail


@pytest.mark.parametrize(
    ("speakers", "ok"),
    [((), True), (("auth-a",), False), (("auth-a", "admin-b"), True), (("all-a",), True)],
    ids=["nothing_runs", "auth_alone", "both_roles", "one_process"],
)
async def test_where_the_gateway_runs_somebody_has_the_admin_role(tmp_path: Path, ring: keys.KeyRing, *, speakers: tuple[str, ...], ok: bool) -> None:
    with servers.running(tmp_path) as server:
        found = await ask(RedisSettings(url=Secret(f"redis://127.0.0.1:{server.port}")), ring, speakers=speakers)
    assert found["admin role"].ok is ok


async def test_each_primary_of_a_cluster_is_asked(tmp_path: Path, ring: keys.KeyRing) -> None:
    with servers.cluster(tmp_path) as nodes:
        nodes[1].ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        settings = RedisSettings(url=Secret(f"redis+cluster://127.0.0.1:{nodes[0].port}"))
        link = connect(settings)
        found = await demands(link, settings, lambda: ring)
        await link.close()
    assert sorted(demand.ok for demand in found if demand.name == "redis eviction") == [False, True, True]


@pytest.mark.parametrize(("policy", "code"), [("noeviction", 0), ("allkeys-lru", 1)])
async def test_config_check_fails_and_says_why(tmp_path: Path, *, policy: str, code: int) -> None:
    with servers.running(tmp_path / "valkey", "--maxmemory-policy", policy) as server:
        path = tmp_path / "gateway.yaml"
        path.write_text(
            "ingress: {trusted_proxies: [127.0.0.1/32]}\n"
            "cognito: {region: eu-north-1, user_pool_id: eu-north-1_AbCdEfGhI, domain: https://pool.example.com}\n"
            f"redis: {{url: 'redis://127.0.0.1:{server.port}'}}\nstate_dir: {tmp_path}\nkeys: {{file: {tmp_path / 'keys.json'}}}\n"
        )
        assert run(["keys", "rotate", "--create", "-c", str(path)]) == 0
        link = connect(load_config(path).redis)
        finding = await probe_demands(link, load_config(path))
        await link.close()
    assert finding.ok is (code == 0)
    assert ("way back in" in finding.detail) is (code == 1)
