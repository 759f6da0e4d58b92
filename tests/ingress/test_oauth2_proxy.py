"""nginx as the page about moving over from oauth2-proxy configures it, word for word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from demo.ingress import LAUNCHERS, start
from demo.processes import free_port
from gateway.login import application
from gateway.login.oauth2_proxy import WANTED
from tests.ingress.conftest import Proxy
from tests.ingress.stand import ACME, COOKIE, KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ingress.stand import Stand

PAGE = Path(__file__).parents[2] / "docs" / "operator" / "migrate-from-oauth2-proxy.md"


@pytest.fixture(scope="module")
def proxy(stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    if LAUNCHERS["nginx"].binary() is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    (block,) = re.findall(r"^```\n(location .*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    for documented, here in (
        ("127.0.0.1:8080", f"127.0.0.1:{stand.public_port}"),
        ("127.0.0.1:8081", f"127.0.0.1:{stand.check_port}"),
        ("127.0.0.1:9100", f"127.0.0.1:{stand.app_port}"),
        ('"…"', f'"{KEY}"'),
        ("Proto https", "Proto http"),
    ):
        assert documented in block
        block = block.replace(documented, here)
    running = start(
        LAUNCHERS["nginx"],
        {
            "nginx.conf": f"""
worker_processes 1;
pid nginx.pid;
error_log stderr notice;
events {{ worker_connections 256; }}
http {{
  access_log off;
  server {{ listen 127.0.0.1:{port}; {block} }}
}}
"""
        },
        directory=tmp_path_factory.mktemp("oauth2-proxy"),
        port=port,
        host=ACME,
    )
    yield Proxy(running, stand)
    running.stop()


def test_who_is_signed_in_reaches_the_application_and_nobody_else_does(proxy: Proxy) -> None:
    assert proxy.ask(f"Cookie: theirs=1; {COOKIE}=alice").status == 200
    seen = proxy.only()
    assert seen.values("X-Email") == ["alice@acme.test"]
    assert seen.values("Cookie") == ["theirs=1"]
    assert proxy.ask(proxy.bob, target="/admin/x").status == 403
    assert proxy.app == []
    # Without a session, what the gateway's public listener answers at /oauth2/sign_in.
    proxy.ask()
    assert proxy.app == []
    assert [page.path for page in proxy.pages] == ["/oauth2/sign_in"]
    assert proxy.pages[0].values("X-Auth-Request-Redirect") == ["/"]
    assert proxy.ask(target="/oauth2/auth").status == 404


def test_no_header_of_a_client_makes_another_request_of_it(proxy: Proxy) -> None:
    forged = (
        "X-Forwarded-Uri: /public/x",
        "X-Forwarded-Method: OPTIONS",
        "X-Original-URL: http://acme.localhost/public/x",
        "X-Original-Method: GET",
        "X-Forwarded-Host: loose.localhost",
        "X-Email: forged",
    )
    for lines in (forged, forged[:2], forged[2:4], forged[4:]):
        proxy.ask(*lines, target="/p")
        assert proxy.app == []
        assert proxy.ask(*lines, proxy.bob, target="/admin/x").status == 403
        assert proxy.app == []
        assert proxy.ask(*lines, target="/public/x").status == 200
        assert proxy.only().values("X-Email") == []


async def test_addresses_of_oauth2_proxy_lead_to_the_gateways_own(stand: Stand) -> None:
    async with TestClient(TestServer(application(stand._services()))) as client:
        for path, headers, location in (
            ("/oauth2/start?rd=/p%3Fq%3D1", {}, "/_auth/login?rd=%2Fp%3Fq%3D1"),
            (
                "/oauth2/sign_in",
                {"X-Auth-Request-Redirect": "/p?q=1"},
                "/_auth/login?rd=%2Fp%3Fq%3D1",
            ),
            ("/oauth2/sign_in?rd=/a", {WANTED: "/b"}, "/_auth/login?rd=%2Fa"),
            (
                "/oauth2/start?rd=https://evil.test/",
                {},
                "/_auth/login?rd=https%3A%2F%2Fevil.test%2F",
            ),
            ("/oauth2/start", {}, "/_auth/login"),
            ("/oauth2/sign_out?rd=https://evil.test/", {}, "/_auth/logout"),
            ("/oauth2/userinfo", {}, "/_auth/userinfo"),
        ):
            answer = await client.get(
                path, headers={"Host": ACME, **headers}, allow_redirects=False
            )
            assert (answer.status, answer.headers["Location"]) == (302, location), path
            assert answer.headers["Cache-Control"] == "no-store"
        for path in ("/oauth2/auth", "/oauth2/callback", "/oauth2/"):
            answer = await client.get(path, headers={"Host": ACME}, allow_redirects=False)
            assert answer.status == 404, path
