"""The time line of one revocation: from its receipt to the last replica."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.console.outcome import Failed, Shown
from gateway.console.page import Page
from gateway.console.visit import failed

if TYPE_CHECKING:
    from gateway.console.visit import Visit

WIDTH: Final = 640
HEIGHT: Final = 16
WITHIN_S: Final = 60.0
"""Between a revocation and its record in the audit log, at most."""
_BY_HAND: Final = ("admin", "tenant")
"""Sources of what somebody asked for over the admin API."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row with its bar. ``width`` in pixels; ``ms`` None: it has not confirmed."""

    name: str
    ms: float | None
    width: int


def lines_of(document: dict[str, Any]) -> list[Line]:
    """Durable, each replica, acknowledged; all to one scale."""
    rows: list[tuple[str, float | None]] = [
        ("durable", document["durable_ms"]),
        *((one["replica"], one["confirmed_ms"]) for one in document["replicas"]),
        ("acknowledged", document["acknowledged_ms"]),
    ]
    longest = max((ms for _, ms in rows if ms is not None), default=0.0) or 1.0
    return [
        Line(name, ms, WIDTH if ms is None else max(2, round(WIDTH * ms / longest)))
        for name, ms in rows
    ]


async def _actor(visit: Visit, revocation: dict[str, Any]) -> str:
    """Who asked for it, as the audit log says; "" where nobody did, or it may not be read."""
    if revocation["source"] not in _BY_HAND or not visit.may("list_audit"):
        return ""
    received_at = float(revocation["received_at"])
    tenant = str(revocation["tenant"])
    answer = await visit.ask(
        "list_audit",
        tenant=tenant,
        query={
            "tenant": tenant,
            "since": str(received_at - WITHIN_S),
            "until": str(received_at + WITHIN_S),
            "documents": "false",
            "limit": "200",
        },
    )
    rows = answer.document["items"] if answer.ok else ()
    actors = (
        str(row["actor"])
        for row in rows
        if row["target"] == revocation["id"] and row["outcome"] == "done"
    )
    return next(actors, "")


async def show_revocation(visit: Visit) -> Shown | Failed:
    answer = await visit.ask(
        "get_revocation",
        tenant=visit.path["tenant"],
        path={"revocation": visit.path["revocation"]},
    )
    if not answer.ok:
        return failed(answer)
    values = {
        "revocation": answer.document,
        "lines": lines_of(answer.document),
        "actor": await _actor(visit, answer.document),
    }
    return Shown("revocation", {**values, "width": WIDTH, "height": HEIGHT})


PAGES: Final = (
    Page("/revocations/{tenant}/{revocation}", "get_revocation", "sessions", show_revocation),
)
