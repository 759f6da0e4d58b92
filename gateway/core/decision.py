"""What a check can come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.model import MachineToken, Session
    from gateway.core.reason import Reason

RETRY_AFTER_S = 2
"""What a client is asked to wait when a store is down and nobody named another time: long enough
for a fail-over to begin.
"""


@dataclass(frozen=True, slots=True)
class Allow:
    """Let it through: somebody with a ``session`` (or an app password, as which session it
    arrives), or with a bearer token (``machine``); neither where the path is public.
    """

    reason: Reason
    session: Session | None = None
    machine: MachineToken | None = None
    identity: tuple[tuple[str, str], ...] = ()
    """Managed headers whose text the matched rule says itself."""


@dataclass(frozen=True, slots=True)
class Login:
    """Nobody is signed in here: a navigation goes to the login, anything else gets 401.

    ``redirect`` is False for a credential of programs: one is never sent to a login page.
    """

    reason: Reason
    redirect: bool = True


@dataclass(frozen=True, slots=True)
class Missing:
    """Any one of ``wanted`` would have sufficed. ``kind``: ``groups`` or ``roles``."""

    kind: str
    wanted: frozenset[str]


@dataclass(frozen=True, slots=True)
class Deny:
    """No, and a login would not change it."""

    reason: Reason
    missing: Missing | None = field(default=None, compare=False)
    """For whoever explains it: the same denial is the same, whatever it wants."""

    @property
    def groups(self) -> list[str]:
        """Any one of these would have sufficed; empty where it is not about groups."""
        return self._wanted("groups")

    @property
    def roles(self) -> list[str]:
        return self._wanted("roles")

    def _wanted(self, kind: str) -> list[str]:
        return sorted(self.missing.wanted) if self.missing and self.missing.kind == kind else []


Decision = Allow | Login | Deny
