"""What a revocation says, and how far it came."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.core.canonical import canonical_address, canonical_id


class RevocationKind(StrEnum):
    """``end_sessions`` ends what is there and outdates logins in flight; ``block`` also refuses
    later logins until lifted.
    """

    END_SESSIONS = "end_sessions"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Who:
    """Exactly one of these, or none for the whole tenant. ``provider`` narrows aliases that are
    only unique within one.

    Canonical however it is made (``core.canonical``): equal values mean the same person or group.
    """

    session: str | None = None
    user: str | None = None
    idp_subject: str | None = None
    oid: str | None = None
    email: str | None = None
    group: str | None = None
    provider: str | None = None

    def __post_init__(self) -> None:
        for name in ("user", "idp_subject", "oid", "group"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, canonical_id(value))
        if self.email is not None:
            object.__setattr__(self, "email", canonical_address(self.email))


@dataclass(frozen=True, slots=True)
class RevocationRequest:
    """What to end, and why. ``event_time`` (UTC epoch seconds) is the sender's, capped at receipt;
    None where it gave none.
    """

    tenant: str
    who: Who
    kind: RevocationKind
    reason: str
    source: str
    """``admin``, ``cli``, ``logout``, ``okta``, ``entra``, ``scim:RECORD``, ``backchannel``,
    ``ssf``, ``universal-logout``, ``reconcile``, ``recheck``, ``pool-users:operator``,
    ``pool-users:tenant``.
    """
    event_time: float | None = None
    group_overlay: str | None = None
    """A group (name or id) that the person lost: subtracted from later logins until given back
    (invariant 7). Canonical.
    """
    group_id: str = ""
    """Id of that group at its provider, where the event says it: another group may have the same
    name.
    """
    by_hand: bool = False
    """Somebody asked for it over the admin API or with a command: the tenant's application is told,
    as it is of what providers say.
    """
    standing: str = ""
    """Of a lift: the id of what a provider said, which imposes nothing (yet)."""
    follows: str = ""
    """By a further name of somebody: the id of the block or overlay because of which this stands
    too. Of a lift: only what stands because of nothing that is in force is lifted.
    """

    def __post_init__(self) -> None:
        if self.group_overlay is not None:
            object.__setattr__(self, "group_overlay", canonical_id(self.group_overlay))


@dataclass(frozen=True, slots=True)
class RevocationStatus:
    """The time line of one revocation; milliseconds since ``received_at`` (UTC epoch seconds)."""

    id: str
    request: RevocationRequest
    received_at: float
    durable_ms: float | None
    replicas: tuple[tuple[str, float | None], ...]
    """Each lease holder and when it confirmed; None while it has not, or where its lease ran out
    instead.
    """
    acknowledged_ms: float | None
    ended: int
    """Sessions that this ended."""
    lifted: int | None = None
    """Blocks or overlays that a lift ended; None for anything else. 0: none was in force."""
    users_to_enable: int = 0
    """Cognito users whom these blocks had disabled: enabled again unless another block stands
    against them.
    """
