"""Fail-overs and floods of real servers, small: no promise broken, nobody logged out, 503 meanwhile
or not at all. The full size is scripts/soak.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import pytest

from demo.processes import die_with_parent
from tests.soak.cut import SMALL as SMALL_CUT
from tests.soak.cut import aof_cut
from tests.soak.failovers import Outage
from tests.soak.fleet import ROOT
from tests.soak.flood_cookies import flood_cookies
from tests.soak.floods import p99
from tests.soak.isolated import command_prefix
from tests.soak.revocation import SCENARIOS, SMALL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.soak.floods import Report

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
"""The load's connections to servers that were killed are collected while they close."""


@pytest.mark.parametrize("name", ["sentinel", "cluster"])
async def test_a_fail_over_breaks_no_promise(name: str) -> None:
    await holds(name)


async def test_a_primary_that_is_cut_off_from_all_but_the_gateway_promises_nothing() -> None:
    if command_prefix() is None:
        # Relays in front of the primary; the gateway's connections of before are left alone.
        await holds("isolated")
        return
    command = [sys.executable, "-m", "tests.soak.isolated", "isolated-primary", "--small"]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()


async def test_a_store_that_comes_back_without_the_end_of_its_file_forgets_nothing_that_was_acknowledged() -> (  # noqa: E501 - a test's name is a sentence
    None
):
    rounds = await aof_cut(2, SMALL_CUT, seed=int.from_bytes(os.urandom(4)))
    assert sum(r.blocked for r in rounds) > 0


def test_an_outage_lasts_until_the_last_check_that_was_refused_and_a_second_one_is_counted() -> (
    None
):
    outage = Outage()
    for at, unavailable in (
        (0.1, False),
        (0.5, True),
        (1.0, True),
        (1.5, False),
        (2.0, True),
        (2.1, True),
        (2.5, False),
    ):
        outage.note(at, unavailable=unavailable)
    assert (outage.first, outage.last, outage.again) == (0.5, 2.1, 1)


async def holds(name: str) -> None:
    result = await SCENARIOS[name](SMALL)
    assert result.kept, str(result)
    assert result.account.unavailable > 0, "it was not noticed"


def test_a_flood_of_strangers_cookies_is_not_noticed_by_whoever_is_signed_in(
    tmp_path: Path,
) -> None:
    reports: list[Report] = []
    # A busy machine takes the processor away now and then; a flood does so always.
    while len(reports) < 3:
        folder = tmp_path / str(len(reports))
        reports.append(flood_cookies(folder, "sentinel", seconds=2, connections=100, quiet_s=1))
        report = reports[-1]
        assert report.failed == 0, str(report)
        assert report.held, str(report)
        # A machine that runs other tests beside has a quiet of its own.
        if p99(report.flooded) < 5 * max(p99(report.quiet), 0.02):
            return
    pytest.fail("\n".join(map(str, reports)))
