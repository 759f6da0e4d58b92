"""What the hooks need of the rooms behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.hook_target import HookTarget, WebhookTarget
    from gateway.core.person import Account, Person


class HookTargets(Protocol):
    """The tenants as they are now."""

    def find(self, tenant: str, provider: str) -> HookTarget | None: ...

    def of(self, tenant: str) -> Sequence[HookTarget]:
        """All of one tenant's."""

    async def all(self) -> Sequence[HookTarget]:
        """Active tenants that have hook settings at some provider. With thousands of them this
        takes seconds, beside the loop.
        """

    def webhook(self, tenant: str) -> WebhookTarget | None: ...


class People(Protocol):
    """Who is signed in, by what their provider calls them. Never across tenants or providers."""

    async def find(
        self, tenant: str, *, provider: str, idp_subject: str = "", oid: str = "", email: str = ""
    ) -> Sequence[Person]:
        """Everybody who matches the one name given. Raises ``UnavailableError``."""

    async def known(
        self, tenant: str, *, provider: str, names: Sequence[tuple[str, str]]
    ) -> Sequence[Person]:
        """Who signed in by one of these names (kind, value) within the last month, signed in or
        not. Raises ``UnavailableError``.
        """


class Directory(Protocol):
    """What a provider says now, asked over its API. Raises ``PeerError`` or
    ``UnavailableError``.
    """

    async def account(self, target: HookTarget, user: str) -> Account | None:
        """None: the directory does not know the person, which it also says of people who were just
        created.
        """

    async def is_member(self, target: HookTarget, user: str, group_id: str) -> bool | None:
        """None: the directory does not know the person (see ``account``)."""

    async def group_name(self, target: HookTarget, group_id: str, *, again: bool = False) -> str:
        """Tokens may carry names where events carry ids; "" where the group is gone. ``again``:
        what was known of it is out of date.
        """

    async def owns_subscription(self, target: HookTarget, subscription: str) -> bool: ...

    async def lifecycle(self, target: HookTarget, subscription: str, kind: str) -> None:
        """React to what the provider says about one of its subscriptions."""

    async def known_names(self, target: HookTarget, user: str) -> tuple[tuple[str, str], ...]:
        """What tokens may call a user who is not in the directory any more, as far as readings
        told; empty for a directory whose ids are in tokens.
        """

    async def has_another_owner(self, target: HookTarget, email: str, user: str) -> bool:
        """Whether the directory has told that the address is another user's."""
