"""A disk of a few megabytes, which a test fills and empties: a tmpfs in a mount namespace of its
own, which goes with the processes in it. Root only.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from demo.processes import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
BALLAST = "ballast"


def may_mount() -> bool:
    """Whether this process may make one."""
    return (
        os.geteuid() == 0
        and subprocess.run(
            ["unshare", "--mount", "true"], check=False, capture_output=True
        ).returncode
        == 0
    )


class SmallDisk:
    """Mounted at ``path`` for whoever is started ``within``; the rest of the machine sees an empty
    folder there.
    """

    def __init__(self, path: Path, *, size_bytes: int) -> None:
        self.path = path
        mount = (
            f"mount -t tmpfs -o size={size_bytes},mode=0755,uid={NOBODY},gid={NOBODY} none "
            '"$0" && echo mounted && exec sleep infinity'
        )
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, path],
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it calls the kernel and nothing else
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"mounted\n"

    def within(self, *command: str | Path) -> list[str | Path]:
        """The command as ``nobody`` on this disk, ended by SIGINT when whoever starts it dies."""
        as_nobody = [
            "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            "--pdeathsig=INT",
        ]
        return [
            "nsenter",
            f"--mount=/proc/{self._holder.pid}/ns/mnt",
            f"--wd={self.path}",
            *as_nobody,
            *command,
        ]

    def seen(self, path: Path) -> Path:
        """A file of this disk as this process reaches it."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    @contextmanager
    def full(self) -> Iterator[None]:
        """Somebody else's file takes what is left, to the last byte."""
        ballast = self.seen(self.path / BALLAST)
        try:
            with ballast.open("wb", buffering=0) as file:
                for piece in (bytes(1 << 20), bytes(4096)):
                    try:
                        while True:
                            file.write(piece)
                    except OSError:
                        continue
            yield
        finally:
            ballast.unlink(missing_ok=True)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        if self._holder.stdout is not None:
            self._holder.stdout.close()
