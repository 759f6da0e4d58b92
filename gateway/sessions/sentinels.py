"""Which server is the primary, as the sentinels say: all are asked at once, and those who want to
know at the same time share one answer.

redis-py's own ``Sentinel`` asks one after the other and moves whoever knew to the front of its
list. Two that do so at the same time write one sentinel over another, which is then lost for good:
a process that has only one left waits for that one's view of a fail-over, and finds no primary when
it is gone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.exceptions import RedisError

from gateway.http.connection_error import at
from gateway.sessions.cluster import NO_ANSWER
from gateway.sessions.redis_error import reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

OTHERS_S: Final = 0.1
"""How long the others are waited for once one sentinel names a primary: one that was cut off from
them names the old one, with a lower epoch.
"""


class Sentinels(Sentinel):
    """Every sentinel of ``redis.url``, in the order given there, for as long as the process
    lives.
    """

    def __init__(self, hosts: Sequence[tuple[str, int]], **options: Any) -> None:
        super().__init__(hosts, **options)  # type: ignore[no-untyped-call]  # redis-py's
        self._names = [at(host, port) for host, port in hosts]
        self._asking: dict[str, asyncio.Task[tuple[str, int]]] = {}

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the primary that a sentinel with the newest configuration names. Raises
        ``MasterNotFoundError`` where none names one.
        """
        query = self._asking.get(service_name)
        if query is None or query.done():
            query = self._asking[service_name] = asyncio.create_task(self._ask_all(service_name))
            # Everybody who waits may have gone away by the time that nobody answers.
            query.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(query)

    async def _ask_all(self, service: str) -> tuple[str, int]:
        names = {
            asyncio.ensure_future(_masters(sentinel)): name
            for sentinel, name in zip(self.sentinels, self._names, strict=False)
        }
        pending = set(names)
        states: list[dict[str, Any]] = []
        silent: list[str] = []
        try:
            while pending:
                done, pending = await asyncio.wait(
                    pending,
                    timeout=OTHERS_S if states else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    break
                for task in done:
                    try:
                        state = task.result().get(service)
                    except (RedisError, *NO_ANSWER) as error:
                        silent.append(f"{names[task]}: {reason(error)}")
                        continue
                    if state and self.check_master_state(state, service):
                        states.append(state)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        if not states:
            msg = (
                f"of {len(self.sentinels)} sentinels none names a primary of {service!r}; "
                f"without an answer: {'; '.join(silent) or 'none'}"
            )
            raise MasterNotFoundError(msg)
        newest = max(states, key=lambda state: int(state["config-epoch"]))
        return str(newest["ip"]), int(newest["port"])


async def _masters(sentinel: Redis) -> dict[str, dict[str, Any]]:
    return cast("dict[str, dict[str, Any]]", await sentinel.sentinel_masters())
