"""Redis Cluster: which node holds a key now, learned again whenever a node does not answer or names
another one.

redis-py's ``NodesManager`` keeps the map of slots and its ``ClusterNode`` the connections. What is
added is when to ask for the map again: its own client does so for single commands only, not for
several on one connection, and each time makes every connection to every node anew.
"""

from __future__ import annotations

import asyncio
import random
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio.cluster import PipelineCommand
from redis.exceptions import (
    ClusterDownError,
    MaxConnectionsError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio.cluster import ClusterNode, RedisCluster
    from redis.exceptions import MovedError

REFRESH_S: Final = 0.1
"""The map is asked for no more often than this, however many commands fail: a part of the time that
a fail-over takes.
"""
ASK_S: Final = 0.5
"""How long one node may take to tell the map before another is asked."""
HALF_MOVED: Final = "ttempted to access a non local key"
"""What a script is told in a slot of which a part has gone to another node: by Redis after `Script
a…`, by Valkey after `A…`.
"""

DIED: Final = (RedisConnectionError, AttributeError, RuntimeError)
"""A connection that has died is found to be so. AttributeError: redis-py closes connections under
the commands of others (``'NoneType' … 'writelines'``). RuntimeError: what uvloop says of writing to
a connection that was reset, or of TLS and closed.
"""
NO_ANSWER: Final = (
    *DIED,
    RedisTimeoutError,
    ClusterDownError,
    RedisClusterException,
    OSError,
    TimeoutError,
)
"""The node is gone, does not answer, or says that the Cluster has nobody for the slot."""


def half_moved(error: object) -> bool:
    """Whether the slot is being moved: part of its keys is on another node, so that no node can run
    the script.
    """
    return isinstance(error, TryAgainError) or (
        isinstance(error, RedisError) and HALF_MOVED in str(error)
    )


class Topology:
    """The map of slots of one client."""

    def __init__(self, client: RedisCluster, seeds: Sequence[tuple[str, int]]) -> None:
        """``seeds`` are asked where no node that was known answers: names stay when all addresses
        have changed.
        """
        self._client = client
        self._seeds = list(seeds)
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = -inf

    async def known(self) -> None:
        """Until there is a map."""
        if not self._client.nodes_manager.slots_cache:
            await self.refresh()

    async def node(self, key: str) -> ClusterNode:
        """The primary of the key's slot, as far as known. Raises ``SlotNotCoveredError`` where no
        node has it.
        """
        if self.name_of(key) is None:
            await self.refresh()
        return self.known_node(key)

    def known_node(self, key: str) -> ClusterNode:
        """The same without asking."""
        return self._client.nodes_manager.get_node_from_slot(self._client.keyslot(key))

    def name_of(self, key: str) -> str | None:
        """Address of the primary of the key's slot; None where none is known."""
        nodes = self._client.nodes_manager.slots_cache.get(self._client.keyslot(key))
        return nodes[0].name if nodes else None

    async def moved(self, error: MovedError) -> None:
        """A node said where the slot is. The whole map is asked for as well: after a fail-over
        every slot of the node has moved.
        """
        await self.refresh()
        node = self._client.nodes_manager.slots_cache.get(error.slot_id)
        if not node or (node[0].host, node[0].port) != (error.host, error.port):
            await self._client.nodes_manager.move_slot(error)

    async def at(self, host: str, port: int) -> ClusterNode | None:
        """The node of this address; None where the map does not have it."""
        manager = self._client.nodes_manager
        node = manager.get_node(host=host, port=port)
        if node is None:
            await self.refresh()
            node = manager.get_node(host=host, port=port)
        return node

    async def refresh(self, failed: ClusterNode | None = None) -> None:
        """Ask for the map, at most every ``REFRESH_S``, once for everybody who wants it. ``failed``
        is asked last. Raises what redis-py raises where no node answers.
        """
        if self._refreshing is None or self._refreshing.done():
            if monotonic() - self._refreshed_at < REFRESH_S:
                return
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh(failed))
            self._refreshing.add_done_callback(self._refreshed)
        await asyncio.shield(self._refreshing)

    def _refreshed(self, task: asyncio.Task[None]) -> None:
        self._refreshed_at = monotonic()
        if not task.cancelled():
            task.exception()  # those who wait are told; if they have gone away, nobody needs to be

    async def _refresh(self, failed: ClusterNode | None) -> None:
        manager = self._client.nodes_manager
        name = None if failed is None else failed.name
        nodes = list(manager.startup_nodes.values()) if manager.slots_cache else []
        random.shuffle(nodes)
        for node in sorted(nodes, key=lambda node: node.name == name):
            try:
                async with asyncio.timeout(ASK_S):
                    rows = await node.execute_command("CLUSTER SLOTS")
            except (RedisError, *NO_ANSWER):
                continue
            if self._is_known(rows, node):
                return  # taking over a map makes all connections anew
            break
        try:
            await manager.initialize(
                additional_startup_nodes_info=self._seeds, last_failed_node_name=name
            )
        except IndexError as error:
            # redis-py wants a primary, and a Cluster that was never given its slots has none.
            msg = "no slot has a primary"
            raise ClusterDownError(msg) from error

    def _is_known(self, rows: Sequence[Sequence[Any]], teller: ClusterNode) -> bool:
        """Every slot is where it was: 16,384 comparisons, about a millisecond."""
        manager = self._client.nodes_manager
        slots = manager.slots_cache
        for first, last, (host, port, *_), *_ in rows:
            node = manager.get_node(
                host=(host.decode() if isinstance(host, bytes) else host) or teller.host, port=port
            )
            if node is None or any(
                slots.get(slot, (None,))[0] is not node for slot in range(first, last + 1)
            ):
                return False
        return True

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)


async def on_one_connection(node: ClusterNode, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """All of them on one connection of the node; errors of the server in place. Raises where the
    connection did not live to the end.
    """
    batch = [PipelineCommand(number, *words) for number, words in enumerate(commands)]
    try:
        await node.execute_pipeline(batch)
        for command in batch:
            if isinstance(command.result, NO_ANSWER):
                raise command.result
    except (*DIED, OSError) as error:
        if not isinstance(error, MaxConnectionsError):
            # The others were made to a server that is gone too, and each would cost somebody an
            # attempt.
            for connection in tuple(node._free):  # noqa: SLF001 - there is no other way to the idle ones but to cut them under somebody's command
                connection.mark_for_reconnect()  # type: ignore[no-untyped-call]  # redis-py has no types there
        raise
    return [command.result for command in batch]
