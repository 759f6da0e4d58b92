"""The log record of each check: collected while a turn of the event loop answers, then written at
once. ``log.checks`` says of which: a line of each is 3 GB a day at 100 requests a second.

Nothing is formatted before the answers of the turn are handed to the kernel. Where the log is
written as JSON by the background writer, the lines are built here, as ``logging`` would; else they
go through ``logging``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from random import random
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from gateway.log import JsonEvent, background_json_writer, fields

if TYPE_CHECKING:
    from gateway.config.model import Log

_LOG = logging.getLogger(__name__)


class CheckRecord(NamedTuple):
    """One check, in the order in which a line shows it; what is None is left out."""

    request_id: str | None
    tenant: str | None
    host: str | None
    method: str | None
    path: str | None
    decision: str
    reason: str
    user: str | None
    provider: str | None
    duration_ms: float
    client: str | None
    dialect: str
    repeated: int | None = None
    """Like it that were not written since the last."""
    sample_rate: float | None = None
    """Where it is one of many that were allowed: the share of them that has a line."""
    trace_id: str | None = None
    """Of the trace that the ingress made of the request."""
    would_decide: str | None = None
    would_reason: str | None = None


_REPEATED_EVENT: Final = JsonEvent(
    "check", CheckRecord._fields, varying=("request_id", "duration_ms"), bare="trace_id"
)


class RepeatedRecord:
    """What the records of a request that comes again say, each time with another ID, duration and
    trace.
    """

    __slots__ = ("like", "pieces")

    def __init__(self, like: CheckRecord) -> None:
        """``like``: of one of them; it has a trace if all have one."""
        self.like = like
        self.pieces = _REPEATED_EVENT.pieces(like)
        """Of the line."""


Again: TypeAlias = tuple[RepeatedRecord, str, float, str | None]
"""And its ID, duration in milliseconds, and trace."""
_VARYING: Final = ("request_id", "path", "duration_ms")
_EVENT = JsonEvent("check", CheckRecord._fields, varying=_VARYING)
_TRACED_EVENT = JsonEvent("check", CheckRecord._fields, varying=_VARYING, bare="trace_id")
_RATES: Final = {"all": 1.0, "denied": 0.0, "off": 0.0}


class CheckRecords:
    """Of one event loop."""

    def __init__(self, log: Log, *, traced: bool = False) -> None:
        """``traced``: most have a ``trace_id``."""
        self._event = _TRACED_EVENT if traced else _EVENT
        self._waiting: list[CheckRecord | Again] = []
        self._created_at = 0.0
        """Of what waits; UTC epoch seconds."""
        self.follow(log)

    def follow(self, log: Log) -> None:
        """From now on these settings hold."""
        self._rate = _RATES.get(log.checks, log.checks_sample_rate)
        self._refusals = log.checks != "off"
        self.sample_rate = self._rate if log.checks == "sampled" else None

    def has_line(self, *, ordinary: bool) -> bool:
        """Whether this check gets a line. ``ordinary``: it was allowed, and nobody looks for it by
        what is special about it.
        """
        return random() < self._rate if ordinary else self._refusals  # noqa: S311 - no secret

    def add(self, record: CheckRecord) -> None:
        """To be written at the end of this turn of the loop. Records of one turn have the time of
        the first.
        """
        if not self._waiting:
            self._begin()
        self._waiting.append(record)

    def add_again(
        self, record: RepeatedRecord, request_id: str, duration_ms: float, trace_id: str | None
    ) -> None:
        """As ``add``."""
        if not self._waiting:
            self._begin()
        self._waiting.append((record, request_id, duration_ms, trace_id))

    def _begin(self) -> None:
        asyncio.get_running_loop().call_soon(self.flush)
        self._created_at = time.time()

    def flush(self) -> None:
        """Hands over what waits: to be called once more before the process ends."""
        queue, self._waiting = self._waiting, []
        created_at = self._created_at
        writer = background_json_writer()
        if writer is not None:
            writer.put_lines(
                [
                    self._event.line(created_at, what)
                    if isinstance(what, CheckRecord)
                    else _REPEATED_EVENT.again(
                        what[0].pieces, created_at, what[1], what[2], what[3]
                    )
                    for what in queue
                ]
            )
            return
        for what in queue:
            record = what if isinstance(what, CheckRecord) else record_of(what)
            _LOG.info("check", extra=fields(**record._asdict()))


def record_of(again: Again) -> CheckRecord:
    record, request_id, duration_ms, trace_id = again
    return record.like._replace(request_id=request_id, duration_ms=duration_ms, trace_id=trace_id)


__all__ = ["CheckRecord", "CheckRecords", "RepeatedRecord", "record_of"]
