"""Tenants: find one, and read what it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.console.change import version_of
from gateway.console.fields import page_number
from gateway.console.outcome import FILE_HEADERS, Failed, Shown
from gateway.console.page import Page
from gateway.console.visit import address, failed

if TYPE_CHECKING:
    from gateway.console.visit import Visit

_DRY_RUN: Final = "dry_run"
"""Outcome of a change that was only looked at."""
_STATES: Final = ("active", "inactive")
TABS: Final = ("overview", "providers", "access", "domains", "removals", "history")
_NEEDS: Final = {
    "domains": "list_domains",
    "removals": "get_deprovisioning",
    "history": "list_audit",
}
"""Operations that a tab asks beside the tenant: it is absent for whoever may not."""
_OWN: Final = "|".join(TABS[1:3])
EXPIRES_WITHIN_S: Final = 30 * 86_400.0
"""How long before its end a secret or a certificate is warned of, as on the overview."""
RULES_SHOWN: Final = 100
"""Of each kind on one page of the tab *Access*: 40 kB."""


async def list_tenants(visit: Visit) -> Shown | Failed:
    search, state = visit.text("search"), visit.text("state")
    if state not in _STATES:
        state = ""
    answer = await visit.list_tenants(
        {
            # Of an address its domain: the tenants at which this person may sign in.
            "search": search.rpartition("@")[2],
            "state": state,
            "health": "true",
            "cursor": visit.text("after"),
        }
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
            "person": search if "@" in search and visit.may("list_people") else "",
            "warns_at": visit.now + EXPIRES_WITHIN_S,
            "may_create": visit.operator.may_everywhere(visit.scope_of("put_tenant")),
        },
    )


def tabs_of(visit: Visit) -> list[str]:
    return [name for name in TABS if name not in _NEEDS or visit.may(_NEEDS[name])]


async def tenant_page(visit: Visit, tab: str, **values: object) -> Shown | Failed:
    """A tab of a tenant, with what every tab shows."""
    tenant = visit.path["tenant"]
    answer = await visit.ask("get_tenant", tenant=tenant, path={"tenant": tenant})
    if not answer.ok:
        return failed(answer)
    return Shown(
        f"tenant_{tab}",
        {
            "tenant": answer.document["tenant"],
            "origin": answer.document["origin"],
            "tab": tab,
            "tabs": tabs_of(visit),
            "may_change": visit.may("put_tenant"),
            "may_provision": visit.may("list_runs"),
            **values,
        },
    )


async def show_overview(visit: Visit) -> Shown | Failed:
    return await tenant_page(visit, TABS[0])


async def show_own(visit: Visit) -> Shown | Failed:
    """A tab that shows a part of the document; ``page``: of long lists."""
    number = page_number(visit.text("page"))
    return await tenant_page(
        visit, visit.path["tab"], part=number, shown=RULES_SHOWN, first=(number - 1) * RULES_SHOWN
    )


async def show_document(visit: Visit) -> web.Response | Failed:
    """The whole document, as JSON to be read: it may have 256 kB."""
    tenant = visit.path["tenant"]
    answer = await visit.ask("get_tenant", tenant=tenant, path={"tenant": tenant})
    if not answer.ok:
        return failed(answer)
    text = json.dumps(answer.document["tenant"], indent=2, ensure_ascii=False)
    return web.Response(
        body=text.encode(), headers={"Content-Type": "application/json", **FILE_HEADERS}
    )


async def show_history(visit: Visit) -> Shown | Failed:
    tenant = visit.path["tenant"]
    entries = await visit.ask(
        "list_audit", tenant=tenant, query={"tenant": tenant, "cursor": visit.text("after")}
    )
    if not entries.ok:
        return failed(entries)
    history = [e for e in entries.document["items"] if e["outcome"] != _DRY_RUN]
    following = entries.document["next"]
    return await tenant_page(
        visit,
        "history",
        history=history,
        versions={e["id"] for e in history if version_of(e["after"]) is not None},
        next=following and address(f"/tenants/{tenant}/history", after=str(following)),
    )


PAGES: Final = (
    Page("/tenants", "list_tenants", "tenants", list_tenants),
    Page("/tenants/{tenant}", "get_tenant", "tenants", show_overview),
    Page("/tenants/{tenant}/{tab}", "get_tenant", "tenants", show_own, parameters={"tab": _OWN}),
    Page("/tenants/{tenant}/document", "get_tenant", "tenants", show_document),
    Page("/tenants/{tenant}/history", "list_audit", "tenants", show_history),
)
