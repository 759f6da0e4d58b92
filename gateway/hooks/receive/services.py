"""What the hooks listener works with: one frozen value, built by ``app``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.hooks.activity import ActivityCounter
    from gateway.hooks.api import HookTargets
    from gateway.hooks.inbox import Inbox
    from gateway.hooks.issuer_keys import IssuerKeys
    from gateway.hooks.scim.store import ScimStore


@dataclass(frozen=True, slots=True)
class HookServices:
    """Everything a delivery may need."""

    targets: HookTargets
    inbox: Inbox
    scim: ScimStore
    activity_counter: ActivityCounter
    keys: IssuerKeys
    stored: Callable[[], None]
    """Called after a commit: wakes the applier."""
    url: str | None
    """Public address of this listener, without trailing slash: audience of messages that name their
    endpoint.
    """
    clock: Callable[[], float]
    """UTC epoch seconds."""
