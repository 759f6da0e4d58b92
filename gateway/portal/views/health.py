"""The state of a tenant's connections, and what ends when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.portal.visit import Failed, Page, Shown
from gateway.setup.model import Part

if TYPE_CHECKING:
    from gateway.portal.visit import Visit


async def show_health(visit: Visit) -> Shown | Failed:
    answer = await visit.reach.ask("list_connections")
    if not answer.ok:
        return Failed(answer.status, answer.code, answer.detail)
    return Shown("health", {"rows": answer.document["items"]})


_PARTS: Final = frozenset({Part.MAINTAIN})
PAGES: Final = (Page("/health", show_health, _PARTS),)
