"""The small one of ``tests/soak/exactly_once.py``: real processes, real SIGKILL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.soak import exactly_once

if TYPE_CHECKING:
    from pathlib import Path


async def test_every_event_takes_effect_once_though_the_process_is_killed(tmp_path: Path) -> None:
    outcome = await exactly_once.run(tmp_path / "state", deliveries=150, kills=2, seed=7)
    assert outcome.messages > 0
