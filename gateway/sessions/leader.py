"""One of all processes that share a Redis does what is to be done once, in every role. The lease is
a key with an expiry; the holder renews it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.sessions.connection import Script

if TYPE_CHECKING:
    from gateway.sessions.connection import RedisClient

LEASE_S: Final = 30.0
"""How long after the holder's death another one takes over."""
LEAD: Final = Script.load("lead")


class RedisLeader:
    """``holder``: a name that no other process has. Nothing may depend on there being only one: a
    failover may lose the lease, and then there are two for a moment.
    """

    def __init__(self, redis: RedisClient, *, name: str, holder: str) -> None:
        self._redis = redis
        self._key = f"gw:leader:{name}"
        self._holder = holder

    async def lead(self) -> bool:
        """Take or renew; False while another holds it. Raises ``UnavailableError``."""
        return bool(await self._redis.run(LEAD, [self._key], [self._holder, int(LEASE_S * 1000)]))

    async def resign(self) -> None:
        """So that another need not wait for the lease to run out. Raises ``UnavailableError``."""
        await self._redis.run(LEAD, [self._key], [self._holder, 0])
