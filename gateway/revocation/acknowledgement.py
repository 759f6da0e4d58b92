"""When a revocation is acknowledged: ``revocation.api.Confirmations``. See docs/sessions.md,
"Acknowledgement".

Rules (guards of docs/model/revocation.py):
- Lease holders are listed after the deletion, by a fence that is itself an event and durable.
- Each of them confirmed the fence, or a full staleness passed on this process's own clock since the
  fence was durable.
- On a primary that was not yet known for a full staleness (its marker is on probation), a full
  staleness passes in any case: leases may be held elsewhere.
- Another primary in between: nothing is acknowledged; the caller repeats.
- A lease is taken away only after it was not renewed for a full staleness.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import UnavailableError
from gateway.sessions.connection import Script
from gateway.sessions.keyspace import bucket_of, prefix
from gateway.tracing.spans import current

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from gateway.sessions.connection import RedisClient

FENCE, HOLDERS, FORGET, NARROW = (
    Script.load(name) for name in ("fence", "holders", "forget", "narrow")
)
FIRST_POLL_S: Final = 0.001
POLLED_PART: Final = 0.125
"""Of what has been waited already, the next pause: so much longer may it take than necessary."""
ASKED_AT_ONCE: Final = 24
"""Buckets that one server is asked about at one time, on connections that nothing else uses. A
snapshot that narrows thousands of tenants concerns all 1,024 of them: asked for at once, they would
take the loop from the checks beside.
"""
LAST_POLL_S: Final = 0.02
"""How late a confirmation may be seen at most, and how often a frozen replica is asked for."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as it stands in the store."""

    raw: bytes
    applied: int
    """-1 while its holder joins."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """One acknowledgement under way."""

    fence: int
    marker: bytes
    since: float
    holders: dict[str, Held]
    report: Callable[[str, float | None], None]
    done: asyncio.Future[None] = field(repr=False)


class Acknowledgements:
    """Waits for lease holders. Those who wait for one bucket share the asking."""

    def __init__(
        self,
        redis: RedisClient,
        *,
        staleness_s: float,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._redis = redis.apart(at_once=ASKED_AT_ONCE)
        self._staleness_s = staleness_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._waiting: dict[int, list[_Waiting]] = {}
        self._pollers: dict[int, asyncio.Task[None]] = {}

    async def confirm(
        self, tenant: str, report: Callable[[str, float | None], None], *, server: str
    ) -> None:
        """Returns when no replica can still answer by what was pushed for this tenant, on this
        ``server``, before.
        """
        await self._bucket(bucket_of(tenant), report, server)

    async def narrow(
        self,
        tenants: Iterable[str],
        generation: int,
        report: Callable[[str, float | None], None],
        confirmed: Callable[[Collection[str]], None] = lambda _tenants: None,
    ) -> None:
        """Returns when no replica answers for these tenants by a snapshot older than ``generation``
        any more. Raises ``UnavailableError``.

        ``confirmed`` is told of each as soon as it holds for it: a primary that is away keeps only
        those waiting whose sessions it has.
        """
        by_bucket: dict[int, list[str]] = {}
        for tenant in tenants:
            by_bucket.setdefault(bucket_of(tenant), []).append(tenant)

        async def one(bucket: int, names: list[str]) -> None:
            await self._narrow(bucket, names, generation, report)
            confirmed(names)

        for result in await asyncio.gather(
            *(one(bucket, names) for bucket, names in by_bucket.items()), return_exceptions=True
        ):
            if isinstance(result, BaseException):
                raise result

    async def _narrow(
        self,
        bucket: int,
        names: list[str],
        generation: int,
        report: Callable[[str, float | None], None],
    ) -> None:
        server = await self._redis.run_durably(
            NARROW, [f"{prefix(bucket)}g"], [prefix(bucket), generation, " ".join(names)]
        )
        await self._bucket(bucket, report, server.decode("ascii"))

    async def _bucket(
        self, bucket: int, report: Callable[[str, float | None], None], server: str
    ) -> None:
        marker, fence, holders = await self.fence(bucket)
        if marker[2:].split(b" ")[0].decode("ascii") != server:
            msg = "Redis: another primary took over before the revocation was acknowledged"
            raise UnavailableError(msg)
        for name in holders:
            report(name, None)
        waiter = _Waiting(
            fence,
            marker,
            self._monotonic(),
            holders,
            report,
            asyncio.get_running_loop().create_future(),
        )
        self._waiting.setdefault(bucket, []).append(waiter)
        if bucket not in self._pollers:
            self._pollers[bucket] = asyncio.get_running_loop().create_task(
                self._poll(bucket), context=Context()
            )
        await waiter.done

    async def fence(self, bucket: int) -> tuple[bytes, int, dict[str, Held]]:
        """Marker, number of the fence, holders after it; durable."""
        trace = current().traceparent
        answer = await self._redis.run_durably(
            FENCE,
            [f"{prefix(bucket)}l"],
            [prefix(bucket), trace if trace.endswith("1") else ""],
        )
        if answer[0] is None:
            msg = "Redis: the store was not yet restored from the record"
            raise UnavailableError(msg)
        return answer[0], int(answer[1]), _held(answer[2])

    async def _poll(self, bucket: int) -> None:
        """However it ends, it ends in one step with its entry: who comes after finds no poller and
        starts one, and nobody waits for none.
        """
        try:
            await self._ask_until_settled(bucket)
        finally:
            del self._pollers[bucket]
            for w in self._waiting.pop(bucket, []):
                if not w.done.done():
                    w.done.set_exception(
                        UnavailableError("Redis: nobody asks any more whether this was confirmed")
                    )

    async def _ask_until_settled(self, bucket: int) -> None:
        while waiters := self._waiting.get(bucket):
            try:
                marker, holders = await self.holders(bucket)
                now = self._monotonic()
                open_waiters = [w for w in waiters if not self._settle(w, marker, holders, now)]
            except UnavailableError as error:
                open_waiters = self._without_answer(waiters, error)
            # Others may have come while the store was asked.
            self._waiting[bucket] = open_waiters + self._waiting[bucket][len(waiters) :]
            await self._forget(bucket, waiters)
            if not self._waiting[bucket]:
                return
            wait_s = self._monotonic() - max(w.since for w in self._waiting[bucket])
            await self._sleep(min(max(FIRST_POLL_S, POLLED_PART * wait_s), LAST_POLL_S))

    async def holders(self, bucket: int) -> tuple[bytes | None, dict[str, Held]]:
        marker, flat = await self._redis.run(HOLDERS, [f"{prefix(bucket)}l"], [prefix(bucket)])
        return marker, _held(flat)

    def _settle(self, w: _Waiting, marker: bytes | None, held: dict[str, Held], now: float) -> bool:
        if w.done.done():
            return True
        if marker is None or marker[2:] != w.marker[2:]:
            w.done.set_exception(
                UnavailableError(
                    "Redis: another primary took over before the revocation was acknowledged"
                )
            )
            return True
        for name in list(w.holders):
            there = held.get(name)
            # Gone: its holder left, or a revoker waited it out. Both only after it ended.
            if there is None or there.applied >= w.fence:
                del w.holders[name]
                w.report(name, now if there is not None else None)
        is_expired = now - w.since >= self._staleness_s
        if is_expired or (not w.holders and marker.startswith(b"s")):
            w.done.set_result(None)
            return True
        return False

    def _without_answer(self, waiting: list[_Waiting], error: UnavailableError) -> list[_Waiting]:
        """The store does not say who confirmed. Time alone would do, but not whether the primary is
        still the same.
        """
        late = [w for w in waiting if self._monotonic() - w.since >= self._staleness_s]
        for w in late:
            if not w.done.done():
                w.done.set_exception(UnavailableError(str(error)))
        return [w for w in waiting if w not in late]

    async def _forget(self, bucket: int, waiting: list[_Waiting]) -> None:
        """Leases of holders that were waited out in vain: not renewed for a full staleness, so
        ended by their holder's clock too.
        """
        now = self._monotonic()
        dead = {
            name: holder.raw
            for w in waiting
            if now - w.since >= self._staleness_s
            for name, holder in w.holders.items()
        }
        if dead:
            words = [word for pair in dead.items() for word in pair]
            try:
                await self._redis.run(FORGET, [f"{prefix(bucket)}l"], words)
            except UnavailableError:
                return  # they cost the next revocation a staleness, no more

    async def close(self) -> None:
        for task in list(self._pollers.values()):
            task.cancel()
        await asyncio.gather(*self._pollers.values(), return_exceptions=True)


def _held(flat: Any) -> dict[str, Held]:
    pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
    holders = {}
    for name, raw in pairs:
        applied = raw.split(b" ")[1]
        holders[name.decode("ascii", "replace")] = Held(
            raw, -1 if applied == b"-" else int(applied)
        )
    return holders
