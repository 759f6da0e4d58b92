"""A piece of the rendered configuration is missing or wrong: the proxy does not start with it, or
nothing passes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from demo.ingress import LAUNCHERS, IngressError, start
from demo.processes import free_port
from gateway.ingress_config import render
from tests.ingress.conftest import Proxy
from tests.ingress.stand import LOGIN

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ingress.stand import Stand

BROKEN: dict[str, tuple[str, str, str]] = {
    # what is broken: kind, regular expression of the piece, what stands there instead
    "nginx does not ask": ("nginx", r"    auth_request /_gateway_check;\n", ""),
    "nginx does not ask at one location": (
        "nginx",
        r"location / \{",
        "location / {\n      auth_request off;",
    ),
    "nginx has no check location": (
        "nginx",
        r"location = /_gateway_check \{",
        "location = /_somewhere_else {",
    ),
    "nginx asks the application": (
        "nginx",
        r"proxy_pass http://gateway_check/auth/nginx;",
        "proxy_pass http://$gw_app/public/x;",
    ),
    "nginx loses the status of the answer": (
        "nginx",
        r"  auth_request_set \$gw_check_status.*\n",
        "",
    ),
    "nginx loses the map of allowed applications": (
        "nginx",
        r"  map \$gw_check_status \$gw_app \{[^}]*\}\n",
        "",
    ),
    "nginx has a wrong key": (
        "nginx",
        r"X-Gateway-Key \"[^\"]*\"",
        'X-Gateway-Key "another-key-of-some-length"',
    ),
    "nginx forgets the host": (
        "nginx",
        r"      proxy_set_header X-Forwarded-Host \$host;\n      proxy_set_header X-Forwarded-Uri",
        "      proxy_set_header X-Forwarded-Uri",
    ),
    "nginx forgets the path": (
        "nginx",
        r"      proxy_set_header X-Forwarded-Uri \$request_uri;\n",
        "",
    ),
    "traefik has no gateway middleware": (
        "traefik",
        r"    gateway:\n      forwardAuth:",
        "    another:\n      forwardAuth:",
    ),
    "traefik has no clean middleware": ("traefik", r"    clean:\n", "    dirty:\n"),
    "traefik has a pattern that is none": (
        "traefik",
        r"authResponseHeadersRegex: '\(\?i\)",
        "authResponseHeadersRegex: '(?i)(((",
    ),
    "traefik has no address of the check": (
        "traefik",
        r'        address: "http://[^"]*/auth/traefik"',
        '        address: ""',
    ),
    "traefik has a setting that nobody knows": (
        "traefik",
        r"trustForwardHeader: false",
        "trustForwardedHeader: false",
    ),
    "traefik has a wrong key": (
        "traefik",
        r'X-Gateway-Key: "the-[^"]*"',
        'X-Gateway-Key: "another-key-of-some-length"',
    ),
    "caddy does not know how to ask": ("caddy", r"\(gateway_ask\) \{", "(gateway_asks) {"),
    "caddy asks at no path": ("caddy", r"\t\turi /auth/caddy\?\n", ""),
    "caddy has a wrong key": (
        "caddy",
        r"header_up X-Gateway-Key \S+",
        "header_up X-Gateway-Key {env.NOT_SET}",
    ),
    "caddy asks a placeholder": (
        "caddy",
        r"forward_auth 127\.0\.0\.1:\d+",
        "forward_auth {env.NOT_SET}",
    ),
    "envoy has no cluster of the check": (
        "envoy",
        r"  - name: gateway_check\n",
        "  - name: gateway_chick\n",
    ),
    "envoy asks at no path": ("envoy", r"                path_prefix: /auth/envoy\n", ""),
    "envoy has a wrong key": (
        "envoy",
        r'key: x-gateway-key, value: "[^"]*"',
        'key: x-gateway-key, value: "another-key-of-some-length"',
    ),
    "envoy lets in when it cannot ask": (
        "envoy",
        r"failure_mode_allow: false",
        "failure_mode_alow: false",
    ),
    "envoy has a pattern that is none": ("envoy", r'regex: "x-', 'regex: "(((x-'),
    "envoy takes no patterns of this length": (
        "envoy",
        r"re2\.max_program_size\.error_level: 100000",
        "re2.max_program_size.warn_level: 100000",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_piece_lets_nobody_in(name: str, stand: Stand, tmp_path: Path) -> None:
    kind, piece, instead = BROKEN[name]
    if LAUNCHERS[kind].binary() is None:
        pytest.skip(f"{kind} is not installed")
    port, changed, files = free_port(), 0, {}
    for file, text in render(kind, stand.site(port)).items():
        files[file], count = re.subn(piece, instead, text)
        changed += count
    assert changed, "the piece is not in the shipped configuration"
    try:
        running = start(
            LAUNCHERS[kind], files, directory=tmp_path / kind, port=port, host=LOGIN, timeout_s=1.5
        )
    except IngressError:
        return
    try:
        proxy = Proxy(running, stand)
        for target in ("/p", "/admin/x", "/auth/caddy", "/_gateway_check"):
            for lines in (
                (),
                (proxy.bob,),
                ("Upgrade: websocket", "Connection: Upgrade"),
                ("X-Auth-Request-Email: evil", "Remote-User: evil"),
            ):
                answer = proxy.ask(
                    *lines,
                    target=target,
                    close=not any(line.startswith("Connection") for line in lines),
                )
                assert proxy.app == [], (target, lines)
                assert not 200 <= answer.status < 300, (target, lines, answer)
    finally:
        running.stop()
