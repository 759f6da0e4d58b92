"""Operations that take longer than a page: they go on while the browser looks at their run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.background import end

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.admin.in_process import ApiAnswer

PATIENCE_S: Final = 2.0
"""How long a form waits for the end before the browser is sent to look."""


class Work:
    """Operations in progress. A process that stops leaves them to the journal's recovery."""

    def __init__(self, *, patience_s: float = PATIENCE_S) -> None:
        self._tasks: set[asyncio.Task[ApiAnswer]] = set()
        self._patience_s = patience_s

    async def start(self, operation: Coroutine[object, object, ApiAnswer]) -> ApiAnswer | None:
        """Its answer, or None if it goes on."""
        task = asyncio.create_task(operation)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task}, timeout=self._patience_s)
        return task.result() if task.done() else None

    async def end(self) -> None:
        await end(list(self._tasks))
