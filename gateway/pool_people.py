"""What a revocation does to the same people in the Cognito pool: signed out, disabled, a group taken out of what is stored.

Rules:
- Nothing here holds the local effect up: the gateway's own watermarks, blocks and overlays already keep people out.
- The record is followed, so what another process revoked (a command, another admin process) is seen too.
- Each write is derived from what stands in the record *when it runs*: a block lifted meanwhile disables nobody, a lift
  enables unless another source's block still stands.
- A group is taken out twice, the second time after logins that were in flight have ended; only then may a later login
  be believed about it.
- A start repeats what a crash may have left undone: blocks, lifts and overlays of the last day. Sign-outs are not repeated:
  they would end what the person has begun since.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.cognito.aws import RefusedError, UnansweredError
from gateway.core.canonical import id_spellings
from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.ports import RevocationKind
from gateway.ports_revocation import LIFT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

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
_PAGE = 200


@dataclass(frozen=True, slots=True)
class _Job:
    tenant: str
    who: Who
    revocation: str
    lift: bool
    sign_out: bool


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
        self._room = asyncio.Semaphore(MAX_AT_ONCE)

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
        seen: dict[str, float] = {}
        look_back = LOOK_BACK_S
        try:
            while True:
                try:
                    for recorded in await self._since(position - look_back):
                        if recorded.status.id not in seen:
                            seen[recorded.status.id] = recorded.durable_at
                            position = max(position, recorded.durable_at)
                            self._begin(recorded, fresh=recorded.durable_at >= started)
                except UnavailableError as error:
                    _LOG.info("pool_not_followed", extra=fields(error=str(error)))
                else:
                    look_back = OVERLAP_S
                    seen = {name: at for name, at in seen.items() if at >= position - 2 * OVERLAP_S}
                await self._sleep(POLL_S)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _since(self, durable_at: float) -> list[Recorded]:
        found: list[Recorded] = []
        while True:
            page = await self._record.since(found[-1].durable_at if found else durable_at, after=found[-1].status.id if found else "", limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                return found

    def _begin(self, recorded: Recorded, *, fresh: bool) -> None:
        request = recorded.status.request
        job = _Job(request.tenant, request.who, recorded.status.id, recorded.kind == LIFT, fresh and recorded.kind == RevocationKind.END_SESSIONS)
        task = asyncio.create_task(self._until_done(job, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
                async with self._room:
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
