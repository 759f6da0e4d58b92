"""``/health``: this replica's dependencies as ``/readyz`` tells them, all processes, and the faults
of background tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gateway.admin.route import Answer, AnswerModel, Call, Route
from gateway.admin.routes.overview import NamedCount
from gateway.core.traffic import TASK, Window, ranked, summed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.sessions.activity_log import ActivityLog


class ComponentRow(AnswerModel):
    """``needed``: without it this replica is not ready. ``parts``: of one that is several, what
    each says.
    """

    name: str
    ok: bool
    needed: bool
    detail: str
    parts: dict[str, dict[str, str]]


class ProcessRow(AnswerModel):
    """``name``: role, host and number of a process that spoke within the last minute. ``current``:
    whether it reads with the newest key of the ring.
    """

    name: str
    current: bool


class HealthAnswer(AnswerModel):
    """``faults``: unexpected errors of background tasks over the last day, in all processes."""

    status: Literal["ready", "degraded", "not_ready"]
    version: str
    components: list[ComponentRow]
    processes: list[ProcessRow]
    faults: list[NamedCount]


@dataclass(frozen=True, slots=True)
class HealthRoutes:
    """``components``: as they are known now, nobody is asked. ``clock``: UTC epoch seconds."""

    components: Callable[[], Sequence[ComponentRow]]
    processes: Callable[[], Awaitable[Sequence[ProcessRow]]]
    activity: ActivityLog
    version: str
    clock: Callable[[], float]

    async def get(self, _call: Call) -> Answer:
        components = self.components()
        ready = all(one.ok for one in components if one.needed)
        well = all(one.ok for one in components)
        day = await self.activity.read(Window.DAY, now=self.clock())
        faults = ranked(summed(day, at=day[0].at), TASK)
        return Answer(
            HealthAnswer(
                status="not_ready" if not ready else "ready" if well else "degraded",
                version=self.version,
                components=list(components),
                processes=list(await self.processes()),
                faults=[NamedCount(name=name, count=count) for name, count in faults],
            )
        )

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "get_health",
                "GET",
                "/health",
                "Dependencies of this replica, all processes, and faults of background tasks",
                self.get,
                {200: HealthAnswer},
            ),
        )
