"""What does not work is logged when it begins and when it is over, and not each time that it is
tried: several times a second, for as long as a store is away.
"""

from __future__ import annotations

import logging
from typing import Final

from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.metrics import TASK_FAILURES, begin_at_zero

_MAX_NAMES: Final = 256
"""A Cluster's addresses may change for ever; those that went away in trouble are not kept."""

_log = logging.getLogger(__name__)


class Troubles:
    """With each of several servers, or with the one that is called by nothing."""

    def __init__(self, began: str, over: str) -> None:
        """The log events."""
        self._began, self._over = began, over
        begin_at_zero(TASK_FAILURES, [began])
        self._names: set[str] = set()

    def begins(self, primary: str, error: Exception) -> bool:
        """Whether that is new."""
        if primary in self._names:
            return False
        if len(self._names) >= _MAX_NAMES:
            self._names.clear()
        self._names.add(primary)
        # Of what the store does, a line; of a mistake of ours, the place.
        if isinstance(error, UnavailableError):
            _log.warning(self._began, extra=fields(error=str(error), primary=primary or None))
        else:
            TASK_FAILURES.labels(self._began).inc()
            _log.error(
                self._began,
                exc_info=error,
                extra=fields(error=type(error).__name__, primary=primary or None),
            )
        return True

    def ends(self, primary: str) -> None:
        if primary in self._names:
            self._names.discard(primary)
            _log.info(self._over, extra=fields(primary=primary or None))
