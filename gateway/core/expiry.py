"""What a connection to an identity provider hangs on, and when it ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DAY_S: Final = 86_400
TOLD_DAYS: Final = (30, 7, 1, 0)
"""How many days before the end the application is told; 0: at the end."""


class Credential(StrEnum):
    """What ends. ``client_secret`` is the one that Cognito uses at the provider, the other secrets
    are of the provider's ``hooks``.
    """

    CLIENT_SECRET = "client_secret"
    DIRECTORY_SECRET = "directory_secret"
    HOOK_SECRET = "hook_secret"
    SAML_CERTIFICATE = "saml_certificate"


class ConnectionState(StrEnum):
    """``unchecked``: there is nothing to ask, or nobody has asked often enough yet."""

    UNCHECKED = "unchecked"
    ACTIVE = "active"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """What an application is told of a connection. ``state``: ``active``, ``failing`` or
    ``expiring``; ``expires_at``: UTC epoch seconds, ``days``: of ``TOLD_DAYS``.
    """

    state: str
    detail: str = ""
    credential: str = ""
    expires_at: float | None = None
    days: int | None = None


def days_to_tell(expires_at: float, *, now: float, told: int | None) -> int | None:
    """Which of ``TOLD_DAYS`` is to be told now, where ``told`` was the last; None: nothing new.
    Whoever looks late tells the nearest one only.
    """
    reached = [days for days in TOLD_DAYS if expires_at - now <= days * DAY_S]
    nearest = min(reached, default=None)
    return nearest if nearest is not None and (told is None or nearest < told) else None
