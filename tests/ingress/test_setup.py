"""The pages of setup links at the login host, behind each real proxy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from demo.ingress import LAUNCHERS, start
from demo.processes import free_port
from gateway.ingress_config import render
from tests.ingress.conftest import HARDENED
from tests.ingress.stand import ACME, COOKIE, LOGIN, Stand
from tests.ingress.wire import request, send

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS = "/setup/l/0123456789abcdef/its-secret"


@pytest.fixture(params=HARDENED, scope="module")
def proxy_port(
    request: pytest.FixtureRequest, stand: Stand, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """In place of the listener ``pages`` stands the application of the stand."""
    kind = request.param
    if LAUNCHERS[kind].binary() is None:
        pytest.skip(f"{kind} is not installed")
    port = free_port()
    site = replace(stand.site(port), setup=(f"127.0.0.1:{stand.app_port}",))
    directory = tmp_path_factory.mktemp(f"setup-{kind}")
    running = start(LAUNCHERS[kind], render(kind, site), directory=directory, port=port, host=ACME)
    yield port
    running.stop()
    texts = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    assert not [text for text in texts if b"its-secret" in text]  # in no log of the proxy


def ask(port: int, host: str, target: str, *lines: str) -> int:
    return send(port, request(*lines, target=target, host=host)).status


def test_setup_links_reach_the_pages_unasked_at_the_login_host_alone(
    proxy_port: int, stand: Stand
) -> None:
    for path in ("/setup", ADDRESS, "/setup/connection/1?notice=saved"):
        before = len(stand.seen[""])
        status = ask(
            proxy_port,
            LOGIN,
            path,
            "Cookie: __Host-setup=0123456789abcdef.key",
            "X-Gateway-Key: forged",
            "X-Forwarded-For: 192.0.2.1",
            "X-Auth-Request-Email: forged@acme.test",
        )
        assert status == 200, path
        # One request, and none of the check's.
        (seen,) = stand.seen[""][before:]
        assert (seen.server, seen.path) == ("app", path)
        assert seen.values("Cookie") == ["__Host-setup=0123456789abcdef.key"]
        assert seen.values("X-Gateway-Key") == []
        assert seen.values("X-Auth-Request-Email") == []
        assert seen.values("X-Forwarded-For")[-1].split(",")[-1].strip() != "192.0.2.1"


def test_everywhere_else_it_is_a_path_as_any_other(proxy_port: int, stand: Stand) -> None:
    assert ask(proxy_port, ACME, ADDRESS) == 401
    assert ask(proxy_port, ACME, ADDRESS, f"Cookie: {COOKIE}=alice") == 200
    before = len(stand.seen[""])
    assert ask(proxy_port, LOGIN, "/_auth/callback?code=1") == 200
    (seen,) = stand.seen[""][before:]
    assert seen.server == "public"
