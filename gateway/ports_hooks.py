"""What the hooks need of the rooms behind them: protocols and the values that cross them. ``app``
binds the adapters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.core.canonical import canonical_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.model import ProviderKind, Secret


@dataclass(frozen=True, slots=True)
class HookTarget:
    """One provider of one tenant, as its hooks see it: how senders prove themselves, and what
    matters of what they say.
    """

    tenant: str
    provider: str
    kind: ProviderKind
    issuer: str | None
    secrets: tuple[Secret, ...]
    """The first is current, the others are still accepted."""
    directory_id: str | None
    client_id: str | None
    """The gateway's own registration at the provider: audience of logout tokens, and Graph's
    application.
    """
    client_secret: Secret | None
    api_token: Secret | None
    """Okta: reads the System Log for backfill."""
    api_url: str | None
    """Another address of the provider's API than its usual one (national clouds, development)."""
    audience: str | None
    groups_used: frozenset[str] | None
    """Names and ids that the tenant's policy mentions; None: it mentions none, so every group may
    matter to the app.
    """
    allowed_groups: frozenset[str] | None
    """Both canonical (``core.canonical``), as events write groups."""

    def __post_init__(self) -> None:
        for name in ("groups_used", "allowed_groups"):
            names = getattr(self, name)
            object.__setattr__(
                self, name, None if names is None else frozenset(map(canonical_id, names))
            )

    @property
    def key(self) -> tuple[str, str]:
        return self.tenant, self.provider


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where a tenant's app hears of its people. ``secrets``: the first signs too, so that both
    sides may rotate.
    """

    tenant: str
    url: str
    secrets: tuple[Secret, ...] = field(repr=False)


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


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in here. ``user`` is Cognito's ``sub``, which apps know people by; one
    for each provider and subject.
    """

    user: str
    email: str
    idp_subject: str = ""
    oid: str = ""
    """As their provider calls them; "" where the login did not say."""


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


@dataclass(frozen=True, slots=True)
class Account:
    """A user of a directory. ``enabled`` is False for disabled and for deleted."""

    enabled: bool
    email: str = ""


class Directory(Protocol):
    """What a provider says now, asked over its API. Raises ``PeerError`` or
    ``UnavailableError``.
    """

    async def account(self, target: HookTarget, oid: str) -> Account | None:
        """None: the directory does not know the person, which it also says of people who were just
        created.
        """

    async def is_member(self, target: HookTarget, oid: str, group_id: str) -> bool | None:
        """None: the directory does not know the person (see ``account``)."""

    async def group_name(self, target: HookTarget, group_id: str, *, again: bool = False) -> str:
        """Tokens may carry names where events carry ids; "" where the group is gone. ``again``:
        what was known of it is out of date.
        """

    async def owns_subscription(self, target: HookTarget, subscription: str) -> bool: ...

    async def lifecycle(self, target: HookTarget, subscription: str, kind: str) -> None:
        """React to what the provider says about one of its subscriptions."""
