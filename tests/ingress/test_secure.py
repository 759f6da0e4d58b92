"""TLS ends at the ingress: redirects of an application that does not know it, and plain http."""

from __future__ import annotations

import http.client
import ssl
import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from demo.ingress import LAUNCHERS, RunningIngress, launch, start
from demo.processes import free_port
from gateway.cli import cli
from gateway.ingress_config import SiteError, render
from tests.ingress.conftest import HARDENED, Proxy
from tests.ingress.stand import ACME, COOKIE, GLOBEX, LOGIN, MOVED, Stand
from tests.ingress.wire import request, send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


HSTS_S = 31_536_000
HOOKS = "hooks.localhost"


@pytest.fixture(params=HARDENED, scope="module")
def secure(
    request: pytest.FixtureRequest,
    stand: Stand,
    certificate: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[RunningIngress, int]]:
    """A proxy in which TLS ends, and its port of plain http."""
    kind = request.param
    if LAUNCHERS[kind].binary() is None:
        pytest.skip(f"{kind} is not installed")
    directory, port, plain = tmp_path_factory.mktemp(f"secure-{kind}"), free_port(), free_port()
    chain, key = certificate
    if kind == "haproxy":  # one file for both
        chain = directory / "both.pem"
        chain.write_bytes(b"".join(path.read_bytes() for path in certificate))
    site = replace(
        stand.site(port),
        scheme="https",
        certificate=(str(chain), str(key)),
        public_port=port,
        redirect=f"127.0.0.1:{plain}",
        hsts_s=HSTS_S,
        hooks_host=HOOKS,
        hooks=(f"127.0.0.1:{stand.public_port}",),
    )
    running = start(LAUNCHERS[kind], render(kind, site), directory=directory, port=plain, host=ACME)
    yield running, port
    running.stop()


def location(port: int, to: str, host: str = ACME) -> str | None:
    """Of an application's redirect to ``to``, as the browser receives it over TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with closing(
        http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
    ) as connection:
        connection.request(
            "GET",
            f"{MOVED}?to={quote(to, safe='')}",
            headers={"Host": f"{host}:{port}", "Cookie": f"{COOKIE}=alice"},
        )
        answer = connection.getresponse()
        assert answer.status == 302
        return answer.getheader("Location")


def test_an_application_that_takes_itself_for_http_is_put_right_about_its_own_address_and_no_other(
    secure: tuple[RunningIngress, int],
) -> None:
    running, port = secure
    own = {
        f"http://{ACME}/a?b=http://x/#c",
        f"http://{ACME}:80/a?b=http://x/#c",
        f"http://{ACME}:{port}/a?b=http://x/#c",
    }
    # Traefik has nothing that changes an answer's header: there the port of plain http sends the
    # browser on.
    assert {location(port, to) for to in own} == (
        own if running.name == "traefik" else {f"https://{ACME}:{port}/a?b=http://x/#c"}
    )
    others = (
        f"https://{ACME}/a",
        f"http://{GLOBEX}/",
        f"http://{ACME}:8080/",
        f"http://{ACME}.evil.test/",
        f"http://{ACME}@evil.test/",
        f"http://{ACME}:80@evil.test/",
        f"http://{ACME}:{port}1/",
        f"http://evil.test/http://{ACME}/",
        f"http://{ACME.replace('.', 'x')}/",
        f"/a?to=http://{ACME}/",
        f"//{ACME}/a",
        "a",
    )
    assert [location(port, to) for to in others] == list(others)


def over_tls(port: int, host: str, target: str, **more: Any) -> http.client.HTTPResponse:
    """The answer, read and closed."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with closing(
        http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
    ) as connection:
        headers = {"Host": f"{host}:{port}", **more.pop("headers", {})}
        connection.request(more.pop("method", "GET"), target, headers=headers, **more)
        answer = connection.getresponse()
        answer.read()
        return answer


def test_every_answer_of_the_site_says_once_that_it_is_for_https_only(
    secure: tuple[RunningIngress, int],
) -> None:
    _, port = secure
    cookie = {"Cookie": f"{COOKIE}=alice"}
    for host, target, headers, status in (
        (ACME, "/p", cookie, 200),
        (ACME, f"{MOVED}?to=/a", cookie, 302),  # where the application says it too
        (ACME, "/p", {}, 401),
        (ACME, "/p", {"Accept": "text/html"}, 302),
        (ACME, "/admin/x", {"Cookie": f"{COOKIE}=bob"}, 403),
        (ACME, "/_auth/any", {}, 200),
        (LOGIN, "/any", {}, 200),
        ("nobody.localhost", "/", {}, 421),
    ):
        answer = over_tls(port, host, target, headers=headers)
        assert answer.status == status, (host, target)
        assert (answer.headers.get_all("Strict-Transport-Security") or []) == [
            f"max-age={HSTS_S}"
        ], (host, target, headers)


def test_at_the_hooks_host_events_reach_the_gateway_with_what_they_are_authenticated_by(
    secure: tuple[RunningIngress, int], stand: Stand
) -> None:
    _, port = secure
    sent = {
        "Authorization": "Bearer of-the-provider",
        "X-Okta-Verification-Challenge": "challenge",
        "Content-Type": "application/secevent+jwt",
        "X-Gateway-Key": "forged",
        "X-Forwarded-For": "192.0.2.1",
    }
    before = len(stand.seen[""])
    answer = over_tls(port, HOOKS, "/hooks/okta/a/b?c=d", method="POST", headers=sent, body=b"{}")
    assert answer.status == 200
    (seen,) = stand.seen[""][before:]
    assert (seen.server, seen.method, seen.path) == ("public", "POST", "/hooks/okta/a/b?c=d")
    for name in ("Authorization", "X-Okta-Verification-Challenge", "Content-Type"):
        assert seen.values(name) == [sent[name]]
    assert seen.values("X-Gateway-Key") == []
    # The gateway reads the last entry, which is the proxy's. (Envoy says an address of its own for
    # a loopback peer.)
    assert seen.values("X-Forwarded-For")[-1].split(",")[-1].strip() not in {"192.0.2.1", ""}


REAL_IP = ("nginx", "caddy", "haproxy")


@pytest.mark.parametrize("kind", REAL_IP)
def test_a_load_balancer_in_front_is_believed_about_the_client_and_nothing_else(
    kind: str, stand: Stand, tmp_path: Path
) -> None:
    if LAUNCHERS[kind].binary() is None:
        pytest.skip(f"{kind} is not installed")
    said = (
        "X-Forwarded-For: 192.0.2.1, 203.0.113.9",
        f"X-Forwarded-Host: {GLOBEX}",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Uri: /public/x",
        "X-Forwarded-Method: GET",
    )
    for networks, client in ((("127.0.0.0/8",), "203.0.113.9"), (("192.0.2.0/24",), "127.0.0.1")):
        site = replace(stand.site(free_port()), real_ip=networks)
        running = launch(kind, site, directory=tmp_path / client)
        try:
            proxy = Proxy(running, stand)
            assert proxy.ask(*said, proxy.alice).status == 200
            seen = proxy.only()
            assert seen.values("X-Forwarded-For") == [client]
            assert [value.partition(":")[0] for value in seen.values("X-Forwarded-Host")] in (
                [],
                [ACME],
            )
            assert seen.values("X-Forwarded-Proto") in ([], ["http"])
            assert proxy.ask(*said, target="/p").status == 401
            proxy.ask(*said, target="/_auth/any")
            assert proxy.pages[0].values("X-Forwarded-For") == [client]
        finally:
            running.stop()


def test_who_the_client_is_comes_from_nobody_where_the_proxy_would_believe_more(
    stand: Stand,
) -> None:
    for kind in sorted(set(HARDENED) - set(REAL_IP)):
        with pytest.raises(SiteError, match="real-ip"):
            render(kind, replace(stand.site(1), real_ip=("10.0.0.0/8",)))
    for network in ("0.0.0.0/0", "::/0", "10.0.0.1 proxy_protocol", "10.0.0.1/8"):
        with pytest.raises(SiteError, match="real ip"):
            replace(stand.site(1), real_ip=(network,))


def test_a_location_of_any_length_is_read_once(secure: tuple[RunningIngress, int]) -> None:
    """Applications make it of what strangers send; a proxy that reads it again from each of its
    letters stops for everybody.
    """
    running, port = secure
    long = f"http://{'a' * 14_000}"
    times = []
    for _ in range(3):
        began = time.monotonic()
        assert location(port, long) == long
        times.append(time.monotonic() - began)
    assert min(times) < 0.5, running.name


def test_plain_http_is_sent_on_to_https_at_the_same_host_and_asks_nobody(
    secure: tuple[RunningIngress, int], stand: Stand
) -> None:
    running, port = secure
    path = (
        "/evil.test/a%2Fb?c=d&e" if running.name == "traefik" else "//evil.test/a%2Fb?c=d&e"
    )  # it merges slashes
    for host in (ACME, f"any.{ACME}", LOGIN):
        asked = request(
            f"Cookie: {COOKIE}=alice",
            target="//evil.test/a%2Fb?c=d&e",
            method="POST",
            host=f"{host}:{running.port}",
            body=b"secret",
        )
        answer = send(running.port, asked, method="POST")
        assert (answer.status, answer.header("Location")) == (
            308,
            f"https://{host}:{port}{path}",
        ), running.name
    before = sum(map(len, stand.seen.values()))
    unknown = send(running.port, request("Accept: text/html", host="nobody.test"))
    assert unknown.status in {301, 308}  # Traefik says 301 to GET
    assert unknown.header("Location") == f"https://nobody.test:{port}/"
    for odd in ("", "nobody.test/x", "nobody.test, evil.test"):
        answer = send(running.port, request("Accept: text/html", host=odd))
        location = answer.header("Location") or ""
        assert not location.startswith("https://evil"), (running.name, odd, answer)
    if running.name != "traefik":  # there the page is the gateway's
        assert sum(map(len, stand.seen.values())) == before


def test_a_port_of_plain_http_is_rendered_only_where_it_can_send_on(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scheme, redirect in (
        ("http", "127.0.0.1:2"),
        ("https", "127.0.0.1:1"),
        ("https", "80; return 200"),
    ):
        with pytest.raises(SiteError, match="redirect"):
            replace(stand.site(1), scheme=scheme, redirect=redirect)
    monkeypatch.setenv("GATEWAY_INGRESS_KEY", "k" * 32)
    result = CliRunner().invoke(
        cli, ["ingress", "render", "kubernetes", "--redirect", "0.0.0.0:80"], standalone_mode=False
    )
    assert isinstance(result.exception, SiteError)
