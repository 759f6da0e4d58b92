"""What is done to a tenant's users of the pool: disabled, reset, given other groups, taken out.

Rules:
- What takes something away ends their sessions, before it is done, so that a crash leaves no
  session that nobody ends, and again after it, for logins of that moment.
- A disabled user is blocked by the gateway, too: whatever the pool says, they are out. That block
  has a source of its own, and enabling lifts no other. Whom another is against is not enabled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.cognito.own_users import INVITED
from gateway.core.model import DEFAULT_POOL
from gateway.core.pool_groups import pool_group
from gateway.core.revocation import RevocationKind, RevocationRequest, Who
from gateway.errors import UnavailableError
from gateway.provisioning.invitations import Invitations, wrong_group
from gateway.provisioning.members import NOT_FOUND, Changed, Member
from gateway.revocation.api import DISABLED_BY_OPERATOR, DISABLED_BY_TENANT, moved_source
from gateway.tenants.api import Rejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.core.model import Tenant
    from gateway.core.revocation import RevocationStatus
    from gateway.provisioning.members import Caller, MemberDirectory
    from gateway.revocation.api import Standing
    from gateway.sessions.api import Revoker


@dataclass(frozen=True, slots=True)
class MemberChanges:
    """One per admin process. Raises as ``MemberDirectory``."""

    directory: MemberDirectory
    revoker: Revoker

    @property
    def invitations(self) -> Invitations:
        return Invitations(self.directory)

    async def disable(
        self, tenant: str, sub: str, *, reason: str, by: Caller
    ) -> Changed | Rejected:
        """Blocked, acknowledged; and disabled in the pool."""
        member = await self.directory.alone(tenant, sub, by)
        if isinstance(member, Rejected):
            return member
        request = RevocationRequest(
            tenant, Who(user=sub), RevocationKind.BLOCK, reason, _source(by), by_hand=True
        )
        status = await self.revoker.revoke(request)
        await self.directory.people.disable_now(
            request, member.user.username, pool=self.directory.pool.name
        )
        return await self._after(tenant, sub, by, status)

    async def enable(self, tenant: str, sub: str, *, by: Caller) -> Changed | Rejected:
        """Blocks of ``disable`` are lifted; who is blocked otherwise stays out."""
        provider = self.directory.provider(tenant)
        if isinstance(provider, Rejected):
            return provider
        member = await self.directory.alone(tenant, sub, by)
        if isinstance(member, Rejected):
            return member
        status: RevocationStatus | None = None
        blocks = await self.directory.blocks_of(tenant, provider, member.user)
        ours, others = _sorted_by_origin(blocks, by)
        for source in ours:
            request = RevocationRequest(
                tenant,
                Who(user=sub),
                RevocationKind.BLOCK,
                "enabled as a user of the pool",
                source,
                # The application hears that they are back from whoever lifts the last.
                by_hand=not others,
            )
            status = await self.revoker.lift(request)
        if others:
            return Rejected("conflict", _still_blocked(others, lifted=bool(ours), by=by))
        await self.directory.users.enable(member.user.username)
        return await self._after(tenant, sub, by, status)

    async def reset(self, tenant: str, sub: str, *, by: Caller) -> Changed | Rejected:
        """Their password is good no more, and their sessions end; Cognito sends a code."""
        member = await self.directory.alone(tenant, sub, by)
        if isinstance(member, Rejected):
            return member
        user = member.user
        if user.status == INVITED:
            return Rejected("conflict", "they have chosen no password yet: invite them again")
        status = await self._around(
            tenant,
            sub,
            "password reset",
            by,
            lambda: self.directory.own.reset_password(user.username),
        )
        return await self._after(tenant, sub, by, status)

    async def set_groups(
        self, tenant: str, sub: str, names: tuple[str, ...], *, by: Caller
    ) -> Changed | Rejected:
        """Exactly these of the tenant's named groups. Sessions end where one is taken away; what
        is added counts from the next login.
        """
        wrong = wrong_group(tenant, names)
        if wrong is not None:
            return wrong
        provider = self.directory.provider(tenant)
        if isinstance(provider, Rejected):
            return provider
        member = await self.directory.alone(tenant, sub, by)
        if isinstance(member, Rejected):
            return member
        rejection = await self.invitations.add_groups(
            tenant, provider, member.user, [name for name in names if name not in member.groups]
        )
        if rejection is not None:
            return rejection
        removed_groups = [pool_group(tenant, name) for name in member.groups if name not in names]

        async def take() -> None:
            for group in removed_groups:
                await self.directory.own.remove_from_group(member.user.username, group)

        status = (
            await self._around(tenant, sub, "groups taken away", by, take)
            if removed_groups
            else None
        )
        return await self._after(tenant, sub, by, status)

    async def remove(self, tenant: str, sub: str, *, by: Caller) -> Changed | Rejected:
        """Out of all groups of the tenant: they stay in the pool, and are nobody's, or others'."""
        provider = self.directory.provider(tenant)
        if isinstance(provider, Rejected):
            return provider
        member = await self.directory.find_of(tenant, provider, sub, by)
        if member is None:
            return NOT_FOUND
        groups = [provider.members_group, *(pool_group(tenant, name) for name in member.groups)]

        async def take() -> None:
            for group in groups:
                await self.directory.own.remove_from_group(member.user.username, group)

        return Changed(None, await self._around(tenant, sub, "no user any more", by, take))

    async def delete(self, tenant: str, sub: str, *, by: Caller) -> Changed | Rejected:
        """Out of the pool."""
        member = await self.directory.alone(tenant, sub, by)
        if isinstance(member, Rejected):
            return member
        username = member.user.username
        return Changed(
            None,
            await self._around(
                tenant, sub, "deleted", by, lambda: self.directory.own.delete(username)
            ),
        )

    async def _around(
        self, tenant: str, sub: str, reason: str, by: Caller, work: Callable[[], Awaitable[None]]
    ) -> RevocationStatus:
        """Sessions end before ``work``, and those that began meanwhile after it: that one counts as
        the revocation, and the application is told of it.
        """
        who, kind = Who(user=sub), RevocationKind.END_SESSIONS
        await self.revoker.revoke(RevocationRequest(tenant, who, kind, reason, by.source))
        await work()
        return await self.revoker.revoke(
            RevocationRequest(tenant, who, kind, reason, by.source, by_hand=True)
        )

    async def _after(
        self, tenant: str, sub: str, by: Caller, status: RevocationStatus | None
    ) -> Changed:
        member = await self.directory.find(tenant, sub, by=by)
        return Changed(member if isinstance(member, Member) else None, status)


def _source(by: Caller) -> str:
    return DISABLED_BY_OPERATOR if by.sees_all else DISABLED_BY_TENANT


def _sorted_by_origin(blocks: Sequence[Standing], by: Caller) -> tuple[list[str], list[str]]:
    """The sources of what ``disable`` imposed and this caller lifts, and of everything else."""
    mine = {DISABLED_BY_TENANT, _source(by)}
    mine |= {moved_source(source) for source in mine}
    sources = sorted({block.source for block in blocks})
    return [s for s in sources if s in mine], [s for s in sources if s not in mine]


def _still_blocked(others: Sequence[str], *, lifted: bool, by: Caller) -> str:
    prefix = "the block of disabling them is lifted, but " if lifted else ""
    suffix = f" (imposed by: {', '.join(others)})" if by.sees_all else ""
    return f"{prefix}another block is against them{suffix}: gateway blocks list, and lift it"


@dataclass(frozen=True, slots=True)
class Members:
    """The users of each user pool, by its name."""

    by_pool: Mapping[str, MemberChanges]
    tenant: Callable[[str], Tenant | None]

    def of(self, tenant: str) -> MemberChanges:
        """In the pool in which the tenant's logins begin. Raises ``UnavailableError``: another
        process may have a newer configuration.
        """
        document = self.tenant(tenant)
        name = DEFAULT_POOL if document is None else document.pool
        changes = self.by_pool.get(name)
        if changes is None:
            msg = f"user pool {name} is not in cognito.pools"
            raise UnavailableError(msg)
        return changes
