"""What a directory's API reads: the present, or, as vendors put it, "eventually consistent", what
was a while ago.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo.clock import Clock
    from demo.idp.delivery import Switches
    from demo.idp.directory import Directory, DirectoryEvent, Person, Status


@dataclass(frozen=True, slots=True)
class Seen:
    """A person as a read shows them."""

    status: Status
    deleted: bool
    group_ids: frozenset[str]


class Past:
    """Remembers what announced changes changed. ``switches.stale_s`` says how far back reads
    look.
    """

    def __init__(self, directory: Directory, switches: Switches, *, clock: Clock) -> None:
        self._directory, self._switches, self._clock = directory, switches, clock
        self._known: dict[str, Seen] = {}
        self._changes: list[tuple[float, str, Seen]] = []
        """When, of whom, and what was so until then."""
        directory.listeners.insert(0, self._on_event)

    async def _on_event(self, event: DirectoryEvent) -> None:
        for person in self._directory.people.values():
            now, before = _seen(person), self._known.get(person.id)
            if before is not None and before != now:
                self._changes.append((event.at, person.id, before))
            self._known[person.id] = now

    def look(self) -> None:
        """People are added silently: whoever is there now is known from now on."""
        for person in self._directory.people.values():
            self._known.setdefault(person.id, _seen(person))

    def of(self, person: Person) -> Seen:
        since = self._clock() - self._switches.stale_s
        return next(
            (before for at, who, before in self._changes if who == person.id and at > since),
            _seen(person),
        )

    def is_visible(self, at: float) -> bool:
        """Whether a change of then is in what reads show."""
        return at <= self._clock() - self._switches.stale_s or not self._switches.stale_s


def _seen(person: Person) -> Seen:
    return Seen(person.status, person.deleted, frozenset(person.group_ids))
