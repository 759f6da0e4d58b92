"""What a revocation does to the same people in the Cognito pool: signed out, disabled, a group
taken out of what is stored.

Rules:
- Nothing here holds the local effect up: the gateway's own watermarks, blocks and overlays already
  keep people out.
- It is done in every pool in which the tenant has a client: while a tenant moves, the same person
  is a user of two. A pool that does not answer does not keep the other.
- The record is followed, so what another process revoked (a command, another admin process) is seen
  too.
- Each write is derived from what stands in the record *when it runs*: a block lifted meanwhile
  disables nobody.
- Only a block that names a person disables: who is out because of a group, a session or the whole
  tenant is let in again without a lift of theirs (another group, another login), and is only signed
  out.
- Whom a block disabled is written down with the block, before it is done, and only if they were
  enabled. Exactly they are enabled again when the last block against them is lifted, by whatever
  names it knows them: at once, and from then on every minute until it is done, whichever process
  disabled them. Whom somebody else disabled stays disabled.
- A group is taken out twice, the second time after logins that were in flight have ended; only then
  may a later login be believed about it. One that is taken from everybody is looked for in the
  whole pool the second time.
- Tenants take turns at few places, and none has all of them: a flood of one, or calls for one that
  take long, delay that one only.
- What waits is bounded, for each tenant and in all. What finds no room is not dropped: the record
  has it, and is read again from there when there is room.
- A revocation that does not open keeps no other from being followed; it is followed once it opens.
- Of the pool's own users, those are meant whose groups are this tenant's and no other's. Who is
  another tenant's user too is kept out by the gateway, and left alone in the pool.
- A start repeats what a crash may have left undone: blocks and overlays of the last day, every
  lift. Sign-outs are not repeated: they would end what the person has begun since.
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

from gateway.background import fault
from gateway.cognito.api import CognitoRejectedError, UnansweredError
from gateway.core.canonical import canonical_address, canonical_id, id_spellings
from gateway.core.model import SHARED_USERS, ProviderKind
from gateway.core.pool_groups import tenants_of
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.database.leader import LEASE_S
from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.revocation.api import LIFT, DisabledUser
from gateway.revocation.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence

    from gateway.cognito.users import CognitoUsers, PoolUser
    from gateway.core.model import Provider, Tenant
    from gateway.core.tenants import TenantTable
    from gateway.revocation.api import DisabledUsers, Recorded, RevocationRecord, Standing
    from gateway.revocation.service import StoreRevoker
    from gateway.sessions.watermarks import Watermarks

_LOG = logging.getLogger(__name__)
POLL_S = 1.0
FOLLOW_S = 5.0
"""How often a process that does not lead asks whether it may."""
RENEW_S = LEASE_S / 3
LOOK_BACK_S = 86_400.0
OVERLAP_S = 10.0
"""From the moment that a revocation calls its own to the moment in which others can see it, at
most.
"""
KEPT_S = 900.0
"""How long it is known what was seen: longer than the database's clock steps back at once."""
SECOND_CLEARING_S = 900.0
"""Logins that were in flight at the removal have ended, and what they wrote is in the pool: Cognito
gives up after five minutes at each step.
"""
DELAYS_S = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
MAX_AT_ONCE = 4
"""Places: Cognito takes 25 changes of users a second, of all processes together."""
PER_TENANT = 2
MAX_WAITING_OF_TENANT = 1000
MAX_WAITING = 10_000
"""Revocations under way, most of them asleep between two attempts: some kilobytes each."""
ENABLE_AGAIN_S = 60.0
"""How often everybody is looked for whose block was lifted and who is not enabled yet: what other
processes lifted is seen at once, this is for what failed.
"""
_PAGE = 200


@dataclass(frozen=True, slots=True)
class _Job:
    tenant: str
    who: Who
    revocation: str
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
            tenant = next(
                (name for name in self._waiting if self._held[name] < self._per_tenant), None
            )
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
    """One per admin process; of several, the one that ``leads`` does the work. The next one also
    does what the former may have left undone when it ended.
    """

    def __init__(
        self,
        pools: Mapping[str, CognitoUsers],
        record: RevocationRecord,
        revoker: StoreRevoker,
        marks: Watermarks,
        disabled: DisabledUsers,
        *,
        table: Callable[[], TenantTable],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        leads: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """``pools``: the users of each, by its name. ``leads``: takes or renews the lead for
        ``LEASE_S``; None where there is no other process. Raises ``UnavailableError``.
        """
        self._leads = leads
        self._pools, self._record, self._revoker, self._marks, self._disabled = (
            pools,
            record,
            revoker,
            marks,
            disabled,
        )
        self._table, self._clock, self._sleep = table, clock, sleep
        self._tasks: set[asyncio.Task[None]] = set()
        self._of_tenant: Counter[str] = Counter()
        self._turns = Turns(MAX_AT_ONCE, per_tenant=PER_TENANT)
        self._behind: dict[str, float] = {}
        """Tenants without room, and from when (``durable_at``) the record is to be read again for
        them.
        """
        self._unopened = Unopened(record, event="cognito_sync_does_not_open")
        self._enabling: dict[str, bool] = {}
        """Tenants whose users are being enabled, and whether more of them came meanwhile."""

    async def run(self) -> None:
        """Until cancelled."""
        late_s = 0.0
        try:
            while True:
                if await self._is_leading():
                    await self._lead(late_s)
                # What was revoked while nobody led is fresh for whoever leads next.
                late_s = LEASE_S + 2 * FOLLOW_S
                await self._sleep(FOLLOW_S)
        finally:
            await self._stop()

    async def _is_leading(self) -> bool:
        if self._leads is None:
            return True
        try:
            return await self._leads()
        except UnavailableError as error:
            _LOG.warning("cognito_sync_failed", extra=fields(error=str(error)))
        except Exception as error:  # noqa: BLE001 - logged; nobody leads until it is answered
            fault("cognito_sync_fault", error)
        return False

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._behind.clear()

    async def _lead(self, late_s: float) -> None:
        """Until another process leads. ``late_s``: how long ago that is fresh."""
        position = led_at = self._clock()
        start = position - late_s
        starts: dict[str, float] = {}
        look_back, enabled_at = LOOK_BACK_S, -math.inf
        while True:
            now = self._clock()
            try:
                if now - led_at >= RENEW_S:
                    if self._leads is not None and not await self._leads():
                        await self._stop()
                        return
                    led_at = now
                if self._clock() - enabled_at >= ENABLE_AGAIN_S:
                    for tenant in await self._disabled.tenants_to_enable():
                        self._enable_soon(tenant)
                    enabled_at = self._clock()
                async for entry in self._since(min(position, now) - look_back):
                    self._take(entry, starts, start)
                # When the record was last read, never what stood in it: of what another process
                # calls late, nothing is early.
                position, look_back = now, OVERLAP_S
                for entry in await self._unopened.opened(now):
                    if self._has_place(entry.status.request.tenant):
                        self._take(entry, starts, start)
                    else:
                        self._unopened.keep(entry.status.id)
                for tenant in list(self._behind):
                    await self._catch_up(tenant, starts, start)
            except UnavailableError as error:
                _LOG.warning("cognito_sync_failed", extra=fields(error=str(error)))
            except Exception as error:  # noqa: BLE001 - logged
                # Whatever it was: who was let in again must not stay disabled because nobody
                # follows any more.
                fault("cognito_sync_fault", error)
            else:
                horizon = min([position - KEPT_S, *self._behind.values()])
                starts = {name: at for name, at in starts.items() if at >= horizon}
            await self._sleep(POLL_S)

    async def _since(self, durable_at: float) -> AsyncIterator[Recorded]:
        after = ""
        while True:
            page = await self._record.since(
                durable_at, after=after, limit=_PAGE, closed=self._unopened.note
            )
            for entry in page:
                yield entry
            if len(page) < _PAGE:
                return
            durable_at, after = page[-1].durable_at, page[-1].status.id

    def _take(self, entry: Recorded, starts: dict[str, float], start: float) -> None:
        tenant, name = entry.status.request.tenant, entry.status.id
        if name in starts:
            return
        if not self._has_place(tenant):
            if tenant not in self._behind:
                _LOG.warning(
                    "cognito_sync_backlog",
                    extra=fields(tenant=tenant, waiting=self._of_tenant[tenant]),
                )
            # Also what becomes visible late, with an earlier time than what was left already.
            self._behind[tenant] = min(entry.durable_at, self._behind.get(tenant, math.inf))
            return
        starts[name] = entry.durable_at
        self._begin(entry, fresh=entry.durable_at >= start)

    def _has_place(self, tenant: str) -> bool:
        return tenant not in self._behind and self._has_room(tenant, MAX_WAITING_OF_TENANT)

    def _has_room(self, tenant: str, most: int) -> bool:
        return self._of_tenant[tenant] < most and len(self._tasks) < MAX_WAITING

    async def _catch_up(self, tenant: str, starts: dict[str, float], start: float) -> None:
        """From where this tenant was left, as far as there is room; half of it is free first, so
        that a flood is read in large pieces.
        """
        if not self._has_room(tenant, MAX_WAITING_OF_TENANT // 2):
            return
        after = math.nextafter(self._behind[tenant], -math.inf)
        entries = await self._record.of_tenant(
            tenant, durable_after=after, limit=2 * MAX_WAITING_OF_TENANT, closed=self._unopened.note
        )
        del self._behind[tenant]
        for entry in entries:
            self._take(entry, starts, start)
        if len(entries) >= 2 * MAX_WAITING_OF_TENANT:
            self._behind.setdefault(tenant, entries[-1].durable_at)

    def _begin(self, entry: Recorded, *, fresh: bool) -> None:
        request = entry.status.request
        if entry.kind == LIFT:
            if request.group_overlay is None:
                self._enable_soon(request.tenant)
            return
        job = _Job(request.tenant, request.who, entry.status.id, fresh)
        self._start(job.tenant, self._until_done(job, request))

    def _start(self, tenant: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        self._of_tenant[tenant] += 1
        task.add_done_callback(partial(self._done, tenant))

    def _done(self, tenant: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._of_tenant[tenant] -= 1
        if not self._of_tenant[tenant]:
            del self._of_tenant[tenant]

    async def _until_done(self, job: _Job, request: RevocationRequest) -> None:
        if (
            await self._tried(job.tenant, partial(self._once, job, request))
            and request.group_overlay is not None
        ):
            await self._sleep(SECOND_CLEARING_S)
            await self._tried(job.tenant, partial(self._clear_again, job, request))

    async def _tried(self, tenant: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether it was done, sooner or later."""
        for delay in (*DELAYS_S, None):
            try:
                async with self._turns.place(tenant):
                    await work()
            except (CognitoRejectedError, UnansweredError, UnavailableError) as error:
                _LOG.warning(
                    "cognito_sync_behind",
                    extra=fields(tenant=tenant, error=str(error), again_in_s=delay),
                )
            except Exception as error:  # noqa: BLE001 - logged, and tried again
                fault("cognito_sync_fault", error, tenant=tenant, again_in_s=delay)
            else:
                return True
            if delay is not None:
                await self._sleep(delay)
        return False

    async def _once(self, job: _Job, request: RevocationRequest) -> None:
        standing = await self._standing_of(request)
        block = next((s for s in standing if s.group is None and _names_a_person(s.who)), None)

        async def once(pool: str) -> None:
            names = await self._usernames(job, pool)
            for name in names:
                if block is not None:
                    await self._disable(name, block, pool)
                elif job.sign_out:
                    await self._users(pool).sign_out(name)
            await self._take_groups(names, standing, job.tenant, pool)

        await self._in_each_pool(job.tenant, once)

    def _users(self, pool: str) -> CognitoUsers:
        """Raises ``UnansweredError``: another process may have a newer configuration."""
        users = self._pools.get(pool)
        if users is None:
            msg = f"user pool {pool} is not in cognito.pools"
            raise UnansweredError(msg)
        return users

    async def _in_each_pool(self, tenant_id: str, work: Callable[[str], Awaitable[None]]) -> None:
        """In each of the tenant's pools; of a tenant that is gone nobody knows which they were. The
        first error is raised at the end.
        """
        tenant = self._table().by_id(tenant_id)
        failure: CognitoRejectedError | UnansweredError | None = None
        for pool in tuple(self._pools) if tenant is None else tenant.pools:
            try:
                await work(pool)
            except (CognitoRejectedError, UnansweredError) as error:
                failure = failure or error
        if failure is not None:
            raise failure

    async def _standing_of(self, request: RevocationRequest) -> Sequence[Standing]:
        """What stands against exactly these names: a mass removal is many such questions, so none
        reads what stands against everybody.
        """
        return await self._record.standing_of(
            request.tenant, self._revoker.revocation_keys(request).marks
        )

    async def _disable(self, name: str, block: Standing, pool: str) -> None:
        user = await self._users(pool).find(name)
        if user is None or not (user.enabled or await self._disabled.has(user.username, pool=pool)):
            # Disabled by somebody else, who enables them: a lift of this block must not.
            return
        await self._disabled.add(
            DisabledUser(block.id, block.tenant, user.username, pool), at=self._clock()
        )
        if user.enabled:
            await self._users(pool).disable(user.username)

    def _enable_soon(self, tenant: str) -> None:
        if tenant in self._enabling:
            self._enabling[tenant] = True
            return
        self._enabling[tenant] = False
        self._start(tenant, self._enable_all(tenant))

    async def _enable_all(self, tenant: str) -> None:
        try:
            again = True
            while again:
                try:
                    async with self._turns.place(tenant):
                        await self._enable_due(tenant)
                except (CognitoRejectedError, UnansweredError, UnavailableError) as error:
                    _LOG.warning(
                        "cognito_sync_behind",
                        extra=fields(tenant=tenant, error=str(error), again_in_s=ENABLE_AGAIN_S),
                    )
                except Exception as error:  # noqa: BLE001 - logged, and tried again
                    fault("cognito_sync_fault", error, tenant=tenant, again_in_s=ENABLE_AGAIN_S)
                again = self._enabling[tenant]
        finally:
            del self._enabling[tenant]

    async def _enable_due(self, tenant: str) -> None:
        """Everybody of the tenant whose block was lifted. One whom Cognito refuses does not keep
        the others; the first error is raised at the end.
        """
        self._enabling[tenant] = False
        last: DisabledUser | None = None
        failure: CognitoRejectedError | UnansweredError | None = None
        while page := await self._disabled.to_enable(tenant, after=last, limit=_PAGE):
            blocks = await self._blocks(tenant)
            enabled: list[tuple[DisabledUser, PoolUser]] = []
            for one in page:
                try:
                    user = await self._enable(one, blocks)
                except (CognitoRejectedError, UnansweredError) as error:
                    failure = failure or error
                else:
                    enabled += [] if user is None else [(one, user)]
            # Blocked again while this ran: their own block found them disabled by us, or disables
            # them after this.
            blocks = await self._blocks(tenant) if enabled else ()
            for one, user in enabled:
                block = next((b for b in blocks if self._is_meant(b.who, user, tenant)), None)
                if block is not None:
                    await self._disable(one.username, block, one.pool)
            last = page[-1]
        if failure is not None:
            raise failure

    async def _blocks(self, tenant: str) -> Sequence[Standing]:
        return [
            s
            for s in await self._record.standing(tenant)
            if s.group is None and _names_a_person(s.who)
        ]

    async def _enable(self, one: DisabledUser, blocks: Sequence[Standing]) -> PoolUser | None:
        """The user, if they were enabled."""
        if await self._disabled.is_held(one):
            await self._disabled.remove(one)
            return None
        user = await self._users(one.pool).find(one.username)
        block = (
            None
            if user is None
            else next((b for b in blocks if self._is_meant(b.who, user, one.tenant)), None)
        )
        if block is not None:
            await self._disabled.move(one, block=block.id)
            return None
        if user is not None:
            await self._users(one.pool).enable(user.username)
        is_removed = await self._disabled.remove(one)
        if is_removed:
            _LOG.info(
                "cognito_user_enabled" if user is not None else "cognito_user_gone",
                extra=fields(tenant=one.tenant, block=one.block),
            )
        return user

    async def disable_now(self, request: RevocationRequest, username: str, *, pool: str) -> None:
        """What this block does to that user in the pool, without waiting for the record to be
        followed; nothing where it was lifted meanwhile.
        """
        for block in await self._standing_of(request):
            if block.group is None:
                await self._disable(username, block, pool)
                return

    async def blocks_of(
        self, tenant: str, *, sub: str, email: str, provider: str
    ) -> Sequence[Standing]:
        """Blocks in force that name this one of the pool's own users. ``provider``: by which they
        sign in to the tenant.
        """
        names = [Who(user=sub), Who(idp_subject=sub), *([Who(email=email)] if email else [])]
        requests = [
            RevocationRequest(tenant, replace(who, provider=at), RevocationKind.BLOCK, "", "")
            for who in names
            for at in (None, provider)
        ]
        marks = [mark for r in requests for mark in self._revoker.revocation_keys(r).marks]
        return [s for s in await self._record.standing_of(tenant, marks) if s.group is None]

    def _is_meant(self, who: Who, user: PoolUser, tenant_id: str) -> bool:
        """Whether a block by these names is against this user."""
        tenant = self._table().by_id(tenant_id)
        if user.own:
            own = _own_provider(tenant, who)
            if who.provider is not None and own is None:
                return False
            return _is_named(who, user, subject=user.sub)
        names = [] if tenant is None else sorted(tenant.provider_names, key=len, reverse=True)
        provider = next(
            (
                n
                for n in [*names, who.provider]
                if n is not None and user.username.lower().startswith(f"{n}_".lower())
            ),
            None,
        )
        if who.provider is not None and provider != who.provider:
            return False
        subject = user.username[len(provider) + 1 :] if provider is not None else ""
        return _is_named(who, user, subject=subject)

    async def _clear_again(self, job: _Job, request: RevocationRequest) -> None:
        standing = [s for s in await self._standing_of(request) if s.group is not None]
        if not _names_a_person(request.who):
            await self._clear_everybody(
                request, [s for s in standing if s.group == request.group_overlay]
            )
            return
        tenant = self._table().by_id(request.tenant)
        done: list[bool] = []

        async def clear(pool: str) -> None:
            names = await self._usernames(job, pool)
            if tenant is not None and len(tenant.pools) > 1:
                # Who has not signed in with one of them yet has nothing stored there.
                names = tuple([name for name in names if await self._users(pool).find(name)])
            if names:
                done.append(await self._take_groups(names, standing, job.tenant, pool))

        await self._in_each_pool(request.tenant, clear)
        if done and all(done):
            for overlay in standing:
                await self._cleared(request, overlay)

    async def _clear_everybody(
        self, request: RevocationRequest, standing: Sequence[Standing]
    ) -> None:
        """A group that was deleted or renamed: also those lose it who were not signed in then, and
        nobody is believed before.
        """
        tenant = self._table().by_id(request.tenant)
        if tenant is None:
            return
        for overlay in standing:
            done: list[bool] = []

            async def clear(
                pool: str, overlay: Standing = overlay, done: list[bool] = done
            ) -> None:
                for provider in tenant.configured:
                    if provider.name in tenant.provider_names and request.who.provider in (
                        None,
                        provider.name,
                    ):
                        names = await self._users(pool).with_group(
                            provider.name,
                            overlay.group or "",
                            url_decode_groups=provider.url_decode_groups,
                        )
                        done.append(await self._take_groups(names, [overlay], request.tenant, pool))

            await self._in_each_pool(request.tenant, clear)
            if all(done):
                await self._cleared(request, overlay)
            else:
                _LOG.warning(
                    "cognito_group_not_cleared",
                    extra=fields(tenant=request.tenant, group=overlay.group),
                )

    async def _cleared(self, request: RevocationRequest, overlay: Standing) -> None:
        await self._marks.cleared(
            request.tenant,
            self._revoker.revocation_keys(_request_of(request, overlay)),
            watermark=overlay.watermark,
        )
        await self._record.clear(overlay, at=self._clock())

    async def _take_groups(
        self, names: Sequence[str], standing: Sequence[Standing], tenant_id: str, pool: str
    ) -> bool:
        """Whether every stored value surely lacks every group."""
        tenant = self._table().by_id(tenant_id)
        is_complete = True
        for name in names:
            url_decode_groups = _form_decode(tenant, name)
            for overlay in standing:
                if overlay.group is not None:
                    is_complete = (
                        await self._users(pool).remove_group(
                            name, overlay.group, url_decode_groups=url_decode_groups
                        )
                        and is_complete
                    )
        return is_complete

    async def _usernames(self, job: _Job, pool: str) -> tuple[str, ...]:
        """``{provider}_{subject}`` is Cognito's own rule, in every pool; an address and a ``sub``
        are looked up in this one, among this tenant's providers and the pool's own users that are
        this tenant's alone.
        """
        who, tenant = job.who, self._table().by_id(job.tenant)
        # Only names that are this tenant's alone (core.tenants.claims): the first part of a pool
        # user's name says whose they are.
        providers = (
            [name for name in tenant.provider_names if who.provider in (None, name)]
            if tenant is not None
            else []
        )
        prefixes = tuple(f"{provider}_".lower() for provider in providers)
        names = [
            name
            for name in await self._record.users_of(job.revocation)
            if name.lower().startswith(prefixes)
            or not await self._is_anothers(name, job.tenant, pool, is_gone=tenant is None)
        ]
        own = _own_provider(tenant, who)
        if who.user is not None:
            names += await self._only(
                await self._users(pool).usernames_of_sub(who.user), prefixes, own, job.tenant, pool
            )
        if who.idp_subject is not None:
            names += [
                f"{provider}_{subject}"
                for provider in providers
                for subject in id_spellings(who.idp_subject)
            ]
            if own is not None:
                usernames = await self._users(pool).usernames_of_sub(who.idp_subject)
                names += await self._only(usernames, (), own, job.tenant, pool)
        if who.email is not None:
            usernames = await self._only(
                await self._users(pool).usernames(who.email), prefixes, own, job.tenant, pool
            )
            if len(usernames) > 1:
                # A recycled address: which of them was meant, nobody can say, and the gateway's own
                # block does not need to know.
                _LOG.warning(
                    "cognito_sync_ambiguous_email",
                    extra=fields(tenant=job.tenant, users=len(usernames)),
                )
            else:
                names += usernames
        return tuple(dict.fromkeys(names))

    async def _only(
        self,
        names: Sequence[str],
        prefixes: tuple[str, ...],
        own: Provider | None,
        tenant: str,
        pool: str,
    ) -> tuple[str, ...]:
        """Of Cognito's users, those of the tenant's providers, and the pool's own whose groups are
        this tenant's and no other's.
        """
        return tuple(
            [
                name
                for name in names
                if name.lower().startswith(prefixes)
                or (
                    own is not None
                    and await self._own_users_tenants(name, pool) == frozenset((tenant,))
                )
            ]
        )

    async def _is_anothers(self, name: str, tenant: str, pool: str, *, is_gone: bool) -> bool:
        """Whether this is another tenant's user too: then nothing is done to them in the pool. Of a
        tenant that is gone nobody knows in which pool it was, and another pool may have somebody
        else of the name.
        """
        if name.lower().startswith(tuple(SHARED_USERS)):
            # Somebody of a provider that the pool has once.
            return True
        theirs = await self._own_users_tenants(name, pool)
        if theirs is not None and is_gone and len(self._pools) > 1:
            return theirs != frozenset((tenant,))
        return bool((theirs or frozenset()) - {tenant})

    async def _own_users_tenants(self, name: str, pool: str) -> frozenset[str] | None:
        """None for whom an identity provider vouches for, and for nobody."""
        user = await self._users(pool).find(name)
        if user is None or not user.own:
            return None
        return tenants_of(await self._users(pool).groups_of(user.username))


def _own_provider(tenant: Tenant | None, who: Who) -> Provider | None:
    """By which the pool's own users sign in to the tenant, if it can be meant."""
    if tenant is None:
        return None
    return next(
        (
            p
            for p in tenant.configured
            if p.kind is ProviderKind.COGNITO and who.provider in (None, p.name)
        ),
        None,
    )


def _is_named(who: Who, user: PoolUser, *, subject: str) -> bool:
    """``subject``: the user's at their identity provider."""
    same = (
        who.user is not None and who.user == canonical_id(user.sub),
        who.idp_subject is not None and who.idp_subject == canonical_id(subject),
        who.oid is not None and who.oid == canonical_id(user.oid),
        who.email is not None and who.email == canonical_address(user.email),
    )
    return any(same)


def _names_a_person(who: Who) -> bool:
    return any(value is not None for value in (who.user, who.idp_subject, who.oid, who.email))


def _request_of(request: RevocationRequest, overlay: Standing) -> RevocationRequest:

    return replace(request, group_overlay=overlay.group)


def _form_decode(tenant: Tenant | None, username: str) -> bool:
    provider = (
        next(
            (p for p in tenant.configured if username.lower().startswith(f"{p.name}_".lower())),
            None,
        )
        if tenant is not None
        else None
    )
    return provider.url_decode_groups if provider is not None else True
