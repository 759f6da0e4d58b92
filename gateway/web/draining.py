"""The last answers of a process that ends: each says ``Connection: close``.

An ingress keeps its connections to the check listener. One that is closed under a request costs that request its answer, and
fails closed; one whose last answer said so is simply not used again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.web import StreamResponse
    from aiohttp.web_request import BaseRequest

QUIET_S: Final = 0.05
"""Nobody asked for so long: the connections that are left are idle ones."""
LOOKS: Final = 20
"""At most one second: an orchestrator waits no longer than it must."""


class Draining:
    """Around the check listener's handler."""

    def __init__(self, handler: Callable[[BaseRequest], Awaitable[StreamResponse]]) -> None:
        self._handler = handler
        self._ending = False
        self._asked = 0

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        self._asked += 1
        response = await self._handler(request)
        if self._ending:
            response.force_close()
        return response

    async def drain(self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Before the listener closes. Returns when it has become quiet."""
        self._ending = True
        for _ in range(LOOKS):
            before = self._asked
            await sleep(QUIET_S)
            if self._asked == before:
                return
