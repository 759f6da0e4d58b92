"""Who opened the SQLite connection that nobody closed.

The garbage collector finds such a connection in some later test, which then fails. Its warning
names the test and the code that opened it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from aiosqlite import Connection
from greenlet import getcurrent  # type: ignore[import-untyped]  # it ships no types

if TYPE_CHECKING:
    from types import FrameType

ROOT: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120 - of every frame: as text
FOLDERS: Final = tuple(ROOT + folder for folder in ("gateway", "demo", "tests"))


def opener() -> str:
    """The test, the task, and the lines of ours that lead here, the innermost first."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    lines: list[str] = []
    # SQLAlchemy asks from a greenlet, whose stack ends where it was started.
    greenlet: Any = getcurrent()
    frame: FrameType | None = sys._getframe()
    while greenlet is not None:
        while frame is not None:
            path = frame.f_code.co_filename
            if path.startswith(FOLDERS) and path != __file__:
                lines.append(f"{path.removeprefix(ROOT)}:{frame.f_lineno}")
            frame = frame.f_back
        greenlet = greenlet.parent
        frame = greenlet.gr_frame if greenlet is not None else None
    where = " < ".join(lines) or "no code of ours"
    coroutine = getattr(task and task.get_coro(), "__qualname__", "no task")
    return f"{os.environ.get('PYTEST_CURRENT_TEST', 'no test')}, in {coroutine}: {where}"


def pytest_configure() -> None:
    begin = Connection.__init__

    @wraps(begin)
    def remember(self: Any, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self.opener = opener()

    Connection.__init__ = remember  # type: ignore[method-assign]  # for its warning alone
    Connection.__repr__ = lambda self: f"<SQLite, opened by {self.opener}>"  # type: ignore[method-assign,attr-defined]  # as above
