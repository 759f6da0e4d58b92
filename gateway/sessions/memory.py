"""Sessions in this process's memory: bounded in entries and bytes, found by cookie, dropped by
digest or bucket. No I/O, no clock.

An entry only says what the store said; whether it may be answered is the lease's business
(``lease.py``).

Keyed by the cookie value itself: a digest would cost more than the rest of a hit, and whoever reads
this process's memory reads the cookies of its requests anyway.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.core.reason import Reason
from gateway.metrics import SESSION_CACHE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.model import AppPassword, Session
    from gateway.sessions.codec import Record
    from gateway.sessions.lease import Lease

MAX_ENTRIES: Final = 50_000
MAX_BYTES: Final = 128 * 1024 * 1024
"""Per worker, by the estimate below. Beyond, what was not asked for lately goes."""
_MAX_ENDED: Final = 10_000
"""About 2 MB: what ended in the last minutes of a busy worker."""
_FIXED_BYTES: Final = 2_600
"""Objects, dictionary slots and the family key of one entry, measured with tracemalloc on CPython
3.11.
"""


@dataclass(slots=True, eq=False)
class Entry:
    """A session under the lease that it was read under."""

    session: Session
    record: Record = field(repr=False)
    lease: Lease
    until: float
    """Monotonic seconds: it idled out or reached its limit then, unless the store says
    otherwise.
    """
    bytes: int
    lately: bool = False
    app_password: AppPassword | None = None
    """What this is an entry of, if of no cookie; ``session`` is its own then."""


class SessionCache:
    """``found`` is a plain dictionary on purpose: the hot path looks into it directly."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self.found: dict[str, Entry] = {}
        self.bytes = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ended: OrderedDict[str, Reason] = OrderedDict()
        self._cookies: dict[str, str] = {}
        self._buckets: dict[int, set[str]] = {}
        self.hits = self._counted_hits = 0
        self._hit_counter = SESSION_CACHE.labels("hit")

    def count_hits(self) -> None:
        """Hits go to Prometheus now and then: its counter costs as much as a hit."""
        hits, self._counted_hits = self.hits - self._counted_hits, self.hits
        self._hit_counter.inc(hits)

    def put(self, cookie: str, entry: Entry) -> None:
        if entry.bytes > self._max_bytes // 16:
            return
        digest = entry.session.digest
        self.drop([digest])
        self.found[cookie] = entry
        self._cookies[digest] = cookie
        self._buckets.setdefault(entry.lease.bucket, set()).add(digest)
        self.bytes += entry.bytes
        while len(self.found) > self._max_entries or self.bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        """The oldest goes, unless it was asked for since it was last passed over."""
        while True:
            cookie, entry = next(iter(self.found.items()))
            if not entry.lately:
                self.drop([entry.session.digest])
                return
            entry.lately = False
            self.found[cookie] = self.found.pop(cookie)

    def drop(self, digests: Sequence[str]) -> None:
        for digest in digests:
            cookie = self._cookies.pop(digest, None)
            if cookie is not None:
                entry = self.found.pop(cookie)
                self.bytes -= entry.bytes
                bucket_digests = self._buckets[entry.lease.bucket]
                bucket_digests.discard(digest)
                if not bucket_digests:
                    del self._buckets[entry.lease.bucket]

    def end(self, digests: Sequence[str]) -> None:
        """An event said that they were ended."""
        for digest in digests:
            cookie = self._cookies.get(digest)
            if cookie is not None:
                self.note(cookie, Reason.SESSION_REVOKED)
        self.drop(digests)

    def note(self, cookie: str, reason: Reason) -> None:
        """Why there is no session behind a cookie any more: for the log and the metrics, never for
        a decision.
        """
        self._ended[cookie] = reason
        if len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)

    def why_not(self, cookie: str) -> Reason | None:
        return self._ended.get(cookie)

    def record(self, digest: str) -> Record | None:
        cookie = self._cookies.get(digest)
        return None if cookie is None else self.found[cookie].record

    def empty(self, bucket: int) -> None:
        self.drop(list(self._buckets.get(bucket, ())))


def weigh(cookie: str, record: Record) -> int:
    """An estimate of what an entry costs, in bytes."""
    identity = record.session.identity
    texts = [
        cookie,
        identity.sub,
        identity.email,
        identity.username,
        identity.preferred_username,
        identity.name,
        identity.provider,
        identity.idp_subject,
        identity.oid,
        record.session.host,
        record.session.tenant,
        record.session.client_id,
        *identity.groups,
        *identity.roles,
        *(text for pair in identity.claims for text in pair),
    ]
    return _FIXED_BYTES + sum(60 + 2 * len(text) for text in texts)
