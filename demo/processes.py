"""Child processes on loopback: a port for each, readiness, and an end with their parent."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import random
import signal
import socket
import sys
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

START_TIMEOUT_S = 150.0
"""Of a process that lives: one that ends is noticed at once. On two cores with twenty processes at
work a gateway took more than a minute.
"""


_HELD: Final[deque[socket.socket]] = deque()
_MAX_HELD: Final = 256
"""A server has long bound its port when so many others were chosen after it."""


def free_port() -> int:
    """A loopback port that is nobody else's: held by a socket that does not listen, beside which a
    server may bind that asks for ``SO_REUSEADDR``.

    Outside the range from which outgoing connections take theirs, so it stays free too while a
    server is down.
    """
    chooser = random.SystemRandom()
    while True:
        port, held = chooser.randrange(10_000, 32_000), socket.socket()
        try:
            # Without the option: with it, what somebody else holds would seem to be free.
            held.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            continue
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _HELD.append(held)
        if len(_HELD) > _MAX_HELD:
            _HELD.popleft().close()
        return port


@atexit.register
def _let_go() -> None:
    for held in _HELD:
        held.close()


def die_with_parent() -> None:
    """For ``preexec_fn``: a child of ours never outlives us, whatever kills us."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)


class Process(Protocol):
    """One that was started, as ``asyncio.subprocess`` has it."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...

    def send_signal(self, signum: int, /) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Launch(Protocol):
    """Starts ``gateway ARGUMENTS…``, which writes to these descriptors and ends with us."""

    async def __call__(
        self,
        *arguments: str,
        cwd: Path,
        environment: Mapping[str, str],
        stdout: int,
        stderr: int,
    ) -> Process: ...


async def launch(
    *arguments: str, cwd: Path, environment: Mapping[str, str], stdout: int, stderr: int
) -> Process:
    """A new interpreter."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway", *arguments),
        cwd=cwd,
        env=environment,
        stdout=stdout,
        stderr=stderr,
        preexec_fn=die_with_parent,
    )


async def stop_process(process: Process) -> None:
    """SIGTERM, then SIGKILL for one that does not listen."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def wait_ready(port: int, process: Process, log: Path) -> None:
    """Until /readyz answers 200. Raises with the end of the log if the process ends first."""
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
    while asyncio.get_running_loop().time() < deadline:
        if process.returncode is not None:
            break
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
            writer.close()
            if b" 200 " in status:
                return
        await asyncio.sleep(0.05)
    said = await asyncio.to_thread(log.read_text, errors="replace")
    msg = f"the gateway did not become ready (exit code {process.returncode}):\n{said[-4000:]}"
    raise RuntimeError(msg)
