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
- What stands by a further name has a source of its own (``moved:okta``), which says whose it is:
  whoever lifts one name lifts the others with it, and nothing that somebody else has imposed.
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
from gateway.revocation.api import MOVED, OPERATORS, moved_source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence

    from gateway.cognito.users import CognitoUsers, FederatedUser
    from gateway.core.model import Provider
    from gateway.core.revocation import RevocationStatus
    from gateway.core.tenants import TenantTable
    from gateway.revocation.api import RevocationRecord, Standing
    from gateway.revocation.service import StoreRevoker

_HOPS: Final = 2
"""From a ``sub`` to the subject, and from there to the ``sub`` in every other pool."""


class TenantPools(Protocol):
    """Where the same person may be known by another ``sub``."""

    async def pools_of(self, tenant: str) -> tuple[str, ...]:
        """Names of the user pools that the tenant is in, was in, or is being moved into. Raises
        ``UnavailableError``.
        """


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
        found = await self._all(tenant, who)
        # A subject names the person in every pool: no second ``sub`` is needed beside it.
        return tuple(name for name in found if name.user is None and name.provider is not None)

    async def to_lift(self, tenant: str, who: Who) -> tuple[Who, ...]:
        """Every name by which ``to_revoke`` may have led to ``who``, those that it led to, and the
        person's names that lead there too.
        """
        if who.user is None and who.idp_subject is None and who.email is None:
            return ()
        names: dict[Who, None] = {}
        look_at = [who]
        for _ in range(_HOPS):
            found = [name for each in look_at for name in await self._all(tenant, each)]
            look_at = [name for name in found if name.provider is not None and name not in names]
            names |= dict.fromkeys(found)
        names.pop(who, None)
        return tuple(names)

    def _may_differ(self, tenant: str, who: Who) -> bool:
        """Whether another pool may know the person by another subject than this."""
        found = self.table().by_id(tenant)
        return who.idp_subject is not None and any(
            p.kind not in SAME_SUBJECT_IN_EVERY_POOL and who.provider in {None, p.name}
            for p in (() if found is None else found.configured)
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
        spelled = [await users.usernames_of_sub(text) for text in id_spellings(who.user)]
        usernames = list(chain.from_iterable(spelled))
    elif who.idp_subject is not None:
        usernames = [
            f"{provider.cognito_name}_{text}"
            for provider in providers
            for text in id_spellings(who.idp_subject)
        ]
    else:
        usernames = list(await users.usernames(who.email or ""))
    found = [await users.federated(name) for name in dict.fromkeys(usernames)]
    return [user for user in found if user is not None]


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
    record: RevocationRecord
    names: PersonNames
    carried: set[str] = field(default_factory=set)
    """Ids of what stands by every name already, as far as this process knows."""

    async def revoke(self, request: RevocationRequest) -> RevocationStatus:
        status = await self.revoker.revoke(request)
        for who in await self.names.to_revoke(request.tenant, request.who):
            await self.revoker.revoke(_of_further_name(request, who))
        return status

    async def lift(self, request: RevocationRequest) -> RevocationStatus:
        names = () if request.standing else await self.names.to_lift(request.tenant, request.who)
        if not names:
            return await self.revoker.lift(request)
        led_to = {s.source for s in await self._standing(request) if _may_lift(request, s)}
        status = await self.revoker.lift(request)
        others = [replace(request, who=who, by_hand=False) for who in names]
        for other in others:
            for standing in await self._standing(other):
                if moved_source(standing.source) in led_to:
                    # By a name that followed: the person is meant, and so is what it followed.
                    await self.revoker.lift(replace(other, source=standing.source))
        everywhere = [(each, await self._standing(each)) for each in (request, *others)]
        stays = {moved_source(s.source) for _, found in everywhere for s in found}
        for each, found in everywhere:
            for standing in found:
                if (
                    standing.source.startswith(MOVED)
                    and standing.source not in stays
                    and _may_lift(request, standing)
                ):
                    await self.revoker.lift(replace(each, source=standing.source, by_hand=False))
        return status

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
                )
                if any(s.source == request.source for s in await self._standing(request)):
                    continue
                if standing.group is None or moved:
                    await self.revoker.revoke(request)
                else:
                    await self.revoker.stand_for(standing, request)
                carried += 1
            if moved:
                self.carried.add(standing.id)
        return carried

    async def _standing(self, request: RevocationRequest) -> list[Standing]:
        """Of the same kind as the request, by exactly its name."""
        found = await self.record.standing_of(
            request.tenant, self.revoker.revocation_keys(request).marks
        )
        return [s for s in found if s.group == request.group_overlay]


def _of_further_name(request: RevocationRequest, who: Who) -> RevocationRequest:
    """The application is told of a person once."""
    return replace(request, who=who, source=moved_source(request.source), by_hand=False)


def _may_lift(request: RevocationRequest, standing: Standing) -> bool:
    return request.source in OPERATORS or standing.source in {
        request.source,
        moved_source(request.source),
    }
