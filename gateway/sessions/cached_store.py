"""The session store with memory in front: ``sessions.api.SessionStore`` for the auth role. See
docs/sessions.md, "Lease".
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

from gateway.core.reason import Reason
from gateway.errors import OutdatedError, UnavailableError
from gateway.metrics import SESSION_CACHE
from gateway.sessions import app_passwords, bearer_links, seal
from gateway.sessions.api import MISS, Miss
from gateway.sessions.connection import Script
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.sessions.memory import Entry, weigh
from gateway.sessions.negative_cache import Unknown
from gateway.sessions.store import RedisSessions, wrong_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.model import AppPassword, Session
    from gateway.sessions.api import BearerLink, SessionEnded
    from gateway.sessions.app_passwords import Parsed
    from gateway.sessions.codec import Record
    from gateway.sessions.connection import RedisClient
    from gateway.sessions.lease import Lease
    from gateway.sessions.lease_client import LeaseClient
    from gateway.sessions.memory import SessionCache
    from gateway.sessions.seal import Token

READ = Script.load("read")
REPEATS: Final = 16
"""A read that crossed an epoch is repeated. With an event every millisecond and a read of one, all
of these cross once in 1,500 reads.
"""
LOOKUPS_AT_ONCE: Final = 8
"""Cookies that are asked for at one server at one time. More come from strangers at once, and wait
where they delay no sign-in and no renewal; what is under way is also what one turn of the event
loop has to deal with before somebody who is in memory is answered. With 1 ms to the store and back,
8,000 a second, more than a worker decides.
"""
_UNRESTORED: Final = "Redis: read: the store was not yet restored from the record"


class CachedSessions(RedisSessions):
    """Reads go through memory, under a lease; everything else is the store's."""

    def __init__(
        self,
        redis: RedisClient,
        ring: Any,
        *,
        cache: SessionCache,
        lease_client: LeaseClient,
        monotonic: Callable[[], float],
        **others: Any,
    ) -> None:
        super().__init__(redis, ring, monotonic=monotonic, **others)
        self.cache = cache
        self.lease_client = lease_client
        self._lookups = redis.apart(at_once=LOOKUPS_AT_ONCE)
        self._unknown = Unknown()
        self._count = {
            result: SESSION_CACHE.labels(result) for result in ("miss", "crossed", "unavailable")
        }
        self._found = cache.found
        self._steady = monotonic

    def cached(self, cookie: str, *, host: str) -> Session | Miss | None:
        """What memory says, about a microsecond, no await: the lease is read last, just before the
        answer.
        """
        entry = self._found.get(cookie)
        if entry is None:
            return MISS
        now = self._steady()
        if now >= entry.lease.answers_until or now >= entry.until:
            return MISS
        entry.lately = True
        entry.lease.used_at = now
        self.cache.hits += 1
        return entry.session if entry.session.host == host else None

    def _record(self, digest: str) -> Record | None:
        return self.cache.record(digest)

    async def find(self, cookie: str, *, host: str) -> Session | None:
        result = self.cached(cookie, host=host)
        if not isinstance(result, Miss):
            return result
        token = seal.parse_token(cookie)
        if (
            token is None
            or not self._may_hold(token.bucket, host)
            or self._unknown.has(cookie, self._steady())
        ):
            return None
        self._count["miss"].inc()
        try:
            return await self._find(cookie, token, host=host)
        except UnavailableError:
            self._count["unavailable"].inc()
            raise

    async def _find(self, cookie: str, token: Token, *, host: str) -> Session | None:
        for _ in range(REPEATS):
            lease = await self.lease_client.lease(token.bucket)
            if lease.answers_until == -inf:
                raise OutdatedError
            epoch, sent_at = lease.epoch, self._steady()
            value, left_s = await self.read(token, lease)
            if not self.counts(lease, epoch):
                self._count["crossed"].inc()
                continue
            if value is None:
                self._unknown.add(cookie, self._steady())
            record = None if value is None else self.open(token, value, host=host)
            if record is None:
                self._gone(cookie)
                return None
            self.fill(cookie, record, lease, sent_at=sent_at, left_s=left_s)
            return record.session
        msg = "Redis: read: every one crossed an event"
        raise UnavailableError(msg)

    def _gone(self, cookie: str) -> None:
        """The store has it no more: idled out or at its limit, since an event would have told of
        anything else.
        """
        entry = self._found.get(cookie)
        if entry is not None:
            self.cache.note(
                cookie,
                Reason.SESSION_EXPIRED
                if entry.session.expires_at <= self._clock()
                else Reason.SESSION_IDLE,
            )
            self.cache.drop([entry.session.digest])

    def why_not(self, cookie: str, *, tenant: str | None) -> Reason:
        entry = self._found.get(cookie)
        if entry is not None:
            return wrong_place(entry.session.tenant, tenant)
        return self.cache.why_not(cookie) or super().why_not(cookie, tenant=tenant)

    async def read(self, token: Token, lease: Lease) -> tuple[bytes | None, float]:
        """One command, at the primary that the lease is held on: the sealed value, and how long it
        lives.
        """
        at = prefix(token.bucket)
        marker, value, left_ms = await self._lookups.run(READ, [f"{at}s:{token.digest}"], [at])
        if marker is None:
            raise UnavailableError(_UNRESTORED)
        if marker.decode("ascii")[2:] != lease.marker:
            # Another server answered: whether it is the newer one is the next renewal's to say.
            if lease.marker:
                lease.lapse()
            return None, 0.0
        return value, left_ms / 1000

    def counts(self, lease: Lease, epoch: int) -> bool:
        """No event and no lapse since the read was sent, and the lease still held: so it was sent,
        and served, inside it.
        """
        return lease.epoch == epoch and lease.held(self._steady())

    def fill(
        self, cookie: str, record: Record, lease: Lease, *, sent_at: float, left_s: float
    ) -> None:
        """Remember a read that counts; no await lies between that finding and this."""
        self.cache.put(
            cookie, Entry(record.session, record, lease, sent_at + left_s, weigh(cookie, record))
        )

    async def bearer_link(self, tenant: str, *, user: str, auth_time: int) -> BearerLink | None:
        """One command, sent and answered inside the lease of its primary: an isolated old one would
        answer happily.
        """
        aliases = self.alias_index(tenant)
        keys, arguments = bearer_links.read_args(aliases, user=user, auth_time=auth_time)
        for _ in range(REPEATS):
            lease = await self.lease_client.lease(bucket_of(tenant))
            epoch = lease.epoch
            answer = await self._lookups.run(bearer_links.BEARER_LINK, keys, arguments)
            if answer[0].decode("ascii")[2:] != lease.marker:
                if lease.marker:
                    lease.lapse()
            elif self.counts(lease, epoch):
                return bearer_links.parse(answer, aliases, user=user, keys=self._keys)
        msg = "Redis: linked: every read crossed an event"
        raise UnavailableError(msg)

    # --- app passwords
    # ---------------------------------------------------------------------------------

    def cached_app_password(self, text: str) -> AppPassword | Miss | None:
        entry = self._found.get(_name(text))
        if entry is None:
            return MISS
        now = self._steady()
        if now >= entry.lease.answers_until or now >= entry.until:
            return MISS
        entry.lately = True
        entry.lease.used_at = now
        self.cache.hits += 1
        self.uses.used(entry.session)
        return entry.app_password

    async def app_password(self, text: str, *, host: str) -> AppPassword | None:
        parsed = app_passwords.parse_text(text, self._keys)
        if (
            parsed is None
            or not self._may_hold(parsed.token.bucket, host)
            or self._unknown.has(_name(text), self._steady())
        ):
            return None
        self._count["miss"].inc()
        try:
            return await self._app_password(text, parsed)
        except UnavailableError:
            self._count["unavailable"].inc()
            raise

    async def _app_password(self, text: str, parsed: Parsed) -> AppPassword | None:
        """As a session is read: one command, sent and answered inside the lease of its primary."""
        keys, arguments = app_passwords.read_args(parsed)
        for _ in range(REPEATS):
            lease = await self.lease_client.lease(parsed.token.bucket)
            if lease.answers_until == -inf:
                raise OutdatedError
            epoch, sent_at = lease.epoch, self._steady()
            answer = await self._lookups.run(app_passwords.READ_APP_PASSWORD, keys, arguments)
            if answer[0] is None:
                raise UnavailableError(_UNRESTORED)
            if answer[0].decode("ascii")[2:] != lease.marker:
                if lease.marker:
                    lease.lapse()
                continue
            if not self.counts(lease, epoch):
                self._count["crossed"].inc()
                continue
            app_password = app_passwords.parse(answer, parsed, keys=self._keys, now=self._clock())
            if app_password is None:
                self._unknown.add(_name(text), self._steady())
                self.cache.drop([parsed.token.digest])
                return None
            self.uses.used(app_password.session)
            record = app_passwords.record_of(app_password)
            self.cache.put(
                _name(text),
                Entry(
                    app_password.session,
                    record,
                    lease,
                    sent_at + int(answer[2]) / 1000,
                    weigh(_name(text), record),
                    app_password=app_password,
                ),
            )
            return app_password
        msg = "Redis: app_password: every read crossed an event"
        raise UnavailableError(msg)

    # --- narrowing
    # -------------------------------------------------------------------------------------

    def is_suspended(self, tenant: str) -> bool:
        lease = self.lease_client.leases.get(bucket_of(tenant))
        return lease is not None and lease.answers_until == -inf and lease.held(self._steady())

    async def wait_for_snapshot(self, tenant: str) -> bool:
        cached_lease = self.lease_client.leases.get(bucket_of(tenant))
        at_once = cached_lease is not None and cached_lease.held(self._steady())
        lease = await self.lease_client.lease(bucket_of(tenant))
        if not self._steady() < lease.answers_until:
            raise OutdatedError
        return at_once

    async def end_family(self, session: Session, *, cookie: str) -> SessionEnded:
        result = await super().end_family(session, cookie=cookie)
        self.cache.end([session.digest])
        return result

    async def end_replaced(self, session: Session, *, cookie: str) -> SessionEnded:
        result = await super().end_replaced(session, cookie=cookie)
        self.cache.end([session.digest])
        return result


def _name(text: str) -> str:
    """Of an app password in the memory that it shares with cookies: no cookie has a semicolon."""
    return f";{text}"
