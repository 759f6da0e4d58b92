"""Which requests of a tenant's people begin the idle time of a session again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gateway.core.glob import Glob

MAX_EXCLUDES: Final = 16
"""Each is compared with every path of the tenant."""


@dataclass(frozen=True, slots=True)
class IdleCounts:
    """``exclude``: globs, as those of rules. ``websocket_s``: seconds; 0 where a handshake is a
    request like any other.
    """

    exclude: tuple[str, ...] = ()
    websocket_s: int = 0
    _globs: tuple[Glob, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_globs", tuple(map(Glob, self.exclude)))

    def excludes(self, name: str) -> bool:
        """Whether a path of this name is left out, with a slash at its end or without."""
        segments = name.strip("/").split("/") if name != "/" else []
        return any(glob.matches(segments) for glob in self._globs)


EVERY_REQUEST: Final = IdleCounts()
