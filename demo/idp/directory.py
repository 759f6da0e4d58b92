"""People and groups of one customer, and the one place through which every change of them is
announced.

Okta's life cycle names are used for both faces: suspended and deactivated people cannot sign in, a
deleted one is gone (first softly, then for good, as Entra's recycle bin does it).
"""

from __future__ import annotations

import secrets
import string
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo.clock import Clock

_OKTA_ALPHABET = string.ascii_letters + string.digits


class Status(Enum):
    """Only an active person can sign in."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"


class Change(Enum):
    """What happened to a person, in words that neither vendor owns."""

    GROUP_ADDED = "group_added"
    GROUP_REMOVED = "group_removed"
    SUSPENDED = "suspended"
    UNSUSPENDED = "unsuspended"
    DEACTIVATED = "deactivated"
    ACTIVATED = "activated"
    DELETED = "deleted"
    PURGED = "purged"
    SIGNED_OUT = "signed_out"
    SESSIONS_CLEARED = "sessions_cleared"
    GROUP_DELETED = "group_deleted"
    GROUP_RENAMED = "group_renamed"


@dataclass(slots=True)
class Group:
    """``id`` is what the directory calls it, ``name`` what people do."""

    id: str
    name: str


@dataclass(slots=True)
class Person:
    """``id`` is Okta's user id or Entra's object id."""

    id: str
    email: str
    name: str
    password: str = field(repr=False)
    group_ids: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    status: Status = Status.ACTIVE
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class DirectoryEvent:
    """One announced change; ``at`` is UTC epoch seconds. ``group`` only where a group is concerned,
    ``person`` unless only a group is.
    """

    id: str
    at: float
    change: Change
    person: Person | None
    group: Group | None = None
    former_name: str = ""
    """Of a group that was renamed."""


Listener = Callable[[DirectoryEvent], Awaitable[None]]


def okta_id(prefix: str) -> str:
    """Twenty characters, as in ``00u1a2b3c4d5e6f7g8h9``."""
    return prefix + "".join(secrets.choice(_OKTA_ALPHABET) for _ in range(20 - len(prefix)))


class Directory:
    """People and groups by id. Adding them is set-up and silent; what an administrator does is
    announced.
    """

    def __init__(
        self, *, new_user_id: Callable[[], str], new_group_id: Callable[[], str], clock: Clock
    ) -> None:
        self._new_user_id = new_user_id
        self._new_group_id = new_group_id
        self._clock = clock
        self.people: dict[str, Person] = {}
        self.groups: dict[str, Group] = {}
        self.listeners: list[Listener] = []

    def add_group(self, name: str) -> Group:
        """A new group, or the one that already has the name."""
        found = next((group for group in self.groups.values() if group.name == name), None)
        if found is None:
            found = Group(self._new_group_id(), name)
            self.groups[found.id] = found
        return found

    def add_person(
        self, email: str, *, name: str, password: str = "demo", groups: tuple[str, ...] = ()
    ) -> Person:
        """A new person; groups are made as needed."""
        group_ids = [self.add_group(group).id for group in groups]
        person = Person(self._new_user_id(), email, name, password, group_ids)
        self.people[person.id] = person
        return person

    def by_email(self, email: str) -> Person | None:
        """The person with this address who is not deleted; addresses are compared without case, as
        people type them.
        """
        return next(
            (p for p in self.people.values() if p.email.lower() == email.lower() and not p.deleted),
            None,
        )

    def groups_of(self, person: Person) -> list[Group]:
        return [self.groups[group_id] for group_id in person.group_ids]

    def can_sign_in(self, person: Person) -> bool:
        return person.status is Status.ACTIVE and not person.deleted

    async def add_to_group(self, person: Person, group: Group) -> None:
        if group.id not in person.group_ids:
            person.group_ids.append(group.id)
            await self._announce(Change.GROUP_ADDED, person, group)

    async def remove_from_group(self, person: Person, group: Group) -> None:
        if group.id in person.group_ids:
            person.group_ids.remove(group.id)
            await self._announce(Change.GROUP_REMOVED, person, group)

    async def suspend(self, person: Person) -> None:
        await self._move(person, Status.SUSPENDED, Change.SUSPENDED)

    async def unsuspend(self, person: Person) -> None:
        if person.status is Status.SUSPENDED:
            await self._move(person, Status.ACTIVE, Change.UNSUSPENDED)

    async def deactivate(self, person: Person) -> None:
        await self._move(person, Status.DEACTIVATED, Change.DEACTIVATED)

    async def activate(self, person: Person) -> None:
        if person.status is Status.DEACTIVATED:
            await self._move(person, Status.ACTIVE, Change.ACTIVATED)

    async def delete(self, person: Person) -> None:
        """First call: soft. Second call: for good."""
        if person.deleted:
            del self.people[person.id]
            await self._announce(Change.PURGED, person)
        else:
            person.deleted = True
            await self._announce(Change.DELETED, person)

    async def delete_group(self, group: Group) -> None:
        """The group goes with all its memberships, in one announcement."""
        del self.groups[group.id]
        for person in self.people.values():
            if group.id in person.group_ids:
                person.group_ids.remove(group.id)
        await self._announce(Change.GROUP_DELETED, None, group)

    async def rename_group(self, group: Group, name: str) -> None:
        """Another name for the same id and members."""
        former, group.name = group.name, name
        if former != name:
            await self._announce(Change.GROUP_RENAMED, None, group, former)

    async def clear_sessions(self, person: Person) -> None:
        """An administrator ends the person's browser sessions at the IdP."""
        await self._announce(Change.SESSIONS_CLEARED, person)

    async def signed_out(self, person: Person) -> None:
        """The person ended the IdP's session."""
        await self._announce(Change.SIGNED_OUT, person)

    async def _move(self, person: Person, status: Status, change: Change) -> None:
        if person.status is not status:
            person.status = status
            await self._announce(change, person)

    async def _announce(
        self,
        change: Change,
        person: Person | None,
        group: Group | None = None,
        former_name: str = "",
    ) -> None:
        event = DirectoryEvent(str(uuid.uuid4()), self._clock(), change, person, group, former_name)
        for listener in tuple(self.listeners):
            await listener(event)
