"""What need not be asked of the store: cookies that cannot be of a host, and cookies that it did
not know a moment ago. No I/O, no clock.

Nobody is kept out by either who has a session: it is sealed for its host's tenant, whose id says
the bucket; and a cookie is random and told to its browser only once its session is stored, so
nothing can ask for it before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.tenants import HostKind
from gateway.sessions.keyspace import bucket_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.tenants import TenantTable

LIFE_S: Final = 1.0
"""How long an unknown cookie is remembered: one that a browser repeats costs one command a
second.
"""
MAX_UNKNOWN: Final = 10_000
"""About 2 MB."""


class Unknown:
    """Cookies without a session, the latest ``MAX_UNKNOWN``."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def has(self, cookie: str, now: float) -> bool:
        return now < self._until.get(cookie, now)

    def add(self, cookie: str, now: float) -> None:
        self._until.pop(cookie, None)  # the oldest stand first
        self._until[cookie] = now + LIFE_S
        if len(self._until) > MAX_UNKNOWN:
            del self._until[next(iter(self._until))]


class HostBuckets:
    """Which buckets may hold sessions of a host: that of its tenant, or of every tenant where hosts
    are shared.
    """

    def __init__(self, table: Callable[[], TenantTable]) -> None:
        self._table = table
        self._of: TenantTable | None = None
        self._all: frozenset[int] = frozenset()

    def __call__(self, bucket: int, host: str) -> bool:
        table = self._table()
        owner = table.by_host(host)
        if not isinstance(owner, HostKind):
            return bucket == bucket_of(owner.id)
        return owner is not HostKind.UNKNOWN and bucket in self._buckets(table)

    def _buckets(self, table: TenantTable) -> frozenset[int]:
        if self._of is not table:
            self._of, self._all = table, frozenset(map(bucket_of, table.ids()))
        return self._all
