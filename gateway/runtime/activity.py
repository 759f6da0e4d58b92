"""What this process counted, told to Redis once a minute: the console of the admin role draws what
all processes did.

Every process tells its own counters, workers too. A check only counts, as it does anyway; reading
the counters is work of a thread that gives way.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

from gateway.core.reason import Reason
from gateway.core.traffic import CHECK, LOGIN, REVOCATION, STORE, TASK
from gateway.errors import UnavailableError
from gateway.log import fields
from gateway.metrics import (
    CHECKS,
    HANDED_OVER,
    LOGINS,
    REVOCATION_DURATION,
    STORE_REQUEST_DURATION,
    TASK_FAILURES,
)
from gateway.tenants.offload import in_background

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from prometheus_client.metrics import MetricWrapperBase

    from gateway.sessions.activity_log import ActivityLog

log = logging.getLogger(__name__)
EVERY_S: Final = 60.0
OTHER: Final = "other"
_OUTCOMES: Final = frozenset({"ok", *(str(reason) for reason in Reason)})


def totals() -> Counter[str]:
    """Of this process since it began, by series. Labels of tenants and providers are summed up, and
    what an identity provider called an error is ``other``: the set of series is closed.
    """
    counts: Counter[str] = Counter()
    for labels, value in _samples(CHECKS, "_total"):
        counts[f"{CHECK}:{labels['decision']}:{labels['reason']}"] += int(value)
    for labels, value in _samples(LOGINS, "_total"):
        outcome = labels["outcome"] if labels["outcome"] in _OUTCOMES else OTHER
        counts[f"{LOGIN}:{outcome}"] += int(value)
    for kind, metric in ((REVOCATION, REVOCATION_DURATION), (STORE, STORE_REQUEST_DURATION)):
        for labels, value in _samples(metric, "_bucket"):
            counts[f"{kind}:{labels['le']}"] += int(value)
    for labels, value in _samples(TASK_FAILURES, "_total"):
        counts[f"{TASK}:{labels['task']}"] += int(value)
    return counts


def _samples(metric: MetricWrapperBase, end: str) -> Iterator[tuple[Mapping[str, str], float]]:
    for family in metric.collect():
        for sample in family.samples:
            if sample.name.endswith(end):
                yield sample.labels, sample.value


class ActivityRecorder:
    """``clock``: UTC epoch seconds."""

    def __init__(
        self,
        records: ActivityLog,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._log, self._clock, self._sleep = records, clock, sleep
        self._told: Counter[str] = Counter()

    async def run(self) -> None:
        """Until cancelled."""
        self._told = await _read()
        while True:
            await self._sleep(EVERY_S)
            await self.tell()

    async def tell(self) -> None:
        """What was counted since the last time. Where Redis is away, it is missing: told again, it
        could count twice, and would stand in a minute in which it did not happen.
        """
        before, self._told = self._told, await _read()
        try:
            await self._log.add(self._told - before, at=self._clock())
        except UnavailableError as error:
            log.debug("activity_not_recorded", extra=fields(error=str(error)))


async def _read() -> Counter[str]:
    for counts in tuple(HANDED_OVER):
        counts.hand_over()
    return await in_background(totals)
