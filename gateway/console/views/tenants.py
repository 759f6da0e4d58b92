"""Tenants: find one, and read what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.console.change import version_of
from gateway.console.outcome import Failed, Shown
from gateway.console.page import Page
from gateway.console.visit import address, failed

if TYPE_CHECKING:
    from gateway.console.visit import Visit

_DRY_RUN: Final = "dry_run"
"""Outcome of a change that was only looked at."""
_STATES: Final = ("active", "inactive")
TABS: Final = ("overview", "providers", "access", "history")
_TAB: Final = "|".join(TABS[1:])


async def list_tenants(visit: Visit) -> Shown | Failed:
    search, state = visit.text("search"), visit.text("state")
    if state not in _STATES:
        state = ""
    answer = await visit.list_tenants(
        {"search": search, "state": state, "cursor": visit.text("after")}
    )
    if not answer.ok:
        return failed(answer)
    following = answer.document["next"]
    return Shown(
        "tenants",
        {
            "rows": answer.document["items"],
            "search": search,
            "state": state,
            "next": following
            and address("/tenants", search=search, state=state, after=str(following)),
            "first": not visit.text("after"),
            "may_create": visit.operator.may_everywhere(visit.scope_of("put_tenant")),
        },
    )


async def show_tenant(visit: Visit) -> Shown | Failed:
    tenant = visit.path["tenant"]
    tab = visit.path.get("tab", TABS[0])
    answer = await visit.ask("get_tenant", tenant=tenant, path={"tenant": tenant})
    if not answer.ok:
        return failed(answer)
    history: list[Any] | None = None
    following = None
    if tab == "history" and visit.may("list_audit"):
        entries = await visit.ask(
            "list_audit", tenant=tenant, query={"tenant": tenant, "cursor": visit.text("after")}
        )
        if not entries.ok:
            return failed(entries)
        items = entries.document["items"]
        history = [entry for entry in items if entry["outcome"] != _DRY_RUN]
        following = entries.document["next"]
    return Shown(
        f"tenant_{tab}",
        {
            "tenant": answer.document["tenant"],
            "origin": answer.document["origin"],
            "tab": tab,
            "tabs": [name for name in TABS if name != "history" or visit.may("list_audit")],
            "history": history,
            "versions": {e["id"] for e in history or () if version_of(e["after"]) is not None},
            "may_change": visit.may("put_tenant"),
            "may_provision": visit.may("list_runs"),
            "next": following and address(f"/tenants/{tenant}/history", after=str(following)),
        },
    )


PAGES: Final = (
    Page("/tenants", "list_tenants", "tenants", list_tenants),
    Page("/tenants/{tenant}", "get_tenant", "tenants", show_tenant),
    Page("/tenants/{tenant}/{tab}", "get_tenant", "tenants", show_tenant, parameters={"tab": _TAB}),
)
