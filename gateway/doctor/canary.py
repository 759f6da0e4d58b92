"""The canary: asks for a protected address through the ingress, without a session, and says so
loudly when it gets in.

What a release of the ingress configuration breaks at three in the morning is found here, not by a
customer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from gateway.log import fields
from gateway.metrics import CANARY_PROBES, INGRESS_BYPASS_DETECTED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.config.model import Canary

_LOG = logging.getLogger(__name__)
GUARDED, OPEN, UNREACHABLE = "guarded", "open", "unreachable"
TIMEOUT_S = 15.0


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
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Until cancelled: probe, record, wait. Nothing that goes wrong ends it."""
    if settings.url is None:
        return
    while True:
        await probe(settings.url, http)
        await sleep(settings.interval.total_seconds())


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
        error = type(failure).__name__
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
