"""One worker's leases, kept alive: renewals, joining, and the push channel. What they permit is decided in ``lease.py``.

Where one command may touch every bucket (a single primary), all leases are renewed by one; in a Cluster, one by bucket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio.cluster import RedisCluster

from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.sessions.channel import listen
from gateway.sessions.connect import Script
from gateway.sessions.lease import LEASE_PART, RENEWALS, Lease, Renewed
from gateway.sessions.names import PUSH_CHANNEL, prefix
from gateway.sessions.push import parse_event, parse_push

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.sessions.connect import Link
    from gateway.sessions.lease import Memory

RENEW = Script.load("renew")
UNUSED_S: Final = 120.0
"""A bucket that nobody asked for this long is not renewed any more."""

_log = logging.getLogger("gateway.sessions")


def steady() -> Callable[[], float]:
    """A clock that also runs while the machine is suspended, where there is one: a lease must not outlive a nap."""
    return partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


def replica_name() -> str:
    """Host and process for people, random bits for uniqueness: a process id comes back."""
    host = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "-" for c in socket.gethostname())[:64]
    return f"{host}:{os.getpid()}:{secrets.token_hex(4)}"


class Replica:
    """The leases of this process."""

    def __init__(
        self,
        link: Link,
        memory: Memory,
        *,
        name: str,
        staleness_s: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``name`` is unique among all processes that ever ran; it is what ``RevocationStatus.replicas`` shows."""
        self.name = name
        self.hearing = False
        self.leases: dict[int, Lease] = {}
        self.each_round: Callable[[], None] = lambda: None
        """Called before every regular round of renewals."""
        self._link = link
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
        self._clustered = isinstance(link.client, RedisCluster)

    # --- what the store asks -----------------------------------------------------------------------

    async def lease(self, bucket: int) -> Lease:
        """A lease that is held now. Raises ``UnavailableError`` where none is to be had."""
        now = self._monotonic()
        lease = self.leases.get(bucket)
        if lease is None:
            lease = self.leases[bucket] = Lease(bucket, self._length_s, self._memory, generation=self._generation)
        lease.used_at = now
        if lease.held(now):
            return lease
        # Those who come while one joins wait for that one: its renewal may be older than their request, their reads are not.
        task = self._joining.get(bucket)
        if task is None or task.done():
            task = self._joining[bucket] = asyncio.get_running_loop().create_task(self.renew([bucket]))
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

    def applied(self, generation: int) -> None:
        """From now on this process answers by the tenant snapshot of this generation."""
        self._generation = max(self._generation, generation)
        for lease in self.leases.values():
            lease.has(generation)

    # --- renewing ------------------------------------------------------------------------------------

    async def renew(self, buckets: Sequence[int]) -> None:
        """One round for these buckets. Raises ``UnavailableError``; leases then simply run out."""
        if self._clustered and len(buckets) > 1:
            results = await asyncio.gather(*(self._renew([bucket]) for bucket in buckets), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        elif buckets:
            await self._renew(buckets)

    async def _renew(self, buckets: Sequence[int]) -> None:
        sent_at = self._monotonic()
        leases = [self.leases[bucket] for bucket in buckets]
        renewals = [lease.renewal(sent_at) for lease in leases]
        self._beat += 1
        arguments: list[str | int] = [self.name, self._beat]
        for bucket, renewal in zip(buckets, renewals, strict=True):
            arguments += [prefix(bucket), renewal.incarnation, "" if renewal.applied is None else renewal.applied]
        rows = await self._link.run_durably(RENEW, [f"{prefix(bucket)}l" for bucket in buckets], arguments)
        for lease, renewal, row in zip(leases, renewals, rows, strict=True):
            lease.renewed(renewal, _renewed(row), sent_at=sent_at, now=self._monotonic())
            if renewal.applied is not None and lease.applied is not None and lease.applied > renewal.applied:
                # Somebody waits to hear that this was applied.
                self._wanted.add(lease.bucket)
                self._wake.set()

    async def run(self) -> None:
        """Until cancelled: renew in time, and at once when an event is to be confirmed or was missed."""
        timer = asyncio.create_task(self._tick())
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                wanted, self._wanted = self._wanted, set()
                try:
                    await self.renew(sorted(wanted & self.leases.keys()))
                except UnavailableError as error:
                    _log.warning("lease_not_renewed", extra=fields(error=str(error)))
        finally:
            timer.cancel()

    async def _tick(self) -> None:
        while True:
            await self._sleep(self._interval_s)
            self.each_round()
            await self._withdraw(self.sweep())
            self._wanted |= self.leases.keys()
            self._wake.set()

    def sweep(self) -> list[int]:
        """Give up the buckets that nobody asks for. Memory first: from here on nothing is answered, whatever the store believes."""
        now = self._monotonic()
        unused = [bucket for bucket, lease in self.leases.items() if now - lease.used_at > UNUSED_S and bucket not in self._joining]
        for bucket in unused:
            self.leases.pop(bucket).lapse()
        return unused

    async def _withdraw(self, buckets: Sequence[int]) -> None:
        """A courtesy to revokers, who would wait for us: only ever after the lapse."""
        with contextlib.suppress(UnavailableError):
            await asyncio.gather(*(self._link.command("HDEL", f"{prefix(bucket)}l", self.name) for bucket in buckets))

    # --- the push channel ------------------------------------------------------------------------------

    def heard(self, message: str) -> None:
        """A push came. Applied, it is confirmed at once."""
        push = parse_push(message)
        lease = None if push is None else self.leases.get(push.bucket)
        if push is not None and lease is not None and lease.applied is not None:
            lease.heard(push.number, push.event)
            self._wanted.add(push.bucket)
            self._wake.set()

    async def listen(self) -> None:
        """Until cancelled: follow the channel. While it is cut, the renewals bring the events, later."""
        await listen(self._link, PUSH_CHANNEL, hearing=self._hears, heard=self.heard, sleep=self._sleep)

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
        self.leases.clear()
        await self._withdraw(buckets)


def _renewed(row: Sequence[Any]) -> Renewed | None:
    if row[0] is None:
        return None
    marker, number, generation, events = row
    parsed = None if events is None else tuple(parse_event(words.decode("ascii", "replace")) for words in events)
    # Fresh and seasoned are the revoker's business; the rest says which server.
    return Renewed(marker.decode("ascii")[2:], int(number), int(generation), parsed)
