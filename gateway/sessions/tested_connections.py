"""Which links that test a connection were used, and how far each test came: one key each, until the
link has expired anyway. They name nobody.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from gateway.core import signed_link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.sessions.connection import RedisClient

PREFIX: Final = "gw:test:"
RESULTS: Final = "gw:test:result:"


class TestedConnections:
    """``clock`` is UTC epoch seconds. Raises ``UnavailableError``."""

    def __init__(
        self, redis: RedisClient, keys: Callable[[], Sequence[bytes]], *, clock: Callable[[], float]
    ) -> None:
        self._redis, self._keys, self._clock = redis, keys, clock

    async def open(self, token: str) -> tuple[str, str] | None:
        """Tenant and name of a link of ours that is neither too old nor used; uses nothing up."""
        link = signed_link.parse(self._keys(), token, now=self._clock())
        if link is None or await self._redis.command("EXISTS", PREFIX + link.name):
            return None
        return link.tenant, link.name

    async def spend(self, name: str) -> bool:
        """True once."""
        # Longer than any link lives: a name that is gone belongs to a link that has expired.
        return (
            await self._redis.command(
                "SET", PREFIX + name, "1", "NX", "EX", signed_link.LIFETIME_S * 2
            )
            is not None
        )

    async def note(self, name: str, result: signed_link.Result) -> None:
        """How far the test came, for whoever made the link. What is done stays."""
        last_result = await self.result(name)
        if last_result is None or last_result.state != "done":
            await self._redis.command(
                "SET", RESULTS + name, json.dumps(asdict(result)), "EX", signed_link.LIFETIME_S * 2
            )

    async def result(self, name: str) -> signed_link.Result | None:
        """None: nobody has opened the link yet."""
        raw = await self._redis.command("GET", RESULTS + name)
        if raw is None:
            return None
        record = json.loads(raw)
        lists = {name: tuple(record.get(name, ())) for name in ("groups", "claims")}
        return signed_link.Result(**{**record, **lists})
