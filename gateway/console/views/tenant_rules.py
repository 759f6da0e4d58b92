"""A tenant's rules: rows to edit, and a person to try them with before they are stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from gateway.console.change import Change, Loaded, conflict, load, opened, preview, store
from gateway.console.fields import Mistakes, lines
from gateway.console.outcome import Failed, Shown
from gateway.console.page import Page
from gateway.console.rules_form import (
    BLANK,
    LISTS,
    MAX_ROWS,
    NEEDS,
    Row,
    Rules,
    blank_rows,
    mistakes_of_rows,
    rows_of,
    rules_of,
    typed_rows,
)
from gateway.console.views.tenant_forms import is_mistake, may_all
from gateway.console.visit import failed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.console.visit import Visit

TRIAL: Final = ("url", "method", "email", "groups", "provider")
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True, slots=True)
class RulesPage:
    """What the page shows; ``trial`` is what was typed to try, ``found`` the trace that came."""

    loaded: Loaded
    rows: Sequence[Row]
    etag: str
    trial: Mapping[str, str]
    found: Mapping[str, Any] | None = None
    of_row: Mapping[int, Sequence[str]] = field(default_factory=dict)
    mistakes: Mistakes = field(default_factory=Mistakes)
    unchanged: bool = False

    def shown(self, visit: Visit) -> Shown:
        wrong = bool(self.of_row or self.mistakes)
        return Shown(
            "tenant_rules",
            {
                "tenant": self.loaded.document,
                "origin": self.loaded.origin,
                "etag": self.etag,
                "rows": list(self.rows),
                "needs": NEEDS,
                "methods": METHODS,
                "trial": self.trial,
                "found": self.found,
                "of_row": self.of_row,
                "mistakes": self.mistakes,
                "wrong": wrong,
                "unchanged": self.unchanged,
                "may_change": may_all(visit) and self.loaded.origin != "file",
            },
            status=422 if wrong else 200,
        )


async def edit_rules(visit: Visit) -> Shown | Failed:
    loaded = await load(visit, visit.path["tenant"])
    if isinstance(loaded, Failed):
        return loaded
    host = _a_host(loaded)
    trial = {**dict.fromkeys(TRIAL, ""), "method": "GET", "url": f"https://{host}/" if host else ""}
    return RulesPage(loaded, rows_of(loaded.document), loaded.etag, trial).shown(visit)


async def save_rules(visit: Visit) -> Shown | Failed:
    """Try, add rows, or show what saving would do: the same form, with three buttons."""
    tenant = visit.path["tenant"]
    loaded = await load(visit, tenant)
    if isinstance(loaded, Failed):
        return loaded
    trial = {name: visit.form.get(f"try.{name}", "") for name in TRIAL}
    draft = opened(visit, tenant)
    if draft is not None:
        trial["method"] = trial["method"] or "GET"
        return RulesPage(loaded, rows_of(draft.document), draft.etag, trial).shown(visit)
    rows, etag = typed_rows(visit.form), visit.form.get("etag", "")
    rules = rules_of(rows)
    page = RulesPage(loaded, rows, etag, trial, of_row=rules.unread)
    if rules.unread:
        return page.shown(visit)
    match visit.form.get("action"):
        case "try":
            return await _try(visit, page, rules)
        case "more":
            more = [*rows, *blank_rows(rows, BLANK)][:MAX_ROWS]
            return RulesPage(loaded, more, etag, trial).shown(visit)
        case _:
            return await _save(visit, page, rules)


async def _save(visit: Visit, page: RulesPage, rules: Rules) -> Shown | Failed:
    tenant = visit.path["tenant"]
    change = Change(tenant, _with(page.loaded, rules), page.etag, LISTS, f"/tenants/{tenant}/rules")
    answer = await store(visit, change, dry_run=True)
    if answer.status == 412:
        return await conflict(visit, change)
    if is_mistake(answer) and answer.code != "read_only":
        errors = answer.document.get("errors", ())
        of_row, rest = mistakes_of_rows(rules, errors, answer.detail)
        return RulesPage(
            page.loaded, page.rows, page.etag, page.trial, of_row=of_row, mistakes=rest
        ).shown(visit)
    if not answer.ok:
        return failed(answer)
    if not answer.document["changes"]:
        return RulesPage(page.loaded, page.rows, page.etag, page.trial, unchanged=True).shown(visit)
    return preview(visit, change, answer)


async def _try(visit: Visit, page: RulesPage, rules: Rules) -> Shown | Failed:
    trial = dict(page.trial)
    parts = _address(trial["url"], page.loaded)
    if trial["email"].strip() and not trial["groups"].strip():
        trial |= await _known(visit, trial["email"].strip())
    body: dict[str, object] = {
        "host": parts[0],
        "path": parts[1],
        "method": trial["method"],
        "groups": lines(trial["groups"].replace("\r\n", "\n")),
        "draft": _with(page.loaded, rules),
    }
    if trial["email"].strip():
        body["email"] = trial["email"].strip()
    if trial["provider"].strip():
        body["provider"] = trial["provider"].strip()
    answer = await visit.ask("explain", tenant=visit.path["tenant"], body=body)
    if answer.ok:
        found = answer.document
        return RulesPage(page.loaded, page.rows, page.etag, trial, found=found).shown(visit)
    if not is_mistake(answer) and answer.status != 404:
        return failed(answer)
    of_row, rest = mistakes_of_rows(rules, answer.document.get("errors", ()), answer.detail)
    return RulesPage(page.loaded, page.rows, page.etag, trial, of_row=of_row, mistakes=rest).shown(
        visit
    )


async def _known(visit: Visit, email: str) -> dict[str, str]:
    """Groups and provider of the last sign-in with this address, where that may be looked up."""
    if not visit.may("list_people"):
        return {}
    tenant = visit.path["tenant"]
    answer = await visit.ask(
        "list_people", tenant=tenant, path={"tenant": tenant}, query={"email": email, "limit": "1"}
    )
    people = answer.document["items"] if answer.ok else ()
    if not people:
        return {}
    return {"groups": "\n".join(people[0]["groups"]), "provider": people[0]["provider"]}


def _with(loaded: Loaded, rules: Rules) -> dict[str, Any]:
    return {**loaded.document, **rules.lists}


def _a_host(loaded: Loaded) -> str:
    hosts = [str(h) for h in loaded.document["hosts"]]
    return next((h for h in hosts if not h.startswith("*")), "")


def _address(typed: str, loaded: Loaded) -> tuple[str, str]:
    """Host and path: of a whole address, or of a path at the tenant's first host."""
    text = typed.strip()
    if text.startswith("/"):
        return _a_host(loaded), text
    if "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
    except ValueError:
        return text, "/"
    path = parts.path or "/"
    return parts.netloc or text, f"{path}?{parts.query}" if parts.query else path


PAGES: Final = (
    Page("/tenants/{tenant}/rules", "explain", "tenants", edit_rules),
    Page("/tenants/{tenant}/rules", "explain", "tenants", save_rules, form=True),
)
