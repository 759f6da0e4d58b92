"""Child processes on loopback: a port for each, readiness, and an end with their parent."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import random
import signal
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

START_TIMEOUT_S = 30.0


def free_port() -> int:
    """Bindable now, and outside the range from which outgoing connections take theirs, so it stays free."""
    chooser = random.SystemRandom()
    while True:
        port = chooser.randrange(10_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def die_with_parent() -> None:
    """For ``preexec_fn``: a child of ours never outlives us, whatever kills us."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)


async def stop_process(process: asyncio.subprocess.Process) -> None:
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


async def wait_ready(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
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
