"""Revocations and lifts of a tenant that has moved, or is moving, from user pool to user pool.

Rules:
- A ``sub`` is a user pool's: in another one the same person has another. What is said of one name
  reaches the names that the person has in every pool; it is answered when all of it is done, and
  a pool that does not answer fails it, so that whoever asked repeats.
- What stays of a person is the provider and its subject. Where another pool may be given another
  subject (SAML, social kinds), the e-mail address counts too: to keep out too many is safe, to miss
  somebody is not.
- First what was asked for is on record, then the tenant's pools are read. A move reads the record
  after it has begun: one of the two sees the other.
- What stands by a further name has a source of its own (``moved:okta``) and says because of which
  blocks it stands. It is lifted when the last of them is, whatever Cognito still knows, and by
  nothing that is said of somebody else.
- Whoever lifts it by that name lifts what it follows; of an address of several people, only what
  stands by the address.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol

from gateway.cognito.api import CognitoRejectedError, UnansweredError
from gateway.core.canonical import id_spellings
from gateway.core.model import SAME_SUBJECT_IN_EVERY_POOL, ProviderKind
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.errors import UnavailableError
from gateway.revocation.api import MOVED, OPERATORS, RevocationRecord, moved_source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence

    from gateway.cognito.users import CognitoUsers, FederatedUser
    from gateway.core.model import Provider
    from gateway.core.revocation import RevocationStatus
    from gateway.core.tenants import TenantTable
    from gateway.revocation.api import Standing
    from gateway.revocation.service import StoreRevoker

_FOLLOWED_LIFTED: Final = "what it followed was lifted"


class TenantPools(Protocol):
    """Where the same person may be known by another ``sub``."""

    async def pools_of(self, tenant: str) -> tuple[str, ...]:
        """Names of the user pools that the tenant is in, was in, or is being moved into. Raises
        ``UnavailableError``.
        """


class RecordAcrossPools(RevocationRecord, Protocol):
    """The record, as far as it knows what stands because of what."""

    async def orphans(self, tenant: str) -> Sequence[Standing]:
        """What stands by a further name, because of nothing that is in force any more."""


@dataclass(frozen=True, slots=True)
class PersonNames:
    """By which further names one person is known. ``users``: of each user pool. Raises
    ``UnavailableError`` where a pool does not tell.
    """

    users: Mapping[str, CognitoUsers]
    pools: TenantPools
    table: Callable[[], TenantTable]

    async def to_revoke(self, tenant: str, who: Who) -> tuple[Who, ...]:
        """By which else they may come in; none where ``who`` says it in every pool."""
        if who.user is None and not self._may_differ(tenant, who):
            return ()
        names = await self._all(tenant, who)
        # A subject names the person in every pool: no second ``sub`` is needed beside it.
        return tuple(name for name in names if name.user is None and name.provider is not None)

    def _may_differ(self, tenant: str, who: Who) -> bool:
        """Whether another pool may know the person by another subject than this."""
        entry = self.table().by_id(tenant)
        return who.idp_subject is not None and any(
            p.kind not in SAME_SUBJECT_IN_EVERY_POOL and who.provider in {None, p.name}
            for p in (() if entry is None else entry.configured)
        )

    async def _all(self, tenant_id: str, who: Who) -> tuple[Who, ...]:
        if len(self.users) < 2:
            return ()
        pools, tenant = await self.pools.pools_of(tenant_id), self.table().by_id(tenant_id)
        if len(pools) < 2 or tenant is None:
            return ()
        providers = [
            p
            for p in tenant.configured
            if p.kind is not ProviderKind.COGNITO and who.provider in {None, p.name}
        ]
        names: dict[Who, None] = {}
        for pool in pools:
            users = self.users.get(pool)
            if users is None and pool not in tenant.pools:
                # Taken out of the configuration after the tenant had left it.
                continue
            try:
                for user in await _federated(pool, users, providers, who):
                    names |= dict.fromkeys(_names(user, providers))
            except CognitoRejectedError as refused:
                msg = f"user pool {pool} does not say who that is: {refused}"
                raise UnavailableError(msg) from refused
        names.pop(who, None)
        return tuple(names)


async def _federated(
    pool: str, users: CognitoUsers | None, providers: Sequence[Provider], who: Who
) -> list[FederatedUser]:
    if users is None:
        msg = f"user pool {pool} is not in cognito.pools"
        raise UnansweredError(msg)
    if who.user is not None:
        name_lists = [await users.usernames_of_sub(text) for text in id_spellings(who.user)]
        usernames = list(chain.from_iterable(name_lists))
    elif who.idp_subject is not None:
        usernames = [
            f"{provider.cognito_name}_{text}"
            for provider in providers
            for text in id_spellings(who.idp_subject)
        ]
    else:
        usernames = list(await users.usernames(who.email or ""))
    candidates = [await users.federated(name) for name in dict.fromkeys(usernames)]
    return [user for user in candidates if user is not None]


def _names(user: FederatedUser, providers: Sequence[Provider]) -> Iterator[Who]:
    """Of one user of a pool, as far as the tenant's providers vouch for them."""
    by_name = {provider.cognito_name.lower(): provider for provider in providers}
    for identity in user.identities:
        provider = by_name.get(identity.provider.lower())
        if provider is None:
            continue
        for at in (provider.name, None):
            yield Who(user=user.sub, provider=at)
            yield Who(idp_subject=identity.subject, provider=at)
        if provider.kind not in SAME_SUBJECT_IN_EVERY_POOL and user.email:
            yield Who(email=user.email, provider=provider.name)


@dataclass(frozen=True, slots=True)
class RevokerAcrossPools:
    """Implements ``sessions.api.Revoker``."""

    revoker: StoreRevoker
    record: RecordAcrossPools
    names: PersonNames
    carried: set[str] = field(default_factory=set)
    """Ids of what stands by every name already, as far as this process knows."""

    async def revoke(self, request: RevocationRequest) -> RevocationStatus:
        status = await self.revoker.revoke(request)
        names = await self.names.to_revoke(request.tenant, request.who)
        if not names:
            return status
        is_standing = request.kind is RevocationKind.BLOCK or request.group_overlay is not None
        mine = [s.id for s in await self._standing(request) if s.source == request.source]
        further = replace(
            request, source=moved_source(request.source), by_hand=False, follows="".join(mine[:1])
        )
        if is_standing and not mine:
            # Lifted in the meantime: what was there ends, and nothing stands.
            further = replace(further, kind=RevocationKind.END_SESSIONS, group_overlay=None)
        for who in names:
            # The application is told of a person once.
            await self.revoker.revoke(replace(further, who=who))
        await self._lift_orphans(request.tenant)
        return status

    async def lift(self, request: RevocationRequest) -> RevocationStatus:
        if request.standing or len(await self.names.pools.pools_of(request.tenant)) < 2:
            return await self.revoker.lift(request)
        followed_ids = {
            one for s in await self._standing(request) if _may_lift(request, s) for one in s.follows
        }
        status = await self.revoker.lift(request)
        if followed_ids:
            # By a name that followed: the person is meant, and so is what it followed.
            standing = await self.record.standing(request.tenant)
            origins = [each for each in standing if each.id in followed_ids]
            if request.who.email is None or not _are_several(origins, standing):
                for each in origins:
                    await self.revoker.lift(
                        replace(request, who=each.who, source=each.source, by_hand=False)
                    )
        await self._lift_orphans(request.tenant)
        return status

    async def _lift_orphans(self, tenant: str) -> None:
        for orphan in await self.record.orphans(tenant):
            await self.revoker.lift(
                RevocationRequest(
                    tenant,
                    orphan.who,
                    RevocationKind.BLOCK if orphan.group is None else RevocationKind.END_SESSIONS,
                    _FOLLOWED_LIFTED,
                    orphan.source,
                    group_overlay=orphan.group,
                    follows=orphan.follows[0],
                )
            )

    async def exempt(self, request: RevocationRequest) -> bool:
        return await self.revoker.exempt(request)

    async def status(self, revocation_id: str) -> RevocationStatus | None:
        return await self.revoker.status(revocation_id)

    def stream(self, *, after: str | None = None) -> AsyncGenerator[RevocationStatus, None]:
        return self.revoker.stream(after=after)

    async def carry(self, tenant: str, *, moved: bool) -> int:
        """What stands against people of the tenant by a name that another user pool may not know,
        by their further names too; how many names. Repeats harmlessly. Raises ``UnavailableError``.

        ``moved`` False: nobody can have come in through the other pool yet, so that a group which
        was taken away ends nobody's session a second time.
        """
        carried = 0
        for standing in await self.record.standing(tenant):
            if standing.cleared or standing.source.startswith(MOVED):
                continue
            if moved and standing.id in self.carried:
                continue
            for who in await self.names.to_revoke(tenant, standing.who):
                request = RevocationRequest(
                    tenant,
                    who,
                    RevocationKind.BLOCK if standing.group is None else RevocationKind.END_SESSIONS,
                    standing.reason,
                    moved_source(standing.source),
                    group_overlay=standing.group,
                    follows=standing.id,
                )
                there = [s for s in await self._standing(request) if s.source == request.source]
                if any(standing.id in each.follows for each in there):
                    continue
                if standing.group is None or moved:
                    await self.revoker.revoke(request)
                else:
                    last = max((standing, *there), key=lambda each: each.watermark)
                    await self.revoker.stand_for(last, request)
                carried += 1
            if moved:
                self.carried.add(standing.id)
        await self._lift_orphans(tenant)
        return carried

    async def _standing(self, request: RevocationRequest) -> list[Standing]:
        """Of the same kind as the request, by exactly its name."""
        candidates = await self.record.standing_of(
            request.tenant, self.revoker.revocation_keys(request).marks
        )
        return [s for s in candidates if s.group == request.group_overlay]


def _are_several(origins: Sequence[Standing], standing: Sequence[Standing]) -> bool:
    """Whether these are about more than one subject, as far as the record knows."""
    subjects: set[str] = set()
    for origin in origins:
        names = [origin, *(each for each in standing if origin.id in each.follows)]
        subjects |= {each.who.idp_subject or "" for each in names} - {""} or {origin.id}
    return len(subjects) > 1


def _may_lift(request: RevocationRequest, standing: Standing) -> bool:
    return request.source in OPERATORS or standing.source in {
        request.source,
        moved_source(request.source),
    }
