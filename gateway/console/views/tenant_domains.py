"""A tenant's domains, with what DNS says of each; and whether removals at its identity providers
are told completely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.console.change import Change, load, preview, store
from gateway.console.outcome import Failed, Moved, Shown
from gateway.console.page import Page
from gateway.console.views.tenants import tenant_page
from gateway.console.visit import address, failed
from gateway.domains.state import HELD, NOT_PROVEN

if TYPE_CHECKING:
    from gateway.admin.in_process import ApiAnswer
    from gateway.console.visit import Visit

_TYPED_WRONG: Final = frozenset({400, 409})


async def show_domains(visit: Visit) -> Shown | Failed:
    return await _domains(visit)


async def _domains(visit: Visit, *, problem: str = "", typed: str = "") -> Shown | Failed:
    tenant = visit.path["tenant"]
    answer = await visit.ask("list_domains", tenant=tenant, path={"tenant": tenant})
    if not answer.ok:
        return failed(answer)
    shown = await tenant_page(
        visit,
        "domains",
        rows=answer.document["items"],
        problem=problem,
        typed=typed,
        may_vouch=visit.operator.may_everywhere(visit.scope_of("vouch_domain")),
    )
    if isinstance(shown, Failed) or not problem:
        return shown
    return Shown(shown.template, shown.values, status=422)


async def add_domain(visit: Visit) -> Shown | Moved | Failed:
    tenant, typed = visit.path["tenant"], visit.form.get("domain", "").strip()
    answer = await visit.ask(
        "add_domain", tenant=tenant, path={"tenant": tenant}, body={"domain": typed}
    )
    return await _done(visit, answer, "domain_added", typed=typed)


async def check_domain(visit: Visit) -> Shown | Moved | Failed:
    return await _done(visit, await _one(visit, "check_domain"), "domain_checked")


async def use_domain(visit: Visit) -> Shown | Moved | Failed:
    """Shows who would get in, as for any other change of the tenant."""
    tenant, name = visit.path["tenant"], visit.path["domain"]
    answer = await visit.ask("list_domains", tenant=tenant, path={"tenant": tenant})
    if not answer.ok:
        return failed(answer)
    states = {row["domain"]: row["state"] for row in answer.document["items"]}
    if states.get(name) not in HELD:
        return await _domains(visit, problem=NOT_PROVEN)
    stored = await load(visit, tenant)
    if isinstance(stored, Failed):
        return stored
    domains = list(dict.fromkeys((*stored.document["email_domains"], name)))
    document = {**stored.document, "email_domains": domains}
    change = Change(tenant, document, stored.etag, ("email_domains",), "", name)
    answer = await store(visit, change, dry_run=True)
    return preview(visit, change, answer) if answer.ok else await _done(visit, answer, "")


async def vouch_domain(visit: Visit) -> Shown | Moved | Failed:
    reason = visit.form.get("reason", "").strip()
    answer = await _one(visit, "vouch_domain", body={"reason": reason})
    return await _done(visit, answer, "domain_vouched")


async def remove_domain(visit: Visit) -> Shown | Moved | Failed:
    return await _done(visit, await _one(visit, "remove_domain"), "domain_removed")


async def _one(visit: Visit, operation: str, *, body: object | None = None) -> ApiAnswer:
    path = {name: visit.path[name] for name in ("tenant", "domain")}
    return await visit.ask(operation, tenant=path["tenant"], path=path, body=body)


async def _done(
    visit: Visit, answer: ApiAnswer, notice: str, *, typed: str = ""
) -> Shown | Moved | Failed:
    """The list again: with what was done, or with what the API says is wrong."""
    if answer.ok:
        return Moved(address(f"/tenants/{visit.path['tenant']}/domains"), notice)
    if answer.status not in _TYPED_WRONG:
        return failed(answer)
    errors = [str(one["problem"]) for one in answer.document.get("errors", ())]
    return await _domains(visit, problem="; ".join(errors) or answer.detail, typed=typed)


async def show_removals(visit: Visit) -> Shown | Failed:
    tenant = visit.path["tenant"]
    answer = await visit.ask("get_deprovisioning", tenant=tenant, path={"tenant": tenant})
    if not answer.ok:
        return failed(answer)
    return await tenant_page(visit, "removals", rows=answer.document["items"])


def _pages() -> tuple[Page, ...]:
    base = "/tenants/{tenant}/domains"
    one = f"{base}/{{domain}}"
    return (
        Page(base, "list_domains", "tenants", show_domains),
        Page(base, "add_domain", "tenants", add_domain, form=True),
        Page(f"{one}/check", "check_domain", "tenants", check_domain, form=True),
        Page(f"{one}/use", "use_domain", "tenants", use_domain, form=True),
        Page(f"{one}/vouch", "vouch_domain", "tenants", vouch_domain, form=True, fresh=True),
        Page(f"{one}/remove", "remove_domain", "tenants", remove_domain, form=True),
        Page("/tenants/{tenant}/removals", "get_deprovisioning", "tenants", show_removals),
    )


PAGES: Final = _pages()
