"""Blocks, groups that were taken away, and what providers said that imposes nothing: all of a
tenant, with who imposed each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.console.outcome import Failed, Moved, Shown
from gateway.console.page import Page
from gateway.console.visit import address, failed

if TYPE_CHECKING:
    from gateway.console.visit import Visit

KINDS: Final = ("in_force", "remembered")


async def list_blocks(visit: Visit) -> Shown | Failed:
    tenant = visit.text("tenant")
    kind = visit.text("kind") if visit.text("kind") in KINDS else KINDS[0]
    answer = await visit.ask(
        "list_blocks",
        tenant=tenant or None,
        query={
            "tenant": tenant,
            "remembered": "true" if kind == "remembered" else "",
            "cursor": visit.text("after"),
        },
    )
    if not answer.ok:
        return failed(answer)
    following = answer.document["next"]
    return Shown(
        "blocks",
        {
            "rows": answer.document["items"],
            "tenant": tenant,
            "kind": kind,
            "next": following
            and address("/blocks", tenant=tenant, kind=kind, after=str(following)),
            "may_lift": visit.may("remove_block"),
        },
    )


async def lift(visit: Visit) -> Moved | Failed:
    tenant = visit.path["tenant"]
    answer = await visit.ask("remove_block", tenant=tenant, path={"block": visit.path["block"]})
    return Moved(address("/blocks", tenant=tenant), "lifted") if answer.ok else failed(answer)


PAGES: Final = (
    Page("/blocks", "list_blocks", "people", list_blocks),
    Page("/blocks/{tenant}/{block}/lift", "remove_block", "people", lift, form=True),
)
