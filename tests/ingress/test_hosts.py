"""Which hosts an ingress guards: every one, unless it is told which; and which application a name
belongs to, however it is spelled.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from demo.ingress import LAUNCHERS, launch
from demo.processes import free_port
from gateway.tenants.compilation import compile_tenant
from gateway.tenants.document import TenantDocument
from tests.ingress.conftest import HARDENED, Proxy
from tests.ingress.stand import ACME, BELOW, COOKIE, GLOBEX, LOGIN, identity
from tests.ingress.wire import request as bytes_of
from tests.ingress.wire import send

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ingress.stand import Stand

NEW = "brand-new.localhost"


def test_a_tenant_that_is_added_is_served_and_guarded_without_another_configuration(
    proxy: Proxy, stand: Stand
) -> None:
    stand.sign_in("new", identity("new@new.test", provider="new-okta"), tenant="new", host=NEW)
    assert proxy.ask(f"Cookie: {COOKIE}=new", host=NEW).status == 421
    assert proxy.app == []
    document = TenantDocument.model_validate(
        {
            "id": "new",
            "name": "New",
            "hosts": [NEW],
            "email_domains": ["new.test"],
            "allowed_groups": "any",
            "client_id": "new1",
            "client_secret": "s",
            "providers": [{"name": "new-okta", "kind": "okta", "issuer": "https://new.test"}],
            "headers": {"X-Department": "claim:custom:department"},
        }
    )
    added = compile_tenant(
        document, stand.config, client_id="new1", client_secret=stand.tenants[0].client_secret
    )
    stand.table = stand.table_for((*stand.tenants, added))
    try:
        assert proxy.ask(host=NEW).status == 401
        assert proxy.app == []
        forged = "X-Department: forged"
        assert proxy.ask(f"Cookie: {COOKIE}=new", forged, host=NEW).status == 200
        assert proxy.only().values("X-Auth-Request-Email") == ["new@new.test"]
        assert "forged" not in proxy.only().values("X-Department")
        assert proxy.ask(target="/_auth/login", host=NEW).status == 200
        assert len(proxy.pages) == 1
    finally:
        stand.table = stand.table_for(stand.tenants)


def test_a_name_reaches_its_own_application_or_none_however_it_is_spelled(
    proxy: Proxy, stand: Stand
) -> None:
    """``BELOW`` has an application of its own; taken for no name that is known, it would reach the
    one of every other host, with the identity for this one.
    """
    stand.sign_in("below", identity("alice@acme.test"), host=BELOW)
    for host in (
        f"{BELOW}.",
        f"{BELOW}.:80",
        BELOW.upper(),
        f"{BELOW.upper()}.",
        f"{BELOW}:8443",
        f"{BELOW}..",
        f".{BELOW}",
        f"{BELOW} ",
    ):
        proxy.ask(f"Cookie: {COOKIE}=below", target="/p", host=host)
        assert proxy.app == [], host


@pytest.mark.parametrize("kind", HARDENED)
def test_with_hosts_named_no_other_is_asked_about(kind: str, stand: Stand, tmp_path: Path) -> None:
    if LAUNCHERS[kind].binary() is None:
        pytest.skip(f"{kind} is not installed")
    port, plain = free_port(), free_port()
    site = replace(
        stand.site(port, hosts=(ACME, BELOW, "*.acme.localhost")),
        scheme="https",
        redirect=f"127.0.0.1:{plain}",
    )
    running = launch(kind, site, directory=tmp_path)
    try:
        proxy = Proxy(running, stand)
        assert proxy.ask(proxy.alice).status == 200
        for host in ("nobody.test", GLOBEX, f"{GLOBEX}."):
            page = proxy.ask("Accept: text/html", proxy.alice, host=host)
            told = proxy.ask("Accept: application/json", proxy.alice, host=host)
            # Traefik shows a page of the gateway, which has none for a host that it knows.
            status = 404 if kind == "traefik" and host != "nobody.test" else 421
            assert (page.status, told.status, proxy.app) == (status, status, [])
            if kind != "traefik":  # there the page is the gateway's, of which this is a stand-in
                assert b"<h1" in page.body
                assert json.loads(told.body)["code"] == "unknown_host"
                assert proxy.pages == []
            answer = send(plain, bytes_of("Accept: text/html", host=host))
            assert (answer.status, answer.header("Location")) == (status, None)
        for host in (ACME, f"any.{ACME}", LOGIN):
            answer = send(plain, bytes_of(host=host))
            assert answer.status in {301, 308}
            assert (answer.header("Location") or "").replace(":443", "") == f"https://{host}/"
    finally:
        running.stop()
