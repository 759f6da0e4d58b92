"""Keys of the admin API, their scopes, and how they are looked up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.core.scopes import Scope

_NAME: Final = r"[\w .@+-]{1,120}"
NAME: Final = f"^{_NAME}$"
"""Of a key, without space around it."""
LINK_KEY_S: Final = 90 * 86_400
"""How long a key lives at most that was made through a one-time link of the console: whoever opened
that is nobody by name.
"""


def key_name(text: str) -> str | None:
    """As it is kept; None where it is no name."""
    trimmed = text.strip()
    return trimmed if re.fullmatch(_NAME, trimmed) else None


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
    made_by: str | None = None
    """``actor`` of whoever made it; None where that was not recorded yet."""
    local: bool = False
    """No key at all: somebody at the socket of the gateway's own machine, called ``name``."""
    person: bool = False
    """No key at all: somebody signed in at the console. ``id`` is their ``sub``."""
    console_link: bool = False
    """No key at all: whoever opened the one-time link ``id``."""
    setup: bool = False
    """No key at all: the holder of a setup link. ``id`` is the link's and their e-mail address."""
    draft: str = ""
    """The setup link that makes the tenant, which may not exist yet."""
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
