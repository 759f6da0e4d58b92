"""Which links that test a connection were used, how far each test came, and with which app client
it is made where that is none of the tenant's yet: one key each, until the link has expired anyway.
They name nobody.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from gateway.core import signed_link
from gateway.core.model import AppClient, Secret
from gateway.sessions import seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.keys.ring import KeyRing
    from gateway.sessions.connection import RedisClient

PREFIX: Final = "gw:test:"
RESULTS: Final = "gw:test:result:"
CLIENTS: Final = "gw:test:client:"
_KEPT_S: Final = signed_link.LIFETIME_S * 2
"""Longer than any link lives: a name that is gone belongs to a link that has expired."""


class TestedConnections:
    """``clock`` is UTC epoch seconds. Raises ``UnavailableError``."""

    def __init__(
        self, redis: RedisClient, ring: Callable[[], KeyRing], *, clock: Callable[[], float]
    ) -> None:
        self._redis, self._ring, self._clock = redis, ring, clock

    async def open(self, token: str) -> tuple[str, str] | None:
        """Tenant and name of a link of ours that is neither too old nor used; uses nothing up."""
        keys = [key.material for key in self._ring().sealing]
        link = signed_link.parse(keys, token, now=self._clock())
        if link is None or await self._redis.command("EXISTS", PREFIX + link.name):
            return None
        return link.tenant, link.name

    async def spend(self, name: str) -> bool:
        """True once."""
        return await self._redis.command("SET", PREFIX + name, "1", "NX", "EX", _KEPT_S) is not None

    async def lend(self, name: str, client: AppClient) -> None:
        """The test of this link is made with this client, and nothing else is."""
        text = json.dumps([client.client_id, client.client_secret.reveal(), client.pool])
        ciphertext = seal.seal_under(
            self._ring().sealing[0],
            "test client",
            name,
            text.encode(),
            entropy=secrets.token_bytes,
        )
        await self._redis.command("SET", CLIENTS + name, ciphertext, "EX", _KEPT_S)

    async def lent(self, name: str) -> AppClient | None:
        """None: there is none, or none any more."""
        ciphertext = await self._redis.command("GET", CLIENTS + name)
        if ciphertext is None:
            return None
        text = seal.unseal_under(self._ring().sealing, "test client", name, ciphertext)
        if text is None:
            return None
        client_id, secret, pool = json.loads(text)
        return AppClient(client_id, Secret(secret), pool=pool)

    async def note(self, name: str, result: signed_link.Result) -> None:
        """How far the test came, for whoever made the link. What is done stays."""
        last_result = await self.result(name)
        if last_result is None or last_result.state != "done":
            await self._redis.command(
                "SET", RESULTS + name, json.dumps(asdict(result)), "EX", _KEPT_S
            )

    async def result(self, name: str) -> signed_link.Result | None:
        """None: nobody has opened the link yet."""
        raw = await self._redis.command("GET", RESULTS + name)
        if raw is None:
            return None
        record = json.loads(raw)
        lists = {name: tuple(record.get(name, ())) for name in ("groups", "claims")}
        return signed_link.Result(**{**record, **lists})
