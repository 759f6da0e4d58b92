"""The first page and the page of health: what is shown, to whom, and what it leads to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import insert

from gateway.console.charts import HEIGHT, area, lengths, ticks
from gateway.database.schema import provision_runs, webhooks_outbox
from tests.admin.rooms import COUNTS
from tests.console.conftest import database
from tests.database.test_attention import row

if TYPE_CHECKING:
    from gateway.database.engine import Database
    from tests.console.conftest import Desk

__all__ = ["database"]


async def arrange(database: Database, desk: Desk) -> None:
    old = desk.clock() - 3600
    runs = [row(provision_runs, id=f"{t}0", tenant=t, state="undoing", started_at=old) for t in T]
    sent = [row(webhooks_outbox, id=f"m{t}", tenant=t, state="failed", created_at=old) for t in T]
    async with database.write() as connection:
        await connection.execute(insert(provision_runs), runs)
        await connection.execute(insert(webhooks_outbox), sent)


T = ("acme", "globex")
RUN, MESSAGES = "/console/tenants/acme/runs/acme0", "direction=out&amp;tenant=acme&amp;state=failed"


async def test_what_needs_attention_leads_to_where_it_is_dealt_with(
    desk: Desk, database: Database
) -> None:
    assert "Nothing needs attention." in await desk.text("/console/overview", "admins")
    await arrange(database, desk)
    page = await desk.text("/console/overview", "admins")
    assert RUN in page
    assert MESSAGES in page
    assert "Nothing needs attention." not in page


async def test_nobody_hears_of_what_their_scopes_do_not_show(
    desk: Desk, database: Database
) -> None:
    await arrange(database, desk)
    page = await desk.text("/console/overview", "onboarding")
    assert RUN in page
    assert MESSAGES not in page
    assert RUN not in await desk.text("/console/overview", "support")


async def test_whoever_is_limited_to_a_tenant_sees_its_concerns_and_no_numbers(
    desk: Desk, database: Database
) -> None:
    await arrange(database, desk)
    page = await desk.text("/console/overview", "acme-hooks")
    assert MESSAGES in page
    assert "globex" not in page
    assert "Sign-ins" not in page


async def test_numbers_are_drawn_and_told_in_figures(desk: Desk) -> None:
    for window in ("hour", "day", "century"):
        page = await desk.text(f"/console/overview?window={window}", "admins")
        assert "<dd>90</dd>" not in page
        assert f"<dd>{sum(n for c, n in COUNTS.items() if c.startswith('check:'))}</dd>" in page
        assert page.count('<path class="bar"') == 3, (
            "sign-ins, checks, revocations; no store was asked"
        )
        assert "<code>group_missing</code>" in page
        assert len(page) < 40_000


async def test_health_shows_components_processes_pools_and_faults(desk: Desk) -> None:
    page = await desk.text("/console/health", "admins")
    for text in ("1 of 1 primaries answer", "acme.yaml: bad", "auth-one-1-ab", "mail_fault"):
        assert text in page
    assert "needs attention" in page
    assert "ready, and something is wrong" in page
    assert "<code>second</code>" in page
    await desk.text("/console/health", "support", status=403)


def test_the_time_axis_has_round_times_within_the_box() -> None:
    at_ten = 1_800_007_200
    hour = ticks(at_ten + 420, 3600)
    assert [tick.label for tick in hour] == ["10:15", "10:30", "10:45", "11:00"]
    assert [round(tick.x) for tick in hour] == [43, 123, 203, 283]
    whole = ticks(at_ten, 3600)
    assert [(tick.label, tick.anchor) for tick in whole] == [
        ("10:00", "start"),
        ("10:15", "middle"),
        ("10:30", "middle"),
        ("10:45", "middle"),
        ("11:00", "end"),
    ]
    assert [tick.label for tick in ticks(at_ten, 86_400)] == ["12:00", "18:00", "00:00", "06:00"]
    assert len(ticks(at_ten, 40 * 86_400)) == 40


def test_a_chart_fills_its_box_and_leaves_out_what_was_not_measured() -> None:
    drawn = area([0, None, 4.0, 2])
    assert drawn.top == 4.0
    heights = [float(y) for y in re.findall(r"L[\d.]+ ([\d.]+)H", drawn.area)]
    assert heights == [HEIGHT, HEIGHT, 0.0, HEIGHT / 2]
    assert area([None, 0]).area == ""
    assert lengths([1000, 1, 0]) == [320, 2, 0]
    assert lengths([]) == []
