"""Who gets in: groups that the test sign-in brought, others by name, or everyone."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.portal.guides import guide_of
from gateway.portal.texts import FIELD_PROBLEMS
from gateway.portal.visit import PREFIX, Failed, Moved, Page, Shown
from gateway.setup.model import Part, Phase

if TYPE_CHECKING:
    from gateway.admin.in_process import ApiAnswer
    from gateway.portal.visit import Visit

_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MAX_GROUPS: Final = 100


async def show_access(visit: Visit) -> Shown | Moved:
    return await _page(visit, "")


async def _page(visit: Visit, problem: str) -> Shown | Moved:
    work = visit.link.work
    if work.tested_at is None:
        return Moved(PREFIX)
    guide = guide_of(work.provider, work.protocol)
    new = visit.link.request.new_tenant
    connection = visit.link.request.connection
    answer = await visit.reach.ask("get_tenant")
    domains = answer.document["tenant"]["email_domains"] if answer.ok else ()
    if connection is not None:
        domains = connection.email_domains
    return Shown(
        "access",
        {
            "work": work,
            "others": [name for name in work.chosen if name not in work.groups],
            "domains": list(domains or (new.email_domains if new is not None else ())),
            "offers_everyone": _offers_everyone(visit, answer),
            "by_id": any(_GUID.fullmatch(name) for name in work.groups),
            "no_groups": guide.no_groups if guide is not None else "",
            "problem": FIELD_PROBLEMS[problem] if problem else "",
            # What the tester themselves would meet.
            "tester_in": work.everyone or not set(work.groups).isdisjoint(work.chosen),
        },
        status=422 if problem else 200,
    )


def _offers_everyone(visit: Visit, answer: ApiAnswer) -> bool:
    """Beside other providers, only where the tenant asks nobody for groups."""
    if visit.link.request.connection is None:
        return True
    return answer.ok and answer.document["tenant"]["allowed_groups"] == "any"


async def save_access(visit: Visit) -> Shown | Moved | Failed:
    work = visit.link.work
    if work.tested_at is None:
        return Moved(PREFIX)
    everyone = visit.text("who") == "everyone"
    typed = [line.strip() for line in visit.form.get("others", "").splitlines()]
    names = dict.fromkeys([*visit.chosen.get("group", ()), *typed])
    selection = tuple(name for name in names if name)
    if everyone:
        if not _offers_everyone(visit, await visit.reach.ask("get_tenant")):
            return await _page(visit, "choose")
        if not visit.text("confirmed"):
            return await _page(visit, "confirm")
        selection = ()
    elif not selection:
        return await _page(visit, "choose")
    elif len(selection) > MAX_GROUPS or any(
        len(name) > 256 or not name.isprintable() for name in selection
    ):
        return await _page(visit, "too_many")
    new_work = replace(
        work,
        everyone=everyone,
        chosen=selection,
        # What was submitted was something else.
        phase=Phase.TESTED if work.phase is Phase.SUBMITTED else work.phase,
    )
    what = {"everyone": everyone, "groups": list(selection)}
    outcome = await visit.save(new_work, "setup.access.changed", what)
    return outcome if isinstance(outcome, Failed) else Moved(f"{PREFIX}/access", "saved")


_PARTS: Final = frozenset({Part.ACCESS})
PAGES: Final = (
    Page("/access", show_access, _PARTS),
    Page("/access/save", save_access, _PARTS, form=True),
)
