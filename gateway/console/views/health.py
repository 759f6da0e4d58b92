"""Health: dependencies, processes, user pools, and what failed in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.console.outcome import Failed, Shown
from gateway.console.page import Page
from gateway.console.visit import failed

if TYPE_CHECKING:
    from gateway.console.visit import Visit


async def show_health(visit: Visit) -> Shown | Failed:
    answer = await visit.ask("get_health")
    if not answer.ok:
        return failed(answer)
    pools = await visit.ask("list_pools") if visit.may("list_pools") else None
    return Shown(
        "health",
        {
            "health": answer.document,
            "pools": pools.document["items"] if pools is not None and pools.ok else (),
        },
    )


PAGES: Final = (Page("/health", "get_health", "health", show_health),)
