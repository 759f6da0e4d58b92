"""A tenant's rules: rows to edit, and a person to try them with before they are stored."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from gateway.console.change import (
    OLD_DRAFT,
    Change,
    Loaded,
    conflict,
    load,
    opened,
    preview,
    store,
)
from gateway.console.fields import Mistakes, lines
from gateway.console.outcome import Failed, Shown
from gateway.console.page import Page
from gateway.console.rules_form import (
    BLANK,
    LISTS,
    MAX_ROWS,
    NEEDS,
    PAGE,
    Part,
    Row,
    Rules,
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
TYPED_S: Final = 12 * 3600
"""A working day: what was typed on other pages holds no secret."""
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True, slots=True)
class RulesPage:
    """What the page shows. ``part``: of all rules as they were before this page was typed;
    ``typed``: its rows, None: as they were. ``trial`` is what was typed to try, ``found`` the trace
    that came. Wrong rows are counted among all.
    """

    loaded: Loaded
    part: Part
    etag: str
    trial: Mapping[str, str]
    typed: Sequence[Row] | None = None
    found: Mapping[str, Any] | None = None
    of_row: Mapping[int, Sequence[str]] = field(default_factory=dict)
    mistakes: Mistakes = field(default_factory=Mistakes)
    unchanged: bool = False

    @property
    def all_rows(self) -> Sequence[Row]:
        return self.part.rows if self.typed is None else self.part.with_typed(self.typed)

    @property
    def is_stored(self) -> bool:
        """Whether the rows of all pages are those that are stored, but for what was typed here."""
        return self.etag == self.loaded.etag and [*self.part.rows] == rows_of(self.loaded.document)

    def wrong(self, of_row: Mapping[int, Sequence[str]], rest: Mistakes | None = None) -> RulesPage:
        return replace(self, of_row=of_row, mistakes=rest or Mistakes())

    def shown(self, visit: Visit) -> Shown:
        part, rows = self.part, self.part.shown if self.typed is None else list(self.typed)
        here = range(part.first, part.first + len(rows))
        every = self.all_rows
        elsewhere = [
            f"{every[n].order} {every[n].path}: {text}"
            for n, texts in sorted(self.of_row.items())
            if n not in here
            for text in texts
        ]
        wrong = bool(self.of_row or self.mistakes)
        return Shown(
            "tenant_rules",
            {
                "tenant": self.loaded.document,
                "origin": self.loaded.origin,
                "etag": self.etag,
                "rows": rows,
                "page": part.number,
                "starts": [
                    (n * PAGE + 1, part.rows[n * PAGE].path if part.rows else "")
                    for n in range(part.pages)
                ],
                "page_rows": PAGE,
                "base": _sealed(visit, part.rows, self.etag) if part.pages > 1 else "",
                "base_is_stored": self.is_stored,
                "needs": NEEDS,
                "methods": METHODS,
                "trial": self.trial,
                "found": self.found,
                "of_row": {n - part.first: texts for n, texts in self.of_row.items() if n in here},
                "mistakes": Mistakes(rest=[*elsewhere, *self.mistakes.rest]),
                "wrong": wrong,
                "unchanged": self.unchanged,
                "may_change": may_all(visit) and self.loaded.origin != "file",
            },
            status=422 if wrong else 200,
        )


def _sealed(visit: Visit, rows: Sequence[Row], etag: str) -> str:
    """What the other pages hold."""
    lists = rules_of(rows).lists
    content = [etag, *(lists[name] for name in LISTS)]
    return visit.drafts.seal(visit.operator.person, _about(visit), content, lifetime_s=TYPED_S)


def _about(visit: Visit) -> str:
    return f"rules {visit.path['tenant']}"


async def edit_rules(visit: Visit) -> Shown | Failed:
    record = await load(visit, visit.path["tenant"])
    if isinstance(record, Failed):
        return record
    host = _a_host(record)
    trial = {**dict.fromkeys(TRIAL, ""), "method": "GET", "url": f"https://{host}/" if host else ""}
    part = Part.of(rows_of(record.document), visit.text("page"))
    return RulesPage(record, part, record.etag, trial).shown(visit)


async def save_rules(visit: Visit) -> Shown | Failed:
    """Try, add rows, go to another page, or show what saving would do: the same form, with several
    buttons.
    """
    tenant = visit.path["tenant"]
    record = await load(visit, tenant)
    if isinstance(record, Failed):
        return record
    trial = {name: visit.form.get(f"try.{name}", "") for name in TRIAL}
    draft = opened(visit, tenant)
    if draft is not None:
        trial["method"] = trial["method"] or "GET"
        return RulesPage(record, Part.of(rows_of(draft.document), ""), draft.etag, trial).shown(
            visit
        )
    page = _typed(visit, record, trial)
    if page is None:
        return OLD_DRAFT
    rules = rules_of(page.all_rows)
    if rules.unread:
        return page.wrong(rules.unread).shown(visit)
    match visit.form.get("action"):
        case "try":
            return await _try(visit, page, rules)
        case "more":
            typed = page.typed or ()
            more = [*typed, *page.part.blank(typed, BLANK)][:MAX_ROWS]
            return replace(page, typed=more).shown(visit)
        case "go":
            part = Part.of(rows_of(rules.lists), visit.form.get("to", ""))
            return replace(page, part=part, typed=None).shown(visit)
        case "previous" | "next" as way:
            number = page.part.number + (1 if way == "next" else -1)
            part = Part.of(rows_of(rules.lists), str(max(number, 1)))
            return replace(page, part=part, typed=None).shown(visit)
        case _:
            return await _save(visit, page, rules)


def _typed(visit: Visit, loaded: Loaded, trial: Mapping[str, str]) -> RulesPage | None:
    """What came with the form. Where its base is too old to open, what is stored stands in, if that
    is the same; None if it is not: over other rows, what was typed would take wrong places.
    """
    typed, etag, base = typed_rows(visit.form), visit.form.get("etag", ""), visit.form.get("base")
    if not base:
        return RulesPage(loaded, Part((), 1), etag, trial, typed=typed)
    content = visit.drafts.open(visit.operator.person, _about(visit), base)
    if content is not None:
        etag, *lists = content
        rows = rows_of(dict(zip(LISTS, lists, strict=True)))
    elif visit.form.get("base_is_stored") and etag == loaded.etag:
        rows = rows_of(loaded.document)
    else:
        return None
    part = Part.of(rows, visit.form.get("page", ""))
    return RulesPage(loaded, part, str(etag), trial, typed=typed)


async def _save(visit: Visit, page: RulesPage, rules: Rules) -> Shown | Failed:
    tenant = visit.path["tenant"]
    change = Change(tenant, _with(page.loaded, rules), page.etag, LISTS, f"/tenants/{tenant}/rules")
    answer = await store(visit, change, dry_run=True)
    if answer.status == 412:
        return await conflict(visit, change)
    if is_mistake(answer) and answer.code != "read_only":
        errors = answer.document.get("errors", ())
        return page.wrong(*mistakes_of_rows(rules, errors, answer.detail)).shown(visit)
    if not answer.ok:
        return failed(answer)
    if not answer.document["changes"]:
        return replace(page, unchanged=True).shown(visit)
    return preview(visit, change, answer)


async def _try(visit: Visit, page: RulesPage, rules: Rules) -> Shown | Failed:
    trial = dict(page.trial)
    parts = _address(trial["url"], page.loaded)
    if trial["email"].strip() and not trial["groups"].strip():
        trial |= await _known(visit, trial["email"].strip())
    page = replace(page, trial=trial)
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
        return replace(page, found=answer.document).shown(visit)
    if not is_mistake(answer) and answer.status != 404:
        return failed(answer)
    errors = answer.document.get("errors", ())
    return page.wrong(*mistakes_of_rows(rules, errors, answer.detail)).shown(visit)


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
