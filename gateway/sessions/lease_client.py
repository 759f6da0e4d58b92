"""One worker's leases, kept alive: renewals, joining, and the push channel. What they permit is
decided in ``lease.py``.

Where one command may touch every bucket (a single primary), all leases are renewed by one; in a
Cluster, all of a primary on one connection. Each primary has a round of its own: one that does not
answer delays the leases of no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import time
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gateway.background import forever
from gateway.errors import UnavailableError
from gateway.sessions.confirmation_spans import ConfirmationSpans
from gateway.sessions.connection import Script
from gateway.sessions.events import parse_event, parse_push
from gateway.sessions.keyspace import PUSH_CHANNEL, prefix
from gateway.sessions.lease import LEASE_PART, RENEWALS, Lease, Renewed
from gateway.sessions.outage_log import Troubles
from gateway.sessions.pubsub import listen
from gateway.sessions.redis_error import reason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gateway.sessions.connection import RedisClient
    from gateway.sessions.lease import Memory, Renewal

RENEW = Script.load("renew")
UNUSED_S: Final = 120.0
"""A bucket that nobody asked for this long is not renewed any more."""
ROUNDS_AT_ONCE: Final = 4
"""Connections to one primary for renewals: a regular round, the one that confirms an event, and two
to spare.
"""
JOINS_AT_ONCE: Final = 4
"""Connections to one primary for leases that a check waits for. Whoever asks for one bucket after
another must not delay renewals.
"""
_JOINS: Final = "joins"
TOGETHER: Final = 128
"""Renewals in one batch of a Cluster: some milliseconds of its primary."""


def steady() -> Callable[[], float]:
    """A clock that also runs while the machine is suspended, where there is one: a lease must not
    outlive a nap.
    """
    return (
        partial(time.clock_gettime, time.CLOCK_BOOTTIME)
        if hasattr(time, "CLOCK_BOOTTIME")
        else time.monotonic
    )


def replica_name() -> str:
    """Host and process for people, random bits for uniqueness: a process id comes back."""
    host = "".join(
        c if c.isascii() and (c.isalnum() or c in "-._") else "-" for c in socket.gethostname()
    )[:64]
    return f"{host}:{os.getpid()}:{secrets.token_hex(4)}"


class LeaseClient:
    """The leases of this process."""

    def __init__(
        self,
        redis: RedisClient,
        memory: Memory,
        *,
        name: str,
        staleness_s: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        each_round: Callable[[], None] = lambda: None,
    ) -> None:
        """``name`` is unique among all processes that ever ran; it is what
        ``RevocationStatus.replicas`` shows. ``each_round`` is called before every regular round of
        renewals.
        """
        self.name = name
        self.hearing = False
        self.leases: dict[int, Lease] = {}
        self._each_round = each_round
        self._redis = redis.apart(at_once=ROUNDS_AT_ONCE)
        self._troubles = Troubles("cache_lease_renewal_failed", "cache_lease_renewed")
        self._joins = redis.apart(at_once=JOINS_AT_ONCE)
        self._memory = memory
        self._length_s = staleness_s * LEASE_PART
        self._interval_s = staleness_s / RENEWALS
        self._monotonic = monotonic
        self._sleep = sleep
        self._beat = 0
        self._generation = 0
        self._joining: dict[int, asyncio.Task[None]] = {}
        self._wanted: set[int] = set()
        self._wake = asyncio.Event()
        self._rounds: dict[str, asyncio.Task[None]] = {}
        """Renewals under way, by primary."""
        self._withdrawals: set[asyncio.Task[None]] = set()
        self._queues: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        """Buckets to be joined, by primary."""
        self._flushing: dict[str, int] = {}
        self._flushes: set[asyncio.Task[None]] = set()
        self._spans = ConfirmationSpans(name)

    # --- what the store asks
    # -----------------------------------------------------------------------

    async def lease(self, bucket: int) -> Lease:
        """A lease that is held now. Raises ``UnavailableError`` where none is to be had."""
        now = self._monotonic()
        lease = self.leases.get(bucket)
        if lease is None:
            lease = self.leases[bucket] = Lease(
                bucket, self._length_s, self._memory, generation=self._generation
            )
        lease.used_at = now
        if lease.held(now):
            return lease
        # Those who come while one joins wait for that one: its renewal may be older than their
        # request, their reads are not.
        task = self._joining.get(bucket)
        if task is None or task.done():
            task = self._joining[bucket] = asyncio.get_running_loop().create_task(
                self._join(bucket), context=Context()
            )
            task.add_done_callback(lambda done: self._joined(bucket, done))
        await asyncio.shield(task)
        if not lease.held(self._monotonic()):
            msg = f"Redis: no lease: {lease.refused or 'the answer came too late'}"
            raise UnavailableError(msg)
        return lease

    def _joined(self, bucket: int, task: asyncio.Task[None]) -> None:
        if self._joining.get(bucket) is task:
            del self._joining[bucket]
        if not task.cancelled():
            task.exception()  # those who wait are told; if they have gone away, nobody needs to be

    async def _join(self, bucket: int) -> None:
        """Those that come while others join travel together when they have: a thousand buckets
        after a fail-over are some commands, not a thousand.
        """
        (primary,) = await self._by_primary([bucket])
        future = asyncio.get_running_loop().create_future()
        self._queues.setdefault(primary, []).append((bucket, future))
        if self._flushing.get(primary, 0) < JOINS_AT_ONCE:
            self._flushing[primary] = self._flushing.get(primary, 0) + 1
            task = asyncio.get_running_loop().create_task(self._flush(primary), context=Context())
            self._flushes.add(task)
            task.add_done_callback(self._flushes.discard)
        await future

    async def _flush(self, primary: str) -> None:
        queue = self._queues[primary]
        try:
            while queue:
                together, queue[:] = queue[:TOGETHER], queue[TOGETHER:]
                try:
                    await self._join_together([bucket for bucket, _ in together])
                finally:
                    for _, future in together:
                        if not future.done():
                            future.set_result(None)
        finally:
            self._flushing[primary] -= 1

    async def _join_together(self, buckets: Sequence[int]) -> None:
        """Whoever waits looks at the lease, and is told there why there is none."""
        try:
            if len(buckets) == 1 or not self._redis.clustered:
                await self._renew(buckets, self._joins)
            elif failures := await self._renew_together(buckets, self._joins):
                # Each by itself, with the patience that a slot on the move needs.
                await asyncio.gather(*(self._join_together([bucket]) for bucket in failures))
            self._troubles.ends(_JOINS)
        except Exception as error:  # noqa: BLE001 - whatever it is: who waits is told, and who comes next is not kept waiting
            if not isinstance(error, UnavailableError):
                self._troubles.begins(_JOINS, error)
            for bucket in buckets:
                lease = self.leases.get(bucket)
                if lease is not None and not lease.held(self._monotonic()):
                    lease.refused = (
                        str(error)
                        if isinstance(error, UnavailableError)
                        else f"Redis: {RENEW.name}: {reason(error)}"
                    )

    def applied(self, generation: int) -> None:
        """From now on this process answers by the tenant snapshot of this generation."""
        self._generation = max(self._generation, generation)
        for lease in self.leases.values():
            lease.has(generation)

    # --- renewing
    # ------------------------------------------------------------------------------------

    async def renew(self, buckets: Sequence[int]) -> None:
        """One round for these buckets. Raises ``UnavailableError``; leases then simply run out."""
        by_primary = await self._by_primary(buckets)
        results = await asyncio.gather(
            *(self._round(there) for there in by_primary.values()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _by_primary(self, buckets: Iterable[int]) -> dict[str, list[int]]:
        return await self._redis.by_primary({bucket: prefix(bucket) for bucket in buckets})

    async def _round(self, buckets: Sequence[int]) -> None:
        """Renew what is on one primary."""
        if not self._redis.clustered:
            await self._renew(buckets, self._redis)
            return
        for first in range(0, len(buckets), TOGETHER):
            failures = await self._renew_together(
                [bucket for bucket in buckets[first : first + TOGETHER] if bucket in self.leases],
                self._redis,
            )
            if failures:
                msg = (
                    f"Redis: {RENEW.name}: {len(failures)} buckets are not where they were, or on "
                    "the move"
                )
                raise UnavailableError(msg)

    async def _renew(self, buckets: Sequence[int], redis: RedisClient) -> None:
        leases, renewals, sent_at = self._begin(buckets)
        self._beat += 1
        arguments: list[str | int] = [self.name, self._beat]
        for lease, renewal in zip(leases, renewals, strict=True):
            arguments += _asked(lease, renewal)
        rows = await redis.run_durably(
            RENEW, [f"{prefix(bucket)}l" for bucket in buckets], arguments
        )
        for lease, renewal, row in zip(leases, renewals, rows, strict=True):
            self._renewed(lease, renewal, row, sent_at)

    async def _renew_together(self, buckets: Sequence[int], redis: RedisClient) -> list[int]:
        """The same where each bucket is a command of its own; which of them could not be renewed.
        They delay none of the others.
        """
        if not buckets:
            return []
        leases, renewals, sent_at = self._begin(buckets)
        self._beat += 1
        calls = [
            ([f"{prefix(lease.bucket)}l"], [self.name, self._beat, *_asked(lease, renewal)])
            for lease, renewal in zip(leases, renewals, strict=True)
        ]
        failures = []
        for lease, renewal, answer in zip(
            leases, renewals, await redis.run_together_durably(RENEW, calls), strict=True
        ):
            if isinstance(answer, Exception):
                failures.append(lease.bucket)
            else:
                self._renewed(lease, renewal, answer[0], sent_at)
        return failures

    def _begin(self, buckets: Sequence[int]) -> tuple[list[Lease], list[Renewal], float]:
        """What to send, and the time before it is sent."""
        sent_at = self._monotonic()
        leases = [self.leases[bucket] for bucket in buckets]
        return leases, [lease.renewal(sent_at) for lease in leases], sent_at

    def _renewed(self, lease: Lease, renewal: Renewal, row: Sequence[Any], sent_at: float) -> None:
        answer = _renewed(row)
        lease.renewed(renewal, answer, sent_at=sent_at, now=self._monotonic())
        if lease.owes(renewal.applied):
            self._wanted.add(lease.bucket)
            self._wake.set()
        if answer is not None:
            self._spans.renewed(lease.bucket, renewal.applied, answer.events or ())

    async def run(self) -> None:
        """Until cancelled: renew in time, and at once when an event is to be confirmed or was
        missed.
        """
        timer = asyncio.create_task(forever(self._tick, sleep=self._sleep))
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._begin_rounds()
                    self._troubles.ends("topology")
                except UnavailableError as error:
                    self._troubles.begins("topology", error)
        finally:
            under_way = [timer, *self._rounds.values(), *self._withdrawals, *self._flushes]
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            self._rounds.clear()  # one that was ended before it began has not taken itself out

    async def _begin_rounds(self) -> None:
        due_buckets = frozenset(self._wanted)
        by_primary = await self._by_primary(sorted(due_buckets & self.leases.keys()))
        self._wanted -= due_buckets
        for primary, buckets in by_primary.items():
            if primary in self._rounds:
                self._wanted.update(buckets)  # with the next round, which begins when this one ends
            else:
                self._rounds[primary] = asyncio.create_task(self._whole_round(primary, buckets))

    async def _whole_round(self, primary: str, buckets: Sequence[int]) -> None:
        try:
            await self._round(buckets)
            self._troubles.ends(primary)
        except Exception as error:  # noqa: BLE001 - whatever it is: the next round is tried all the same
            self._troubles.begins(primary, error)
        finally:
            del self._rounds[primary]
            if self._wanted:
                self._wake.set()

    async def _tick(self) -> None:
        while True:
            await self._sleep(self._interval_s)
            self._each_round()
            if unused := self.sweep():
                # Beside: a primary that does not answer must not keep the others' leases from being
                # renewed.
                task = asyncio.create_task(self._withdraw(unused))
                self._withdrawals.add(task)
                task.add_done_callback(self._withdrawals.discard)
            self._wanted |= self.leases.keys()
            self._wake.set()

    def sweep(self) -> list[int]:
        """Give up the buckets that nobody asks for. Memory first: from here on nothing is answered,
        whatever the store believes.
        """
        now = self._monotonic()
        unused = [
            bucket
            for bucket, lease in self.leases.items()
            if now - lease.used_at > UNUSED_S and bucket not in self._joining
        ]
        for bucket in unused:
            self.leases.pop(bucket).lapse()
            self._spans.ended(bucket)
        return unused

    async def _withdraw(self, buckets: Sequence[int]) -> None:
        """A courtesy to revokers, who would wait for us: only ever after the lapse."""
        await asyncio.gather(*(self._withdraw_one(bucket) for bucket in buckets))

    async def _withdraw_one(self, bucket: int) -> None:
        with contextlib.suppress(UnavailableError):
            await self._joins.command("HDEL", f"{prefix(bucket)}l", self.name)

    # --- the push channel
    # ------------------------------------------------------------------------------

    def heard(self, message: str) -> None:
        """A push came. What somebody waits for is confirmed at once; what ended meanwhile, with
        it.
        """
        push = parse_push(message)
        lease = None if push is None else self.leases.get(push.bucket)
        if push is None or lease is None:
            return
        if lease.heard(push.number, push.event):
            self._wanted.add(push.bucket)
            self._wake.set()
        self._spans.heard(push.bucket, push.number, push.event)

    async def listen(self) -> None:
        """Until cancelled: follow the channel. While it is cut, the renewals bring the events,
        later.
        """
        await listen(
            self._redis, PUSH_CHANNEL, hearing=self._hears, heard=self.heard, sleep=self._sleep
        )

    def _hears(self, standing: bool) -> None:  # noqa: FBT001 - a state, told
        self.hearing = standing
        if standing:
            self._wanted |= self.leases.keys()
            self._wake.set()

    async def leave(self) -> None:
        """Answer nothing from memory any more, then say so: a revoker need not wait for us."""
        buckets = list(self.leases)
        for lease in self.leases.values():
            lease.lapse()
            self._spans.ended(lease.bucket)
        self.leases.clear()
        await self._withdraw(buckets)


def _asked(lease: Lease, renewal: Renewal) -> tuple[str, int, int | str]:
    return (
        prefix(lease.bucket),
        renewal.incarnation,
        "" if renewal.applied is None else renewal.applied,
    )


def _renewed(row: Sequence[Any]) -> Renewed | None:
    if row[0] is None:
        return None
    marker, number, generation, events = row
    parsed_events = (
        None
        if events is None
        else tuple(parse_event(words.decode("ascii", "replace")) for words in events)
    )
    # Probation and trust are the revoker's business; the rest says which server.
    return Renewed(marker.decode("ascii")[2:], int(number), int(generation), parsed_events)
