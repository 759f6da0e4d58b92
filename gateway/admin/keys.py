"""Keys of the admin API, their scopes, and how they are looked up."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.core.scopes import Scope


@dataclass(frozen=True, slots=True)
class AdminKey:
    """A bearer key of the admin API, without its secret. Times are UTC epoch seconds; ``tenant``
    binds it to one tenant.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    tenant: str | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None = None
    last_used_at: int | None = None
    local: bool = False
    """No key at all: somebody at the socket of the gateway's own machine, called ``name``."""
    person: bool = False
    """No key at all: somebody signed in at the console. ``id`` is their ``sub``."""
    console_link: bool = False
    """No key at all: whoever opened the one-time link ``id``."""
    setup: bool = False
    """No key at all: the holder of a setup link. ``id`` is the link's and their e-mail address."""
    within: tuple[str, ...] = ()
    """Globs of tenant ids: it may list the tenants that they are for, and nothing else."""

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.OPERATOR in self.scopes

    @property
    def actor(self) -> str:
        """In audit records and journals."""
        if self.console_link:
            return f"console-link:{self.id}"
        if self.person:
            return f"person:{self.id}"
        if self.setup:
            return f"setup:{self.id}"
        return f"local:{self.name}" if self.local else f"key:{self.id}"


class KeyRejection(StrEnum):
    """Why a presented key opens nothing."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"


__all__ = ["AdminKey", "KeyRejection", "Scope"]
