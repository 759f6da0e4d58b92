"""Descriptors: as many as the system allows, and a share of them for each listener, so that none
takes another's.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

WANTED: Final = 65_536
"""More helps nobody: one process serves a few thousand connections."""
KEPT_BACK: Final = 256
"""For files, the stores and calls of identity providers; a half where the limit is lower than twice
this.
"""
MOST: Final[Mapping[str, int]] = {
    "check": 4096,
    "public": 4096,
    "hooks": 1024,
    "admin": 512,
    "pages": 256,
}
"""Connections of one listener in one process. An idle one costs about 12 kB."""
_SIXTEENTHS: Final[Mapping[str, int]] = {
    "check": 8,
    "public": 4,
    "hooks": 2,
    "admin": 1,
    "pages": 1,
}


def raise_limit() -> int:
    """Make the soft limit of open files as high as ``WANTED`` and the hard one permit; what it is
    now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= target:
        return WANTED if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    except (OSError, ValueError):
        return soft  # a sandbox forbids it: the shares are of what there is
    return target


def connection_limits(open_files: int) -> dict[str, int]:
    """Connections by listener for a process that may open so many files."""
    budget = open_files - min(KEPT_BACK, open_files // 2)
    return {
        name: max(1, min(MOST[name], budget * part // 16)) for name, part in _SIXTEENTHS.items()
    }
