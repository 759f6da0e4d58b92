"""Several workers under one supervisor, as a process."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

from demo.world import World
from tests.world import RunningWorld

if TYPE_CHECKING:
    from pathlib import Path


def test_workers_share_the_listeners_and_the_metrics_and_leave_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with RunningWorld(World(tmp_path / "world", replicas=2, workers=2, environment={"TMPDIR": str(temporary)})) as running:
        for _ in range(8):
            assert running.check("acme.localhost").status == 401
        folders = set(temporary.glob("gateway-metrics-*"))
        assert len(folders) == 2, "one for each supervisor, though their state is shared"
        with urllib.request.urlopen(f"http://127.0.0.1:{running.world.gateways[0].ports['admin']}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        assert 'gateway_checks_total{decision="login",dialect="nginx",reason="no_session",tenant="acme"} 8.0' in text
    assert set(temporary.glob("gateway-metrics-*")) == set()
