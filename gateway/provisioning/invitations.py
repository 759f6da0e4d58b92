"""New users of the pool for a tenant: created, adopted, invited, put into groups.

A user who could not be put into their groups or invited is deleted: nobody is left behind. Who is
left all the same, since the process ended on the way, is on record (``Creations``): the next
request of the same tenant for that address finishes them, and nobody else gets them. Mail goes out
last.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.cognito.api import CognitoRejectedError, UnansweredError
from gateway.cognito.own_users import INVITED, temporary_password
from gateway.core.canonical import account_address
from gateway.core.hosts import email_domain
from gateway.core.pool_groups import own_groups, pool_group, tenants_of
from gateway.errors import PeerError, UnavailableError
from gateway.log import fields
from gateway.provisioning.members import Changed, Member, no_group
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.cognito.own_users import CreatedUser, OwnUser
    from gateway.cognito.pool_users import PoolSettings
    from gateway.core.model import Provider, Secret
    from gateway.provisioning.creations import Creation
    from gateway.provisioning.members import Caller, MemberDirectory, NewMember

_LOG = logging.getLogger(__name__)
MAX_GROUPS: Final = 100
"""Named groups of a tenant: the pool has 10,000 for all. Also what a user may be in at Cognito."""
MAX_GROUP_NAME: Final = 128
"""Characters, ``tenants/TENANT/`` included (API model)."""
MADE_HERE: Final = "a group of the tenant, made by the gateway"
_EXISTS: Final = Rejected("exists", "the pool has a user of this name or address already")
_BUSY: Final = Rejected(
    "conflict",
    "another request for this address is under way, or was interrupted: ask again in a minute",
)


@dataclass(frozen=True, slots=True)
class Invitations:
    """Raises as ``MemberDirectory``."""

    directory: MemberDirectory

    async def create(self, tenant: str, new: NewMember, *, by: Caller) -> Changed | Rejected:
        provider = self.directory.provider(tenant)
        if isinstance(provider, Rejected):
            return provider
        document = self.directory.tenant(tenant)
        domain = email_domain(new.email)
        if (
            document is None
            or domain is None
            or domain not in provider.domains
            or domain not in document.email_domains
        ):
            return Rejected("conflict", "email: it is not of the tenant's domains")
        wrong = wrong_group(tenant, new.groups)
        if wrong is not None:
            return wrong
        address = account_address(new.email, domain)
        settings = await self.directory.pool.settings()
        username = _username(settings, address, new.username)
        if isinstance(username, Rejected):
            return username
        if await self.directory.pool.group(provider.members_group) is None:
            return no_group(tenant, provider)
        if new.adopt:
            return await self._adopt(tenant, provider, address, new.groups, by)
        old_creation = await self.directory.creations.of(address)
        if old_creation is not None:
            outcome = await self._settled(tenant, provider, old_creation, new)
            if outcome is not None:
                return outcome
        if await self.directory.own_with(address):
            return _EXISTS
        creation = await self.directory.creations.begin(
            tenant, username, address, instead=old_creation
        )
        if creation is None:
            return _BUSY
        return await self._make(provider, creation, new, settings)

    async def _make(
        self, provider: Provider, creation: Creation, new: NewMember, settings: PoolSettings
    ) -> Changed | Rejected:
        creations, password = self.directory.creations, temporary_password(settings)
        attributes = {"email": creation.address, "email_verified": "true"}
        attributes |= {"name": new.name} if new.name else {}
        try:
            result = await self.directory.own.create(
                creation.username, attributes, password=password
            )
        except UnansweredError:
            # They may be there yet.
            await creations.release(creation)
            raise
        except CognitoRejectedError:
            await creations.settle(creation)
            raise
        if result is None:
            await creations.settle(creation)
            return _EXISTS
        creation = await creations.learn(creation, result.user)
        try:
            rejection = await self._join(creation.tenant, provider, result.user, new.groups)
            if rejection is None and new.by_mail:
                await self.directory.own.invite(result.user.username)
        except (PeerError, UnavailableError):
            await self._take_back(creation, result)
            raise
        if rejection is not None:
            await self._take_back(creation, result)
            return rejection
        await creations.settle(creation)
        member = Member(result.user, new.groups, shared=False, blocked=False)
        return Changed(member, password=None if new.by_mail else password)

    async def _settled(
        self, tenant: str, provider: Provider, left: Creation, new: NewMember
    ) -> Changed | Rejected | None:
        """What becomes of a creation that is not settled. None: it made nobody."""
        creations = self.directory.creations
        if left.tenant == tenant and creations.held(left):
            return _BUSY
        user = await self.directory.own.find(left.username)
        if user is None or not left.made(user):
            return None if left.tenant == tenant or creations.stale(left) else _EXISTS
        if left.tenant != tenant:
            return _EXISTS
        group_names = await self.directory.users.groups_of(user.username)
        if user.status != INVITED or not set(tenants_of(group_names)) <= {tenant}:
            # They came in another way meanwhile.
            await creations.settle(left)
            return _EXISTS
        creation = await creations.take(left)
        if creation is None:
            return _BUSY
        try:
            return await self._finish(provider, creation, user, new, group_names)
        except (PeerError, UnavailableError):
            await creations.release(creation)
            raise

    async def _finish(
        self,
        provider: Provider,
        creation: Creation,
        user: OwnUser,
        new: NewMember,
        listed: Sequence[str],
    ) -> Changed | Rejected:
        """As ``new`` says: what the interrupted request gave them beside that is taken away."""
        tenant, own = creation.tenant, self.directory.own
        await self._take_groups(provider, user, listed, except_of=new.groups)
        password: Secret | None = None
        if not new.by_mail:
            password = temporary_password(await self.directory.pool.settings())
            await own.set_temporary_password(user.username, password)
        rejection = await self._join(tenant, provider, user, new.groups)
        if rejection is not None:
            await self.directory.creations.release(creation)
            return rejection
        if new.by_mail:
            await own.invite(user.username)
        await self.directory.creations.settle(creation)
        return Changed(Member(user, new.groups, shared=False, blocked=False), password=password)

    async def _take_groups(
        self, provider: Provider, user: OwnUser, listed: Sequence[str], *, except_of: Sequence[str]
    ) -> None:
        """Of the tenant, whose user they are not yet."""
        members = provider.members_group
        for name in own_groups(members, listed):
            if name not in except_of:
                await self.directory.own.remove_from_group(user.username, f"{members}/{name}")

    async def _take_back(self, creation: Creation, made: CreatedUser) -> None:
        """Unless another request finishes them by now. Who cannot be deleted is left to the next
        request of the tenant.
        """
        creations, user = self.directory.creations, made.user
        try:
            if not await creations.hold(creation):
                return
            if not made.certain:
                await creations.release(creation)
                return
            await self.directory.own.delete(user.username)
            await creations.settle(creation)
        except (PeerError, UnavailableError) as error:
            _LOG.warning(
                "pool_user_left_behind",
                extra=fields(tenant=creation.tenant, user=user.sub, error=str(error)),
            )
            with contextlib.suppress(UnavailableError):
                await creations.release(creation)

    async def _adopt(
        self, tenant: str, provider: Provider, address: str, groups: tuple[str, ...], by: Caller
    ) -> Changed | Rejected:
        """Only an operator: whoever has a mailbox of the domain may be another application's."""
        users = await self.directory.own_with(address) if by.sees_all else ()
        if len(users) != 1:
            return Rejected(
                "not_found", f"{len(users)} of the pool's own users have this address, not one"
            )
        (user,) = users
        creation = await self.directory.creations.of(address)
        if creation is not None and creation.made(user) and creation.tenant != tenant:
            return Rejected(
                "conflict",
                f"they are being created for tenant {creation.tenant}, which was interrupted: "
                f"gateway users create {creation.tenant} finishes it",
            )
        group_names = await self.directory.users.groups_of(user.username)
        if tenants_of(group_names):
            return Rejected("conflict", "they are a tenant's user already")
        if not user.email_verified:
            return Rejected(
                "conflict", "their address is not verified, so that they could not sign in"
            )
        await self._take_groups(provider, user, group_names, except_of=groups)
        rejection = await self._join(tenant, provider, user, groups)
        if rejection is not None:
            return rejection
        if creation is not None and creation.tenant == tenant:
            await self.directory.creations.settle(creation)
        return Changed(Member(user, groups, shared=False, blocked=False))

    async def _join(
        self, tenant: str, provider: Provider, user: OwnUser, groups: Sequence[str]
    ) -> Rejected | None:
        rejection = await self.add_groups(tenant, provider, user, groups)
        if rejection is None:
            # Last: until then they are nobody's, whatever is left of this.
            await self.directory.own.add_to_group(user.username, provider.members_group)
        return rejection

    async def add_groups(
        self, tenant: str, provider: Provider, user: OwnUser, names: Iterable[str]
    ) -> Rejected | None:
        """Groups that are not there are made."""
        groups = {pool_group(tenant, name) for name in names}
        if not groups:
            return None
        there = set(await self.directory.pool.groups_of_tenant(provider.members_group))
        if len(there | groups | {provider.members_group}) - 1 > MAX_GROUPS:
            return Rejected("quota_reached", f"a tenant has at most {MAX_GROUPS} named groups")
        for group in sorted(groups):
            if group not in there:
                await self.directory.own.create_group(group, description=MADE_HERE)
            await self.directory.own.add_to_group(user.username, group)
        return None

    async def invite(
        self, tenant: str, sub: str, *, by_mail: bool, by: Caller
    ) -> Changed | Rejected:
        """Another temporary password for who has not chosen a password yet."""
        member = await self.directory.alone(tenant, sub, by)
        if isinstance(member, Rejected):
            return member
        if member.user.status != INVITED:
            return Rejected(
                "conflict", f"they have chosen a password ({member.user.status}): reset it"
            )
        if by_mail:
            await self.directory.own.invite(member.user.username)
            return Changed(member)
        password = temporary_password(await self.directory.pool.settings())
        await self.directory.own.set_temporary_password(member.user.username, password)
        return Changed(member, password=password)


def wrong_group(tenant: str, names: Sequence[str]) -> Rejected | None:
    for name in names:
        if len(pool_group(tenant, name)) > MAX_GROUP_NAME:
            return Rejected("conflict", f"groups: a name is too long for Cognito: {name[:40]}…")
    return None


def _username(settings: PoolSettings, address: str, asked: str) -> str | Rejected:
    """What the pool takes as ``Username``."""
    if "email" in settings.names:
        return (
            Rejected("conflict", "username: the pool's users sign in by address")
            if (asked and asked != address)
            else address
        )
    if settings.names:
        return Rejected("conflict", "the pool's users sign in by telephone number only")
    if asked:
        return asked
    return secrets.token_hex(16) if "email" in settings.aliases else address
