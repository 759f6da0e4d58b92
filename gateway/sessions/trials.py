"""Which links that test a connection were used: one key each, until the link has expired anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core import trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.sessions.connect import Link

PREFIX: Final = "gw:test:"


class Trials:
    """Implements ``ports.TestedConnections``. ``clock`` is UTC epoch seconds."""

    def __init__(self, link: Link, keys: Callable[[], Sequence[bytes]], *, clock: Callable[[], float]) -> None:
        self._link, self._keys, self._clock = link, keys, clock

    async def open(self, token: str) -> tuple[str, str] | None:
        found = trial.opened(self._keys(), token, now=self._clock())
        if found is None or await self._link.command("EXISTS", PREFIX + found.name):
            return None
        return found.tenant, found.name

    async def spend(self, name: str) -> bool:
        # Longer than any link lives: a name that is gone belongs to a link that has expired.
        return await self._link.command("SET", PREFIX + name, "1", "NX", "EX", trial.LIFETIME_S * 2) is not None
