"""The right of one replica to answer for one bucket from memory. A state machine without I/O; times
are its caller's.

Rules (each is a guard of docs/model/revocation.py):
- A lease counts from *before sending* its renewal, and ends by the replica's own clock.
- A renewal brings every event since the last one that was applied; it extends the lease only after
  all of them were.
- An event is confirmed, by the next renewal, only after it was applied.
- Events are applied in the order of their numbers. A push that is out of order is not applied; the
  next renewal brings it.
- Every event and every lapse begins a new epoch.
- A lapse empties the memory, and begins a new incarnation; what was sent before it no longer
  counts.
- Nothing is believed of a primary whose marker does not fit. A lease that was granted before runs
  out as it would without an answer: acknowledgements there wait for a full staleness, as they do
  for a replica that reaches nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from gateway.sessions.events import Everything, Fence, Narrowed, SessionsEnded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sessions.events import Event

LEASE_PART: Final = 0.9
"""A lease is this part of the staleness that a revoker waits: room for two clocks that do not run
alike (NTP slews by 0.05 %).
"""
RENEWALS: Final = 5
"""Renewals in one staleness: three may be lost before a lease ends."""


class Memory(Protocol):
    """What a lease permits to answer from."""

    def end(self, digests: Sequence[str]) -> None: ...

    def empty(self, bucket: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a renewal says for one bucket: who we are and how far we are."""

    incarnation: int
    applied: int | None
    """Number of the last event applied; None while joining."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """What the primary answered. ``events`` are those up to ``number``; None where its log no
    longer reaches back.
    """

    marker: str
    number: int
    generation: int
    events: tuple[Event, ...] | None


@dataclass(slots=True, eq=False)
class Lease:
    """One bucket, as this replica knows it."""

    bucket: int
    length_s: float
    memory: Memory
    incarnation: int = 1
    epoch: int = 0
    applied: int | None = None
    marker: str = ""
    demanded: int = 0
    """Generation of the tenant snapshot that answers need."""
    generation: int = 0
    """Generation that this replica has."""
    ends: float = -inf
    answers_until: float = -inf
    """``ends``, or never while the snapshot is too old: the one thing that a cached answer compares
    with the clock.
    """
    used_at: float = -inf
    awaited: int = -1
    """Number of the last event applied whose confirmation somebody may wait for: a fence. Of
    sessions that ended, nobody does: the fence comes after.
    """
    unapplied: int = -1
    """The highest number of a push that came while this joins."""
    refused: str = field(default="", repr=False)
    """Why the last renewal was not granted."""

    def held(self, now: float) -> bool:
        return now < self.ends

    def renewal(self, now: float) -> Renewal:
        """What to send; the caller takes the time *before* it sends."""
        if not self.held(now) and self.applied is not None:
            self.lapse()
        return Renewal(self.incarnation, self.applied)

    def renewed(
        self, renewal: Renewal, answer: Renewed | None, *, sent_at: float, now: float
    ) -> bool:
        """Whether the renewal counts. ``answer`` is None where the primary is not to be
        believed.
        """
        if renewal.incarnation != self.incarnation:
            return False
        if answer is None:
            self.refused = "the store was not yet restored from the record"
            if not self.held(now):
                self.lapse()
            return False
        if self.applied is not None:
            if renewal.applied is None:
                # Two joined at once: the other answer was first, and this one brought no events.
                return self.held(now)
            if (
                not self.held(now)
                or answer.marker != self.marker
                or answer.events is None
                or not self._catch_up(renewal.applied, answer.number, answer.events)
            ):
                self.lapse()
                return False
        else:
            self.applied, self.marker = answer.number, answer.marker
        self.refused = ""
        self.demanded = max(self.demanded, answer.generation)
        self._extend(sent_at + self.length_s)
        return self.held(now)

    def _catch_up(self, since: int | None, number: int, events: Sequence[Event]) -> bool:
        """Apply what the pushes did not bring; they may also be ahead of the answer. False where a
        number is missing.
        """
        if since is None or number - since != len(events):
            return False
        for n, event in enumerate(events, since + 1):
            if self.applied is not None and n > self.applied:
                self._apply(n, event)
        return True

    def heard(self, number: int, event: Event) -> bool:
        """A push. Whether a renewal is wanted at once: to confirm it, or to learn what is
        missing.
        """
        if self.applied is None:
            self.unapplied = max(self.unapplied, number)
            return False
        if number <= self.applied:
            return False
        if number != self.applied + 1:
            return True
        self._apply(number, event)
        return self.awaited == number

    def owes(self, told: int | None) -> bool:
        """Whether another renewal is wanted at once, after one that said ``told``."""
        if self.applied is None:
            return False
        unapplied, self.unapplied = self.unapplied, -1
        return unapplied > self.applied or (told is not None and self.awaited > told)

    def _apply(self, number: int, event: Event) -> None:
        self.epoch += 1
        self.applied = number
        match event:
            case SessionsEnded(digests):
                self.memory.end(digests)
            case Everything():
                # Perhaps words of a later version, which waits for an answer.
                self.awaited = number
                self.memory.empty(self.bucket)
            case Narrowed(generation):
                self.demanded = max(self.demanded, generation)
                self._extend(self.ends)
            case Fence():
                self.awaited = number

    def _extend(self, ends: float) -> None:
        self.ends = max(self.ends, ends)
        self.answers_until = self.ends if self.generation >= self.demanded else -inf

    def has(self, generation: int) -> None:
        """A tenant snapshot was applied here."""
        self.generation = max(self.generation, generation)
        self._extend(self.ends)

    def lapse(self) -> None:
        """Nothing in memory counts any more, nor anything in flight."""
        self.ends = self.answers_until = -inf
        self.epoch += 1
        self.incarnation += 1
        self.applied = None
        self.awaited = self.unapplied = -1
        self.marker = ""
        self.demanded = 0
        self.memory.empty(self.bucket)
