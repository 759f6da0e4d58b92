"""Fail-overs of real servers under load, small: no promise broken, nobody logged out, 503 meanwhile. The full size is scripts/soak."""

from __future__ import annotations

import pytest

from tests.soak.revocation import SCENARIOS, SMALL

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
"""The load's connections to servers that were killed are collected while they close."""


@pytest.mark.parametrize("name", ["sentinel", "isolated", "cluster", "cut"])
async def test_a_fail_over_breaks_no_promise(name: str) -> None:
    result = await SCENARIOS[name](SMALL)
    assert result.kept, str(result)
    assert result.account.unavailable > 0, "it was not noticed"
