"""A push channel, followed for as long as the process lives. What is said there is a hint: whoever
listens has another way to learn it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import ConnectionPool, Redis

from gateway.errors import UnavailableError
from gateway.sessions.connection import unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.sessions.connection import RedisClient

RESUBSCRIBE_S: Final = 0.2
ASK_S: Final = 1.0
"""After so long a silence the server is asked whether it is there, and again: a server that hangs,
or was cut off without a word, closes no connection.
"""
MAX_SILENT: Final = 3
"""Silences in a row that end a subscription. One alone may be this process', which had no time to
read.
"""


async def listen(
    redis: RedisClient,
    channel: str,
    *,
    hearing: Callable[[bool], None],
    heard: Callable[[str], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Until cancelled. ``hearing`` is told when the subscription stands (what was said before is
    missed) and when it is cut.
    """
    while True:
        try:
            with contextlib.suppress(UnavailableError), unavailable("subscribe"):
                await _follow(redis, channel, hearing, heard)
        finally:
            hearing(False)
        with contextlib.suppress(UnavailableError):
            await redis.look_again()  # the node that was followed may be gone
        await sleep(RESUBSCRIBE_S)


async def _follow(
    redis: RedisClient, channel: str, hearing: Callable[[bool], None], heard: Callable[[str], None]
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        client: Any = redis.client
        if redis.clustered:
            # A publication reaches every node of a Cluster; any one of them will do.
            node = await redis.primary_of(channel)
            client = Redis.from_pool(
                ConnectionPool(connection_class=node.connection_class, **node.connection_kwargs)
            )
            stack.push_async_callback(client.aclose)
        subscription = client.pubsub(ignore_subscribe_messages=False)
        stack.push_async_callback(subscription.aclose)
        async with asyncio.timeout(redis.deadline_s):
            await subscription.subscribe(channel)
        silent = 0
        while silent < MAX_SILENT:
            message = await subscription.get_message(timeout=ASK_S)
            if message is None:
                silent += 1
                await subscription.ping()
                continue
            silent = 0
            if message["type"] == "subscribe":
                hearing(True)
            elif message["type"] == "message":
                heard(message["data"].decode("ascii", "replace"))
