"""Which keys of the ring every process reads with: a new key writes only after all of them have
said that they know it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.sessions.connection import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.keys.ring import KeyRing
    from gateway.sessions.connection import RedisClient

TABLE: Final = "gw:reading"
EVERY_S: Final = 2.0
COUNTS_S: Final = 60
"""A process that was silent this long is gone, or has no lease either. One that is only stopped and
comes back without the key takes sessions for none until it has looked at its file again, a second
later: a wrong redirect, never a way in.
"""

_NO_KEY: Final = "-"
"""The id of no key."""
REPORT = Script.load("key_adoption")
_log = logging.getLogger(__name__)


def written_with(kid: str) -> str:
    """The word of a process for which this key is the first of its kind."""
    return f"writes:{kid}"


class KeyAdoption:
    """One process's word, and everybody's."""

    def __init__(self, redis: RedisClient, ring: Callable[[], KeyRing]) -> None:
        self._redis = redis
        self._ring = ring

    async def report(self, process: str) -> None:
        ring = self._ring()
        kinds = (ring.sealing, ring.assertion, ring.database)
        words = [key.kid for keys in kinds for key in keys]
        words += [written_with(keys[0].kid) for keys in kinds]
        await self._redis.run(REPORT, [TABLE], [process, " ".join(words), COUNTS_S, ""])

    async def keep_reporting(self, process: str) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.report(process)
            except UnavailableError as error:
                _log.debug("key_adoption_unavailable", extra=fields(error=str(error)))
            await asyncio.sleep(EVERY_S)

    async def lagging(self, kid: str) -> tuple[int, list[str]]:
        """How many processes spoke lately, and which of them do not read with this key, or do not
        write with it (``written_with``).
        """
        count, *names = await self._redis.run(REPORT, [TABLE], ["", "", COUNTS_S, kid])
        return int(count), sorted(name.decode() for name in names)

    async def processes(self) -> list[tuple[str, bool]]:
        """Those that spoke lately, and whether each reads with the key that this one writes
        with.
        """
        _, everybody = await self.lagging(_NO_KEY)
        _, behind = await self.lagging(self._ring().sealing[0].kid)
        return [(name, name not in behind) for name in everybody]
