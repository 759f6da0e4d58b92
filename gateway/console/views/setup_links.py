"""Setup links: what customers' administrators were sent, and the approval of what they did."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gateway.admin.route import PARAMETERS
from gateway.console.fields import Mistakes, placed, values_of, written
from gateway.console.outcome import Failed, Moved, Shown
from gateway.console.page import Page
from gateway.console.setup_link_fields import CONNECTION, DEFAULTS, FIELDS, NEW_TENANT, TENANT
from gateway.console.views.tenant_forms import is_mistake, typed
from gateway.console.visit import address, failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.admin.in_process import ApiAnswer
    from gateway.console.visit import Visit

STAGES: Final = ("open", "completed", "ended")
_TENANT_ID: Final = re.compile(PARAMETERS["tenant"])
_TO_THE_FORM: Final = frozenset({"scope_missing", "wrong_tenant", "tenant_bound", "not_found"})
_ALL: Final = (*FIELDS, *NEW_TENANT, *CONNECTION)


async def list_links(visit: Visit) -> Shown | Failed:
    tenant = visit.text("tenant")
    stage = visit.text("stage") if visit.text("stage") in STAGES else ""
    answer = await visit.ask(
        "list_all_setup_links",
        tenant=tenant or None,
        query={"tenant": tenant, "stage": stage, "cursor": visit.text("after")},
    )
    if not answer.ok:
        return failed(answer)
    following = answer.document["next"]
    return Shown(
        "setup_links",
        {
            "rows": answer.document["items"],
            "tenant": tenant,
            "stage": stage,
            "stages": STAGES,
            "next": following
            and address("/setup-links", tenant=tenant, stage=stage, after=str(following)),
        },
    )


async def show_link(visit: Visit) -> Shown | Failed:
    answer = await _one(visit, "get_setup_link")
    if not answer.ok:
        return failed(answer)
    return Shown("setup_link", {"row": answer.document, "may_approve": _may_approve(visit)})


def _may_approve(visit: Visit) -> bool:
    return visit.operator.may_everywhere(visit.scope_of("approve_setup_link"))


async def ask(visit: Visit) -> Shown:
    tenant = visit.text("tenant")
    values = values_of(_ALL, DEFAULTS)
    return _form({**values, "tenant_id": tenant if _TENANT_ID.fullmatch(tenant) else ""})


def _form(values: Mapping[str, str], mistakes: Mistakes | None = None) -> Shown:
    return Shown(
        "setup_link_new",
        {
            "first": TENANT,
            "fields": FIELDS,
            "new_tenant": NEW_TENANT,
            "connection": CONNECTION,
            "values": values,
            "mistakes": mistakes or Mistakes(),
        },
        status=422 if mistakes else 200,
    )


async def create(visit: Visit) -> Shown | Failed:
    """Address and phrase are on this page, and on no other."""
    tenant = visit.form.get("tenant_id", "").strip()
    values = {**typed(_ALL, visit), "tenant_id": tenant}
    if not _TENANT_ID.fullmatch(tenant):
        wrong = {"tenant_id": ["1 to 40 lower-case letters, digits and dashes"]}
        return _form(values, Mistakes(wrong))
    answer = await visit.ask(
        "create_setup_link", tenant=tenant, path={"tenant": tenant}, body=_body(visit)
    )
    if is_mistake(answer) or answer.code in _TO_THE_FORM:
        errors = answer.document.get("errors", ())
        return _form(values, placed((one.path for one in _ALL), errors, answer.detail))
    return Shown("setup_link_made", {"made": answer.document}) if answer.ok else failed(answer)


def _body(visit: Visit) -> dict[str, Any]:
    body, _ = written(_ALL, {}, visit.form)
    body = {name: value for name, value in body.items() if value is not None}
    lifetime = str(body.get("expires_in", ""))
    body["expires_in"] = int(lifetime) if lifetime.isdecimal() else lifetime
    for name in ("tenant", "connection"):
        new = body.pop(name)
        if any(new.values()):
            body[name] = new
    return body


async def replace(visit: Visit) -> Shown | Failed:
    answer = await _one(visit, "replace_setup_link")
    return Shown("setup_link_made", {"made": answer.document}) if answer.ok else failed(answer)


async def revoke(visit: Visit) -> Moved | Failed:
    return _moved(visit, await _one(visit, "revoke_setup_link"), "link_revoked")


async def approve(visit: Visit) -> Moved | Failed:
    return _moved(visit, await _one(visit, "approve_setup_link"), "link_approved")


async def send_back(visit: Visit) -> Moved | Failed:
    note = visit.form.get("note", "").strip()
    answer = await _one(visit, "return_setup_link", body={"note": note})
    return _moved(visit, answer, "link_returned")


async def _one(visit: Visit, operation: str, *, body: object | None = None) -> ApiAnswer:
    tenant, link = visit.path["tenant"], visit.path["setup_link"]
    path = {"tenant": tenant, "setup_link": link}
    return await visit.ask(operation, tenant=tenant, path=path, body=body)


def _moved(visit: Visit, answer: ApiAnswer, notice: str) -> Moved | Failed:
    if not answer.ok:
        return failed(answer)
    return Moved(address(f"/setup-links/{visit.path['tenant']}/{visit.path['setup_link']}"), notice)


_ONE: Final = "/setup-links/{tenant}/{setup_link}"
_IN: Final = "setup_links"
PAGES: Final = (
    Page("/setup-links", "list_all_setup_links", _IN, list_links),
    Page("/setup-links/new", "create_setup_link", _IN, ask),
    Page("/setup-links/new", "create_setup_link", _IN, create, form=True, fresh=True),
    Page(_ONE, "get_setup_link", _IN, show_link),
    Page(f"{_ONE}/revoke", "revoke_setup_link", _IN, revoke, form=True),
    Page(f"{_ONE}/replace", "replace_setup_link", _IN, replace, form=True, fresh=True),
    Page(f"{_ONE}/approve", "approve_setup_link", _IN, approve, form=True, fresh=True),
    Page(f"{_ONE}/return", "return_setup_link", _IN, send_back, form=True),
)
