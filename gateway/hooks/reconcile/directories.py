"""Every provider's directory behind one face: who is asked about a target follows from what it has
to ask with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import PeerError
from gateway.hooks.reconcile.google_client import GoogleClient
from gateway.hooks.reconcile.google_reading import CUSTOMER
from gateway.hooks.reconcile.known_members import KnownMembers

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.hook_target import HookTarget
    from gateway.core.person import Account
    from gateway.database.engine import Database
    from gateway.hooks.reconcile.cursors import Cursors
    from gateway.hooks.reconcile.google_addresses import GoogleAddresses
    from gateway.hooks.reconcile.subscriptions import Subscriptions


class GoogleDirectory:
    """``wake``: a reading became due."""

    def __init__(
        self,
        database: Database,
        google: GoogleClient,
        cursors: Cursors,
        addresses: GoogleAddresses,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._google = google
        self._cursors = cursors
        self._addresses = addresses
        self._members = KnownMembers(database)
        self._clock = clock
        self.wake: Callable[[], None] = lambda: None

    async def account(self, target: HookTarget, user: str) -> Account | None:
        return await self._google.account(target, user)

    async def is_member(self, target: HookTarget, user: str, group_id: str) -> bool | None:
        """Of a group that has everybody, everybody is one."""
        member = await self._google.has_member(target, user, group_id)
        if member or await self._members.saw(target, (group_id, CUSTOMER)):
            return True
        if member is None:
            raise PeerError(
                "malformed_answer", "Google cannot tell of a user of another domain's membership"
            )
        return False

    async def read_soon(self, target: HookTarget) -> None:
        """A change of an unknown user was told."""
        await self._cursors.want(target, now=self._clock())
        self.wake()

    async def known_names(self, target: HookTarget, user: str) -> tuple[tuple[str, str], ...]:
        return (await self._addresses.names(target, [user]))[user]

    async def has_another_owner(self, target: HookTarget, email: str, user: str) -> bool:
        return await self._addresses.owner(target, email) not in {"", user}


class Directories:
    """``hooks.api.Directory`` of every target."""

    def __init__(self, entra: Subscriptions, google: GoogleDirectory) -> None:
        self._entra = entra
        self._google = google

    async def account(self, target: HookTarget, user: str) -> Account | None:
        if GoogleClient.configured(target):
            return await self._google.account(target, user)
        return await self._entra.account(target, user)

    async def is_member(self, target: HookTarget, user: str, group_id: str) -> bool | None:
        if GoogleClient.configured(target):
            return await self._google.is_member(target, user, group_id)
        return await self._entra.is_member(target, user, group_id)

    async def group_name(self, target: HookTarget, group_id: str, *, again: bool = False) -> str:
        """Google's names come with every reading."""
        if GoogleClient.configured(target):
            return ""
        return await self._entra.group_name(target, group_id, again=again)

    async def owns_subscription(self, target: HookTarget, subscription: str) -> bool:
        """What came through a channel of Google has proved itself by the channel's own token."""
        if GoogleClient.configured(target):
            return True
        return await self._entra.owns_subscription(target, subscription)

    async def lifecycle(self, target: HookTarget, subscription: str, kind: str) -> None:
        if GoogleClient.configured(target):
            await self._google.read_soon(target)
        else:
            await self._entra.lifecycle(target, subscription, kind)

    async def known_names(self, target: HookTarget, user: str) -> tuple[tuple[str, str], ...]:
        if GoogleClient.configured(target):
            return await self._google.known_names(target, user)
        return ()

    async def has_another_owner(self, target: HookTarget, email: str, user: str) -> bool:
        return GoogleClient.configured(target) and await self._google.has_another_owner(
            target, email, user
        )
