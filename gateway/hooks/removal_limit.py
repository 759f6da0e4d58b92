"""Removals of many people at once are held for an operator: a directory that answers wrongly must
not lock a whole customer out.

Rules:
- What is counted is people of one provider who lose a group, or whom a directory does not know any
  more, within ``WINDOW_S``. Beyond the limit, further ones are ``held`` in the inbox, whoever said
  it: a hook, a SCIM client, a reading.
- What is explicit about one person's account (disabled, deleted, deactivated) is never held.
- The count is on record, so a restart and a second process go on with it; what this process lets
  pass counts at once.
- As long as something was held within ``WINDOW_S`` by any replica, more of it is held; an operator
  releases or drops it.
- What is released is looked up, or compared with what came later, like any other event.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from gateway.database.schema import directory_members, hook_inbox, scim_usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.hook_target import HookTarget
    from gateway.database.engine import Database
    from gateway.hooks.event import Group

WINDOW_S = 600.0
"""Long enough for a provider that sends one person at a time; removals that are further apart are
everyday changes.
"""
FRESH_S = 5.0
"""How long the number of people, and whether something is held, is believed."""
_PROVIDERS = 10_000


@dataclass(frozen=True, slots=True)
class BrakeLimits:
    """More than ``people`` and more than ``percent`` of the known people are held. ``unknown``:
    where a provider's people are not known here.
    """

    people: int = 10
    percent: int = 20
    unknown: int = 100

    def of(self, known: int) -> int:
        return max(self.people, known * self.percent // 100) if known else self.unknown


@dataclass(slots=True)
class _Recent:
    removed: dict[str, float] = field(default_factory=dict)
    """People who lost something (``Subject.key``), and since when; oldest first."""
    others: int = 0
    """Further people who lost something, by other processes or before a start."""
    known: int = 0
    holding: bool = False
    read_at: float = float("-inf")


class Brake:
    """What this process has just let pass, and what is on record of all of them. ``clock``: UTC
    epoch seconds.
    """

    def __init__(
        self, database: Database, limits: BrakeLimits | None = None, *, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._limits = limits or BrakeLimits()
        self._clock = clock
        self._recent: OrderedDict[tuple[str, str], _Recent] = OrderedDict()

    async def reason_to_hold(self, target: HookTarget, *, person: str = "", people: int = 1) -> str:
        """Why a removal of so many more people is to be held, or "". ``person``: who then counts.
        Raises ``UnavailableError``.
        """
        recent = await self._of(target)
        now = self._clock()
        limit = self._limits.of(recent.known)
        if person in recent.removed:
            return ""
        if not recent.holding and len(recent.removed) + recent.others + people <= limit:
            # Before it is done: many are done at once.
            if person:
                recent.removed[person] = now
            return ""
        recent.holding = True
        return (
            f"held: more than {limit} people would be removed within {WINDOW_S / 60:.0f} "
            "minutes; release or drop it (gateway hooks held)"
        )

    async def members(self, target: HookTarget, group: Group | None) -> int:
        """How many people a directory's group is known to have; 0 for a mere name, which is lost by
        renaming and not by anybody's removal.
        """
        if group is None or not group.id:
            return 0
        where = (
            directory_members.c.tenant == target.tenant,
            directory_members.c.provider == target.provider,
            directory_members.c.group_id == group.id,
        )
        async with self._database.read() as connection:
            return (
                await connection.execute(
                    select(func.count()).select_from(directory_members).where(*where)
                )
            ).scalar_one()

    async def _of(self, target: HookTarget) -> _Recent:
        recent = self._recent.setdefault(target.key, _Recent())
        self._recent.move_to_end(target.key)
        while len(self._recent) > _PROVIDERS:
            self._recent.popitem(last=False)
        now = self._clock()
        while (
            recent.removed
            and (oldest := next(iter(recent.removed)))
            and recent.removed[oldest] < now - WINDOW_S
        ):
            del recent.removed[oldest]
        if now - recent.read_at >= FRESH_S:
            members, users, inbox = directory_members.c, scim_usage.c, hook_inbox.c
            in_groups = select(func.count(members.member.distinct())).where(
                members.tenant == target.tenant,
                members.provider == target.provider,
                members.group_id != "",
            )
            pushed = select(users.users).where(
                users.tenant == target.tenant, users.provider == target.provider
            )
            pending_query = select(func.count(inbox.lane.distinct())).where(
                inbox.state.in_(("new", "held")),
                inbox.tenant == target.tenant,
                inbox.provider == target.provider,
            )
            hold_query = (
                select(inbox.id)
                .where(
                    inbox.state == "held",
                    inbox.next_at >= now - WINDOW_S,
                    inbox.tenant == target.tenant,
                    inbox.provider == target.provider,
                )
                .limit(1)
            )
            removal_query = select(func.count(inbox.lane.distinct())).where(
                inbox.tenant == target.tenant,
                inbox.provider == target.provider,
                inbox.counted == 1,
                inbox.applied_at >= now - WINDOW_S,
            )
            async with self._database.read() as connection:
                recent.others = max(
                    0, (await connection.execute(removal_query)).scalar_one() - len(recent.removed)
                )
                known_count = max(
                    (await connection.execute(in_groups)).scalar_one(),
                    (await connection.execute(pushed)).scalar() or 0,
                )
                leaving = (
                    (await connection.execute(pending_query)).scalar_one()
                    + len(recent.removed)
                    + recent.others
                )
                recent.holding = (await connection.execute(hold_query)).first() is not None
            # Whom a reading saw leave is not in the groups any more, and still one of those whose
            # share this is.
            recent.known, recent.read_at = max(known_count, leaving) if known_count else 0, now
        return recent
