"""Folders for what servers of tests write: in memory where there is room, and gone after a run that
was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Final

SHARED: Final = Path("/dev/shm")
ROOM_BYTES: Final = 2 << 30
"""Containers often have 64 MB."""
_OWNER: Final = "owner"
"""A file that is locked for as long as the process lives that made the folder."""
_OWNED: dict[Path, IO[str]] = {}


def make_folder(prefix: str, *, within: Path | None = None) -> Path:
    """A new one, the caller's to remove (``remove_folder``). Those of this prefix whose process has
    ended are removed first.
    """
    parent = within or _parent()
    for other in parent.glob(f"{prefix}*/{_OWNER}"):
        _remove_left(other)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    lock = (folder / f"{_OWNER}.new").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    Path(lock.name).rename(folder / _OWNER)  # nobody sees it unlocked
    _OWNED[folder] = lock
    return folder


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _OWNED.pop(folder).close()


def _parent() -> Path:
    roomy = SHARED.is_dir() and os.access(SHARED, os.W_OK)
    if roomy and shutil.disk_usage(SHARED).free > ROOM_BYTES:
        return SHARED
    return Path(tempfile.gettempdir())


def _remove_left(owner: Path) -> None:
    with contextlib.suppress(OSError), owner.open("r+") as lock:  # gone, in use, or somebody else's
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(owner.parent, ignore_errors=True)
