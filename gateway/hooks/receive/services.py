"""What the hooks listener works with: one frozen value, built by ``app``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.hook_target import HookTarget
    from gateway.hooks.activity import ActivityCounter
    from gateway.hooks.api import HookTargets
    from gateway.hooks.event import Delivery
    from gateway.hooks.inbox import Accepted
    from gateway.hooks.issuer_keys import IssuerKeys
    from gateway.hooks.scim.store import ScimStore


class Accept(Protocol):
    """Durable on return, and on its way to be applied. Raises ``UnavailableError``."""

    async def __call__(
        self, target: HookTarget, delivery: Delivery, *, received_at: float, request_id: str
    ) -> Accepted: ...


@dataclass(frozen=True, slots=True)
class HookServices:
    """Everything a delivery may need."""

    targets: HookTargets
    accept: Accept
    scim: ScimStore
    activity_counter: ActivityCounter
    keys: IssuerKeys
    stored: Callable[[], None]
    """Called after a commit that was not ``accept``'s: wakes the applier."""
    url: str | None
    """Public address of this listener, without trailing slash: audience of messages that name their
    endpoint.
    """
    clock: Callable[[], float]
    """UTC epoch seconds."""
