"""Site → files. Templates are the configurations themselves, readable as they stand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.ingress_config.site import SiteError
from gateway.pages import standalone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.ingress_config.site import Site

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "nginx": ("nginx.conf",),
    "traefik": ("traefik.yml", "dynamic.yml"),
    "caddy": ("Caddyfile",),
    "envoy": ("envoy.yaml",),
    "haproxy": ("haproxy.cfg", "gateway.lua"),
}
"""Proxy → the files it consists of, the one to start it with first."""
RENDERED: Final[Mapping[str, tuple[str, ...]]] = {
    **KINDS,
    "nginx-snippets": (
        "gateway-http.conf",
        "gateway-server.conf",
        "gateway-login.conf",
        "gateway-hooks.conf",
    ),
    "gateway-api": ("httproute.yaml",),
    "kubernetes": ("traefik.yaml", "envoy-gateway.yaml", "ingress-nginx.yaml"),
}
"""Everything that can be rendered; Kubernetes is one of its files, not all. Snippets are for server
blocks that are there already.
"""
HOST_OF: Final[Mapping[str, Callable[[Site], str | None]]] = {
    "gateway-login.conf": lambda site: site.login_host,
    "gateway-hooks.conf": lambda site: site.hooks_host,
}
"""Files that are for one host, which is None where there is none."""
IN_A_CLUSTER: Final = frozenset({"kubernetes", "gateway-api"})
NO_SOCKETS: Final = IN_A_CLUSTER | {"traefik"}
MAX_ALLOWED: Final = 64
"""Entries of ``allowedResponseHeaders`` of the Gateway API."""
NO_KEYS: Final = frozenset({"gateway-api"})
"""What has no way to send one with a question."""
READS_REAL_IP: Final = frozenset({"nginx", "nginx-snippets", "caddy", "haproxy"})


def _environment() -> Environment:
    # Not HTML: no value can hold a character that any of these formats would have to quote (see
    # site.py).
    environment = Environment(  # noqa: S701
        loader=PackageLoader("gateway.ingress_config"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["page_of"], environment.globals["problem_of"] = (
        standalone.page,
        standalone.problem,
    )
    environment.filters["json"] = json.dumps
    environment.filters["variable"] = lambda name: name.lower().replace("-", "_")
    environment.filters["regex_host"] = lambda name: name.replace(".", "\\.")
    # service.namespace:port, as cluster addresses are written
    environment.filters["service"] = lambda address: address.partition(":")[0].partition(".")[0]
    environment.filters["namespace"] = lambda address: (
        address.partition(":")[0].split(".")[1] if "." in address.partition(":")[0] else "default"
    )
    environment.filters["port"] = lambda address: address.rpartition(":")[2]
    environment.filters["haproxy"] = lambda address: address.replace("unix:", "unix@", 1)
    environment.filters["caddy"] = lambda address: address.replace("unix:", "unix/", 1)
    environment.tests["unix"] = lambda address: address.startswith("unix:")
    return environment


def render(kind: str, site: Site) -> dict[str, str]:
    """File name → text, for one of ``RENDERED``. Raises ``SiteError`` for what that proxy cannot
    do.
    """
    listeners = (("check", site.checks), ("public", site.publics), ("hooks", site.hooks))
    if bool(site.keys) is (kind in NO_KEYS):
        raise SiteError(
            f"ingress.keys: {kind} cannot send one: set ingress.trusted_proxies alone"
            if site.keys
            else f"ingress.keys: {kind} proves with a key that it is the ingress; set one"
        )
    if kind == "gateway-api" and len(site.managed) + 2 > MAX_ALLOWED:
        raise SiteError(f"headers, tenant_headers: {MAX_ALLOWED - 2} names at most for {kind}")
    if site.real_ip and kind not in READS_REAL_IP:
        raise SiteError(f"--real-ip: {kind} cannot believe an address and nothing else beside it")
    if kind in IN_A_CLUSTER and (site.hooks_host or site.hsts_s):
        raise SiteError("--hooks-host, --hsts: in a cluster the controller's resources say this")
    if kind == "nginx-snippets" and (site.certificate or site.redirect):
        raise SiteError("--certificate, --redirect: the server blocks around snippets are yours")
    for name, addresses in listeners:
        if not addresses:
            continue
        if kind in NO_SOCKETS and addresses[0].startswith("unix:"):
            raise SiteError(f"{name}: {addresses[0]}: {kind} reaches no Unix socket")
        if kind in IN_A_CLUSTER and len(addresses) > 1:
            raise SiteError(f"{name}: one address: in a cluster a Service shares it out")
    if kind in IN_A_CLUSTER and site.every_host and len(site.apps) > 1:
        raise SiteError(
            "--upstream: in a cluster, several applications need their hosts named (--known-hosts, "
            "--host)"
        )
    environment = _environment()
    return {
        name: environment.get_template(f"{kind}/{name}.j2").render(site=site)
        for name in RENDERED[kind]
        if name not in HOST_OF or HOST_OF[name](site) is not None
    }
