"""The pool's own users of one tenant, as an administrator sees them: who is in the group
``tenants/TENANT``, and nobody else.

Of a user, another tenant learns nothing. Who is in the groups of several tenants is shown to an
operator only, and is changed by nobody here: only taken out of one of them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.core.canonical import canonical_address
from gateway.core.model import ProviderKind
from gateway.core.pool_groups import own_groups, tenants_of
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.cognito.own_users import OwnUser, OwnUsers
    from gateway.cognito.pool import Pool
    from gateway.cognito.pool_users import PoolSettings
    from gateway.cognito.users import CognitoUsers
    from gateway.core.model import Provider, Secret, Tenant
    from gateway.core.revocation import RevocationStatus
    from gateway.provisioning.creations import Creations
    from gateway.revocation.api import Standing
    from gateway.revocation.cognito_sync import PoolPeople

AT_ONCE: Final = 4
"""Users of a page who are asked about at the same time."""
NOT_FOUND: Final = Rejected("not_found", "")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. ``source`` as of a revocation; ``sees_all``: an operator, bound to no tenant."""

    source: str
    sees_all: bool


@dataclass(frozen=True, slots=True)
class Member:
    """``groups``: the tenant's names. ``shared``: of several tenants. ``blocked``: by the
    gateway.
    """

    user: OwnUser
    groups: tuple[str, ...]
    shared: bool
    blocked: bool


@dataclass(frozen=True, slots=True)
class MemberPage:
    """``token``: of the next page, as Cognito gave it."""

    members: Sequence[Member]
    token: str | None


@dataclass(frozen=True, slots=True)
class Changed:
    """``member`` is None where they are the tenant's no more. ``password``: to be shown once.
    ``status``: of the revocation that ended their sessions.
    """

    member: Member | None
    status: RevocationStatus | None = None
    password: Secret | None = None


@dataclass(frozen=True, slots=True)
class NewMember:
    """``by_mail``: Cognito sends an invitation; else the password is shown to who asks. ``adopt``:
    somebody who is in the pool already, and nobody's.
    """

    email: str
    name: str
    username: str
    groups: tuple[str, ...]
    by_mail: bool
    adopt: bool


@dataclass(frozen=True, slots=True)
class MemberDirectory:
    """Raises ``CognitoRejectedError`` where Cognito says no, and ``UnavailableError``."""

    pool: Pool
    users: CognitoUsers
    own: OwnUsers
    people: PoolPeople
    creations: Creations
    tenant: Callable[[str], Tenant | None]

    async def settings(self, tenant: str) -> PoolSettings | Rejected:
        """What the pool asks of all its users."""
        provider = self.provider(tenant)
        return provider if isinstance(provider, Rejected) else await self.pool.settings()

    async def page(
        self, tenant: str, *, email: str | None, token: str | None, limit: int, by: Caller
    ) -> MemberPage | Rejected:
        """Of an address: all who have exactly that, on one page."""
        provider = self.provider(tenant)
        if isinstance(provider, Rejected):
            return provider
        following: str | None = None
        if email is not None:
            users = await self.own_with(email)
        else:
            page = await self.own.in_group(provider.members_group, limit=limit, token=token)
            if page is None:
                return no_group(tenant, provider)
            users, following = page.users, page.token
        return MemberPage(await self._members(tenant, provider, users, by), following)

    async def _members(
        self, tenant: str, provider: Provider, users: Sequence[OwnUser], by: Caller
    ) -> list[Member]:
        places = asyncio.Semaphore(AT_ONCE)

        async def one(user: OwnUser) -> Member | None:
            async with places:
                group_names = await self.users.groups_of(user.username)
            tenants = tenants_of(group_names)
            is_shared = len(tenants) > 1
            if tenant not in tenants or not user.sub or (is_shared and not by.sees_all):
                return None
            is_blocked = bool(await self.blocks_of(tenant, provider, user))
            groups = own_groups(provider.members_group, group_names)
            return Member(user, groups, shared=is_shared, blocked=is_blocked)

        members = await asyncio.gather(*(one(user) for user in users))
        return [member for member in members if member is not None]

    async def blocks_of(self, tenant: str, provider: Provider, user: OwnUser) -> Sequence[Standing]:
        return await self.people.blocks_of(
            tenant, sub=user.sub, email=user.email, provider=provider.name
        )

    async def find(self, tenant: str, sub: str, *, by: Caller) -> Member | Rejected:
        provider = self.provider(tenant)
        if isinstance(provider, Rejected):
            return provider
        return await self.find_of(tenant, provider, sub, by) or NOT_FOUND

    async def find_of(self, tenant: str, provider: Provider, sub: str, by: Caller) -> Member | None:
        # Somebody's user name may be somebody else's sub.
        user = await self.own.find(sub)
        if user is None or user.sub != sub:
            names = await self.users.usernames_of_sub(sub)
            user = await self.own.find(names[0]) if names else None
        users = [] if user is None or user.sub != sub else [user]
        members = await self._members(tenant, provider, users, by)
        return members[0] if members else None

    async def own_with(self, address: str) -> Sequence[OwnUser]:
        names = await self.users.usernames(canonical_address(address))
        return [user for name in names if (user := await self.own.find(name)) is not None]

    def provider(self, tenant: str) -> Provider | Rejected:
        document = self.tenant(tenant)
        if document is None:
            return NOT_FOUND
        provider = next(
            (p for p in document.configured if p.kind is ProviderKind.COGNITO and p.members_group),
            None,
        )
        return provider or Rejected(
            "conflict",
            f"tenant {tenant} has no provider of kind cognito with members_only: provision one",
        )

    async def alone(self, tenant: str, sub: str, by: Caller) -> Member | Rejected:
        """A user of this tenant and of no other: what is done to them is felt nowhere else."""
        member = await self.find(tenant, sub, by=by)
        if isinstance(member, Member) and member.shared:
            return Rejected(
                "conflict",
                "they are another tenant's user too: take them out of one of the two (remove)",
            )
        return member


def no_group(tenant: str, provider: Provider) -> Rejected:
    return Rejected(
        "conflict",
        f"the pool has no group {provider.members_group}: gateway provision verify {tenant} --fix",
    )
