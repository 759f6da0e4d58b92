"""The cloud as a whole: the people of the demo, two clouds side by side, names without a
resolver.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from demo.clock import MovableClock
from demo.cloud import GLOBEX_TENANT_ID, POOL_ID, DemoCloud, Origins, Ports
from demo.cloud_command import describe
from demo.net import LocalhostResolver, bind, client_session
from demo.processes import free_port
from tests.demo.relying_party import query, relying_party
from tests.support.spare_keys import spare_keys

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.browserless import Person


async def test_people_of_the_demo_are_there(cloud: DemoCloud) -> None:
    people = {
        person.email: [group.name for group in customer.server.directory.groups_of(person)]
        for customer in cloud.customers.values()
        for person in customer.server.directory.people.values()
    }
    assert people == {
        "alice@acme.test": ["app-users", "admins"],
        "bob@acme.test": ["app-users"],
        "mallory@acme.test": [],
        "carol@globex.test": ["app-users"],
    }
    assert cloud.cognito.issuer == f"{cloud.cognito.url}/{POOL_ID}"
    assert cloud.customers["globex-entra"].issuer.endswith(f"/{GLOBEX_TENANT_ID}/v2.0")


async def test_two_clouds_do_not_disturb_one_browser(cloud: DemoCloud, person: Person) -> None:
    async with (
        DemoCloud(new_key=spare_keys()) as other,
        relying_party(cloud) as app,
        relying_party(other) as second,
    ):
        await app.log_in(person, "alice@acme.test")
        await second.log_in(person, "bob@acme.test")
        first = app.verified(
            (await app.redeem(await person.open(app.authorize_url(None))))[1]["id_token"]
        )
        then = second.verified(
            (await second.redeem(await person.open(second.authorize_url(None))))[1]["id_token"]
        )
        assert (first["email"], then["email"]) == ("alice@acme.test", "bob@acme.test")


async def test_ports_are_taken_as_given_and_freed(person: Person) -> None:
    probe = bind()
    port = probe.port
    probe.socket.close()
    async with DemoCloud(ports=Ports(cognito=port), new_key=spare_keys()) as cloud:
        assert cloud.cognito.url == f"http://cognito.localhost:{port}"
        assert (await person.open(f"{cloud.cognito.url}/error")).status == 400
    bind(port).socket.close()


async def test_start_that_fails_leaves_nothing_listening() -> None:
    taken, probe = bind(), bind()
    port = probe.port
    probe.socket.close()
    with pytest.raises(OSError, match="in use"):
        await DemoCloud(
            ports=Ports(cognito=port, globex_entra=taken.port), new_key=spare_keys()
        ).__aenter__()
    bind(port).socket.close()
    taken.socket.close()


async def test_cloud_without_people_has_a_pool_and_no_customers() -> None:
    async with DemoCloud(people=False, new_key=spare_keys()) as cloud:
        assert cloud.customers == {} and cloud.cognito.pool.providers == {}


async def test_parallel_logins_of_one_browser_do_not_disturb_each_other(
    cloud: DemoCloud, person: Person
) -> None:
    async with relying_party(cloud) as app:
        forms = [await person.open(app.authorize_url(state=f"tab-{number}")) for number in range(3)]
        pages = [
            await person.submit(form, {"email": "alice@acme.test", "password": "demo"})
            for form in reversed(forms)
        ]
        assert [query(page)["state"] for page in pages] == ["tab-2", "tab-1", "tab-0"]
        statuses = await asyncio.gather(*(app.redeem(page) for page in pages))
        assert [status for status, _ in statuses] == [200, 200, 200]


@pytest.mark.parametrize(
    "name", ["localhost", "a.b.localhost", "ACME.LOCALHOST", "acme.localhost."]
)
async def test_names_under_localhost_are_loopback(name: str) -> None:
    resolver = LocalhostResolver()
    found = await resolver.resolve(name, 80, socket.AF_INET)
    assert [entry["host"] for entry in found] == ["127.0.0.1"]
    await resolver.close()


async def test_other_names_are_the_systems_business() -> None:
    async with client_session(timeout_s=5) as http:
        with pytest.raises(OSError):
            await http.get("http://notlocalhost.invalid/")


def test_movable_clock_moves() -> None:
    now = [100.0]
    clock = MovableClock(lambda: now[0])
    clock.advance(50)
    now[0] += 1
    assert clock() == 151.0


async def test_it_has_names_and_certificates_of_ones_own(tmp_path: Path) -> None:
    """As for a production set-up: https, an issuer elsewhere, and nothing in the pool yet."""
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x"
    names = "subjectAltName=DNS:*.aws.localhost,DNS:*.okta.localhost"
    made = await asyncio.create_subprocess_exec(
        *new.split(), "-addext", names, "-keyout", key, "-out", chain, stderr=subprocess.DEVNULL
    )
    assert await made.wait() == 0
    trusted = ssl.create_default_context(cafile=chain)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(chain, key)
    ports = [free_port() for _ in range(3)]
    origins = Origins(
        f"https://pool.aws.localhost:{ports[0]}",
        f"https://idp.aws.localhost:{ports[0]}/eu-west-1_AbCdEf123",
        f"https://acme.okta.localhost:{ports[1]}",
        f"https://entra.okta.localhost:{ports[2]}",
    )
    async with (
        DemoCloud(origins=origins, tls=tls, connected=False, new_key=spare_keys()) as cloud,
        client_session(timeout_s=5) as http,
    ):
        assert cloud.cognito.pool.pool_id == "eu-west-1_AbCdEf123"
        assert cloud.cognito.pool.providers == {}
        facts = describe(cloud)
        for issuer in (
            facts["cognito"]["issuer"],
            *(customer["provider"]["oidc_issuer"] for customer in facts["customers"].values()),
        ):
            async with http.get(
                f"{issuer}/.well-known/openid-configuration", ssl=trusted
            ) as answer:
                document = await answer.json()
            assert document["issuer"] == issuer
            assert document["token_endpoint"].startswith("https://")
