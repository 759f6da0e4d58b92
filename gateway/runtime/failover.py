"""User pools with a secondary region: every process follows whether they are failed over; the admin
role fails one over by itself where the configuration says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import aiohttp

from gateway.background import background_task, forever
from gateway.errors import UnavailableError
from gateway.http.client import client_session
from gateway.log import fields
from gateway.sessions.leader import RedisLeader
from gateway.sessions.pool_failover import FailoverView, PoolFailovers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AsyncExitStack

    from gateway.config.model import Config
    from gateway.config.user_pools import UserPool
    from gateway.sessions.connection import RedisClient

_LOG = logging.getLogger(__name__)
LOOK_EVERY_S: Final = 5.0
AUTOMATIC: Final = "automatic"
"""Whose word it is when nobody said it."""


async def followed_failovers(
    config: Config, redis: RedisClient, stack: AsyncExitStack
) -> FailoverView:
    """Followed until the stack ends. What stands at the start is known before the first login,
    unless Redis is away.
    """
    with_secondary = [name for name, pool in config.cognito.all_pools.items() if pool.secondary]
    view = FailoverView(PoolFailovers(redis, clock=time.time), with_secondary)
    if with_secondary:
        with contextlib.suppress(UnavailableError):
            await view.look()
        await stack.enter_async_context(background_task(forever(view.follow)))
    return view


async def automatic_failover(config: Config, redis: RedisClient, stack: AsyncExitStack) -> None:
    """Until the stack ends, where a pool is to be failed over without an operator."""
    pools = config.cognito.all_pools
    if not any(p.secondary is not None and p.secondary.automatic_after for p in pools.values()):
        return
    http = await stack.enter_async_context(client_session(development=config.development))
    leader = RedisLeader(redis, name="pool_failover", holder=secrets.token_hex(8))
    automatic = AutomaticFailover(
        pools,
        PoolFailovers(redis, clock=time.time),
        answers=partial(domain_answers, http),
        leads=leader.lead,
    )
    await stack.enter_async_context(background_task(forever(automatic.run)))


@dataclass(slots=True)
class AutomaticFailover:
    """Fails a pool over when its domain has not answered for ``secondary.automatic_after`` and the
    secondary's does. Nothing is failed back without an operator: which region is behind, only
    people can tell. ``leads``: of several admin processes, one looks.
    """

    pools: Mapping[str, UserPool]
    failovers: PoolFailovers
    answers: Callable[[str], Awaitable[bool]]
    leads: Callable[[], Awaitable[bool]]
    monotonic: Callable[[], float] = time.monotonic
    out_since: dict[str, float] = field(default_factory=dict)
    """Pools whose domain does not answer, and since when (``monotonic``)."""

    async def look(self) -> None:
        """Once. Raises ``UnavailableError``."""
        if not await self.leads():
            self.out_since.clear()
            return
        over = await self.failovers.read()
        for name, pool in self.pools.items():
            second = pool.secondary
            if second is None or second.automatic_after is None:
                continue
            if name in over:
                self.out_since.pop(name, None)
                continue
            if await self.answers(pool.domain):
                self.out_since.pop(name, None)
                continue
            since = self.out_since.setdefault(name, self.monotonic())
            long_enough = self.monotonic() - since >= second.automatic_after.total_seconds()
            if long_enough and await self.answers(second.domain):
                del self.out_since[name]
                await self.failovers.begin(name, by=AUTOMATIC)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except UnavailableError as error:
                # What was not looked at did not last.
                self.out_since.clear()
                _LOG.warning("pool_failover_unread", extra=fields(error=str(error)))
            await asyncio.sleep(LOOK_EVERY_S)


async def domain_answers(http: aiohttp.ClientSession, domain: str) -> bool:
    """Whether a pool's pages are there: any answer but an error of the server's own."""
    try:
        async with http.get(f"{domain.rstrip('/')}/login", allow_redirects=False) as response:
            return response.status < 500
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
