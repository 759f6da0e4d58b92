"""``/pools``: the user pools, and at which of two regions their logins are served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from gateway.admin.problem import Code, Problem
from gateway.admin.route import Answer, AnswerModel, Call, Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.user_pools import UserPool
    from gateway.sessions.pool_failover import FailedOver, PoolFailovers


class PoolRow(AnswerModel):
    """One user pool. Times are UTC epoch seconds."""

    name: str
    user_pool_id: str
    region: str
    secondary_region: str | None
    failed_over_since: float | None = Field(
        description="logins and token requests go to the secondary region since then; null: not"
    )
    failed_over_by: str | None = Field(description="whose word it was; `automatic`: nobody's")


class PoolList(AnswerModel):
    items: list[PoolRow]


@dataclass(frozen=True, slots=True)
class PoolRoutes:
    """``pools``: by name."""

    pools: Mapping[str, UserPool]
    failovers: PoolFailovers

    async def list_pools(self, call: Call) -> Answer:  # noqa: ARG002 - a handler
        over = await self.failovers.read()
        return Answer(PoolList(items=[self._row(name, over.get(name)) for name in self.pools]))

    async def fail_over(self, call: Call) -> Answer:
        name = call.path["pool"]
        if self._pool(name).secondary is None:
            raise Problem(Code.CONFLICT, f"user pool {name} has no secondary (cognito)")
        call.note.target = name
        return Answer(self._row(name, await self.failovers.begin(name, by=call.actor)))

    async def fail_back(self, call: Call) -> Answer:
        name = call.path["pool"]
        self._pool(name)
        call.note.target = name
        await self.failovers.end(name, by=call.actor)
        return Answer(self._row(name, None))

    def _pool(self, name: str) -> UserPool:
        if name not in self.pools:
            raise Problem(Code.NOT_FOUND, f"no user pool {name}")
        return self.pools[name]

    def _row(self, name: str, over: FailedOver | None) -> PoolRow:
        pool = self.pools[name]
        if pool.secondary is None:
            over = None
        return PoolRow(
            name=name,
            user_pool_id=pool.user_pool_id,
            region=pool.region,
            secondary_region=None if pool.secondary is None else pool.secondary.region,
            failed_over_since=None if over is None else over.since,
            failed_over_by=None if over is None else over.by,
        )

    def routes(self) -> tuple[Route, ...]:
        return (
            Route(
                "list_pools",
                "GET",
                "/pools",
                "The user pools, and which are failed over",
                self.list_pools,
                {200: PoolList},
            ),
            Route(
                "fail_over_pool",
                "POST",
                "/pools/{pool}/failover",
                "Send logins and token requests of a user pool to its secondary region",
                self.fail_over,
                {200: PoolRow},
                problems=(Code.NOT_FOUND, Code.CONFLICT),
            ),
            Route(
                "fail_back_pool",
                "DELETE",
                "/pools/{pool}/failover",
                "Send them to the primary region again",
                self.fail_back,
                {200: PoolRow},
                problems=(Code.NOT_FOUND,),
            ),
        )
