"""A provider of a tenant, as its hooks see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gateway.core.canonical import canonical_id

if TYPE_CHECKING:
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
    provider_groups: frozenset[str] | None = None
    """What this provider asks for beside ``allowed_groups``. All canonical (``core.canonical``), as
    events write groups.
    """
    service_account: Secret | None = None
    """Google: the key of a service account, as JSON text; it reads the directory."""
    admin_email: str | None = None
    """Google: the administrator for whom it reads; None where it has an admin role of its own."""

    def __post_init__(self) -> None:
        for name in ("groups_used", "allowed_groups", "provider_groups"):
            names = getattr(self, name)
            object.__setattr__(
                self, name, None if names is None else frozenset(map(canonical_id, names))
            )

    @property
    def key(self) -> tuple[str, str]:
        return self.tenant, self.provider


WebhookEvent = Literal[
    "connection.activated",
    "connection.expiring",
    "connection.failing",
    "domain.lost",
    "domain.proven",
    "group.deleted",
    "group.removed",
    "group.restored",
    "tenant.blocked",
    "tenant.deleted",
    "tenant.unblocked",
    "user.created",
    "user.deprovisioned",
    "user.group_added",
    "user.group_removed",
    "user.restored",
    "user.signed_in",
    "user.updated",
]
OPT_IN = frozenset({"user.signed_in"})
"""Types of messages that an app is sent only where its tenant names them: one for each login."""


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where a tenant's app hears of its people. ``secrets``: the first signs too, so that both
    sides may rotate.
    """

    tenant: str
    url: str
    secrets: tuple[Secret, ...] = field(repr=False)
    events: frozenset[str] | None = None
    """Types of messages; None: all but ``OPT_IN``."""
    cloud_events: bool = False
    """Messages are CloudEvents."""

    def wants(self, event: str) -> bool:
        """Whether the app is sent messages of this type."""
        return event in self.events if self.events is not None else event not in OPT_IN
