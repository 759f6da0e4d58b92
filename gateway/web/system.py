"""``/healthz``, ``/readyz``, ``/metrics`` on the admin listener, in both roles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.errors import ConfigError, GatewayError
from gateway.metrics import scrape

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

PROBE_TIMEOUT_S = 2.0
"""A probe must answer while a dependency hangs, or the orchestrator kills a gateway that serves from memory."""


@dataclass(frozen=True, slots=True)
class Finding:
    """State of one dependency. ``needed``: without it this role answers 503."""

    name: str
    ok: bool
    detail: str
    needed: bool = True
    wrong: bool = False
    """Not away but configured wrongly: waiting mends nothing."""


Probe = Callable[[], Awaitable[Finding]]
PROBES = web.AppKey("probes", Mapping[str, Probe])


def application(probes: Mapping[str, Probe]) -> web.Application:
    """The system routes alone; the admin API is mounted beside them where the admin role runs."""
    app = web.Application(client_max_size=1024 * 1024)
    app[PROBES] = probes
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


async def healthz(request: Request) -> Response:  # noqa: ARG001 - a handler's signature
    """The event loop turns. Touches nothing else: a restart mends no dependency."""
    return web.json_response({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Each dependency's state. 503 while one that this role needs is missing."""
    findings = await probe_all(request.app[PROBES])
    ready = all(f.ok for f in findings if f.needed)
    body = {"status": "ready" if ready else "not_ready", "dependencies": {f.name: {"ok": f.ok, "needed": f.needed, "detail": f.detail} for f in findings}}
    return web.json_response(body, status=200 if ready else 503)


async def metrics(request: Request) -> Response:  # noqa: ARG001 - a handler's signature
    body, content_type = scrape()
    return web.Response(body=body, headers={"Content-Type": content_type})


async def probe_all(probes: Mapping[str, Probe]) -> list[Finding]:
    """All at once, each bounded in time; a probe never raises."""
    return list(await asyncio.gather(*(_bounded(name, probe) for name, probe in probes.items())))


async def _bounded(name: str, probe: Probe) -> Finding:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            return await probe()
    except TimeoutError:
        return Finding(name, ok=False, detail=f"no answer within {PROBE_TIMEOUT_S:g} s")
    except ConfigError as error:
        return Finding(name, ok=False, detail=str(error), wrong=True)
    except GatewayError as error:
        return Finding(name, ok=False, detail=f"{error} (after {time.perf_counter() - started:.2f} s)")
