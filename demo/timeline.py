"""From the click in an IdP's console to the last replica of the gateway: the time line that the
console shows.

Clicks are heard on the directory's own seam; revocations are read from the gateway's admin API as
server-sent events. A click and a revocation belong together if the revocation names the person by
any name that the IdP knows, and came after the click.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from demo.idp.console import Panel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from demo.idp.directory import Directory, DirectoryEvent

KEPT = 20
RECONNECT_S = 1.0
MATCH_S = 60.0
"""A revocation that arrives later than this after a click is not counted as its effect."""


@dataclass(slots=True)
class Click:
    """What an administrator did, and the revocations that followed, by id."""

    at: float
    what: str
    names: frozenset[str]
    revocations: dict[str, dict[str, Any]] = field(default_factory=dict)

    def matches(self, revocation: dict[str, Any]) -> bool:
        named = {str(value) for value in revocation["who"].values()}
        return bool(named & self.names) and 0 <= revocation["received_at"] - self.at <= MATCH_S


class TimeLine:
    """One for each console. ``admin_url`` and ``key`` are those of the gateway's admin listener."""

    def __init__(
        self, directory: Directory, http: ClientSession, *, admin_url: str, key: str
    ) -> None:
        self.clicks: deque[Click] = deque(maxlen=KEPT)
        self.connected = asyncio.Event()
        """The stream is open: a revocation from now on is not missed."""
        self._http = http
        self._url = f"{admin_url}/admin/v1/revocations"
        self._headers = {"Authorization": f"Bearer {key}"}
        directory.listeners.append(self._on_event)

    async def _on_event(self, event: DirectoryEvent) -> None:
        person, group = event.person, event.group
        about = " / ".join(
            name for name in (person.email if person else "", group.name if group else "") if name
        )
        names = {person.id, person.email} if person else set[str]()
        if group is not None and person is None:
            names = {group.id, group.name}
        self.clicks.appendleft(
            Click(event.at, f"{event.change.value.replace('_', ' ')}: {about}", frozenset(names))
        )

    async def panel(self) -> Panel:
        """Newest first: what was clicked, and how long after the click each stage was reached."""
        await self._look_again()
        rows: list[tuple[str, ...]] = [("Click", "Received", "Durable", "Replicas", "Acknowledged")]
        for click in self.clicks:
            rows += [
                (click.what, *_stages(click, revocation))
                for revocation in click.revocations.values()
            ]
            if not click.revocations:
                rows.append((click.what, "–", "–", "–", "–"))
        return Panel("timeline", "From click to the last replica (ms after the click)", tuple(rows))

    async def _look_again(self) -> None:
        """The stream tells a revocation when it is durable; the replicas confirm a moment later."""
        for click in self.clicks:
            for revocation in [
                r for r in click.revocations.values() if r["acknowledged_ms"] is None
            ]:
                with contextlib.suppress(ClientError, TimeoutError, ValueError):
                    async with self._http.get(
                        f"{self._url}/{revocation['id']}",
                        headers=self._headers,
                        timeout=ClientTimeout(total=2),
                    ) as response:
                        if response.status == 200:
                            click.revocations[revocation["id"]] = await response.json()

    @asynccontextmanager
    async def running(
        self, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> AsyncIterator[None]:
        """Follow the gateway's stream; a gateway that is away is asked again."""
        task = asyncio.get_running_loop().create_task(self._follow(sleep))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _follow(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        while True:
            try:
                timeout = ClientTimeout(total=None, sock_read=60)
                async with self._http.get(
                    f"{self._url}/stream", headers=self._headers, timeout=timeout
                ) as response:
                    async for line in response.content:
                        if response.status == 200:
                            self.connected.set()
                        if response.status == 200 and line.startswith(b"data: "):
                            self.note(json.loads(line.removeprefix(b"data: ")))
            except (ClientError, TimeoutError, ValueError):
                pass  # The gateway restarts, or is not there yet: both are normal in a demo.
            await sleep(RECONNECT_S)

    def note(self, revocation: dict[str, Any]) -> None:
        """Put a revocation, or its newer state, under the click that caused it."""
        for click in self.clicks:
            if click.matches(revocation):
                click.revocations[revocation["id"]] = revocation
                return


def _stages(click: Click, revocation: dict[str, Any]) -> tuple[str, ...]:
    received_ms = (revocation["received_at"] - click.at) * 1000

    def after_click(value: float | None) -> str:
        return "–" if value is None else f"{received_ms + value:.0f}"

    replicas = ", ".join(
        f"{entry['replica']}: {after_click(entry['confirmed_ms'])}"
        for entry in revocation["replicas"]
    )
    return (
        f"{received_ms:.0f}",
        after_click(revocation["durable_ms"]),
        replicas or "–",
        after_click(revocation["acknowledged_ms"]),
    )
