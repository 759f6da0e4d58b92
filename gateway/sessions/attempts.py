"""Counting attempts per client and minute, in Redis: the same count for every replica."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.sessions.connect import Link

LIFE_S: Final = 130


class Attempts:
    """``clock`` is UTC epoch seconds. Raises ``UnavailableError`` when the store does not answer: nobody guesses while it is away."""

    def __init__(self, link: Link, *, clock: Callable[[], float]) -> None:
        self._link = link
        self._clock = clock

    async def allowed(self, client: str, *, per_minute: int, kind: str = "") -> bool:
        """Counts this attempt; False once there were more than ``per_minute`` in the present minute."""
        name = self._name(client, kind)
        count = int(await self._link.command("INCR", name))
        if count == 1:
            await self._link.command("EXPIRE", name, LIFE_S)
        return count <= per_minute

    def _name(self, client: str, kind: str) -> str:
        # The minute is part of the name, so a counter whose EXPIRE was lost locks nobody out later. Hashed: a dump names nobody.
        digest = hashlib.sha256(f"{kind} {client}".encode("utf-8", "replace")).hexdigest()[:32]
        return f"gw:attempts:{digest}:{int(self._clock() // 60)}"
