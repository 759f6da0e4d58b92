"""When what is read: every directory and log once in an interval, at once after a gap, by one
replica.

Rules:
- Each provider has a schedule of its own: when it was last read, a gap that was seen, how often it
  failed since.
- One place for each tenant at a time, of few. A turn is bounded: what is not read to its end goes
  on where it stopped, after the others.
- Whoever failed, or used a turn up, waits for a place of another, smaller number: those whose APIs
  answer never stand behind those whose do not.
- A provider that says how long to leave it alone (``Retry-After``) is left alone so long, also by a
  process that starts meanwhile; one that fails, for longer each time.

When each was last read to its end is a metric with an alert.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gateway.background import background_task, doubling, end, fault
from gateway.database.leader import LEASE_S
from gateway.errors import PeerError, UnavailableError
from gateway.hooks.reconcile.cursors import REST
from gateway.hooks.reconcile.fetch import MAX_AFTER_S, ThrottledError
from gateway.log import fields
from gateway.metrics import (
    RECONCILE_LAST_SUCCESS,
    RECONCILE_MISSED_EVENTS,
    RECONCILE_SKIPPED,
    begin_at_zero,
    provider_labels,
)
from gateway.tracing.spans import span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from gateway.core.hook_target import HookTarget
    from gateway.database.leader import Leader
    from gateway.hooks.api import HookTargets
    from gateway.hooks.applier import Applier
    from gateway.hooks.event import Source
    from gateway.hooks.reconcile.cursors import Cursors, Progress

TICK_S: Final = 5.0
"""How often to look for what became due: a gap seen by another replica, a new tenant."""
PAUSE_S: Final = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Places:
    """How many providers are read at once, and for how long each."""

    ready: int = 8
    """For those whose last turn went well, and those that were never read."""
    troubled: int = 4
    """For those that failed, or did not come to their end in one turn."""
    turn_s: float = 60.0
    """No further page is asked for after it. A first reading of a large directory takes many
    turns.
    """
    limit_s: float = 150.0
    """A turn ends at the latest: one page may take three attempts of fifteen seconds."""


PLACES: Final = Places()


class Reader(Protocol):
    """Finds what no event told, at one kind of provider."""

    @property
    def source(self) -> Source: ...

    def resources(self, target: HookTarget) -> tuple[str, ...]:
        """What of this provider can be read, by the names of its cursors; none where it is not this
        reader's.
        """

    async def maintain(self, target: HookTarget) -> None:
        """Keep open what the provider tells its changes through. Raises ``UnavailableError``,
        ``PeerError``; reading goes on without it.
        """

    async def read(self, target: HookTarget, *, until: float) -> tuple[int, bool]:
        """The number of events found, and whether it came to the end; no further page after
        ``until`` (seconds of the event loop). Raises ``UnavailableError``, ``PeerError``.
        """

    def rest(self, target: HookTarget, *, until: float) -> None:
        """The provider asked another process to be left alone until then (UTC epoch seconds)."""


@dataclass(slots=True)
class _Schedule:
    """Of one provider, in this process; what must survive it are the cursors."""

    target: HookTarget
    since: float
    """When this process heard of it."""
    began_at: float = 0.0
    """When its last turn began; 0: never here."""
    not_before: float = 0.0
    failures: int = 0
    unfinished: bool = False
    knows_rest: bool = False
    """Whether it was looked up until when the provider is to be left alone."""

    @property
    def troubled(self) -> bool:
        return self.failures > 0 or self.unfinished


class Reconciliation:
    """The loop of one admin replica; only the leader works."""

    def __init__(
        self,
        *,
        leader: Leader,
        targets: HookTargets,
        readers: Sequence[Reader],
        cursors: Cursors,
        applier: Applier,
        interval_s: float,
        clock: Callable[[], float],
        places: Places = PLACES,
    ) -> None:
        for counter in (RECONCILE_MISSED_EVENTS, RECONCILE_SKIPPED):
            begin_at_zero(counter, [reader.source.value for reader in readers])
        self._leader = leader
        self._targets = targets
        self._readers = tuple(readers)
        self._cursors = cursors
        self._applier = applier
        self._interval_s = interval_s
        self._clock = clock
        self._places = places
        self._wake = asyncio.Event()
        self._schedules: dict[tuple[str, str], _Schedule] = {}
        self._active: dict[asyncio.Task[None], _Schedule] = {}
        self._measured: frozenset[tuple[str, str]] = frozenset()
        """Labels of the providers whose last reading is among the metrics."""

    def wake(self) -> None:
        """Something is due before the schedule says so."""
        self._wake.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            async with background_task(self._run()):
                yield
        finally:
            with contextlib.suppress(UnavailableError):
                await self._leader.resign()

    async def _run(self) -> None:
        try:
            while True:
                self._wake.clear()
                try:
                    if await self._leader.lead():
                        await self._start_due()
                    else:
                        await self._stop()
                except UnavailableError as error:
                    # Nobody knows now whether this is still the leader; at worst two read, and each
                    # finds what the other stored.
                    log.warning("reconcile_unavailable", extra=fields(error=str(error)))
                except Exception as error:  # noqa: BLE001 - logged
                    fault("reconcile_fault", error)
                # Turns that end together are followed together: each look is a query over all
                # cursors.
                await asyncio.sleep(min(PAUSE_S, self._interval_s))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(TICK_S, self._interval_s, LEASE_S / 3)):
                        await self._wake.wait()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        for capped in self._measured:
            RECONCILE_LAST_SUCCESS.labels(*capped).set(math.nan)
        self._measured = frozenset()
        await end(list(self._active))

    async def round(self) -> None:
        """Everything that is due, to its end."""
        while True:
            await self._start_due()
            if not self._active:
                return
            await asyncio.wait(list(self._active), return_when=asyncio.FIRST_COMPLETED)

    async def _start_due(self) -> None:
        """Give the free places to those who wait longest. Raises ``UnavailableError``."""
        progress = await self._cursors.progress()
        current = {target.key: target for target in await self._targets.all()}
        for key in self._schedules.keys() - current.keys():
            del self._schedules[key]
        now = self._clock()
        for key, target in current.items():
            schedule = self._schedules.setdefault(key, _Schedule(target, now))
            if schedule.target != target:
                # Other credentials, another policy: what failed may work now, and what did not
                # count may.
                self._schedules[key] = schedule = _Schedule(target, schedule.since, knows_rest=True)
                if progress.get(key, {}).pop(REST, None) is not None:
                    await self._cursors.forget(target, REST)
            elif not schedule.knows_rest:
                self._rest(schedule, progress.get(key, {}).get(REST), now)
        self._measure(progress)
        busy = {schedule.target.tenant for schedule in self._active.values()}
        counts = Counter(schedule.troubled for schedule in self._active.values())
        for schedule in sorted(self._schedules.values(), key=lambda one: one.began_at):
            room = self._places.troubled if schedule.troubled else self._places.ready
            if (
                schedule.target.tenant in busy
                or counts[schedule.troubled] >= room
                or not self._is_due(schedule, progress, now)
            ):
                continue
            busy.add(schedule.target.tenant)
            counts[schedule.troubled] += 1
            self._active[task := asyncio.create_task(self._turn(schedule))] = schedule
            schedule.began_at = now
            task.add_done_callback(self._ended)

    def _rest(self, schedule: _Schedule, told: Progress | None, now: float) -> None:
        """What a provider told another process, or this one before it was started again."""
        schedule.knows_rest = True
        if told is not None and told.read_at > now:
            schedule.not_before = min(told.read_at, now + MAX_AFTER_S)
            if (reader := self._reader(schedule.target)) is not None:
                reader.rest(schedule.target, until=schedule.not_before)

    def reading(self) -> list[HookTarget]:
        """Whose API has a place at this moment."""
        return [schedule.target for schedule in self._active.values()]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._active.pop(task, None)
        self._wake.set()

    def _is_due(
        self,
        schedule: _Schedule,
        progress: Mapping[tuple[str, str], Mapping[str, Progress]],
        now: float,
    ) -> bool:
        if now < schedule.not_before:
            return False
        if not schedule.began_at or schedule.unfinished:
            return True
        by_resource = progress.get(schedule.target.key, {})
        resources = self._resources(schedule.target)
        read_at = min(
            (by_resource[r].read_at if r in by_resource else 0.0 for r in resources),
            default=schedule.began_at,
        )
        is_wanted = any(r not in by_resource or by_resource[r].wanted for r in resources)
        return now - read_at >= self._interval_s or (
            is_wanted and now - schedule.began_at >= min(TICK_S, self._interval_s)
        )

    def _reader(self, target: HookTarget) -> Reader | None:
        return next((reader for reader in self._readers if reader.resources(target)), None)

    def _resources(self, target: HookTarget) -> tuple[str, ...]:
        """What of this provider can be read."""
        reader = self._reader(target)
        return reader.resources(target) if reader is not None else ()

    async def _turn(self, schedule: _Schedule) -> None:
        """One provider's place. Never raises."""
        target, where = (
            schedule.target,
            {"tenant": schedule.target.tenant, "provider": schedule.target.provider},
        )
        failed_for: float | None = None
        try:
            with span("directory.read", parent="") as trace_span:
                trace_span.set("gateway.tenant", target.tenant)
                trace_span.set("gateway.provider", target.provider)
                async with asyncio.timeout(self._places.limit_s):
                    await self._applier.apply_overdue(target)
                    reader = self._reader(target)
                    schedule.unfinished = reader is not None and not await self._read(
                        reader, target
                    )
        except ThrottledError as error:
            failed_for = error.after_s
            with contextlib.suppress(UnavailableError):
                await self._cursors.rest(target, until=self._clock() + failed_for)
            log.warning("reconcile_failed", extra=fields(**where, error=str(error)))
        except (PeerError, UnavailableError, TimeoutError) as error:
            failed_for = 0.0
            log.warning(
                "reconcile_failed",
                extra=fields(
                    **where,
                    error=str(error) or f"a turn of {self._places.limit_s:.0f} s was used up",
                ),
            )
        except Exception as error:  # noqa: BLE001 - logged
            failed_for = 0.0
            fault("reconcile_fault", error, **where)
        if failed_for is None:
            schedule.failures, schedule.not_before = 0, 0.0
            return
        schedule.failures += 1
        schedule.not_before = self._clock() + max(
            failed_for, doubling(TICK_S, schedule.failures, longest_s=self._interval_s)
        )

    async def _read(self, reader: Reader, target: HookTarget) -> bool:
        """Whether it came to the end. Raises ``PeerError``, ``UnavailableError``."""
        until = asyncio.get_running_loop().time() + self._places.turn_s
        try:
            await reader.maintain(target)
        except (PeerError, UnavailableError) as error:
            log.warning(
                "directory_push_failed",
                extra=fields(
                    tenant=target.tenant,
                    provider=target.provider,
                    source=reader.source.value,
                    error=str(error),
                ),
            )
            if isinstance(error, ThrottledError):
                raise
        count, is_finished = await reader.read(target, until=until)
        if count:
            RECONCILE_MISSED_EVENTS.labels(reader.source.value).inc(count)
            log.info(
                "reconcile_found",
                extra=fields(tenant=target.tenant, provider=target.provider, events=count),
            )
        return is_finished

    def _measure(self, progress: Mapping[tuple[str, str], Mapping[str, Progress]]) -> None:
        """When each provider was last read to its end: when this process heard of it, where it
        never was. Of several with one label, the one that waits longest.
        """
        read_at: dict[tuple[str, str], float] = {}
        for key, schedule in self._schedules.items():
            by_resource, resources = progress.get(key, {}), self._resources(schedule.target)
            if resources:
                capped = provider_labels(schedule.target.tenant, schedule.target.provider)
                at = min(by_resource[r].read_at if r in by_resource else 0.0 for r in resources)
                read_at[capped] = min(at or schedule.since, read_at.get(capped, math.inf))
        for capped in self._measured - read_at.keys():
            # Of a provider that is gone, or another process' to read: time must not count against
            # it. Processes that share their metrics cannot take a series away.
            RECONCILE_LAST_SUCCESS.labels(*capped).set(math.nan)
        for capped, at in read_at.items():
            RECONCILE_LAST_SUCCESS.labels(*capped).set(at)
        self._measured = frozenset(read_at)
