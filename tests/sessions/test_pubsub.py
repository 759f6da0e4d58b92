"""A channel is followed on every kind of deployment, and again after it was cut."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from gateway.background import end
from gateway.config.model import Redis as RedisSettings
from gateway.core.model import Secret
from gateway.sessions import pubsub as channel_module
from gateway.sessions.connection import connect
from gateway.sessions.pubsub import listen
from tests.sessions import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.sessions.connection import RedisClient

CHANNEL = "gw:test"


class Listener:
    """What was told, in order."""

    def __init__(self, redis: RedisClient) -> None:
        self.states: list[bool] = []
        self.heard: list[str] = []
        self.task = asyncio.create_task(
            listen(redis, CHANNEL, hearing=self.states.append, heard=self.heard.append)
        )

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                assert not self.task.done()
                await asyncio.sleep(0.005)

    def standing(self, times: int) -> bool:
        """It stands, for the so-manieth time."""
        return self.states.count(True) == times and self.states[-1]


@contextlib.contextmanager
def deployment(kind: str, directory: Path) -> Iterator[tuple[str, servers.Server, servers.Server]]:
    """URL, a server that clients are connected to, and one that publishes."""
    if kind == "single":
        with servers.running(directory) as server:
            yield f"redis://127.0.0.1:{server.port}", server, server
    elif kind == "sentinel":
        with servers.sentinel(directory) as (primary, _, watcher):
            yield f"redis+sentinel://127.0.0.1:{watcher.port}/gw", primary, primary
    else:
        with servers.cluster(directory) as nodes:
            owner = next(node for node in nodes if b"OK" in node.ask("SET", CHANNEL, "here"))
            yield (
                f"redis+cluster://127.0.0.1:{nodes[0].port}",
                owner,
                next(node for node in nodes if node is not owner),
            )


@pytest.mark.parametrize("kind", ["single", "sentinel", "cluster"])
async def test_a_channel_is_followed_and_again_after_it_was_cut(kind: str, tmp_path: Path) -> None:
    with deployment(kind, tmp_path) as (url, server, publisher):
        redis = connect(RedisSettings(url=Secret(url), min_replicas=0))
        listener = Listener(redis)
        await listener.until(lambda: listener.standing(1))
        publisher.ask("PUBLISH", CHANNEL, "1")
        await listener.until(lambda: listener.heard == ["1"])
        server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await listener.until(lambda: listener.standing(2))
        publisher.ask("PUBLISH", CHANNEL, "2")
        await listener.until(lambda: listener.heard == ["1", "2"])
        await end([listener.task])
        await redis.close()


async def test_a_server_that_hangs_is_left_and_followed_again_when_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It closes no connection, and neither does a network that lost one: it would be heard for
    ever.
    """
    monkeypatch.setattr(channel_module, "ASK_S", 0.05)
    asked: list[bytes] = []
    with servers.running(tmp_path) as server:
        async with servers.relay(server.port) as between:
            between.watch = lambda data: asked.append(data) if b"PING" in data else None
            redis = connect(RedisSettings(url=Secret(f"redis://127.0.0.1:{between.port}")))
            listener = Listener(redis)
            await listener.until(lambda: len(asked) > 2 * channel_module.MAX_SILENT)
            assert listener.states == [True], "where nothing happens it answers all the same"
            server.ask("PUBLISH", CHANNEL, "1")
            await listener.until(lambda: listener.heard == ["1"])
            between.delay_s = 60.0
            await listener.until(lambda: listener.states[-1] is False)
            between.delay_s = 0.0
            await listener.until(lambda: listener.standing(2))
            server.ask("PUBLISH", CHANNEL, "2")
            await listener.until(lambda: listener.heard == ["1", "2"])
            await end([listener.task])
            await redis.close()


async def test_while_the_store_is_away_the_channel_is_tried_again(tmp_path: Path) -> None:
    with servers.running(tmp_path) as server:
        async with servers.relay(server.port) as between:
            between.cut = True
            redis = connect(RedisSettings(url=Secret(f"redis://127.0.0.1:{between.port}")))
            listener = Listener(redis)
            await listener.until(lambda: listener.states == [False, False])
            between.cut = False
            await listener.until(lambda: listener.standing(1))
            await end([listener.task])
            await redis.close()
