"""Forks the workers, passes signals on and replaces the dead. It runs no event loop, and no thread
but the log's.

- A worker that ends is started again: after a second, and twice as long after each further failure,
  up to half a minute. The others go on.
- A worker whose event loop stands still is ended and replaced: the ingress keeps its connections,
  and would ask it again and again.
- Exit code 2 (the configuration is wrong) ends everything only before anything has served: at the
  first start an operator waits for the message. Later the same code means that a file is away for a
  moment, and whoever serves must go on serving.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.background import Backoff
from gateway.log import fields
from gateway.metrics import WORKER_EXITS, begin_at_zero, worker_died

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.runtime.service_manager import ServiceManager

_LOG = logging.getLogger(__name__)
STOP_TIMEOUT_S: Final = 10.0
RESTART_S: Final = 1.0
"""Before a worker that died is replaced; twice as long after each further failure, up to
``RESTART_LONGEST_S``.
"""
RESTART_LONGEST_S: Final = 30.0
HEALTHY_S: Final = 60.0
"""A worker that ran for so long has recovered from what its predecessor died of."""
STUCK_S: Final = 30.0
"""A worker that has served and gives no sign of life for so long is ended. Only time in which the
supervisor ran counts: a machine that was suspended ends nobody.
"""
_LOOK_S: Final = 0.05
_LONGEST_LOOK_S: Final = 1.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_STOPPING: Final = 0
"""Place in the shared page; those of the workers follow."""
_SERVES: Final = 1
"""Of a worker, in its place; 0 before it has served for the first time."""
_SERVED: Final = 2
_READY: Final = 1024
"""Where the flags of those begin who are ready; workers are 65 at most."""
_ALIVE: Final = 2048
"""Where the counters of their signs of life begin."""


class SharedFlags:
    """One page of memory that forked processes share. That all end, and that somebody has served,
    is never taken back.
    """

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def stopping(self) -> bool:
        """All workers end; otherwise one that ends leaves its sockets to the others."""
        return self._page[_STOPPING] == 1

    def stop(self) -> None:
        self._page[_STOPPING] = 1

    @property
    def any_started(self) -> bool:
        return any(self._page[_STOPPING + 1 : _READY])

    def serves(self, worker: int) -> bool:
        return self._page[_STOPPING + 1 + worker] == _SERVES

    def started(self, worker: int) -> None:
        self._page[_STOPPING + 1 + worker] = _SERVES

    def ready(self, worker: int) -> None:
        self._page[_READY + worker] = 1

    def all_ready(self, workers: int) -> bool:
        """Each has been ready once."""
        return all(self._page[_READY : _READY + workers])

    def alive(self, worker: int) -> None:
        """A sign of life."""
        self._page[_ALIVE + worker] = (self._page[_ALIVE + worker] + 1) % 256

    def signs_of_life(self, worker: int) -> int:
        """Another number than before, if there was one since."""
        return self._page[_ALIVE + worker]

    def ended(self, worker: int) -> None:
        """Said by the supervisor, once it knows."""
        if self.serves(worker):
            self._page[_STOPPING + 1 + worker] = _SERVED


@dataclass(slots=True)
class _Worker:
    number: int
    name: str
    backoff: Backoff = field(
        default_factory=lambda: Backoff(RESTART_S, RESTART_LONGEST_S, HEALTHY_S)
    )
    started_at: float = 0.0
    due_at: float = 0.0
    """Monotonic seconds; meaningful while it does not run."""
    signs: int = 0
    """As ``SharedFlags.signs_of_life`` had it last."""
    silent_s: float | None = None
    """Since its last sign of life; None before its first."""
    is_stuck: bool = False


class Supervisor:
    """``child`` is called in the forked process and never returns."""

    def __init__(
        self,
        names: Sequence[str],
        flags: SharedFlags,
        child: Callable[[int], None],
        manager: ServiceManager,
    ) -> None:
        self._manager = manager
        self._status = f"{len(names)} workers serve"
        self._waiting = [_Worker(number, name) for number, name in enumerate(names)]
        begin_at_zero(WORKER_EXITS, names)
        self._running: dict[int, _Worker] = {}
        self._flags = flags
        self._child = child
        self._ends_at = float("inf")
        self._failed = False

    def run(self, run_maintenance: Callable[[], None]) -> int:
        """Until all have ended by SIGTERM or SIGINT, or could not start. ``run_maintenance`` is
        called all the time meanwhile. Exit code 0 or 2.
        """
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        signal.signal(signal.SIGINT, lambda *_: self._stop())
        signal.signal(signal.SIGHUP, lambda *_: self._read_again())
        has_announced, look_time = False, time.monotonic()
        while self._running or (self._waiting and not self._flags.stopping):
            now = time.monotonic()
            self._end_stuck(min(now - look_time, _LONGEST_LOOK_S))
            look_time = now
            if self._flags.stopping:
                if now > self._ends_at:
                    self._pass_on(signal.SIGKILL)
            else:
                run_maintenance()
                for worker in [each for each in self._waiting if each.due_at <= now]:
                    self._start(worker)
                if not has_announced and self._flags.all_ready(
                    len(self._waiting) + len(self._running)
                ):
                    has_announced = True
                    self._manager.ready(self._status)
            self._manager.alive()
            self._reap()
            time.sleep(_LOOK_S)
        return 2 if self._failed else 0

    def _start(self, worker: _Worker) -> None:
        # A signal that came between the fork and what follows would reach neither the worker nor
        # anybody who knows its number.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        worker.signs, worker.silent_s = self._flags.signs_of_life(worker.number), None
        worker.is_stuck = False
        try:
            pid = os.fork()
        except OSError as error:
            # No process or no memory is left: whoever runs goes on, and this one is tried again.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            wait_s = worker.backoff.failed(ran_s=0.0)
            worker.due_at = time.monotonic() + wait_s
            _LOG.error(
                "worker_not_started",
                extra=fields(
                    worker=worker.name,
                    error=error.strerror,
                    failures=worker.backoff.failures,
                    again_in_s=wait_s,
                ),
            )
            return
        if pid == 0:
            for signum in (signal.SIGTERM, signal.SIGINT):
                signal.signal(signum, signal.SIG_DFL)
            # Nothing to read again yet; by default it would end the process.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            self._child(worker.number)
        worker.started_at = time.monotonic()
        self._waiting.remove(worker)
        self._running[pid] = worker
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if self._flags.stopping:
            # Another thread of this process took the signal, which blocks none.
            self._pass_on(signal.SIGTERM)

    def _end_stuck(self, passed_s: float) -> None:
        for pid, worker in self._running.items():
            signs = self._flags.signs_of_life(worker.number)
            if signs != worker.signs:
                worker.signs, worker.silent_s = signs, 0.0
            elif worker.silent_s is not None and not worker.is_stuck:
                worker.silent_s += passed_s
                if worker.silent_s >= STUCK_S:
                    worker.is_stuck = True
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def _stop(self) -> None:
        """Also within a signal handler."""
        if not self._flags.stopping:
            self._flags.stop()
            self._ends_at = time.monotonic() + STOP_TIMEOUT_S
            self._manager.stopping()
        self._pass_on(signal.SIGTERM)

    def _read_again(self) -> None:
        self._manager.reloading()
        self._pass_on(signal.SIGHUP)
        self._manager.ready(self._status)

    def _pass_on(self, signum: int) -> None:
        for pid in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)

    def _reap(self) -> None:
        # Each by its own number: the embedded store is a child too, and its end is its owner's to
        # read.
        for pid in list(self._running):
            child, status = os.waitpid(pid, os.WNOHANG)
            if child:
                self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, code: int) -> None:
        worker = self._running.pop(pid)
        worker_died(pid)
        self._flags.ended(worker.number)
        if self._flags.stopping:
            return
        if code == 2 and not self._flags.any_started:
            _LOG.critical(
                "worker_died",
                extra=fields(
                    worker=worker.name,
                    exit_code=code,
                    detail="the configuration is wrong: nothing is started",
                ),
            )
            self._failed = True
            self._stop()
            return
        ran_s = time.monotonic() - worker.started_at
        wait_s = worker.backoff.failed(ran_s=ran_s)
        worker.due_at = time.monotonic() + wait_s
        self._waiting.append(worker)
        WORKER_EXITS.labels(worker.name).inc()
        _LOG.error(
            "worker_died",
            extra=fields(
                worker=worker.name,
                exit_code=code,
                cause=_STUCK if worker.is_stuck else _cause(code),
                ran_s=round(ran_s, 1),
                failures=worker.backoff.failures,
                again_in_s=wait_s,
            ),
        )


_STUCK: Final = (
    f"its event loop stood still for {STUCK_S:.0f} s, and it was ended; please report a fault"
)


def _cause(code: int) -> str:
    """What an exit code tells of itself; the worker's own last record says more, where it wrote
    one.
    """
    if code < 0:
        name = (
            signal.Signals(-code).name if -code in signal.Signals._value2member_map_ else str(-code)
        )
        return f"killed by {name}" + (
            " (the kernel does so where memory is short)" if -code == signal.SIGKILL else ""
        )
    return {
        0: "ended by itself",
        2: "the configuration, the key ring or a secret cannot be read: see `config_invalid` above",
    }.get(code, "a fault: see `stopped` or `worker_failed` above")


__all__ = ["SharedFlags", "Supervisor"]
