"""The model of docs/model/revocation.py, run to completion: the protocol holds, and every guard is
needed.
"""

from __future__ import annotations

import gc
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL: dict[str, Any] = runpy.run_path(
    str(Path(__file__).parents[2] / "docs" / "model" / "revocation.py"), run_name="model"
)
explore = MODEL["explore"]


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Millions of tuples without a cycle: a fifth of the time went into looking for one."""
    gc.disable()
    yield
    gc.enable()


def test_no_reachable_state_allows_after_the_acknowledgement() -> None:
    result = explore(replicas=1, failover=True)
    assert isinstance(result, MODEL["Completed"]), result
    assert result.states > 300_000


@pytest.mark.parametrize("guard", sorted(MODEL["GUARDS"]))
def test_the_protocol_breaks_without(guard: str) -> None:
    assert isinstance(
        explore(replicas=1, failover=True, off=frozenset({guard})), MODEL["Violation"]
    )
