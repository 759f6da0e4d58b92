"""Blocks and removed groups as an operator lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.core.paging import Page
    from gateway.core.revocation import Who


@dataclass(frozen=True, slots=True)
class BlockView:
    """One block in force, or (``group``) one group that was taken away."""

    id: str
    tenant: str
    who: Who
    reason: str
    source: str
    since: float
    group: str | None = None
    """Name or id: the person, or everybody in it where ``who`` names the group itself, is not
    believed to have it.
    """
    in_force: bool = True
    """False: what a provider said, and what imposes nothing, for the policy does not name the
    group.
    """
    exempt: int = 0
    """Of a group that was taken from everybody: people who have it all the same."""


class BlockDirectory(Protocol):
    """Blocks and removed groups in force, and those that are only remembered; imposing and lifting
    is the ``Revoker``'s.
    """

    async def page(
        self, *, tenant: str | None, position: str | None, limit: int
    ) -> Page[BlockView]: ...

    async def remembered(
        self, *, tenant: str | None, position: str | None, limit: int
    ) -> Page[BlockView]: ...

    async def find(self, block: str) -> BlockView | None: ...
