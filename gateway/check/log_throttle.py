"""What is refused again and again is logged once a minute, with how often. Pure bookkeeping: no
clock, no I/O, nothing is decided by it.

A page whose session has ended goes on asking every few seconds, for days. Counters count every
request; the log need not hold each.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from gateway.check.records import CheckRecord

EVERY_S: Final = 60.0
MAX_REMEMBERED: Final = 2_000
"""Requests whose repetition is noticed, in one process: with ``MAX_KEY_CHARACTERS`` at most about
10 MB. Beyond, the oldest is told of and forgotten.
"""
MAX_KEY_CHARACTERS: Final = 512
"""A longer path is logged each time: a stranger chooses it."""
_AT_ONCE: Final = 8
"""Handed out at one call, so that no request waits for many lines: each adds one at most."""


@dataclass(slots=True)
class _Repeated:
    until: float
    count: int = 0
    latest: CheckRecord | None = None


class Repeats:
    """Times are monotonic seconds."""

    def __init__(self) -> None:
        self.seen: OrderedDict[Hashable, _Repeated] = OrderedDict()
        """The one whose minute ends first, first. While it is empty, nothing is due."""

    def is_first(self, key: Hashable, record: CheckRecord, *, now: float) -> bool:
        """Whether to log ``record`` now; else it is counted, and ``due`` hands out the latest."""
        entry = self.seen.get(key)
        if entry is None:
            self.seen[key] = _Repeated(now + EVERY_S)
            return True
        entry.count += 1
        entry.latest = record
        return False

    def due(self, now: float) -> Iterator[tuple[CheckRecord, int]]:
        """The latest record of each that was repeated, and how often it was not logged, once its
        minute is over. The next minute begins then.
        """
        for _ in range(_AT_ONCE):
            key, first = next(iter(self.seen.items()), ("", None))
            if first is None or (first.until > now and len(self.seen) <= MAX_REMEMBERED):
                return
            del self.seen[key]
            if first.latest is not None:
                if first.until <= now:
                    self.seen[key] = _Repeated(now + EVERY_S)
                yield first.latest, first.count
