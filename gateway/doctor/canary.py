"""The canary: asks for a protected address through the ingress, without a session, and says so
loudly when it gets in.

What a release of the ingress configuration breaks at three in the morning is found here, not by a
customer. One process of all that share a Redis asks; when it dies, another one takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import aiohttp

from gateway.errors import UnavailableError
from gateway.http.connection_error import why
from gateway.log import fields
from gateway.metrics import CANARY_PROBES, INGRESS_BYPASS_DETECTED, begin_at_zero

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.config.model import Canary

_LOG = logging.getLogger(__name__)
GUARDED, OPEN, UNREACHABLE = "guarded", "open", "unreachable"
TIMEOUT_S: Final = 15.0
"""Well below the lease of whoever asks, which is not renewed meanwhile."""
LEAD_EVERY_S: Final = 5.0


class Leads(Protocol):
    """``sessions.leader.RedisLeader``."""

    async def lead(self) -> bool: ...

    async def resign(self) -> None: ...


def judge(status: int, location: str) -> str:
    """``guarded`` is a refusal or a redirect to the gateway's own pages; what else is not an error
    is ``open``.
    """
    if status in {400, 401, 403, 421}:
        return GUARDED
    if status >= 500:
        return UNREACHABLE
    if 300 <= status < 400 and urlsplit(location).path.startswith("/_auth/"):
        return GUARDED
    return OPEN


async def watch(
    settings: Canary,
    http: aiohttp.ClientSession,
    leader: Leads,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Until cancelled: while this process leads, probe, record, wait. Whoever takes over probes at
    once. Nothing that goes wrong ends it.
    """
    if settings.url is None:
        return
    begin_at_zero(CANARY_PROBES, [GUARDED, OPEN, UNREACHABLE])
    due_at = -math.inf
    try:
        while True:
            if not await _leads(leader):
                # What was seen here is old by now, and whoever leads sees for itself.
                INGRESS_BYPASS_DETECTED.set(0)
                due_at = -math.inf
                await sleep(LEAD_EVERY_S)
                continue
            if (now := monotonic()) >= due_at:
                due_at = now + settings.interval.total_seconds()
                await probe(settings.url, http)
            await sleep(min(LEAD_EVERY_S, max(0.0, due_at - monotonic())))
    finally:
        with contextlib.suppress(UnavailableError):
            await leader.resign()


async def _leads(leader: Leads) -> bool:
    """Also while nobody can tell: several canaries are better than none."""
    try:
        return await leader.lead()
    except UnavailableError:
        return True


async def probe(url: str, http: aiohttp.ClientSession) -> str:
    """One request without any credential. The result is counted and, if it is not ``guarded``,
    logged.
    """
    status, error = 0, ""
    result = UNREACHABLE
    try:
        async with http.get(
            url,
            allow_redirects=False,
            headers={"Accept": "text/html"},
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        ) as response:
            status = response.status
            result = judge(status, response.headers.get("Location", ""))
    except (aiohttp.ClientError, TimeoutError, ValueError) as failure:
        error = why(failure)
    CANARY_PROBES.labels(result).inc()
    if result != UNREACHABLE:
        # Unreachable says nothing about the door, so the last known state stands.
        INGRESS_BYPASS_DETECTED.set(1 if result == OPEN else 0)
    if result == OPEN:
        _LOG.critical(
            "ingress_bypass_detected",
            extra=fields(
                url=url,
                status=status,
                detail="a request without a session was let through; run gateway ingress doctor",
            ),
        )
    elif result == UNREACHABLE:
        _LOG.warning(
            "canary_unreachable", extra=fields(url=url, status=status or None, error=error or None)
        )
    return result
