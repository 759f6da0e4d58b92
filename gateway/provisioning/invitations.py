"""New users of the pool for a tenant: created, adopted, invited, put into groups.

A user who could not be put into their groups or invited is deleted: nobody is left behind. Mail
goes out last.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.cognito.own_users import INVITED, temporary_password
from gateway.core.canonical import account_address
from gateway.core.hosts import email_domain
from gateway.core.pool_groups import pool_group, tenants_of
from gateway.errors import PeerError, UnavailableError
from gateway.log import fields
from gateway.provisioning.members import Changed, Member, no_group
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.cognito.own_users import CreatedUser, OwnUser
    from gateway.cognito.pool_users import PoolSettings
    from gateway.core.model import Provider
    from gateway.provisioning.members import Caller, MemberDirectory, NewMember

_LOG = logging.getLogger(__name__)
MAX_GROUPS: Final = 100
"""Named groups of a tenant: the pool has 10,000 for all. Also what a user may be in at Cognito."""
MAX_GROUP_NAME: Final = 128
"""Characters, ``tenants/TENANT/`` included (API model)."""
MADE_HERE: Final = "a group of the tenant, made by the gateway"
_EXISTS: Final = Rejected("exists", "the pool has a user of this name or address already")


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
        if await self.directory.own_with(address):
            return _EXISTS
        password = temporary_password(settings)
        attributes = {"email": address, "email_verified": "true"}
        attributes |= {"name": new.name} if new.name else {}
        made = await self.directory.own.create(username, attributes, password=password)
        if made is None:
            return _EXISTS
        user = made.user
        try:
            refused = await self._join(tenant, provider, user, new.groups)
            if refused is None and new.by_mail:
                await self.directory.own.invite(user.username)
        except (PeerError, UnavailableError):
            await self._take_back(tenant, made)
            raise
        if refused is not None:
            await self._take_back(tenant, made)
            return refused
        member = Member(user, new.groups, shared=False, blocked=False)
        return Changed(member, password=None if new.by_mail else password)

    async def _take_back(self, tenant: str, made: CreatedUser) -> None:
        user = made.user
        try:
            if made.certain:
                await self.directory.own.delete(user.username)
        except (PeerError, UnavailableError) as error:
            _LOG.warning(
                "pool_user_left_behind",
                extra=fields(tenant=tenant, user=user.sub, error=str(error)),
            )

    async def _adopt(
        self, tenant: str, provider: Provider, address: str, groups: tuple[str, ...], by: Caller
    ) -> Changed | Rejected:
        """Only an operator: whoever has a mailbox of the domain may be another application's."""
        found = await self.directory.own_with(address) if by.sees_all else ()
        if len(found) != 1:
            return Rejected(
                "not_found", f"{len(found)} of the pool's own users have this address, not one"
            )
        (user,) = found
        if tenants_of(await self.directory.users.groups_of(user.username)):
            return Rejected("conflict", "they are a tenant's user already")
        if not user.email_verified:
            return Rejected(
                "conflict", "their address is not verified, so that they could not sign in"
            )
        refused = await self._join(tenant, provider, user, groups)
        if refused is not None:
            return refused
        return Changed(Member(user, groups, shared=False, blocked=False))

    async def _join(
        self, tenant: str, provider: Provider, user: OwnUser, groups: Sequence[str]
    ) -> Rejected | None:
        refused = await self.add_groups(tenant, provider, user, groups)
        if refused is None:
            # Last: until then they are nobody's, whatever is left of this.
            await self.directory.own.add_to_group(user.username, provider.members_group)
        return refused

    async def add_groups(
        self, tenant: str, provider: Provider, user: OwnUser, names: Iterable[str]
    ) -> Rejected | None:
        """Groups that are not there are made."""
        wanted = {pool_group(tenant, name) for name in names}
        if not wanted:
            return None
        there = set(await self.directory.pool.groups_of_tenant(provider.members_group))
        if len(there | wanted | {provider.members_group}) - 1 > MAX_GROUPS:
            return Rejected("quota_reached", f"a tenant has at most {MAX_GROUPS} named groups")
        for group in sorted(wanted):
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
