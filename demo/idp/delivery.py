"""How events leave an IdP: in the background, and as badly as the switches say.

Both vendors promise little: at least once, in no order, perhaps late, perhaps never. The switches
make each of these happen on purpose; randomness and waiting are arguments.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import ClientError, ClientSession, ClientTimeout

if TYPE_CHECKING:
    from demo.clock import Clock

THROTTLED_S = 20
"""What a throttled caller is told to wait."""
Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class Switches:
    """What goes wrong with the next events."""

    loss: float = 0.0
    """Share of events that are never sent, 0 to 1."""
    delay_s: float = 0.0
    duplicate: bool = False
    reorder: bool = False
    """Events wait until a second one arrives and leave in the opposite order."""
    stale_s: float = 0.0
    """Reads of the API show what was so long ago."""
    throttled: int = 0
    """How many of the next calls of the API are answered 429, with when to come back
    (``THROTTLED_S``).
    """

    def take_throttle(self) -> bool:
        """Whether this call is one of them."""
        if not self.throttled:
            return False
        self.throttled -= 1
        return True


@dataclass(frozen=True, slots=True)
class Sent:
    """One attempt, as the console shows it. ``status`` is 0 where no answer came."""

    at: float
    what: str
    status: int
    took_ms: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Post:
    """A request to make; a fresh one for each duplicate, so that envelopes can differ."""

    url: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


Compose = Callable[[], Post]


@dataclass(frozen=True, slots=True)
class Retry:
    """Whether a failed attempt is repeated, and after which pauses."""

    timeout_s: float
    pauses_s: tuple[float, ...]
    repeat: Callable[[int], bool]
    """Given the status, 0 where no answer came."""


class Outbox:
    """Sends posts in the background; ``idle`` waits until nothing is under way."""

    def __init__(
        self,
        http: ClientSession,
        retry: Retry,
        *,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
        seed: int = 1,
    ) -> None:
        self.switches = Switches()
        self.sent: list[Sent] = []
        self.lost: list[str] = []
        self._http = http
        self._retry = retry
        self._clock = clock
        self._sleep = sleep
        self._random = random.Random(seed)
        self._held: list[tuple[str, Compose]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, what: str, compose: Compose) -> None:
        """Take an event; the caller does not wait for it."""
        if self._random.random() < self.switches.loss:
            self.lost.append(what)
        elif self.switches.reorder:
            self._held.append((what, compose))
            if len(self._held) > 1:
                self.release()
        else:
            self._start([(what, compose)])

    def release(self) -> None:
        """Send what waits, the last first, one after the other."""
        held, self._held = self._held[::-1], []
        self._start(held)

    async def idle(self) -> None:
        """Wait until everything released has been answered or given up."""
        while self._tasks:
            await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, events: list[tuple[str, Compose]]) -> None:
        task = asyncio.get_running_loop().create_task(self._send_all(events))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_all(self, events: list[tuple[str, Compose]]) -> None:
        if self.switches.delay_s:
            await self._sleep(self.switches.delay_s)
        for what, compose in events:
            for _ in range(2 if self.switches.duplicate else 1):
                await self._send(what, compose())

    async def _send(self, what: str, post: Post) -> None:
        for attempt in range(1, len(self._retry.pauses_s) + 2):
            status = await self._attempt(what, post, attempt)
            if not self._retry.repeat(status) or attempt > len(self._retry.pauses_s):
                return
            await self._sleep(self._retry.pauses_s[attempt - 1])

    async def _attempt(self, what: str, post: Post, attempt: int) -> int:
        began, loop = self._clock(), asyncio.get_running_loop()
        start = loop.time()
        try:
            timeout = ClientTimeout(total=self._retry.timeout_s)
            async with self._http.post(
                post.url,
                data=post.body,
                headers=post.headers,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                await answer.read()
                status = answer.status
        except (ClientError, TimeoutError):
            status = 0
        self.sent.append(Sent(began, what, status, (loop.time() - start) * 1000, attempt))
        return status
