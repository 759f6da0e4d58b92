"""A tenant's forms: edit a part, see what that would do, apply it; and create, suspend, delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.console.change import (
    OLD_DRAFT,
    WHOLE,
    Change,
    Loaded,
    conflict,
    load,
    opened,
    preview,
    provider_part,
    store,
)
from gateway.console.fields import Field, Kind, Mistakes, placed, values_of, written
from gateway.console.outcome import PREFIX, Failed, Moved, Shown
from gateway.console.page import Page
from gateway.console.tenant_fields import (
    CREATE,
    PROVIDER,
    SECTIONS,
    Section,
    new_document,
    optional_left_out,
)
from gateway.console.visit import failed
from gateway.tenants.bound_keys import Authority, authority_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.admin.in_process import ApiAnswer
    from gateway.console.visit import Visit

_SECTION: Final = "|".join(SECTIONS)
_TYPED_WRONG: Final = frozenset({400, 409, 413})
"""What the API answers where something else is to be typed."""
ANEW: Final = "(new)"
"""No provider has this name: the form of one that is added."""


def may_all(visit: Visit) -> bool:
    """Whether they change tenants as an operator does, and not as a tenant's own key."""
    return visit.operator.may_everywhere(visit.scope_of("put_tenant"))


def locked(visit: Visit, fields: tuple[Field, ...], prefix: str) -> frozenset[str]:
    """Paths of fields that only an operator for all tenants changes."""
    if may_all(visit):
        return frozenset()
    return frozenset(
        one.path for one in fields if authority_of(prefix + one.path) is Authority.OPERATOR
    )


def form_page(
    visit: Visit,
    section: Section,
    *,
    path: str,
    values: Mapping[str, str],
    loaded: Loaded,
    mistakes: Mistakes | None = None,
    unchanged: bool = False,
    provider: str = "",
    prefix: str = "",
) -> Shown:
    return Shown(
        "tenant_form",
        {
            "tenant": loaded.document,
            "origin": loaded.origin,
            "section_form": section,
            "path": path,
            "values": values,
            "etag": loaded.etag,
            "mistakes": mistakes or Mistakes(),
            "locked": locked(visit, section.fields, prefix),
            "unchanged": unchanged,
            "provider": provider,
            "forms": list(SECTIONS.values()),
        },
        status=422 if mistakes else 200,
    )


def is_mistake(answer: ApiAnswer) -> bool:
    """Whether the form is shown again with what is wrong."""
    return answer.status in _TYPED_WRONG


def mistakes_of(answer: ApiAnswer, section: Section, *prefixes: str) -> Mistakes:
    errors = answer.document.get("errors", ())
    return placed(section.paths, errors, answer.detail, prefixes=prefixes)


CHECK: Final = "check"
"""What htmx sends with a form that is only to be looked at."""


def checked(
    visit: Visit,
    section: Section,
    operation: str,
    body: object,
    unread: Mapping[str, Sequence[str]],
    *prefixes: str,
) -> Shown:
    """What is wrong with what is typed so far, field by field: the admin API's own words for its
    body. What is still empty is not wrong yet.
    """
    errors = visit.api.mistakes_in(operation, body)
    found = placed(section.paths, errors, "", prefixes=prefixes).of
    mistakes = {
        path: texts for path, texts in {**found, **unread}.items() if visit.form.get(path, "")
    }
    return Shown("form_check", {"fields": section.fields, "mistakes": mistakes})


# --- a part of the document ---------------------------------------------------------------------


async def edit_section(visit: Visit) -> Shown | Failed:
    tenant, section = visit.path["tenant"], SECTIONS[visit.path["section"]]
    record = await load(visit, tenant)
    if isinstance(record, Failed):
        return record
    return form_page(
        visit,
        section,
        path=f"/tenants/{tenant}/edit/{section.name}",
        values=values_of(section.fields, record.document),
        loaded=record,
    )


async def save_section(visit: Visit) -> Shown | Failed:
    tenant, section = visit.path["tenant"], SECTIONS[visit.path["section"]]
    path = f"/tenants/{tenant}/edit/{section.name}"
    record = await load(visit, tenant)
    if isinstance(record, Failed):
        return record
    draft = opened(visit, tenant)
    if draft is not None:
        values = values_of(section.fields, draft.document)
        return form_page(visit, section, path=path, values=values, loaded=record)
    read_only = locked(visit, section.fields, "")
    fields = tuple(one for one in section.fields if one.path not in read_only)
    document, unread = written(fields, record.document, visit.form)
    document = optional_left_out(section, document)
    parts = (section.optional,) if section.optional else tuple(one.path for one in fields)
    change = Change(tenant, document, visit.form.get("etag", ""), parts, path)
    if visit.form.get(CHECK):
        return checked(visit, section, "put_tenant", document, unread)
    page = form_page(visit, section, path=path, values=typed(section.fields, visit), loaded=record)
    if unread:
        return with_mistakes(page, Mistakes(unread))
    return await previewed(visit, change, page, section)


async def previewed(
    visit: Visit, change: Change, form: Shown, section: Section, *prefixes: str
) -> Shown | Failed:
    """The page with what it would do; or the form again; or that somebody was faster."""
    answer = await store(visit, change, dry_run=True)
    if answer.status == 412:
        return await conflict(visit, change)
    if is_mistake(answer) and answer.code != "read_only":
        return with_mistakes(form, mistakes_of(answer, section, *prefixes))
    if not answer.ok:
        return failed(answer)
    if not answer.document["changes"]:
        return Shown(form.template, {**form.values, "unchanged": True})
    return preview(visit, change, answer)


def with_mistakes(form: Shown, mistakes: Mistakes) -> Shown:
    return Shown(form.template, {**form.values, "mistakes": mistakes}, status=422)


def typed(fields: tuple[Field, ...], visit: Visit) -> dict[str, str]:
    """What came with the form, but no secret: it is typed again."""
    values = {}
    for one in fields:
        if one.kind is Kind.FILE:
            continue
        if one.kind in {Kind.SECRET, Kind.SECRETS}:
            values[f"{one.path}.stored"] = visit.form.get(f"{one.path}.stored", "")
            continue
        if one.kind is Kind.SEVERAL:
            names = [f"{one.path}.{option}" for option, _ in one.options]
            values |= {name: visit.form.get(name, "") for name in names}
            continue
        values[one.path] = visit.form.get(one.path, "")
        values[f"{one.path}.any"] = visit.form.get(f"{one.path}.any", "")
    return values


# --- a provider ---------------------------------------------------------------------------------


async def edit_provider(visit: Visit) -> Shown | Failed:
    return await _provider_form(visit, visit.path["provider"])


async def add_provider(visit: Visit) -> Shown | Failed:
    return await _provider_form(visit, ANEW)


async def _provider_form(visit: Visit, name: str) -> Shown | Failed:
    tenant = visit.path["tenant"]
    record = await load(visit, tenant)
    if isinstance(record, Failed):
        return record
    at = _place_of(record.document, name)
    if at is None:
        return Failed(404, "not_found", "")
    provider = _provider_at(record.document, at)
    return form_page(
        visit,
        PROVIDER,
        path=_provider_path(tenant, name),
        values=values_of(PROVIDER.fields, provider),
        loaded=record,
        provider=name,
        prefix="providers[].",
    )


async def save_provider(visit: Visit) -> Shown | Failed:
    return await _save_provider(visit, visit.path["provider"])


async def save_new_provider(visit: Visit) -> Shown | Failed:
    return await _save_provider(visit, ANEW)


async def _save_provider(visit: Visit, name: str) -> Shown | Failed:
    tenant = visit.path["tenant"]
    path = _provider_path(tenant, name)
    record = await load(visit, tenant)
    if isinstance(record, Failed):
        return record
    draft = opened(visit, tenant)
    at = _place_of(record.document if draft is None else draft.document, name)
    if at is None:
        return Failed(404, "not_found", "")
    values = typed(PROVIDER.fields, visit)
    if draft is not None:
        values = values_of(PROVIDER.fields, _provider_at(draft.document, at))
    page = form_page(
        visit,
        PROVIDER,
        path=path,
        values=values,
        loaded=record,
        provider=name,
        prefix="providers[].",
    )
    if draft is not None:
        return page
    read_only = locked(visit, PROVIDER.fields, "providers[].")
    fields = tuple(one for one in PROVIDER.fields if one.path not in read_only)
    provider, unread = written(fields, _provider_at(record.document, at), visit.form)
    providers = list(record.document["providers"])
    providers[at : at + 1] = [] if visit.form.get("remove") else [provider]
    document = {**record.document, "providers": providers}
    if visit.form.get(CHECK):
        return checked(visit, PROVIDER, "put_tenant", document, unread, f"providers.{at}.")
    if unread:
        return with_mistakes(page, Mistakes(unread))
    change = Change(tenant, document, visit.form.get("etag", ""), (provider_part(name),), path)
    prefixes = (f"providers.{at}.", f"providers.{provider['name']}.")
    return await previewed(visit, change, page, PROVIDER, *prefixes)


def _provider_path(tenant: str, name: str) -> str:
    return f"/tenants/{tenant}/" + ("add-provider" if name == ANEW else f"providers/{name}/edit")


def _place_of(document: Mapping[str, Any], name: str) -> int | None:
    """Of the provider; of a new one, behind all others. A draft may have renamed it."""
    providers = document["providers"]
    if name == ANEW:
        return len(providers)
    return next((i for i, p in enumerate(providers) if p["name"] == name), None)


def _provider_at(document: Mapping[str, Any], at: int) -> dict[str, Any]:
    providers = document["providers"]
    fresh = {"kind": "oidc", "active": True, "url_decode_groups": True}
    return dict(providers[at]) if at < len(providers) else fresh


# --- create, apply, delete ----------------------------------------------------------------------


async def new_tenant(_visit: Visit) -> Shown:
    return _create_form(values_of(CREATE.fields, {"active": True, "client": "managed"}))


def _create_form(values: Mapping[str, str], mistakes: Mistakes | None = None) -> Shown:
    return Shown(
        "tenant_new",
        {
            "section_form": CREATE,
            "path": "/new-tenant",
            "values": values,
            "mistakes": mistakes or Mistakes(),
            "locked": frozenset(),
            "unchanged": False,
        },
        status=422 if mistakes else 200,
    )


async def save_new_tenant(visit: Visit) -> Shown | Failed:
    typed_values = typed(CREATE.fields, visit)
    form, unread = written(CREATE.fields, {}, visit.form)
    tenant = str(form.get("id") or "")
    if visit.form.get(CHECK):
        return checked(visit, CREATE, "put_tenant", new_document(form), unread, "providers.0.")
    if unread:
        return _create_form(typed_values, Mistakes(unread))
    change = Change(tenant, new_document(form), "", (WHOLE,), "/new-tenant")
    answer = await store(visit, change, dry_run=True)
    if answer.status == 404 and answer.code == "not_found":
        wrong = "1 to 40 lower-case letters, digits and dashes"
        return _create_form(typed_values, Mistakes({"id": [wrong]}))
    if answer.code == "precondition_required":
        return _create_form(typed_values, Mistakes({"id": ["the tenant exists"]}))
    if is_mistake(answer):
        return _create_form(
            typed_values,
            placed(
                CREATE.paths,
                [
                    {**e, "where": str(e["where"]).replace("providers.0", "provider", 1)}
                    for e in answer.document.get("errors", ())
                ],
                answer.detail,
            ),
        )
    return preview(visit, change, answer) if answer.ok else failed(answer)


async def compare(visit: Visit) -> Shown | Failed:
    """What a draft would do to the tenant as it is now."""
    change = opened(visit, visit.path["tenant"])
    if change is None:
        return OLD_DRAFT
    answer = await store(visit, change, dry_run=True)
    if answer.status == 412:
        return await conflict(visit, change)
    return preview(visit, change, answer) if answer.ok else failed(answer)


async def apply_change(visit: Visit) -> Shown | Moved | Failed:
    tenant = visit.path["tenant"]
    change = opened(visit, tenant)
    if change is None:
        return OLD_DRAFT
    answer = await store(visit, change, dry_run=False)
    if answer.status == 412:
        return await conflict(visit, change)
    if not answer.ok:
        return failed(answer)
    return Moved(f"{PREFIX}/tenants/{tenant}", "saved")


async def confirm_delete(visit: Visit) -> Shown | Failed:
    return await _delete_page(visit, wrong=False)


async def _delete_page(visit: Visit, *, wrong: bool) -> Shown | Failed:
    record = await load(visit, visit.path["tenant"])
    if isinstance(record, Failed):
        return record
    values = {
        "tenant": record.document,
        "origin": record.origin,
        "etag": record.etag,
        "wrong": wrong,
        "in_pool": record.document["client"] == "managed" and visit.may("destroy"),
    }
    return Shown("tenant_delete", values, status=422 if wrong else 200)


async def delete_tenant(visit: Visit) -> Shown | Moved | Failed:
    tenant = visit.path["tenant"]
    if visit.form.get("id", "").strip() != tenant:
        return await _delete_page(visit, wrong=True)
    pool = bool(visit.form.get("pool"))
    answer = await visit.ask(
        "destroy" if pool else "delete_tenant",
        tenant=tenant,
        path={"tenant": tenant},
        if_match=None if pool else visit.form.get("etag") or None,
    )
    return Moved(f"{PREFIX}/tenants", "deleted") if answer.ok else failed(answer)


def _pages() -> tuple[Page, ...]:
    of_section = {"section": _SECTION}
    base, change = "/tenants/{tenant}", "put_tenant"
    return (
        Page("/new-tenant", change, "tenants", new_tenant),
        Page("/new-tenant", change, "tenants", save_new_tenant, form=True),
        Page(f"{base}/edit/{{section}}", change, "tenants", edit_section, parameters=of_section),
        Page(
            f"{base}/edit/{{section}}",
            change,
            "tenants",
            save_section,
            form=True,
            parameters=of_section,
        ),
        Page(f"{base}/add-provider", change, "tenants", add_provider),
        Page(f"{base}/add-provider", change, "tenants", save_new_provider, form=True),
        Page(f"{base}/providers/{{provider}}/edit", change, "tenants", edit_provider),
        Page(f"{base}/providers/{{provider}}/edit", change, "tenants", save_provider, form=True),
        Page(f"{base}/compare", change, "tenants", compare, form=True),
        Page(f"{base}/apply", change, "tenants", apply_change, form=True),
        Page(f"{base}/delete", "delete_tenant", "tenants", confirm_delete),
        Page(f"{base}/delete", "delete_tenant", "tenants", delete_tenant, form=True, fresh=True),
    )


PAGES: Final = _pages()
