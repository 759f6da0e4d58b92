"""What a revocation does to the same people in the Cognito pool: signed out, disabled, a group taken out of what is stored.

Rules:
- Nothing here holds the local effect up: the gateway's own watermarks, blocks and overlays already keep people out.
- The record is followed, so what another process revoked (a command, another admin process) is seen too.
- Each write is derived from what stands in the record *when it runs*: a block lifted meanwhile disables nobody, a lift
  enables unless another source's block still stands.
- A group is taken out twice, the second time after logins that were in flight have ended; only then may a later login
  be believed about it.
- Tenants take turns at few places, and none has all of them: a flood of one, or calls for one that take long, delay that one only.
- What waits is bounded, for each tenant and in all. What finds no room is not dropped: the record has it, and is read again from there
  when there is room.
- A start repeats what a crash may have left undone: blocks, lifts and overlays of the last day. Sign-outs are not repeated:
  they would end what the person has begun since.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, OrderedDict, deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from gateway.cognito.aws import RefusedError, UnansweredError
from gateway.core.canonical import id_spellings
from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.ports import RevocationKind
from gateway.ports_revocation import LIFT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from gateway.cognito.users import CognitoUsers
    from gateway.core.model import Tenant
    from gateway.core.tenants import TenantTable
    from gateway.ports import RevocationRequest, RevocationStatus, Who
    from gateway.ports_revocation import Recorded, RevocationRecord, Standing
    from gateway.sessions.marks import EndedFamily, Marks
    from gateway.sessions.revoke import StoreRevoker

_LOG = logging.getLogger("gateway")
POLL_S = 1.0
SETTLE_S = 3.0
MAX_REMEMBERED = 1000
LOOK_BACK_S = 86_400.0
OVERLAP_S = 10.0
"""Admin processes' clocks may differ by this much; what was seen is remembered for twice as long."""
SECOND_CLEARING_S = 900.0
"""Logins that were in flight at the removal have ended, and what they wrote is in the pool: Cognito gives up after five minutes at each step."""
DELAYS_S = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
MAX_AT_ONCE = 4
"""Places: Cognito takes 25 changes of users a second, of all processes together."""
PER_TENANT = 2
MAX_WAITING_OF_TENANT = 1000
MAX_WAITING = 10_000
"""Revocations under way, most of them asleep between two attempts: some kilobytes each."""
_PAGE = 200


@dataclass(frozen=True, slots=True)
class _Job:
    tenant: str
    who: Who
    revocation: str
    lift: bool
    sign_out: bool


class Turns:
    """Few places that tenants take in turn; one tenant has at most ``per_tenant`` of them."""

    def __init__(self, places: int, *, per_tenant: int) -> None:
        self._free, self._per_tenant = places, per_tenant
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def place(self, tenant: str) -> AsyncIterator[None]:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        self._next()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled() or not turn.done():
                self._waiting.get(tenant, deque()).remove(turn)
                self._forget(tenant)
            else:
                self._give_back(tenant)
            raise
        try:
            yield
        finally:
            self._give_back(tenant)

    def _give_back(self, tenant: str) -> None:
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        self._next()

    def _next(self) -> None:
        while self._free:
            tenant = next((name for name in self._waiting if self._held[name] < self._per_tenant), None)
            if tenant is None:
                return
            turn = self._waiting[tenant].popleft()
            self._waiting.move_to_end(tenant)
            self._forget(tenant)
            if not turn.cancelled():
                self._free -= 1
                self._held[tenant] += 1
                turn.set_result(None)

    def _forget(self, tenant: str) -> None:
        if not self._waiting.get(tenant):
            self._waiting.pop(tenant, None)


class PoolPeople:
    """One per admin process; several do the same harmless things."""

    def __init__(
        self,
        users: CognitoUsers,
        record: RevocationRecord,
        revoker: StoreRevoker,
        marks: Marks,
        *,
        table: Callable[[], TenantTable],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._users, self._record, self._revoker, self._marks = users, record, revoker, marks
        self._table, self._clock, self._sleep = table, clock, sleep
        self._ended: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        """Revocation → pool users whose families it ended: the only way from an ``oid`` or a group to a pool user."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._of_tenant: Counter[str] = Counter()
        self._turns = Turns(MAX_AT_ONCE, per_tenant=PER_TENANT)
        self._behind: dict[str, float] = {}
        """Tenants without room, and from when (``durable_at``) the record is to be read again for them."""

    def observe(self, status: RevocationStatus, families: Sequence[EndedFamily]) -> None:
        """For ``StoreRevoker.observers``: whose families ended."""
        names = dict.fromkeys(f.display.username for f in families if f.display is not None and f.display.username)
        if names:
            self._ended[status.id] = tuple(names)
            if len(self._ended) > MAX_REMEMBERED:
                self._ended.popitem(last=False)

    async def run(self) -> None:
        """Until cancelled."""
        started = position = self._clock()
        begun: dict[str, float] = {}
        look_back = LOOK_BACK_S
        try:
            while True:
                try:
                    async for recorded in self._since(position - look_back):
                        position = max(position, recorded.durable_at)
                        self._take(recorded, begun, started)
                    look_back = OVERLAP_S
                    for tenant in list(self._behind):
                        await self._catch_up(tenant, begun, started)
                except UnavailableError as error:
                    _LOG.info("pool_not_followed", extra=fields(error=str(error)))
                else:
                    needed = min([position - 2 * OVERLAP_S, *self._behind.values()])
                    begun = {name: at for name, at in begun.items() if at >= needed}
                await self._sleep(POLL_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _since(self, durable_at: float) -> AsyncIterator[Recorded]:
        after = ""
        while True:
            page = await self._record.since(durable_at, after=after, limit=_PAGE)
            for recorded in page:
                yield recorded
            if len(page) < _PAGE:
                return
            durable_at, after = page[-1].durable_at, page[-1].status.id

    def _take(self, recorded: Recorded, begun: dict[str, float], started: float) -> None:
        tenant, name = recorded.status.request.tenant, recorded.status.id
        if name in begun:
            return
        if tenant in self._behind or not self._has_room(tenant, MAX_WAITING_OF_TENANT):
            if tenant not in self._behind:
                _LOG.warning("pool_behind", extra=fields(tenant=tenant, waiting=self._of_tenant[tenant]))
            # Also what becomes visible late, with an earlier time than what was left already.
            self._behind[tenant] = min(recorded.durable_at, self._behind.get(tenant, math.inf))
            return
        begun[name] = recorded.durable_at
        self._begin(recorded, fresh=recorded.durable_at >= started)

    def _has_room(self, tenant: str, most: int) -> bool:
        return self._of_tenant[tenant] < most and len(self._tasks) < MAX_WAITING

    async def _catch_up(self, tenant: str, begun: dict[str, float], started: float) -> None:
        """From where this tenant was left, as far as there is room; half of it is free first, so that a flood is read in large pieces."""
        if not self._has_room(tenant, MAX_WAITING_OF_TENANT // 2):
            return
        after = math.nextafter(self._behind[tenant], -math.inf)
        found = await self._record.of_tenant(tenant, durable_after=after, limit=2 * MAX_WAITING_OF_TENANT)
        del self._behind[tenant]
        for recorded in found:
            self._take(recorded, begun, started)
        if len(found) == 2 * MAX_WAITING_OF_TENANT:
            self._behind.setdefault(tenant, found[-1].durable_at)

    def _begin(self, recorded: Recorded, *, fresh: bool) -> None:
        request = recorded.status.request
        job = _Job(request.tenant, request.who, recorded.status.id, recorded.kind == LIFT, fresh and recorded.kind == RevocationKind.END_SESSIONS)
        task = asyncio.create_task(self._until_done(job, request))
        self._tasks.add(task)
        self._of_tenant[job.tenant] += 1
        task.add_done_callback(partial(self._done, job.tenant))

    def _done(self, tenant: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._of_tenant[tenant] -= 1
        if not self._of_tenant[tenant]:
            del self._of_tenant[tenant]

    async def _until_done(self, job: _Job, request: RevocationRequest) -> None:
        # The record knows of a revocation before its acknowledgement, which tells whose families ended.
        await self._sleep(SETTLE_S)
        if await self._tried(job, request, self._once) and request.group_overlay is not None and not job.lift:
            await self._sleep(SECOND_CLEARING_S)
            await self._tried(job, request, self._clear_again)

    async def _tried(self, job: _Job, request: RevocationRequest, work: Callable[[_Job, RevocationRequest], Awaitable[None]]) -> bool:
        """Whether it was done, sooner or later."""
        for delay in (*DELAYS_S, None):
            try:
                async with self._turns.place(job.tenant):
                    await work(job, request)
            except (RefusedError, UnansweredError, UnavailableError) as error:
                _LOG.warning("pool_not_in_step", extra=fields(tenant=job.tenant, error=str(error), again_in_s=delay))
                if delay is None:
                    return False
                await self._sleep(delay)
            else:
                return True
        return False

    async def _once(self, job: _Job, request: RevocationRequest) -> None:
        names = await self._usernames(job)
        standing = [s for s in await self._record.standing(job.tenant) if s.who == request.who]
        blocked = any(s.group is None for s in standing)
        for name in names:
            if blocked:
                await self._users.disable(name)
            elif job.lift and request.group_overlay is None:
                await self._users.enable(name)
            elif job.sign_out:
                await self._users.sign_out(name)
        await self._take_groups(names, standing, job.tenant)

    async def _clear_again(self, job: _Job, request: RevocationRequest) -> None:
        names = await self._usernames(job)
        standing = [s for s in await self._record.standing(job.tenant) if s.who == request.who and s.group is not None]
        if names and await self._take_groups(names, standing, job.tenant):
            for overlay in standing:
                await self._marks.cleared(job.tenant, self._revoker.places(_request_of(request, overlay)), watermark=overlay.watermark)

    async def _take_groups(self, names: Sequence[str], standing: Sequence[Standing], tenant_id: str) -> bool:
        """Whether every stored value surely lacks every group."""
        tenant = self._table().by_id(tenant_id)
        done = True
        for name in names:
            form_decode = _form_decode(tenant, name)
            for overlay in standing:
                if overlay.group is not None:
                    done = await self._users.remove_group(name, overlay.group, form_decode=form_decode) and done
        return done

    async def _usernames(self, job: _Job) -> tuple[str, ...]:
        """``{provider}_{subject}`` is Cognito's own rule; an address is looked up, among this tenant's providers only."""
        who, tenant = job.who, self._table().by_id(job.tenant)
        # Only names that are this tenant's alone (core.tenants.claims): the first part of a pool user's name says whose they are.
        providers = [name for name in tenant.provider_names if who.provider in (None, name)] if tenant is not None else []
        names = list(self._ended.get(job.revocation, ()))
        if who.idp_subject is not None:
            names += [f"{provider}_{subject}" for provider in providers for subject in id_spellings(who.idp_subject)]
        if who.email is not None:
            prefixes = tuple(f"{provider}_".lower() for provider in providers)
            found = [name for name in await self._users.usernames(who.email) if name.lower().startswith(prefixes)]
            if len(found) > 1:
                # A recycled address: which of them was meant, nobody can say, and the gateway's own block does not need to know.
                _LOG.warning("pool_address_ambiguous", extra=fields(tenant=job.tenant, users=len(found)))
            else:
                names += found
        return tuple(dict.fromkeys(names))


def _request_of(request: RevocationRequest, overlay: Standing) -> RevocationRequest:

    return replace(request, group_overlay=overlay.group)


def _form_decode(tenant: Tenant | None, username: str) -> bool:
    found = next((p for p in tenant.providers if username.lower().startswith(f"{p.name}_".lower())), None) if tenant is not None else None
    return found.form_decode if found is not None else True
