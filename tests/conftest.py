"""One running product per test process, started when first needed."""

from __future__ import annotations

import datetime as dt
import functools
import gc
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING

import botocore.session
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, settings

from demo.world import World
from gateway.sessions.embedded import EmbeddedValkey
from tests.database.compiled import compile_once
from tests.database.postgres import postgres
from tests.support.browserless import Person
from tests.support.fork_server import close_fork_servers
from tests.support.policy import PolicyWorld
from tests.support.world import RunningWorld

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

# AWS's library would ask the machine for the credentials of its role.
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
# And read some hundred authorities for each client, also of the stand-in, which has no TLS.
os.environ["AWS_CA_BUNDLE"] = str(Path(__file__).with_name("data") / "authority.pem")
# It reads its description of Cognito (a megabyte of JSON) for each session anew; a process of the
# gateway has one session, and one that runs tests has hundreds.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)

compile_once()

# A busy machine takes longer; a property is about what comes out.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

__all__ = ["postgres"]

pytest_plugins = ["tests.meter", "tests.order", "tests.unclosed"]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Ten thousand tests and what they import are there to the end: the garbage collector need not
    look at them, now or later.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish() -> None:
    close_fork_servers()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """One for all rooms, which empty it before each test."""
    store = EmbeddedValkey.start(tmp_path_factory.mktemp("valkey"))
    yield store
    store.stop()


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    with RunningWorld(World(tmp_path_factory.mktemp("world"), central=False)) as running:
        yield running


@pytest.fixture
def world(shared_world: RunningWorld) -> Iterator[RunningWorld]:
    """The product with an honest cloud; whatever a test spoils is mended afterwards."""
    yield shared_world
    shared_world.world.cloud.cognito.faults.clear()


@pytest.fixture(scope="session")
def policy_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWorld]:
    """A second product, for tests of rules, explanations and bearer tokens."""
    with RunningWorld(PolicyWorld(tmp_path_factory.mktemp("policy"), central=False)) as running:
        yield running


@pytest.fixture
def policy(policy_world: RunningWorld) -> Iterator[RunningWorld]:
    yield policy_world
    policy_world.world.cloud.cognito.faults.clear()


@pytest.fixture
async def visitor() -> AsyncIterator[Person]:
    async with Person() as someone:
        yield someone


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"
