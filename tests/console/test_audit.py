"""The audit log in the console: filter, pages, export."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import lxml.html
import pytest

from gateway.console.views.audit import as_csv
from tests.console.conftest import EVIL, document

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


async def record(desk: Desk, before: object, after: object, tenant: str = "acme") -> str:
    """The address of its page."""
    audit = desk.api.services.audit
    entry = await audit.begin(
        actor="key:k", action="put_tenant", tenant=tenant, target=tenant, request_id="r-1"
    )
    await audit.finish(entry, outcome="done", before=before, after=after)
    return f"/console/audit/{entry}?tenant={tenant}"


def cells(page: str) -> list[list[str]]:
    """Of the table of what differs, row by row."""
    rows = lxml.html.document_fromstring(page).xpath("//table[@class='diff']/tbody/tr")
    return [[" ".join(cell.text_content().split()) for cell in row] for row in rows]


async def test_a_record_shows_what_was_before_and_after(desk: Desk) -> None:
    before = document("acme").document
    path = await record(desk, before, {**before, "name": "Acme Ltd", "allowed_groups": ["admins"]})
    assert path in await desk.text("/console/audit", "auditors")
    page = await desk.text(path, "auditors")
    assert ["name", "Acme", "Acme Ltd"] in cells(page)
    assert len(cells(page)) == 2
    assert "r-1" in page
    other = await record(desk, {"state": "failed", "rows": [{"a": 1}]}, {"state": "new"})
    assert cells(await desk.text(other, "auditors")) == [
        ["state", "failed", "new"],
        ["rows.0.a", "1", "not set"],
    ]
    nothing = await desk.text(await record(desk, None, None), "auditors")
    assert "nothing before and after" in nothing


async def test_a_long_record_is_cut_and_told_and_whole_in_its_document(desk: Desk) -> None:
    path = await record(desk, None, {f"key{n}": "x" * 500 for n in range(500)})
    page = await desk.text(path, "auditors")
    assert len(page.encode()) < 60_000
    assert f"{500 - len(cells(page))} more are in the whole record." in page
    whole = await desk.get(path.replace("?", "/document?"), "auditors")
    assert whole.headers["Content-Type"] == "application/json"
    assert len((await whole.json())["after"]) == 500
    one = await desk.text(await record(desk, None, {"key": "x" * 200_000}), "auditors")
    assert "1 more are in the whole record." in one


async def test_nothing_in_a_record_becomes_markup(desk: Desk) -> None:
    path = await record(desk, {EVIL: EVIL, "providers": [EVIL]}, {"list": [EVIL, {EVIL: EVIL}]})
    page = await desk.text(path, "auditors")
    assert "<script>alert" not in page
    assert "<img" not in page


async def test_a_record_of_another_tenant_is_not_found(desk: Desk) -> None:
    globex = await record(desk, None, {"name": "only-globex"}, tenant="globex")
    for path in (globex.replace("=globex", "=acme"), globex.partition("?")[0], globex):
        for address in (path, path.replace("?", "/document?")):
            response = await desk.get(address, "acme-team")
            assert response.status in {403, 404}, address
            assert "only-globex" not in await response.text()


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
