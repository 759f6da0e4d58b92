"""The audit log: filter, one record with what it changed, and export."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.console.change import changes_of
from gateway.console.outcome import FILE_HEADERS, Failed, Shown
from gateway.console.page import Page
from gateway.console.visit import address, epoch_of, failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.admin.in_process import ApiAnswer
    from gateway.console.change import Row
    from gateway.console.visit import Visit

FIELDS: Final = ("tenant", "actor", "action")
READS: Final = ("include", "only")
EXPORT_PAGES: Final = 50
"""Of 200 records each: what is exported is a page of work, and not the whole log."""
SHOWN_BYTES: Final = 30_000
"""Of a record's keys and values on its page: the rest is in its JSON."""
ROW_BYTES: Final = 200
"""Of markup around each of them."""
_COLUMNS: Final = ("id", "at", "actor", "action", "tenant", "target", "outcome", "request_id")
_DOCUMENTS: Final = ("before", "after")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def _filter(visit: Visit) -> dict[str, str | None]:
    filters: dict[str, str | None] = {name: visit.text(name) for name in FIELDS}
    for name, day in (("since", visit.text("since")), ("until", visit.text("until"))):
        filters[name] = epoch_of(day)
    reads = visit.text("reads")
    filters["reads"] = reads if reads in READS else None
    return filters


def _shown(visit: Visit) -> dict[str, str]:
    return {name: visit.text(name) for name in (*FIELDS, "since", "until", "reads")}


async def list_audit(visit: Visit) -> Shown | Failed:
    filters, form_values = _filter(visit), _shown(visit)
    answer = await visit.ask(
        "list_audit",
        tenant=form_values["tenant"] or None,
        query={**filters, "documents": "false", "cursor": visit.text("after")},
    )
    if not answer.ok:
        return failed(answer)
    following = answer.document["next"]
    return Shown(
        "audit",
        {
            "rows": answer.document["items"],
            "filter": form_values,
            "again": address("/audit", **form_values),
            "next": following and address("/audit", **form_values, after=str(following)),
            "exports": {
                kind: address(f"/audit/export/{kind}", **form_values) for kind in ("jsonl", "csv")
            },
        },
    )


async def show_record(visit: Visit) -> Shown | Failed:
    """Key by key, before and after."""
    answer = await _record(visit)
    if not answer.ok:
        return failed(answer)
    entry = answer.document
    rows = changes_of(entry["before"], entry["after"])
    shown = rows[: _shown_rows(rows)]
    return Shown("audit_record", {"entry": entry, "rows": shown, "rest": len(rows) - len(shown)})


def _shown_rows(rows: Sequence[Row]) -> int:
    """How many fit into a page: a document may have 256 kB."""
    total = 0
    for number, row in enumerate(rows):
        total += sum(len(str(part)) for part in (row.key, row.before, row.after)) + ROW_BYTES
        if total > SHOWN_BYTES:
            return number
    return len(rows)


async def show_record_document(visit: Visit) -> web.Response | Failed:
    """The whole record, as JSON to be read."""
    answer = await _record(visit)
    if not answer.ok:
        return failed(answer)
    text = json.dumps(answer.document, indent=2, ensure_ascii=False)
    return web.Response(
        body=text.encode(), headers={"Content-Type": "application/json", **FILE_HEADERS}
    )


async def _record(visit: Visit) -> ApiAnswer:
    tenant = visit.text("tenant") or None
    return await visit.ask("get_audit", tenant=tenant, path={"entry": visit.path["entry"]})


async def export_audit(visit: Visit) -> web.StreamResponse | Failed:
    filters, tenant = _filter(visit), visit.text("tenant") or None
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(EXPORT_PAGES):
        answer = await visit.ask(
            "list_audit", tenant=tenant, query={**filters, "cursor": cursor, "limit": "200"}
        )
        if not answer.ok:
            return failed(answer)
        rows += answer.document["items"]
        cursor = answer.document["next"]
        if cursor is None:
            break
    kind = visit.path["kind"]
    await visit.record.write(
        visit.operator.person,
        "exported",
        target=f"audit.{kind}",
        tenant=tenant,
        after={"filter": {n: v for n, v in _shown(visit).items() if v}, "records": len(rows)},
    )
    text = as_csv(rows) if kind == "csv" else "".join(json.dumps(row) + "\n" for row in rows)
    return web.Response(
        body=text.encode(),
        headers={
            "Content-Type": "text/csv; charset=utf-8" if kind == "csv" else "application/jsonl",
            "Content-Disposition": f'attachment; filename="audit.{kind}"',
            **FILE_HEADERS,
        },
    )


def as_csv(rows: list[dict[str, Any]]) -> str:
    """RFC 4180. What a spreadsheet would take for a formula is marked as text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow((*_COLUMNS, *_DOCUMENTS))
    for row in rows:
        at = datetime.fromtimestamp(row["at"], tz=UTC).isoformat()
        cells = [at if name == "at" else row[name] for name in _COLUMNS]
        cells += [json.dumps(row[name]) if row[name] is not None else "" for name in _DOCUMENTS]
        writer.writerow([_as_text(cell) for cell in cells])
    return out.getvalue()


def _as_text(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


PAGES: Final = (
    Page("/audit", "list_audit", "audit", list_audit),
    Page("/audit/{entry}", "get_audit", "audit", show_record),
    Page("/audit/{entry}/document", "get_audit", "audit", show_record_document),
    Page(
        "/audit/export/{kind}",
        "list_audit",
        "audit",
        export_audit,
        parameters={"kind": "jsonl|csv"},
    ),
)
