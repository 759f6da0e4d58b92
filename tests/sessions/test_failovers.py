"""Fail-overs and floods of real servers, small: no promise broken, nobody logged out, 503 meanwhile or not at all. The full size is scripts/soak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.soak.flood_cookies import flood_cookies
from tests.soak.floods import p99
from tests.soak.revocation import SCENARIOS, SMALL

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
"""The load's connections to servers that were killed are collected while they close."""


@pytest.mark.parametrize("name", ["sentinel", "isolated", "cluster", "cut"])
async def test_a_fail_over_breaks_no_promise(name: str) -> None:
    result = await SCENARIOS[name](SMALL)
    assert result.kept, str(result)
    assert result.account.unavailable > 0, "it was not noticed"


def test_a_flood_of_strangers_cookies_is_not_noticed_by_whoever_is_signed_in(tmp_path: Path) -> None:
    report = flood_cookies(tmp_path, "sentinel", seconds=2, connections=100, quiet_s=1)
    assert report.failed == 0, str(report)
    assert report.held, str(report)
    # A machine that runs other tests beside has a quiet of its own.
    assert p99(report.flooded) < 5 * max(p99(report.quiet), 0.02), str(report)
