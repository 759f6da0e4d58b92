"""The list of tasks, and whose guide is followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.portal.guides import NAMES, guide_of, protocols_of
from gateway.portal.views.domains import PROVEN, domain_rows
from gateway.portal.visit import PREFIX, Failed, Moved, Page, Shown
from gateway.setup.model import Part, Phase, SetupProvider, Work, handed_on

if TYPE_CHECKING:
    from gateway.portal.visit import Visit
    from gateway.setup.model import SetupLink


@dataclass(frozen=True, slots=True)
class Task:
    """``state``: ``todo``, ``next``, ``done``, ``waiting`` (for an earlier one), ``dns`` (for a
    record); "" where there is nothing to do.
    """

    name: str
    to: str
    state: str


def tasks_of(
    link: SetupLink, domains: list[dict[str, Any]] | None, *, domains_first: bool = False
) -> list[Task]:
    """In their order; one after another is next. ``domains``: of the tenant, or of the one that is
    made.
    """
    rows: list[tuple[str, str, bool]] = []
    if link.offers(Part.SIGN_IN):
        progress = dict(link.tasks())
        addresses = {"connection": "/connection/1"}
        rows += [(name, addresses.get(name, f"/{name}"), progress[name]) for name in progress]
        rows.append(("review", "/review", link.work.phase in {Phase.SUBMITTED, Phase.LIVE}))
    if link.offers(Part.RENEW):
        progress = dict(link.tasks())
        addresses = {"renewal": "/renew", "test": "/test"}
        rows = [(name, addresses[name], progress[name]) for name in progress]
        rows.append(("renewed", "/renew/review", link.work.phase in {Phase.SUBMITTED, Phase.LIVE}))
    tasks, is_blocked = [], False
    for name, to, done_already in rows:
        state = "done" if done_already else "waiting" if is_blocked else "next"
        is_blocked = is_blocked or not done_already
        tasks.append(Task(name, PREFIX + to, state))
    if link.offers(Part.DOMAINS):
        task = Task(
            "domains", f"{PREFIX}/domains", _domains_state(domains, draft=_asks_domains(link))
        )
        # Without them nothing is saved.
        tasks.insert(0 if domains_first else len(tasks), task)
    if link.offers(Part.OFFBOARDING):
        ready = not link.offers(Part.SIGN_IN) or bool(link.work.name)
        done_here = link.work.denied_after_ms is not None
        state = "done" if done_here else "todo" if ready else "waiting"
        tasks.append(Task("offboarding", f"{PREFIX}/offboarding", state))
    if link.offers(Part.MAINTAIN):
        tasks.append(Task("health", f"{PREFIX}/health", ""))
    return tasks


def _asks_domains(link: SetupLink) -> bool:
    """Whether its domains come into use with what is connected."""
    return bool(link.draft_of) or (link.request.connection is not None and not link.work.name)


def _domains_state(domains: list[dict[str, Any]] | None, *, draft: bool) -> str:
    if domains is None:
        return "waiting"
    if any(row["state"] == "pending" for row in domains):
        return "dns"
    is_used = any(row["in_use"] and row["state"] in PROVEN for row in domains)
    # Of a tenant that is not made, none is in use.
    is_proven = draft and bool(domains) and all(row["state"] in PROVEN for row in domains)
    return "done" if is_used or is_proven else "todo"


async def show_tasks(visit: Visit) -> Shown | Failed:
    rows = await domain_rows(visit) if visit.link.offers(Part.DOMAINS) else None
    if isinstance(rows, Failed):
        return rows
    asks = not visit.link.parent and bool(handed_on(visit.link.request))
    first = visit.rooms.config.domains.proof == "required" and _asks_domains(visit.link)
    tasks = tasks_of(visit.link, rows, domains_first=first)
    return Shown("tasks", {"tasks": tasks, "asks_colleague": asks})


async def show_providers(visit: Visit) -> Shown:
    providers = visit.link.request.providers or tuple(SetupProvider)
    rows = [
        (str(name), NAMES[name], [str(protocol) for protocol in protocols_of(name)])
        for name in providers
    ]
    return Shown("provider", {"rows": rows, "work": visit.link.work})


async def choose_provider(visit: Visit) -> Moved | Failed:
    provider, _, protocol = visit.text("choice").partition("/")
    providers = visit.link.request.providers or tuple(SetupProvider)
    if guide_of(provider, protocol) is None or provider not in providers:
        return Failed(400, "bad_form")
    work = visit.link.work
    if (work.provider, work.protocol) != (provider, protocol):
        # Another provider: nothing of the one before is kept but its name, to take it away.
        new_work = Work(
            provider=provider,
            protocol=protocol,
            returned=work.returned,
            made=work.made,
            replaces=work.replaces,
        )
        what = {"provider": provider, "protocol": protocol}
        outcome = await visit.save(new_work, "setup.provider.chosen", what)
        if isinstance(outcome, Failed):
            return outcome
    return Moved(f"{PREFIX}/connection/1")


_PARTS: Final = frozenset({Part.SIGN_IN})
PAGES: Final = (
    Page("", show_tasks),
    Page("/provider", show_providers, _PARTS),
    Page("/provider/choose", choose_provider, _PARTS, form=True),
)
