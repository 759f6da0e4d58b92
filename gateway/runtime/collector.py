"""Whether the collector of traces takes what it will be sent, for ``gateway config check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp

from gateway.errors import ConfigError
from gateway.http.connection_error import why_at
from gateway.runtime.health import DependencyState
from gateway.tracing.library import require_library

if TYPE_CHECKING:
    from gateway.config.model import Tracing


async def probe_collector(settings: Tracing, http: aiohttp.ClientSession) -> DependencyState:
    """Whether spans would be sent and taken: an export without any is asked for. A collector that
    is away is a warning, since the gateway serves without it.
    """
    try:
        require_library(settings)
    except ConfigError as error:
        return DependencyState("tracing", ok=False, wrong=True, detail=str(error))
    url = settings.url or ""
    headers = {"Content-Type": "application/x-protobuf", **(settings.headers or {})}
    try:
        async with http.post(url, data=b"", headers=headers, allow_redirects=False) as answer:
            trouble = "" if answer.status == 200 else f"answers {answer.status}"
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        trouble = why_at(url, error)
    warnings = (f"the collector at {url}: {trouble}; spans are dropped meanwhile",)
    return DependencyState("tracing", ok=True, detail=url, warnings=warnings if trouble else ())
