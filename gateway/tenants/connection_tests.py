"""One-time links for testing a tenant's connection, as the admin API and the command give them
out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core import signed_link
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from gateway.config.model import Config
    from gateway.core.model import AppClient
    from gateway.core.tenants import TenantTable

    class Tested(Protocol):
        """See ``sessions.tested_connections``. Raises ``UnavailableError``."""

        async def lend(self, name: str, client: AppClient) -> None: ...

        async def result(self, name: str) -> signed_link.Result | None: ...


class LoginLinks:
    """Implements ``tenants.api.LoginTests``. ``keys`` are the ring's; the first one writes.
    ``tested``: what became of links, by name, and with which client each is tested.
    """

    def __init__(
        self,
        config: Config,
        *,
        table: Callable[[], TenantTable],
        keys: Callable[[], Sequence[bytes]],
        tested: Tested,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._config, self._table, self._keys = config, table, keys
        self._tested, self._clock, self._entropy = tested, clock, entropy

    async def link(self, tenant: str, *, client: AppClient | None = None) -> str | Rejected:
        """At ``login_host`` where there is one: Cognito knows no other callback then. Inactive
        tenants too: that is when one tests.
        """
        entry = self._table().by_id(tenant)
        if entry is None:
            return Rejected("not_found", f"there is no tenant {tenant!r} that is served")
        if not entry.client_id:
            return Rejected(
                "conflict", f"tenant {tenant} has no app client yet: provision it first"
            )
        hosts = (
            [self._config.login_host]
            if self._config.login_host is not None
            else [*sorted(entry.hosts), *self._config.shared_hosts]
        )
        if not hosts:
            return Rejected(
                "conflict",
                f"tenant {tenant} has no host, and there are neither shared_hosts nor a login_host",
            )
        token = signed_link.issue(
            self._keys()[0],
            entry.id,
            chance=self._entropy(signed_link.CHANCE_BYTES),
            expires_at=int(self._clock()) + signed_link.LIFETIME_S,
            lent=client is not None,
        )
        link = signed_link.parse(self._keys(), token, now=0)
        if client is not None and link is not None:
            await self._tested.lend(link.name, client)
        return f"{self._config.origin(hosts[0])}{signed_link.PATH}?token={token}"

    async def result(
        self, tenant: str, token: str
    ) -> tuple[signed_link.TestLink, signed_link.Result | None] | None:
        # Also of a link that has expired: that is when one asks.
        link = signed_link.parse(self._keys(), token, now=0)
        if link is None or link.tenant != tenant:
            return None
        return link, await self._tested.result(link.name)
