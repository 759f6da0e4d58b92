"""The user pool in which a tenant is provisioned: where it lives, where its document says, where
what it adopts is, or the first that has room.

Counts are of a moment: of two runs that take the last place, Cognito refuses one, which is rolled
back; whoever repeats it is given the next pool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.config.user_pools import pool_key
from gateway.core.model import DEFAULT_POOL
from gateway.provisioning.preflight import PreflightProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.cognito.pool import Pool
    from gateway.cognito.pools import Pools
    from gateway.provisioning.credentials import ClientCredentials


@dataclass(frozen=True, slots=True)
class Fullness:
    """How many a pool has of how many; see ``CognitoQuotas``."""

    pool: str
    providers: int
    max_providers: int
    clients: int
    max_clients: int

    def has_room(self, *, providers: int) -> bool:
        """For one app client and so many identity providers."""
        return self.providers + providers <= self.max_providers and self.clients < self.max_clients

    def __str__(self) -> str:
        return (
            f"{self.pool} has {self.providers} of {self.max_providers} identity providers and "
            f"{self.clients} of {self.max_clients} app clients"
        )


async def fullness(pool: Pool) -> Fullness:
    """Counted now, or within the last minute; of a full pool now."""
    return Fullness(
        pool.name,
        await pool.provider_count(),
        pool.quotas.providers,
        await pool.client_count(),
        pool.quotas.clients,
    )


async def choose_pool(
    pools: Pools,
    *,
    said: str | None,
    held: ClientCredentials | None,
    providers: Sequence[str],
    adopt: bool,
    adopt_client: str | None,
) -> str | PreflightProblem:
    """Its name. ``said``: what the request or the document says; ``held``: the tenant's clients;
    ``providers``: names of those that are to be in the pool.
    """
    if said is not None and said not in pools.by_name:
        return PreflightProblem("invalid", "pool", f"{said} is none of {', '.join(pools.by_name)}")
    if held is not None:
        return held.pool if said in {None, held.pool} else _lives_elsewhere(held.pool, str(said))
    if said is not None:
        return said
    if len(pools.by_name) == 1:
        # Whether it has room is judged with the plan.
        return next(iter(pools.by_name))
    if adopt or adopt_client is not None:
        for name, pool in pools.by_name.items():
            if adopt_client is not None and await pool.client(adopt_client) is not None:
                return name
            if adopt and any([await pool.provider(p) is not None for p in providers]):
                return name
    if adopt_client is not None:
        return DEFAULT_POOL
    usage: list[Fullness] = []
    for name, pool in pools.by_name.items():
        usage.append(await fullness(pool))
        if usage[-1].has_room(providers=len(providers)):
            return name
    return PreflightProblem(
        "quota",
        "pool",
        f"no user pool has room for 1 app client and {len(providers)} identity providers: "
        f"{'; '.join(map(str, usage))}. Add a pool (cognito.pools), or have a quota raised and say "
        f"so in {pool_key(usage[-1].pool)}.quotas",
    )


def _lives_elsewhere(pool: str, said: str) -> PreflightProblem:
    return PreflightProblem(
        "exists",
        "pool",
        f"the tenant is in pool {pool}, and stays there: destroy it before it is provisioned in "
        f"{said}",
    )
