"""Each proxy with its rendered configuration, to the same proxy without the gateway; and how many
connections it opens to the check.

The proxy, the gateway and the application are pinned to one processor. "Alone" is the smallest
configuration that passes everything on to the application, with kept connections.
"""

from __future__ import annotations

import contextlib
import http.client
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from demo.ingress import LAUNCHERS, IngressError, start
from demo.processes import free_port
from tests.bench.load import SERVER_CPUS, Row, Target, compare, load, pin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.bench.checks import Gateway

NAMES: Final = ("nginx", "traefik", "caddy", "envoy", "haproxy")
MANY_CONNECTIONS: Final = 128
"""Of the clients, where connections to the check are counted: more than some proxies keep."""

ALONE: Final[Mapping[str, Mapping[str, str]]] = {
    "nginx": {
        "nginx.conf": """
worker_processes 1; pid nginx.pid; error_log stderr; events { worker_connections 1024; }
http {
  access_log off;
  upstream app { server 127.0.0.1:@APP@; keepalive 32; }
  server {
    listen 127.0.0.1:@PORT@;
    location / {
      proxy_pass http://app; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $host;
    }
  }
}
"""
    },
    "traefik": {
        "traefik.yml": """
entryPoints: {web: {address: "127.0.0.1:@PORT@"}}
providers: {file: {filename: dynamic.yml}}
global: {checkNewVersion: false, sendAnonymousUsage: false}
log: {level: WARN}
""",
        "dynamic.yml": """
http:
  routers: {app: {rule: "PathPrefix(`/`)", entryPoints: [web], service: app}}
  services: {app: {loadBalancer: {servers: [{url: "http://127.0.0.1:@APP@"}]}}}
""",
    },
    "caddy": {
        "Caddyfile": """
{
  admin off
  persist_config off
  auto_https off
}
http://:@PORT@ {
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:@APP@
}
"""
    },
    "envoy": {
        "envoy.yaml": """
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: @PORT@}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
HttpConnectionManager
          stat_prefix: web
          route_config:
            virtual_hosts:
            - {name: app, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: app}}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: app
    type: STATIC
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: @APP@}}}
"""
    },
    "haproxy": {
        "haproxy.cfg": """
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
frontend web
  bind 127.0.0.1:@PORT@
  default_backend app
backend app
  server app 127.0.0.1:@APP@
"""
    },
}


@dataclass(frozen=True, slots=True)
class Proxied:
    """One proxy: its ratio to itself alone, and connections opened to the check for each 1,000
    checks, with as many clients as elsewhere and with ``MANY_CONNECTIONS``.
    """

    name: str
    row: Row
    opened: tuple[float, float]

    def summary(self) -> dict[str, Any]:
        return {
            **self.row.summary(),
            "proxy": self.name,
            "opened_per_1000": [round(number, 1) for number in self.opened],
        }


def measure(
    gateway: Gateway, folder: Path, app: int, *, seconds: int, rounds: int
) -> Iterator[Proxied]:
    """One after the other; those that are not installed are left out, with a line."""
    for name in NAMES:
        try:
            yield _measure(name, gateway, folder / name, app, seconds=seconds, rounds=rounds)
        except IngressError as error:
            print(f"{name}: left out: {str(error).splitlines()[0]}", flush=True)


def _measure(
    name: str, gateway: Gateway, folder: Path, app: int, *, seconds: int, rounds: int
) -> Proxied:
    with contextlib.ExitStack() as stack:
        targets = []
        for alone in (False, True):
            port, own = free_port(), folder / ("alone" if alone else "guarded")
            files = (
                {
                    file: text.replace("@PORT@", f"{port}").replace("@APP@", f"{app}")
                    for file, text in ALONE[name].items()
                }
                if alone
                else gateway.render(name, own, port=port, app=app)
            )
            proxy = start(LAUNCHERS[name], files, directory=own, port=port, host="acme.localhost")
            stack.callback(proxy.stop)
            pin([proxy.pid], SERVER_CPUS)
            targets.append(
                Target(
                    f"http://127.0.0.1:{port}/reports/@NUMBER@?x=1",
                    {**gateway.browser(), "Host": "acme.localhost"},
                    (proxy.pid,) if alone else (proxy.pid, gateway.pid),
                )
            )
        guarded, unguarded = targets
        for target in targets:
            load(target, 1)
        opened = (_opened(gateway, guarded), _opened(gateway, guarded, MANY_CONNECTIONS))
        row = compare(
            f"{name} + gateway / {name} alone",
            lambda: load(guarded, seconds),
            lambda: load(unguarded, seconds),
            goal="–",
            rounds=rounds,
        )
        print(
            f"  connections opened for each 1,000 checks: {opened[0]:.1f}, with "
            f"{MANY_CONNECTIONS} clients {opened[1]:.1f}",
            flush=True,
        )
        return Proxied(name, row, opened)


def _opened(gateway: Gateway, target: Target, connections: int = 32) -> float:
    """After the first second, in which the proxy may open what it keeps."""
    load(target, 1, connections=connections)
    before = _counts(gateway)
    load(target, 1, connections=connections)
    opened, checks = (now - then for now, then in zip(_counts(gateway), before, strict=True))
    return opened / checks * 1000


def _counts(gateway: Gateway) -> tuple[float, float]:
    """Connections accepted by the check listener, and checks, so far."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()

    def total(pattern: str) -> float:
        return sum(map(float, re.findall(rf"^{pattern} ([\d.e+]+)$", text, re.MULTILINE)))

    return (
        total(r'gateway_connections_opened_total\{listener="check"\}'),
        total(r"gateway_checks_total\{.*\}"),
    )
