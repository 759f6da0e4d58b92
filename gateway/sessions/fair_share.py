"""What strangers can make the store keep: bounded in all, and shared fairly between those who cause
it.

Anybody may begin a login, and for each the store keeps something for ten minutes. Each process
keeps account of what *it* had the store keep. Where that would pass the bound, the oldest entry of
the client that holds most is given up; so a flood from one address pushes out its own entries, and
the first of those who have one only are the last to go. When the flood ends there is nothing to
wait for.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class FairShare:
    """``monotonic``: seconds. An entry that is older than ``life_s`` is gone from the store by
    itself.
    """

    def __init__(self, *, max_bytes: int, life_s: float, monotonic: Callable[[], float]) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._life_s = life_s
        self._monotonic = monotonic
        self._entries: OrderedDict[str, tuple[str, int, float]] = OrderedDict()
        """Client, bytes and end by key, oldest first."""
        self._clients: dict[str, dict[str, None]] = {}
        """Keys of each client, oldest first."""
        self._held: dict[str, int] = {}
        self._busiest: list[tuple[int, str]] = []
        """A heap of what clients held when it grew, negative; what is not true any more is
        skipped.
        """

    def add(self, key: str, *, client: str, size: int) -> list[str]:
        """Take account of an entry; the keys that have to go for it, in most cases none. It is none
        of them: the store is about to keep it.
        """
        now = self._monotonic()
        while self._entries and next(iter(self._entries.values()))[2] <= now:
            self.remove(next(iter(self._entries)))
        self.remove(key)
        given_up = []
        self._entries[key] = (client, size, now + self._life_s)
        self._clients.setdefault(client, {})[key] = None
        self._account(client, size)
        while self.held_bytes > self.max_bytes and len(self._entries) > 1:
            oldest = next(iter(self._clients[self._holds_most(but=key)]))
            self.remove(oldest)
            given_up.append(oldest)
        return given_up

    def remove(self, key: str) -> None:
        """It is gone from the store, or never came there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        client, size, _ = entry
        keys = self._clients[client]
        del keys[key]
        self._account(client, -size)
        if not keys:
            del self._clients[client], self._held[client]

    def _account(self, client: str, size: int) -> None:
        self.held_bytes += size
        total = self._held[client] = self._held.get(client, 0) + size
        heapq.heappush(self._busiest, (-total, client))
        if len(self._busiest) > 4 * len(self._held) + 64:
            self._busiest = [(-bytes_held, name) for name, bytes_held in self._held.items()]
            heapq.heapify(self._busiest)

    def _holds_most(self, *, but: str) -> str:
        """Of those who hold anything besides this key."""
        aside: tuple[int, str] | None = None
        while True:
            priority, client = self._busiest[0]
            if self._held.get(client) == -priority:
                if next(iter(self._clients[client])) != but:
                    break
                aside = priority, client
            heapq.heappop(self._busiest)
        if aside is not None:
            heapq.heappush(self._busiest, aside)
        return client
