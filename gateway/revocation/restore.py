"""Markers: a bucket is believed only on the very server for which its data was brought up to the
record.

A restart, a fail-over, a flush or older data make a marker not fit; then checks and logins answer
503 until an admin role has restored the bucket (clock, blocks, overlays, revocations, from the
record) and marked it again. A marker is on *probation* for a full staleness: leases held on another
server run out in that time, and acknowledgements wait it out. Then it is *trusted*.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.sessions.connection import Script
from gateway.sessions.keyspace import BUCKETS, bucket_of, prefix
from gateway.sessions.outage_log import Troubles
from gateway.sessions.redis_error import reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from gateway.sessions.connection import RedisClient

MARKERS, MARK, TRUST = (Script.load(name) for name in ("markers", "mark", "trust"))
LOOK_S: Final = 0.25
"""How long a fail-over may go unnoticed by the admin role; part of the time to recover."""
_MARKERS_OF: Final = tuple(f"{prefix(bucket)}m" for bucket in range(BUCKETS))
"""Keys, by bucket: of all of them four times a second."""
TURNS: Final = 64
"""In a Cluster, looks until every bucket was asked for: a single lost key is noticed within 16 s,
another primary at once.
"""
AT_ONCE: Final = 8
"""Tenants that are restored at one time, and connections to one server for all that is done
here.
"""

_log = logging.getLogger(__name__)


class Markers:
    """The admin role's keeper of markers. Several admin roles may keep the same: restoring is
    idempotent.
    """

    def __init__(
        self,
        redis: RedisClient,
        *,
        tenants: Callable[[], Awaitable[Iterable[str]]],
        restore: Callable[[str], Awaitable[None]],
        generation: Callable[[], int],
        staleness_s: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        nonce: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        """``restore`` brings one tenant's slot up to the record; ``tenants`` are those of which
        anything is recorded.

        ``generation`` is that of the tenant snapshot which this admin role publishes: nothing older
        is to be answered by.
        """
        self._redis = redis.apart(at_once=AT_ONCE)
        self._tenants = tenants
        self._restore = restore
        self._generation = generation
        self._staleness_s = staleness_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._nonce = nonce
        self._on_probation: dict[tuple[int, bytes], float] = {}
        self._untrusted: set[int] = set()
        self._turn = 0
        self._unrestorable: set[str] = set()
        """Tenants whose record is beyond us, as the log has said: their buckets stay shut, the
        others' people come in.
        """
        self._at: dict[int, str] = {}
        """Primary of each bucket when it was last looked at."""

    async def run(self) -> None:
        """Until cancelled."""
        troubles = Troubles("redis_restore_unavailable", "redis_restore_available")
        while True:
            try:
                await self.look()
                troubles.ends("")
            except UnavailableError as error:
                troubles.begins("", error)
            except Exception as error:  # noqa: BLE001 - whatever it is
                # Without this loop, every check after the next fail-over is 503 for ever.
                if troubles.begins("", UnavailableError(type(error).__name__)):
                    _log.exception("redis_restore_fault")
            await self._sleep(LOOK_S)

    async def look(self) -> int:
        """Restore and mark what does not fit, trust what did for a full staleness; how many
        buckets were restored.
        """
        if not self._redis.clustered:
            return await self._look(range(BUCKETS))
        # One command may name the keys of one slot only: one bucket of each primary, some more in
        # turn, all of a primary that has changed, and what was moved.
        await self._redis.look_again()
        by_primary = await self._redis.by_primary(
            {bucket: prefix(bucket) for bucket in range(BUCKETS)}
        )
        now_at = {bucket: primary for primary, buckets in by_primary.items() for bucket in buckets}
        moved_buckets = {
            bucket for bucket, primary in now_at.items() if self._at.get(bucket, primary) != primary
        }
        results = await asyncio.gather(
            *(self._look_at(buckets, moved_buckets) for buckets in by_primary.values()),
            return_exceptions=True,
        )
        self._turn = (self._turn + 1) % TURNS
        failure: BaseException | None = None
        for buckets, result in zip(by_primary.values(), results, strict=True):
            if isinstance(result, BaseException):
                failure = result
            else:
                self._at |= {bucket: now_at[bucket] for bucket in buckets}
        if failure is not None:
            raise failure  # the other primaries were looked at
        return sum(result for result in results if isinstance(result, int))

    async def _look_at(self, buckets: Sequence[int], moved: set[int]) -> int:
        """The buckets of one primary."""
        sample = {
            buckets[0],
            *buckets[self._turn :: TURNS],
            *self._untrusted.intersection(buckets),
            *moved.intersection(buckets),
        }
        restored = await self._look(sorted(sample))
        return restored + await self._look(buckets) if restored else 0

    async def _look(self, buckets: Sequence[int]) -> int:
        """Buckets of one server. One that cannot be restored, since it is being moved or its record
        does not answer, keeps none of the others from it.
        """
        trusted, others = await self._markers(buckets)
        by_identity: dict[str, set[int]] = {}
        for bucket, (identity, marker) in others.items():
            if not identity:
                msg = "Redis: the server is no primary"
                raise UnavailableError(msg)
            if marker is None:
                by_identity.setdefault(identity, set()).add(bucket)
        failure: UnavailableError | None = None
        restored: set[int] = set()
        for identity, unmarked in by_identity.items():
            failed_buckets, failure = await self._restore_all(unmarked)
            if unmarked - failed_buckets:
                await self._mark(unmarked - failed_buckets, identity)
                restored |= unmarked - failed_buckets
        if restored:
            _log.warning("redis_bucket_restored", extra=fields(buckets=len(restored)))
        markers = {
            bucket: marker
            for bucket, (_, marker) in others.items()
            if marker is not None and marker.startswith(b"f")
        }
        self._untrusted -= trusted
        self._untrusted |= restored | markers.keys()
        await self._trust(trusted, markers)
        if failure is not None:
            raise failure
        return len(restored)

    async def _markers(
        self, buckets: Sequence[int]
    ) -> tuple[set[int], dict[int, tuple[str, bytes | None]]]:
        """Which are trusted; and of the others identity of their server, and their marker if it
        fits. Without those of a Cluster that are being moved.
        """
        if not self._redis.clustered:
            answer = await self._redis.run(MARKERS, [_MARKERS_OF[bucket] for bucket in buckets], [])
            others = _not_trusted(answer, buckets)
            return {*buckets} - others.keys(), others
        answers = await self._redis.run_together(
            MARKERS, [([_MARKERS_OF[bucket]], []) for bucket in buckets]
        )
        asked, others = set[int](), {}
        for bucket, answer in zip(buckets, answers, strict=True):
            if not isinstance(answer, Exception):
                asked.add(bucket)
                others |= _not_trusted(answer, (bucket,))
        return asked - others.keys(), others

    async def _restore_all(self, buckets: set[int]) -> tuple[set[int], UnavailableError | None]:
        """Bring the tenants of these buckets up to the record; which buckets could not be, and
        why.
        """
        tenants = [tenant for tenant in await self._tenants() if bucket_of(tenant) in buckets]
        failed_buckets: set[int] = set()
        failure: UnavailableError | None = None
        for first in range(0, len(tenants), AT_ONCE):
            together = tenants[first : first + AT_ONCE]
            for tenant, result in zip(
                together,
                await asyncio.gather(
                    *(self._restore(tenant) for tenant in together), return_exceptions=True
                ),
                strict=True,
            ):
                if result is None:
                    self._unrestorable.discard(tenant)
                    continue
                if not isinstance(result, Exception):
                    raise result
                failed_buckets.add(bucket_of(tenant))
                failure = (
                    result
                    if isinstance(result, UnavailableError)
                    else UnavailableError(
                        f"what is recorded of a tenant cannot be restored: {type(result).__name__}"
                    )
                )
                if failure is not result and tenant not in self._unrestorable:
                    self._unrestorable.add(tenant)
                    _log.error("redis_restore_failed", exc_info=result, extra=fields(tenant=tenant))
        return failed_buckets, failure

    async def _mark(self, buckets: set[int], identity: str) -> None:
        arguments: list[str | int] = [self._nonce(), identity, self._generation()]
        keys = [_MARKERS_OF[bucket] for bucket in sorted(buckets)]
        if not self._redis.clustered:
            answers = [await self._redis.run_durably(MARK, keys, arguments)]
        else:
            answers = await self._redis.run_together_durably(
                MARK, [([key], arguments) for key in keys]
            )
        for answer in answers:
            if isinstance(answer, Exception):
                msg = f"Redis: {MARK.name}: {reason(answer)}"
                raise UnavailableError(msg) from answer
            if not answer:
                msg = "Redis: another primary took over while one was restored"
                raise UnavailableError(msg)

    async def _trust(self, trusted: Collection[int], markers: dict[int, bytes]) -> None:
        """``markers``: of those that are on probation."""
        now = self._monotonic()
        on_probation = {
            (bucket, marker): self._on_probation.get((bucket, marker), now)
            for bucket, marker in markers.items()
        }
        self._on_probation = {
            (bucket, marker): at
            for (bucket, marker), at in self._on_probation.items()
            if bucket not in markers and bucket not in trusted
        } | on_probation
        due_keys = [key for key, at in on_probation.items() if now - at >= self._staleness_s]
        if due_keys:
            keys, values = (
                [_MARKERS_OF[bucket] for bucket, _ in due_keys],
                [marker for _, marker in due_keys],
            )
            if not self._redis.clustered:
                await self._redis.run_durably(TRUST, keys, values)
            else:
                await self._redis.run_together_durably(
                    TRUST, [([key], [marker]) for key, marker in zip(keys, values, strict=True)]
                )


def _not_trusted(
    answer: Sequence[Any], buckets: Sequence[int]
) -> dict[int, tuple[str, bytes | None]]:
    """Of ``MARKERS`` for ``buckets``: by bucket, identity and marker."""
    identity = answer[0].decode("ascii")
    rows = zip(answer[1::2], answer[2::2], strict=True)
    return {buckets[place]: (identity, marker) for place, marker in rows}
