"""Starting and stopping one proxy."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 5.0
_POLL_S = 0.02

# Runs between fork and the proxy: ask the kernel for death with the parent (prctl 1, SIGKILL), and
# do not start for one that is gone.
_TIED = """
import ctypes, os, sys
if sys.platform == "linux": ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]): sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class IngressError(RuntimeError):
    """The proxy is not installed, or did not start; the message holds the end of what it wrote."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """How one proxy is found and started in a directory that holds its configuration."""

    name: str
    binary: Callable[[], Path | None]
    command: Callable[[Path, Path], list[str]]


class RunningIngress:
    """A proxy that accepts connections on ``port``."""

    def __init__(
        self, process: subprocess.Popen[bytes], *, name: str, port: int, log: Path
    ) -> None:
        self.name = name
        self.port = port
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """End it now; a demo has nobody to drain for."""
        if self.alive:
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


def start(
    launcher: Launcher,
    files: Mapping[str, str],
    *,
    directory: Path,
    port: int,
    host: str,
    timeout_s: float = START_TIMEOUT_S,
) -> RunningIngress:
    """Write ``files`` into ``directory``, start the proxy there and return when it serves ``host``.
    Raises ``IngressError``.
    """
    binary = launcher.binary()
    if binary is None:
        msg = f"{launcher.name} is not installed"
        raise IngressError(msg)
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = directory / name
        path.touch(mode=0o600)  # they hold the ingress key
        path.write_text(text, encoding="utf-8")
    log = directory / "ingress.log"
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(directory),
        "XDG_CONFIG_HOME": str(directory),
        "XDG_DATA_HOME": str(directory),
        "TMPDIR": str(directory),
    }
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-c",
                _TIED,
                str(os.getpid()),
                *launcher.command(binary, directory),
            ],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    running = RunningIngress(process, name=launcher.name, port=port, log=log)
    deadline = time.monotonic() + timeout_s
    while not _serves(host, port):
        if not running.alive or time.monotonic() > deadline:
            running.stop()
            msg = f"{launcher.name} did not start:\n{log.read_text(errors='replace')[-2000:]}"
            raise IngressError(msg)
        time.sleep(_POLL_S)
    return running


def _serves(host: str, port: int) -> bool:
    """Traefik accepts connections before it has routes, and says 404 until then."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": f"{host}:{port}", "Connection": "close"})
        return connection.getresponse().status != 404
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
