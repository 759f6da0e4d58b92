"""What is kept of passwords of the pool's users: in memory under a lease, as sessions are, and in
the store, for every replica.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from math import inf
from typing import TYPE_CHECKING, Final

from gateway.core.reason import Reason
from gateway.errors import OutdatedError, UnavailableError
from gateway.sessions import pool_passwords
from gateway.sessions.aliases import AliasIndex
from gateway.sessions.api import MISS, Miss
from gateway.sessions.cached_store import LOOKUPS_AT_ONCE, REPEATS
from gateway.sessions.connection import in_order
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.memory import Entry, weigh
from gateway.sessions.pool_passwords import (
    BEGIN_POOL_PASSWORD,
    KEEP_POOL_PASSWORD,
    KEPT_S,
    READ_POOL_PASSWORD,
    PoolPasswordBegun,
    PoolPasswordFound,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.authorization import Basic
    from gateway.core.login import Accepted
    from gateway.core.model import PoolPasswordResult, Tenant
    from gateway.keys.ring import Key, KeyRing
    from gateway.sessions.connection import RedisClient
    from gateway.sessions.lease import Lease
    from gateway.sessions.lease_client import LeaseClient
    from gateway.sessions.memory import SessionCache
    from gateway.sessions.seal import Token

MAX_REFUSALS: Final = 10_000
"""Refusals that a process remembers, some 200 bytes each; the store has those of all."""
OVERLAY_CHANGES: Final = 8


class PoolPasswordStore:
    """Raises ``UnavailableError`` when the store cannot be trusted to answer."""

    def __init__(
        self,
        redis: RedisClient,
        ring: Callable[[], KeyRing],
        *,
        cache: SessionCache,
        lease_client: LeaseClient,
        monotonic: Callable[[], float],
        clock: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._redis, self._lookups = redis, redis.apart(at_once=LOOKUPS_AT_ONCE)
        self._ring, self._cache, self._leases = ring, cache, lease_client
        self._monotonic, self._clock, self._entropy = monotonic, clock, entropy
        self._refused: OrderedDict[str, tuple[Reason, float]] = OrderedDict()
        self._hashing: tuple[str, bytes] = "", b""
        self._bases: dict[str, tuple[Tenant, bytes]] = {}

    @property
    def _key(self) -> Key:
        return self._ring().sealing[0]

    def token(self, tenant: Tenant, basic: Basic) -> Token:
        """By which name and password are known as long as the tenant makes the same identities."""
        key = self._key
        if self._hashing[0] != key.kid:
            self._hashing = key.kid, pool_passwords.hash_key(key)
        entry = self._bases.get(tenant.id)
        if entry is None or entry[0] is not tenant:
            entry = self._bases[tenant.id] = tenant, pool_passwords.basis(tenant)
        return pool_passwords.token_of(
            self._hashing[1], entry[1], basic, bucket=bucket_of(tenant.id)
        )

    def cached(self, token: Token) -> PoolPasswordResult | Miss:
        """As far as this process' memory goes: no await."""
        now = self._monotonic()
        entry = self._cache.found.get(_name(token))
        if entry is not None and now < entry.lease.answers_until and now < entry.until:
            entry.lately = True
            entry.lease.used_at = now
            self._cache.hits += 1
            return entry.session
        refusal = self._refused.get(token.text)
        return refusal[0] if refusal is not None and now < refusal[1] else MISS

    async def find(self, token: Token) -> PoolPasswordResult | None:
        """One command, sent and answered inside the lease of its primary; None: Cognito has to be
        asked.
        """
        keys, arguments = pool_passwords.read_args(token)
        for _ in range(REPEATS):
            lease = await self._leases.lease(token.bucket)
            if lease.answers_until == -inf:
                raise OutdatedError
            epoch, sent_at = lease.epoch, self._monotonic()
            answer = await self._lookups.run(READ_POOL_PASSWORD, keys, arguments)
            if answer[0] is None:
                msg = "Redis: pool_password: the store was not yet restored from the record"
                raise UnavailableError(msg)
            if answer[0].decode("ascii")[2:] != lease.marker:
                if lease.marker:
                    lease.lapse()
                continue
            if lease.epoch == epoch and lease.held(self._monotonic()):
                result = pool_passwords.parse(
                    answer, token, keys=self._ring().sealing, now=self._clock()
                )
                return None if result is None else self._remembered(token, result, lease, sent_at)
        msg = "Redis: pool_password: every read crossed an event"
        raise UnavailableError(msg)

    def _remembered(
        self, token: Token, found: PoolPasswordFound, lease: Lease, sent_at: float
    ) -> PoolPasswordResult:
        if isinstance(found.result, Reason):
            self._refuse(token, found.result, found.left_s)
            return found.result
        name, record = _name(token), pool_passwords.record_of(found.result)
        entry = Entry(found.result, record, lease, sent_at + found.left_s, weigh(name, record))
        self._cache.put(name, entry)
        return found.result

    async def begin(self, tenant: str) -> PoolPasswordBegun:
        """Before Cognito is asked: what stands against the person at this moment, or is said from
        now on, counts.
        """
        at = prefix(bucket_of(tenant))
        began, server = await self._redis.run(BEGIN_POOL_PASSWORD, [f"{at}c:{tenant}"], [at])
        return PoolPasswordBegun(int(began), server.decode("ascii"))

    async def keep(
        self, tenant: Tenant, token: Token, begun: PoolPasswordBegun, accepted: Accepted
    ) -> Reason | None:
        """One atomic script: why not, where a block or a watermark stands against the person. Who
        is kept is found by ``find``.
        """
        session = pool_passwords.new_session(
            accepted, tenant, token, begun, entropy=self._entropy, now=int(self._clock())
        )
        aliases, overlay = AliasIndex(tenant.id, self._ring().sealing), ""
        for _ in range(OVERLAY_CHANGES):
            keys, arguments = pool_passwords.keep_args(
                aliases,
                session,
                token,
                server=begun.server,
                overlay=overlay,
                key=self._key,
                entropy=self._entropy,
            )
            answer = await self._redis.run(KEEP_POOL_PASSWORD, keys, in_order(arguments))
            match answer[0]:
                case b"stored":
                    return None
                case b"overlay":
                    overlay = answer[1].decode("ascii")
                case refusal:
                    return Reason(refusal.decode("ascii"))
        msg = "Redis: keep_pool_password: the overlay of this person keeps changing"
        raise UnavailableError(msg)

    async def refuse(self, token: Token, reason: Reason) -> None:
        """For a minute, nobody asks Cognito again."""
        self._refuse(token, reason, KEPT_S)
        await self._redis.command(
            "SET", pool_passwords.refusal_key(token), reason.value, "EX", KEPT_S
        )

    def _refuse(self, token: Token, reason: Reason, left_s: float) -> None:
        self._refused[token.text] = reason, self._monotonic() + left_s
        self._refused.move_to_end(token.text)
        if len(self._refused) > MAX_REFUSALS:
            self._refused.popitem(last=False)


def _name(token: Token) -> str:
    """In the memory that it shares with cookies and app passwords: neither begins so."""
    return f";;{token.text}"
