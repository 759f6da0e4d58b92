"""App clients whose secret AWS Secrets Manager keeps: adopted, followed, never exchanged here."""

from __future__ import annotations

import json
import socket
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from botocore import exceptions

from demo.cognito.control import faults, secrets_manager
from demo.cognito.control.clients import publish_secret
from demo.cognito.control.errors import ApiError
from gateway.cognito.api import OPERATIONS
from gateway.cognito.client_secrets import ClientSecrets, region_of
from gateway.core.model import AppClient, RotatedSecret, Secret
from gateway.errors import ConfigError, PeerError, UnavailableError
from gateway.provisioning.preflight import PreflightProblem
from gateway.provisioning.runner import Done, Failed
from gateway.provisioning.runs import RunState
from gateway.provisioning.secret_follower import AGAIN_S, EVERY_S, RETRY_S, SecretFollower
from gateway.tenants.document import TenantDocument
from gateway.tenants.snapshot_record import (
    Builder,
    Credentials,
    decode,
    encode,
    record_of,
)
from tests.provisioning.bench import Bench
from tests.provisioning.test_password_client import asking, body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from demo.cognito.pool import Pool
    from gateway.provisioning.service import Drift

MADE = "byhand00000000000000000000"
ARN = "arn:aws:secretsmanager:eu-north-1:123456789012:secret/a-b"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(tmp_path) as started:
        yield started


@pytest.fixture
def pool(bench: Bench) -> Pool:
    return bench.cloud.cognito.pool


def made_by_hand(bench: Bench, client_id: str = MADE, *, published: bool = True) -> None:
    bench.cloud.add_client(
        "by-hand",
        providers=[],
        callback_urls=["http://old.localhost/cb"],
        logout_urls=[],
        client_id=client_id,
    )
    if published:
        publish_secret(bench.cloud.cognito.pool, bench.cloud.cognito.pool.clients[client_id])


async def held(bench: Bench, tenant: str = "initech") -> Credentials:
    found = await bench.tenants.credentials(tenant)
    assert found is not None
    return found


async def follower(bench: Bench, **changes: Any) -> SecretFollower:
    credentials = {"initech": await held(bench)}
    pool_id = bench.cloud.cognito.pool.pool_id

    async def none() -> frozenset[str]:
        return frozenset()

    made = SecretFollower(
        credentials=lambda: credentials,
        pool_ids={"default": pool_id},
        secrets=bench.secrets_manager,
        exchange=bench.tenants.exchange_secret,
        stale=none,
        exchanged=lambda: None,
    )
    return replace(made, **changes)


async def verified(bench: Bench, *, fix: bool = False) -> Drift:
    drift = await bench.service.verify("initech", fix=fix, actor="test")
    assert drift is not None
    return drift


async def test_an_adopted_client_is_read_where_its_secret_is_and_followed(
    bench: Bench, pool: Pool
) -> None:
    made_by_hand(bench)
    done = await bench.apply("initech", body(adopt_client=MADE))
    assert isinstance(done, Done)
    found, before = pool.clients[MADE], await held(bench)
    assert (before.client_secret.reveal(), before.rotated) == (
        found.secret,
        RotatedSecret(found.secret_arn),
    )
    assert pool.clients[MADE].secret_arn, "an update that does not name it leaves it there"
    assert (await verified(bench)).clean
    # Cognito rotates, and nobody here has to.
    proposal = await bench.service.propose("initech", body(name="Initech"), update=True)
    pool.exchange_secret(MADE)
    assert await (await follower(bench)).look() == 1
    after = await held(bench)
    assert after.client_secret.reveal() == pool.clients[MADE].secret
    assert after.rotated == RotatedSecret(found.secret_arn, before.client_secret)
    assert isinstance(await bench.service.apply(proposal, actor="test"), Done), (
        "nobody has changed anything meanwhile"
    )
    assert (await verified(bench)).clean
    # What is taken back leaves the secret that Cognito takes.
    asked = body(name="Initech", password_client={})
    changed = await bench.apply("initech", asked, update=True)
    assert isinstance(changed, Done)
    pool.exchange_secret(MADE)
    await (await follower(bench)).look()
    assert await bench.service.roll_back("initech", changed.run) is RunState.ROLLED_BACK
    assert (await held(bench)).client_secret.reveal() == pool.clients[MADE].secret
    refused = await bench.service.rotate("initech", actor="test")
    assert isinstance(refused, PreflightProblem)
    assert "there is nothing to rotate" in refused.message
    assert isinstance(await bench.service.destroy("initech", actor="test"), Done)
    assert set(pool.clients) == {MADE}


async def test_what_cannot_be_read_is_not_adopted_and_says_what_to_allow(bench: Bench) -> None:
    made_by_hand(bench)
    control = bench.cloud.cognito.control
    control.allowed_operations = OPERATIONS
    for asked, where in (
        (body(adopt_client=MADE), "adopt_client"),
        (asking(adopt=MADE), "password_client.adopt"),
    ):
        (problem,) = (await bench.service.propose("initech", asked, update=False)).problems
        assert problem.where == where
        assert "allow it secretsmanager:GetSecretValue on this secret" in problem.message
    control.allowed_operations = None
    control.faults.plan(
        "GetSecretValue",
        faults.fail(ApiError("InternalServiceError", "later", status=500)),
        times=9,
    )
    with pytest.raises(UnavailableError, match="does not answer now"):
        await bench.service.propose("initech", body(adopt_client=MADE), update=False)


async def test_the_client_of_passwords_is_read_there_too_and_kept_by_a_rotation(
    bench: Bench, pool: Pool
) -> None:
    made_by_hand(bench)
    assert isinstance(await bench.apply("initech", asking(adopt=MADE)), Done)
    passwords = (await held(bench)).password_client
    assert passwords is not None
    assert passwords.client_secret.reveal() == pool.clients[MADE].secret
    assert passwords.rotated is not None
    assert (await verified(bench)).clean
    assert isinstance(await bench.service.rotate("initech", actor="test"), Done)
    now = await held(bench)
    assert (len(now.retired), now.password_clients) == (1, (passwords,))
    assert (await verified(bench)).clean


async def test_a_secret_that_somebody_moves_is_drift_and_read_in_its_new_place(
    bench: Bench, pool: Pool
) -> None:
    await bench.apply("initech", asking())
    before = await held(bench)
    for client in before.clients:
        publish_secret(pool, pool.clients[client.client_id])
    steps = [s for s in (await verified(bench)).steps if s.does]
    assert [(str(s.resource), [str(d) for d in s.differences]) for s in steps] == [
        ("client_secret", ["kept in: Cognito → Secrets Manager"])
    ] * 2
    fixed = (await verified(bench, fix=True)).fixed
    assert isinstance(fixed, Done)
    for client in (await held(bench)).clients:
        assert client.client_secret.reveal() == pool.clients[client.client_id].secret
        assert client.rotated is not None
    assert (await verified(bench)).clean
    # And back: the secret in Secrets Manager is deleted by that.
    for name, found in pool.clients.items():
        pool.clients[name] = replace(found, secret_arn="", secret_before=None)
    assert isinstance((await verified(bench, fix=True)).fixed, Done)
    assert [client.rotated for client in (await held(bench)).clients] == [None, None]
    assert (await verified(bench)).clean


async def test_verify_says_that_a_secret_was_exchanged_until_it_is_read(
    bench: Bench, pool: Pool
) -> None:
    made_by_hand(bench)
    await bench.apply("initech", body(adopt_client=MADE))
    assert not [n for n in (await verified(bench)).notes if "Secrets Manager" in n]
    pool.exchange_secret(MADE)
    drift = await verified(bench, fix=True)
    (note,) = [n for n in drift.notes if "Secrets Manager" in n]
    assert note.startswith(f"client {MADE}: Secrets Manager has another secret than the gateway")
    assert drift.clean, "it heals by itself: nothing is to be mended"
    assert str(pool.clients[MADE].secret) not in note
    assert (await held(bench)).client_secret.reveal() not in note
    await (await follower(bench)).look()
    assert not [n for n in (await verified(bench)).notes if "Secrets Manager" in n]
    # One that may not be read is a problem, and no other secret.
    bench.cloud.cognito.control.allowed_operations = OPERATIONS
    drift = await verified(bench)
    assert len(drift.problems) == 1
    assert not [n for n in drift.notes if "Secrets Manager" in n]


async def test_a_secret_that_is_gone_or_may_not_be_read_is_drift_that_says_so(
    bench: Bench, pool: Pool
) -> None:
    await bench.apply("initech", body())
    (client,) = pool.clients.values()
    publish_secret(pool, client)
    bench.cloud.cognito.control.allowed_operations = OPERATIONS
    (problem,) = (await verified(bench, fix=True)).problems
    assert (problem.where, "secretsmanager:GetSecretValue" in problem.message) == ("client", True)


async def test_a_new_client_whose_secret_was_put_there_unasked_is_read_or_taken_back(
    bench: Bench, pool: Pool
) -> None:
    pool.behaviour.publishes_secrets_unasked = True
    assert isinstance(await bench.apply("initech", asking()), Done)
    for client in (await held(bench)).clients:
        assert client.client_secret.reveal() == pool.clients[client.client_id].secret
    clients = set(pool.clients)
    bench.cloud.cognito.control.allowed_operations = OPERATIONS
    failed = await bench.apply("hooli", body("hooli"))
    assert isinstance(failed, Failed)
    assert "secretsmanager:GetSecretValue" in failed.message
    assert set(pool.clients) == clients


# --- following ----------------------------------------------------------------------------------


class Vault:
    """Secrets Manager of a test: raises what it finds at an ARN."""

    def __init__(self, **found: Any) -> None:
        self.found, self.read_of = found, list[str]()

    async def read(self, arn: str, *, pool_id: str, client_id: str) -> Secret:
        assert pool_id == "p"
        self.read_of.append(client_id)
        found = self.found[client_id]
        if isinstance(found, Exception):
            raise found
        return Secret(found)


def kept(client_id: str, secret: str) -> Credentials:
    return Credentials(client_id, Secret(secret), rotated=RotatedSecret(ARN))


async def test_each_secret_is_read_now_and_then_and_at_once_when_it_is_stale(
    caplog: pytest.LogCaptureFixture,
) -> None:
    vault = Vault(a="a1", b=PeerError("AccessDeniedException", "may not"), c="c1")
    held, told, now, written = {"t": kept("a", "a1")}, set[str](), [0.0], list[Any]()
    held |= {"u": kept("b", "b1"), "v": Credentials("c", Secret("c1"))}

    async def stale() -> frozenset[str]:
        if "down" in told:
            raise UnavailableError
        taken = frozenset(told)
        told.clear()
        return taken

    async def exchange(tenant: str, client_id: str, arn: str, secret: Secret) -> bool:
        assert arn == ARN
        written.append((tenant, client_id, secret.reveal()))
        return True

    woken = list[bool]()
    following = SecretFollower(
        credentials=lambda: held,
        pool_ids={"default": "p"},
        secrets=vault,
        exchange=exchange,
        stale=stale,
        exchanged=lambda: woken.append(True),
        monotonic=lambda: now[0],
    )
    assert await following.look() == 2
    assert (sorted(vault.read_of), written) == (["a", "b"], [])
    assert caplog.text.count("client_secret_unreadable") == 1
    # Not again at once, whatever is said, and not of what is not followed.
    told |= {"a", "c", "nobody"}
    now[0] = AGAIN_S - 1
    assert await following.look() == 0
    vault.found["a"] = "a2"
    now[0] = AGAIN_S
    assert await following.look() == 1
    assert written == [("t", "a", "a2")]
    assert woken == [True]
    # What failed is tried again sooner, and is told of once.
    told.add("down")
    now[0] = RETRY_S
    assert await following.look() == 1
    assert vault.read_of[-1] == "b"
    assert caplog.text.count("client_secret_unreadable") == 1
    vault.found["b"] = UnavailableError("no answer")
    now[0] = AGAIN_S + EVERY_S
    assert await following.look() == 2
    assert caplog.text.count("client_secret_unreadable") == 2
    # Another mapping: what is not there any more is followed no more.
    held = {}
    assert await following.look() == 0


async def test_a_secret_that_cannot_be_stored_keeps_no_other_from_being_exchanged() -> None:
    held = {"t": kept("a", "a1"), "u": kept("b", "b1")}
    written = list[str]()

    async def none() -> frozenset[str]:
        return frozenset()

    async def exchange(_tenant: str, client_id: str, _arn: str, _secret: Secret) -> bool:
        if client_id == "a":
            msg = "its row does not open"
            raise ConfigError(msg)
        written.append(client_id)
        return True

    following = SecretFollower(
        credentials=lambda: held,
        pool_ids={"default": "p"},
        secrets=Vault(a="a2", b="b2"),
        exchange=exchange,
        stale=none,
        exchanged=lambda: None,
        monotonic=lambda: 0.0,
    )
    assert await following.look() == 2
    assert written == ["b"]


async def test_what_two_processes_read_is_written_once(bench: Bench, pool: Pool) -> None:
    made_by_hand(bench)
    await bench.apply("initech", body(adopt_client=MADE))
    first, second = await follower(bench), await follower(bench)
    pool.exchange_secret(MADE)
    woken = list[str]()
    first = replace(first, exchanged=lambda: woken.append("first"))
    second = replace(second, exchanged=lambda: woken.append("second"))
    await first.look()
    await second.look()
    assert woken == ["first"]
    for wrong in (("hooli", MADE, ARN), ("initech", "other", ARN), ("initech", MADE, ARN)):
        assert not await bench.tenants.exchange_secret(*wrong, Secret("x"))


# --- what is read, and what of it is believed ---------------------------------------------------


@pytest.mark.parametrize(
    ("arn", "region"),
    [
        ("arn:aws:secretsmanager:eu-north-1:123456789012:secret/a-b", "eu-north-1"),
        ("arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:a:b", "us-gov-west-1"),
        ("arn:aws:s3:::secret:a", None),
        ("arn:aws:secretsmanager::123456789012:secret:a", None),
        ("arn:aws:secretsmanager:eu-north-1:123456789012:other:a", None),
        ("https://secretsmanager.test", None),
        ("", None),
    ],
)
def test_an_arn_names_a_secret_and_its_region(arn: str, region: str | None) -> None:
    if region is None:
        with pytest.raises(PeerError, match="names no secret"):
            region_of(arn)
    else:
        assert region_of(arn) == region


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"userPoolClientId": "another"}, "is another app client's"),
        ({"userPoolId": "eu-north-1_Other"}, "is another app client's"),
        ({"clientSecretValue": ""}, "holds no clientSecretValue"),
        ({"clientSecretValue": 1}, "holds no clientSecretValue"),
        (None, "is not JSON"),
        ([], "is not JSON"),
    ],
)
async def test_a_secret_counts_only_for_the_client_that_it_names(
    bench: Bench, pool: Pool, monkeypatch: pytest.MonkeyPatch, changes: Any, words: str
) -> None:
    made_by_hand(bench)
    client = pool.clients[MADE]
    right = {
        "userPoolId": pool.pool_id,
        "userPoolClientId": MADE,
        "clientSecretValue": client.secret,
    }
    text = (
        "no JSON"
        if changes is None
        else json.dumps({**right, **changes} if isinstance(changes, dict) else changes)
    )
    real = secrets_manager.get_secret_value
    monkeypatch.setattr(
        secrets_manager,
        "get_secret_value",
        lambda *asked: {**real(*asked), "SecretString": text},
    )
    with pytest.raises(PeerError, match=words) as refused:
        await bench.secrets_manager.read(client.secret_arn, pool_id=pool.pool_id, client_id=MADE)
    assert client.secret is not None
    assert client.secret not in str(refused.value)


def test_a_record_carries_both_secrets_and_others_stay_as_they_were(bench: Bench) -> None:
    document = TenantDocument.model_validate(
        {
            "id": "initech",
            "name": "Initech",
            "hosts": ["initech.localhost"],
            "email_domains": ["initech.test"],
            "allowed_groups": "any",
            "allowed_roles": "any",
            "client": "managed",
            "password_client": {"client": "managed"},
            "providers": [{"name": "initech-cognito", "kind": "cognito"}],
        }
    )
    rotated = RotatedSecret(ARN, Secret("old"))
    credentials = Credentials(
        "a",
        Secret("new"),
        (AppClient("b", Secret("b1"), 9.0),),
        password_clients=(AppClient("c", Secret("c1"), rotated=RotatedSecret(ARN)),),
        rotated=rotated,
    )
    tenant = Builder(bench.config)(decode(encode(record_of(document, credentials))))
    assert tenant.client("a") == AppClient("a", Secret("new"), rotated=rotated)
    assert tenant.client("b") == AppClient("b", Secret("b1"), 9.0)
    assert tenant.password_client == AppClient("c", Secret("c1"), rotated=RotatedSecret(ARN))
    without = record_of(document, replace(credentials, rotated=None, password_clients=()))
    assert b"rotated" not in zlib.decompress(without.body)


async def test_a_secrets_manager_that_takes_no_connection_is_an_outage() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    async with ClientSecrets(endpoint_url=f"http://127.0.0.1:{port}") as secrets:
        with pytest.raises(UnavailableError, match="EndpointConnectionError"):
            await secrets.read(ARN, pool_id="p", client_id="c")


@pytest.mark.parametrize(
    "error",
    [
        exceptions.NoCredentialsError(),
        exceptions.CredentialRetrievalError(provider="p", error_msg="m"),
        exceptions.MetadataRetrievalError(error_msg="m"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_credentials_that_cannot_be_fetched_are_an_outage(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def raises(*_: object) -> None:
        raise error

    monkeypatch.setattr(ClientSecrets, "_client", raises)
    async with ClientSecrets() as secrets:
        with pytest.raises(UnavailableError, match="no AWS credentials now"):
            await secrets.read(ARN, pool_id="p", client_id="c")
