"""Revocation under load with real processes, small: two replicas, the push channel cut, a frozen
one. The full size is scripts/soak.
"""

from __future__ import annotations

import pytest

from tests.soak.revocation import SMALL, frozen, under_load

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
"""The load's connections to replicas that were stopped are collected while they close."""


async def test_nothing_sent_after_an_acknowledgement_is_allowed_whether_a_push_comes_or_not() -> (
    None
):
    """In time, not at all, or late."""
    result = await under_load(SMALL)
    assert result.kept, str(result)
    assert result.account.allowed > 100


async def test_a_frozen_replica_delays_an_acknowledgement_by_a_staleness_and_breaks_none() -> None:
    result = await frozen(SMALL)
    assert result.kept, str(result)
