"""The audit log in the console: filter, pages, export."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

from gateway.console.views.audit import as_csv

if TYPE_CHECKING:
    from tests.console.conftest import Desk


async def write(desk: Desk, count: int, tenant: str = "acme", target: str = "t") -> None:
    audit = desk.api.services.audit
    for _ in range(count):
        entry = await audit.begin(
            actor="key:k", action="put_tenant", tenant=tenant, target=target, request_id="r"
        )
        await audit.finish(entry, outcome="done", before=None, after={"name": "x"})


async def test_records_are_filtered_and_paged(desk: Desk) -> None:
    await write(desk, 55)
    await write(desk, 1, tenant="globex", target="only-globex")
    text = await desk.text("/console/audit?tenant=acme", "auditors")
    assert text.count('<th scope="row"') == 50
    assert 'rel="next"' in text
    assert "only-globex" not in text
    assert "only-globex" in await desk.text("/console/audit?action=put_tenant", "auditors")
    assert "No records match." in await desk.text("/console/audit?since=2090-01-01", "auditors")
    assert "No records match." in await desk.text("/console/audit?actor=nobody", "auditors")


async def test_what_a_page_showed_of_people_is_on_record_and_shown_when_asked_for(
    desk: Desk,
) -> None:
    await write(desk, 1)
    await desk.text("/console/sessions?tenant=acme&email=alice@acme.test", "support")
    assert desk.api.services.reads is not None
    await desk.api.services.reads.log.round()
    assert "list_sessions" not in await desk.text("/console/audit", "auditors")
    both = await desk.text("/console/audit?reads=include", "auditors")
    assert "list_sessions" in both
    assert "put_tenant" in both
    only = await desk.text("/console/audit?reads=only", "auditors")
    assert "person:dana-sub" in only
    assert "?email=alice@acme.test" in only
    assert "requests: 1, rows: 5" in only
    assert "put_tenant" not in only


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
async def test_an_export_holds_what_the_filter_shows_and_is_not_shown_by_the_browser(
    desk: Desk, kind: str
) -> None:
    await write(desk, 250)
    await write(desk, 1, tenant="globex")
    response = await desk.get(f"/console/audit/export/{kind}?tenant=acme", "auditors")
    assert response.status == 200
    assert response.headers["Content-Disposition"].startswith("attachment;")
    assert response.headers["Cache-Control"] == "no-store"
    text = await response.text()
    rows = (
        [json.loads(line) for line in text.splitlines()]
        if kind == "jsonl"
        else list(csv.DictReader(io.StringIO(text)))
    )
    assert len(rows) == 250
    assert {row["tenant"] for row in rows} == {"acme"}


async def test_whoever_is_limited_to_a_tenant_reads_and_exports_its_records_only(
    desk: Desk,
) -> None:
    await write(desk, 1)
    await desk.text("/console/audit?tenant=acme", "acme-team")
    for path in ("/console/audit", "/console/audit?tenant=globex", "/console/audit/export/csv"):
        await desk.text(path, "acme-team", status=403)


def test_a_spreadsheet_takes_no_cell_for_a_formula() -> None:
    row = {
        "id": 1,
        "at": 0.0,
        "actor": "=cmd()",
        "action": "+1",
        "tenant": "-1",
        "target": '@SUM("a",1)',
        "outcome": "done",
        "request_id": "r",
        "before": None,
        "after": {"name": "x"},
    }
    cells = next(csv.DictReader(io.StringIO(as_csv([row]))))
    assert (cells["actor"], cells["action"], cells["tenant"]) == ("'=cmd()", "'+1", "'-1")
    assert cells["target"] == '\'@SUM("a",1)'
    assert cells["before"] == ""
