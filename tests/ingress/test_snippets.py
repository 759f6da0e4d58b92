"""``nginx-snippets``: included in server blocks that somebody wrote, and that nginx serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from demo.ingress import LAUNCHERS, start
from demo.processes import free_port
from gateway.ingress_config import SiteError, render
from tests.ingress.conftest import Proxy
from tests.ingress.stand import ACME, LOGIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.ingress.stand import Stand

from dataclasses import replace

HOOKS = "hooks.localhost"
MINE = """
worker_processes 1;
pid nginx.pid;
error_log stderr notice;
events {{ worker_connections 256; }}
http {{
  access_log off;
  underscores_in_headers on;
  proxy_set_header X-Of-Mine yes;
  include gateway-http.conf;
  server {{
    listen 127.0.0.1:{port} default_server;
    server_name acme.localhost;
    add_header X-Mine yes always;
    include gateway-server.conf;
    location / {{ proxy_pass http://$gw_app; }}
    location /added-later/ {{ proxy_pass http://127.0.0.1:{app}; }}
    location /careless/ {{ proxy_set_header X-Careless yes; proxy_pass http://$gw_app; }}
  }}
  server {{ listen 127.0.0.1:{port}; server_name {login}; include gateway-login.conf; }}
  server {{ listen 127.0.0.1:{port}; server_name {hooks}; include gateway-hooks.conf; }}
  server {{ listen 127.0.0.1:{port}; server_name other.localhost; return 204; }}
}}
"""


@pytest.fixture
def proxy(stand: Stand, tmp_path: Path) -> Iterator[Proxy]:
    if LAUNCHERS["nginx"].binary() is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    site = replace(
        stand.site(port),
        apps=stand.site(port).apps[-1:],
        hooks_host=HOOKS,
        hooks=(f"127.0.0.1:{stand.public_port}",),
    )
    mine = MINE.format(port=port, app=stand.app_port, login=LOGIN, hooks=HOOKS)
    files = {"nginx.conf": mine, **render("nginx-snippets", site)}
    running = start(LAUNCHERS["nginx"], files, directory=tmp_path, port=port, host=LOGIN)
    yield Proxy(running, stand)
    running.stop()


def test_a_server_block_of_ones_own_asks_for_every_location_of_it(proxy: Proxy) -> None:
    forged = (
        "X-Auth-Request-Roles: forged",
        "X_Auth_Request_Email: forged",
        "Remote-Name: forged",
        "X-Forwarded-Uri: /public/x",
        "X-Gateway-Key: forged",
    )
    for target in ("/", "/added-later/x", "/admin/x"):
        assert proxy.ask(*forged, target=target).status == 401, target
        assert proxy.app == []
        assert proxy.ask("Accept: text/html", target=target).status == 302
        assert proxy.ask(*forged, proxy.alice, "Accept: x/y", target=target).status == 200
        seen = proxy.only()
        assert seen.values("X-Auth-Request-Email") == ["alice@acme.test"]
        assert "forged" not in str(seen.headers)
        assert seen.values("Accept") == ["x/y"]
        assert (seen.values("Cookie"), seen.values("X-Of-Mine")) == ([], [])
    assert proxy.ask(proxy.bob, target="/admin/x").status == 403
    assert proxy.ask(target="/_gateway_check").status == 404
    # A location with a header of its own loses the others: nobody is anybody there.
    assert proxy.ask(*forged, target="/careless/x").status == 401
    assert proxy.ask(*forged, proxy.alice, target="/careless/x").status == 200
    seen = proxy.stand.seen[""][-1]
    assert (seen.path, seen.values("X-Careless")) == ("/careless/x", ["yes"])
    assert "forged" not in str(seen.headers)
    assert seen.values("X-Auth-Request-Email") == []


def test_the_gateways_own_hosts_and_pages_are_served_and_other_sites_are_left_alone(
    proxy: Proxy,
) -> None:
    for host, target in ((ACME, "/_auth/login"), (LOGIN, "/any"), (HOOKS, "/hooks/okta/a/b")):
        assert proxy.ask(target=target, host=host).status == 200
        assert [seen.path for seen in proxy.pages] == [target]
    assert proxy.ask(host="other.localhost").status == 204


def test_snippets_take_nothing_that_belongs_to_a_server_block(stand: Stand) -> None:
    site = replace(stand.site(1), certificate=("/etc/a", "/etc/b"))
    with pytest.raises(SiteError, match="server blocks"):
        render("nginx-snippets", site)
    assert set(render("nginx-snippets", replace(stand.site(1), login_host=None))) == {
        "gateway-http.conf",
        "gateway-server.conf",
    }
