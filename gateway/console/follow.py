"""A part of a page that is drawn again whenever it changes, as server-sent events.

Rules:
- A stream ends after ``STREAM_S``, and the browser asks again, through the check: whoever was
  revoked follows nothing for longer.
- A browser that takes nothing in loses its place; one person has a few, a process a hundred.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from gateway.background import end
from gateway.console.outcome import FILE_HEADERS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping

    from gateway.console.outcome import Followed

STREAM_S: Final = 60.0
KEEP_ALIVE_S: Final = 15.0
"""Proxies cut a silent response after 30 to 60 s."""
WRITE_TIMEOUT_S: Final = 15.0
MAX_STREAMS: Final = 100
MAX_STREAMS_OF_A_PERSON: Final = 5
END: Final = b"event: done\ndata: .\n\n"
"""There is nothing more to follow: the whole page is to be looked at again."""


class Followers:
    """Streams of this process."""

    def __init__(self, *, stream_s: float = STREAM_S) -> None:
        self._open: Counter[str] = Counter()
        self._closing = asyncio.Event()
        self._stream_s = stream_s

    def close(self) -> None:
        self._closing.set()

    async def serve(
        self,
        request: web.Request,
        followed: Followed,
        person: str,
        draw: Callable[[Mapping[str, object]], str],
    ) -> web.StreamResponse:
        """Until there is no more, the time is up or the browser is gone. ``draw``: one state as
        HTML. 204 where there is no place: htmx leaves the page alone.
        """
        with self._place(person) as has_place:
            if not has_place:
                return web.Response(status=204, headers=dict(FILE_HEADERS))
            headers = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
            response = web.StreamResponse(headers={**FILE_HEADERS, **headers})
            with contextlib.suppress(ConnectionResetError):
                await response.prepare(request)
                async with contextlib.aclosing(self._messages(followed, draw)) as messages:
                    async for message in messages:
                        await _write(response, message)
            return response

    @contextlib.contextmanager
    def _place(self, person: str) -> Iterator[bool]:
        if self._open[person] >= MAX_STREAMS_OF_A_PERSON or self._open.total() >= MAX_STREAMS:
            yield False
            return
        self._open[person] += 1
        try:
            yield True
        finally:
            self._open[person] -= 1
            if not self._open[person]:
                del self._open[person]

    async def _messages(
        self, followed: Followed, draw: Callable[[Mapping[str, object]], str]
    ) -> AsyncGenerator[bytes, None]:
        """Events and, where nothing changes, comments."""
        loop = asyncio.get_running_loop()
        until, last = loop.time() + self._stream_s, ""
        closing = asyncio.create_task(self._closing.wait())
        upcoming: asyncio.Task[Mapping[str, object] | None] | None = None
        try:
            while (left := until - loop.time()) > 0:
                upcoming = upcoming or asyncio.create_task(_next(followed.states))
                waiting: set[asyncio.Task[Any]] = {upcoming, closing}
                await asyncio.wait(
                    waiting, timeout=min(left, KEEP_ALIVE_S), return_when=asyncio.FIRST_COMPLETED
                )
                if closing.done():
                    return
                if not upcoming.done():
                    yield b": still here\n\n"
                    continue
                state, upcoming = upcoming.result(), None
                if state is None:
                    yield END
                    return
                text = draw(state)
                if text != last:
                    last = text
                    yield "".join(f"data: {line}\n" for line in text.splitlines()).encode() + b"\n"
        finally:
            await end([task for task in (closing, upcoming) if task is not None])


async def _next(states: AsyncIterator[Mapping[str, object]]) -> Mapping[str, object] | None:
    """None: there is no more."""
    return await anext(states, None)


async def _write(response: web.StreamResponse, data: bytes) -> None:
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await response.write(data)
    except TimeoutError:
        raise ConnectionResetError from None
