"""Deliveries: what identity providers sent, what apps were told, and whether hooks work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.console.outcome import Failed, Moved, Shown
from gateway.console.page import Page
from gateway.console.visit import address, epoch_of, failed

if TYPE_CHECKING:
    from gateway.admin.in_process import ApiAnswer
    from gateway.console.visit import Visit

STATES: Final = {
    "in": ("new", "applied", "applied_to_nobody", "ignored", "held", "failed"),
    "out": ("new", "sent", "failed"),
}
"""Of each direction, as the API names them."""
_LIST: Final = {"in": "list_deliveries", "out": "list_messages"}
_GET: Final = {"in": "get_delivery", "out": "get_message"}
_REPLAY: Final = {"in": "replay_delivery", "out": "replay_message"}
_PARAMETER: Final = {"in": "delivery", "out": "message"}


async def list_deliveries(visit: Visit) -> Shown | Failed:
    way = "out" if visit.text("direction") == "out" else "in"
    tenant = visit.text("tenant")
    state = visit.text("state") if visit.text("state") in STATES[way] else ""
    answer = await visit.ask(
        _LIST[way],
        tenant=tenant or None,
        query={
            "tenant": tenant,
            "state": state,
            "since": epoch_of(visit.text("since")),
            "until": epoch_of(visit.text("until")),
            "cursor": visit.text("after"),
        },
    )
    if not answer.ok:
        return failed(answer)
    following = answer.document["next"]
    days = {name: visit.text(name) for name in ("since", "until")}
    filters = {"direction": way, "tenant": tenant, "state": state, **days}
    return Shown(
        "deliveries",
        {
            "rows": answer.document["items"],
            "filter": filters,
            "states": STATES[way],
            "next": following and address("/deliveries", **filters, after=str(following)),
            "may_decide": bool(tenant) and state == "held" and visit.may("decide_held"),
        },
    )


async def show_delivery(visit: Visit) -> Shown | Failed:
    answer = await _one(visit, _GET)
    if not answer.ok:
        return failed(answer)
    return Shown(
        "delivery",
        {"row": answer.document, "direction": visit.path["way"], "at": visit.path["delivery"]},
    )


async def replay(visit: Visit) -> Moved | Failed:
    answer = await _one(visit, _REPLAY)
    if not answer.ok:
        return failed(answer)
    path = f"/deliveries/{visit.path['tenant']}/{visit.path['way']}/{visit.path['delivery']}"
    return Moved(address(path), "replayed")


async def _one(visit: Visit, operations: dict[str, str]) -> ApiAnswer:
    way = visit.path["way"]
    return await visit.ask(
        operations[way],
        tenant=visit.path["tenant"],
        path={_PARAMETER[way]: visit.path["delivery"]},
    )


async def decide_held(visit: Visit) -> Moved | Failed:
    tenant, decision = visit.path["tenant"], visit.path["decision"]
    answer = await visit.ask(
        "decide_held", tenant=tenant, body={"tenant": tenant, "decision": decision}
    )
    return (
        Moved(address("/deliveries", tenant=tenant), "held_decided")
        if answer.ok
        else failed(answer)
    )


async def show_hooks(visit: Visit) -> Shown | Failed:
    """Each provider: whether what it sends arrives, over the last day."""
    tenant = visit.path["tenant"]
    answer = await visit.ask("list_hooks", tenant=tenant, path={"tenant": tenant})
    if not answer.ok:
        return failed(answer)
    rows: list[dict[str, Any]] = []
    for hook in answer.document["items"]:
        arrivals = await visit.ask(
            "test_hook", tenant=tenant, path={"tenant": tenant, "provider": hook["provider"]}
        )
        rows.append({"hook": hook, "arrived": arrivals.document if arrivals.ok else None})
    return Shown("hooks", {"tenant": tenant, "rows": rows})


_ONE: Final = "/deliveries/{tenant}/{way}/{delivery}"
_WAY: Final = {"way": "in|out"}
PAGES: Final = (
    Page("/deliveries", "list_deliveries", "deliveries", list_deliveries),
    Page("/deliveries/{tenant}/hooks", "list_hooks", "deliveries", show_hooks),
    Page(_ONE, "get_delivery", "deliveries", show_delivery, parameters=_WAY),
    Page(f"{_ONE}/replay", "replay_delivery", "deliveries", replay, form=True, parameters=_WAY),
    Page(
        "/deliveries/{tenant}/held/{decision}",
        "decide_held",
        "deliveries",
        decide_held,
        form=True,
        parameters={"decision": "release|drop"},
    ),
)
