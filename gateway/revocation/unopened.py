"""Revocations on record that do not open, as one reader of the record remembers them: a key that is
away may be given back.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gateway.log import Throttled
from gateway.metrics import TASK_FAILURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.revocation.api import Closed, Recorded, RevocationRecord

AGAIN_S: Final = 60.0
"""How often they are looked at again."""
MAX_UNOPENED: Final = 10_000
"""Remembered by one reader, some 100 bytes each. Those beyond are logged and counted as one; they
are read by whoever begins to follow the record next.
"""
_AT_ONCE: Final = 500


class Unopened:
    """Each is logged (one line a second, however many) and counted once, as ``event``."""

    def __init__(self, record: RevocationRecord, *, event: str) -> None:
        self._record = record
        self._event = event
        self._say = Throttled(logging.getLogger(__name__), logging.ERROR, event)
        self._ids: dict[str, None] = {}
        self._full = False
        self._again_at = 0.0

    def note(self, one: Closed) -> None:
        """Where it was met. However often: once."""
        if one.id in self._ids:
            return
        if len(self._ids) < MAX_UNOPENED:
            self.keep(one.id)
        elif self._full:
            return
        else:
            self._full = True
        TASK_FAILURES.labels(self._event).inc()
        self._say(one.error, tenant=one.tenant, revocation=one.id)

    def keep(self, revocation: str) -> None:
        """What opened, and could not be taken yet."""
        self._ids[revocation] = None

    async def opened(self, now: float) -> Sequence[Recorded]:
        """Those that open by now (UTC epoch seconds), which are forgotten here, as are those that
        are not on record any more. Raises ``UnavailableError``.
        """
        if not self._ids or now < self._again_at:
            return ()
        entries: list[Recorded] = []
        ids = list(self._ids)
        for start in range(0, len(ids), _AT_ONCE):
            closed_entries: list[Closed] = []
            entries += await self._record.these(
                ids[start : start + _AT_ONCE], closed=closed_entries.append
            )
            for one in {*ids[start : start + _AT_ONCE]}.difference(
                one.id for one in closed_entries
            ):
                del self._ids[one]
        self._again_at, self._full = now + AGAIN_S, self._full and len(self._ids) >= MAX_UNOPENED
        return entries


__all__ = ["Unopened"]
