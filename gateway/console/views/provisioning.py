"""Provisioning: ask, show the plan, run it, follow the run; drift, rotation, a link to test."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from gateway.admin.route import PARAMETERS
from gateway.console.change import OLD_DRAFT, load
from gateway.console.fields import Mistakes, placed, values_of, written
from gateway.console.outcome import PREFIX, Failed, Followed, Moved, Shown
from gateway.console.page import Page
from gateway.console.provision_fields import DEFAULTS, KINDS, request_of, section_of
from gateway.console.views.tenant_forms import CHECK, checked, is_mistake, typed
from gateway.console.visit import address, failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.admin.in_process import ApiAnswer
    from gateway.console.tenant_fields import Section
    from gateway.console.visit import Visit

STATES: Final = ("running", "undoing", "settling", "done", "rolled_back")
_TAKEN_BACK: Final = frozenset({"running", "undoing", "settling"})
LOOK_S: Final = 1.0
"""Between two looks at a run that is followed."""
_KIND: Final = "|".join(KINDS)
_TENANT: Final = re.compile(PARAMETERS["tenant"])


# --- the wizard ---------------------------------------------------------------------------------


async def choose_kind(visit: Visit) -> Shown:
    return Shown("provision_kinds", {"kinds": KINDS, "tenant": visit.text("tenant"), "stay": ()})


async def ask(visit: Visit) -> Shown | Failed:
    section = section_of(visit.path["form"])
    tenant = visit.text("tenant")
    values: dict[str, Any] = {**DEFAULTS, "tenant": tenant}
    if _TENANT.fullmatch(tenant) and visit.may("get_tenant"):
        record = await load(visit, tenant)
        if not isinstance(record, Failed):
            document = record.document
            values |= {name: document[name] for name in ("name", "hosts", "email_domains")}
            values["groups"] = document["allowed_groups"]
    return _form(section, values_of(section.fields, values))


def _form(section: Section, values: Mapping[str, str], mistakes: Mistakes | None = None) -> Shown:
    return Shown(
        "provision_form",
        {"section_form": section, "values": values, "mistakes": mistakes or Mistakes()},
        status=422 if mistakes else 200,
    )


async def plan(visit: Visit) -> Shown | Failed:
    """The plan of what was typed; nothing is run yet."""
    kind = visit.path["form"]
    section = section_of(kind)
    values = typed(section.fields, visit)
    form, unread = written(section.fields, {}, visit.form)
    tenant = str(form.get("tenant") or "")
    if not _TENANT.fullmatch(tenant):
        unread["tenant"] = ["1 to 40 lower-case letters, digits and dashes"]
    if visit.form.get(CHECK):
        return checked(visit, section, "provision", request_of(kind, form), unread)
    if unread:
        return _form(section, values, Mistakes(unread))
    body = request_of(kind, form)
    tenant_answer = await visit.ask("get_tenant", tenant=tenant, path={"tenant": tenant})
    operation = "reprovision" if tenant_answer.ok else "provision"
    answer = await provision_request(visit, operation, tenant, body, dry_run=True)
    if is_mistake(answer):
        mistakes = placed(section.paths, answer.document.get("errors", ()), answer.detail)
        return _form(section, values, mistakes)
    if not answer.ok:
        return failed(answer)
    draft = plan_draft(visit, tenant, operation, body)
    return Shown(
        "provision_plan",
        {
            "tenant": tenant,
            "kind": kind,
            "exists": tenant_answer.ok,
            "stay": (),
            "steps": answer.document["steps"],
            "notes": answer.document["notes"],
            "draft": draft,
        },
    )


def _about(tenant: str) -> str:
    return f"provision {tenant}"


def plan_draft(visit: Visit, tenant: str, operation: str, body: object) -> str:
    """What the page with the plan carries, for ``run_plan``."""
    return visit.drafts.seal(visit.operator.person, _about(tenant), [operation, body])


async def provision_request(
    visit: Visit, operation: str, tenant: str, body: object, *, dry_run: bool
) -> ApiAnswer:
    return await visit.ask(
        operation,
        tenant=tenant,
        path={"tenant": tenant},
        query={"dry_run": "true"} if dry_run else None,
        body=body,
    )


async def run_plan(visit: Visit) -> Moved | Failed:
    tenant = visit.path["tenant"]
    content = visit.drafts.open(visit.operator.person, _about(tenant), visit.form.get("draft", ""))
    if content is None:
        return OLD_DRAFT
    operation, body = content
    return await _started(visit, provision_request(visit, operation, tenant, body, dry_run=False))


async def _started(visit: Visit, operation: Any) -> Moved | Failed:
    """To the run: the one that the answer names, or the newest where it goes on."""
    tenant = visit.path["tenant"]
    answer = await visit.work.start(operation)
    if answer is None:
        return Moved(await _newest(visit, tenant))
    run = answer.document.get("run")
    if run is not None:
        return Moved(f"{PREFIX}/tenants/{tenant}/runs/{run}")
    return Moved(await _newest(visit, tenant)) if answer.ok else failed(answer)


async def _newest(visit: Visit, tenant: str) -> str:
    answer = await visit.ask(
        "list_runs", tenant=tenant, path={"tenant": tenant}, query={"limit": "1"}
    )
    runs = answer.document["items"] if answer.ok else ()
    at = f"{PREFIX}/tenants/{tenant}"
    return f"{at}/runs/{runs[0]['id']}" if runs else f"{at}/provisioning"


# --- runs ---------------------------------------------------------------------------------------


async def list_runs(visit: Visit) -> Shown | Failed:
    tenant, state = visit.text("tenant"), visit.text("state")
    if state not in STATES:
        state = ""
    answer = await visit.ask(
        "list_all_runs",
        tenant=tenant or None,
        query={"tenant": tenant, "state": state, "cursor": visit.text("after")},
    )
    if not answer.ok:
        return failed(answer)
    following = answer.document["next"]
    return Shown(
        "runs",
        {
            "rows": answer.document["items"],
            "tenant": tenant,
            "state": state,
            "states": STATES,
            "next": following
            and address("/runs", tenant=tenant, state=state, after=str(following)),
        },
    )


async def show_run(visit: Visit) -> Shown | Failed:
    answer = await _run(visit)
    if not answer.ok:
        return failed(answer)
    return Shown(
        "run",
        {
            "run": answer.document,
            "goes_on": answer.document["state"] in _TAKEN_BACK,
            "may_test": visit.may("test_tenant"),
            "wrong": False,
        },
    )


async def follow_run(visit: Visit) -> Followed | Failed:
    """Its state and its steps as they happen."""
    answer = await _run(visit)
    return Followed("run_progress", _states(visit, answer)) if answer.ok else failed(answer)


async def _run(visit: Visit) -> ApiAnswer:
    path = {name: visit.path[name] for name in ("tenant", "run")}
    return await visit.ask("get_run", tenant=path["tenant"], path=path)


async def _states(visit: Visit, answer: ApiAnswer) -> AsyncIterator[dict[str, Any]]:
    while answer.ok:
        yield {"run": answer.document}
        if answer.document["state"] not in _TAKEN_BACK:
            return
        await asyncio.sleep(LOOK_S)
        answer = await _run(visit)


async def roll_back(visit: Visit) -> Moved | Failed:
    tenant, run = visit.path["tenant"], visit.path["run"]
    if not visit.form.get("sure"):
        return Failed(422, "not_confirmed", "")
    path = {"tenant": tenant, "run": run}
    answer = await visit.work.start(visit.ask("rollback_run", tenant=tenant, path=path))
    if answer is not None and not answer.ok:
        return failed(answer)
    return Moved(f"{PREFIX}/tenants/{tenant}/runs/{run}")


# --- a tenant's place in the pool ---------------------------------------------------------------


async def show_provisioning(visit: Visit) -> Shown | Failed:
    return await _provisioning(visit)


async def _provisioning(
    visit: Visit, *, drift: Mapping[str, Any] | None = None, link: str = ""
) -> Shown | Failed:
    tenant = visit.path["tenant"]
    answer = await visit.ask("list_runs", tenant=tenant, path={"tenant": tenant})
    if not answer.ok:
        return failed(answer)
    return Shown(
        "tenant_provisioning",
        {
            "id": tenant,
            "runs": answer.document["items"],
            "drift": drift,
            "link": link,
            "may_fix": visit.operator.may_everywhere(visit.scope_of("verify")),
            "may_test": visit.may("test_tenant"),
        },
    )


async def verify(visit: Visit) -> Shown | Failed:
    tenant = visit.path["tenant"]
    answer = await visit.ask("verify", tenant=tenant, path={"tenant": tenant})
    if not answer.ok:
        return failed(answer)
    return await _provisioning(visit, drift=answer.document)


async def fix(visit: Visit) -> Moved | Failed:
    tenant = visit.path["tenant"]
    return await _started(
        visit,
        visit.ask("verify", tenant=tenant, path={"tenant": tenant}, query={"fix": "true"}),
    )


async def rotate(visit: Visit) -> Moved | Failed:
    tenant = visit.path["tenant"]
    return await _started(visit, visit.ask("rotate", tenant=tenant, path={"tenant": tenant}))


async def retire(visit: Visit) -> Moved | Failed:
    tenant = visit.path["tenant"]
    return await _started(visit, visit.ask("retire", tenant=tenant, path={"tenant": tenant}))


async def test_link(visit: Visit) -> Shown | Failed:
    tenant = visit.path["tenant"]
    answer = await visit.ask("test_tenant", tenant=tenant, path={"tenant": tenant})
    if not answer.ok:
        return failed(answer)
    return Shown("tenant_test_link", {"id": tenant, "url": answer.document["url"]})


def _pages() -> tuple[Page, ...]:
    base, kind = "/tenants/{tenant}", {"form": _KIND}
    here = "runs"
    return (
        Page("/runs", "list_all_runs", here, list_runs),
        Page("/provision", "provision", here, choose_kind),
        Page("/provision/{form}", "provision", here, ask, parameters=kind),
        Page("/provision/{form}", "provision", here, plan, form=True, upload=True, parameters=kind),
        Page(f"{base}/provision", "provision", here, run_plan, form=True),
        Page(f"{base}/runs/{{run}}", "get_run", here, show_run),
        Page(f"{base}/runs/{{run}}/events", "get_run", here, follow_run),
        Page(f"{base}/runs/{{run}}/rollback", "rollback_run", here, roll_back, form=True),
        Page(f"{base}/provisioning", "list_runs", "tenants", show_provisioning),
        Page(f"{base}/provisioning/verify", "verify", "tenants", verify, form=True),
        Page(f"{base}/provisioning/fix", "verify", "tenants", fix, form=True),
        Page(f"{base}/provisioning/rotate", "rotate", "tenants", rotate, form=True, fresh=True),
        Page(f"{base}/provisioning/retire", "retire", "tenants", retire, form=True, fresh=True),
        Page(f"{base}/test-link", "test_tenant", "tenants", test_link, form=True),
    )


PAGES: Final = _pages()
