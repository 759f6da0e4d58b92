"""The socket at which the admin role answers the commands of its own machine: ``admin.sock`` in
``state_dir``.

Rules:
- One admin role of a directory has it: whoever holds the lock beside it. A lock ends with its
  process, so a socket that a dead process left is replaced and a living one's never. Others wait,
  and take it over when its owner ends.
- It appears whole: bound under another name, closed to everybody else (0600), listening, and only
  then called by its name.
- It is a convenience. Where it cannot be, that is logged and the admin role serves all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from gateway.background import forever
from gateway.http.listener import listening
from gateway.log import fields
from gateway.tenants.offload import woken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp import web

SOCKET: Final = "admin.sock"
_LOCK: Final = "admin.lock"
MAX_CONNECTIONS: Final = 64
_BACKLOG: Final = 64
_TRY_AGAIN_S: Final = 1.0

_LOG = logging.getLogger(__name__)


class LocalSocket:
    """The lock, and the socket while this process has it."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._lock: int | None = None
        self._directory: int | None = None
        self._made: tuple[int, int] | None = None

    def acquire(self) -> socket.socket | None:
        """Bound and listening; None while another process has it. Raises ``OSError``."""
        self._state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self._state_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError:
            os.close(lock)
            raise
        self._lock = lock
        self._directory = os.open(self._state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return self._bind()
        except OSError:
            self.release()
            raise

    def attempt(self, *, tell: bool) -> socket.socket | None:
        """``acquire``, and ``tell`` the log why it cannot be."""
        path = str(self._state_dir / SOCKET)
        try:
            bound = self.acquire()
            error = "another admin role has it"
        except OSError as failed:
            bound, error = None, failed.strerror or type(failed).__name__
        if bound is not None:
            _LOG.info("listening", extra=fields(listener="local", address=f"unix:{path}"))
        elif tell:
            _LOG.warning("local_socket_unavailable", extra=fields(path=path, error=error))
        return bound

    def _bind(self) -> socket.socket:
        # By descriptor: the name of a socket holds 107 bytes, whatever the length of ``state_dir``.
        new = f"/proc/self/fd/{self._directory}/{SOCKET}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)  # noqa: PTH108 - a name below a descriptor, as all of them here
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            bound.bind(new)
            os.chmod(new, 0o600)  # noqa: PTH101 - nobody can connect before it listens
            bound.listen(_BACKLOG)
            bound.setblocking(False)
            os.rename(
                f"{SOCKET}.new", SOCKET, src_dir_fd=self._directory, dst_dir_fd=self._directory
            )
            status = os.stat(SOCKET, dir_fd=self._directory)
        except OSError:
            bound.close()
            raise
        self._made = status.st_dev, status.st_ino
        return bound

    def release(self) -> None:
        """Take the socket's name away and give the lock back."""
        if self._directory is not None:
            with contextlib.suppress(OSError):
                status = os.stat(SOCKET, dir_fd=self._directory)
                if (status.st_dev, status.st_ino) == self._made:
                    os.unlink(SOCKET, dir_fd=self._directory)
            os.close(self._directory)
            self._directory = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@asynccontextmanager
async def local_socket(
    state_dir: Path, runner: web.BaseRunner, **options: Any
) -> AsyncIterator[None]:
    """Serve ``runner`` at the socket while inside, as soon as it can be had."""
    owned, stopping = LocalSocket(state_dir), asyncio.Event()
    bound = [owned.attempt(tell=True)]

    async def serve() -> None:
        unix_socket = bound.pop() if bound else owned.attempt(tell=True)
        while unix_socket is None:
            if await woken(stopping, within_s=_TRY_AGAIN_S):
                return
            unix_socket = owned.attempt(tell=False)
        try:
            async with listening(
                runner, unix_socket, name="local", limit=MAX_CONNECTIONS, **options
            ):
                await stopping.wait()
        finally:
            unix_socket.close()
            owned.release()

    serving = asyncio.create_task(forever(serve))
    try:
        yield
    finally:
        stopping.set()
        await serving
