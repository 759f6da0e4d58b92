"""``scripts/production-rehearsal``: from an empty machine to production and through its life, by
the commands that the pages of ``docs/operator`` say, word for word.

Everything happens in a folder tree in memory with namespaces of its own (``sandbox.sh``); the
machine's files, network and processes are not touched. Needs root, Debian's nginx, redis-server and
postgresql.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
NEEDED: Final = (
    "nginx",
    "redis-server",
    "pg_createcluster",
    "openssl",
    "unshare",
    "ip",
    "update-ca-certificates",
)
PYTHON: Final = "/usr/bin/python3"
"""Debian's: what an operator has. The wheels are for it."""
MOST_S: Final = 300


def missing() -> list[str]:
    """What this machine lacks; empty where the rehearsal can run."""
    lacks = [
        name for name in NEEDED if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None
    ]
    if os.geteuid() != 0:
        lacks.append("root")
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
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as work:
            subprocess.run([PYTHON, "-m", "venv", work], check=True)
            for lock in locks:
                command = [f"{work}/bin/pip", "download", "-q", "--no-deps", "--require-hashes"]
                command += ["--disable-pip-version-check", "-r", str(lock), "-d", str(folder)]
                subprocess.run(command, check=True)
        (folder / "complete").touch()
    return folder


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
    found = wheels()
    empty = tempfile.mkdtemp(prefix="gateway-rehearsal-")
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(found),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    }
    command = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child"]
    command += ["/bin/bash", str(Path(__file__).with_name("sandbox.sh")), empty, str(ROOT)]
    command += [
        sys.executable,
        "-m",
        "tests.rehearsal.play",
        *(["--short"] if options.short else []),
    ]
    try:
        return subprocess.run(
            command, env=environment, cwd=ROOT, check=False, timeout=MOST_S
        ).returncode
    except subprocess.TimeoutExpired:
        print(f"scripts/production-rehearsal: not done after {MOST_S} s", file=sys.stderr)
        return 1
    finally:
        Path(empty).rmdir()


if __name__ == "__main__":
    sys.exit(main())
