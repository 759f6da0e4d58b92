"""Starts of ``python -m gateway`` that fork a process in which everything is imported already: what
a start costs is mostly its imports, and the suite starts hundreds.

One server for each process that runs tests, started when first needed and gone with it. It has one
thread and has run nothing but imports, so what it forks differs from an executed process in that
alone; ``tests/test_fork_server.py`` compares the two. Workers, before whose imports their metrics
have a folder, come from a second server, which has imported libraries only. A start whose
environment is the interpreter's or the loader's own business is executed. So are those of tests
that are about the start: ``tests/runtime/test_roles.py``, the demo, the rehearsal, the packages.

The command line of the server has room for that of what it forks, which is written over it.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from demo.processes import die_with_parent
from demo.processes import launch as executed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from demo.processes import Process

ROOT: Final = Path(__file__).parents[2]
ROOM_BYTES: Final = 4096
"""For the command line of a forked process."""
_REQUEST_BYTES: Final = 200_000
_CODE_BYTES: Final = 4
_READ_ONCE: Final = (
    *("PYTHON", "LD_", "MALLOC_", "GLIBC_", "OPENSSL_", "LC_", "LANG", "PROMETHEUS_"),
)
"""How the names of variables begin that are read as a process starts, and never again."""
_NOT_IMPORTED: Final = ("gateway.__main__", "gateway.database.migrations.")
"""They are run: the latter by Alembic."""
_LIBRARIES: Final = (
    *(
        "aioboto3",
        "aiobotocore.session",
        "aiohttp.web",
        "aiosmtplib",
        "aiosqlite",
        "alembic.command",
    ),
    *(
        "asyncpg",
        "cryptography.x509",
        "dns.asyncresolver",
        "gateway.cli.serve",
        "jinja2",
        "lxml.etree",
    ),
    *(
        "pydantic_settings",
        "redis.asyncio.cluster",
        "redis.asyncio.sentinel",
        "sqlalchemy.ext.asyncio",
    ),
    *("uvloop", "yaml"),
)
"""Most of what a start costs. None of them imports the library of the metrics."""
_INHERITED: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""Whether they are ignored is handed on; what else is has been set by the interpreter."""
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Start:
    """What a process is told by who starts it."""

    module: str
    arguments: tuple[str, ...]
    cwd: str
    environment: dict[str, str]
    ignored: tuple[int, ...]
    """Signals that the caller ignores now: as after ``nohup``, unless a test has changed it."""


class Forked:
    """A process of the server's, for a caller that would otherwise have made it itself."""

    def __init__(self, told: socket.socket, pid: int) -> None:
        self._told, self.pid = told, pid
        self._alone = threading.Lock()
        self.returncode: int | None = None

    def __del__(self) -> None:
        self._told.close()  # nobody asks any more

    def poll(self) -> int | None:
        return self._code(within_s=0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._code(within_s=timeout)
        if code is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
        return code

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _code(self, *, within_s: float | None) -> int | None:
        with self._alone:
            if self.returncode is None and select.select([self._told], [], [], within_s)[0]:
                code = self._told.recv(_CODE_BYTES)
                # The server gone without a word has taken its children with it.
                gone = -signal.SIGTERM
                self.returncode = int.from_bytes(code, "big", signed=True) if code else gone
        return self.returncode


class ForkedTask:
    """The same for asynchronous code."""

    def __init__(self, process: Forked) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    async def wait(self) -> int:
        if (code := self._process.poll()) is not None:
            return code
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        told = os.dup(self._process._told.fileno())  # for each who waits
        loop.add_reader(told, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(told)
            os.close(told)
        return self._process.wait()

    def send_signal(self, signum: int) -> None:
        self._process.send_signal(signum)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


class ForkServer:
    """The caller's end. ``workers``: for a supervisor and its workers."""

    def __init__(self, *, workers: bool = False) -> None:
        self._workers = workers
        self._asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._environment = own_environment(os.environ)
        with theirs:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", __name__, str(theirs.fileno())),
                    "libraries" if workers else "everything",
                    "-" * ROOM_BYTES,
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def fits(self, arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Whether such a process may be forked."""
        suits = self._workers or not has_workers(arguments)
        return suits and own_environment(environment) == self._environment

    def start(
        self,
        *arguments: str,
        cwd: Path,
        environment: Mapping[str, str],
        stdout: int,
        stderr: int,
        module: str = "gateway",
    ) -> Forked:
        """As ``python -m MODULE ARGUMENTS…`` would be executed."""
        assert self.fits(arguments, environment), "this has to be executed"
        start = [module, list(arguments), str(cwd), dict(environment), _ignored()]
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = array.array("i", [theirs.fileno(), stdout, stderr])
            self._asked.sendmsg(
                [json.dumps(start).encode()],
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)],
            )
        pid = ours.recv(_CODE_BYTES, socket.MSG_WAITALL)
        assert pid, "the fork server has ended"
        return Forked(ours, int.from_bytes(pid, "big"))

    def close(self) -> None:
        """It ends its children."""
        self._asked.close()
        self.process.wait(30)


_started: Final[dict[bool, ForkServer]] = {}


def fork_server(*, workers: bool = False) -> ForkServer:
    """This process's."""
    if workers not in _started:
        _started[workers] = ForkServer(workers=workers)
    return _started[workers]


def close_fork_servers() -> None:
    """As the last thing."""
    while _started:
        _started.popitem()[1].close()


def start(
    *arguments: str,
    cwd: Path,
    environment: Mapping[str, str],
    stdout: int,
    stderr: int,
    module: str = "gateway",
) -> Forked | subprocess.Popen[bytes]:
    """``python -m MODULE ARGUMENTS…``, which ends with us; forked where it may be."""
    server = fork_server(workers=has_workers(arguments))
    if server.fits(arguments, environment):
        return server.start(
            *arguments,
            cwd=cwd,
            environment=environment,
            stdout=stdout,
            stderr=stderr,
            module=module,
        )
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
    )


async def launch(
    *arguments: str, cwd: Path, environment: Mapping[str, str], stdout: int, stderr: int
) -> Process:
    """The same for ``demo.world.World.launch``."""
    server = fork_server(workers=has_workers(arguments))
    if not server.fits(arguments, environment):
        return await executed(
            *arguments, cwd=cwd, environment=environment, stdout=stdout, stderr=stderr
        )
    return ForkedTask(
        await asyncio.to_thread(
            server.start, *arguments, cwd=cwd, environment=environment, stdout=stdout, stderr=stderr
        )
    )


def has_workers(arguments: Sequence[str]) -> bool:
    return dict(pairwise(arguments)).get("--workers", "1") != "1"


def _ignored() -> list[int]:
    return [each for each in _INHERITED if signal.getsignal(each) is signal.SIG_IGN]


def own_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What is read as the interpreter, the loader and the libraries start, and never again."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(_READ_ONCE) and name != "PYTHONPATH" and value
    }


# --- the server's end --------------------------------------------------------------------------


def import_everything() -> None:
    """What a gateway of any role and any command of its would import."""
    import gateway

    for found in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not found.name.startswith(_NOT_IMPORTED):
            importlib.import_module(found.name)
    for name in ("aioboto3", "uvloop"):  # imported where they are needed
        importlib.import_module(name)


def import_libraries() -> None:
    for name in _LIBRARIES:
        importlib.import_module(name)
    assert "prometheus_client" not in sys.modules, "it has chosen where metrics are"


def serve(asked: socket.socket) -> Start:
    """Forks until the caller is gone. Returns in each child, with what it is to run."""
    selector = selectors.DefaultSelector()
    selector.register(asked, selectors.EVENT_READ)
    running: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj is not asked:
                pid, told = running.pop(key.fd)
                selector.unregister(key.fd)
                os.close(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with told, contextlib.suppress(OSError):
                    told.send(code.to_bytes(_CODE_BYTES, "big", signed=True))
                continue
            message, ancillary, _, _ = asked.recvmsg(_REQUEST_BYTES, socket.CMSG_SPACE(3 * 4))
            if not message:
                _end([pid for pid, _ in running.values()])
            descriptors = array.array("i")
            descriptors.frombytes(ancillary[0][2])
            told, stdout, stderr = socket.socket(fileno=descriptors[0]), *descriptors[1:]
            server = os.getpid()
            pid = os.fork()
            if pid == 0:
                for other in (asked, told, *(each for _, each in running.values())):
                    other.close()
                for descriptor in running:
                    os.close(descriptor)
                selector.close()
                return _become(_start(message), server, stdout, stderr)
            os.close(stdout)
            os.close(stderr)
            running[watched := os.pidfd_open(pid)] = pid, told
            selector.register(watched, selectors.EVENT_READ)
            told.send(pid.to_bytes(_CODE_BYTES, "big"))


def _start(message: bytes) -> Start:
    module, arguments, cwd, environment, ignored = json.loads(message)
    return Start(module, tuple(arguments), cwd, environment, tuple(ignored))


def _end(children: Sequence[int]) -> None:
    """Never returns. SIGTERM comes to them by the end of their parent."""
    ends = time.monotonic() + 10
    for pid in children:
        os.kill(pid, signal.SIGTERM)
    for pid in children:
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < ends:
            time.sleep(0.01)
    os._exit(0)


def _become(start: Start, server: int, stdout: int, stderr: int) -> Start:
    """What the kernel and the interpreter would have made of a start."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != server:
        os._exit(1)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    os.chdir(start.cwd)
    for signum in _INHERITED:
        default = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
        signal.signal(signum, signal.SIG_IGN if signum in start.ignored else default)
    os.environ.clear()
    os.environ.update(start.environment)
    time.tzset()
    sys.path[:] = [start.cwd, *_python_path(start.environment), *_OWN_PATH]
    command = [sys.executable, "-m", start.module, *start.arguments]
    sys.orig_argv[:] = command
    sys.argv = ["-m", *start.arguments]  # runpy writes the first
    _write_command_line(command)
    return start


def _python_path(environment: Mapping[str, str]) -> list[str]:
    return [folder for folder in environment.get("PYTHONPATH", "").split(":") if folder]


_OWN_PATH: Final = sys.path[1 + len(_python_path(os.environ)) :]
"""Without the folder that it was started in."""


def _write_command_line(command: Sequence[str]) -> None:
    text = b"".join(word.encode() + b"\0" for word in command)
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begins, ends = int(stat[45]), int(stat[46])  # arg_start and arg_end
    assert len(text) <= ends - begins, "a longer command line than the server's own"
    ctypes.memmove(begins, text.ljust(ends - begins, b"\0"), ends - begins)


def main() -> Any:
    asked = socket.socket(fileno=int(sys.argv[1]))
    import_everything() if sys.argv[2] == "everything" else import_libraries()
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would not be forked"  # noqa: PTH208
    gc.collect()
    gc.freeze()
    return serve(asked)


if __name__ == "__main__":
    try:
        _told = main()
    except KeyboardInterrupt:  # with its caller
        sys.exit(0)
    runpy.run_module(_told.module, run_name="__main__", alter_sys=True)
