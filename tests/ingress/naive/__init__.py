"""One deliberately naive configuration per proxy: what the proxy's own minimal example comes to,
with the mistakes people make.

Every hole here is really there (docs/operator/ingress.md lists them); the doctor has to find each,
by its code.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.ingress_config import Site

HERE = Path(__file__).parent
FILES = {
    "nginx": ("nginx.conf",),
    "traefik": ("traefik.yml", "dynamic.yml"),
    "caddy": ("Caddyfile",),
    "envoy": ("envoy.yaml",),
    "haproxy": ("haproxy.cfg", "gateway.lua"),
}

COMMON = {
    "identity_forged",
    "identity_lost",
    "foreign_identity",
    "path_headers",
    "foreign_words",
    "cookie_in_app",
    "app_password_in_app",
}
"""Three headers are handed on, the rest is the client's; nobody removes other gateways' names the
session cookie or app passwords.
"""

HOLES = {
    "nginx": COMMON
    | {
        "not_asked",
        "small_head",
        "upgrade_relayed",
        "path_confusion",
        "host_confusion",
        "default_host",
        "login_lost",
        "slow_cookie",
        "odd_error",
    },
    "traefik": COMMON
    | {
        "identity_alias",
        "forged_facts",
        "key_in_app",
        "path_rewritten",
        "host_confusion",
        "listener_exposed",
        "upgrade_relayed",
    },
    "caddy": COMMON | {"identity_alias", "connection_strips", "upgrade_relayed"},
    # Envoy takes away what the answer names, whatever it is configured to take over.
    "envoy": COMMON - {"app_password_in_app"}
    | {
        "identity_alias",
        "websocket_lost",
        "pages_asked",
        "forged_facts",
        "fails_open",
    },
    "haproxy": COMMON
    | {
        "identity_alias",
        "upgrade_relayed",
        "default_host",
        "fails_open",
        "let_through",
        "flood_forwarded",
        "slow_cookie",
        "trailers_relayed",
        "absolute_form",
        "cookie_quoted",
    },
}
"""Kind → every finding that its naive configuration deserves, and no other."""


def naive(kind: str, site: Site, *, app: str) -> dict[str, str]:
    """File name → text. ``app`` is the application's address."""
    host, _, port = site.listen.rpartition(":")
    check_host, _, check_port = site.checks[0].rpartition(":")
    public_host, _, public_port = site.publics[0].rpartition(":")
    app_host, _, app_port = app.rpartition(":")
    values = {
        "LISTEN": site.listen,
        "PORT": port,
        "CHECK": site.checks[0],
        "PUBLIC": site.publics[0],
        "APP": app,
        "KEY": site.keys[0].reveal(),
        "ADMIN": site.checks[0],
        "CHECK_PORT": check_port,
        "PUBLIC_PORT": public_port,
        "APP_PORT": app_port,
    }
    assert {host, check_host, public_host, app_host} == {"127.0.0.1"}
    return {
        name: Template(HERE.joinpath(f"{kind}-{name}").read_text()).substitute(values)
        for name in FILES[kind]
    }
