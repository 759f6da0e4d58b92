"""What the trace of a revocation shows of each replica: the fence was heard, and confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.sessions.events import Fence
from gateway.tracing.spans import NOTHING, Kind, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sessions.events import Event
    from gateway.tracing.spans import Span

MAX_OPEN: Final = 256
"""Beyond, a fence has no span: what holds them up is seen by those that have."""


class ConfirmationSpans:
    """Of one replica; nothing waits for them."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._open: dict[tuple[int, int], Span] = {}

    def heard(self, bucket: int, number: int, event: Event) -> None:
        """By a push, or with a renewal."""
        if not isinstance(event, Fence) or not event.trace or (bucket, number) in self._open:
            return
        if len(self._open) < MAX_OPEN:
            confirm_span = span("revocation.confirm", Kind.CONSUMER, parent=event.trace)
            if confirm_span is not NOTHING:
                confirm_span.set("gateway.replica", self._replica)
                self._open[bucket, number] = confirm_span

    def renewed(self, bucket: int, told: int | None, events: Sequence[Event]) -> None:
        """The store has taken that ``told`` is applied, and said what came after it."""
        if told is None:
            return
        if self._open:
            self._end([key for key in self._open if key[0] == bucket and key[1] <= told])
        for number, event in enumerate(events, told + 1):
            self.heard(bucket, number, event)

    def ended(self, bucket: int) -> None:
        """Nothing is confirmed for it any more."""
        self._end([key for key in self._open if key[0] == bucket])

    def _end(self, keys: Sequence[tuple[int, int]]) -> None:
        for key in keys:
            self._open.pop(key).end()


__all__ = ["ConfirmationSpans"]
