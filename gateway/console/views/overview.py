"""The first page: what needs attention first, and what the gateway did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.console.charts import HEIGHT, WIDTH, area, lengths, ticks
from gateway.console.outcome import Failed, Shown
from gateway.console.page import Page
from gateway.console.visit import address, failed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.admin.in_process import ApiAnswer
    from gateway.console.visit import Visit

WINDOWS: Final = ("hour", "day")
REASONS: Final = 5
"""That are drawn by name; the rest is one bar."""
ROWS: Final = 12
"""Of the numbers beside the charts: as many as are read."""
TENANTS: Final = 10
"""Of whoever is limited to some tenants: of how many the concerns are looked for."""


async def show_overview(visit: Visit) -> Shown | Failed:
    window = visit.text("window") if visit.text("window") in WINDOWS else WINDOWS[0]
    attention = await _attention(visit)
    if isinstance(attention, Failed):
        return attention
    # Numbers are of all tenants: whoever is limited to some of them sees none.
    everywhere = visit.operator.may_everywhere(visit.scope_of("get_activity"))
    activity: ApiAnswer | None = None
    if everywhere:
        activity = await visit.ask("get_activity", query={"window": window})
    charts = _charts(activity.document) if activity is not None and activity.ok else None
    return Shown(
        "overview",
        {
            "concerns": [(row, _to(row)) for row in attention],
            "window": window,
            "everywhere": everywhere,
            "activity": charts,
            "width": WIDTH,
            "height": HEIGHT,
        },
    )


async def _attention(visit: Visit) -> list[Mapping[str, Any]] | Failed:
    if visit.operator.may_everywhere(visit.scope_of("list_attention")):
        answer = await visit.ask("list_attention")
        return list(answer.document["items"]) if answer.ok else failed(answer)
    tenants = await visit.list_tenants({"limit": str(TENANTS)})
    if not tenants.ok:
        return failed(tenants)
    rows: list[Mapping[str, Any]] = []
    for one in tenants.document["items"]:
        tenant = one["tenant"]["id"]
        answer = await visit.ask("list_attention", tenant=tenant, query={"tenant": tenant})
        rows += answer.document["items"] if answer.ok else []
    return rows


def _charts(document: Mapping[str, Any]) -> dict[str, Any]:
    points = document["points"]

    def of(name: str) -> list[Any]:
        return [point[name] for point in points]

    denials = document["denials"][:REASONS]
    rest = sum(one["count"] for one in document["denials"][REASONS:])
    bars = [(one["name"], one["count"]) for one in denials] + ([("", rest)] if rest else [])
    widths = lengths([count for _, count in bars])
    sign_ins = [point["sign_ins"] + point["sign_ins_failed"] for point in points]
    return {
        "total": document["total"],
        "ticks": ticks(points[0]["at"], document["step_s"] * len(points)),
        "began_at": points[0]["at"],
        "charts": (
            ("sign_ins", area(sign_ins), ""),
            ("checks", area(of("checks")), ""),
            ("revocations", area(of("revocation_p99_ms")), " ms"),
            ("store", area(of("store_p99_ms")), " ms"),
        ),
        "reasons": [
            (name, count, width) for (name, count), width in zip(bars, widths, strict=True)
        ],
        "rows": [_row(points[n : n + len(points) // ROWS]) for n in _starts(len(points))],
    }


def _starts(points: int) -> range:
    return range(0, points, points // ROWS)


def _row(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Some intervals as one: sums, and the slowest."""

    def slowest(name: str) -> float | None:
        return max((p[name] for p in points if p[name] is not None), default=None)

    names = ("sign_ins", "sign_ins_failed", "checks", "denied", "revocations")
    return {
        "at": points[0]["at"],
        **{name: sum(point[name] for point in points) for name in names},
        "revocation_p99_ms": slowest("revocation_p99_ms"),
        "store_p99_ms": slowest("store_p99_ms"),
    }


def _to(row: Mapping[str, Any]) -> str:
    """Where one looks at it, and does something about it."""
    tenant, target = row["tenant"], row["target"]
    match row["kind"]:
        case "revocation_unacknowledged":
            return address(f"/revocations/{tenant}/{target}")
        case "hook_failed":
            return address("/deliveries", tenant=tenant, state="failed")
        case "hook_held":
            return address("/deliveries", tenant=tenant, state="held")
        case "hook_refused":
            return address(f"/deliveries/{tenant}/hooks")
        case "message_failed":
            return address("/deliveries", direction="out", tenant=tenant, state="failed")
        case "run_stopped":
            return address(f"/tenants/{tenant}/runs/{target}")
        case "setup_submitted":
            return address(f"/setup-links/{tenant}/{target}")
        case _:
            return address(f"/tenants/{tenant}/providers")


PAGES: Final = (Page("/overview", "list_attention", "overview", show_overview),)
