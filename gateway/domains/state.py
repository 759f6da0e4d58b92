"""How a domain goes from one state to another. Pure.

==========  ===============================================================================
pending     asked for after 1, 5 and 15 minutes, each hour for 2 days, each day for 30 days
verified    the record is there; asked for each day
missing     it has not been there for 3 days
lost        nor for 7 more: whoever proves the domain next has it
failed      never found within 30 days
vouched     by an operator, without a record
==========  ===============================================================================

An outcome that proves nothing leaves everything as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from gateway.domains.lookup import Look, Outcome

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0
FIRST_S: Final = (MINUTE_S, 5 * MINUTE_S, 15 * MINUTE_S)
HOURLY_UNTIL_S: Final = 2 * DAY_S
FAILED_AFTER_S: Final = 30 * DAY_S
MISSING_AFTER_S: Final = 3 * DAY_S
LOST_AFTER_S: Final = 10 * DAY_S


class DomainState(StrEnum):
    """See the module's text."""

    PENDING = "pending"
    VERIFIED = "verified"
    MISSING = "missing"
    LOST = "lost"
    FAILED = "failed"
    VOUCHED = "vouched"


HELD: Final = frozenset({DomainState.VERIFIED, DomainState.MISSING, DomainState.VOUCHED})
"""In which a domain is one tenant's, and nobody else can add it."""
NOT_PROVEN: Final = "the domain is not proven: add its DNS record first"


@dataclass(frozen=True, slots=True)
class Standing:
    """Times are UTC epoch seconds. ``added_at``: when looking for the record began; ``next_at``:
    None where nobody looks any more.
    """

    state: DomainState
    added_at: float
    next_at: float | None
    verified_at: float | None = None
    missing_since: float | None = None

    @property
    def is_lost(self) -> bool:
        """It was proven once, and is held no more."""
        return self.verified_at is not None and self.state not in HELD


def begun(now: float) -> Standing:
    return Standing(DomainState.PENDING, now, now + FIRST_S[0])


def after(before: Standing, look: Look, now: float) -> Standing:
    """What a look makes of it."""
    if before.state is DomainState.VOUCHED:
        return before
    if look.outcome is Outcome.FOUND:
        return replace(
            before,
            state=DomainState.VERIFIED,
            verified_at=before.verified_at if before.state in HELD else now,
            missing_since=None,
            next_at=now + DAY_S,
        )
    if before.state in {DomainState.PENDING, DomainState.FAILED}:
        return _unproven(before, now)
    if look.outcome is Outcome.UNKNOWN:
        return replace(before, next_at=now + HOUR_S)
    since = before.missing_since if before.missing_since is not None else now
    gone_s = now - since
    if gone_s >= LOST_AFTER_S + FAILED_AFTER_S:
        return replace(before, state=DomainState.FAILED, next_at=None)
    if before.state is DomainState.LOST or gone_s >= LOST_AFTER_S:
        state = DomainState.LOST
    else:
        state = DomainState.MISSING if gone_s >= MISSING_AFTER_S else DomainState.VERIFIED
    return replace(before, state=state, missing_since=since, next_at=now + DAY_S)


def _unproven(before: Standing, now: float) -> Standing:
    age_s = now - before.added_at
    if age_s >= FAILED_AFTER_S:
        return replace(before, state=DomainState.FAILED, next_at=None)
    early = next((at_s for at_s in FIRST_S if age_s < at_s), None)
    if early is not None:
        return replace(before, next_at=before.added_at + early)
    pause_s = HOUR_S if age_s < HOURLY_UNTIL_S else DAY_S
    return replace(before, next_at=min(now + pause_s, before.added_at + FAILED_AFTER_S))
