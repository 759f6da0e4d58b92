"""One more identity provider of a tenant, beside those that it has: ask, show the plan. The plan is
run as every other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.console.change import load
from gateway.console.fields import Mistakes, placed, values_of, written
from gateway.console.outcome import Failed, Shown
from gateway.console.page import Page
from gateway.console.provision_fields import DEFAULTS, KINDS, addition_of, addition_request_of
from gateway.console.views.provisioning import plan_draft, provision_request
from gateway.console.views.tenant_forms import CHECK, checked, is_mistake, typed
from gateway.console.visit import failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.console.tenant_fields import Section
    from gateway.console.visit import Visit


async def choose_added_kind(visit: Visit) -> Shown | Failed:
    tenant = visit.path["tenant"]
    stay = await _stay(visit)
    if isinstance(stay, Failed):
        return stay
    return Shown("provision_kinds", {"kinds": KINDS, "tenant": tenant, "stay": stay})


async def _stay(visit: Visit) -> list[str] | Failed:
    """Names of the providers that the tenant has."""
    record = await load(visit, visit.path["tenant"])
    if isinstance(record, Failed):
        return record
    return [str(provider["name"]) for provider in record.document["providers"]]


async def ask_added(visit: Visit) -> Shown | Failed:
    section = addition_of(visit.path["form"])
    stay = await _stay(visit)
    if isinstance(stay, Failed):
        return stay
    return _added_form(visit, section, values_of(section.fields, DEFAULTS), stay)


def _added_form(
    visit: Visit,
    section: Section,
    values: Mapping[str, str],
    stay: list[str],
    mistakes: Mistakes | None = None,
) -> Shown:
    return Shown(
        "provider_new",
        {
            "tenant": visit.path["tenant"],
            "section_form": section,
            "values": values,
            "stay": stay,
            "mistakes": mistakes or Mistakes(),
        },
        status=422 if mistakes else 200,
    )


async def plan_added(visit: Visit) -> Shown | Failed:
    """As ``plan``; the name of another provider of the tenant would change that one."""
    kind, tenant = visit.path["form"], visit.path["tenant"]
    section = addition_of(kind)
    form, unread = written(section.fields, {}, visit.form)
    body = addition_request_of(kind, form)
    if visit.form.get(CHECK):
        return checked(visit, section, "reprovision", body, unread)
    stay = await _stay(visit)
    if isinstance(stay, Failed):
        return stay
    values = typed(section.fields, visit)
    if body["provider"].get("name") in stay:
        unread["provider.name"] = ["the tenant has a provider of this name"]
    if unread:
        return _added_form(visit, section, values, stay, Mistakes(unread))
    answer = await provision_request(visit, "reprovision", tenant, body, dry_run=True)
    if is_mistake(answer):
        mistakes = placed(section.paths, answer.document.get("errors", ()), answer.detail)
        return _added_form(visit, section, values, stay, mistakes)
    if not answer.ok:
        return failed(answer)
    draft = plan_draft(visit, tenant, "reprovision", body)
    return Shown(
        "provision_plan",
        {
            "tenant": tenant,
            "kind": kind,
            "exists": True,
            "stay": stay,
            "steps": answer.document["steps"],
            "notes": answer.document["notes"],
            "draft": draft,
        },
    )


def _pages() -> tuple[Page, ...]:
    base, here = "/tenants/{tenant}/connect", "tenants"
    one, kind = f"{base}/{{form}}", {"form": "|".join(KINDS)}
    return (
        Page(base, "reprovision", here, choose_added_kind),
        Page(one, "reprovision", here, ask_added, parameters=kind),
        Page(one, "reprovision", here, plan_added, form=True, upload=True, parameters=kind),
    )


PAGES: Final = _pages()
