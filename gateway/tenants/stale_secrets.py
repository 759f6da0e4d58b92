"""Client secrets that Cognito does not take any more: who meets one says so in Redis, and the admin
role reads Secrets Manager and publishes what is there.

``gw:{tenants}:stale_secrets``  set of client ids, for a minute

Rules:
- Only a client whose secret Secrets Manager keeps is ever named, so the set is as small as their
  number.
- Who waited for a newer secret in vain does not wait again at once: a secret that is wrong for
  another reason delays each login once, and not all of them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from gateway.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.model import AppClient
    from gateway.core.tenants import TenantTable
    from gateway.sessions.api import TenantSource
    from gateway.tenants.snapshot import Store

STALE: Final = "gw:{tenants}:stale_secrets"
_STALE_S: Final = 60
_AT_ONCE: Final = 1000
TELL_AGAIN_S: Final = 2.0
WITHIN_S: Final = 6.0
"""What a login waits for a newer secret: the admin role looks twice a second, and reads, writes and
publishes in less than one.
"""
IN_VAIN_S: Final = 15.0


async def tell_stale(store: Store, client_id: str) -> None:
    """Raises ``UnavailableError``."""
    await store.command("SADD", STALE, client_id)
    await store.command("EXPIRE", STALE, _STALE_S)


async def take_stale(store: Store) -> frozenset[str]:
    """Client ids that were told; each is taken once. Raises ``UnavailableError``."""
    taken = await store.command("SPOP", STALE, _AT_ONCE)
    return frozenset(name.decode("ascii", "replace") for name in taken or ())


class NewerSecrets:
    """Implements ``cognito.secret_exchange.ExchangedSecrets``. ``monotonic``: seconds."""

    def __init__(
        self, store: Store, tenants: TenantSource, *, monotonic: Callable[[], float]
    ) -> None:
        self._store, self._tenants, self._monotonic = store, tenants, monotonic
        self._told: dict[str, float] = {}
        self._in_vain: dict[str, float] = {}

    async def tell_stale(self, client_id: str) -> None:
        now = self._monotonic()
        if now < self._told.get(client_id, 0.0):
            return
        _forget(self._told, now)
        self._told[client_id] = now + TELL_AGAIN_S
        with contextlib.suppress(UnavailableError):
            await tell_stale(self._store, client_id)

    async def newer(self, tenant: str, client: AppClient) -> AppClient | None:
        now = self._monotonic()
        until = now + WITHIN_S
        with contextlib.suppress(UnavailableError):
            while True:
                table = self._tenants.table
                found = _client(table, tenant, client.client_id)
                if found is None or found.client_secret != client.client_secret:
                    return found
                left_s = until - self._monotonic()
                if left_s <= 0 or now < self._in_vain.get(client.client_id, 0.0):
                    break
                await self._tenants.replaced(table, within_s=left_s)
        now = self._monotonic()
        _forget(self._in_vain, now)
        self._in_vain.setdefault(client.client_id, now + IN_VAIN_S)
        return None


def _client(table: TenantTable, tenant: str, client_id: str) -> AppClient | None:
    found = table.by_id(tenant)
    return None if found is None else found.client(client_id)


def _forget(times: dict[str, float], now: float) -> None:
    """What is over, so that none stays for ever."""
    for name in [name for name, until in times.items() if until <= now]:
        del times[name]
