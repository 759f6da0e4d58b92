"""``/healthz``, ``/readyz``, ``/metrics`` on the admin listener, in both roles.

Rules:
- ``/readyz`` asks nobody: dependencies are asked in the background, and the last answer is told.
  One that hangs delays no probe.
- Ready is: a check of somebody who has a session would be answered (of the admin role alone: a hook
  would be taken). What else is wrong is told in the body, and is no reason to take a replica away:
  all the others have the same dependency.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.errors import ConfigError, GatewayError
from gateway.metrics import scrape

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class DependencyState:
    """State of one dependency. ``needed``: without it this process answers 503."""

    name: str
    ok: bool
    detail: str
    needed: bool = True
    wrong: bool = False
    """Not away but configured wrongly: waiting mends nothing."""
    parts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of a dependency that is several: what each of them says."""
    warnings: tuple[str, ...] = ()
    """What is allowed there and seldom meant; for ``gateway config check``."""


Probe = Callable[[], Awaitable[DependencyState]]
"""Asks a dependency, now."""
Known = Callable[[], DependencyState]
"""What is known of a dependency without asking it."""
KNOWN = web.AppKey("known", Mapping[str, Known])


def application(known: Mapping[str, Known]) -> web.Application:
    """The system routes alone; the admin API is mounted beside them where the admin role runs."""
    app = web.Application(client_max_size=1024 * 1024)
    app[KNOWN] = known
    app.add_routes(
        [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]
    )
    return app


def ready(known: Mapping[str, Known]) -> bool:
    """Whether ``/readyz`` answers 200."""
    return all(state.ok for state in (ask() for ask in known.values()) if state.needed)


async def healthz(request: Request) -> Response:  # noqa: ARG001 - a handler's signature
    """The event loop turns. Touches nothing else: a restart mends no dependency."""
    return web.json_response({"status": "ok"})


async def readyz(request: Request) -> Response:
    """``ready``, ``degraded`` (200: something is wrong, and this replica is as good as any) or
    ``not_ready`` (503); and each dependency's state.
    """
    findings = [get_state() for get_state in request.app[KNOWN].values()]
    ready = all(f.ok for f in findings if f.needed)
    status = "not_ready" if not ready else "ready" if all(f.ok for f in findings) else "degraded"
    return web.json_response(
        {"status": status, "dependencies": {f.name: _told(f) for f in findings}},
        status=200 if ready else 503,
    )


def _told(finding: DependencyState) -> dict[str, object]:
    document: dict[str, object] = {
        "ok": finding.ok,
        "needed": finding.needed,
        "detail": finding.detail,
    }
    return {**document, "parts": finding.parts} if finding.parts else document


async def metrics(request: Request) -> Response:
    body, content_type = scrape(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


class Watched:
    """One dependency, asked every ``every_s`` seconds, and more often while it is not well."""

    def __init__(
        self,
        name: str,
        probe: Probe,
        *,
        needed: bool,
        every_s: float,
        again_s: float = 1.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name, self._probe, self._needed = name, probe, needed
        self._every_s, self._again_s, self._sleep = every_s, again_s, sleep
        self._finding = DependencyState(name, ok=False, detail="not asked yet", needed=needed)

    def known(self) -> DependencyState:
        return self._finding

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._finding = await bounded(self._name, self._probe, needed=self._needed)
            await self._sleep(self._every_s if self._finding.ok else self._again_s)


async def probe_all(
    probes: Mapping[str, Probe], *, within_s: float | None = None
) -> list[DependencyState]:
    """All at once, each bounded in time; a probe never raises."""
    return list(
        await asyncio.gather(
            *(
                bounded(name, probe, needed=True, within_s=within_s)
                for name, probe in probes.items()
            )
        )
    )


async def bounded(
    name: str, probe: Probe, *, needed: bool, within_s: float | None = None
) -> DependencyState:
    """What the probe finds, or why it does not. ``within_s``: seconds, ``PROBE_TIMEOUT_S`` where
    nothing is said.
    """
    start_time = time.perf_counter()
    within_s = within_s or PROBE_TIMEOUT_S
    try:
        async with asyncio.timeout(within_s):
            return await probe()
    except TimeoutError:
        return DependencyState(
            name, ok=False, detail=f"no answer within {within_s:g} s", needed=needed
        )
    except ConfigError as error:
        return DependencyState(name, ok=False, detail=str(error), needed=needed, wrong=True)
    except GatewayError as error:
        return DependencyState(
            name,
            ok=False,
            detail=f"{error} (after {time.perf_counter() - start_time:.2f} s)",
            needed=needed,
        )
    except Exception as error:  # noqa: BLE001 - a mistake of ours in one probe must not keep what the last one said standing for ever
        return DependencyState(
            name, ok=False, detail=f"cannot be asked: {type(error).__name__}", needed=needed
        )
