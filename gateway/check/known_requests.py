"""Requests of known heads that were let in before, for the next one of the same URI: pages ask for
the same files and poll the same paths.

Rules:
- Head and URI are all that a check reads of a request, but for its ID and trace. What follows from
  them and from a tenant that is never changed, only replaced, is remembered here.
- Nothing here lets anybody in: whoever finds a request here asks each time whether what let in the
  last one is still the same.
- Only what comes for the second time is remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from gateway.core.seen_once import SeenOnce

if TYPE_CHECKING:
    from gateway.check.dialects.raw_request import KnownHead

MAX_REQUESTS: Final = 8_192
"""In each worker; a browser's takes 1 kB, the largest 6 kB."""
MAX_URI: Final = 256
"""Characters of a URI that is remembered."""
T = TypeVar("T")


class KnownRequests(Generic[T]):
    """The oldest go first."""

    def __init__(self, *, max_entries: int = MAX_REQUESTS) -> None:
        self._known: OrderedDict[tuple[KnownHead, str], T] = OrderedDict()
        self._seen = SeenOnce(max_entries)
        self._max_entries = max_entries

    def find(self, head: KnownHead, uri: str) -> T | None:
        return self._known.get((head, uri))

    def is_due(self, head: KnownHead, uri: str) -> bool:
        """Whether it is to be noted: it is short, and came before."""
        return len(uri) <= MAX_URI and not self._seen.is_new(hash((head, uri)))

    def note(self, head: KnownHead, uri: str, what: T) -> None:
        self._known[head, uri] = what
        if len(self._known) > self._max_entries:
            self._known.popitem(last=False)

    def forget(self, head: KnownHead, uri: str) -> None:
        self._known.pop((head, uri), None)

    def clear(self) -> None:
        self._known.clear()


__all__ = ["MAX_REQUESTS", "MAX_URI", "KnownRequests"]
