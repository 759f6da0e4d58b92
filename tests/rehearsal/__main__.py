"""``scripts/production-rehearsal``: from an empty machine to production and through its life, by
the commands that the pages of ``docs/operator`` say, word for word.

Everything happens in a folder tree in memory with namespaces of its own (``sandbox.sh``); the
machine's files, network and processes are not touched. Needs root, Debian's nginx, redis-server,
postgresql and chromium. ``test_rehearsal.py`` takes the short form into the suite.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
NEEDED: Final = (
    "nginx",
    "redis-server",
    "pg_createcluster",
    "chromium",
    "openssl",
    "unshare",
    "ip",
    "update-ca-certificates",
)
PYTHON: Final = "/usr/bin/python3"
"""Debian's: what an operator has. The wheels are for it."""
MOST_S: Final = 300
POSTGRESQL: Final = Path("/usr/lib/postgresql/15")
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NAMESPACES: Final = (
    "unshare",
    "--mount",
    "--pid",
    "--net",
    "--uts",
    "--ipc",
    "--fork",
    "--kill-child",
)
_PR_SET_PDEATHSIG: Final = 1


def missing() -> list[str]:
    """What this machine lacks; empty where the rehearsal can run."""
    lacks = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    if os.geteuid() != 0:
        lacks.append("root")
    elif (
        not lacks
        and subprocess.run(
            [*NAMESPACES, "mount", "--make-rprivate", "/"], capture_output=True, check=False
        ).returncode
    ):
        lacks.append("the right to make namespaces and mounts (CAP_SYS_ADMIN)")
    if not POSTGRESQL.is_dir():
        lacks.append("PostgreSQL 15, which the pages name")
    if subprocess.run(
        [PYTHON, "-c", "import ensurepip"], capture_output=True, check=False
    ).returncode:
        lacks.append("python3-venv")
    return lacks


def wheels() -> Path:
    """A folder with every wheel that ``deploy/install`` asks for: the sandbox has no network."""
    locks = [ROOT / "requirements" / f"{name}.txt" for name in ("installer", "build", "runtime")]
    mark = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()[:16]
    folder = ROOT / "build" / "rehearsal" / mark
    if not (folder / "complete").exists():
        print("fetching the wheels of the locks, once", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Ours: Debian's takes four times as long to read what there is of each project.
        pip = importlib.metadata.distribution("pip").locate_file("pip")
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            command = [PYTHON, str(pip), "download", "-q", "--no-deps", "--require-hashes"]
            command += ["--disable-pip-version-check", "-d", f"{work}/wheels"]
            command += [word for lock in locks for word in ("-r", str(lock))]
            subprocess.run(command, check=True)
            Path(work, "wheels", "complete").touch()
            with contextlib.suppress(OSError):  # another run was quicker
                Path(work, "wheels").rename(folder)
        for other in {mark.parent for mark in folder.parent.glob("*/complete")} - {folder}:
            shutil.rmtree(other, ignore_errors=True)
    return folder


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _children_of(pid: int) -> int:
    """The pid namespace that its children are in."""
    return Path(f"/proc/{pid}/ns/pid_for_children").stat().st_ino


def _left(namespace: int) -> list[str]:
    """Processes of a pid namespace."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "ns/pid").stat().st_ino == namespace:
                found.append((entry / "comm").read_text().strip())
    return found


def rehearse(*, short: bool, most_s: float) -> subprocess.CompletedProcess[str]:
    """The table of steps is in ``stdout``, line by line on the terminal too. Nothing is left of it,
    whatever becomes of it or of this process. Raises ``subprocess.TimeoutExpired``, and
    ``RuntimeError`` where a process is left.
    """
    found = wheels()
    empty = tempfile.mkdtemp(prefix="gateway-rehearsal-")
    environment = {
        "PATH": PATH,
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(found),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    }
    command = [*NAMESPACES, "/bin/bash", str(Path(__file__).with_name("sandbox.sh")), empty]
    command += [str(ROOT), sys.executable, "-m", "tests.rehearsal.play"]
    lines: list[str] = []
    namespace = 0
    with subprocess.Popen(
        [*command, *(["--short"] if short else [])],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - one prctl call
    ) as running:
        # Ends the first process of the pid namespace, and with it every other one.
        alarm = threading.Timer(most_s, running.kill)
        alarm.start()
        try:
            assert running.stdout is not None
            for line in running.stdout:
                namespace = namespace or _children_of(running.pid)
                lines.append(line)
                print(line, end="", flush=True)
            status = running.wait()
        finally:
            late = not alarm.is_alive()
            alarm.cancel()
            running.kill()
            running.wait()
            Path(empty).rmdir()
    ends = time.monotonic() + 10
    while left := _left(namespace):
        if time.monotonic() > ends:
            msg = f"left behind: {', '.join(left)}"
            raise RuntimeError(msg)
        time.sleep(0.05)
    if late:
        raise subprocess.TimeoutExpired(command, most_s, "".join(lines))
    return subprocess.CompletedProcess(command, status, "".join(lines))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/production-rehearsal", description="docs/operator, word for word."
    )
    parser.add_argument("--short", action="store_true", help="the steps that the test suite takes")
    options = parser.parse_args()
    if lacks := missing():
        print(
            f"scripts/production-rehearsal: this machine lacks {', '.join(lacks)}", file=sys.stderr
        )
        return 2
    try:
        return rehearse(short=options.short, most_s=MOST_S).returncode
    except subprocess.TimeoutExpired:
        print(f"scripts/production-rehearsal: not done after {MOST_S} s", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
