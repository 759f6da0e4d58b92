"""E-mail domains: the record that proves each, what DNS says of it, and taking it into use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.portal.texts import DOMAIN_STATES, FIELD_PROBLEMS
from gateway.portal.visit import PREFIX, Failed, Moved, Page, Shown
from gateway.setup.model import Part

if TYPE_CHECKING:
    from gateway.admin.in_process import ApiAnswer
    from gateway.portal.visit import Visit

HERE: Final = f"{PREFIX}/domains"
PROVEN: Final = frozenset({"verified", "missing", "vouched"})


async def domain_rows(visit: Visit) -> list[dict[str, Any]] | Failed | None:
    """Of the tenant, or of the one that the link makes; None where there is neither."""
    answer = await visit.reach.ask("list_domains")
    if answer.status == 404:
        return None
    rows: list[dict[str, Any]] = answer.document.get("items", [])
    rows = [row for row in rows if is_of_link(visit, row["domain"])]
    return rows if answer.ok else Failed(503, "unavailable")


def is_of_link(visit: Visit, domain: str) -> bool:
    """Whether it is the recipient's to see: of a link that connects one more provider, those that
    the operator named.
    """
    connection = visit.link.request.connection
    return connection is None or domain in connection.email_domains


async def asked_domains(visit: Visit) -> tuple[str, ...]:
    """Those of what the link makes, a tenant or one more connection, in the operator's words."""
    link = visit.link
    new, connection = link.request.new_tenant, link.request.connection
    if connection is not None:
        record = await visit.rooms.tenants.get(link.tenant)
        named = () if record is None else record.document["email_domains"]
        return tuple(name for name in connection.email_domains if name not in named)
    return new.email_domains if new is not None and link.draft_of else ()


async def unproven(visit: Visit, rows: list[dict[str, Any]] | None) -> list[str]:
    """Those without which nothing is saved."""
    if visit.rooms.config.domains.proof != "required":
        return []
    proven = {row["domain"] for row in rows or () if row["state"] in PROVEN}
    return [name for name in await asked_domains(visit) if name not in proven]


async def show_domains(visit: Visit) -> Shown | Failed:
    return await _page(visit)


async def _page(
    visit: Visit, problem: str = "", *, detail: str = "", typed: str = ""
) -> Shown | Failed:
    rows = await domain_rows(visit)
    if isinstance(rows, Failed):
        return rows
    return Shown(
        "domains",
        {
            "made": rows is not None,
            "asked": [
                name
                for name in await asked_domains(visit)
                if name not in {r["domain"] for r in rows or ()}
            ],
            "rows": [
                {**row, "text": DOMAIN_STATES[row["state"]], "proven": row["state"] in PROVEN}
                for row in rows or ()
            ],
            "problem": FIELD_PROBLEMS[problem] if problem else "",
            "detail": detail,
            "problem_title": bool(problem or detail),
            "typed": typed,
            "uses": visit.reach.may("use_domain"),
            "removes": visit.reach.may("remove_domain"),
        },
        status=422 if problem or detail else 200,
    )


async def add_domain(visit: Visit) -> Shown | Moved | Failed:
    typed = visit.text("domain")[:260]
    if not typed:
        return await _page(visit, "required")
    if not is_of_link(visit, typed.lower()):
        return await _page(visit, "domain_taken", typed=typed)
    answer = await visit.reach.ask("add_domain", body={"domain": typed})
    if answer.ok:
        return Moved(HERE, "domain_added")
    if answer.code == "taken":
        return await _page(visit, "domain_taken", typed=typed)
    if answer.status in {400, 409, 422}:
        mistakes = answer.document.get("errors") or []
        message = str(mistakes[0]["problem"]) if mistakes else answer.detail
        return await _page(visit, detail=message, typed=typed)
    return _failed(answer)


async def check_domain(visit: Visit) -> Moved | Failed:
    return await _changed(visit, "check_domain", "domain_checked")


async def use_domain(visit: Visit) -> Moved | Failed:
    if not visit.reach.may("use_domain"):
        return Failed(403, "operators_use")
    return await _changed(visit, "use_domain", "domain_used")


async def remove_domain(visit: Visit) -> Moved | Failed:
    if not visit.reach.may("remove_domain"):
        return Failed(404, "not_found")
    return await _changed(visit, "remove_domain", "saved")


async def _changed(visit: Visit, operation: str, notice: str) -> Moved | Failed:
    if not is_of_link(visit, visit.text("domain")):
        return Failed(404, "not_found")
    answer = await visit.reach.ask(operation, path={"domain": visit.text("domain")})
    return Moved(HERE, notice) if answer.ok else _failed(answer)


def _failed(answer: ApiAnswer) -> Failed:
    if answer.status >= 500:
        return Failed(503, "unavailable")
    return Failed(answer.status, answer.code, answer.detail)


_PARTS: Final = frozenset({Part.DOMAINS})


def _form(path: str, handler: Any) -> Page:
    return Page(f"/domains/{path}", handler, _PARTS, form=True, ends_live=False)


PAGES: Final = (
    Page("/domains", show_domains, _PARTS),
    _form("add", add_domain),
    _form("check", check_domain),
    _form("use", use_domain),
    _form("remove", remove_domain),
)
