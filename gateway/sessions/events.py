"""What a bucket's event log says. Every event has a number; whoever misses one notices, and reads
it with the next renewal.

``<digest> <digest> …``       these sessions ended or were rewritten
``*``                         anything of the bucket may have
``-``                         nothing: a fence, numbered after all that came before it
``- <traceparent>``           the same, of a revocation that is traced
``g <generation> <tenant> …`` nothing is to be answered for the bucket from an older tenant snapshot
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.core.trace_context import parse_traceparent

_DIGEST = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SessionsEnded:
    """Sessions that memory must no longer hold."""

    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Everything:
    """All sessions of the bucket. Also what an event means that this version does not
    understand.
    """


@dataclass(frozen=True, slots=True)
class Fence:
    """Says nothing; to have applied it is to have applied everything before it."""

    trace: str = ""
    """``traceparent`` of whoever waits for it; "" where that is not traced."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A tenant snapshot took something away: answers need at least this generation."""

    generation: int


Event = SessionsEnded | Everything | Fence | Narrowed


@dataclass(frozen=True, slots=True)
class Push:
    """One event as it is published."""

    bucket: int
    number: int
    event: Event


def parse_event(words: str) -> Event:
    """Unknown words mean everything."""
    parts = words.split(" ")
    match parts:
        case ["-"]:
            return Fence()
        case ["-", trace] if parse_traceparent(trace) is not None:
            return Fence(trace)
        case ["g", generation, *_] if generation.isascii() and generation.isdigit():
            return Narrowed(int(generation))
    if all(_DIGEST.fullmatch(part) for part in parts):
        return SessionsEnded(tuple(parts))
    return Everything()


def parse_push(message: str) -> Push | None:
    """``<bucket> <number> <event>``; None for what is not one (the renewals bring every event,
    heard or not).
    """
    bucket, _, rest = message.partition(" ")
    number, _, words = rest.partition(" ")
    if not (
        re.fullmatch(r"[0-3][0-9a-f]{2}", bucket, re.ASCII)
        and re.fullmatch(r"[0-9]{1,16}", number, re.ASCII)
        and words
    ):
        return None
    return Push(int(bucket, 16), int(number), parse_event(words))
