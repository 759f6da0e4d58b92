"""The small one of ``tests/soak/hook_to_deny.py``: a hook on one listener, a refused check on
another process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.soak import hook_to_deny

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_hook_ends_the_session_at_a_replica_of_its_own_process(tmp_path: Path) -> None:
    outcome = await hook_to_deny.run(tmp_path, people=3, deliveries=60, replicas=1, parallel=2)
    assert len(outcome.first) == 3
