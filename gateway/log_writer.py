"""Lines to a descriptor that may be slow, stuck or gone, written by a thread of their own: no
request ever waits for the reader of a log.

Rules:
- ``put`` never blocks and never fails. What does not fit is dropped and counted, and the log says
  how many lines are missing, at the place where they are missing.
- Order is kept. A line that fits into ``PIPE_BUF`` is never mixed with another process's: writes of
  that length are atomic (POSIX, ``write``).
- Warnings and errors have room that lines of less weight cannot take.
- An end waits for the reader for ``FLUSH_S`` and no longer.
- A forked process makes a writer of its own: threads do not survive ``fork``.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import select
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_WAITING: Final = 8_000_000
"""Characters that wait for the reader, in each process: about 20,000 checks."""
RESERVED: Final = 1_000_000
"""Of those, for warnings and worse: a stuck reader that comes back finds the reason for it, and not
the checks alone.
"""
FLUSH_S: Final = 1.0
"""How long an end waits for the reader. An orchestrator kills what takes longer to end than it
allows.
"""
LINGER_S: Final = 0.01
"""After a write the next lines are collected: under load one write carries many, and the thread
asks for the interpreter 100 times a second at most.
"""
_LOOKS: Final = 100
"""So often the thread looks for the next line by itself before it waits to be woken: for a
second.
"""
PIPE_BUF: Final = 4096
"""Of Linux (``limits.h``): what is longer may be mixed with lines of other processes on one
pipe.
"""
_WAIT_MS: Final = 1000


class LogWriter:
    """``dropped`` is told of each number of lines that were lost; ``notice`` makes the line that
    says how many are missing.
    """

    def __init__(
        self, descriptor: int, *, dropped: Callable[[int], None], notice: Callable[[int], str]
    ) -> None:
        self._descriptor = descriptor
        self._tell = dropped
        self._notice = notice
        self._queue: queue.SimpleQueue[str | int] = queue.SimpleQueue()
        self._lock = threading.RLock()
        """Taken again by its holder where the interpreter collects garbage meanwhile and a
        finalizer logs (a task that nobody awaited).
        """
        self._put = 0
        """Characters that were accepted so far; changed under the lock."""
        self._done = 0
        """Characters that were written or given up so far; changed by the thread alone."""
        self._missing = 0
        """Lines that were dropped and are not told yet."""
        self._flows = True
        """Whether the last write succeeded: where none does, there is no place to tell of what is
        missing.
        """
        self._given_up = False
        # Signals are the main thread's: it blocks them where they must wait.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        threading.Thread(target=self._run, name="log", daemon=True).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def put_lines(self, lines: Sequence[str]) -> None:
        """Each with its line end, none of them important. As many as fit are written together, and
        stay unmixed.
        """
        together: list[str] = []
        size = 0
        for line in lines:
            length = len(line) if line.isascii() else PIPE_BUF
            if size + length > PIPE_BUF and together:
                self.put("".join(together), important=False)
                together, size = [], 0
            together.append(line)
            size += length
        if together:
            self.put("".join(together), important=False)

    def put(self, text: str, *, important: bool) -> None:
        """``text`` with its line ends."""
        size = len(text)
        with self._lock:
            backlog = self._put - self._done
            if backlog and backlog + size > (MAX_WAITING if important else MAX_WAITING - RESERVED):
                line_count = _lines(text)
                self._missing += line_count
            else:
                line_count = 0
                if self._missing and self._flows:
                    self._say_missing()
                self._put += size
                self._queue.put(text)
        if line_count:
            self._tell(line_count)

    def flush(self) -> bool:
        """Whether all was written within ``FLUSH_S``. Where it was not, the next call does not wait
        again.
        """
        ends = time.monotonic() + (0.0 if self._given_up else FLUSH_S)
        while self._done < self._put:
            if time.monotonic() >= ends:
                self._given_up = True
                return False
            time.sleep(0.002)
        self._given_up = False
        return True

    def _say_missing(self) -> None:
        """With the lock held. The number takes its place in the queue."""
        count, self._missing = self._missing, 0
        self._queue.put(count)

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            size = self._bytes(batch[0])
            while (item := self._next()) is not None:
                more = self._bytes(item)
                if size + more > PIPE_BUF:
                    self._write(batch)
                    batch, size = [], 0
                batch.append(item)
                size += more
            self._write(batch)
            if self._missing and self._flows and self._done == self._put:
                # It flows again, and nobody has logged anything since.
                with self._lock:
                    if self._missing:
                        self._say_missing()
            # While lines come, whoever puts one wakes nobody: that would cost more than the line.
            for _ in range(_LOOKS):
                time.sleep(LINGER_S)
                if not self._queue.empty():
                    break

    def _next(self) -> str | int | None:
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            return None

    def _bytes(self, item: str | int) -> int:
        """At most, and in most cases exactly: a line that is not ASCII is written by itself."""
        return len(item) if isinstance(item, str) and item.isascii() else PIPE_BUF

    def _write(self, batch: list[str | int]) -> None:
        text = "".join([item if isinstance(item, str) else self._notice(item) for item in batch])
        view = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            while view:
                try:
                    view = view[os.write(self._descriptor, view) :]
                except BlockingIOError:
                    # Somebody who shares the descriptor made it non-blocking.
                    poller = select.poll()
                    poller.register(self._descriptor, select.POLLOUT)
                    poller.poll(_WAIT_MS)
            self._flows = True
        except OSError:
            # The reader is gone, or the disk is full: these lines are lost, and the next ones are
            # tried.
            lines = sum(_lines(item) for item in batch if isinstance(item, str))
            with self._lock:
                self._flows = False
                self._missing += lines + sum(item for item in batch if isinstance(item, int))
            self._tell(lines)
        self._done += sum(len(item) for item in batch if isinstance(item, str))


def _lines(text: str) -> int:
    return text.count("\n") or 1


class BackgroundHandler(logging.Handler):
    """Of ``logging``; its records are formatted by whoever logs and written by the writer's
    thread.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        dropped: Callable[[int], None],
        notice: Callable[[int], logging.LogRecord],
    ) -> None:
        super().__init__()
        self.writer = LogWriter(
            descriptor, dropped=dropped, notice=lambda count: self.format(notice(count)) + "\n"
        )

    def createLock(self) -> None:  # noqa: N802 - logging's
        """None: the writer has its own."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """As the library's, which from Python 3.13 on takes the lock without asking whether there
        is one. A filter may give another record in the place of this one, from 3.12 on.
        """
        result: object = self.filter(record)
        if result:
            self.emit(result if isinstance(result, logging.LogRecord) else record)
        return bool(result)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own rule: a record that cannot be formatted stops nobody
            self.handleError(record)
            return
        self.writer.put(text + "\n", important=record.levelno >= logging.WARNING)

    def flush(self) -> None:
        self.writer.flush()


class BackgroundStderr(io.TextIOBase):
    """For ``sys.stderr``: what libraries and the interpreter itself print must not wait for the
    reader either.
    """

    def __init__(self, writer: LogWriter, descriptor: int) -> None:
        self._writer, self._descriptor = writer, descriptor

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed declares an attribute
        return "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        self._writer.put(text, important=True)
        return len(text)


__all__ = ["BackgroundHandler", "BackgroundStderr", "LogWriter"]
