"""What came once: only what comes again is worth remembering."""

from __future__ import annotations


class SeenOnce:
    """Hashes of what came once lately. With more of them than there is room for, all are forgotten:
    none is remembered in the place of another, which would cost more than it saves.
    """

    def __init__(self, max_entries: int) -> None:
        self._seen: set[int] = set()
        self._max_entries = max_entries

    def is_new(self, number: int) -> bool:
        """Whether none of that hash came lately; asked twice, it is not new."""
        if number in self._seen:
            self._seen.discard(number)
            return False
        if len(self._seen) >= self._max_entries:
            self._seen.clear()
        self._seen.add(number)
        return True


__all__ = ["SeenOnce"]
