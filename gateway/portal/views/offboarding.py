"""People who leave: where their identity provider tells it, and a first removal that is timed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gateway.core.model import ProviderKind
from gateway.portal.texts import VERDICTS
from gateway.portal.visit import PREFIX, Failed, Moved, Page, Shown
from gateway.setup.model import Part

if TYPE_CHECKING:
    from gateway.portal.visit import Visit

_DAY_S: Final = 86400
_KEPT: Final = 2
"""Secrets of a provider that are valid at once: with another one, the oldest ends."""
HERE: Final = f"{PREFIX}/offboarding"
AGAIN_S: Final = 3
"""How often the browser asks whether the event has arrived."""


async def show_hooks(visit: Visit) -> Shown | Moved | Failed:
    hooks = await _hooks(visit)
    return hooks if isinstance(hooks, Failed) else await _page(visit, hooks)


async def _page(visit: Visit, hooks: list[dict[str, Any]], secret: str = "") -> Shown:
    since = visit.link.work.hook_since
    verdict = ""
    if since is not None and hooks:
        answer = await visit.reach.ask(
            "test_hook",
            path={"provider": hooks[0]["provider"]},
            query={"since": f"{since:.3f}"},
        )
        verdict = VERDICTS.get(str(answer.document.get("verdict", "")), "") if answer.ok else ""
    return Shown(
        "offboarding",
        {
            "hook": hooks[0] if hooks else None,
            "is_okta": bool(hooks) and hooks[0]["kind"] == ProviderKind.OKTA,
            "is_entra": bool(hooks) and hooks[0]["kind"] == ProviderKind.ENTRA,
            "secret": secret,
            "since": since,
            "verdict": verdict,
            "denied_after_ms": visit.link.work.denied_after_ms,
        },
    )


async def make_secret(visit: Visit) -> Shown | Failed:
    """The secret is in this answer and nowhere else: in no address, and behind no redirect."""
    hooks = await _hooks(visit)
    if isinstance(hooks, Failed):
        return hooks
    if not hooks:
        return Failed(409, "incomplete")
    made_at = await visit.rooms.links.secret_made_at(visit.link.tenant, hooks[0]["provider"])
    is_new = made_at is not None and visit.now - made_at < _DAY_S
    if is_new and hooks[0]["secrets"] >= _KEPT:
        # Whoever made it. Which of the two events arrive with is not known: the older may be the
        # one in use.
        return Failed(409, "secret_is_new")
    work = replace(visit.link.work, hook_since=visit.now)
    outcome = await visit.save(work, "setup.secret.shown", {"provider": hooks[0]["provider"]})
    if isinstance(outcome, Failed):
        return outcome
    answer = await visit.reach.ask("add_hook_secret", path={"provider": hooks[0]["provider"]})
    if not answer.ok:
        return Failed(answer.status, answer.code, answer.detail)
    return await _page(visit, hooks, secret=str(answer.document["secret"]))


async def wait_for_removal(visit: Visit) -> Shown | Moved | Failed:
    """Until a removal arrived, and how long it took until every replica denied: the browser asks
    for this page again by itself.
    """
    work = visit.link.work
    if work.hook_since is None or work.denied_after_ms is not None:
        return Moved(HERE)
    ms = await visit.rooms.denied_after_ms(visit.link.tenant, work.hook_since)
    if ms is None:
        return Shown("waiting", {"seconds": AGAIN_S}, again_s=AGAIN_S)
    new_work = replace(work, denied_after_ms=ms)
    outcome = await visit.save(new_work, "setup.offboarding.passed", {"denied_after_ms": ms})
    return outcome if isinstance(outcome, Failed) else Moved(HERE, "saved")


async def _hooks(visit: Visit) -> list[dict[str, Any]] | Failed:
    """Of the link's own provider; of a link without sign-in, all of the tenant."""
    link = visit.link
    is_of_one = link.offers(Part.SIGN_IN) or link.request.connection is not None
    if is_of_one and not link.work.name:
        return []
    answer = await visit.reach.ask("list_hooks")
    if not answer.ok:
        return [] if answer.status == 404 else Failed(503, "unavailable")
    rows: list[dict[str, Any]] = answer.document["items"]
    if link.request.connection is not None:
        makers = await visit.rooms.makers(link.tenant)
        rows = [row for row in rows if link.is_by_it(makers.get(row["provider"], ""))]
    return [row for row in rows if not link.provider or row["provider"] == link.provider]


_PARTS: Final = frozenset({Part.OFFBOARDING})
PAGES: Final = (
    Page("/offboarding", show_hooks, _PARTS),
    Page("/offboarding/secret", make_secret, _PARTS, form=True, ends_live=False),
    Page("/offboarding/wait", wait_for_removal, _PARTS),
)
