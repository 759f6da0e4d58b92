"""Files that a command makes beside those of the gateway: root's commands leave none behind that
the gateway's own user cannot read.

Rules:
- A new file has mode 0600, and belongs to whoever its folder belongs to.
- No link is followed: the folder is the gateway user's, and root must write nowhere else for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def create(path: Path, flags: int = os.O_EXCL) -> int:
    """Descriptor of a file open for reading and writing, made where it is missing (with the default
    of ``flags`` it has to be). Raises ``OSError``.
    """
    descriptor = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, mode=0o600
    )
    try:
        if os.geteuid() == 0 and os.fstat(descriptor).st_uid == 0:
            folder = path.parent.stat()
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


__all__ = ["create"]
