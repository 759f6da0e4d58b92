"""Takes waiting events out of the inbox and makes them true.

Rules:
- Per lane: claim (commit) → look up and revoke → settle, state and outgoing message (one
  commit). A crash in between repeats the middle part, which only ever says "end" or "refuse" again,
  and writes one message.
- A delivery's lanes are claimed by the commit that stores it, as long as less than half of the
  places are taken: it is begun with when it is acknowledged. The rest waits for its turn.
- Whatever fails is tried again with growing pauses; an outage never uses up the attempts, a refusal
  by the provider does.
- Where a state does not open, what takes away is done, for all that is known newest; it is
  neither settled nor told before the state opens.
- What hits nobody who is signed in is told as such: it holds for later logins, but somebody may
  have been meant who has another name here.
- Giving back on a look-up waits until a refusal has settled: a directory may still answer with what
  was true before.
- A directory that does not know somebody, or does not know yet that a member was added, is asked
  again later: Graph answers so for a while about what was just made. It counts where two answers
  agree: the second one, or one about whom a full reading does not name any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.background import background_task, doubling, fault
from gateway.errors import UnavailableError
from gateway.hooks.effects import groups_that_count, overdue
from gateway.hooks.event import MAX_EVENTS, Delivery, HookEvent, Source
from gateway.hooks.event_applier import EventApplier, LaneRun
from gateway.hooks.inbox import LEASE_S, digest, lane_key
from gateway.hooks.lookups import Lookups
from gateway.hooks.webhooks.outbox import News, Origin
from gateway.log import fields
from gateway.metrics import HOOK_HELD, HOOK_QUEUE_DEPTH, HOOK_QUEUE_OLDEST_AGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

    from gateway.core.hook_target import HookTarget
    from gateway.core.revocation import RevocationRequest, RevocationStatus
    from gateway.database.group_commit import GroupCommitter
    from gateway.hooks.api import Directory, HookTargets, People
    from gateway.hooks.group_names import GroupNames, Names
    from gateway.hooks.inbox import Accepted, Inbox, Lane
    from gateway.hooks.removal_limit import Brake
    from gateway.hooks.scim.people import ScimPeople
    from gateway.hooks.webhooks.outbox import Outbox
    from gateway.sessions.api import Revoker

LANES = 128
"""Lanes worked on at once."""
PER_TENANT = 32
"""Of them, one tenant's: its directory may take its time over each, and others must not wait for
it. Lanes that write do not count: what they wait for is the confirmation of replicas, or a commit,
and nobody's removal waits for another's.
"""
CONFIRMING = 1024
"""Lanes in all, with those that only wait for confirmations. Bounds memory."""
CONFIRMING_PER_TENANT = 256
"""Of them, one tenant's; what it has beyond counts as being worked on."""
APPLY_S = 20.0
"""Longest time for one lane. Shorter than ``inbox.LEASE_S``."""
POLL_S = 1.0
"""How often to look for what another replica left behind; what arrives here wakes the loop at
once.
"""


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Rest:
    failures: int
    until: float
    """Seconds of the loop's clock."""


class Applier:
    """The loop of one admin replica. ``directory`` None: nothing can be looked up, and such events
    wait.
    """

    def __init__(
        self,
        inbox: Inbox,
        committer: GroupCommitter,
        *,
        names: GroupNames,
        targets: HookTargets,
        revoker: Revoker,
        people: People | None,
        directory: Directory | None,
        outbox: Outbox,
        clock: Callable[[], float],
        brake: Brake,
        records: ScimPeople | None = None,
        apply_s: float = APPLY_S,
    ) -> None:
        self._inbox = inbox
        self._committer = committer
        self._names = names
        self._targets = targets
        self._revoker = revoker
        self._outbox = outbox
        self._clock = clock
        self._apply_s = apply_s
        self._wake = asyncio.Event()
        self._active: dict[asyncio.Task[None], Lane] = {}
        self._confirming: set[asyncio.Task[None] | None] = set()
        self._resting: dict[str, _Rest] = {}
        """Lanes that could not be settled."""
        self._group: asyncio.TaskGroup | None = None
        self._promised: dict[str, str] = {}
        """Lanes of deliveries that are being stored, and their tenants: they have their places."""
        self.events = EventApplier(
            inbox,
            targets=targets,
            revoker=revoker,
            revoke=self._revoke,
            lookups=Lookups(
                inbox,
                people=people,
                records=records,
                directory=directory,
                outbox=outbox,
                clock=clock,
            ),
            records=records,
            brake=brake,
            clock=clock,
            wake=self.wake,
        )

    def wake(self) -> None:
        """Something was stored."""
        self._wake.set()

    async def accept(
        self, target: HookTarget, delivery: Delivery, *, received_at: float, request_id: str
    ) -> Accepted:
        """A delivery, durable on return and on its way. Raises ``UnavailableError``."""
        lanes = {lane_key(target, event) for event in delivery.events}
        free = lanes - self._busy()
        if len(free) > self._places(target.tenant):
            free = set()
        promised = dict.fromkeys(free, target.tenant)
        self._promised |= promised
        try:
            accepted = await self._inbox.accept(
                target, delivery, received_at=received_at, request_id=request_id, claim=free
            )
        finally:
            for key in promised:
                del self._promised[key]
        for lane in accepted.lanes:
            self._begin(lane)
        if accepted.stored and lanes != {lane.key for lane in accepted.lanes}:
            self.wake()
        return accepted

    def _busy(self) -> set[str]:
        """Lanes that have a task here, or are about to get one."""
        return {*self._promised, *(lane.key for lane in self._active.values())}

    def _places(self, tenant: str) -> int:
        """For lanes that are claimed as they come: of the first half, since what waits for its
        turn must not wait for what comes later.
        """
        if self._group is None:
            return 0
        working = self._working()
        return min(
            LANES // 2 - len(working),
            PER_TENANT // 2 - working.count(tenant),
            CONFIRMING - len(self._active),
        )

    def _begin(self, lane: Lane) -> None:
        """One that is not begun with, since the loop has ended, is taken again: it is held by this
        process.
        """
        if self._group is not None and all(
            lane.key != other.key for other in self._active.values()
        ):
            task = self._group.create_task(self._guarded(lane))
            self._active[task] = lane
            task.add_done_callback(self._ended)

    def running(self) -> AbstractAsyncContextManager[None]:
        return background_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await self._take_turns()
            finally:
                self._group = None

    async def _take_turns(self) -> None:
        active = self._active
        measured_at = 0.0
        while True:
            self._wake.clear()
            lanes: tuple[Lane, ...] = ()
            try:
                working = self._working()
                resting = [
                    key
                    for key, rest in self._resting.items()
                    if asyncio.get_running_loop().time() < rest.until
                ]
                room = min(LANES - len(working), CONFIRMING - len(active))
                if room > 0:
                    lanes = await self._inbox.claim(
                        now=self._clock(),
                        limit=room,
                        busy=self._busy,
                        working=working,
                        resting=resting,
                        per_tenant=PER_TENANT,
                    )
                if self._clock() - measured_at >= POLL_S:
                    measured_at = self._clock()
                    await self._measure()
            except UnavailableError as error:
                log.warning("hook_inbox_unavailable", extra=fields(error=str(error)))
            except Exception as error:  # noqa: BLE001 - logged
                # Whatever it was: who was removed must not stay inside because the loop has
                # ended.
                fault("hook_inbox_fault", error)
            for lane in lanes:
                self._begin(lane)
            if not lanes:
                await self._pause()

    def _working(self) -> list[str]:
        """The tenant of each lane that counts against ``LANES`` and ``PER_TENANT``."""
        free = dict.fromkeys((lane.tenant for lane in self._active.values()), CONFIRMING_PER_TENANT)
        working = []
        for task, lane in self._active.items():
            if task in self._confirming and free[lane.tenant]:
                free[lane.tenant] -= 1
            else:
                working.append(lane.tenant)
        return [*working, *self._promised.values()]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._active.pop(task, None)
        self._wake.set()

    async def _pause(self) -> None:
        """Until something was stored, a lane has ended or made room, or ``POLL_S`` have passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()

    async def _revoke(self, requests: Iterable[RevocationRequest]) -> list[RevocationStatus]:
        """One after the other."""
        with self._waiting():
            return [await self._revoker.revoke(request) for request in requests]

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        """Meanwhile the lane takes no other's place."""
        task = asyncio.current_task()
        self._confirming.add(task)
        if len(self._active) >= PER_TENANT:
            self._wake.set()
        try:
            yield
        finally:
            self._confirming.discard(task)

    async def _measure(self) -> None:
        depth, oldest = await self._inbox.backlog()
        HOOK_QUEUE_DEPTH.set(depth)
        HOOK_HELD.set(await self._inbox.held())
        HOOK_QUEUE_OLDEST_AGE.set(max(0.0, self._clock() - oldest) if oldest is not None else 0.0)

    async def _guarded(self, lane: Lane) -> None:
        try:
            await self.apply(lane)
        except UnavailableError as error:
            log.warning("hook_worker_commit_failed", extra=fields(error=str(error)))
            self._rest(lane)
        except Exception as error:  # noqa: BLE001 - logged
            fault("hook_worker_crashed", error, tenant=lane.tenant)
            self._rest(lane)
        else:
            self._resting.pop(lane.key, None)

    def _rest(self, lane: Lane) -> None:
        """The lane is still this process's: it is taken again after a pause that grows to what
        another process would wait.
        """
        failures = self._resting[lane.key].failures + 1 if lane.key in self._resting else 0
        now = asyncio.get_running_loop().time()
        self._resting[lane.key] = _Rest(
            failures, now + doubling(POLL_S / 2, failures, longest_s=LEASE_S)
        )
        if len(self._resting) > 2 * LANES:
            # Of those that another process has taken meanwhile nobody tells.
            self._resting = {key: rest for key, rest in self._resting.items() if rest.until > now}

    async def apply(self, lane: Lane) -> None:
        """One lane, from claim to settled. Raises ``UnavailableError`` if settling could not be
        written.
        """
        run = LaneRun(dict(lane.states), lane.unread)
        try:
            async with asyncio.timeout(self._apply_s):
                run.group_names = await self._known_names(lane, run.closed)
                for pending in lane.pending:
                    run.settled.append(await self.events.settle(pending, run))
        except TimeoutError:
            # What came after it in the lane goes first the next time.
            late = lane.pending[len(run.settled)]
            again = self.events.again(late, "it was not done in time", gives_up=False)
            run.settled.append(self.events.noted(late, again))
        with self._waiting():
            is_settled = await self._settle(lane, run)
        if not is_settled:
            log.warning("hook_worker_lease_lost", extra=fields(events=len(run.settled)))
        elif run.messages:
            self._outbox.wake()

    async def _settle(self, lane: Lane, run: LaneRun) -> bool:
        """False where another process has the lane."""
        texts = {
            about: self._inbox.sealed(lane.key, about, one)
            for about, (one, _) in run.states.items()
        }

        async def settle(connection: AsyncConnection) -> bool:
            now = self._clock()
            if not await self._inbox.release(connection, lane.key, now=now):
                return False
            for about, (one, target) in run.states.items():
                await self._inbox.keep(
                    connection, lane.key, about, one, sealed=texts[about], target=target, now=now
                )
            await self._outbox.add(
                connection,
                *(
                    News(
                        plan.notice,
                        Origin(
                            target.tenant,
                            target.provider,
                            pending.event.source.value,
                            pending.event.type,
                        ),
                        lane=lane.key,
                        revocation=revocation,
                        now=now,
                    )
                    for target, revocation, plan, pending in run.messages
                    if plan.notice is not None
                ),
            )
            for naming in run.names:
                news = await self._names.learn(
                    connection, naming.target, naming.source, naming.group, at=naming.at
                )
                if news:
                    await self._inbox.store(
                        connection,
                        naming.target,
                        Delivery(naming.source, news),
                        received_at=now,
                        channel="renamed",
                    )
                if naming.gone:
                    await self._names.forget(connection, naming.target, naming.source, naming.group)
            await self._inbox.settle(connection, run.settled, now=now)
            return True

        return await self._committer.run(settle)

    async def _known_names(self, lane: Lane, closed: set[str]) -> Mapping[str, Names]:
        """Of the groups that the lane's events are about, by id; ``closed``: gets those whose names
        do not open.
        """
        target = (
            self._targets.find(lane.pending[0].tenant, lane.pending[0].provider)
            if lane.pending
            else None
        )
        return (
            {}
            if target is None
            else await self._names.read(
                target,
                lane.pending[0].event.source,
                [p.event.group for p in lane.pending],
                closed=closed,
            )
        )

    async def apply_overdue(self, target: HookTarget) -> int:
        """Refusals of groups that count only now (the policy, or a name that was learned later) go
        through their lanes once more; the number of them.
        """
        count = 0
        async for page in self._inbox.states_without_effect(target.tenant, target.provider):
            again: dict[Source, list[HookEvent]] = {}
            for source in {kept.event.source for _, _, kept in page}:
                names = await self._names.read(
                    target,
                    source,
                    [kept.event.group for _, _, kept in page if kept.event.source is source],
                )
                for lane, about, kept in page:
                    group = kept.event.group
                    if kept.event.source is not source or group is None:
                        continue
                    entry = names.get(group.id)
                    event = overdue(
                        replace(kept, event=replace(kept.event, group=entry.complete(group)))
                        if entry is not None
                        else kept,
                        target=target,
                    )
                    if event is not None and event.group is not None:
                        # Until it was applied, once for the same names.
                        once = digest(
                            lane,
                            about,
                            repr(kept.state.at),
                            *groups_that_count(target, event.group),
                        )
                        again.setdefault(source, []).append(replace(event, id=once))
            for source, events in again.items():
                for start in range(0, len(events), MAX_EVENTS):
                    accepted = await self._inbox.accept(
                        target,
                        Delivery(source, tuple(events[start : start + MAX_EVENTS])),
                        received_at=self._clock(),
                        channel="policy",
                    )
                    count += accepted.stored
        if count:
            self.wake()
        return count


__all__ = ["Applier", "lane_key"]
